"""Candidates as numbers: one encoding, however a space names its variants."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import TrialState, create_trial

from resnest_search.search.forecast.features import encode
from resnest_search.search.forecast.outlook import Outlook
from resnest_search.search.situation import Goal

NAMES = ("radix", "cardinality", "width", "cardinality_width", "variant")


def features(
    parameters: dict[str, Any],
    distributions: dict[str, BaseDistribution] | None = None,
    **costs: float,
) -> list[float]:
    """What of the encoding is known; choices are of no account for the parts of a variant."""
    plain: dict[str, BaseDistribution] = {
        name: CategoricalDistribution([parameters[name]]) for name in NAMES if name in parameters
    }
    found = encode(parameters, plain | (distributions or {}), costs)
    return [float(value) for value in found if not math.isnan(value)]


@pytest.mark.parametrize("radix", [0, 1, 2, 4])
def test_a_variant_is_the_same_however_it_is_written(radix: int) -> None:
    apart = features({"radix": radix, "cardinality": 2, "width": 40})
    assert features({"variant": f"{radix}s2x40d"}) == apart
    assert features({"radix": radix, "cardinality_width": "2x40d"}) == apart


def test_a_step_is_a_doubling() -> None:
    split, groups, width = features({"variant": "1s1x32d"})
    assert features({"variant": "2s1x32d"}) == [split + 1, groups, width]
    assert features({"variant": "1s2x32d"}) == [split, groups + 1, width]
    assert features({"variant": "1s1x64d"}) == [split, groups, width + 1]
    assert split - 1 < features({"variant": "0s1x32d"})[0] < split


def test_costs_are_e_folds() -> None:
    plain = features({"variant": "1s1x32d"})
    found = features({"variant": "1s1x32d"}, latency_ms=2.0, memory_mib=3.0, accuracy=0.9)
    assert found == [*plain, math.log(2.0), math.log(3.0)]


def test_a_cost_keeps_its_place_where_another_is_unknown() -> None:
    whole = encode({}, {}, {"latency_ms": 2.0, "memory_mib": 3.0, "gmacs": 4.0})
    for lacking in (math.nan, 0.0, -1.0, math.inf):
        part = encode({}, {}, {"latency_ms": 2.0, "memory_mib": lacking, "gmacs": 4.0})
        assert part.shape == whole.shape
        assert np.isnan(part).sum() == np.isnan(whole).sum() + 1
        known = ~np.isnan(part)
        assert part[known].tolist() == whole[known].tolist()


def test_of_a_latency_one_figure_is_enough() -> None:
    found = features({"variant": "1s1x32d"}, latency_ms=2.0, latency_p95_ms=3.0)
    assert found == features({"variant": "1s1x32d"}, latency_ms=2.0)


@pytest.mark.parametrize(
    ("distribution", "values"),
    [
        (FloatDistribution(0.0, 4.0), [0.0, 1.0, 4.0]),
        (FloatDistribution(1e-4, 1.0, log=True), [1e-4, 1e-3, 1.0]),
        (IntDistribution(2, 6), [2, 3, 6]),
        (CategoricalDistribution([2, 6, 3]), [2, 3, 6]),
        (CategoricalDistribution([1e-4, 1e-3, 1.0]), [1e-4, 1e-3, 1.0]),
    ],
)
def test_another_key_is_spread_over_two_units(
    distribution: BaseDistribution, values: list[float]
) -> None:
    found = [features({"train.x": value}, {"train.x": distribution}) for value in values]
    assert found == [[pytest.approx(v, abs=1e-12)] for v in (0.0, 0.5, 2.0)]


def test_a_single_value_says_nothing() -> None:
    assert features({"train.x": 3.0}, {"train.x": FloatDistribution(3.0, 3.0)}) == [0.0]
    assert features({"train.x": 3}, {"train.x": CategoricalDistribution([3])}) == [0.0]


@pytest.mark.parametrize("choices", [["a", "b", "c"], [True, False, None]])
def test_names_have_a_column_each(choices: list[Any]) -> None:
    distribution = {"model.x": CategoricalDistribution(choices)}
    found = np.array([features({"model.x": choice}, distribution) for choice in choices])
    assert found.tolist() == np.eye(3).tolist()


def test_keys_stand_in_the_order_of_their_names() -> None:
    distributions: dict[str, BaseDistribution] = {
        "train.a": FloatDistribution(0, 1),
        "model.b": FloatDistribution(0, 1),
    }
    first = features({"train.a": 0.5, "model.b": 1.0, "variant": "1s1x32d"}, distributions)
    second = features({"variant": "1s1x32d", "model.b": 1.0, "train.a": 0.5}, distributions)
    assert first == second == [*features({"variant": "1s1x32d"}), 2.0, 1.0]


def test_a_study_of_something_else_has_no_variant() -> None:
    assert features({"x": 0.5}, {"x": FloatDistribution(0, 1)}) == [1.0]
    # Half a variant is none; its parts are left out rather than misread.
    assert features({"radix": 2, "x": 0.5}, {"x": FloatDistribution(0, 1)}) == [1.0]


@pytest.mark.parametrize(
    ("distribution", "wanted"),
    [
        (FloatDistribution(0.0, 4.0), [1.0]),
        (IntDistribution(2, 6), [1.0]),
        (CategoricalDistribution([0.1, 0.2]), [1.0]),
        (CategoricalDistribution(["none", "shift"]), [0.0, 0.0]),
    ],
)
def test_what_does_not_exist_keeps_its_place_in_the_middle(
    distribution: BaseDistribution, wanted: list[float]
) -> None:
    others: dict[str, BaseDistribution] = {"a": FloatDistribution(0.0, 1.0), "b": distribution}
    assert features({"a": 0.25}, others) == [0.5, *wanted]


def test_trials_of_different_keys_have_the_same_places() -> None:
    outlook = Outlook(Goal(("accuracy",), "accuracy", 4))
    kinds: dict[str, BaseDistribution] = {"a": CategoricalDistribution([0, 1])}
    kinds |= {"b": FloatDistribution(0.0, 1.0), "c": CategoricalDistribution(["x", "y"])}
    values: list[dict[str, Any]] = [{"a": 0}, {"a": 1, "b": 0.5}, {"a": 1, "c": "x"}]
    trials = [
        create_trial(state=TrialState.RUNNING, params=v, distributions={k: kinds[k] for k in v})
        for v in values
    ]
    outlook.span(trials)
    found = [outlook.prospect(trial).features for trial in trials]
    assert len({len(row) for row in found}) == 1
    assert len({row.tobytes() for row in found}) == 3
