"""What the tables of curves are like: spread, what early epochs tell, size of the front.

    python benchmarks/tables/describe.py                 # every NAME.csv beside this file
    python benchmarks/tables/describe.py cifar10 noise

Prints a Markdown row for each. All figures but those named otherwise are of accuracies that are
averaged over the seeds.
"""

from __future__ import annotations

import argparse
import csv
import itertools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from resnest_search.pareto import non_dominated

HERE = Path(__file__).parent
HEADS = (
    "table",
    "candidates x seeds x epochs",
    "final accuracy, %",
    "spread / SE",
    "rho 1",
    "rho 3",
    "rho of seeds",
    "front",
    "training, min",
)

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Curves:
    """A table.

    Attributes:
        accuracy: fraction, (candidates, seeds, epochs).
        costs: latency in ms, memory in MiB, seconds of an epoch, (candidates, 3).
        images: behind each accuracy.
    """

    accuracy: Floats
    costs: Floats
    images: int

    @property
    def final(self) -> Floats:
        """Accuracy after the last epoch, averaged over the seeds, (candidates,)."""
        return np.asarray(self.accuracy[:, :, -1].mean(axis=1))

    @property
    def standard_error(self) -> Floats:
        """Of each final accuracy, (candidates,): deviation of the seeds, and binomial.

        The seeds share their validation images, so that averaging lessens only the former.
        """
        last = self.accuracy[:, :, -1]
        seeds = last.var(axis=1, ddof=1) / last.shape[1]
        return np.asarray(np.sqrt(seeds + self.final * (1 - self.final) / self.images))

    @property
    def front(self) -> NDArray[np.bool_]:
        """Who is on the Pareto front of accuracy, latency and memory, (candidates,)."""
        return non_dominated(np.column_stack([-self.final, self.costs[:, :2]]))


def main() -> None:
    """Print a row for each table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", help="of tables; none: all")
    names = parser.parse_args().names or sorted(path.stem for path in HERE.glob("*.csv"))
    print("| " + " | ".join(HEADS) + " |\n|" + " --- |" * len(HEADS))
    for name in names:
        print("| " + " | ".join([name, *row(read(HERE / f"{name}.csv"))]) + " |")


def read(path: Path) -> Curves:
    """A table, whose rows may stand in any order.

    Raises:
        ValueError: a candidate lacks an epoch of a seed.
    """
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    variants = sorted({_variant(row) for row in rows})
    seeds, epochs = ({int(row[key]) for row in rows} for key in ("seed", "epoch"))
    accuracy = np.full((len(variants), len(seeds), len(epochs)), np.nan)
    costs = np.empty((len(variants), 3))
    for row in rows:
        index = variants.index(_variant(row))
        accuracy[index, int(row["seed"]), int(row["epoch"]) - 1] = float(row["accuracy"])
        costs[index] = [float(row[key]) for key in ("latency_ms", "memory_mib", "seconds")]
    if np.isnan(accuracy).any():
        raise ValueError(f"{path.name} is not complete")
    return Curves(accuracy, costs, int(rows[0]["images"]))


def row(curves: Curves) -> list[str]:
    """What HEADS names, but for the name."""
    final, last = curves.final, curves.accuracy[:, :, -1]
    error = float(np.sqrt((curves.standard_error**2).mean()))
    mean = curves.accuracy.mean(axis=1)  # (candidates, epochs)
    pairs = itertools.combinations(range(last.shape[1]), 2)
    between = float(np.mean([spearman(last[:, a], last[:, b]) for a, b in pairs]))
    _, seeds, epochs = curves.accuracy.shape
    return [
        " x ".join(map(str, curves.accuracy.shape)),
        f"{100 * final.min():.2f} to {100 * final.max():.2f}",
        f"{(final.max() - final.min()) / error:.1f}",
        f"{spearman(mean[:, 0], final):.2f}",
        f"{spearman(mean[:, 2], final):.2f}",
        f"{between:.2f}",
        f"{curves.front.sum()} of {len(final)}",
        f"{curves.costs[:, 2].sum() * seeds * epochs / 60:.0f}",
    ]


def spearman(a: Floats, b: Floats) -> float:
    """Rank correlation of two series, ties at their average rank."""
    return float(np.corrcoef(_ranks(a), _ranks(b))[0, 1])


def _ranks(values: Floats) -> Floats:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - (counts - 1) / 2)[inverse])


def _variant(row: dict[str, str]) -> tuple[int, ...]:
    return tuple(int(row[key]) for key in ("radix", "cardinality", "width"))


if __name__ == "__main__":
    main()
