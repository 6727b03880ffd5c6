"""What one variant costs, as a table."""

from __future__ import annotations

from rich.table import Table

from resnest_search.metrics import COSTS, METRICS

__all__ = ["profile_table"]


def profile_table(title: str, costs: dict[str, float], mode: str) -> Table:
    """A row for each cost.

    Args:
        title: variant and model.
        costs: by the names of metrics.COSTS.
        mode: device and mode in which they were measured.
    """
    table = Table(title=title, caption=mode, title_justify="left", caption_justify="left")
    table.add_column("cost")
    table.add_column("value", justify="right")
    for name in COSTS:
        table.add_row(METRICS[name].title, METRICS[name].show(costs[name]))
    return table
