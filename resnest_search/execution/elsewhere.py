"""A finished sweep on another device or in another mode, without training anything."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any

from resnest_search.configuration.compose import from_record
from resnest_search.configuration.schema import ElsewhereConfig, MeasureConfig
from resnest_search.errors import UserError
from resnest_search.execution.doubts import age_line, cost_doubts
from resnest_search.execution.measuring import Progress
from resnest_search.execution.prepare import config_of_trials
from resnest_search.execution.profiles import Profile, costs_of, profiled
from resnest_search.search.limits import within_limits
from resnest_search.space import Candidate
from resnest_search.study.costing import Costing
from resnest_search.study.record import COMPLETE, Sweep, TrialRecord
from resnest_search.study.transfer import transferred
from resnest_search.variant import Variant
from resnest_search.words import now

__all__ = ["seen_from"]

_NAMES = ("name", "doubtful", "also", "profile")  # which say nothing of how it is measured
# What it has of the mode beside which it was measured, and the default asks for nothing of.
_SHARED = ("image_size", "device", "processes", "half_width", "time_limit_s", "threads", "cache")


def seen_from(
    sweep: Sweep,
    mode: ElsewhereConfig,
    measuring: Callable[[int], AbstractContextManager[Progress]],
) -> tuple[str, Sweep]:
    """What the profile or the mode is called, and the sweep with its costs.

    Args:
        sweep: as it was measured.
        mode: a file of costs, or what to measure in on this machine.
        measuring: shows that so many networks are being measured.

    Raises:
        UserError: it replays a table, the file is no profile or has none of its networks, or they
            cannot be measured here.
    """
    if sweep.replayed:
        raise UserError(f"run={sweep.folder}: replays a table, of whose networks no cost is known")
    config = config_of_trials(from_record(sweep.config))
    candidates = {trial.candidate: _candidate(trial) for trial in sweep.trials}
    networks = {one.network: one for one in candidates.values()}
    failures: list[str] = []
    since = now()
    if mode.profile:
        profile = Profile.read(mode.profile)
        known = costs_of(profile, config, networks.values())
    elif not (known := _recorded(sweep, candidates, mode)):
        plain = MeasureConfig(**dataclasses.asdict(mode))
        config = dataclasses.replace(config, measure=plain)
        with measuring(len(networks)) as progress:
            named = {one.name: one for one in networks.values()}
            profile, failures = profiled(config, named, mode.name, progress)
        known = costs_of(profile, config, networks.values())
    within = within_limits({n: c for n, c in known.items() if c is not None}, config.search.limits)
    by_hash = {key: within.get(one.network) for key, one in candidates.items()}
    whole = {trial.candidate for trial in sweep.trials if trial.state == COMPLETE}
    if whole and not any(by_hash[key] for key in whole):
        raise UserError(
            f"measure.profile={mode.profile}: has none of the {len(whole)} networks that "
            f"run={sweep.folder} trained to the end; valid: a profile of the same model and data"
        )
    if mode.profile:
        name, asked, place = profile.name, profile.measure.half_width, profile.place
    else:
        one = next(iter(within.values()))
        name, asked, place = mode.name, mode.half_width, f"{one.device}: {one.mode}"
    print(f"With the costs of {name}: {place}")
    if not mode.profile and (line := age_line(within, since)):
        print(line)
    doubts = [*failures, *cost_doubts(within, asked)]
    return name, transferred(sweep, by_hash, doubts, f"{name} ({place})")


def _recorded(
    sweep: Sweep, candidates: Mapping[str, Candidate], mode: ElsewhereConfig
) -> dict[str, Costing | None]:
    """What was measured in this mode beside the sweep's own; empty where nothing was."""
    found = {
        candidates[trial.candidate].network: _in_mode(trial.also, mode) for trial in sweep.trials
    }
    return found if any(found.values()) else {}


def _in_mode(also: Mapping[str, Any], mode: ElsewhereConfig) -> Costing | None:
    """What was found in a mode of this name that is measured in this way."""
    found = Costing({}, details={"also": dict(also)}).beside(mode.name)
    if found is None or found.failure:
        return None
    asked, plain = also[mode.name]["asked"], vars(MeasureConfig())
    for key, value in vars(mode).items():
        is_left_open = key in _NAMES or (key in _SHARED and value == plain[key])
        if not is_left_open and value != asked.get(key, plain[key]):
            return None
    return found


def _candidate(trial: TrialRecord) -> Candidate:
    return Candidate(Variant.parse(trial.variant), tuple(trial.parameters.items()))
