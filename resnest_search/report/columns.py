"""The columns of a sweep's table, for the terminal and for the page."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

from resnest_search.metrics import SHARES, TRAINED, metric_of
from resnest_search.report.reading import (
    STATES,
    chosen,
    extra_parameters,
    front,
    full_epochs,
    interval_text,
    is_wide,
    knee,
    metric_text,
    metric_title,
    on_front,
    percent,
    shown,
    state_text,
    stated,
)
from resnest_search.study.record import Sweep, TrialRecord, value_text

__all__ = ["GAP", "Column", "columns", "fitting"]

# A narrow terminal loses these first; the page and the CSV keep them. The first two objectives, and
# what tells rows apart, it never loses, or last.
_SPARED = {
    "beside": 1,
    "gmacs": 1,
    "macro_f1": 1,
    "balanced_accuracy": 1,
    "images_per_s": 2,
    "parameters_m": 3,
    "memory_mib": 4,
    "latency_ms": 5,
    "accuracy": 6,
    "seeds": 7,
    "membership": 8,
    "number": 9,
    "seed": 10,
    "objective": 50,  # less its place among them
    "parameter": 60,
}
_ALWAYS = 2  # objectives
GAP = 2  # between the columns of a terminal
_C = TypeVar("_C", bound=Any)  # has a `spared`, as `Column` has


@dataclass(frozen=True)
class Column:
    """One column: its head, what it means, its text, and the value that it is sorted by.

    ``key`` heads that value where it is saved: as recorded, not in the unit of the head.
    """

    head: str
    meaning: str
    text: Callable[[TrialRecord], str]
    value: Callable[[TrialRecord], float | str | None]
    number: bool = True
    spared: int = 0  # the least positive is left out first where room lacks; 0 never is
    key: str = ""  # empty: as the head


def fitting(columns: Iterable[_C], width: Callable[[_C], int], room: int) -> list[_C]:
    """The columns for which there is room, each with a gap; what is spared first goes first."""
    chosen = list(columns)
    while sum(width(column) + GAP for column in chosen) > room:
        spared = [column for column in chosen if column.spared]
        if not spared:
            break
        chosen.remove(min(spared, key=lambda column: column.spared))
    return chosen


def columns(sweep: Sweep) -> list[Column]:
    """The columns of this sweep's table, left to right."""
    return [
        _mark(sweep),
        Column("#", "trial", _trial_number, _number, True, _SPARED["number"], "number"),
        *_variants(sweep),
        *(_parameter(key) for key in extra_parameters(sweep)),
        *_seed(sweep),
        *(column for name in shown(sweep) for column in _metric(sweep, name)),
        *(_beside(*mode) for mode in sweep.modes_beside.items()),
        _epochs(full_epochs(sweep)),
        Column("state", "state, and why", state_text, _state_order, number=False),
    ]


def _variants(sweep: Sweep) -> list[Column]:
    """None where a table brings parameters of its own, each of which has its column."""
    if not any(trial.variant for trial in sweep.trials) and extra_parameters(sweep):
        return []
    meaning = "radix s cardinality x width d"
    return [Column("variant", meaning, _variant, _variant, number=False)]


def _variant(trial: TrialRecord) -> str:
    return trial.variant


def _number(trial: TrialRecord) -> int | None:
    return None if trial.number < 0 else trial.number


def _trial_number(trial: TrialRecord) -> str:
    return "–" if trial.number < 0 else str(trial.number)


def _state_order(trial: TrialRecord) -> float:
    return STATES.index(trial.state)


def _mark(sweep: Sweep) -> Column:
    best, middle = chosen(sweep), knee(sweep)
    # Of a single member there is nothing to say that the star does not.
    word = "★ knee" if middle else "★ first" if len(front(sweep)) > 1 else "★"

    def text(trial: TrialRecord) -> str:
        if not on_front(trial):
            return ""
        return word if trial is best else "★"

    def value(trial: TrialRecord) -> float:
        return -2.0 if trial is best else -1.0 if on_front(trial) else 0.0

    meaning = (
        "★: on the Pareto front; first: in the order of the objectives, where there is no knee"
    )
    return Column("front", meaning, text, value, number=False)


def _parameter(key: str) -> Column:
    def text(trial: TrialRecord) -> str:
        return value_text(trial.parameters.get(key))

    def value(trial: TrialRecord) -> float | str | None:
        found = trial.parameters.get(key)
        return found if found is None or isinstance(found, int | float) else value_text(found)

    return Column(key.rpartition(".")[2], key, text, value, spared=_SPARED["parameter"], key=key)


def _seed(sweep: Sweep) -> list[Column]:
    """Only where a candidate was repeated, since else the seed tells no two rows apart."""
    if len({t.candidate for t in sweep.trials}) == len(sweep.trials):
        return []
    return [Column("seed", "seed", lambda t: str(t.seed), lambda t: t.seed, spared=_SPARED["seed"])]


def _has_means(sweep: Sweep) -> bool:
    """Whether some candidate has several seeds, over which shares are means."""
    return any(trial.seeds > 1 for trial in sweep.trials)


def _seeds(sweep: Sweep) -> list[Column]:
    """Only where some accuracy is a mean."""
    if not _has_means(sweep):
        return []

    def text(trial: TrialRecord) -> str:
        return str(trial.seeds) if trial.stands else ""

    meaning = "seeds that what is trained is the mean of"
    return [Column("seeds", meaning, text, lambda t: t.seeds, spared=_SPARED["seeds"])]


def _membership(sweep: Sweep) -> list[Column]:
    if all(trial.membership is None for trial in sweep.trials):
        return []
    return [
        Column(
            "front %",
            "probability of being on the front, in the face of noise, %",
            lambda t: percent(t.membership),
            lambda t: t.membership,
            spared=_SPARED["membership"],
            key="membership",
        )
    ]


def _metric(sweep: Sweep, name: str) -> list[Column]:
    """A metric; beside the share that is sought, else the accuracy, of how many seeds it is, and
    what noise leaves open.
    """
    metric = metric_of(name)
    meaning = metric_title(sweep, name)
    share = sweep.reported if sweep.reported in SHARES else "accuracy"
    if name == share:
        meaning = f"{meaning.removesuffix(', %')} ± standard error, %"
    if name in TRAINED:
        meaning += "; in parentheses: unfinished"
    if name == "latency_ms" and any(trial.half_width is not None for trial in sweep.trials):
        meaning += " ± half of its interval of 95 %; !: wider than was asked"
    column = Column(
        metric.label,
        meaning,
        lambda t: _marked(sweep, t, name),
        lambda t: stated(t, name),
        spared=_spared(sweep, name),
        key=f"mean_{name}" if name in SHARES and _has_means(sweep) else name,
    )
    return [column, *_seeds(sweep), *_membership(sweep)] if name == share else [column]


def _beside(name: str, how: str) -> Column:
    """The latency in a mode that no objective is of."""
    key = f"{name}.latency_ms"

    def text(trial: TrialRecord) -> str:
        costs = trial.costs_beside
        if key not in costs:
            return "–"
        high = costs.get(f"{name}.latency_high_ms")
        half = None if high is None else high / costs[key] - 1
        return interval_text(costs[key], half)

    meaning = f"latency, ms (median) in the mode {name}, recorded beside the objectives: {how}"
    return Column(
        f"{name} ms",
        meaning,
        text,
        lambda t: t.costs_beside.get(key),
        spared=_SPARED["beside"],
        key=key,
    )


def _marked(sweep: Sweep, trial: TrialRecord, name: str) -> str:
    """A metric in a cell, a latency that is not as sure as was asked with a mark."""
    mark = "!" if name == "latency_ms" and is_wide(sweep, trial) else ""
    return metric_text(trial, name) + mark


def _spared(sweep: Sweep, name: str) -> int:
    if name not in sweep.objectives:
        return _SPARED.get(name, 1)
    place = sweep.objectives.index(name)
    return 0 if place < _ALWAYS else _SPARED["objective"] - place


def _epochs(full: int | None) -> Column:
    def text(trial: TrialRecord) -> str:
        return f"{trial.epochs}/{full}" if full else str(trial.epochs)

    return Column("epochs", "epochs trained, of a full length", text, lambda t: t.epochs)
