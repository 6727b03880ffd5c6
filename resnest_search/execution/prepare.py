"""Everything about a sweep that can be checked before any work, and the images found."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from resnest_search.configuration import checks
from resnest_search.configuration.schema import (
    DataConfig,
    ModelConfig,
    SpaceProfileConfig,
    SweepConfig,
    TrainConfig,
    dotted,
)
from resnest_search.data import resolve
from resnest_search.data.resolve import FOLDERS, list_images
from resnest_search.data.scan import Listing
from resnest_search.errors import UserError
from resnest_search.execution.folder import check_new_folder, check_writable
from resnest_search.execution.measuring import check_beside, check_profiled
from resnest_search.execution.precision import resolved_precision
from resnest_search.execution.pretrained import absolute_pretrained, check_pretrained
from resnest_search.execution.profiles import Profile, space_by_profile
from resnest_search.execution.resources import allot, this_machine, workers_of
from resnest_search.execution.scratch import socket_folder
from resnest_search.search import find_earlier, first_candidates, rows_of, with_rows_first
from resnest_search.search.pruners import build_pruner
from resnest_search.search.samplers import build_sampler
from resnest_search.search.situation import Goal
from resnest_search.simulation.simulator import space_of
from resnest_search.simulation.table import Table
from resnest_search.space import Candidate, Space, configured
from resnest_search.study.storage import check_storage
from resnest_search.study.study import directions_of, reported_of
from resnest_search.words import counted

__all__ = [
    "check_trained_on",
    "config_of_trials",
    "ill_suited",
    "in_virtual_time",
    "prepare",
    "prepare_profile",
]

_SHOWN = 12  # variants that a message lists
_OF_FRESH_WEIGHTS = {"sgd": 0.1, "adamw": 1e-3}  # rates of 256 images, from which on they are


def prepare(config: SweepConfig) -> tuple[SweepConfig, Space]:
    """Check everything that can be checked without work, and find the images.

    Raises:
        UserError: something is wrong; nothing has been written.
    """
    config = absolute_pretrained(config)
    checks.check_model(config.model)
    checks.check_train(config.train)
    checks.check_measure(config.measure)
    check_beside(config.measure)
    checks.check_trial(config.trial)
    table = None
    if config.trial.name == "table":
        config, table = _with_table(config)
    checks.check_search(config.search, replayed=table is not None)
    checks.check_keys(config)
    config = resolved_precision(config_of_trials(config))
    check_new_folder(config.run)
    config = dataclasses.replace(config, storage=check_storage(config.storage))
    if config.resources.address is None and not in_virtual_time(config):
        allot(config.resources, this_machine())
        socket_folder()
        _check_device(config)
        _check_recipe(config, config.train)
    reported = reported_of(config.search.objectives)
    build_pruner(
        config.search.pruner,
        objectives=config.search.objectives,
        reported=reported,
        epochs=config.search.epochs,
    )
    space = space_of(config, table)
    space.check_steps()
    _check_patience(config, space)
    build_sampler(
        config.search.sampler,
        space,
        directions_of(config.search.objectives),
        lambda trial: None,
        config.search.seed,
        Goal(tuple(config.search.objectives), reported, config.search.epochs),
    )
    bounds = (config.search.trials, config.search.budget, config.search.hours)
    if space.candidates is None and bounds == (None, None, None):
        raise UserError(
            "search.trials=null: a space with a range has no end; "
            "valid: a number, or search.budget or search.hours"
        )
    if table is not None:
        _check_replayed(config)
        config, space = _within_table(config, space, table)
    else:
        config = _with_data(_with_profile(config), space)
        if config.measure.profile:
            space_by_profile(config, space)
    find_earlier(config, space)  # a folder that is none of a run is refused before any work
    rows_of(space, config.rows)
    first = with_rows_first(config.search.first, config.rows)
    first_candidates(space, first)
    return dataclasses.replace(
        config, search=dataclasses.replace(config.search, first=first)
    ), space


def _check_replayed(config: SweepConfig) -> None:
    """Raises UserError for what a table has itself, or does without."""
    if profile := config.measure.profile:
        raise UserError(f"measure.profile={profile}: a table has its own costs; valid: null")
    if (address := config.resources.address) and config.trial.engine == "simulator":
        raise UserError(
            f"resources.address={address}: a table is replayed in this process; valid: null, or "
            "trial.engine=ray"
        )


def _check_patience(config: SweepConfig, space: Space) -> None:
    """Raises UserError where candidates would be compared at different epochs."""
    patience = config.train.patience
    several = space.candidates is None or len(space.candidates) > 1
    if patience and (several or config.search.repeats):
        raise UserError(
            f"train.patience={patience}: ends a single training; a sweep compares candidates at "
            "the same epoch, and its pruner stops them; valid: 0, or train variant=…"
        )


def prepare_profile(config: SpaceProfileConfig) -> Space:
    """The space whose networks are to be measured, checked without work.

    Raises:
        UserError: something is wrong, or there is nothing to measure.
    """
    for key in ("run", "storage"):
        if (value := getattr(config, key)) is not None:
            raise UserError(f"{key}={value}: profile makes no run; valid: out=FILE")
    if config.plan:
        raise UserError("plan=true: profile trains nothing that could be planned; valid: false")
    if config.resources.address is not None:
        address = config.resources.address
        raise UserError(f"resources.address={address}: profile measures this machine; valid: null")
    if config.trial.name == "table":
        raise UserError(f"sweep={config.sweep}: replays a table, which has its costs")
    if config.out is not None:
        if Path(config.out).is_dir():
            raise UserError(f"out={config.out}: is a folder; valid: a file")
        check_writable(f"out={config.out}", Path(config.out).parent)
    check_profiled(config)
    return Space(config.search.space, config.model)


def ill_suited(config: SweepConfig) -> list[str]:
    """Lines for who brings images or weights to a network or a recipe that is for others, or keys
    to images that they are not for."""
    if config.trial.name == "table":  # which trains nothing
        return []
    found = [*_made_for_digits(config), *_made_for_other_weights(config)]
    return [*found, *_of_folders_alone(config), *_longer_than_the_training(config)]


def _longer_than_the_training(config: SweepConfig) -> list[str]:
    """Beginnings of a training that never end."""
    epochs, varied = config.search.epochs or config.train.epochs, dotted(config.search.space)
    found = {
        "warmup_epochs": "the learning rate never gets to train.learning_rate",
        "frozen_epochs": "only the classifier is trained",
    }
    return [
        f"train.{key}={value:g} of {counted(epochs, 'epoch')}: {what}"
        for key, what in found.items()
        if (value := getattr(config.train, key)) >= epochs and f"train.{key}" not in varied
    ]


def _of_folders_alone(config: SweepConfig) -> list[str]:
    """Keys of image files where there are none."""
    if config.data.name in FOLDERS:
        return []
    asked = {"cache": config.data.cache, "shrink": config.data.shrink}
    words = [f"data.{key}={value}" for key, value in asked.items() if value not in ("none", None)]
    where = f"data={config.data.name}, whose images are small and in memory"
    return [f"{' '.join(words)}: without effect on {where}"] if words else []


def _made_for_other_weights(config: SweepConfig) -> list[str]:
    """Where a recipe of fresh weights meets trained ones, or one of trained weights fresh ones."""
    train, varied = config.train, dotted(config.search.space).keys()
    varies = {"model.pretrained", "train.learning_rate", "train.frozen_epochs"} & varied
    if varies:
        return []
    tuned = train.frozen_epochs > 0 or train.layer_decay < 1
    if config.model.pretrained is None:
        made = f"train={train.name}: made for model.pretrained=FILE, and weights are fresh here"
        return [f"{made}; rather train=quick, small_images or paper"] if tuned else []
    if tuned or train.learning_rate < _OF_FRESH_WEIGHTS[train.optimizer]:
        return []
    return [
        f"train.learning_rate={train.learning_rate:g} for 256 images is of fresh weights, and "
        "spoils those of model.pretrained; rather train=finetune"
    ]


def _made_for_digits(config: SweepConfig) -> list[str]:
    parts = {"model": config.model.name, "train": config.train.name}
    tiny = [f"{group}={name}" for group, name in parts.items() if name == "tiny"]
    if not tiny or config.data.name == "digits":
        return []
    return [
        f"{' '.join(tiny)}: made for data=digits; for data={config.data.name} rather one of "
        "model=small, resnest14, … and train=quick, small_images, paper"
    ]


def config_of_trials(config: SweepConfig) -> SweepConfig:
    """The configuration as its trials are trained: a recipe's length is that of the search."""
    train = dataclasses.replace(config.train, epochs=config.search.epochs)
    return dataclasses.replace(config, train=train)


def _with_profile(config: SweepConfig) -> SweepConfig:
    """The configuration with the mode of its profile, which is what is recorded of the run."""
    word = config.measure.profile
    if not word:
        return config
    mode, asked = Profile.read(word).measure, config.measure.also
    if asked and asked != mode.also:
        raise UserError(
            f"measure.also=[{','.join(asked)}]: measure.profile={word} has its own modes; "
            f"valid: [{','.join(mode.also)}]"
        )
    own = dataclasses.replace(mode, profile=word, doubtful=config.measure.doubtful)
    return dataclasses.replace(config, measure=own)


def _with_data(config: SweepConfig, space: Space) -> SweepConfig:
    """The configuration with its images found, and every candidate checked against them."""
    listing = list_images(config.data) if config.data.name in FOLDERS and config.data.root else None
    config = dataclasses.replace(config, data=resolve(config.data, listing))
    _check_candidates(config, space, listing)
    check_pretrained(config, space)
    if config.data.download and not config.plan:
        from resnest_search.data.download import download

        download(config.data)  # once, before many processes look for the files
    return config


def _with_table(config: SweepConfig) -> tuple[SweepConfig, Table]:
    """The configuration with what its table decides, and the table.

    Its path becomes a whole one, since a resume may start elsewhere.

    Raises:
        UserError: it is no table, or lacks what the search wants.
    """
    path = Path(config.trial.path or "").absolute()
    table, search = Table.read(path), config.search
    if search.space and any(candidate.others for candidate in table.candidates):
        raise UserError(
            f"search.space: {table.path} varies {', '.join(table.parameters)}; valid: sweep=table"
        )
    search = dataclasses.replace(
        search,
        epochs=search.epochs or table.epochs,
        objectives=search.objectives or ["accuracy", *table.cost_names],
    )
    table.check(search)
    trial = dataclasses.replace(config.trial, path=str(path))
    return dataclasses.replace(config, trial=trial, search=search), table


def _within_table(config: SweepConfig, space: Space, table: Table) -> tuple[SweepConfig, Space]:
    """The sweep over those of its variants that the table has, with a line on the others.

    Raises:
        UserError: it has none of them, or does not record a key.
    """
    if not config.search.space:
        return config, space
    table.check_keys(space)
    asked = list(dict.fromkeys(c.in_words for c in space.candidates or ()))
    recorded = [candidate.name for candidate in table.candidates]
    known = [name for name in asked if name in recorded]
    if len(known) == len(asked):
        return config, space
    if not known:
        shown = ", ".join(recorded[:_SHOWN])
        raise UserError(
            f"search.space: {table.path} records none of the {len(asked)} variants of "
            f"sweep={config.sweep}; valid: a sweeps/NAME.yaml of your own with some of "
            f"{shown}{', …' if len(recorded) > _SHOWN else ''}"
        )
    missing = ", ".join(name for name in asked if name not in known)
    print(
        f"{table.path} records {len(known)} of the {len(asked)} variants of sweep={config.sweep}, "
        f"which are searched; left aside: {missing}"
    )
    choices = {"variant": known}
    search = dataclasses.replace(config.search, space=choices)
    return dataclasses.replace(config, search=search), Space(choices, config.model)


def _check_candidates(config: SweepConfig, space: Space, listing: Listing | None) -> None:
    """Whatever a space varies, lists and both ends of ranges, checked like the config itself."""
    passed: set[str] = set()  # sections: reading folders once more costs seconds
    for candidate in space.settings():
        for section in configured(config, candidate):
            if repr(section) in passed:
                continue
            passed.add(repr(section))
            try:
                _check_section(section, listing)
                if isinstance(section, TrainConfig):
                    _check_recipe(config, section)
            except UserError as error:
                raise UserError(_of_space(str(error), candidate)) from None


def _check_section(
    section: ModelConfig | DataConfig | TrainConfig, listing: Listing | None
) -> None:
    if isinstance(section, ModelConfig):
        checks.check_model(section)
    elif isinstance(section, TrainConfig):
        checks.check_train(section)
    else:
        resolve(section, listing)


def _of_space(message: str, candidate: Candidate) -> str:
    """A refusal that names the key of the space, or all that it varies where it is another key."""
    if any(message.startswith((f"{key}=", f"{key}:")) for key in candidate.others):
        return f"search.space.{message}"
    varied = ", ".join(f"{key}={value}" for key, value in candidate.others.items())
    return f"search.space: with {varied}: {message}"


def _check_device(config: SweepConfig) -> None:
    """Raises UserError where this machine cannot measure as is asked."""
    if not config.measure.profile:
        has_gpu = allot(config.resources, this_machine()).accelerator == "gpu"
        checks.check_measured_on(config.measure, has_gpu)
        check_beside(config.measure, has_gpu)


def _check_recipe(config: SweepConfig, train: TrainConfig) -> None:
    """Raises UserError where this machine cannot train as is asked."""
    if config.resources.address is None:
        allotment = allot(config.resources, this_machine())
        checks.check_trained_on(train, allotment.accelerator == "gpu", allotment.workers)


def check_trained_on(config: SweepConfig, space: Space, has_gpu: bool) -> None:
    """What `prepare` cannot know of a cluster: whether its trials can train as is asked.

    Raises:
        UserError: a candidate would be trained in another precision, or cannot share its batches.
    """
    workers = workers_of(config.resources, has_gpu)
    for candidate in [*space.settings()] or space.networks[:1]:
        *_, train = configured(config, candidate)
        try:
            checks.check_trained_on(train, has_gpu, workers)
        except UserError as error:
            if str(error).partition("=")[0] not in candidate.others:
                raise
            raise UserError(_of_space(str(error), candidate)) from None


def in_virtual_time(config: SweepConfig) -> bool:
    """Whether a table is replayed without Ray."""
    return config.trial.name == "table" and config.trial.engine == "simulator"
