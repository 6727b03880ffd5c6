"""What one variant costs, as a table."""

from __future__ import annotations

from rich.table import Table

from resnest_search.metrics import COSTS, metric_of

__all__ = ["profile_table"]


def profile_table(costs: dict[str, float], train_mode: str) -> Table:
    """A row for each cost, by the names of metrics.COSTS.

    ``train_mode`` is the training step whose memory was measured.
    """
    of_step = metric_of("train_memory_mib").title.replace(" step", f" step of {train_mode}")
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column()
    table.add_column(justify="right")
    for name in COSTS:
        title = of_step if name == "train_memory_mib" else metric_of(name).title
        table.add_row(title, metric_of(name).show(costs[name]))
    return table
