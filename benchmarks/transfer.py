"""How much of one device's front is found by looking at networks that were trained for another.

    python benchmarks/transfer.py --table accel_nasbench.csv

The table has a row for each network: ``val_top1`` in percent and ``throughput_DEVICE_img_s`` of
several devices (Accel-NASBench: Ahmad et al., 2024). For each ordered pair of devices A and B a
sweep for A has trained ``--trained`` networks: those that come first when all are sorted into
fronts by accuracy and throughput on A (Deb et al., 2002), a search that errs in nothing. Then, of
B's true hypervolume (accuracy and milliseconds of an image scaled to [0, 1] over all networks,
reference 1.1):

- what A's own front is worth on B, which is what one has without measuring on B;
- what `report measure.profile=B` makes of the same trainings, by the function that it calls;
- what as many networks as A trained are worth where they are drawn at random, the mean over
  ``--seeds`` draws.

Prints a table in Markdown; beside each pair Kendall's tau of both throughputs.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import kendalltau

from resnest_search.pareto import Box, fronts
from resnest_search.study.costing import Costing
from resnest_search.study.record import COMPLETE, Epoch, Sweep, TrialRecord
from resnest_search.study.transfer import transferred

Floats = NDArray[np.float64]
_COLUMN = re.compile(r"throughput_(\w+)_img_s")


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--table", type=Path, required=True, help="a CSV file")
    parser.add_argument("--trained", type=int, default=100, help="networks that a sweep trains")
    parser.add_argument("--seeds", type=int, default=20, help="random draws")
    asked = parser.parse_args(words)
    if min(asked.trained, asked.seeds) < 1:
        parser.error("--trained and --seeds: valid: at least 1")
    return asked


def read(path: Path) -> tuple[Floats, dict[str, Floats]]:
    """Accuracies as fractions, (n,), and milliseconds of an image by device, of whole rows."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    names = [name for name in rows[0] if _COLUMN.fullmatch(name)] if rows else []
    if "val_top1" not in (rows[0] if rows else {}) or len(names) < 2:
        raise ValueError(
            f"{path}: wants columns val_top1 and throughput_DEVICE_img_s of two devices"
        )
    whole = [row for row in rows if row["val_top1"] and all(row[name] for name in names)]
    accuracy = np.array([float(row["val_top1"]) for row in whole]) / 100
    times = {
        name.split("_")[1]: np.array([1000.0 / float(row[name]) for row in whole]) for name in names
    }
    return accuracy, times


class Front:
    """The true front of a device, by which networks are judged."""

    def __init__(self, accuracy: Floats, times: Floats) -> None:
        self._points = np.column_stack([-accuracy, times])
        self._box = Box(self._points)
        self._whole = self._box.volume(self._points)

    def share(self, networks: Sequence[int]) -> float:
        """Of the true hypervolume, what these networks have."""
        return self._box.volume(self._points[list(networks)]) / self._whole

    def first(self, count: int) -> list[int]:
        """So many networks, front after front; of the last one the cheapest."""
        order = np.lexsort((self._points[:, 1], fronts(self._points)))
        return [int(index) for index in order[:count]]


def swept(networks: Sequence[int], accuracy: Floats, times: Floats) -> Sweep:
    """A finished sweep that trained these networks, with their costs on one device."""
    trials = tuple(
        TrialRecord(
            number=number,
            candidate=str(network),
            variant=str(network),
            parameters={},
            state=COMPLETE,
            curve=(Epoch(1, float(accuracy[network]), None, None, 1.0),),
            costs={"latency_ms": float(times[network])},
        )
        for number, network in enumerate(networks)
    )
    sweep = Sweep("", "", "", {}, ("accuracy", "latency_ms"), trials)
    return transferred(sweep, costs_of(networks, times))


def costs_of(networks: Sequence[int], times: Floats) -> dict[str, Costing | None]:
    """What they cost on a device, as a profile has it."""
    return {str(n): Costing({"latency_ms": float(times[n])}, "device", "") for n in networks}


def row(
    pair: tuple[str, str],
    accuracy: Floats,
    times: Mapping[str, Floats],
    judges: Mapping[str, Front],
    asked: argparse.Namespace,
) -> str:
    """A line of the table."""
    here, there = pair
    trained = judges[here].first(asked.trained)
    sweep = swept(trained, accuracy, times[here])
    seen = transferred(sweep, costs_of(trained, times[there]))
    own, again = ([int(trial.candidate) for trial in s.front] for s in (sweep, seen))
    drawn = [
        judges[there].share(
            np.random.default_rng(seed).choice(len(accuracy), len(trained), replace=False).tolist()
        )
        for seed in range(asked.seeds)
    ]
    tau = kendalltau(times[here], times[there])[0]
    shares = (judges[there].share(own), judges[there].share(again), float(np.mean(drawn)))
    cells = [here, there, f"{tau:.2f}", str(len(own)), str(len(again))]
    return "| " + " | ".join([*cells, *(f"{100 * share:.1f}" for share in shares)]) + " |"


def main(words: Sequence[str] | None = None) -> None:
    """Print the table."""
    asked = arguments(words)
    try:
        accuracy, times = read(asked.table)
    except (OSError, ValueError) as error:
        sys.exit(f"transfer.py: {error}")
    judges = {device: Front(accuracy, found) for device, found in times.items()}
    print("# A front seen from another device\n")
    print(f"- command: `python benchmarks/transfer.py --table {asked.table.name}`")
    print(f"- {len(accuracy)} networks, known on all devices; {asked.trained} trained for A")
    print("- members of a front, then shares of B's true hypervolume in percent")
    print(f"- random: as many networks, the mean of {asked.seeds} draws\n")
    print("| A | B | tau | on A's front | seen from B | A's front | seen from B | random |")
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for pair in itertools.permutations(times, 2):
        print(row(pair, accuracy, times, judges, asked))


if __name__ == "__main__":
    main()
