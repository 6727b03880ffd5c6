"""From a variant and the configuration around it to a network."""

from __future__ import annotations

import dataclasses
from typing import Any

from resnest_search.configuration.schema import ModelConfig
from resnest_search.models.resnest import ResNeSt
from resnest_search.variant import Variant

__all__ = ["build", "network_arguments"]

_NOT_OF_THE_NETWORK = ("name", "pretrained")


def network_arguments(config: ModelConfig) -> dict[str, Any]:
    """What a configuration says of the network itself, as keyword arguments of `ResNeSt`."""
    arguments = dataclasses.asdict(config)
    for name in _NOT_OF_THE_NETWORK:
        del arguments[name]
    return arguments


def build(variant: Variant, config: ModelConfig, *, in_channels: int, num_classes: int) -> ResNeSt:
    """A fresh network, its weights drawn from torch's global generator.

    Raises:
        ValueError: a value is out of its range, or the variant is impossible in this network.
    """
    return ResNeSt(
        variant, **network_arguments(config), in_channels=in_channels, num_classes=num_classes
    )
