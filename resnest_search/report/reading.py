"""What a sweep says: order, counts and words, the same in terminal, HTML and plots."""

from __future__ import annotations

import math
from collections import Counter

from resnest_search.metrics import SHARES, TRAINED, around, metric_of
from resnest_search.study.record import (
    COMPLETE,
    FAILED,
    INFEASIBLE,
    INTERRUPTED,
    PAUSED,
    PRUNED,
    RUNNING,
    Sweep,
    TrialRecord,
)
from resnest_search.variant import Variant

__all__ = [
    "LIKELY",
    "STATES",
    "chosen",
    "counts",
    "duration",
    "extra_parameters",
    "finite",
    "front",
    "full_epochs",
    "interval_text",
    "is_control",
    "is_wide",
    "knee",
    "metric_text",
    "metric_title",
    "on_front",
    "ordered",
    "percent",
    "progress",
    "share_text",
    "shown",
    "spent",
    "state_text",
    "stated",
    "stated_share",
    "time_left",
    "under_way",
]

_EVEN = 0.2  # a share, up to which both ends of an interval are about as far

STATES = (COMPLETE, RUNNING, PAUSED, INTERRUPTED, PRUNED, FAILED, INFEASIBLE)
LIKELY = 0.05  # from which on a share of the draws is worth a word
_BESIDE = ("parameters_m", "gmacs", "latency_ms", "memory_mib", "images_per_s")  # no objectives


def on_front(trial: TrialRecord) -> bool:
    """Whether the trial is shown as on the front: only a complete one can be."""
    return trial.on_front and trial.state == COMPLETE


def front(sweep: Sweep) -> list[TrialRecord]:
    """The complete members of the front, in the order of ``Sweep.front``."""
    return list(sweep.front)


def chosen(sweep: Sweep) -> TrialRecord | None:
    """The trial that stands for the front, and is exported; None without a front."""
    return next((t for t in sweep.front if t.number == sweep.chosen), None)


def knee(sweep: Sweep) -> TrialRecord | None:
    """The trial at the knee of the front; None where the front is too small to have one."""
    return None if sweep.knee is None else chosen(sweep)


def ordered(sweep: Sweep) -> list[TrialRecord]:
    """Every trial: the front first, then by state, then as the front is."""
    return sorted(
        sweep.trials,
        key=lambda t: (not on_front(t), STATES.index(t.state), *sweep.by_cost(t)),
    )


def shown(sweep: Sweep) -> list[str]:
    """Names of the metrics that are shown: the objectives in their order, then what else is known.

    Where no cost is known of any trial, as in a sweep that has none, all are named. Means over
    classes stand there where one is sought, or tells something else than accuracy does.
    """
    known = {name for trial in sweep.trials for name in trial.costs}
    others = [n for n in (*_BESIDE, *sweep.own_costs) if n in known or not known]
    first = [name for name in sweep.objectives if name in TRAINED or name in known or not known]
    means = [name for name in SHARES[1:] if any(_is_apart(t, name) for t in sweep.trials)]
    return list(dict.fromkeys([*first, "accuracy", *means, *others]))


def _is_apart(trial: TrialRecord, name: str) -> bool:
    """Whether a share is further from the accuracy, at the end, than its standard error."""
    share, accuracy, error = trial.metric(name), trial.accuracy, trial.accuracy_error
    if trial.state != COMPLETE or share is None or accuracy is None or error is None:
        return False
    return abs(share - accuracy) > error


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
    title = metric_of(name).title
    if name != "train_memory_mib":
        return title
    modes = {trial.train_mode for trial in sweep.trials} - {""}
    of = modes.pop() if len(modes) == 1 else "each trial's own batch" if modes else ""
    return title.replace(" step", f" step of {of}") if of else title


def extra_parameters(sweep: Sweep) -> list[str]:
    """Keys that the space varies beside the variant, sorted."""
    return sorted({key for trial in sweep.trials for key in trial.extras})


def stated_share(trial: TrialRecord, name: str) -> tuple[float | None, float | None]:
    """One of `metrics.SHARES` with its standard error, None where that is not known.

    Where the trial stands for all seeds of its candidate it is the mean over them.
    """
    mean, error = trial.means.get(name), trial.errors.get(name)
    is_own = trial.repeat_of is not None or (trial.seeds == 1 and error is None)
    if mean is None or is_own:
        return trial.metric(name), trial.accuracy_error if name == "accuracy" else None
    return mean, error


def share_text(trial: TrialRecord, name: str = "accuracy") -> str:
    """A share ± standard error in %; in parentheses where training did not end."""
    share, error = stated_share(trial, name)
    if share is None:
        return "–"
    text = metric_of(name).show(share)
    if error is not None:
        text += f" ± {metric_of(name).show(error)}"
    return text if trial.is_whole else f"({text})"


def stated(trial: TrialRecord, name: str) -> float | None:
    """A metric of the trial: of a share the mean over its seeds, where it stands for them."""
    return finite(stated_share(trial, name)[0] if name in SHARES else trial.metric(name))


def is_wide(sweep: Sweep, trial: TrialRecord) -> bool:
    """Whether the interval of the trial's latency is wider than the sweep asked for."""
    measure = sweep.config.get("measure")
    asked = measure.get("half_width") if isinstance(measure, dict) else None
    half = trial.half_width
    return asked is not None and half is not None and 100 * half > asked


def interval_text(value: float, half_width: float | None) -> str:
    """A latency in ms, ± half of its interval of 95 %, a share, where that is known.

    Of a wide one, whose ends are not as far, both stand there: ``1.25 (0.67 to 2.34)``.
    """
    show = metric_of("latency_ms").show
    if half_width is None:
        return show(value)
    if half_width > _EVEN:
        low, high = around(value, half_width)
        return f"{show(value)} ({show(low)} to {show(high)})"
    return f"{show(value)} ±{show(value * half_width)}"


def metric_text(trial: TrialRecord, name: str) -> str:
    """A metric in a cell; a trained one in parentheses where training did not end."""
    if name in SHARES:
        return share_text(trial, name)
    if name == "latency_ms" and name in trial.costs:
        return interval_text(trial.costs[name], trial.half_width)
    text = metric_of(name).show(trial.metric(name))
    unfinished = name in TRAINED and not trial.is_whole and text != "–"
    return f"({text})" if unfinished else text


def percent(share: float | None) -> str:
    """A probability in whole percent; never 0 or 100, of which no number of draws makes sure."""
    if share is None:
        return ""
    if share < 0.01:
        return "<1"
    return ">99" if share > 0.99 else f"{100 * share:.0f}"


def state_text(trial: TrialRecord) -> str:
    """State and, in short, why."""
    text = trial.state
    if trial.state == PRUNED and trial.pruned_at is not None:
        text += f" at epoch {trial.pruned_at}"
    if trial.state in (PAUSED, INTERRUPTED):
        text += f" after epoch {trial.epochs}" if trial.epochs else " before an epoch ended"
    if trial.state == COMPLETE and trial.repeat_of is not None:
        text += f", repeats {trial.repeat_of}"
    early = any(epoch.ended for epoch in trial.curve[-1:])
    if trial.reason and (trial.state != COMPLETE or early):
        text += f": {trial.reason}"
    return " ".join(text.split())


def duration(seconds: float) -> str:
    """Seconds as a person reads them, for example ``1 h 02 min`` or ``3 min 20 s``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def time_left(sweep: Sweep) -> float | None:
    """Seconds that a sweep under way still takes at most, if epochs go on as they did.

    All that its budget still allows is counted, at the mean wall-clock time of an epoch since the
    first one began: what gets paused or pruned makes it less. None before the first epoch, after
    the end, and in virtual time.
    """
    begun = [t.curve[0].at - t.curve[0].seconds for t in sweep.trials if t.curve and t.curve[0].at]
    if sweep.finished or sweep.interrupted or not begun or not sweep.drivers:
        return None
    each = max(0.0, sweep.seconds - min(begun)) / sweep.epochs
    left = max(0, sweep.budget - sweep.epochs) * each
    search = sweep.config.get("search")
    hours = search.get("hours") if isinstance(search, dict) else None
    return min(left, max(0.0, 3600 * hours - sweep.seconds)) if hours else left


def under_way(sweep: Sweep) -> str:
    """The progress of a sweep, and how long it still takes at most, where that is known."""
    left = time_left(sweep)
    return progress(sweep) + (f" · up to about {duration(left)} left at this pace" if left else "")


def progress(sweep: Sweep) -> str:
    """Counts by state, epochs spent of the budget, and time, on one line."""
    states = ", ".join(f"{number} {state}" for state, number in counts(sweep).items())
    return f"{states or 'no trials'} · {spent(sweep)} · {duration(sweep.seconds)}"


def spent(sweep: Sweep) -> str:
    """Epochs spent of the budget; a resume may name one that is smaller than what was spent."""
    if not sweep.budget:
        return f"{sweep.epochs} epochs"
    if sweep.epochs > sweep.budget:
        return f"{sweep.epochs} epochs, beyond the budget of {sweep.budget}"
    return f"{sweep.epochs} of {sweep.budget} epochs"
