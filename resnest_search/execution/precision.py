"""``train.precision=auto``: taken for what the device has, once, before anything begins."""

from __future__ import annotations

import dataclasses

from resnest_search.configuration.schema import SweepConfig, TrainConfig
from resnest_search.execution.resources import allot, mixed_precision, this_machine

__all__ = ["profiled_precision", "resolved_precision"]

_AUTO = "auto"


def resolved_precision(config: SweepConfig) -> SweepConfig:
    """The configuration with the precision that its trials will have, which is what is recorded.

    Of a cluster, one of its nodes is asked. A replayed table trains nothing, and keeps the word.

    Raises:
        UserError: a trial does not fit, or no cluster answers.
    """
    if config.train.precision != _AUTO or config.trial.name == "table":
        return config
    train = dataclasses.replace(config.train, precision=_of_trials(config))
    return dataclasses.replace(config, train=train)


def profiled_precision(train: TrainConfig, device: str) -> TrainConfig:
    """A recipe as it would train on this machine's ``cuda`` or ``cpu``."""
    if train.precision != _AUTO:
        return train
    found = mixed_precision("gpu" if device == "cuda" else "cpu")
    return dataclasses.replace(train, precision=found)


def _of_trials(config: SweepConfig) -> str:
    if config.resources.address is None:
        return mixed_precision(allot(config.resources, this_machine()).accelerator)
    import ray

    from resnest_search.execution.driver import cluster

    with cluster(config.resources, config.verbose) as allotment:
        if allotment.accelerator == "cpu":
            return mixed_precision("cpu")
        asked = ray.remote(num_gpus=allotment.gpus_per_worker)(mixed_precision)
        found: str = ray.get(asked.remote("gpu"))
    return found
