"""Figures as SVG text that can stand inside a page beside others."""

from __future__ import annotations

import io
import re

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

__all__ = [
    "ACCENT",
    "FRONT",
    "GRID",
    "INK",
    "LINES",
    "MUTED",
    "PAPER",
    "SIZE",
    "new_figure",
    "to_svg",
]

# Okabe and Ito's colours, told apart with any colour vision
FRONT = "#0072b2"
ACCENT = "#d55e00"
LINES = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00")
# these four are swapped for a page's own colours, so nothing else may use them
INK = "#1f2428"
MUTED = "#868d95"
GRID = "#e3e6e8"
PAPER = "#fefefe"
_HALO = f"paint-order: stroke; stroke: {PAPER}; stroke-width: 2.5px; "  # legible on lines
SIZE = (9.2, 5.4)  # inches


def new_figure() -> tuple[Figure, Axes]:
    """An empty figure and its axes; no global state of matplotlib is touched."""
    figure = Figure(figsize=SIZE, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(MUTED)
    axes.tick_params(colors=INK, labelsize=9)
    axes.grid(color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    return figure, axes


def to_svg(figure: Figure, name: str) -> str:
    """The figure as one ``<svg>`` element whose ids all begin with ``name``.

    The same figure gives the same text: it carries neither time nor versions.
    """
    out = io.StringIO()
    with rc_context({"svg.hashsalt": name, "svg.fonttype": "none"}):
        figure.savefig(out, format="svg", transparent=True, metadata={"Date": None})
    text = out.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = text.replace('<text style="', f'<text style="{_HALO}')
    return re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", text)
