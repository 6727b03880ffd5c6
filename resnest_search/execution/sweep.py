"""A sweep from its configuration to a finished study; everything but what is shown of it."""

from __future__ import annotations

import dataclasses
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from threadpoolctl import threadpool_limits

from resnest_search.configuration import checks
from resnest_search.configuration.compose import from_record, to_record
from resnest_search.configuration.schema import (
    LaterTrackingConfig,
    ResumeConfig,
    SearchConfig,
    SweepConfig,
    TrackingConfig,
)
from resnest_search.data.digest import ImageSet
from resnest_search.errors import ImagesChanged, UserError
from resnest_search.execution.doubts import check_trusted, cost_doubts
from resnest_search.execution.images import check_unchanged, noted_images
from resnest_search.execution.measuring import (
    Progress,
    locally,
    measure_space,
    remotely,
    timed_on_gpu,
)
from resnest_search.execution.prepare import (
    check_trained_on,
    config_of_trials,
    in_virtual_time,
)
from resnest_search.execution.profiles import space_by_profile
from resnest_search.execution.resources import Allotment, allot, this_machine
from resnest_search.files import write_atomically
from resnest_search.redact import without_password
from resnest_search.search import Assignment, Strategy, enter_earlier, find_earlier
from resnest_search.search.limits import check_limits, within_limits
from resnest_search.search.notes import note_bounds, note_driver, note_end, note_start, note_sweep
from resnest_search.simulation.simulator import VirtualClock, latest, recorded, simulate, space_of
from resnest_search.simulation.table import Table
from resnest_search.space import Space, configured
from resnest_search.study.costing import Costing
from resnest_search.study.facts import is_a_start
from resnest_search.study.facts import spent as spent_by
from resnest_search.study.storage import new_place, trouble
from resnest_search.study.study import SweepStudy
from resnest_search.words import command

if TYPE_CHECKING:
    from resnest_search.search.observer import Observer
    from resnest_search.training import Run

__all__ = [
    "SweepRun",
    "carry_out",
    "create",
    "kept",
    "make_run",
    "measured",
    "reopen",
    "table_costs",
    "timed",
    "tracked_now",
]


@dataclass
class SweepRun:
    """A sweep that can be run: where, what and with which strategy."""

    folder: Path
    config: SweepConfig
    study: SweepStudy
    strategy: Strategy
    table: Table | None = None  # that is replayed in place of trainings
    clock: VirtualClock | None = None  # of the strategy, where the table is replayed without Ray


def create(
    config: SweepConfig,
    space: Space,
    folder: Path,
    costings: dict[str, Costing],
    typed: str,
    images: ImageSet | None = None,
    spent_s: float = 0.0,
    packing: str = "",
) -> SweepRun:
    """Enter a new sweep, measured and found feasible, into a new study.

    ``images`` are those that it learns from, None where a table is replayed. ``spent_s`` are the
    seconds that reading and measuring took: they count as the sweep's own. ``packing`` says how
    many trials share a GPU, where the measured memory decided that.

    Raises:
        UserError: sampler or pruner do not suit the space.
    """
    place = new_place(folder, config.storage, config.sweep)
    study = SweepStudy.create(place.url, config.search.objectives, place.study)
    config = _without_password(config)
    if images is not None:
        study.note(*noted_images(images))
    doubts = images.doubts if images is not None else ()
    unsure = cost_doubts(costings, config.measure.half_width)
    note_sweep(study, config, space, costings, typed, doubts, unsure)
    _start_warm(study, config, space, folder, costings, images)
    study.note("seconds", round(spent_s, 1))
    study.note("packing", packing)
    note_start(study)
    _write_config(folder, config)
    return _assemble(folder, config, space, study, costings)


def _start_warm(
    study: SweepStudy,
    config: SweepConfig,
    space: Space,
    folder: Path,
    costings: dict[str, Costing],
    images: ImageSet | None,
) -> None:
    """Enter what earlier runs found out, with the checkpoints, and say which."""
    if not config.search.warm_start:
        return
    replayed = config.trial.name == "table"
    table = Table.read(config.trial.path or "").digest if replayed else None
    earlier, lines = find_earlier(config, space, table, images.digest if images else None)
    entered = enter_earlier(study, space, earlier, config.search.objectives, costings)
    for number, trial in entered.items():
        old = trial.folder / "trials" / str(trial.number)
        _hand_over(old, folder / "trials" / str(number))
    for line in lines:
        print(line)
    identical = sum(not trial.differs for trial in earlier)
    if identical > len(entered):
        print(f"warm start: {identical - len(entered)} of them are ruled out here, and left aside")


def reopen(folder: Path, bounds: ResumeConfig, progress: Progress | None = None) -> SweepRun:
    """The sweep of a folder, with larger bounds where they are given.

    ``progress`` is told of the images that are read to compare them with those of the study.

    Raises:
        UserError: the folder is none of a run, its record cannot be read, or its images are
            others than those that it began with.
    """
    study = SweepStudy.open(folder, bounds.storage)
    notes = study.notes
    if "started" not in notes:
        raise UserError(f"run={folder}: was stopped before its first trial; start the sweep again")
    config = config_of_trials(from_record(notes["config"]))
    if bounds.storage is not None:
        config = _without_password(dataclasses.replace(config, storage=bounds.storage))
    given = {
        name: value
        for name in ("trials", "budget", "hours")
        if (value := getattr(bounds, name)) is not None
    }
    _check_bounds(study, config.search, given)
    config.search = dataclasses.replace(config.search, **given)
    config.tracking = tracked_now(config.tracking, bounds.tracking)
    if bounds.dashboard is not None:
        config.dashboard = bounds.dashboard
    replayed = config.trial.name == "table"
    checks.check_search(config.search, replayed)
    if given or not notes.get("finished", False):  # else nothing is trained any more
        line = check_unchanged(config, study, progress or (lambda done, total: None))
        if line:
            print(line)
    table = _table_of(config, study) if replayed else None
    space = space_of(config, table)
    costings = recorded(config, space, table) if table else _noted_costs(notes)
    study.note("config", to_record(config))  # after whatever could refuse
    _write_config(folder, config)
    return _assemble(folder, config, space, study, costings)


def _check_bounds(study: SweepStudy, recorded: SearchConfig, given: Mapping[str, float]) -> None:
    """Raises UserError where a bound is below what was spent, so that it would be none."""
    trials = study.trials()
    spent = {
        "trials": (sum(map(is_a_start, trials)), "trials were begun"),
        "budget": (sum(map(spent_by, trials)), "epochs were trained"),
        "hours": (_seconds(study) / 3600, "hours were spent"),
    }
    for name, value in given.items():
        had, what = spent[name]
        if value < had and value != getattr(recorded, name):
            raise UserError(f"{name}={value:g}: {had:.4g} {what} by now; valid: more, or null")


def _noted_costs(notes: Mapping[str, Any]) -> dict[str, Costing]:
    return {
        key.removeprefix("costs/"): Costing(**value)
        for key, value in notes.items()
        if key.startswith("costs/")
    }


def tracked_now(recorded: TrackingConfig, now: LaterTrackingConfig) -> TrackingConfig:
    """What is tracked from now on: as recorded, but for what is given."""
    given = {key: value for key, value in dataclasses.asdict(now).items() if value}
    return dataclasses.replace(recorded, **given)


def measured(config: SweepConfig, space: Space, progress: Progress) -> dict[str, Costing]:
    """The costs of the space where the sweep will run, with the limits that they break.

    Raises:
        UserError: no network meets the limits, a trial does not fit the cluster, or latencies
            are too doubtful for the sweep.
    """
    on_gpu = False  # timed now
    if config.measure.profile:
        found = space_by_profile(config, space)
    elif config.resources.address is None:
        allotment = allot(config.resources, this_machine())
        on_gpu = timed_on_gpu(config, allotment)
        found = measure_space(config, space, allotment, partial(locally, progress=progress))
    else:
        from resnest_search.execution.driver import cluster

        with cluster(config.resources, config.verbose) as allotment:
            if config.measure.cache != "none":
                print("Measured anew, and kept for no later sweep: its nodes may differ.")
            on_gpu = timed_on_gpu(config, allotment)
            check_trained_on(config, space, has_gpu=allotment.accelerator == "gpu")
            found = measure_space(config, space, allotment, remotely(allotment))
    costings = within_limits(found, config.search.limits)
    check_trusted(config, costings, on_gpu)
    check_limits(costings, config.search.limits)
    return costings


def table_costs(config: SweepConfig, space: Space) -> dict[str, Costing]:
    """The costs of the space as the configured table has them, with the limits that they break.

    Raises:
        UserError: it is no table, lacks what the search wants, or no network meets the limits.
    """
    return recorded(config, space, Table.read(config.trial.path or ""))


def make_run(run: SweepRun, allotment: Allotment) -> Callable[[Assignment], Run]:
    """What turns an assignment into a worker's plain run."""
    from resnest_search.training import Run

    trials = run.folder / "trials"
    images = run.study.notes.get("images", {})

    def make(assignment: Assignment) -> Run:
        model, data, train = configured(run.config, assignment.candidate)
        folder = trials / str(assignment.number)
        if assignment.continues is not None:
            _hand_over(trials / str(assignment.continues), folder)
        return Run(
            number=assignment.number,
            variant=assignment.candidate.in_words,
            model=model,
            data=data,
            train=train,
            seed=assignment.seed,
            folder=str(folder),
            accelerator=allotment.accelerator,
            threads=allotment.cpus_per_worker,
            images=images.get("digest"),
            names=images.get("names") or None,
            gpu_share=1.0 if assignment.alone else min(1.0, allotment.gpus_per_worker or 1.0),
        )

    return make


def carry_out(run: SweepRun, observer: Observer, verbose: bool) -> None:
    """Run the trials of a sweep until nothing is left, or until Ctrl-C.

    Ray trains them, or replays the table at once, or nobody does and the table is replayed
    in virtual time.
    """
    if run.table is not None and run.clock is not None:
        workers = run.config.trial.workers
        with threadpool_limits(1, "blas"):  # to the bit as where Ray asks: see run_trials
            simulate(run.strategy, run.table, run.clock, workers, observer=observer)
        return
    from resnest_search.execution.driver import cluster, run_trials
    from resnest_search.execution.replay import ReplayTrainable, replays

    alone = run.config.resources.address is None  # else somebody may read it on another node
    with (
        run.study.written_ahead() if alone else nullcontext(),
        cluster(run.config.resources, verbose) as allotment,
    ):
        if run.table is None:
            gpus = allotment.gpus_per_worker * allotment.workers
            note_driver(run.strategy, allotment.slots, gpus)
            run_trials(run.strategy, allotment, make_run(run, allotment), observer, verbose)
        else:
            make = replays(run.table, run.study)
            run_trials(run.strategy, allotment, make, observer, verbose, ReplayTrainable)


@contextmanager
def kept(folder: Path) -> Iterator[None]:
    """End in one line where study or disk cannot be written any more, or the images are others.

    Each epoch is recorded before anything is made of it, so that a resume has lost none.

    Raises:
        UserError: that is what went wrong, however deep below.
    """
    try:
        yield
    except Exception as error:
        is_other = isinstance(error, UserError) and not isinstance(error, ImagesChanged)
        said = None if is_other else trouble(error, folder)
        if said is None:
            raise
        raise UserError(
            f"run={folder}: stopped: {said}; nothing recorded is lost; once that is mended, "
            f"carry on with: {command('resume', run=folder)}"
        ) from error


@contextmanager
def timed(run: SweepRun) -> Iterator[None]:
    """Keep account of the seconds that this driver spends, and of whether it finished."""
    try:
        yield
    finally:
        note_end(run.strategy)


def _assemble(
    folder: Path, config: SweepConfig, space: Space, study: SweepStudy, costings: dict[str, Costing]
) -> SweepRun:
    table = _table_of(config, study) if config.trial.name == "table" else None
    clock = VirtualClock(latest(study)) if in_virtual_time(config) else None
    strategy = Strategy(
        study,
        space,
        config.search,
        costings,
        elapsed=clock() if clock else _seconds(study),
        clock=clock or time.monotonic,
        virtual=clock is not None,
    )
    note_bounds(study, config, space, strategy)
    return SweepRun(folder, config, study, strategy, table, clock)


def _seconds(study: SweepStudy) -> float:
    """Spent on a sweep by all its drivers; a killed one may have noted less than the trials say."""
    return max(float(study.notes.get("seconds", 0.0)), latest(study))


def _table_of(config: SweepConfig, study: SweepStudy) -> Table:
    """The table of a sweep, the same as when it began."""
    table = Table.read(config.trial.path or "")
    if study.notes.get("table", table.digest) != table.digest:
        raise UserError(
            f"trial.path={table.path}: has changed since the sweep began; "
            "valid: the table that it began with"
        )
    study.note("table", table.digest)
    return table


def _without_password(config: SweepConfig) -> SweepConfig:
    """The configuration as it may be written down."""
    storage = config.storage
    return dataclasses.replace(config, storage=storage and without_password(storage))


def _hand_over(old: Path, new: Path) -> None:
    """Give a trial the checkpoint of the one that it continues, once."""
    from resnest_search.training import CHECKPOINT

    if (old / CHECKPOINT).exists() and not (new / CHECKPOINT).exists():
        new.mkdir(parents=True, exist_ok=True)
        shutil.copy(old / CHECKPOINT, new / f"{CHECKPOINT}.copy")
        (new / f"{CHECKPOINT}.copy").replace(new / CHECKPOINT)


def _write_config(folder: Path, config: SweepConfig) -> None:
    """For people; the study alone is read again."""
    write_atomically(folder / "config.yaml", yaml.safe_dump(to_record(config), sort_keys=False))
