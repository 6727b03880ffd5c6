"""What is said of measured costs besides their figures: doubts, and how old they are."""

from __future__ import annotations

import datetime
from collections.abc import Mapping

from resnest_search.configuration.checks import given
from resnest_search.configuration.schema import SweepConfig
from resnest_search.errors import UserError
from resnest_search.study.costing import Costing
from resnest_search.words import counted

__all__ = [
    "age_line",
    "busy_warnings",
    "check_trusted",
    "cost_doubts",
    "throttle_warnings",
    "width_warnings",
]

_TIMED = ("latency_ms", "latency_p95_ms", "images_per_s")

_AGES = (("day", 86_400), ("hour", 3_600), ("minute", 60))


def cost_doubts(costings: Mapping[str, Costing], asked: float | None) -> list[str]:
    """What makes latencies doubtful that were to be known to ± so many percent."""
    lines = [
        *busy_warnings(costings),
        *throttle_warnings(costings),
        *width_warnings(costings, asked),
    ]
    for name in dict.fromkeys(name for costing in costings.values() for name in costing.also):
        found = {key: one for key, c in costings.items() if (one := c.beside(name)) is not None}
        failed = [one.failure for one in found.values() if one.failure]
        if failed:
            lines.append(
                f"{name}: {len(failed)} of {len(found)} networks are without costs: {failed[0]}"
            )
        known = {key: one for key, one in found.items() if not one.failure}
        lines += [f"{name}: {line}" for line in cost_doubts(known, asked)]
    return lines


def check_trusted(config: SweepConfig, costings: Mapping[str, Costing], on_gpu: bool) -> None:
    """Keep latencies that nobody should trust out of a sweep that ``measure.doubtful`` refuses.

    A wide interval alone is no such doubt: the front reckons with it.

    Args:
        config: of the sweep.
        costings: of its networks, with the limits that they break.
        on_gpu: whether they were timed on one, now.

    Raises:
        UserError: there are such latencies, and objectives or limits ask for them.
    """
    how = config.measure.doubtful
    bounded = not {*_TIMED}.isdisjoint(given(config.search.limits))
    if not bounded and {*_TIMED}.isdisjoint(config.search.objectives):
        return
    # What a limit that is no latency's rules out is ranked by nothing, nor is a network alone.
    ranked = {name: c for name, c in costings.items() if bounded or not c.infeasible}
    alone = len({costing.costs.get("latency_ms") for costing in ranked.values()}) < 2
    if how == "mark" or (how == "auto" and (alone or not on_gpu)):
        return
    doubts = [*busy_warnings(ranked), *throttle_warnings(ranked)]
    if how == "refuse" and on_gpu:
        doubts += _unwatched(ranked)
    if doubts:
        raise UserError(
            f"measure.doubtful={how}: {' '.join(doubts)} Valid: mark, which goes on and says so"
        )


def _unwatched(costings: Mapping[str, Costing]) -> list[str]:
    """A line where nobody knows what others did on a GPU."""
    shares = [(costing.details or {}).get("busy_percent") for costing in costings.values()]
    if None not in shares:
        return []
    return ["Whether others used the GPU is not known: it takes the package nvidia-ml-py."]


def busy_warnings(costings: Mapping[str, Costing]) -> list[str]:
    """A line where other work kept the device busy while it was measured."""
    from resnest_search.cost.busy import is_trouble

    told = [costing.details or {} for costing in costings.values()]
    shares = [details.get("busy_percent") for details in told]
    seconds = [details.get("busy_s") for details in told]  # earlier versions recorded none
    busy = [
        share
        for share, s in zip(shares, seconds, strict=True)
        if share is not None and is_trouble(share, s)
    ]
    if not busy:
        return []
    return [
        f"Other work kept the device up to {max(busy):.0f} % busy while {len(busy)} of "
        f"{len(shares)} networks were timed: do not trust their latencies; measure on an idle "
        "machine."
    ]


def throttle_warnings(costings: Mapping[str, Costing]) -> list[str]:
    """A line where a GPU was slowed down while it was measured."""
    told = [(costing.details or {}).get("gpu") or {} for costing in costings.values()]
    slowed = [gpu for gpu in told if gpu.get("throttled_rounds")]
    if not slowed:
        return []
    reasons = dict.fromkeys(reason for gpu in slowed for reason in gpu["throttled_by"])
    heat = max((gpu["celsius"][1] for gpu in slowed if "celsius" in gpu), default=None)
    at = "" if heat is None else f", at up to {heat:.0f} °C"
    return [
        f"The GPU was throttled ({', '.join(reasons)}{at}) while {len(slowed)} of {len(told)} "
        "networks were timed: do not trust their latencies; let it cool, and measure again."
    ]


def width_warnings(costings: Mapping[str, Costing], asked: float | None) -> list[str]:
    """A line where latencies are less sure than ``measure.half_width`` percent asks."""
    if asked is None:
        return []
    known = [100 * c.half_width for c in costings.values() if c.half_width is not None]
    wide = [percent for percent in known if percent > asked]
    once = sum((c.details or {}).get("latency_rounds") == 1 for c in costings.values())
    lines = [
        f"Of {once} networks one round was timed, which knows no interval, where "
        f"measure.half_width={asked:g} was asked: measure.repeats of at least 5 tells it."
    ]
    lines = lines if once else []
    if not wide:
        return lines
    return [
        *lines,
        f"The latencies of {len(wide)} of {len(known)} networks are known to ±{max(wide):.1f} % at "
        f"worst, where measure.half_width={asked:g} was asked: a longer measure.time_limit_s, "
        "or an idler machine, makes them surer.",
    ]


def age_line(costings: Mapping[str, Costing], begun: str) -> str:
    """How many were measured before this moment, ISO 8601, and how long ago; empty if none."""
    known = [str((costing.details or {}).get("measured") or "") for costing in costings.values()]
    before = [moment for moment in known if moment and moment < begun]
    if not before:
        return ""
    oldest = min(before)
    age_s = (_moment(begun) - _moment(oldest)).total_seconds()
    age = next(
        (counted(int(age_s // unit), noun) for noun, unit in _AGES if age_s >= unit),
        "less than a minute",
    )
    return (
        f"{len(before)} of {len(known)} networks were measured on this machine before, up to {age} "
        "ago: measure.cache=none measures them anew."
    )


def _moment(text: str) -> datetime.datetime:
    return datetime.datetime.fromisoformat(text)
