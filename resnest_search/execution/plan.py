"""What a sweep would cost, before anything begins: counts, bounds and exact arithmetic."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

from resnest_search.configuration.checks import given
from resnest_search.configuration.schema import SearchConfig, SweepConfig
from resnest_search.execution.resources import allot, this_machine
from resnest_search.simulation.table import Table
from resnest_search.space import Candidate, Space, configured
from resnest_search.words import counted

__all__ = ["bill"]

_MIB = 2**20


def bill(config: SweepConfig, space: Space) -> list[str]:
    """The lines of a bill for a sweep that `prepare` has checked.

    Every number is a count, a bound or exact arithmetic; what nobody has measured is said to be
    unknown.
    """
    trials = _trials(config.search, space)
    rows = [
        ("candidates", _candidates(config.search, space, trials)),
        ("epochs", _epochs(config.search, trials)),
        ("measuring", _measuring(config, space)),
        ("hours", _hours(config, space, trials)),
        ("disk", _disk(config, space, trials)),
    ]
    return [f"{name:12}{line}" for name, line in rows]


def _trials(search: SearchConfig, space: Space) -> int | None:
    """The most candidates that are trained; None where only epochs or hours bound them."""
    listed = None if space.candidates is None else len(space.candidates)
    bounds = [bound for bound in (search.trials, listed) if bound is not None]
    return min(bounds, default=None)


def _candidates(search: SearchConfig, space: Space, trials: int | None) -> str:
    if space.candidates is None:
        known = f"at most {trials}" if trials is not None else "as many as the bounds allow"
        return f"{known}, of a space with a range"
    if trials != len(space.candidates):
        return f"at most {trials} of {len(space.candidates)} (search.trials)"
    limited = bool(given(search.limits))
    return f"{trials}, every one of the space{' that meets search.limits' if limited else ''}"


def _most_epochs(search: SearchConfig, trials: int | None) -> int | None:
    """The most epochs that are trained; None where they are not bounded."""
    whole = None if trials is None else trials * search.epochs * (1 + search.repeats)
    return min((n for n in (whole, search.budget) if n is not None), default=None)


def _epochs(search: SearchConfig, trials: int | None) -> str:
    most = _most_epochs(search, trials)
    if most is None:
        return f"bounded by search.hours alone, {search.epochs} a trial at most"
    if most == search.budget:
        return f"at most {most} (search.budget), {search.epochs} a trial at most"
    seeds = f" x {1 + search.repeats} seeds where noise asks for them" if search.repeats else ""
    fewer = "" if search.pruner.name == "none" else "; what the pruner stops is trained for fewer"
    if search.tolerance is not None:
        fewer += f"; it may end sooner (search.tolerance={search.tolerance:g})"
    return f"at most {most}: {counted(trials or 0, 'trial')} x {search.epochs}{seeds}{fewer}"


def _measuring(config: SweepConfig, space: Space) -> str:
    if config.trial.name == "table":
        return "none: costs are those of the table"
    if config.measure.profile:
        return f"none: costs are those of {config.measure.profile}"
    passes, modes = config.measure.repeats, 1 + len(config.measure.also)
    each = f"of each in {modes} modes" if modes > 1 else "of each"
    return f"{counted(space.timed, 'network')} before the first epoch, {passes} timed passes {each}"


def _hours(config: SweepConfig, space: Space, trials: int | None) -> str:
    if config.trial.name == "table":
        return _recorded(config, space, trials)
    slots = ""
    if config.resources.address is None:
        at_once = allot(config.resources, this_machine()).slots
        slots = f"; {counted(at_once, 'trial')} at once on this machine"
    if config.search.hours is not None:
        return (
            f"at most {config.search.hours:g} (search.hours), and then the rest of the epochs at "
            f"work{slots}"
        )
    return f"not known, since no epoch has been timed here{slots}"


def _recorded(config: SweepConfig, space: Space, trials: int | None) -> str:
    """Of a table each epoch's seconds are on record."""
    table = Table.read(config.trial.path or "")
    seconds = [
        sum(epoch.seconds for epoch in table.curve(candidate, seed)[: config.search.epochs])
        for candidate in space.candidates or ()
        for seed in range(config.search.seed, config.search.seed + 1 + config.search.repeats)
    ]
    trials = None if trials is None else trials * (1 + config.search.repeats)
    most = sum(sorted(seconds, reverse=True)[:trials])
    return (
        f"at most {most / 3600:.3g} virtual ones of one worker: the seconds that the table records"
    )


def _disk(config: SweepConfig, space: Space, trials: int | None) -> str:
    free, place = _room(config.run)
    room = f"{free / _MIB:,.0f} MiB are free at {place}"
    if config.trial.name == "table":
        return f"no checkpoints; {room}"
    sizes = _checkpoints(config, space)
    small, large = min(sizes) / _MIB, max(sizes) / _MIB
    each = f"{small:.3g}" if f"{small:.3g}" == f"{large:.3g}" else f"{small:.3g} to {large:.3g}"
    each += " MiB of weights and what their optimizer keeps"
    if trials is None:
        return f"a checkpoint of {each} a trial; {room}"
    trials *= 1 + config.search.repeats
    whole = sum(sorted(sizes, reverse=True)[:trials])
    whole += max(0, trials - len(sizes)) * max(sizes)
    short = "" if whole < free else ": TOO FEW"
    return (
        f"at most {whole / _MIB:.3g} MiB: {counted(trials, 'checkpoint')} of {each}; {room}{short}"
    )


def _checkpoints(config: SweepConfig, space: Space) -> list[int]:
    """Bytes of each candidate's checkpoint, or of each network's where a space has a range."""
    found: dict[tuple[str, str], int] = {}
    sizes = []
    for candidate in space.candidates or space.networks:
        model, _, train = configured(config, candidate)
        key = (candidate.in_words, repr((model, train.optimizer, train.ema)))
        if key not in found:
            found[key] = _checkpoint(config, candidate)
        sizes.append(found[key])
    return sizes


def _checkpoint(config: SweepConfig, candidate: Candidate) -> int:
    """Bytes of weights, running statistics, their averages and the optimizer's numbers."""
    from resnest_search.cost.account import gradient_bytes, state_bytes
    from resnest_search.models import build

    model, data, train = configured(config, candidate)
    classes = data.classes or 1
    make = partial(build, candidate.built, model, in_channels=data.channels, num_classes=classes)
    states = 2 if train.optimizer == "adamw" else 1
    copies = 2 if train.ema else 1
    return states * gradient_bytes(make) + copies * state_bytes(make)


def _room(run: str | None) -> tuple[int, Path]:
    """Bytes that are free where the run would lie, and the folder that was asked."""
    folder = Path(run or "runs").absolute()
    place = next(place for place in (folder, *folder.parents) if place.is_dir())
    state = os.statvfs(place)
    return state.f_bavail * state.f_frsize, place
