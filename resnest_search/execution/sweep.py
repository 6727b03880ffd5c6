"""A sweep from its configuration to a finished study; everything but what is shown of it."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from resnest_search import __version__, checks
from resnest_search.config import from_record, question, to_record
from resnest_search.data import resolve
from resnest_search.errors import UserError
from resnest_search.execution.folder import check_new_folder
from resnest_search.execution.measuring import (
    Progress,
    busy_warnings,
    check_limits,
    locally,
    measure_space,
    remotely,
    within_limits,
)
from resnest_search.execution.pretrained import absolute_pretrained, check_pretrained
from resnest_search.execution.resources import Allotment, allot, this_machine
from resnest_search.files import write_atomically
from resnest_search.metrics import COSTS
from resnest_search.schema import ResumeConfig, SweepConfig
from resnest_search.search import Assignment, Costing, Space, Strategy, SweepStudy, configured
from resnest_search.search.pruners import build_pruner
from resnest_search.search.samplers import build_sampler
from resnest_search.search.study import directions_of, now, reported_of
from resnest_search.training import CHECKPOINT, Run

__all__ = ["SweepRun", "create", "make_run", "measured", "prepare", "reopen", "timed"]

_PACKAGES = ("torch", "torchvision", "pytorch-lightning", "ray", "optuna")


@dataclass
class SweepRun:
    """A sweep that can be run: where, what and with which strategy."""

    folder: Path
    config: SweepConfig
    study: SweepStudy
    strategy: Strategy


def prepare(config: SweepConfig) -> tuple[SweepConfig, Space]:
    """Check everything that can be checked without work, and find the images.

    Raises:
        UserError: something is wrong; nothing has been written.
    """
    config = absolute_pretrained(config)
    checks.check_model(config.model)
    checks.check_train(config.train)
    checks.check_measure(config.measure)
    checks.check_search(config.search)
    checks.check_tracking(config.tracking)
    check_new_folder(config.run)
    if config.resources.address is None:
        allotment = allot(config.resources, this_machine())
        if config.train.precision == "fp16" and allotment.accelerator == "cpu":
            raise UserError("train.precision=fp16: a CPU would train in bf16; valid: fp32, bf16")
    reported = reported_of(config.search.objectives)
    build_pruner(
        config.search.pruner,
        objectives=config.search.objectives,
        reported=reported,
        epochs=config.search.epochs,
    )
    space = Space(config.search.space, config.model)
    build_sampler(
        config.search.sampler,
        space,
        directions_of(config.search.objectives),
        lambda trial: None,
        config.search.seed,
    )
    bounds = (config.search.trials, config.search.budget, config.search.hours)
    if space.candidates is None and bounds == (None, None, None):
        raise UserError(
            "search.trials=null: a space with a range has no end; "
            "valid: a number, or search.budget or search.hours"
        )
    config = dataclasses.replace(config, data=resolve(config.data))
    _check_candidates(config, space)
    check_pretrained(config, space)
    if config.data.download:
        from resnest_search.data.download import download

        download(config.data)  # once, before many processes look for the files
    return config, space


def _check_candidates(config: SweepConfig, space: Space) -> None:
    """Each distinct setting of the other keys that a space varies, checked like the config."""
    settings = {repr(c.others): c for c in space.candidates or space.networks if c.others}
    for candidate in settings.values():
        model, data, train = configured(config, candidate)
        try:
            checks.check_model(model)
            checks.check_train(train)
            resolve(data)
        except UserError as error:
            raise UserError(f"search.space.{error}") from None


def create(
    config: SweepConfig, space: Space, folder: Path, costings: dict[str, Costing], command: str
) -> SweepRun:
    """Enter a new sweep, measured and found feasible, into a new study.

    Raises:
        UserError: sampler or pruner do not suit the space.
    """
    study = SweepStudy.create(f"sqlite:///{folder / 'study.db'}", config.search.objectives)
    study.note("name", config.sweep)
    study.note("question", question(config.sweep))
    _note_config(study, folder, config)
    study.note("command", command)
    versions = {name: importlib.metadata.version(name) for name in _PACKAGES}
    study.note("versions", {"resnest-search": __version__, **versions})
    for network, costing in costings.items():
        study.note(f"costs/{network}", dataclasses.asdict(costing))
    study.note("infeasible", _infeasible(space, costings))
    study.note("warnings", busy_warnings(costings))
    study.note("started", now())
    return _assemble(folder, config, space, study, costings)


def reopen(folder: Path, bounds: ResumeConfig) -> SweepRun:
    """The sweep of a folder, with larger bounds where they are given.

    Raises:
        UserError: the folder is none of a run, or its record cannot be read.
    """
    study = SweepStudy.open(folder)
    notes = study.notes
    if "started" not in notes:
        raise UserError(f"run={folder}: was stopped before its first trial; start the sweep again")
    config = from_record(notes["config"])
    given = {
        name: value
        for name in ("trials", "budget", "hours")
        if (value := getattr(bounds, name)) is not None
    }
    config.search = dataclasses.replace(config.search, **given)
    checks.check_search(config.search)
    _note_config(study, folder, config)
    space = Space(config.search.space, config.model)
    costings = {
        key.removeprefix("costs/"): Costing(**value)
        for key, value in notes.items()
        if key.startswith("costs/")
    }
    return _assemble(folder, config, space, study, costings)


def measured(config: SweepConfig, space: Space, progress: Progress) -> dict[str, Costing]:
    """The costs of the space where the sweep will run, with the limits that they break.

    Raises:
        UserError: no network meets the limits, or a trial does not fit the cluster.
    """
    if config.resources.address is None:
        allotment = allot(config.resources, this_machine())
        found = measure_space(config, space, allotment, partial(locally, progress=progress))
    else:
        from resnest_search.execution.driver import cluster

        with cluster(config.resources, config.verbose) as allotment:
            found = measure_space(config, space, allotment, remotely(allotment))
    costings = within_limits(found, config.search.limits)
    check_limits(costings, config.search.limits)
    return costings


def make_run(run: SweepRun, allotment: Allotment) -> Callable[[Assignment], Run]:
    """What turns an assignment into a worker's plain run."""
    trials = run.folder / "trials"

    def make(assignment: Assignment) -> Run:
        model, data, train = configured(run.config, assignment.candidate)
        folder = trials / str(assignment.number)
        if assignment.continues is not None:
            _hand_over(trials / str(assignment.continues), folder)
        return Run(
            number=assignment.number,
            variant=str(assignment.candidate.variant),
            model=model,
            data=data,
            train=train,
            seed=assignment.seed,
            folder=str(folder),
            accelerator=allotment.accelerator,
            threads=allotment.cpus_per_worker,
        )

    return make


@contextmanager
def timed(run: SweepRun) -> Iterator[None]:
    """Keep account of the seconds that this driver spends, and of whether it finished."""
    try:
        yield
    finally:
        run.study.note("seconds", round(run.strategy.elapsed, 1))
        run.study.note("finished", run.strategy.finished)


def _assemble(
    folder: Path, config: SweepConfig, space: Space, study: SweepStudy, costings: dict[str, Costing]
) -> SweepRun:
    strategy = Strategy(
        study, space, config.search, costings, elapsed=float(study.notes.get("seconds", 0.0))
    )
    candidates = None if space.candidates is None else len(space.candidates)
    bounds = [bound for bound in (config.search.trials, candidates) if bound is not None]
    study.note("most_trials", min(bounds, default=0))
    study.note("rungs", list(strategy.rungs))
    return SweepRun(folder, config, study, strategy)


def _hand_over(old: Path, new: Path) -> None:
    """Give a trial the checkpoint of the one that it continues, once."""
    if (old / CHECKPOINT).exists() and not (new / CHECKPOINT).exists():
        new.mkdir(parents=True, exist_ok=True)
        shutil.copy(old / CHECKPOINT, new / f"{CHECKPOINT}.copy")
        (new / f"{CHECKPOINT}.copy").replace(new / CHECKPOINT)


def _note_config(study: SweepStudy, folder: Path, config: SweepConfig) -> None:
    """In the study, which alone is read again, and as a file for people."""
    record = to_record(config)
    study.note("config", record)
    write_atomically(folder / "config.yaml", yaml.safe_dump(record, sort_keys=False))


def _infeasible(space: Space, costings: dict[str, Costing]) -> list[dict[str, Any]]:
    """Candidates that a limit rules out, as the record that a person is shown."""
    return [
        {
            "candidate": candidate.identity,
            "variant": str(candidate.variant),
            "parameters": dict(candidate.parameters),
            "reason": costing.infeasible,
            "costs": {name: costing.costs[name] for name in COSTS},
            "device": costing.device,
            "mode": costing.mode,
        }
        for candidate in space.candidates or space.networks
        if (costing := costings[candidate.network]).infeasible
    ]
