"""What networks cost, as a table and as a picture."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from rich.table import Table

from resnest_search.metrics import COSTS, around, metric_of
from resnest_search.report.colors import FRONT, INK
from resnest_search.report.picture import new_figure
from resnest_search.report.reading import interval_text
from resnest_search.study.costing import Costing

__all__ = ["draw_profile", "latency_text", "profile_table", "space_table"]

_OF_A_SPACE = ("latency_ms", "memory_mib", "train_memory_mib", "parameters_m", "gmacs")
_ROW = 0.28  # inches of a network in a picture
_DPI = 150


def profile_table(
    costs: dict[str, float], train_mode: str, half_width: float | None = None
) -> Table:
    """A row for each cost, by the names of metrics.COSTS.

    ``train_mode`` is the training step whose memory was measured, ``half_width`` half of the
    latency's interval of 95 %, a share.
    """
    of_step = metric_of("train_memory_mib").title.replace(" step", f" step of {train_mode}")
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column()
    table.add_column(justify="right")
    for name in COSTS:
        title = of_step if name == "train_memory_mib" else metric_of(name).title
        text = metric_of(name).show(costs[name])
        if name == "latency_ms":
            text = interval_text(costs[name], half_width)
        table.add_row(title, text)
    return table


def space_table(costings: Mapping[str, Costing]) -> Table:
    """A row for each network, the fastest first."""
    table = Table(box=None, pad_edge=False)
    table.add_column("network", no_wrap=True)
    for name in _OF_A_SPACE:
        table.add_column(metric_of(name).label, justify="right", no_wrap=True)
    modes = dict.fromkeys(name for costing in costings.values() for name in costing.also)
    for mode in modes:
        table.add_column(f"{mode} ms", justify="right", no_wrap=True)
    for called, costing in _by_latency(costings):
        latency = interval_text(costing.costs["latency_ms"], costing.half_width)
        others = [metric_of(name).show(costing.costs[name]) for name in _OF_A_SPACE[1:]]
        beside = [latency_text(costing.beside(mode)) for mode in modes]
        table.add_row(called, latency, *others, *beside)
    return table


def latency_text(costing: Costing | None) -> str:
    """A latency with its interval; a dash where none was measured."""
    if costing is None or "latency_ms" not in costing.costs:
        return "–"
    return interval_text(costing.costs["latency_ms"], costing.half_width)


def draw_profile(costings: Mapping[str, Costing], place: str, path: Path) -> None:
    """Latencies with their intervals of 95 %, the fastest on top, as a PNG of two panels.

    On the right the memory of a pass.
    """
    figure, axes = new_figure()
    rows = _by_latency(costings)
    figure.set_size_inches(9.2, 1.4 + _ROW * len(rows))
    axes.remove()
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(3, 2))
    for place_y, (_, costing) in enumerate(rows):
        latency = costing.costs["latency_ms"]
        left.plot([latency], [place_y], "o", color=FRONT, markersize=4)
        if costing.half_width is not None:
            left.plot(around(latency, costing.half_width), [place_y] * 2, color=FRONT, lw=1.5)
    right.barh(range(len(rows)), [c.costs["memory_mib"] for _, c in rows], color=FRONT, height=0.6)
    left.set_yticks(range(len(rows)), [called for called, _ in rows])
    left.invert_yaxis()
    for panel, name in ((left, "latency_ms"), (right, "memory_mib")):
        panel.set_xlabel(metric_of(name).title, color=INK)
        panel.spines[["top", "right"]].set_visible(False)
        panel.grid(axis="x", alpha=0.3)
    figure.suptitle(place, fontsize=9, color=INK)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=_DPI)


def _by_latency(costings: Mapping[str, Costing]) -> list[tuple[str, Costing]]:
    return sorted(costings.items(), key=lambda item: item[1].costs["latency_ms"])
