"""What a search of a recorded table could reach if it knew every end up to an error.

    python benchmarks/informed.py --table naap440.csv

From the start, and for nothing, each candidate's final accuracy is known up to a normal error of so
many points, the same throughout. Each time the one with the largest expected hypervolume
improvement is trained to its full length, as the default search chooses. So this bounds what a
forecast with that error can do for a search: it pays neither for looks nor for what it learns from.
Prints full trainings until 90, 95 and 99 % of the true hypervolume, medians over ``--draws``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from search_peers.table import Table, read_table
from search_peers.truth import Truth

from resnest_search.search.forecast.improvement import Front

LEVELS = (0.9, 0.95, 0.99)
_EXACT = 1e-6  # of a deviation, since that of a certain value may not be 0
_MARGIN = 0.1  # of the range beyond the worst, where hypervolume begins

Floats = NDArray[np.float64]


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--table", type=Path, required=True, help="a CSV file")
    parser.add_argument(
        "--errors", type=float, nargs="+", default=[0, 0.5, 1, 1.5, 2, 3], help="in points"
    )
    parser.add_argument("--draws", type=int, default=8, help="of the errors")
    asked = parser.parse_args(words)
    if asked.draws < 1 or min(asked.errors) < 0:
        parser.error("--draws: valid: at least 1; --errors: at least 0")
    return asked


def trainings(table: Table, truth: Truth, error: float, seed: int) -> list[int]:
    """Full trainings until each level, with errors of so many points."""
    accuracy, costs = 100 * truth.accuracy, np.array(table.costs, dtype=np.float64)
    rng = np.random.default_rng(seed)
    mean = accuracy + error * rng.standard_normal(len(accuracy))
    deviation = np.full(len(accuracy), max(error, _EXACT))
    reference = float(accuracy.min() - _MARGIN * np.ptp(accuracy))
    limits = costs.max(axis=0) + _MARGIN * np.ptp(costs, axis=0)
    left, done, needed = np.arange(len(accuracy)), list[int](), list[int]()
    for level in LEVELS:
        while truth.fraction(done) < level:
            known = np.array(done, dtype=int)
            front = Front(accuracy[known], costs[known], reference, limits)
            gains = front.gains(mean[left], deviation[left], costs[left])
            best = int(left[np.argmax(gains)])
            done.append(best)
            left = left[left != best]
        needed.append(len(done))
    return needed


def main(words: Sequence[str] | None = None) -> None:
    """Print the table."""
    asked = arguments(words)
    try:
        table = read_table(asked.table)
    except (OSError, ValueError) as error:
        sys.exit(f"informed.py: {error}")
    truth = Truth(table)
    print("| error, points | 90 % | 95 % | 99 % |\n| ---: | ---: | ---: | ---: |")
    for error in asked.errors:
        found = [trainings(table, truth, error, seed) for seed in range(asked.draws)]
        medians = np.median(np.array(found, dtype=np.float64), axis=0)
        print(f"| {error:g} | {' | '.join(f'{median:g}' for median in medians)} |", flush=True)


if __name__ == "__main__":
    main()
