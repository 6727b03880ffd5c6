"""The metrics that a trial records: direction, unit and how a person reads them.

One table, so that objectives, limits, CSV, report and W&B agree.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["COSTS", "METRICS", "TRAINED", "Metric"]


@dataclass(frozen=True)
class Metric:
    """A recorded number.

    ``label`` heads a table column, ``title`` names an axis, ``scale`` and ``digits``
    turn the recorded value into the printed one.
    """

    name: str
    maximize: bool
    label: str
    title: str
    digits: int = 2
    scale: float = 1.0

    def show(self, value: float | None) -> str:
        """The value as a person reads it, without its unit; a dash where there is none."""
        return "–" if value is None else f"{value * self.scale:.{self.digits}f}"


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("accuracy", True, "acc %", "validation accuracy, %", 2, 100.0),
        Metric("loss", False, "loss", "validation loss", 3),
        Metric("latency_ms", False, "ms", "latency, ms (median)", 2),
        Metric("latency_p95_ms", False, "p95 ms", "latency, ms (95th percentile)", 2),
        Metric("images_per_s", True, "img/s", "images per second", 0),
        Metric("memory_mib", False, "MiB", "peak memory of inference, MiB", 2),
        Metric("train_memory_mib", False, "train MiB", "peak memory of a training step, MiB", 1),
        Metric("parameters_m", False, "#P M", "parameters, millions", 3),
        Metric("gmacs", False, "GMACs", "multiply-accumulates per image, billions", 4),
    )
}
TRAINED: tuple[str, ...] = ("accuracy", "loss")  # known only by training; may decide at a rung
COSTS: tuple[str, ...] = tuple(name for name in METRICS if name not in TRAINED)
