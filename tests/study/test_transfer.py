"""A sweep with the costs of another device."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sample_sweeps import doubtful, make_trial

from resnest_search.errors import UserError
from resnest_search.report.reading import share_text
from resnest_search.report.verdict import verdict
from resnest_search.study.costing import Costing
from resnest_search.study.read import judged_anew
from resnest_search.study.record import COMPLETE, INFEASIBLE, Sweep
from resnest_search.study.select import select_trial
from resnest_search.study.transfer import changes, transferred


def costs_of(sweep: Sweep, scale: float = 1.0) -> dict[str, Costing | None]:
    return {
        trial.candidate: Costing(
            trial.costs | {"latency_ms": trial.costs["latency_ms"] * scale}, "there", "a mode"
        )
        for trial in sweep.trials
    }


@given(scale=st.floats(0.01, 100))
def test_a_device_on_which_all_are_slower_alike_changes_no_front(scale: float) -> None:
    sweep = doubtful()
    seen = transferred(sweep, costs_of(sweep, scale))
    assert [trial.number for trial in seen.front] == [trial.number for trial in sweep.front]
    assert (seen.chosen, seen.knee) == (sweep.chosen, sweep.knee)
    assert [trial.curve for trial in seen.trials] == [trial.curve for trial in sweep.trials]
    assert {trial.device for trial in seen.trials} == {"there"}
    lines = changes(sweep, seen)
    assert lines[0] == "On the front there, not here: none. Here, not there: none."
    assert lines[1].endswith("as here.")
    assert lines[2].endswith("1.00.")


def test_a_device_with_the_order_turned_round_has_another_front() -> None:
    sweep = doubtful()
    found = costs_of(sweep)
    most = max(trial.costs["latency_ms"] for trial in sweep.trials)
    turned: dict[str, Costing | None] = {}
    for key, costing in found.items():
        assert costing is not None
        costs = costing.costs | {
            "latency_ms": most + 1 - costing.costs["latency_ms"],
            "memory_mib": most + 1 - costing.costs["latency_ms"],
        }
        turned[key] = replace(costing, costs=costs)
    seen = transferred(sweep, turned, ["a doubt"])
    best = max(
        (t for t in sweep.trials if t.state == COMPLETE and t.repeat_of is None),
        key=lambda trial: trial.mean_accuracy or 0.0,
    )
    # The most accurate was the dearest, and is the cheapest there.
    assert [trial.candidate for trial in seen.front] == [best.candidate]
    assert seen.cost_doubts == seen.doubts == ("a doubt",)
    assert "Kendall's tau" in changes(sweep, seen)[2]
    assert changes(sweep, seen)[2].endswith("-1.00.")


def test_what_is_not_known_there_is_on_no_front() -> None:
    sweep = doubtful()
    gone = sweep.front[0]
    seen = transferred(sweep, costs_of(sweep) | {gone.candidate: None})
    assert gone.candidate not in {trial.candidate for trial in seen.front}
    assert changes(sweep, seen)[-1].startswith("Without costs there")
    assert gone.name in changes(sweep, seen)[-1]


def test_nor_where_no_objective_is_a_cost() -> None:
    """And whoever asks for the fastest of a front without latencies is answered in one line."""
    sweep = replace(doubtful(), objectives=("accuracy",))
    sweep = judged_anew(sweep, sweep.trials)
    (gone,) = sweep.front
    seen = transferred(sweep, costs_of(sweep) | {gone.candidate: None})
    assert gone.candidate not in {trial.candidate for trial in seen.front}
    assert changes(sweep, seen)[-1] == f"Without costs there, and so on no front: {gone.name}."
    (record,) = [t for t in seen.trials if t.number == gone.number]
    assert (record.state, record.reason) == (INFEASIBLE, "its costs there are not known")
    assert select_trial(seen, "latency") in seen.front
    bare = replace(sweep, trials=tuple(replace(t, costs={}) for t in sweep.trials))
    with pytest.raises(UserError, match=r"select=latency: it is known of no member of the front"):
        select_trial(bare, "latency")


def test_what_was_trained_to_its_end_is_no_unfinished_one_there() -> None:
    sweep = doubtful()
    ruled_out = make_trial(-1, "4s4x96d", INFEASIBLE)
    sweep = replace(sweep, trials=(*sweep.trials, ruled_out))
    gone = sweep.front[0]
    found = costs_of(sweep)
    costing = found[gone.candidate]
    assert costing is not None
    found[gone.candidate] = replace(costing, infeasible="latency_ms 9 above the limit 2")
    seen = transferred(sweep, found)
    (record,) = [t for t in seen.trials if t.number == gone.number]
    assert not share_text(record).startswith("(")
    never = seen.trials[-1]
    assert never.reason == f"never trained: {ruled_out.reason} where it was searched"


def test_what_breaks_a_limit_there_is_on_no_front() -> None:
    sweep = doubtful()
    gone = sweep.front[0]
    found = costs_of(sweep)
    costing = found[gone.candidate]
    assert costing is not None
    found[gone.candidate] = replace(costing, infeasible="latency_ms 9 above the limit 2")
    seen = transferred(sweep, found, costs_of="there")
    (record,) = [t for t in seen.trials if t.number == gone.number]
    assert (record.state, record.reason) == (INFEASIBLE, "latency_ms 9 above the limit 2")
    assert gone.candidate not in {trial.candidate for trial in seen.front}
    assert changes(sweep, seen)[-1] == f"Trained here, and beyond a limit there: {gone.name}."
    assert seen.costs_of == "there"
    assert verdict(seen)[0].startswith("Seen with the costs of there;")
    assert not verdict(sweep)[0].startswith("Seen")


def test_the_front_of_earlier_costs_leaves_no_trace() -> None:
    sweep = doubtful()
    there = transferred(sweep, costs_of(sweep, 7.0) | {sweep.front[0].candidate: None})
    assert transferred(there, costs_of(sweep)) == transferred(sweep, costs_of(sweep))
