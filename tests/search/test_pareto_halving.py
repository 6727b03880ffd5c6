"""Pruners: the contract that every decision at a rung keeps, on real studies."""

from __future__ import annotations

import copy
import itertools
import math
import pickle
from collections.abc import Mapping, Sequence
from fractions import Fraction
from random import Random
from typing import Any

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.trial import FrozenTrial, TrialState, create_trial

from resnest_search.configuration.schema import MethodConfig
from resnest_search.errors import UserError
from resnest_search.search.pruners import ParetoHalvingPruner, build_pruner

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
some = settings(max_examples=60, deadline=None)
WAYS = {"accuracy": "maximize", "loss": "minimize", "latency_ms": "minimize", "mib": "minimize"}


def make_study(objectives: Sequence[str] = ("accuracy", "latency_ms")) -> optuna.Study:
    study = optuna.create_study(directions=[WAYS[name] for name in objectives])
    study.set_metric_names(list(objectives))
    return study


def enter(
    study: optuna.Study,
    curve: Mapping[int, float],
    costs: Mapping[str, float] | None = None,
    state: TrialState = TrialState.RUNNING,
) -> FrozenTrial:
    values = [0.0] * len(study.directions) if state == TrialState.COMPLETE else None
    study.add_trial(
        create_trial(
            state=state,
            values=values,
            intermediate_values=dict(curve),
            user_attrs=dict(costs or {}),
        )
    )
    return study.get_trials()[-1]


def arrive(
    pruner: ParetoHalvingPruner, rows: Sequence[tuple[float, float]], rung: int = 1
) -> list[bool]:
    """Trials of (accuracy, latency) reach a rung one after the other; which were kept."""
    study = make_study()
    kept = []
    for accuracy, latency in rows:
        trial = enter(study, {rung: accuracy}, {"latency_ms": latency})
        kept.append(not pruner.prune(study, trial))
    return kept


# The rule again, without numpy, with exact numbers.


def plain_kept(points: list[tuple[float, ...]], index: int, factor: int, spare: bool) -> bool:
    if any(math.isnan(value) for value in points[index]):
        return False
    ranks = plain_ranks(points)
    room = max(1, -(-len(points) // factor))
    ahead = sum(rank < ranks[index] for rank in ranks)
    mates = [i for i, rank in enumerate(ranks) if rank == ranks[index]]
    if spare and ranks[index] == 0:
        return True
    if ahead >= room:
        return False
    shares = plain_contributions([points[i] for i in mates])
    order = sorted(range(len(mates)), key=lambda i: (-shares[i], mates[i]))
    return index in [mates[i] for i in order[: room - ahead]]


def plain_ranks(points: list[tuple[float, ...]]) -> list[int]:
    left = {i for i, point in enumerate(points) if not any(math.isnan(v) for v in point)}
    ranks = [len(points)] * len(points)
    for rank in itertools.count():
        if not left:
            return ranks
        front = {i for i in left if not any(beats(points[j], points[i]) for j in left)}
        for i in front:
            ranks[i] = rank
        left -= front
    raise AssertionError


def beats(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    return a != b and all(x <= y for x, y in zip(a, b, strict=True))


def plain_contributions(points: list[tuple[float, ...]]) -> list[Fraction]:
    columns = list(zip(*points, strict=True))
    scaled = [
        tuple(
            Fraction(value - min(column)) / (Fraction(max(column) - min(column)) or 1)
            for value, column in zip(map(Fraction, point), map(exact, columns), strict=True)
        )
        for point in points
    ]
    whole = union(scaled)
    return [whole - union(scaled[:i] + scaled[i + 1 :]) for i in range(len(points))]


def exact(column: Sequence[float]) -> list[Fraction]:
    return [Fraction(value) for value in column]


def union(points: list[tuple[Fraction, ...]]) -> Fraction:
    """Volume of the boxes from the points to 1.1: by inclusion and exclusion."""
    total = Fraction(0)
    for size in range(1, len(points) + 1):
        for chosen in itertools.combinations(set(points), size):
            sides = (Fraction(11, 10) - max(column) for column in zip(*chosen, strict=True))
            total += (-1) ** (size + 1) * math.prod(sides)
    return total


NUMBERS = st.integers(0, 4).map(float)
MAYBE_NAN = st.one_of(NUMBERS, NUMBERS, NUMBERS, st.just(math.nan))
ROWS = st.lists(st.tuples(MAYBE_NAN, NUMBERS, NUMBERS), min_size=1, max_size=7)


@some
@given(ROWS, st.integers(2, 4), st.booleans(), st.data())
def test_it_agrees_with_the_plain_rule(
    rows: list[tuple[float, float, float]], factor: int, spare: bool, data: st.DataObject
) -> None:
    study = make_study(("accuracy", "latency_ms", "mib"))
    pruner = ParetoHalvingPruner(1, factor, spare)
    for accuracy, latency, mib in rows:
        enter(study, {1: accuracy}, {"latency_ms": latency, "mib": mib})
    index = data.draw(st.integers(0, len(rows) - 1))
    points = [(-accuracy, latency, mib) for accuracy, latency, mib in rows]
    decision = pruner.explain(study, study.get_trials()[index])
    assert decision is not None
    assert decision.kept == plain_kept(points, index, factor, spare)
    assert decision.reached == len(rows)


@some
@given(ROWS, st.integers(2, 4))
def test_the_front_is_spared_whatever_the_room(
    rows: list[tuple[float, float, float]], factor: int
) -> None:
    study = make_study(("accuracy", "latency_ms", "mib"))
    pruner = ParetoHalvingPruner(1, factor, spare_front=True)
    points = [(-accuracy, latency, mib) for accuracy, latency, mib in rows]
    for (accuracy, latency, mib), point in zip(rows, points, strict=True):
        trial = enter(study, {1: accuracy}, {"latency_ms": latency, "mib": mib})
        known = points[: trial.number + 1]
        if not math.isnan(accuracy) and not any(beats(other, point) for other in known):
            assert not pruner.prune(study, trial)


@some
@given(ROWS, st.integers(2, 4))
def test_a_full_rung_keeps_as_many_as_it_has_room_for(
    rows: list[tuple[float, float, float]], factor: int
) -> None:
    """Asked when all have arrived, the rung keeps its best share and no more."""
    study = make_study(("accuracy", "latency_ms", "mib"))
    pruner = ParetoHalvingPruner(1, factor)
    for accuracy, latency, mib in rows:
        enter(study, {1: accuracy}, {"latency_ms": latency, "mib": mib})
    kept = sum(not pruner.prune(study, trial) for trial in study.get_trials())
    able = sum(not math.isnan(row[0]) for row in rows)
    assert kept == min(able, max(1, math.ceil(len(rows) / factor)))


# Arrival


def test_the_first_to_come_goes_on_however_poor() -> None:
    assert arrive(ParetoHalvingPruner(1, 3), [(0.01, 99.0)]) == [True]


def test_order_of_arrival_decides_for_those_who_came_early() -> None:
    good, fair, poor = (0.9, 1.0), (0.8, 2.0), (0.7, 3.0)
    pruner = ParetoHalvingPruner(1, 2)
    assert arrive(pruner, [good, fair, poor]) == [True, False, False]
    assert arrive(pruner, [poor, fair, good]) == [True, True, True]
    assert arrive(pruner, [fair, poor, good]) == [True, False, True]


def test_what_became_of_a_rival_does_not_matter_unless_it_failed() -> None:
    for state in (TrialState.RUNNING, TrialState.PRUNED, TrialState.COMPLETE):
        study = make_study()
        enter(study, {1: 0.9}, {"latency_ms": 1.0}, state)
        trial = enter(study, {1: 0.5}, {"latency_ms": 2.0})
        assert ParetoHalvingPruner(1, 2).prune(study, trial), state
    study = make_study()
    enter(study, {1: 0.9}, {"latency_ms": 1.0}, TrialState.FAIL)
    assert not ParetoHalvingPruner(1, 2).prune(study, enter(study, {1: 0.5}, {"latency_ms": 2.0}))


def test_a_rival_that_has_gone_on_counts_by_its_value_at_the_rung() -> None:
    study = make_study()
    enter(study, {1: 0.2, 2: 0.99}, {"latency_ms": 1.0})
    trial = enter(study, {1: 0.3}, {"latency_ms": 1.0})
    assert not ParetoHalvingPruner(1, 2).prune(study, trial)


def test_identical_trials_keep_those_of_smaller_number() -> None:
    study = make_study()
    pruner = ParetoHalvingPruner(1, 3)
    for _ in range(7):
        enter(study, {1: 0.5}, {"latency_ms": 1.0})
    kept = [not pruner.prune(study, trial) for trial in study.get_trials()]
    assert kept == [True, True, True, False, False, False, False]


def test_within_the_last_front_the_larger_contribution_stays() -> None:
    study = make_study()
    # One front; the second trial crowds the first, the third stands alone between the ends.
    for accuracy, latency in [(0.1, 0.0), (0.12, 0.1), (0.6, 3.0), (0.9, 10.0)]:
        enter(study, {1: accuracy}, {"latency_ms": latency})
    kept = [not ParetoHalvingPruner(1, 2).prune(study, trial) for trial in study.get_trials()]
    assert kept == [False, False, True, True]


def test_nan_is_never_kept_and_harms_nobody() -> None:
    pruner = ParetoHalvingPruner(1, 2, spare_front=True)
    rows = [(math.nan, 0.0), (0.5, 2.0), (math.nan, 0.1), (0.4, 1.0)]
    assert arrive(pruner, rows) == [False, True, False, True]


def test_a_trial_whose_cost_is_not_known_is_not_kept() -> None:
    study = make_study()
    assert ParetoHalvingPruner(1, 2).prune(study, enter(study, {1: 0.9}))


# Rungs


def test_rungs_lie_at_powers_below_the_full_length() -> None:
    assert ParetoHalvingPruner(1, 3).rungs(9) == (1, 3)
    assert ParetoHalvingPruner(1, 3).rungs(10) == (1, 3, 9)
    assert ParetoHalvingPruner(3, 2).rungs(9) == (3, 6)
    assert ParetoHalvingPruner(5, 2).rungs(5) == ()
    assert ParetoHalvingPruner(1, 2).rungs(8) == (1, 2, 4)
    median = MethodConfig("MedianPruner")
    built = build_pruner(median, objectives=["accuracy"], reported="accuracy", epochs=8)
    assert built.rungs(8) == ()


def test_between_rungs_and_at_the_full_length_nothing_is_decided() -> None:
    pruner = ParetoHalvingPruner(1, 2, epochs=8)
    decided = []
    for epochs in range(1, 11):
        study = make_study()
        enter(study, dict.fromkeys(range(1, 12), 0.9), {"latency_ms": 1.0})
        trial = enter(study, dict.fromkeys(range(1, epochs + 1), 0.1), {"latency_ms": 2.0})
        decided.append(pruner.explain(study, trial) is not None)
    assert [epoch for epoch, is_so in enumerate(decided, start=1) if is_so] == [1, 2, 4]


def test_without_a_full_length_every_rung_decides() -> None:
    study = make_study()
    enter(study, {16: 0.9}, {"latency_ms": 1.0})
    trial = enter(study, {16: 0.1}, {"latency_ms": 2.0})
    assert ParetoHalvingPruner(1, 2).prune(study, trial)


def test_who_skipped_a_rung_is_no_rival_there() -> None:
    study = make_study()
    enter(study, {2: 0.9}, {"latency_ms": 1.0})
    trial = enter(study, {1: 0.1}, {"latency_ms": 2.0})
    decision = ParetoHalvingPruner(1, 2).explain(study, trial)
    assert decision is not None
    assert (decision.kept, decision.reached) == (True, 1)


def test_a_trial_without_an_epoch_is_not_decided_on() -> None:
    study = make_study()
    assert not ParetoHalvingPruner(1, 2).prune(study, enter(study, {}))


def test_the_reason_says_where_the_trial_stood() -> None:
    study = make_study()
    for accuracy, latency in [(0.9, 1.0), (0.8, 2.0), (0.7, 3.0)]:
        trial = enter(study, {1: accuracy}, {"latency_ms": latency})
    decision = ParetoHalvingPruner(1, 3).explain(study, trial)
    assert decision is not None
    assert decision.reason == "Pareto rank 3 of 3 among 3 trials, room for 1"


# Directions


@pytest.mark.parametrize(("objective", "best", "worst"), [("accuracy", 0.9, 0.1), ("loss", 0.1, 2)])
def test_one_objective_in_either_direction(objective: str, best: float, worst: float) -> None:
    study = make_study([objective])
    pruner = ParetoHalvingPruner(1, 2, reported=objective)
    assert not pruner.prune(study, enter(study, {1: best}))
    assert pruner.prune(study, enter(study, {1: worst}))
    assert not pruner.prune(study, enter(study, {1: best + (best - worst)}))


def test_one_objective_without_a_name_is_the_reported_one() -> None:
    study = optuna.create_study(direction="minimize")
    enter(study, {1: 0.1})
    assert ParetoHalvingPruner(1, 2).prune(study, enter(study, {1: 0.2}))


# Size and repetition


def test_thousands_of_trials() -> None:
    study = make_study(("accuracy", "latency_ms", "mib"))
    draw = Random(0)
    study.add_trials(
        create_trial(
            state=TrialState.PRUNED,
            intermediate_values={1: draw.random()},
            user_attrs={"latency_ms": draw.random(), "mib": draw.random()},
        )
        for _ in range(3000)
    )
    pruner = ParetoHalvingPruner(1, 3)
    assert not pruner.prune(study, enter(study, {1: 1.1}, {"latency_ms": -1.0, "mib": -1.0}))
    assert pruner.prune(study, enter(study, {1: -0.1}, {"latency_ms": 2.0, "mib": 2.0}))


@some
@given(ROWS)
def test_a_decision_repeats_itself_and_changes_nothing(
    rows: list[tuple[float, float, float]],
) -> None:
    study = make_study(("accuracy", "latency_ms", "mib"))
    for accuracy, latency, mib in rows:
        enter(study, {1: accuracy}, {"latency_ms": latency, "mib": mib})
    trials = study.get_trials()
    first = [ParetoHalvingPruner(1, 2).explain(study, trial) for trial in trials]
    assert [ParetoHalvingPruner(1, 2).explain(study, trial) for trial in trials] == first
    assert repr(study.get_trials()) == repr(trials)


# The pruner that has seen the study grow


def changed(study: optuna.Study, number: int, state: TrialState | None, **values: float) -> None:
    """Alter a running trial as a sweep would: an epoch, a cost, an end."""
    trial_id = study.get_trials()[number]._trial_id
    for name, value in values.items():
        if name == "accuracy":
            study._storage.set_trial_intermediate_value(trial_id, 1, value)
        else:
            study._storage.set_trial_user_attr(trial_id, name, value)
    if state is not None:
        done = [0.0] * 3 if state == TrialState.COMPLETE else None
        study._storage.set_trial_state_values(trial_id, state, done)


EVENTS = st.lists(
    st.tuples(
        st.integers(0, 40), st.sampled_from(["new", "new", "late", "value", "FAIL", "PRUNED"])
    ),
    min_size=1,
    max_size=25,
)


@some
@given(EVENTS, st.lists(st.tuples(MAYBE_NAN, NUMBERS, NUMBERS), min_size=25), st.booleans())
def test_a_pruner_that_saw_the_study_grow_decides_as_one_that_did_not(
    events: list[tuple[int, str]], rows: list[tuple[float, float, float]], spare: bool
) -> None:
    study = make_study(("accuracy", "latency_ms", "mib"))
    old = ParetoHalvingPruner(1, 2, spare)
    for (choice, event), (accuracy, latency, mib) in zip(events, rows, strict=False):
        running = [t.number for t in study.get_trials() if t.state == TrialState.RUNNING]
        costs = {"latency_ms": latency, "mib": mib}
        if event in ("new", "late") or not running:
            enter(study, {1: accuracy} if event == "new" else {}, costs)
        else:
            number = running[choice % len(running)]
            state = None if event == "value" else TrialState[event]
            values = {"accuracy": accuracy, **costs} if event == "value" else {}
            changed(study, number, state, **values)
        for trial in study.get_trials():
            fresh = ParetoHalvingPruner(1, 2, spare)
            assert old.explain(study, trial) == fresh.explain(study, trial)
        paused = [t for t in study.get_trials() if t.state == TrialState.RUNNING and t.last_step]
        promoted = old.promotable(study, paused)
        assert promoted == ParetoHalvingPruner(1, 2, spare).promotable(study, paused)
        assert set(promoted) == {t.number for t in paused if not old.prune(study, t)}


def test_a_trial_counts_as_it_is_given_and_only_then() -> None:
    study = make_study()
    enter(study, {1: 0.5}, {"latency_ms": 1.0})
    waiting = enter(study, {}, {"latency_ms": 1.0})
    ahead = copy.copy(waiting)
    ahead.intermediate_values = {1: 0.9}
    pruner = ParetoHalvingPruner(1, 2)
    assert not pruner.prune(study, ahead)
    assert not pruner.prune(study, study.get_trials()[0])  # the other has not arrived
    stranger = create_trial(
        state=TrialState.RUNNING, intermediate_values={1: 0.1}, user_attrs={"latency_ms": 9.0}
    )
    assert pruner.prune(study, stranger)
    decision = pruner.explain(study, study.get_trials()[0])
    assert decision is not None
    assert decision.reached == 1


def test_names_and_studies_are_told_apart() -> None:
    pruner = ParetoHalvingPruner(1, 2)
    first, second = make_study(), make_study()
    enter(first, {1: 0.9}, {"latency_ms": 1.0})
    assert not pruner.prune(first, first.get_trials()[0])
    assert not pruner.prune(second, enter(second, {1: 0.1}, {"latency_ms": 2.0, "mib": 0.0}))
    loser = enter(first, {1: 0.1}, {"latency_ms": 2.0, "mib": 0.0})
    assert pruner.prune(first, loser)
    first.set_metric_names(["accuracy", "mib"])
    assert not pruner.prune(first, loser)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda p: pickle.loads(pickle.dumps(p))])
def test_a_copy_of_a_pruner_decides_alike(copied: Any) -> None:
    study = make_study()
    pruner = ParetoHalvingPruner(1, 2)
    enter(study, {1: 0.9}, {"latency_ms": 1.0})
    trial = enter(study, {1: 0.1}, {"latency_ms": 2.0})
    assert pruner.explain(study, trial) == copied(pruner).explain(study, trial)


# Promotion


def test_who_was_paused_goes_on_when_the_rung_has_grown() -> None:
    study = make_study()
    pruner = ParetoHalvingPruner(1, 2)
    enter(study, {1: 0.9}, {"latency_ms": 1.0})
    paused = enter(study, {1: 0.8}, {"latency_ms": 2.0})
    assert pruner.prune(study, paused)
    assert pruner.promotable(study, [paused]) == []
    for accuracy in (0.1, 0.2):
        enter(study, {1: accuracy}, {"latency_ms": 3.0})
    assert pruner.promotable(study, [paused]) == [paused.number]


def test_the_furthest_go_first_then_the_better_rank_then_the_larger_contribution() -> None:
    study = make_study()
    rows = [(0.1, 0.0), (0.12, 0.1), (0.6, 3.0), (0.9, 10.0), (0.8, 11.0), (0.01, 20.0)]
    for accuracy, latency in rows:
        enter(study, {1: accuracy}, {"latency_ms": latency})
    for accuracy, latency in rows[:2]:
        enter(study, {1: accuracy, 2: accuracy}, {"latency_ms": latency + 5})
    paused = study.get_trials()
    assert ParetoHalvingPruner(1, 2).promotable(study, paused) == [6, 2, 3, 1, 0]
    spared = ParetoHalvingPruner(1, 4, spare_front=True).promotable(study, paused)
    assert spared == [6, 7, 2, 3, 1, 0]
    few = ParetoHalvingPruner(1, 4).promotable(study, paused)
    assert few == [6, 7, 2, 3]  # epoch 2 is no rung of theirs


def test_a_trial_of_nan_is_not_promoted_and_one_between_rungs_is() -> None:
    study = make_study()
    pruner = ParetoHalvingPruner(1, 2)
    spoilt = enter(study, {1: math.nan}, {"latency_ms": 1.0})
    between = enter(study, {1: 0.1, 2: 0.1, 3: 0.1}, {"latency_ms": 9.0})
    assert pruner.promotable(study, [spoilt, between]) == [between.number]


# Constructors and the factory


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"first_rung": 0}, "first_rung"),
        ({"first_rung": -3}, "first_rung"),
        ({"first_rung": 1.5}, "first_rung"),
        ({"reduction_factor": 1}, "reduction_factor"),
        ({"reduction_factor": 2.5}, "reduction_factor"),
    ],
)
def test_an_argument_out_of_its_range_is_named(arguments: dict[str, Any], name: str) -> None:
    with pytest.raises(ValueError, match=rf"{name}.*{next(iter(arguments.values()))}"):
        ParetoHalvingPruner(**arguments)


def build(name: str, objectives: Sequence[str] = ("accuracy",), **args: Any) -> Any:
    config = MethodConfig(name, args)
    reported = "loss" if objectives[0] == "loss" else "accuracy"
    return build_pruner(config, objectives=objectives, reported=reported, epochs=9)


def test_none_never_prunes() -> None:
    study = make_study(["accuracy"])
    enter(study, {1: 0.9})
    assert not build("none").prune(study, enter(study, {1: 0.0}))


def test_our_own_knows_the_length_and_the_reported_objective() -> None:
    pruner = build("pareto_halving", ("loss", "latency_ms"), first_rung=3, reduction_factor=3)
    study = make_study(("loss", "latency_ms"))
    enter(study, {3: 0.1, 9: 0.1}, {"latency_ms": 1.0})
    assert pruner.prune(study, enter(study, {3: 0.2}, {"latency_ms": 1.0}))
    assert not pruner.prune(study, enter(study, {3: 0.1, 9: 0.2}, {"latency_ms": 1.0}))


@pytest.mark.parametrize(
    ("name", "objectives", "args", "words"),
    [
        ("median", ("accuracy",), {}, "search.pruner.name=median: no such pruner; valid: none"),
        ("", ("accuracy",), {}, "MedianPruner"),
        ("BasePruner", ("accuracy",), {}, "no such pruner"),
        ("MedianPruner", ("latency_ms", "mib"), {}, "follow a trained objective"),
        ("MedianPruner", ("accuracy", "mib"), {"objective": "mib"}, "args.objective=mib: trials"),
        ("MedianPruner", ("accuracy",), {"objective": "loss"}, "args.objective=loss: trials"),
        ("pareto_halving", ("accuracy",), {"first": 1}, "search.pruner.args.first: pareto_halving"),
        ("pareto_halving", ("accuracy",), {"epochs": 1}, "search.pruner.args.epochs"),
        ("pareto_halving", ("accuracy",), {"first_rung": 0}, "first_rung must be"),
        ("pareto_halving", ("accuracy",), {"first_rung": "one"}, "first_rung"),
        ("pareto_halving", ("accuracy",), {"spare_front": "no"}, "spare_front"),
        ("MedianPruner", ("accuracy",), {"warmup": 1}, "valid: n_startup_trials, n_warmup_steps"),
        ("MedianPruner", ("accuracy",), {"n_startup_trials": -1}, "n_startup_trials"),
        ("PatientPruner", ("accuracy",), {}, "PatientPruner"),
        (
            "PatientPruner",
            ("accuracy",),
            {"patience": 1, "wrapped_pruner": "Median"},
            "valid: null",
        ),
        ("none", ("accuracy",), {"first_rung": 1}, "search.pruner.args"),
    ],
)
def test_the_factory_refuses_in_one_line(
    name: str, objectives: Sequence[str], args: dict[str, Any], words: str
) -> None:
    with pytest.raises(UserError) as caught:
        build(name, objectives, **args)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
