"""A table of recorded learning curves."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Costs", "Setting", "Table", "read_table"]

_COLUMNS = ("radix", "cardinality", "width", "seed", "epoch", "accuracy", "latency_ms")
_COLUMNS += ("memory_mib", "seconds")

Floats = NDArray[np.float64]
Curves = dict[tuple["Setting", int], dict[int, dict[str, str]]]  # rows by epoch


class Setting(NamedTuple):
    """What tells a candidate from the others."""

    radix: int
    cardinality: int
    width: int

    def __str__(self) -> str:
        return f"{self.radix}s{self.cardinality}x{self.width}d"


class Costs(NamedTuple):
    """Measured before any training."""

    latency_ms: float
    memory_mib: float


@dataclass(frozen=True)
class Table:
    """Recorded curves of n candidates.

    Attributes:
        name: of the file.
        settings: the candidates, as the file lists them.
        costs: of each candidate.
        seeds: of the recorded trainings, ascending.
        accuracy: as a fraction, (n, seeds, epochs).
        seconds: that each epoch took, (n, seeds, epochs).
        images: validation images behind an accuracy, 0 where the file does not say.
        left_out: candidates that the file has in part, with what they lack.
    """

    name: str
    settings: tuple[Setting, ...]
    costs: tuple[Costs, ...]
    seeds: tuple[int, ...]
    accuracy: Floats
    seconds: Floats
    images: int
    left_out: tuple[str, ...] = ()

    @property
    def epochs(self) -> int:
        """A candidate's full length."""
        return int(self.accuracy.shape[2])


def read_table(path: Path) -> Table:
    """Read a CSV with one row an epoch.

    Columns: radix, cardinality, width, seed, epoch (from 1), accuracy (a fraction), latency_ms,
    memory_mib, seconds (of the epoch), and where known images (validation images). A candidate
    counts only where it has every seed and epoch that others have.

    Raises:
        ValueError: a column is missing, a number is impossible, or no candidate is whole.
    """
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        missing = [name for name in _COLUMNS if name not in (reader.fieldnames or ())]
        if missing:
            raise ValueError(f"{path}: no column {', '.join(missing)}")
        curves = _curves(path, reader)
    seeds = tuple(sorted({seed for _, seed in curves}))
    length = max((max(rows) for rows in curves.values()), default=0)
    lacks = {setting: _lacks(curves, setting, seeds, length) for setting, _ in curves}
    whole = tuple(setting for setting, lack in lacks.items() if not lack)
    if not whole:
        raise ValueError(f"{path}: no candidate has every seed and epoch")
    firsts = [curves[setting, seeds[0]][1] for setting in whole]

    def numbers(column: str) -> Floats:
        return np.array(
            [
                [[float(curves[c, s][e][column]) for e in range(1, length + 1)] for s in seeds]
                for c in whole
            ]
        )

    return Table(
        name=path.stem,
        settings=whole,
        costs=tuple(Costs(float(r["latency_ms"]), float(r["memory_mib"])) for r in firsts),
        seeds=seeds,
        accuracy=numbers("accuracy"),
        seconds=numbers("seconds"),
        images=int(float(firsts[0].get("images") or 0)),
        left_out=tuple(f"{setting} lacks {lack}" for setting, lack in lacks.items() if lack),
    )


def _curves(path: Path, rows: Iterable[dict[str, str]]) -> Curves:
    curves: Curves = {}
    for line, row in enumerate(rows, start=2):
        try:
            setting = Setting(*(int(row[name]) for name in Setting._fields))
            seed, epoch = int(row["seed"]), int(row["epoch"])
            accuracy = float(row["accuracy"])
            positive = [float(row[name]) for name in ("latency_ms", "memory_mib", "seconds")]
        except (TypeError, ValueError) as error:
            raise ValueError(f"{path}, line {line}: {error}") from None
        if not 0 <= accuracy <= 1 or not all(0 < x < math.inf for x in positive) or epoch < 1:
            raise ValueError(f"{path}, line {line}: an impossible number in {dict(row)}")
        if curves.setdefault((setting, seed), {}).setdefault(epoch, row) is not row:
            raise ValueError(f"{path}, line {line}: {setting} seed {seed} epoch {epoch} again")
    return curves


def _lacks(curves: Curves, setting: Setting, seeds: tuple[int, ...], length: int) -> str:
    """What of a candidate is not in the file; empty where all is."""
    for seed in seeds:
        if (setting, seed) not in curves:
            return f"seed {seed}"
        for epoch in range(1, length + 1):
            if epoch not in curves[setting, seed]:
                return f"epoch {epoch} of seed {seed}"
    return ""
