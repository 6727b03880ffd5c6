"""Everything about a sweep that can be checked before any work, and the images found."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from resnest_search import checks
from resnest_search.data import resolve
from resnest_search.errors import UserError
from resnest_search.execution.folder import check_new_folder
from resnest_search.execution.pretrained import absolute_pretrained, check_pretrained
from resnest_search.execution.resources import allot, this_machine
from resnest_search.execution.scratch import socket_folder
from resnest_search.execution.table import Table
from resnest_search.schema import SweepConfig
from resnest_search.search import Space, configured, find_earlier
from resnest_search.search.pruners import build_pruner
from resnest_search.search.samplers import build_sampler
from resnest_search.search.situation import Goal
from resnest_search.search.storage import check_storage
from resnest_search.search.study import directions_of, reported_of

__all__ = ["in_virtual_time", "prepare"]

_SHOWN = 12  # variants that a message lists


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
    checks.check_trial(config.trial)
    checks.check_tracking(config.tracking)
    check_new_folder(config.run)
    config = dataclasses.replace(config, storage=check_storage(config.storage))
    if config.resources.address is None and not in_virtual_time(config):
        allotment = allot(config.resources, this_machine())
        socket_folder()
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
        Goal(tuple(config.search.objectives), reported, config.search.epochs),
    )
    bounds = (config.search.trials, config.search.budget, config.search.hours)
    if space.candidates is None and bounds == (None, None, None):
        raise UserError(
            "search.trials=null: a space with a range has no end; "
            "valid: a number, or search.budget or search.hours"
        )
    if config.trial.name == "table":
        config, space = _within_table(_with_absolute_table(config), space)
    else:
        config = _with_data(config, space)
    find_earlier(config, space)  # a folder that is none of a run is refused before any work
    return config, space


def _with_data(config: SweepConfig, space: Space) -> SweepConfig:
    """The configuration with its images found, and every candidate checked against them."""
    config = dataclasses.replace(config, data=resolve(config.data))
    _check_candidates(config, space)
    check_pretrained(config, space)
    if config.data.download:
        from resnest_search.data.download import download

        download(config.data)  # once, before many processes look for the files
    return config


def _with_absolute_table(config: SweepConfig) -> SweepConfig:
    """The configuration with the whole path of its table: a resume may start elsewhere."""
    path = Path(config.trial.path or "").absolute()
    return dataclasses.replace(config, trial=dataclasses.replace(config.trial, path=str(path)))


def _within_table(config: SweepConfig, space: Space) -> tuple[SweepConfig, Space]:
    """The sweep over those of its variants that the table has, with a line on the others.

    Raises:
        UserError: it is no table, or has none of them.
    """
    table = Table.read(config.trial.path or "")
    asked = list(dict.fromkeys(str(c.variant) for c in space.candidates or ()))
    recorded = [str(variant) for variant in table.variants]
    known = [name for name in asked if name in recorded]
    if len(known) == len(asked) or any("." in key for key in space.distributions):
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


def in_virtual_time(config: SweepConfig) -> bool:
    """Whether a table is replayed without Ray."""
    return config.trial.name == "table" and config.trial.engine == "simulator"
