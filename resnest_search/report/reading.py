"""What a sweep says: order, counts and sentences, the same in terminal, HTML and plots."""

from __future__ import annotations

import json
import math
from collections import Counter
from typing import Any

from resnest_search.metrics import METRICS
from resnest_search.record import (
    COMPLETE,
    FAILED,
    INFEASIBLE,
    PRUNED,
    RUNNING,
    Sweep,
    TrialRecord,
)
from resnest_search.variant import Variant

__all__ = [
    "STATES",
    "accuracy_text",
    "counts",
    "duration",
    "extra_parameters",
    "finite",
    "front",
    "full_epochs",
    "is_control",
    "knee",
    "knee_sentence",
    "noise_sentence",
    "on_front",
    "ordered",
    "progress",
    "state_text",
    "value_text",
]

STATES = (COMPLETE, RUNNING, PRUNED, FAILED, INFEASIBLE)
_OF_VARIANT = {"radix", "cardinality", "width", "cardinality_width", "variant"}


def on_front(trial: TrialRecord) -> bool:
    """Whether the trial is shown as on the front: only a complete one can be."""
    return trial.on_front and trial.state == COMPLETE


def front(sweep: Sweep) -> list[TrialRecord]:
    """The complete members of the front, fastest first; those of unknown latency last."""
    return sorted((trial for trial in sweep.trials if on_front(trial)), key=_by_latency)


def knee(sweep: Sweep) -> TrialRecord | None:
    """The trial at the knee of the front, if it has one."""
    return next((t for t in front(sweep) if t.number == sweep.knee), None)


def ordered(sweep: Sweep) -> list[TrialRecord]:
    """Every trial: the front first, then by state, then fastest first."""
    return sorted(
        sweep.trials,
        key=lambda t: (not on_front(t), STATES.index(t.state), *_by_latency(t)),
    )


def _by_latency(trial: TrialRecord) -> tuple[float, int]:
    latency = finite(trial.costs.get("latency_ms"))
    return (math.inf if latency is None else latency, trial.number)


def finite(value: float | None) -> float | None:
    """The value, or None where it is not a finite number."""
    return value if value is not None and math.isfinite(value) else None


def is_control(trial: TrialRecord) -> bool:
    """Whether the variant has radix 0: no attention, the control of every comparison."""
    try:
        return Variant.parse(trial.variant).radix == 0
    except ValueError:
        return False


def counts(sweep: Sweep) -> dict[str, int]:
    """Trials by state, in a fixed order, states without any left out."""
    found = Counter(trial.state for trial in sweep.trials)
    return {state: found[state] for state in STATES if found[state]}


def full_epochs(sweep: Sweep) -> int | None:
    """Epochs of one trial's full length, from the configuration."""
    search = sweep.config.get("search")
    epochs = search.get("epochs") if isinstance(search, dict) else None
    return epochs if isinstance(epochs, int) else None


def extra_parameters(sweep: Sweep) -> list[str]:
    """Keys that the space varies beside the variant, sorted."""
    keys = {key for trial in sweep.trials for key in trial.parameters}
    return sorted(keys - _OF_VARIANT)


def value_text(value: Any) -> str:
    """A parameter's value in a cell: as YAML would have it, a dash where there is none."""
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:g}"
    return value if isinstance(value, str) else json.dumps(value, default=str)


def accuracy_text(trial: TrialRecord) -> str:
    """Accuracy ± standard error in %; in parentheses where training did not end."""
    if trial.accuracy is None:
        return "–"
    text = METRICS["accuracy"].show(trial.accuracy)
    if trial.accuracy_error is not None:
        text += f" ± {METRICS['accuracy'].show(trial.accuracy_error)}"
    return text if trial.state == COMPLETE else f"({text})"


def state_text(trial: TrialRecord) -> str:
    """State and, in short, why."""
    text = trial.state
    if trial.state == PRUNED and trial.pruned_at is not None:
        text += f" at epoch {trial.pruned_at}"
    if trial.reason and trial.state != COMPLETE:
        text += f": {trial.reason}"
    return " ".join(text.split())


def duration(seconds: float) -> str:
    """Seconds as a person reads them, for example ``1 h 02 min`` or ``3 min 20 s``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def progress(sweep: Sweep) -> str:
    """Counts by state, epochs spent of the budget, and time, on one line."""
    states = ", ".join(f"{number} {state}" for state, number in counts(sweep).items())
    budget = f" of {sweep.budget}" if sweep.budget else ""
    return f"{states or 'no trials'} · {sweep.epochs}{budget} epochs · {duration(sweep.seconds)}"


def knee_sentence(sweep: Sweep) -> str:
    """One sentence on the knee and its numbers, or on why there is none."""
    trial = knee(sweep)
    if trial is None:
        size = len(front(sweep))
        return f"The front has {size} member{'s' * (size != 1)} and no knee is marked."
    parts = [f"{accuracy_text(trial)} % accuracy"]
    for name, unit in (
        ("latency_ms", "ms"),
        ("memory_mib", "MiB"),
        ("images_per_s", "img/s"),
        ("parameters_m", "M parameters"),
    ):
        if name in trial.costs:
            parts.append(f"{METRICS[name].show(trial.costs[name])} {unit}")
    extra = ", ".join(
        f"{k} = {value_text(trial.parameters.get(k))}" for k in extra_parameters(sweep)
    )
    named = f"{trial.variant} ({extra})" if extra else trial.variant
    return f"The knee of the front is {named}: {', '.join(parts)}."


def noise_sentence(sweep: Sweep) -> str:
    """Which other members of the front the knee's accuracy cannot be told from; or nothing."""
    best = knee(sweep)
    if best is None:
        return ""
    alike = [t.variant for t in front(sweep) if t is not best and _within_noise(best, t)]
    if not alike:
        return ""
    names = ", ".join(dict.fromkeys(alike))
    return f"Its accuracy is within the noise, one standard error of the difference, of {names}."


def _within_noise(one: TrialRecord, other: TrialRecord) -> bool:
    values = (one.accuracy, other.accuracy, one.accuracy_error, other.accuracy_error)
    p, q, p_error, q_error = (finite(value) for value in values)
    if p is None or q is None or p_error is None or q_error is None:
        return False
    return abs(p - q) <= math.hypot(p_error, q_error)
