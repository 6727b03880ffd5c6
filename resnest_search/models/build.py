"""From a variant and the configuration around it to a network."""

from __future__ import annotations

from resnest_search.models.resnest import ResNeSt
from resnest_search.schema import ModelConfig
from resnest_search.variant import Variant

__all__ = ["build"]


def build(variant: Variant, config: ModelConfig, *, in_channels: int, num_classes: int) -> ResNeSt:
    """A fresh network, its weights drawn from torch's global generator.

    Raises:
        ValueError: a value is out of its range, or the variant is impossible in this network.
    """
    return ResNeSt(
        variant,
        depths=config.depths,
        planes=config.planes,
        stem=config.stem,
        stem_width=config.stem_width,
        in_channels=in_channels,
        num_classes=num_classes,
        avg_down=config.avg_down,
        avd=config.avd,
        avd_first=config.avd_first,
        radix0=config.radix0,
        zero_init_last_gamma=config.zero_init_last_gamma,
        dropout=config.dropout,
    )
