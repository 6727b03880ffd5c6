"""Hypervolume against epochs, as one picture a table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np

mpl.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from search_peers.results import LEVELS, Results
from search_peers.rows import BASELINE, COSTS, ORACLE, OWN, PUBLISHED, Row
from search_peers.running import Trace
from search_peers.table import Floats

__all__ = ["draw"]

_PANELS = (1, 4)  # workers
_PEERS = ("#d55e00", "#cc79a7", "#009e73", "#b8860b", "#8c564b", "#7f3fbf")
_OURS = ("#0047ab", "#4f8fdc", "#7fb2e5", "#a9cdee")


def draw(results: Results, table: str, total: int, path: Path) -> None:
    """Median and quartile band of every row but the peers that know costs.

    Args:
        results: of the race.
        table: its name.
        total: epochs of the whole table.
        path: of the PNG.
    """
    panels = [count for count in results.workers if count in _PANELS] or results.workers[:2]
    figure, axes = plt.subplots(
        1, len(panels), figsize=(6.4 * len(panels), 5.6), sharey=True, squeeze=False
    )
    for axis, workers in zip(axes[0], panels, strict=True):
        _panel(axis, results, table, workers, total)
        axis.set_title(f"{table}, {workers} worker{'s' if workers > 1 else ''}")
    axes[0][0].set_ylabel("share of the true front's hypervolume")
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncols=3, frameon=False)
    rows = -(-len(labels) // 3)
    figure.tight_layout(rect=(0, 0.01 + 0.036 * rows, 1, 1))
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _panel(axis: Axes, results: Results, table: str, workers: int, total: int) -> None:
    grid = np.arange(total + 1)
    for level in LEVELS:
        axis.axhline(level, color="0.88", linewidth=0.8, zorder=0)
    for row in results.rows:
        if row.kind == COSTS:
            continue
        low, median, high = _bands(results.traces[table, workers, row.key], grid)
        style = _style(row, results)
        axis.step(grid, median, where="post", label=row.title, **style)
        if row is results.judged or row.key == "random":
            axis.fill_between(
                grid, low, high, step="post", color=style["color"], alpha=0.15, linewidth=0
            )
    axis.set_xlim(0, total)
    axis.set_ylim(0.4, 1.01)
    axis.set_xlabel("epochs trained")
    axis.spines[["top", "right"]].set_visible(False)


def _bands(traces: Sequence[Trace], grid: Floats) -> Floats:
    """Quartiles over seeds at each number of epochs, (3, epochs)."""
    curves = []
    for trace in traces:
        values = np.array([0.0, *trace.fractions])
        curves.append(values[np.searchsorted(trace.epochs, grid, side="right")])
    bands: Floats = np.quantile(curves, [0.25, 0.5, 0.75], axis=0)
    return bands


def _style(row: Row, results: Results) -> dict[str, object]:
    same = [other for other in results.rows if other.kind == row.kind]
    place = same.index(row)
    if row.kind == ORACLE:
        return {"color": "black", "linestyle": (0, (1, 1.2)), "linewidth": 1.4}
    if row.kind == BASELINE:
        return {"color": "0.35", "linestyle": "--" if place else "-", "linewidth": 1.4}
    if row.kind == PUBLISHED:
        return {"color": _PEERS[place % len(_PEERS)], "linewidth": 1.3}
    assert row.kind == OWN
    first = row is results.judged
    color = _OURS[0] if first else _OURS[1 + place % (len(_OURS) - 1)]
    return {
        "color": color,
        "linewidth": 2.8 if first else 1.4,
        "linestyle": "-" if first else (0, (5, 1.5)),
        "zorder": 5 if first else 3,
    }
