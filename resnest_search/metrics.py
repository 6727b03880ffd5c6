"""The metrics that a trial records: direction, unit and how a person reads them.

One table, so that objectives, limits, CSV, report and W&B agree.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

__all__ = [
    "COSTS",
    "METRICS",
    "SHARES",
    "TRAINED",
    "Metric",
    "accuracy_error",
    "accuracy_interval",
    "around",
    "broken",
    "excess",
    "metric_of",
    "rounds_error",
    "sought_share",
]

_Z95 = 1.959964  # standard deviations on either side that hold 95 % of a normal
_OF_MEDIAN = math.sqrt(math.pi / 2)  # its standard error over a mean's, of many normal draws


@dataclass(frozen=True)
class Metric:
    """A recorded number.

    ``label`` heads a table column, ``title`` names an axis, ``noun`` stands in a sentence, ``unit``
    follows the printed value; ``scale`` and ``digits`` turn the recorded value into that.
    """

    name: str
    maximize: bool
    label: str
    title: str
    noun: str
    unit: str
    digits: int | None = 2  # None: four that count
    scale: float = 1.0
    least: int = 2  # digits that count of what is tiny

    @property
    def sign(self) -> float:
        """1, or -1 where more is better: what a value is multiplied by, so that less is better."""
        return -1.0 if self.maximize else 1.0

    def show(self, value: float | None) -> str:
        """The value as a person reads it, without its unit; a dash where there is none."""
        if value is None:
            return "–"
        shown = value * self.scale
        if self.digits is None:
            return f"{shown:.4g}"
        # What is tiny in this unit is no zero, and is told from what is nearly as tiny.
        tiny = 0 < abs(shown) < 10 ** (self.least - 1 - self.digits)
        return f"{shown:.{self.least}g}" if tiny else f"{shown:.{self.digits}f}"

    def say(self, value: float | None) -> str:
        """The value with its unit, as it stands in a sentence."""
        return f"{self.show(value)} {self.unit}"


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric(
            "accuracy", True, "acc %", "validation accuracy, %", "accuracy", "% accuracy", 2, 100.0
        ),
        Metric(
            "balanced_accuracy",
            True,
            "bal. acc %",
            "balanced validation accuracy, %",
            "balanced accuracy",
            "% balanced accuracy",
            2,
            100.0,
        ),
        Metric(
            "macro_f1",
            True,
            "F1 %",
            "validation macro F1, %",
            "macro F1",
            "% macro F1",
            2,
            100.0,
        ),
        Metric("loss", False, "loss", "validation loss", "loss", "loss", 3),
        Metric("latency_ms", False, "ms", "latency, ms (median)", "latency", "ms", 2),
        Metric(
            "latency_p95_ms",
            False,
            "p95 ms",
            "latency, ms (95th percentile)",
            "p95 latency",
            "ms (p95)",
            2,
        ),
        Metric("images_per_s", True, "img/s", "images per second", "throughput", "img/s", 0),
        Metric(
            "memory_mib",
            False,
            "MiB",
            "peak memory of inference, MiB",
            "memory",
            "MiB",
            2,
            least=3,  # it is exact, and of small networks at small images alike in two
        ),
        Metric(
            "train_memory_mib",
            False,
            "train MiB",
            "peak memory of a training step, MiB",
            "training memory",
            "MiB to train",
            1,
        ),
        Metric(
            "parameters_m", False, "#P M", "parameters, millions", "parameters", "M parameters", 3
        ),
        Metric(
            "gmacs",
            False,
            "GMACs",
            "multiply-accumulates per image, billions",
            "multiply-accumulates",
            "GMACs",
            4,
        ),
    )
}


def metric_of(name: str) -> Metric:
    """The metric of a name; a cost that only a recorded table knows is minimised."""
    return METRICS.get(name) or Metric(name, False, name, name, name, name, digits=None)


# What follows from the answers to validation images, from 0 to 1: an error is what lacks of 1.
SHARES: tuple[str, ...] = ("accuracy", "balanced_accuracy", "macro_f1")
TRAINED: tuple[str, ...] = (*SHARES, "loss")  # known only by training; may decide at a rung
COSTS: tuple[str, ...] = tuple(name for name in METRICS if name not in TRAINED)


def sought_share(objectives: Iterable[str]) -> str | None:
    """The share that is the one trained objective; None where others are, several, or none is."""
    trained = [name for name in objectives if name in TRAINED]
    return trained[0] if len(trained) == 1 and trained[0] in SHARES else None


def broken(costs: Mapping[str, float], bounds: Mapping[str, float]) -> str:
    """Which of these limits known costs break, each with its value; empty for none."""
    return "; ".join(
        f"{name} {costs[name]:.4g} {'below' if metric_of(name).maximize else 'above'} "
        f"the limit {bound:g}"
        for name, bound in bounds.items()
        if name in costs and excess(name, costs[name], bound) > 1
    )


def excess(name: str, value: float, bound: float) -> float:
    """The factor by which a cost is worse than its limit, above 0; at most 1 where it holds it."""
    if not metric_of(name).maximize:
        return value / bound
    return bound / value if value > 0 else math.inf


def accuracy_error(share: float, images: int, variance: float | None = None) -> float | None:
    """Standard error of an accuracy: half the width of the interval of Wilson (1927) at z = 1.

    ``sqrt(p (1 - p) / n + 1 / (4 n^2)) / (1 + 1 / n)``: for many images the binomial standard
    error, and not 0 where all answers are right.

    Args:
        share: the accuracy p.
        images: the number n behind it.
        variance: of the answers to single images; p (1 - p) where each is right or wrong.

    Returns:
        None where there are no images, or the share is none.
    """
    if not images or not 0 <= share <= 1:
        return None
    spread = share * (1 - share) if variance is None else variance
    return math.sqrt(spread / images + 0.25 / images**2) / (1 + 1 / images)


def accuracy_interval(share: float, images: int) -> tuple[float, float] | None:
    """The ends of Wilson's interval of 95 % of an accuracy; None as in `accuracy_error`."""
    if not images or not 0 <= share <= 1:
        return None
    z2 = _Z95**2 / images
    middle = (share + z2 / 2) / (1 + z2)
    half = math.sqrt(share * (1 - share) * z2 + z2**2 / 4) / (1 + z2)
    return max(0.0, middle - half), min(1.0, middle + half)


def around(value: float, half_width: float) -> tuple[float, float]:
    """The ends of an interval whose half width is a share of the value, upwards."""
    return value / (1 + half_width), value * (1 + half_width)


def rounds_error(deviation: float, rounds: int) -> float:
    """Standard error of the logarithm of a median over rounds: ``sqrt(pi / 2) s / sqrt(n)``.

    That is the error of many rounds; the median of five has a twentieth less.

    Args:
        deviation: standard deviation s of the logarithms of what single rounds found.
        rounds: their number n, at least 1.
    """
    return _OF_MEDIAN * deviation / math.sqrt(rounds)
