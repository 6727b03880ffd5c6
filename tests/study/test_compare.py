"""Several sweeps side by side."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from sample_sweeps import doubtful, make_sweep, make_trial, unbalanced

from resnest_search.configuration.compose import to_record
from resnest_search.configuration.schema import SweepConfig
from resnest_search.errors import UserError
from resnest_search.report.compare import told
from resnest_search.study.compare import compare
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
    # Nothing of it is noise.
    assert second.apart == pytest.approx((1 - ours / theirs,) * 2)
    assert (second.come, second.gone) == (("1s2x40d",), ())
    assert [shared.name for shared in found.shared] == ["2s1x64d", "1s1x64d"]
    assert "beyond noise" in " ".join(part for part in told(found) if isinstance(part, str))


def test_a_sweep_is_as_good_as_itself_with_all_its_noise() -> None:
    """Both saw the same images, so that what is hard for one is hard for the other."""
    sweep = doubtful()
    sweep = replace(sweep, trials=sweep.trials[:7])  # of one seed each
    found = compare([sweep, sweep])
    assert found.standings[1].apart == (0.0, 0.0)
    assert found.standings[0].hypervolume == found.standings[1].hypervolume == 1.0
    assert found.keys == {}
    assert len(found.shared) == 7
    assert "does not tell them apart" in " ".join(p for p in told(found) if isinstance(p, str))


@pytest.mark.parametrize("sought", ["balanced_accuracy", "macro_f1"])
def test_of_means_over_classes_the_noise_is_that_of_the_recorded_answers(sought: str) -> None:
    def unanswered(trial: TrialRecord) -> TrialRecord:
        return replace(trial, curve=tuple(replace(e, sheet=None) for e in trial.curve))

    sweep = unbalanced(sought)
    sweep = replace(sweep, trials=sweep.trials[:7])  # of one seed each
    assert compare([sweep, sweep]).standings[1].apart == (0.0, 0.0)
    without = compare([sweep, replace(sweep, trials=tuple(map(unanswered, sweep.trials)))])
    assert without.standings[1].apart is None
    said = " ".join(part for part in told(without) if isinstance(part, str))
    assert "B against A: +0.0 points of hypervolume; of what is sought the noise is not" in said


def test_other_images_are_other_noise() -> None:
    def unseen(trial: TrialRecord) -> TrialRecord:
        return replace(trial, curve=tuple(replace(e, correct=None) for e in trial.curve))

    sweep = doubtful()
    other = replace(sweep, trials=tuple(map(unseen, sweep.trials)))
    low, high = compare([sweep, other]).standings[1].apart or (0.0, 0.0)
    assert low < 0 < high


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
