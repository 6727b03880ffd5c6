"""The panels of a sweep as plotly figures: one drawing for page, notebook and tracker."""

from __future__ import annotations

from collections.abc import Callable

import plotly.graph_objects as go

from resnest_search.panels import Panel
from resnest_search.report.figures.accounts import importance_figure, ledger_figure
from resnest_search.report.figures.curves import curves_figure
from resnest_search.report.figures.parallel import parallel_figure
from resnest_search.report.figures.scatter import front_figure, scatter_figure
from resnest_search.report.figures.times import hypervolume_figure, timeline_figure
from resnest_search.study.record import Sweep

__all__ = ["figure_of"]

_FIGURES: dict[str, Callable[[Panel, Sweep], go.Figure | None]] = {
    "front": front_figure,
    "scatter": scatter_figure,
    "curves": curves_figure,
    "parallel": parallel_figure,
    "importance": importance_figure,
    "hypervolume": hypervolume_figure,
    "timeline": timeline_figure,
    "ledger": ledger_figure,
}


def figure_of(panel: Panel, sweep: Sweep) -> go.Figure | None:
    """The figure of a panel; None of one that is no figure, or where there is nothing to draw.

    Points carry the place of their trial in ``sweep.trials`` as customdata.
    """
    draw = _FIGURES.get(panel.kind)
    return draw(panel, sweep) if draw else None
