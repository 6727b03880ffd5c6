"""What a sweep comes to, in sentences: did it end, what is chosen, how much of it is noise."""

from __future__ import annotations

from resnest_search.metrics import accuracy_interval, metric_of
from resnest_search.report.reading import (
    LIKELY,
    chosen,
    duration,
    front,
    knee,
    metric_text,
    percent,
    share_text,
    shown,
    spent,
)
from resnest_search.study.ledger import ledger
from resnest_search.study.record import COMPLETE, PRUNED, Ending, Sweep, TrialRecord, per_gpu
from resnest_search.words import counted

__all__ = ["choice", "ended", "noise", "time_spent", "unfinished", "verdict"]

_MOST_NAMED = 4
_LEAST = 1e-3  # share that is shown


def verdict(sweep: Sweep) -> list[str]:
    """All that is said, a line each."""
    seen = f"Seen with the costs of {sweep.costs_of}; what was trained is the same."
    lines = (
        *([seen] if sweep.costs_of else []),
        *_ended_early(sweep),
        *(unfinished(sweep), choice(sweep), noise(sweep), ended(sweep), time_spent(sweep)),
    )
    return [line for line in lines if line]


def unfinished(sweep: Sweep) -> str:
    """That a sweep was interrupted, or is at work still; nothing where it is finished."""
    if sweep.finished:
        return ""
    if not sweep.interrupted:
        return f"Not finished: still at work. What follows is where it stands after {spent(sweep)}."
    return f"Interrupted: not finished. What follows is where it stood after {spent(sweep)}."


def _ended_early(sweep: Sweep) -> list[str]:
    """The single training that did not want all its epochs."""
    return [
        f"{trial.name}: {trial.curve[-1].ended}."
        for trial in sweep.trials
        if trial.state == COMPLETE and trial.curve and trial.curve[-1].ended
    ]


def ended(sweep: Sweep) -> str:
    """What ended a sweep, what it did not train, and what that may have cost; or nothing."""
    ending = sweep.ending
    if ending is None:
        return ""
    lines = [f"Ended: {ending.reason}.", _left_out_text(sweep, ending)]
    if ending.lost is not None:
        mean, most = _share(ending.lost[0]), f"{100 * max(ending.lost[1], _LEAST):.2g} %"
        lines.append(
            f"Forecasts of their ends say that the front lost {mean} of its hypervolume by this, "
            f"in 95 % of cases less than {most}."
        )
    return " ".join(line for line in lines if line)


def _left_out_text(sweep: Sweep, ending: Ending) -> str:
    """Who was not trained to the end, and what that saved."""
    went_on = {(t.candidate, t.seed): t.number for t in sweep.trials if t.inherited}
    pruned = [
        trial
        for trial in sweep.trials
        if trial.state == PRUNED and went_on.get((trial.candidate, trial.seed), -1) <= trial.number
    ]
    parts = []
    if pruned:
        epochs = sorted({trial.epochs for trial in pruned})
        after = f"{epochs[0]}" if len(epochs) == 1 else f"{epochs[0]} to {epochs[-1]}"
        noun = "epoch" if epochs[-1] == 1 else "epochs"
        parts.append(f"{counted(len(pruned), 'trial')} pruned after {after} {noun}")
    if ending.untried:
        parts.append(f"{counted(ending.untried, 'candidate')} never begun")
    if not parts:
        return ""
    text = f"Not trained to the end: {_listed(parts)}"
    if ending.epochs:
        whole = ending.epochs + sweep.epochs
        text += f". That saved {ending.epochs} of {whole} epochs, about {duration(ending.seconds)}"
        text += " of training"
    return f"{text}."


def time_spent(sweep: Sweep) -> str:
    """Where the time of all slots went, in percent; or nothing where that is not known."""
    found = ledger(sweep)
    if found is None or found.total <= 0:
        return ""
    parts = [
        (found.training, "training"),
        (found.preparing, "before the first trial (reading, measuring, starting)"),
        (found.beside, "beside training (workers, checkpoints, decisions)"),
        (found.idle, "idle"),
    ]
    shares = [f"{100 * seconds / found.total:.0f} % {what}" for seconds, what in parts]
    slots = counted(max(driver.slots for driver in sweep.drivers), "slot")
    gpus = f", {found.gpu / 3600:.2g} GPU-hours" if found.gpu else ""
    said = f"Of {duration(sweep.seconds)} on {slots}{gpus}: {_listed(shares)}."
    if found.joules is not None:
        said += f" Training took {found.joules / 3.6e6:.3g} kWh."
    sharing = max(per_gpu(driver.gpus) for driver in sweep.drivers)
    if sharing > 1:
        said += (
            f" Up to {sharing} trials shared a GPU: seconds of training are of a shared one, "
            "latencies and memory of one that was measured alone."
        )
    return said


def choice(sweep: Sweep) -> str:
    """What stands for the front, with its numbers; or why nothing does."""
    members, best = front(sweep), chosen(sweep)
    if best is None:
        return f"The front has {counted(len(members), 'member')}, and there is no knee."
    if knee(sweep) is not None:
        return f"The knee of the front is {best.name}: {_numbers(sweep, best)}."
    if len(members) == 1:
        return (
            f"The front has 1 member, so that there is nothing to choose: {best.name}, with "
            f"{_numbers(sweep, best)}."
        )
    order = ", ".join(metric_of(name).noun for name in sweep.objectives)
    others = "; ".join(f"{t.name}, with {_numbers(sweep, t)}" for t in members if t is not best)
    count = counted(len(members), "member")
    return (
        f"The front has {count}, so that there is no knee to choose: {best.name} "
        f"comes first in the order of the objectives ({order}) and is taken, with "
        f"{_numbers(sweep, best)}. Beside it: {others}."
    )


def noise(sweep: Sweep) -> str:
    """How far noise puts the choice in doubt, and what that accounts for; or nothing."""
    best = chosen(sweep)
    if best is None or best.membership is None:
        return ""
    lines = [
        _alike_text(sweep),
        _rivals_text(sweep, best),
        _shares_text(sweep, best),
        _sources_text(sweep, best),
    ]
    return " ".join(line for line in lines if line)


def _numbers(sweep: Sweep, trial: TrialRecord) -> str:
    """The objectives in their order, then what else is known."""
    parts = []
    for name in shown(sweep):
        if name == "accuracy":
            parts.append(f"{share_text(trial)} % accuracy{_interval(trial)}")
        elif trial.metric(name) is not None:
            parts.append(f"{metric_text(trial, name)} {metric_of(name).unit}")
    seeds = f", the mean of {trial.seeds} seeds" if trial.seeds > 1 else ""
    return ", ".join(parts) + seeds


def _interval(trial: TrialRecord) -> str:
    """Of one training: a mean over seeds has another noise."""
    if trial.seeds > 1 or trial.accuracy is None:
        return ""
    found = accuracy_interval(trial.accuracy, trial.validation_images)
    if found is None:
        return ""
    low, high = (metric_of("accuracy").show(end) for end in found)
    return f" (95 % interval {low} to {high})"


def _alike_text(sweep: Sweep) -> str:
    """What was passed over for being dearer, where its accuracy is not told from the knee's."""
    names = [trial.name for trial in front(sweep) if trial.number in sweep.alike]
    if not names or knee(sweep) is None:
        return ""
    noun = metric_of(sweep.reported).noun
    cheap = ", no cheaper on average" * bool(sweep.sought_costs)
    return f"Noise does not tell its {noun} from that of {_listed(names)}{cheap}."


def _rivals_text(sweep: Sweep, best: TrialRecord) -> str:
    has_costs = bool(sweep.sought_costs)
    if not best.rivals:
        return f"Nothing {'that costs as little ' * has_costs}is within noise of it."
    named = {*sweep.alike} if knee(sweep) else set()  # they have been named, for what they cost
    others = [t for t in sweep.trials if t.number in {*best.rivals} - named]
    names = [trial.name for trial in sorted(others, key=sweep.by_cost)]
    if not names:
        return ""
    told = ", as far as timing tells" if "costs" in sweep.noise else ""
    is_one = len(names) == 1
    cheap = f" and {'costs' if is_one else 'cost'} no more{told}" if has_costs else ""
    return f"{_listed(names)} {'is' if is_one else 'are'} within noise of it{cheap}."


def _shares_text(sweep: Sweep, best: TrialRecord) -> str:
    """Who would be the knee another time."""
    if best.knee_share is None:
        return f"Another time it would be on the front in {percent(best.membership)} % of cases."
    others = [t for t in sweep.trials if t is not best and (t.knee_share or 0) >= LIKELY]
    others.sort(key=lambda t: -(t.knee_share or 0))
    shares = [f"{t.name} in {percent(t.knee_share)} %" for t in others[:_MOST_NAMED]]
    first = f"it would be the knee in {percent(best.knee_share)} % of cases"
    return f"Another time {_listed([first, *shares])}."


def _sources_text(sweep: Sweep, best: TrialRecord) -> str:
    parts = []
    if "images" in sweep.noise:
        parts.append(f"of the {best.validation_images} validation images")
    if "costs" in sweep.noise:
        parts.append("between rounds of timing")
    if sweep.seed_deviation is not None:
        repeated = sum(t.seeds > 1 and t.repeat_of is None for t in sweep.trials)
        deviation = metric_of(sweep.reported).show(sweep.seed_deviation)
        parts.append(f"between seeds ({deviation} %, from {counted(repeated, 'candidate')})")
    unknown = ""
    if sweep.seed_deviation is None:
        unknown = "; that between seeds was not measured"
    if "images" not in sweep.noise:
        unknown += "; that of the validation images is not known"
    return f"This is the noise {_listed(parts)}{unknown}."


def _share(share: float) -> str:
    """A share in percent that is never 0: nobody knows that nothing was lost."""
    return f"{100 * share:.2g} %" if share >= _LEAST else f"under {100 * _LEAST:g} %"


def _listed(words: list[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
