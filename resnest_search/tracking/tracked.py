"""What is told of a sweep to a tracker, as plain data: configurations, summaries, tables."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from resnest_search.metrics import COSTS
from resnest_search.panels import Panel
from resnest_search.redact import public_text
from resnest_search.study.record import COMPLETE, Epoch, Sweep, TrialRecord

__all__ = [
    "Rows",
    "chart_table",
    "curve_lines",
    "epoch_row",
    "sweep_summary",
    "trial_config",
    "trial_summary",
    "trial_table",
]

Rows = tuple[list[str | int], list[Iterable[Any]]]  # columns, rows

_COLUMNS = ("number", "candidate", "variant", "state", "reason", "pruned_at", "epochs", "seed")
_ACCURACY = (
    "accuracy",
    "accuracy_error",
    "membership",
    "knee_share",
    "seeds",
    "mean_accuracy",
    "mean_error",
    "repeat_of",
)
_MOST_CURVES = 100  # of one chart


def _on_front(record: TrialRecord) -> bool:
    return record.on_front and record.state == COMPLETE


def trial_config(record: TrialRecord) -> dict[str, Any]:
    """What the trial was, and where and how it was measured."""
    return {
        "trial": record.number,
        "candidate": record.candidate,
        "variant": record.variant,
        "parameters": record.parameters,
        "seed": record.seed,
        "device": record.device,
        "mode": record.mode,
        "train_mode": record.train_mode,
        "versions": record.versions,
    }


def epoch_row(epoch: Epoch) -> dict[str, Any]:
    """The numbers of one epoch."""
    found = asdict(epoch)
    del found["correct"]  # a text, for comparing candidates image by image
    return {name: value for name, value in found.items() if value is not None}


def trial_summary(record: TrialRecord) -> dict[str, Any]:
    """What was measured; ``final_accuracy`` only where training ended as planned."""
    found = {
        "state": record.state,
        "reason": public_text(record.reason),
        "pruned_at": record.pruned_at,
        "epochs": record.epochs,
        "accuracy_error": record.accuracy_error,
        "final_accuracy": record.accuracy if record.state == COMPLETE else None,
        "validation_images": record.validation_images or None,
        "training_seconds": record.seconds,
        "on_front_so_far": _on_front(record),  # the summary run has the last word
        **record.costs,
    }
    return {key: value for key, value in found.items() if value is not None}


def sweep_summary(sweep: Sweep) -> dict[str, Any]:
    """The sweep's outcome."""
    members = sweep.front
    best = next((t.name for t in members if t.number == sweep.chosen), "")
    known = {
        "front_membership": [t.membership for t in members] if sweep.noise else None,  # as front
        "knee_share": sweep.knee_share,
        "seed_deviation": sweep.seed_deviation,
    }
    return {
        "finished": sweep.finished,
        "interrupted": sweep.interrupted,
        "epochs": sweep.epochs,
        "budget": sweep.budget,
        "seconds": sweep.seconds,
        "front": [trial.name for trial in members],
        "chosen": best,
        "chosen_by": "knee" if sweep.knee is not None else _in_order(sweep),
        "knee": best if sweep.knee is not None else "",
        "rivals": [trial.name for trial in sweep.trials if trial.number in sweep.rivals],
        **{name: value for name, value in known.items() if value},
    }


def _in_order(sweep: Sweep) -> str:
    """Why a front of one or two members stands for what it does; empty without a front."""
    order = ", ".join(sweep.objectives)
    return f"nothing to choose: first in the order {order}" if sweep.front else ""


def trial_table(sweep: Sweep, front_only: bool = False) -> Rows:
    """A row for each trial, or each member of the front; the objectives first, in their order."""
    keys = sorted({key for trial in sweep.trials for key in trial.extras})
    recorded = (*_ACCURACY, *COSTS, *sweep.own_costs)
    rest = [name for name in recorded if name not in sweep.objectives]
    metrics = [*sweep.objectives, *rest]
    columns: list[str | int] = [*_COLUMNS, *keys, "on_front", *metrics]
    rows: list[Iterable[Any]] = []
    for trial in sweep.front if front_only else sweep.trials:
        known = {name: getattr(trial, name) for name in _COLUMNS}
        known["reason"] = public_text(trial.reason)
        extras = (trial.extras.get(key) for key in keys)
        numbers = (_number(trial, name) for name in metrics)
        rows.append([*known.values(), *extras, _on_front(trial), *numbers])
    return columns, rows


def _number(trial: TrialRecord, name: str) -> Any:
    return getattr(trial, name) if name in _ACCURACY else trial.metric(name)


def chart_table(panel: Panel, sweep: Sweep) -> Rows:
    """Points of a scatter: complete trials alone, since the chart cannot mark the others."""
    names = [panel.x, panel.y, *[panel.size] * bool(panel.size)]
    columns: list[str | int] = ["variant", "on_front", *names]
    rows: list[Iterable[Any]] = [
        [t.name, _on_front(t), *(t.metric(name) for name in names)]
        for t in sweep.trials
        if t.state == COMPLETE and t.metric(panel.x) is not None and t.metric(panel.y) is not None
    ]
    return columns, rows


def curve_lines(panel: Panel, sweep: Sweep) -> tuple[list[list[int]], list[list[float]], list[str]]:
    """Epochs, values and name of each trial's curve, the front's first."""
    trials = [trial for trial in sweep.trials if trial.curve]
    trials = sorted(trials, key=lambda trial: not _on_front(trial))[:_MOST_CURVES]
    return (
        [[epoch.epoch for epoch in trial.curve] for trial in trials],
        [[getattr(epoch, panel.y) for epoch in trial.curve] for trial in trials],
        [f"{trial.number} {trial.name} {trial.state}" for trial in trials],
    )
