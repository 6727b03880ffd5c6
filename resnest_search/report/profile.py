"""What one variant costs, as a table."""

from __future__ import annotations

from rich.table import Table

from resnest_search.metrics import COSTS, metric_of
from resnest_search.report.reading import interval_text

__all__ = ["profile_table"]


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
