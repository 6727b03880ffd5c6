"""What is told of a sweep to a tracker, as plain data: configurations, summaries, tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from resnest_search.metrics import COSTS
from resnest_search.panels import Panel
from resnest_search.record import COMPLETE, Epoch, Sweep, TrialRecord
from resnest_search.redact import public_text

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
    members = [trial for trial in sweep.trials if _on_front(trial)]
    known = {
        "front_membership": [t.membership for t in members] if sweep.noise else None,  # as front
        "knee_share": sweep.knee_share,
        "seed_deviation": sweep.seed_deviation,
    }
    return {
        "finished": sweep.finished,
        "epochs": sweep.epochs,
        "budget": sweep.budget,
        "seconds": sweep.seconds,
        "front": [trial.variant for trial in members],
        "knee": next((t.variant for t in members if t.number == sweep.knee), ""),
        "rivals": [trial.variant for trial in sweep.trials if trial.number in sweep.rivals],
        **{name: value for name, value in known.items() if value},
    }


def trial_table(trials: Sequence[TrialRecord], front_only: bool = False) -> Rows:
    """A row for each trial, or for each member of the front."""
    columns: list[str | int] = [*_COLUMNS, "on_front", *_ACCURACY, *COSTS]
    rows: list[Iterable[Any]] = []
    for trial in trials:
        if front_only and not _on_front(trial):
            continue
        known = {name: getattr(trial, name) for name in _COLUMNS}
        known["reason"] = public_text(trial.reason)
        accuracy = (getattr(trial, name) for name in _ACCURACY)
        costs = (trial.costs.get(name) for name in COSTS)
        rows.append([*known.values(), _on_front(trial), *accuracy, *costs])
    return columns, rows


def chart_table(panel: Panel, sweep: Sweep) -> Rows:
    """Points of a scatter: complete trials alone, since the chart cannot mark the others."""
    names = [panel.x, panel.y, *[panel.size] * bool(panel.size)]
    columns: list[str | int] = ["variant", "on_front", *names]
    rows: list[Iterable[Any]] = [
        [t.variant, _on_front(t), *(t.metric(name) for name in names)]
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
        [f"{trial.number} {trial.variant} {trial.state}" for trial in trials],
    )
