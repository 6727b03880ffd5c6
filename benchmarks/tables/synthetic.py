"""Two made-up tables of curves, the extremes between which real ones lie.

    python benchmarks/tables/synthetic.py

``noise.csv``: what is seen before the last epoch says nothing of the last. ``telling.csv``: the
first epoch already shows the final order. Candidates, costs and final accuracies are the same in
both, so that they differ in nothing but what the early epochs tell. Seeded: written anew, the
files are the same byte for byte. Columns as in record.py, see README.md.
"""

from __future__ import annotations

import csv
import io
import itertools
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from resnest_search.files import write_atomically

HERE = Path(__file__).parent
COLUMNS = "radix,cardinality,width,seed,epoch,accuracy,latency_ms,memory_mib,seconds,images"
RADIX, CARDINALITY, WIDTH = (0, 1, 2, 4), (1, 2, 4), (8, 16, 32, 64)
SEEDS, EPOCHS, IMAGES = 3, 9, 2000
_SEED = 17  # of the random numbers; this one makes a front of 13 from fast to slow

Floats = NDArray[np.float64]
_GRID: Floats = np.array(list(itertools.product(RADIX, CARDINALITY, WIDTH)), dtype=np.float64)


def main() -> None:
    """Write both tables beside this file."""
    rng = np.random.default_rng(_SEED)
    costs = made_costs(rng)
    final = with_sampling_error(seeded(final_accuracy(rng), rng), rng)
    for name, early in (("noise", noise(final, rng)), ("telling", telling(final, rng))):
        curves = np.concatenate([early, final[:, :, None]], axis=2)
        write_atomically(HERE / f"{name}.csv", as_csv(counted(curves), costs))


def final_accuracy(rng: np.random.Generator) -> Floats:
    """Accuracy (candidates,) as a fraction, were there endless images and seeds.

    Rises with radix, cardinality and width, with diminishing returns, and every candidate has
    a part of its own.
    """
    radix, cardinality, width = _GRID.T
    smooth = 0.70 + 0.15 * (1 - np.exp(-width / 30))
    smooth += 0.02 * (1 - np.exp(-radix / 1.2)) + 0.01 * (1 - np.exp(-(cardinality - 1) / 1.5))
    return np.asarray(smooth + rng.normal(0, 0.010, len(_GRID)))


def made_costs(rng: np.random.Generator) -> Floats:
    """Latency in ms, memory in MiB and seconds of an epoch, (candidates, 3).

    Latency follows the number of operations, memory the widest map, seconds both; each
    candidate departs from the rule by a factor of its own.
    """
    radix, cardinality, width = _GRID.T
    channels = width * cardinality
    latency = 0.9 + 0.25 * (radix > 0) + 0.10 * radix + 0.005 * channels * (1 + 0.3 * radix)
    memory = 0.08 + 0.0010 * channels * (1 + 0.5 * radix)
    seconds = 0.8 + 0.2 * (radix > 0) + 0.0045 * channels * (1 + 0.4 * radix)
    own = rng.lognormal(0, (0.08, 0.05, 0.08), (len(_GRID), 3))
    return np.stack([latency, memory, seconds], axis=1) * own


def seeded(accuracy: Floats, rng: np.random.Generator) -> Floats:
    """What each seed reaches, (candidates, seeds)."""
    return accuracy[:, None] + rng.normal(0, 0.003, (len(accuracy), SEEDS))


def with_sampling_error(accuracy: Floats, rng: np.random.Generator) -> Floats:
    """Accuracies as a sample of images shows them: binomial, as normal noise of its variance."""
    return accuracy + rng.normal(0, np.sqrt(accuracy * (1 - accuracy) / IMAGES))


def noise(final: Floats, rng: np.random.Generator) -> Floats:
    """Epochs before the last, (candidates, seeds, epochs - 1), that tell nothing of ``final``.

    One rising curve for all, plus noise that is new in every epoch. Its correlation with the
    final accuracy, of the seed's own and of the mean, is taken out, so that not even chance
    leaves some.
    """
    rise = 0.45 + 0.30 * (1 - np.exp(-np.arange(1, EPOCHS) / 3))
    early = rise + rng.normal(0, 0.03, (*final.shape, EPOCHS - 1))
    for seed in range(SEEDS):
        known = np.stack([final[:, seed], final.mean(axis=1)], axis=1)
        known = known - known.mean(axis=0)
        early[:, seed] -= known @ np.linalg.lstsq(known, early[:, seed], rcond=None)[0]
    return early


def telling(final: Floats, rng: np.random.Generator) -> Floats:
    """Epochs before the last, (candidates, seeds, epochs - 1), that show the order of ``final``.

    A growing share of what the candidate gains over guessing among ten classes.
    """
    share = (1 - np.exp(-np.arange(1, EPOCHS) / 2)) / (1 - np.exp(-EPOCHS / 2))
    early = 0.1 + (final[:, :, None] - 0.1) * share
    return np.asarray(early + rng.normal(0, 0.003, early.shape))


def counted(accuracy: Floats) -> Floats:
    """The nearest accuracies that this many images can show."""
    return np.asarray(np.rint(accuracy * IMAGES) / IMAGES)


def as_csv(curves: Floats, costs: Floats) -> str:
    """The table: a row an epoch, by candidate, then seed."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(COLUMNS.split(","))
    for (index, variant), seed in itertools.product(enumerate(_GRID.astype(int)), range(SEEDS)):
        fixed = [f"{cost:.4f}" for cost in costs[index]]
        for epoch, accuracy in enumerate(curves[index, seed], start=1):
            writer.writerow((*variant, seed, epoch, f"{accuracy:.6f}", *fixed, IMAGES))
    return file.getvalue()


if __name__ == "__main__":
    main()
