"""The setting that the search varies, written as the ResNeSt paper writes it: ``2s2x40d``.

``2s2x40d`` is radix 2, cardinality 2 and bottleneck width 40 (arXiv 2004.08955, table 2).
Standard library alone, since exported models carry this file.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Variant", "attention_width", "group_width"]

_PATTERN = re.compile(r"(\d+)s(\d+)x(\d+)d")


@dataclass(frozen=True, order=True)
class Variant:
    """Radix, cardinality and bottleneck width of every split-attention block of a network.

    Raises:
        ValueError: radix is negative, or cardinality or width is not positive.
    """

    radix: int
    cardinality: int
    width: int

    def __post_init__(self) -> None:
        for name, least in (("radix", 0), ("cardinality", 1), ("width", 1)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int):
                raise ValueError(f"{name} must be a whole number, not {value!r}")
            if value < least:
                raise ValueError(f"{name} must be at least {least}, not {value}")

    def __str__(self) -> str:
        return f"{self.radix}s{self.cardinality}x{self.width}d"

    @classmethod
    def parse(cls, text: str) -> Variant:
        """Read ``RsKxWd``; the inverse of ``str``.

        Raises:
            ValueError: the text has another form, leading zeros, or an impossible number.
        """
        match = _PATTERN.fullmatch(text) if text.isascii() else None
        if match is None:
            raise ValueError(
                f"variant {text!r} is not of the form RsKxWd, for example 2s2x40d "
                "(radix 2, cardinality 2, width 40)"
            )
        try:
            variant = cls(*(int(number) for number in match.groups()))
        except ValueError as error:
            raise ValueError(f"variant {text!r}: {error}") from None
        if str(variant) != text:
            raise ValueError(f"variant {text!r} has leading zeros; write {variant}")
        return variant

    def broken_rule(self, planes: Sequence[int]) -> str | None:
        """Why this variant cannot be built on these stages, or None where it can.

        In every stage radix x cardinality must divide the group width, since the 3x3
        convolution has that many groups, and cardinality must divide the attention
        width, since both attention layers are grouped by it. Radix 0 has no attention:
        only the cardinality must divide the group width, which it always does.

        Args:
            planes: bottleneck planes of each stage, before the factor of 4.
        """
        for stage, stage_planes in enumerate(planes, start=1):
            width = group_width(stage_planes, self)
            where = f"stage {stage} ({stage_planes} planes)"
            if width == 0:
                return f"{where}: width {self.width} leaves no channel in the group width"
            if self.radix == 0:
                continue
            groups = self.radix * self.cardinality
            if width % groups:
                return (
                    f"{where}: radix x cardinality = {groups} does not divide "
                    f"the group width {width}"
                )
            attention = attention_width(stage_planes, self)
            if attention % self.cardinality:
                return (
                    f"{where}: cardinality {self.cardinality} does not divide "
                    f"the attention width {attention}"
                )
        return None

    def check(self, planes: Sequence[int]) -> Variant:
        """Return this variant.

        Raises:
            ValueError: it cannot be built on these stages; the message names the rule.
        """
        rule = self.broken_rule(planes)
        if rule is not None:
            raise ValueError(f"variant {self} is impossible: {rule}")
        return self


def group_width(planes: int, variant: Variant) -> int:
    """Channels that enter and leave the split-attention 3x3 of a stage with these planes."""
    return int(planes * variant.width / 64) * variant.cardinality


def attention_width(planes: int, variant: Variant) -> int:
    """Hidden channels of the attention of a stage: a quarter of the splits, at least 32."""
    return max(group_width(planes, variant) * variant.radix // 4, 32)
