"""What the limits of a search rule out."""

from __future__ import annotations

import pytest

from resnest_search.configuration.schema import LimitsConfig
from resnest_search.errors import UserError
from resnest_search.metrics import COSTS
from resnest_search.search.limits import check_limits, within_limits
from resnest_search.study.costing import Costing


def costing(latency: float, memory: float) -> Costing:
    return Costing(dict.fromkeys(COSTS, 1.0) | {"latency_ms": latency, "memory_mib": memory})


def test_a_limit_rules_out_what_breaks_it_and_names_it() -> None:
    limited = within_limits(
        {"a": costing(1.0, 5.0), "b": costing(3.0, 1.0)}, LimitsConfig(latency_ms=2.0)
    )
    assert limited["a"].infeasible == ""
    assert limited["b"].infeasible == "latency_ms 3 above the limit 2"
    check_limits(limited, LimitsConfig(latency_ms=2.0))


def test_throughput_is_limited_from_below() -> None:
    limited = within_limits({"a": costing(1.0, 1.0)}, LimitsConfig(images_per_s=2.0))
    assert limited["a"].infeasible == "images_per_s 1 below the limit 2"


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        (
            LimitsConfig(latency_ms=0.5),
            "search.limits.latency_ms=0.5: no variant meets it; .* 1 to 3",
        ),
        (LimitsConfig(latency_ms=2.0, memory_mib=2.0), "no variant meets all of them"),
    ],
)
def test_limits_that_nothing_meets_are_refused(limits: LimitsConfig, words: str) -> None:
    limited = within_limits({"a": costing(1.0, 5.0), "b": costing(3.0, 1.0)}, limits)
    with pytest.raises(UserError, match=words):
        check_limits(limited, limits)


def test_where_nothing_could_be_measured_the_reason_is_said() -> None:
    with pytest.raises(UserError, match="none of 1 networks can be measured: out of memory"):
        check_limits({"a": Costing({}, failure="out of memory")}, LimitsConfig())
