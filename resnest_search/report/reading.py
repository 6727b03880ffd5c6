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
    "LIKELY",
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
    "metric_title",
    "named",
    "noise_sentence",
    "on_front",
    "ordered",
    "percent",
    "progress",
    "rivals",
    "state_text",
    "stated_accuracy",
    "value_text",
]

STATES = (COMPLETE, RUNNING, PRUNED, FAILED, INFEASIBLE)
LIKELY = 0.05  # from which on a share of the draws is worth a word
_MOST_NAMED = 4
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


def metric_title(sweep: Sweep, name: str) -> str:
    """A metric as the name of an axis; the memory of a training step with its batch."""
    title = METRICS[name].title
    if name != "train_memory_mib":
        return title
    modes = {trial.train_mode for trial in sweep.trials} - {""}
    of = modes.pop() if len(modes) == 1 else "each trial's own batch" if modes else ""
    return title.replace(" step", f" step of {of}") if of else title


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


def stated_accuracy(trial: TrialRecord) -> tuple[float | None, float | None]:
    """Accuracy and its standard error; the mean over all seeds where the trial stands for them."""
    if trial.mean_accuracy is None or trial.repeat_of is not None:
        return trial.accuracy, trial.accuracy_error
    if trial.seeds == 1 and trial.mean_error is None:
        return trial.accuracy, trial.accuracy_error
    return trial.mean_accuracy, trial.mean_error


def accuracy_text(trial: TrialRecord) -> str:
    """Accuracy ± standard error in %; in parentheses where training did not end."""
    accuracy, error = stated_accuracy(trial)
    if accuracy is None:
        return "–"
    text = METRICS["accuracy"].show(accuracy)
    if error is not None:
        text += f" ± {METRICS['accuracy'].show(error)}"
    return text if trial.state == COMPLETE else f"({text})"


def percent(share: float | None) -> str:
    """A probability in whole percent; 0 and 100 only where it is exactly that."""
    if share is None:
        return ""
    if 0 < share < 0.01:
        return "<1"
    return ">99" if 0.99 < share < 1 else f"{100 * share:.0f}"


def state_text(trial: TrialRecord) -> str:
    """State and, in short, why."""
    text = trial.state
    if trial.state == PRUNED and trial.pruned_at is not None:
        text += f" at epoch {trial.pruned_at}"
    if trial.state == COMPLETE and trial.repeat_of is not None:
        text += f", repeats {trial.repeat_of}"
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
    seeds = f", the mean of {trial.seeds} seeds" if trial.seeds > 1 else ""
    return f"The knee of the front is {named(sweep, trial)}: {', '.join(parts)}{seeds}."


def named(sweep: Sweep, trial: TrialRecord) -> str:
    """The variant, with whatever else the sweep varies."""
    keys = extra_parameters(sweep)
    extra = ", ".join(f"{key} = {value_text(trial.parameters.get(key))}" for key in keys)
    return f"{trial.variant} ({extra})" if extra else trial.variant


def rivals(sweep: Sweep, trial: TrialRecord) -> list[TrialRecord]:
    """Trials within noise of this one that cost no more, fastest first."""
    return sorted((t for t in sweep.trials if t.number in trial.rivals), key=_by_latency)


def noise_sentence(sweep: Sweep) -> str:
    """How far noise puts the knee in doubt, and what that accounts for; or nothing."""
    best = knee(sweep)
    if best is None or best.membership is None:
        return ""
    return f"{_rivals_text(sweep, best)} {_shares_text(sweep, best)} {_sources_text(sweep)}"


def _rivals_text(sweep: Sweep, best: TrialRecord) -> str:
    names = [named(sweep, trial) for trial in rivals(sweep, best)]
    if not names:
        return "Nothing that costs as little is within noise of it."
    if len(names) == 1:
        return f"{names[0]} is within noise of it and costs no more."
    return f"{_listed(names)} are within noise of it and cost no more."


def _shares_text(sweep: Sweep, best: TrialRecord) -> str:
    """Who would be the knee another time."""
    others = [t for t in sweep.trials if t is not best and (t.knee_share or 0) >= LIKELY]
    others.sort(key=lambda t: -(t.knee_share or 0))
    shares = [f"{named(sweep, t)} in {percent(t.knee_share)} %" for t in others[:_MOST_NAMED]]
    first = f"it would be the knee in {percent(best.knee_share)} % of cases"
    return f"Another time {_listed([first, *shares])}."


def _sources_text(sweep: Sweep) -> str:
    images = "the validation images" if "images" in sweep.noise else ""
    if sweep.seed_deviation is None:
        return f"This is the noise of {images}; that between seeds was not measured."
    repeated = sum(t.seeds > 1 and t.repeat_of is None for t in sweep.trials)
    seeds = (
        f"between seeds ({METRICS['accuracy'].show(sweep.seed_deviation)} %, from {repeated} "
        f"candidate{'s' * (repeated != 1)})"
    )
    if not images:
        return f"This is the noise {seeds}; that of the validation images is not known."
    return f"This is the noise of {images} and {seeds}."


def _listed(words: list[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
