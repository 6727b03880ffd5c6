"""Tables of recorded curves for tests: formulas written out as CSV files."""

from __future__ import annotations

import csv
import math
import random
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from resnest_search.simulation.table import COLUMNS
from resnest_search.variant import Variant

SIX = ("1s1x32d", "2s1x32d", "2s2x16d", "1s1x64d", "2s2x40d", "4s1x64d")

Row = dict[str, Any]


def rows_of(
    variants: Iterable[str] = SIX,
    seeds: Sequence[int] = (0, 1),
    epochs: int = 4,
    seconds: Mapping[str, float] | None = None,
) -> list[Row]:
    """Curves that rise at their own rate to their own height; costs that grow with the variant.

    An epoch takes the given seconds, else some that differ between variants and coincide often.
    """
    found = []
    for name in variants:
        variant = Variant.parse(name)
        load = variant.cardinality * variant.width / 64
        costs = {
            "latency_ms": 1 + load + 0.3 * variant.radix + 0.05 * variant.cardinality,
            "memory_mib": 2 + load * (1 + 0.2 * variant.radix),
            "seconds": seconds[name] if seconds else 1 + variant.radix / 2,
        }
        for seed in seeds:
            draw = random.Random(f"{name} {seed}")
            height, rate = draw.uniform(0.6, 0.95), draw.uniform(0.3, 1.5)
            for epoch in range(1, epochs + 1):
                accuracy = round(height * (1 - math.exp(-rate * epoch)), 6)
                key = (variant.radix, variant.cardinality, variant.width, seed, epoch)
                found.append(dict(zip(COLUMNS, key, strict=False)) | {"accuracy": accuracy} | costs)
    return found


def write(path: Path, rows: Sequence[Row]) -> Path:
    """A CSV file of the rows; the columns are those of the first."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path
