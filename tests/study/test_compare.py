"""Several sweeps side by side."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sample_sweeps import doubtful, make_sweep, make_trial, unbalanced

from resnest_search.configuration.compose import to_record
from resnest_search.configuration.schema import SweepConfig
from resnest_search.errors import UserError
from resnest_search.report.compare import told
from resnest_search.study.compare import Comparison, compare
from resnest_search.study.read import placed
from resnest_search.study.record import Epoch, Sweep, TrialRecord


def swept(points: dict[str, tuple[float, float]], folder: str = "a", **changes: object) -> Sweep:
    """A sweep of two objectives: accuracy and milliseconds by variant."""
    trials = [
        make_trial(
            number,
            variant,
            candidate=variant,
            curve=(Epoch(1, accuracy, 1.0, 1.0, 1.0),),
            costs={"latency_ms": latency},
            validation_images=0,
        )
        for number, (variant, (accuracy, latency)) in enumerate(points.items())
    ]
    objectives = ("accuracy", "latency_ms")
    made = make_sweep(list(trials), objectives=objectives, folder=folder)
    made = replace(made, trials=tuple(placed(trials, objectives)))
    return replace(made, **changes)  # type: ignore[arg-type]


def said(found: Comparison) -> str:
    return " ".join(part for part in told(found) if isinstance(part, str))


def test_shares_of_hypervolume_are_those_found_by_hand() -> None:
    """Scaled, A has (0, 1) and (1, 0) of error and latency, B the middle of both besides."""
    ends = {"1s1x64d": (0.5, 1.0), "2s1x64d": (0.9, 5.0)}
    found = compare([swept(ends), swept(ends | {"1s2x40d": (0.7, 3.0)}, "b")])
    ours = 2 * 1.1 * 0.1 - 0.1**2
    theirs = ours + 0.5**2
    shares = [standing.hypervolume for standing in found.standings]
    assert shares == pytest.approx([ours / theirs, 1.0])
    first, second = found.standings
    assert first.apart is None
    assert second.apart is None  # neither images nor seeds say how much of it is noise
    assert (second.come, second.gone) == (("1s2x40d",), ())
    assert [shared.name for shared in found.shared] == ["2s1x64d", "1s1x64d"]
    assert "B against A: +54.3 points of hypervolume; of what is sought the noise is not" in said(
        found
    )


def test_a_sweep_is_as_good_as_itself_with_all_its_noise() -> None:
    """Both saw the same images, so that what is hard for one is hard for the other."""
    sweep = doubtful()
    sweep = replace(sweep, trials=sweep.trials[:7])  # of one seed each
    found = compare([sweep, replace(sweep, folder="b")])
    assert found.standings[1].apart == (0.0, 0.0)
    assert found.standings[0].hypervolume == found.standings[1].hypervolume == 1.0
    assert found.keys == {}
    assert len(found.shared) == 7
    assert "does not tell them apart" in said(found)


def test_a_run_that_is_named_twice_is_drawn_once() -> None:
    sweep = swept({"1s1x64d": (0.5, 1.0), "2s1x64d": (0.9, 5.0)})
    seen = replace(sweep, trials=tuple(replace(t, validation_images=50) for t in sweep.trials))
    once, twice = compare([seen, replace(seen, folder="b")]), compare([seen, seen])
    low, high = once.standings[1].apart or (0.0, 0.0)
    assert low < 0 < high  # of the same variants in two runs the answers are not known
    assert twice.standings[1].apart == (0.0, 0.0)


@given(
    st.lists(st.tuples(st.floats(0, 1), st.floats(1, 9)), min_size=2, max_size=6),
    st.integers(1, 5),
    st.integers(5, 500),
)
@settings(max_examples=40)
def test_no_difference_is_larger_than_all_there_is(points, most: int, images: int) -> None:
    named = {f"{radix}s1x64d": point for radix, point in enumerate(points)}
    few = dict(list(named.items())[:most])
    sweeps = [swept(named), swept(few, "b")]
    sweeps = [
        replace(s, trials=tuple(replace(t, validation_images=images) for t in s.trials))
        for s in sweeps
    ]
    low, high = compare(sweeps, draws=50).standings[1].apart or (0.0, 0.0)
    assert -1 <= low <= high <= 1


@pytest.mark.parametrize("sought", ["balanced_accuracy", "macro_f1"])
def test_of_means_over_classes_the_noise_is_that_of_the_recorded_answers(sought: str) -> None:
    def unanswered(trial: TrialRecord) -> TrialRecord:
        return replace(trial, curve=tuple(replace(e, sheet=None) for e in trial.curve))

    sweep = unbalanced(sought)
    sweep = replace(sweep, trials=sweep.trials[:7])  # of one seed each
    other = replace(sweep, folder="b")
    assert compare([sweep, other]).standings[1].apart == (0.0, 0.0)
    without = compare([sweep, replace(other, trials=tuple(map(unanswered, sweep.trials)))])
    assert without.standings[1].apart is None
    assert "B against A: +0.0 points of hypervolume; of what is sought the noise is not" in said(
        without
    )


def test_other_images_are_other_noise() -> None:
    def unseen(trial: TrialRecord) -> TrialRecord:
        return replace(trial, curve=tuple(replace(e, correct=None) for e in trial.curve))

    sweep = doubtful()
    other = replace(sweep, folder="b", trials=tuple(map(unseen, sweep.trials)))
    low, high = compare([sweep, other]).standings[1].apart or (0.0, 0.0)
    assert low < 0 < high


REPLAY = {"trial": {"name": "table"}}


@pytest.mark.parametrize(
    ("here", "there", "what"),
    [
        ({"images": "a" * 64}, {"images": "b" * 64}, "images"),
        ({"config": {"data": {"name": "digits"}}}, {"config": {"data": {"name": "x"}}}, "images"),
        ({"config": REPLAY, "table": "a"}, {"config": REPLAY, "table": "b"}, "table"),
        ({}, {"config": REPLAY, "table": "b"}, "table"),
    ],
)
def test_of_other_data_no_verdict_is_given(here, there, what: str) -> None:
    sweep = doubtful()
    one, other = (replace(sweep, folder=str(n), **c) for n, c in enumerate((here, there)))
    found = compare([one, other])
    assert found.standings[1].apart is None
    assert f"it is of other {what} than A" in said(found)
    alike = replace(sweep, folder="1", **{"config": sweep.config} | here)
    assert compare([one, alike]).standings[1].apart is not None


def test_keys_that_differ_are_named_and_those_that_change_nothing_are_not() -> None:
    points = {"1s1x64d": (0.5, 1.0)}
    config = {"train": {"epochs": 3}, "run": "a", "verbose": False}
    one = swept(points, config=config)
    two = swept(points, config={"train": {"epochs": 9}, "run": "b", "verbose": True})
    assert compare([one, two]).keys == {"train.epochs": (3, 9)}


def test_keys_that_an_earlier_version_did_not_know_are_no_difference() -> None:
    points = {"1s1x64d": (0.5, 1.0)}
    now = to_record(SweepConfig())
    earlier = json.loads(json.dumps(now))
    del earlier["train"]["accumulate"], earlier["measure"]["also"], earlier["search"]["first"]
    earlier["train"]["momentum"] = 0.5
    found = compare([swept(points, config=earlier), swept(points, config=now)]).keys
    assert found == {"train.momentum": (0.5, 0.9)}


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (
            swept({"1s1x64d": (0.5, 1.0)}, "b", objectives=("accuracy", "gmacs")),
            "seeks accuracy, g",
        ),
        (swept({}, "b"), "run=b: has no complete trial"),
    ],
)
def test_what_cannot_be_compared_is_refused(other: Sweep, said: str) -> None:
    with pytest.raises(UserError, match=said):
        compare([swept({"1s1x64d": (0.5, 1.0)}), other])


def test_two_devices_or_modes_are_never_mixed() -> None:
    one = swept({"1s1x64d": (0.5, 1.0)})
    other = replace(one, folder="b", trials=tuple(replace(t, mode="other") for t in one.trials))
    with pytest.raises(UserError, match=r"run=b: its costs are of .*: other, .*measure\.profile"):
        compare([one, other])
