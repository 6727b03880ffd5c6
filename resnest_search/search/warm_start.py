"""Trials of earlier sweeps: taken over as finished, or as a first idea of what does well."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from resnest_search.configuration.checks import in_todays_words
from resnest_search.configuration.schema import DataConfig, SweepConfig
from resnest_search.errors import UserError
from resnest_search.metrics import TRAINED
from resnest_search.space import Candidate, Space, configured
from resnest_search.study.costing import Costing
from resnest_search.study.record import Epoch
from resnest_search.study.study import SweepStudy, curve_of

__all__ = ["Earlier", "enter_earlier", "find_earlier"]

# Where images lie and how they are loaded leaves a training as it is.
_NEUTRAL = {"data.root", "data.download", "data.workers", "model.name", "train.name"}
_NEUTRAL |= {"data.check", "data.unreadable", "data.cache"}
_ONE_SET = {"digits", "cifar10", "fashion_mnist"}  # hardly other images, wherever they lie
_UNKNOWN = "its images are not on record"


@dataclass(frozen=True)
class Earlier:
    """A complete trial of an earlier run whose candidate is one of this sweep's.

    Attributes:
        folder: of its run.
        number: there.
        candidate: of this sweep.
        seed: that it was trained with.
        curve: its epochs.
        differs: the config key by which its training differs, with both values; empty where
            it is identical, so that the trial counts as finished.
    """

    folder: Path
    number: int
    candidate: Candidate
    seed: int
    curve: tuple[Epoch, ...]
    differs: str = ""


def find_earlier(
    config: SweepConfig, space: Space, table: str | None = None, images: str | None = None
) -> tuple[list[Earlier], list[str]]:
    """The trials of ``search.warm_start`` that this sweep can learn from, and a line a folder.

    A trial is identical where model, data, recipe, length and kind of trial are; costs are this
    sweep's own, whatever was measured then. A trial of the same images that was trained
    differently is similar, and so is one of a run that has no digest of its images and took them
    from the same place. Anything else is left aside, and counted.

    Args:
        config: of this sweep.
        space: what it varies.
        table: digest of the recorded curves, where those are replayed.
        images: digest of the images, wherever they lie, where trainings learn from them.

    Raises:
        UserError: a folder is none of a run.
    """
    found: dict[tuple[str, int], Earlier] = {}
    lines = []
    for name in config.search.warm_start:
        usable, aside = _of_folder(config, space, Path(name), table, images)
        identical = [trial for trial in usable if not trial.differs]
        fresh = {(t.candidate.identity, t.seed): t for t in identical}
        fresh = {key: trial for key, trial in fresh.items() if key not in found}
        similar = [trial for trial in usable if trial.differs]
        found |= fresh
        found |= {(f"{trial.folder} {trial.number}", -1): trial for trial in similar}
        lines.append(_line(name, len(fresh), similar, aside + len(identical) - len(fresh)))
    return list(found.values()), lines


def enter_earlier(
    study: SweepStudy,
    space: Space,
    earlier: Sequence[Earlier],
    objectives: Sequence[str],
    costings: Mapping[str, Costing],
) -> dict[int, Earlier]:
    """Enter the identical ones as complete trials, and note the similar ones.

    What this sweep's limits rule out, or what could not be measured, is left aside.

    Returns:
        The trials of the study that were entered, by number.
    """
    usable = [trial for trial in earlier if _is_feasible(costings[trial.candidate.network])]
    prior = [
        {"parameters": space.optuna_parameters(trial.candidate), **_final(trial)}
        for trial in usable
        if trial.differs
    ]
    study.note("prior", prior)
    entered, seeds = {}, Counter[str]()
    for trial in usable:
        if not trial.differs:
            costing, before = costings[trial.candidate.network], seeds[trial.candidate.identity]
            entered[_enter(study, space, trial, objectives, costing, before)] = trial
            seeds[trial.candidate.identity] += 1
    return entered


def _of_folder(
    config: SweepConfig, space: Space, folder: Path, table: str | None, images: str | None
) -> tuple[list[Earlier], int]:
    """The trials of a folder that can be used, and how many complete ones cannot."""
    from resnest_search.configuration.compose import (
        from_record,  # with Hydra, which no worker needs
    )

    try:
        study = SweepStudy.open(folder)
    except UserError as error:
        raise UserError(f"search.warm_start={folder}: {error}") from None
    try:
        notes = study.notes
        if "config" not in notes:
            raise UserError(f"search.warm_start={folder}: was stopped before its first trial")
        old = from_record(notes["config"])
        complete = [trial for trial in study.trials() if trial.state == TrialState.COMPLETE]
        recorded = notes.get("images", {}).get("digest")
        alike = _same_source(old, config, recorded, images) and notes.get("table") == table
        # Where it names nothing, all came from a table, the same as this sweep's.
        was = Space(old.search.space, old.model) if alike and old.search.space else None
        known = [
            _earlier(config, space, folder, old, was, trial) if alike else None
            for trial in complete
        ]
        if recorded is None and images is not None and config.data.name != "digits":
            known = [
                trial and dataclasses.replace(trial, differs=trial.differs or _UNKNOWN)
                for trial in known
            ]
        known = [trial if trial and _has(trial, config) else None for trial in known]
    finally:
        study.close()
    usable = [trial for trial in known if trial is not None]
    return usable, len(known) - len(usable)


def _earlier(
    config: SweepConfig,
    space: Space,
    folder: Path,
    old: SweepConfig,
    of_old: Space | None,
    trial: FrozenTrial,
) -> Earlier | None:
    """A trial of the earlier sweep as one of this space; None where it has none alike."""
    was = of_old.candidate(trial.params) if of_old else None
    candidate = _matching(config, space, trial, configured(old, was) if was else None)
    if candidate is None:
        return None
    before = configured(old, was or candidate)
    differs = _difference(before, configured(config, candidate))
    facts = trial.user_attrs
    curve = tuple(dataclasses.replace(epoch, at=None) for epoch in curve_of(trial))
    return Earlier(folder, trial.number, candidate, int(facts["seed"]), curve, differs)


def _same_source(
    old: SweepConfig, new: SweepConfig, recorded: str | None, images: str | None
) -> bool:
    """Whether two sweeps learn from the same images, or both from recorded curves.

    Their digests decide, and only where there is none, the place of the images.
    """
    before, after = old.data, new.data
    if old.trial.name != new.trial.name or before.name != after.name:
        return False
    if recorded is not None and images is not None:
        return recorded == images
    return before.name in _ONE_SET or _place(before.root) == _place(after.root)


def _place(root: str | None) -> Path | None:
    return None if root is None else Path(root).resolve()


def _matching(
    config: SweepConfig, space: Space, trial: FrozenTrial, before: Sequence[Any] | None
) -> Candidate | None:
    """The candidate of this sweep with the variant, and the other settings, of that trial.

    Args:
        before: the sections of that training; None where a table has no others than this sweep's.
    """
    facts = trial.user_attrs
    for candidate in space.candidates or ():
        if candidate.identity == facts["candidate"]:
            return candidate
    alike = [c for c in space.candidates or () if c.in_words == facts["variant"]]
    if len(alike) == 1:  # the earlier sweep varied something else besides, or this one does
        return alike[0]
    if alike and before:  # a key that one of both sweeps varied may not exist in the other
        same = [c for c in alike if not _difference(before, configured(config, c))]
        return same[0] if len(same) == 1 else None
    try:
        return space.candidate(trial.params) if space.candidates is None else None
    except (KeyError, ValueError):
        return None


def _difference(before: Sequence[Any], after: Sequence[Any]) -> str:
    """The first setting that differs between two trainings, with both values."""
    before, after = (
        [in_todays_words(s) if isinstance(s, DataConfig) else s for s in sections]
        for sections in (before, after)
    )
    for section, old, new in zip(("model", "data", "train"), before, after, strict=True):
        for name, value in vars(old).items():
            key, wanted = f"{section}.{name}", getattr(new, name)
            if key not in _NEUTRAL and value != wanted:
                return f"{key}={value}, not {wanted}"
    return ""


def _line(folder: str, identical: int, similar: Sequence[Earlier], aside: int) -> str:
    counts = Counter(trial.differs for trial in similar)
    parts = [f"{identical} reused as finished"]
    parts += [f"{count} as prior only ({why})" for why, count in counts.items()]
    parts += [f"{aside} left aside"] if aside else []
    return f"warm start from {folder}: {', '.join(parts)}"


def _has(trial: Earlier, config: SweepConfig) -> bool:
    """Whether it recorded what is sought: earlier versions knew accuracy and loss alone."""
    trained = [name for name in config.search.objectives if name in TRAINED]
    return all(getattr(epoch, name) is not None for epoch in trial.curve for name in trained)


def _is_feasible(costing: Costing) -> bool:
    return not (costing.failure or costing.infeasible)


def _final(trial: Earlier) -> dict[str, Any]:
    last = trial.curve[-1]
    return {name: getattr(last, name) for name in TRAINED} | {"differs": trial.differs}


def _enter(
    study: SweepStudy,
    space: Space,
    trial: Earlier,
    objectives: Sequence[str],
    costing: Costing,
    before: int,
) -> int:
    """The number of its trial, a further seed where so many of its candidate are there already."""
    last = trial.curve[-1]
    known = {**costing.costs, **{name: getattr(last, name) for name in TRAINED}}
    facts = {
        "candidate": trial.candidate.identity,
        "variant": trial.candidate.in_words,
        "parameters": dict(trial.candidate.parameters),
        "state": "complete",
        "reason": f"reused from {trial.folder}, trial {trial.number}",
        "warm_start": {"folder": str(trial.folder), "trial": trial.number},
        "seed": trial.seed,
        **({"repeat": before} if before else {}),
        **costing.facts,
        "inherited": len(trial.curve),
        "curve": [dataclasses.asdict(epoch) for epoch in trial.curve],
    }
    steps = {epoch.epoch: float(getattr(epoch, study.reported)) for epoch in trial.curve}
    values = [float(known[name]) for name in objectives]
    return study.start(space, trial.candidate, facts, TrialState.COMPLETE, steps, values)
