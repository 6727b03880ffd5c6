"""What the tables of curves are like: spread, what early epochs tell, size of the front.

    python benchmarks/tables/describe.py                 # every NAME.csv beside this file
    python benchmarks/tables/describe.py cifar10 FOLDER/naap440.csv

Prints a Markdown row for each. All figures but those named otherwise are of accuracies that are
averaged over the seeds; the end is the table's own truth where it has one.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from pathlib import Path

import numpy as np
from scipy.stats import kendalltau, spearmanr

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from search_peers.table import Floats, Table, read_table  # noqa: E402
from search_peers.truth import Truth  # noqa: E402

HEADS = (
    "table",
    "candidates x seeds x epochs",
    "final accuracy, %",
    "spread / SE",
    "rho 1",
    "rho 3",
    "tau 3",
    "rho of seeds",
    "front",
    "training, min",
)


def main() -> None:
    """Print a row for each table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", help="of tables beside this file, or paths; none: all")
    names = parser.parse_args().names or sorted(path.stem for path in HERE.glob("*.csv"))
    print("| " + " | ".join(HEADS) + " |\n|" + " --- |" * len(HEADS))
    for name in names:
        path = Path(name) if name.endswith(".csv") else HERE / f"{name}.csv"
        try:
            table = read_table(path)
        except ValueError as error:
            sys.exit(f"describe.py: {error}")
        print("| " + " | ".join([table.name, *row(table)]) + " |")


def row(table: Table) -> list[str]:
    """What HEADS names, but for the name; a dash where a table does not tell."""
    truth = Truth(table)
    final, last = truth.accuracy, table.accuracy[:, :, -1]
    error = float(np.sqrt((standard_error(table, final) ** 2).mean()))
    mean = table.accuracy.mean(axis=1)  # (candidates, epochs)
    pairs = itertools.combinations(range(last.shape[1]), 2)
    between = [spearmanr(last[:, a], last[:, b]).statistic for a, b in pairs]
    early = mean[:, 2] if table.epochs > 3 else None
    return [
        " x ".join(map(str, table.accuracy.shape)),
        f"{100 * final.min():.2f} to {100 * final.max():.2f}",
        f"{np.ptp(final) / error:.1f}" if error else "–",
        f"{spearmanr(mean[:, 0], final).statistic:.2f}" if table.epochs > 1 else "–",
        "–" if early is None else f"{spearmanr(early, final).statistic:.2f}",
        "–" if early is None else f"{kendalltau(early, final).statistic:.2f}",
        f"{np.mean(between):.2f}" if between else "–",
        f"{len(truth.front())} of {len(final)}",
        f"{table.seconds.sum() / 60:.0f}",
    ]


def standard_error(table: Table, final: Floats) -> Floats:
    """Of each final accuracy, (candidates,): deviation of the seeds, and binomial.

    The seeds share their validation images, so that averaging lessens only the former. What a
    table does not tell counts as none.
    """
    last = table.accuracy[:, :, -1]
    count = last.shape[1]
    seeds = last.var(axis=1, ddof=1) / count if count > 1 else np.zeros(len(last))
    images = final * (1 - final) / table.images if table.images else 0.0
    return np.asarray(np.sqrt(seeds + images))


if __name__ == "__main__":
    main()
