"""What one variant costs, as a table."""

from __future__ import annotations

from rich.table import Table

from resnest_search.metrics import COSTS, METRICS

__all__ = ["profile_table"]


def profile_table(costs: dict[str, float]) -> Table:
    """A row for each cost, by the names of metrics.COSTS."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column()
    table.add_column(justify="right")
    for name in COSTS:
        table.add_row(METRICS[name].title, METRICS[name].show(costs[name]))
    return table
