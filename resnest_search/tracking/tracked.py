"""What is told of a sweep to a tracker, as plain data: configurations, summaries, tables."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from resnest_search.metrics import COSTS, SHARES, TRAINED
from resnest_search.redact import public_config, public_text
from resnest_search.study.record import COMPLETE, Epoch, Sweep, TrialRecord, varied

__all__ = [
    "EPOCH_METRICS",
    "Rows",
    "config_columns",
    "epoch_row",
    "group_of",
    "sweep_summary",
    "trial_config",
    "trial_summary",
    "trial_table",
]

Rows = tuple[list[str | int], list[Iterable[Any]]]  # columns, rows

EPOCH_METRICS = (*TRAINED, "train_loss", "learning_rate", "seconds")  # told of each epoch
_COLUMNS = ("number", "candidate", "variant", "state", "reason", "pruned_at", "epochs", "seed")
_MEANS = {f"mean_{name}": name for name in SHARES[1:]}
_ERRORS = {f"{mean}_error": name for mean, name in _MEANS.items()}
_OF_VARIANT = ("radix", "cardinality", "width")
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


def _on_front(record: TrialRecord) -> bool:
    return record.on_front and record.state == COMPLETE


def group_of(sweep: str, folder: str | Path) -> str:
    """What a sweep's runs are grouped by: its name, and that of its folder."""
    return f"{sweep}/{Path(folder).name}"


def trial_config(record: TrialRecord) -> dict[str, Any]:
    """What the trial was, and where and how it was measured."""
    return {
        "trial": record.number,
        "candidate": record.candidate,
        "variant": record.variant,
        **{key: record.dimensions.get(key) for key in _OF_VARIANT},
        "parameters": public_config(record.parameters),
        "seed": record.seed,
        "device": record.device,
        "mode": record.mode,
        "train_mode": record.train_mode,
        "versions": record.versions,
        **({"also": _beside(record)} if record.also else {}),
    }


def _beside(record: TrialRecord) -> dict[str, Any]:
    """Device and mode of what was measured beside the objectives' mode."""
    return {n: {key: one[key] for key in ("device", "mode")} for n, one in record.also.items()}


def config_columns(sweep: Sweep) -> list[str]:
    """Under which keys of `trial_config` W&B has what varies."""
    return [key if key in _OF_VARIANT else f"parameters.{key}" for key in varied(sweep.trials)]


def epoch_row(epoch: Epoch) -> dict[str, Any]:
    """The numbers of one epoch."""
    found = asdict(epoch)
    del found["correct"], found["sheet"], found["ended"]  # texts
    return {name: value for name, value in found.items() if value is not None}


def trial_summary(record: TrialRecord) -> dict[str, Any]:
    """What was measured; ``final_…`` only where training ended as planned."""
    found = {
        "state": record.state,
        "reason": public_text(record.reason),
        "pruned_at": record.pruned_at,
        "epochs": record.epochs,
        "accuracy_error": record.accuracy_error,
        **{f"final_{n}": record.metric(n) if record.state == COMPLETE else None for n in SHARES},
        "validation_images": record.validation_images or None,
        "training_seconds": record.seconds,
        "training_joules": record.joules,
        "on_front_so_far": _on_front(record),  # the summary run has the last word
        **record.costs,
        **record.costs_beside,
    }
    return {key: value for key, value in found.items() if value is not None}


def sweep_summary(sweep: Sweep) -> dict[str, Any]:
    """The sweep's outcome."""
    members = sweep.front
    best = next((public_text(t.name) for t in members if t.number == sweep.chosen), "")
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
        "front": [public_text(trial.name) for trial in members],
        "chosen": best,
        "chosen_by": "knee" if sweep.knee is not None else _in_order(sweep),
        "knee": best if sweep.knee is not None else "",
        "rivals": [public_text(t.name) for t in sweep.trials if t.number in sweep.rivals],
        **{name: value for name, value in known.items() if value},
    }


def _in_order(sweep: Sweep) -> str:
    """Why a front of one or two members stands for what it does; empty without a front."""
    order = ", ".join(sweep.objectives)
    return f"nothing to choose: first in the order {order}" if sweep.front else ""


def trial_table(sweep: Sweep, front_only: bool = False) -> Rows:
    """A row for each trial, or each member of the front; the objectives first, in their order."""
    keys = sorted({key for trial in sweep.trials for key in trial.extras})
    beside = dict.fromkeys(name for trial in sweep.trials for name in trial.costs_beside)
    recorded = (*_ACCURACY, *SHARES[1:], *_MEANS, *_ERRORS, *COSTS, *sweep.own_costs, *beside)
    rest = [name for name in recorded if name not in sweep.objectives]
    metrics = [*sweep.objectives, *rest]
    columns: list[str | int] = [*_COLUMNS, *keys, "on_front", *metrics]
    rows: list[Iterable[Any]] = []
    for trial in sweep.front if front_only else sweep.trials:
        known = {name: getattr(trial, name) for name in _COLUMNS}
        known["reason"] = public_text(trial.reason)
        public = public_config(trial.extras)
        extras = (public.get(key) for key in keys)
        numbers = (_number(trial, name) for name in metrics)
        rows.append([*known.values(), *extras, _on_front(trial), *numbers])
    return columns, rows


def _number(trial: TrialRecord, name: str) -> Any:
    if name in _MEANS:
        return trial.means.get(_MEANS[name])
    if name in _ERRORS:
        return trial.errors.get(_ERRORS[name])
    if name in _ACCURACY:
        return getattr(trial, name)
    return trial.costs_beside[name] if name in trial.costs_beside else trial.metric(name)
