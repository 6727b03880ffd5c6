"""Candidates as numbers that a surrogate can compare."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from resnest_search.metrics import COSTS, METRICS
from resnest_search.space import share_of
from resnest_search.variant import Variant

__all__ = ["encode"]

_SPAN = 2.0  # of a key besides the variant, over its whole range
_VARIANT = ("variant", "radix", "cardinality", "width", "cardinality_width")


def encode(
    parameters: Mapping[str, Any],
    distributions: Mapping[str, BaseDistribution],
    costs: Mapping[str, float],
) -> NDArray[np.float64]:
    """Features of a candidate, (d,): doublings of what its variant is, e-folds of its costs.

    Logarithms bring all of them to a few units, without looking at other candidates: the
    features of a trial never change. Any other key that varies is spread over two units,
    and a choice among names is one column for each name. A key that does not exist beside the
    others is in the middle of its range, and none of its names.

    Args:
        parameters: as Optuna knows them.
        distributions: of all keys that a candidate may have.
        costs: by the names of metrics. Each cost metric has its place, NaN where it is not
            among them; a table's own costs follow in their order.
    """
    features = _variant_features(parameters)
    for name in sorted(distributions):
        if name in parameters and name not in _VARIANT:
            features += _others(parameters[name], distributions[name])
        elif name not in _VARIANT:
            features += _absent(distributions[name])
    for name in COSTS:
        if name != "latency_p95_ms":  # it says what the median does
            features.append(_log(costs.get(name, math.nan)))
    features += [_log(cost) for name, cost in costs.items() if name not in METRICS]
    return np.array(features)


def _log(cost: float) -> float:
    return math.log(cost) if 0 < cost < math.inf else math.nan


def _variant_features(parameters: Mapping[str, Any]) -> list[float]:
    if "variant" in parameters:
        variant = Variant.parse(str(parameters["variant"]))
        radix, cardinality, width = variant.radix, variant.cardinality, variant.width
    elif "cardinality_width" in parameters:
        variant = Variant.parse(f"2s{parameters['cardinality_width']}")
        radix, cardinality, width = parameters["radix"], variant.cardinality, variant.width
    elif {"radix", "cardinality", "width"} <= parameters.keys():
        radix, cardinality, width = (parameters[k] for k in ("radix", "cardinality", "width"))
    else:
        return []  # a study that varies something else
    # Radix 0 is a network without split attention, half a doubling below radix 1.
    split = math.log2(radix) if radix else -0.5
    return [split, math.log2(cardinality), math.log2(width)]


def _others(value: Any, distribution: BaseDistribution) -> list[float]:
    if isinstance(distribution, CategoricalDistribution):
        choices = distribution.choices
        if _has_names(choices):
            return [_SPAN / 2 if value == choice else 0.0 for choice in choices]
        low, high = min(choices), max(choices)  # type: ignore[type-var]
        return [_spread(value, low, high, log=bool(low > 0 and high / low > 8))]  # type: ignore
    if isinstance(distribution, IntDistribution | FloatDistribution):
        return [_spread(value, distribution.low, distribution.high, distribution.log)]
    return []


def _absent(distribution: BaseDistribution) -> list[float]:
    if isinstance(distribution, CategoricalDistribution) and _has_names(distribution.choices):
        return [0.0] * len(distribution.choices)
    return [_SPAN / 2]


def _has_names(choices: Sequence[Any]) -> bool:
    return not all(type(choice) in (int, float) for choice in choices)


def _spread(value: float, low: float, high: float, log: bool) -> float:
    return _SPAN * share_of(value, low, high, log)
