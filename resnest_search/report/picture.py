"""An empty picture, for those that are files."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from resnest_search.report.colors import GRID, INK, MUTED

__all__ = ["new_figure"]

_SIZE = (9.2, 5.4)  # inches


def new_figure() -> tuple[Figure, Axes]:
    """An empty figure and its axes; no global state of matplotlib is touched."""
    figure = Figure(figsize=_SIZE, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(MUTED)
    axes.tick_params(colors=INK, labelsize=9)
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    return figure, axes
