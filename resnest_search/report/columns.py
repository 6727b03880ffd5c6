"""The columns of a sweep's table, for the terminal and for the page."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from resnest_search.metrics import METRICS
from resnest_search.record import COMPLETE, Sweep, TrialRecord
from resnest_search.report.reading import (
    STATES,
    accuracy_text,
    extra_parameters,
    full_epochs,
    knee,
    metric_title,
    on_front,
    percent,
    state_text,
    stated_accuracy,
    value_text,
)

__all__ = ["Column", "columns"]

# a narrow terminal loses these first; the page and the CSV keep them
_SPARED = {
    "gmacs": 1,
    "images_per_s": 2,
    "parameters_m": 3,
    "memory_mib": 4,
    "seed": 5,
    "parameter": 6,
    "seeds": 7,
    "membership": 8,
    "number": 9,
}


@dataclass(frozen=True)
class Column:
    """One column: its head, what it means, its text, and the value that it is sorted by."""

    head: str
    meaning: str
    text: Callable[[TrialRecord], str]
    value: Callable[[TrialRecord], float | str | None]
    number: bool = True
    spared: int = 0  # the least positive is left out first where room lacks; 0 never is


def columns(sweep: Sweep) -> list[Column]:
    """The columns of this sweep's table, left to right."""
    return [
        _mark(sweep),
        Column("#", "trial", _trial_number, lambda t: t.number, spared=_SPARED["number"]),
        Column("variant", "radix s cardinality x width d", _variant, _variant, number=False),
        *(_parameter(key) for key in extra_parameters(sweep)),
        *_seed(sweep),
        *_costs(sweep),
        Column(
            METRICS["accuracy"].label,
            "validation accuracy ± standard error, %; in parentheses: unfinished",
            accuracy_text,
            lambda t: stated_accuracy(t)[0],
        ),
        *_seeds(sweep),
        *_membership(sweep),
        _epochs(full_epochs(sweep)),
        Column("state", "state, and why", state_text, _state_order, number=False),
    ]


def _variant(trial: TrialRecord) -> str:
    return trial.variant


def _trial_number(trial: TrialRecord) -> str:
    return "–" if trial.number < 0 else str(trial.number)


def _state_order(trial: TrialRecord) -> float:
    return STATES.index(trial.state)


def _mark(sweep: Sweep) -> Column:
    best = knee(sweep)

    def text(trial: TrialRecord) -> str:
        if not on_front(trial):
            return ""
        return "★ knee" if trial is best else "★"

    def value(trial: TrialRecord) -> float:
        return -2.0 if trial is best else -1.0 if on_front(trial) else 0.0

    return Column("front", "★: on the Pareto front", text, value, number=False)


def _parameter(key: str) -> Column:
    def text(trial: TrialRecord) -> str:
        return value_text(trial.parameters.get(key))

    def value(trial: TrialRecord) -> float | str | None:
        found = trial.parameters.get(key)
        return found if found is None or isinstance(found, int | float) else value_text(found)

    return Column(key.rpartition(".")[2], key, text, value, spared=_SPARED["parameter"])


def _seed(sweep: Sweep) -> list[Column]:
    """Only where a candidate was repeated, since else the seed tells no two rows apart."""
    if len({t.candidate for t in sweep.trials}) == len(sweep.trials):
        return []
    return [Column("seed", "seed", lambda t: str(t.seed), lambda t: t.seed, spared=_SPARED["seed"])]


def _seeds(sweep: Sweep) -> list[Column]:
    """Only where some accuracy is a mean."""
    if all(trial.seeds == 1 for trial in sweep.trials):
        return []

    def text(trial: TrialRecord) -> str:
        return str(trial.seeds) if trial.repeat_of is None and trial.state == COMPLETE else ""

    meaning = "seeds that the accuracy is the mean of"
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
        )
    ]


def _costs(sweep: Sweep) -> list[Column]:
    """Only what is known of some trial: a table of recorded curves may lack most of them."""
    names = ("parameters_m", "gmacs", "latency_ms", "memory_mib", "images_per_s")
    known = {name for trial in sweep.trials for name in trial.costs}
    return [_cost(sweep, name) for name in names if name in known or not known]


def _cost(sweep: Sweep, name: str) -> Column:
    metric = METRICS[name]
    return Column(
        metric.label,
        metric_title(sweep, name),
        lambda t: metric.show(t.costs.get(name)),
        lambda t: t.costs.get(name),
        spared=_SPARED.get(name, 0),
    )


def _epochs(full: int | None) -> Column:
    def text(trial: TrialRecord) -> str:
        return f"{trial.epochs}/{full}" if full else str(trial.epochs)

    return Column("epochs", "epochs trained, of a full length", text, lambda t: t.epochs)
