"""Values of the right type that make no sense."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from resnest_search.configuration.checks import (
    check_keys,
    check_measure,
    check_model,
    check_search,
    check_train,
    parse_variant,
)
from resnest_search.configuration.schema import (
    LimitsConfig,
    MeasureConfig,
    ModelConfig,
    SearchConfig,
    SweepConfig,
    TrackingConfig,
    TrainConfig,
)
from resnest_search.configuration.shipped import shipped_folder
from resnest_search.errors import UserError
from resnest_search.metrics import METRICS

CHECKS: dict[str, tuple[type[Any], Callable[[Any], None]]] = {
    "model": (ModelConfig, check_model),
    "train": (TrainConfig, check_train),
    "measure": (MeasureConfig, check_measure),
    "search": (SearchConfig, check_search),
}
NAN = math.nan


@pytest.mark.parametrize("group", ["model", "train", "measure"])
def test_everything_shipped_passes(group: str) -> None:
    kind, check = CHECKS[group]
    check(kind())
    for path in (shipped_folder("conf") / group).glob("*.yaml"):
        held = yaml.safe_load(path.read_text())
        check(kind(**held.get(group, held)))  # a recipe may bring keys of other sections


@pytest.mark.parametrize(
    ("group", "key", "value"),
    [
        ("model", "stem", "large"),
        ("model", "stem_width", 0),
        ("model", "radix0", "none"),
        ("model", "depths", []),
        ("model", "depths", [1]),
        ("model", "depths", [1, 0]),
        ("model", "depths", [[1, 1], [1, 1]]),
        ("model", "planes", [32, -64]),
        ("model", "planes", [32, 64, 128]),
        ("model", "dropout", 1.0),
        ("model", "dropout", -0.1),
        ("model", "dropout", NAN),
        ("model", "dropblock", 1.0),
        ("model", "dropblock", -0.1),
        ("train", "epochs", 0),
        ("train", "batch_size", 1),
        ("train", "learning_rate", -0.1),
        ("train", "learning_rate", NAN),
        ("train", "learning_rate", math.inf),
        ("train", "momentum", 1.0),
        ("train", "momentum", -0.5),
        ("train", "weight_decay", -1e-4),
        ("train", "warmup_epochs", -1.0),
        ("train", "label_smoothing", 1.0),
        ("train", "label_smoothing", -0.1),
        ("train", "mixup", -1.0),
        ("train", "cutmix", NAN),
        ("train", "progressive_resizing", 0.0),
        ("train", "progressive_resizing", 1.5),
        ("train", "precision", "fp8"),
        ("train", "accumulate", 3),
        ("train", "accumulate", 64),
        ("train", "accumulate", 0),
        ("train", "optimizer", "adam"),
        ("train", "beta2", 1.0),
        ("train", "layer_decay", 0.0),
        ("train", "layer_decay", 1.1),
        ("train", "frozen_epochs", -1),
        ("train", "clip_gradients", -1.0),
        ("train", "ema", 1.0),
        ("train", "patience", -1),
        ("measure", "batch", 0),
        ("measure", "repeats", 0),
        ("measure", "threads", 0),
        ("measure", "warmup", -1),
        ("measure", "image_size", 0),
        ("measure", "precision", "int8"),
        ("measure", "device", "tpu"),
        ("search", "objectives", []),
        ("search", "objectives", ["acuracy"]),
        ("search", "objectives", ["accuracy", "latency"]),
        ("search", "objectives", ["accuracy", "accuracy"]),
        ("search", "epochs", 0),
        ("search", "trials", 0),
        ("search", "budget", -5),
        ("search", "hours", 0.0),
        ("search", "hours", -1.0),
        ("search", "hours", NAN),
        ("search", "seed", -1),
    ],
)
def test_it_is_refused_in_one_line_that_names_key_and_value(
    group: str, key: str, value: Any
) -> None:
    kind, check = CHECKS[group]
    with pytest.raises(UserError) as caught:
        check(kind(**{key: value}))
    message = str(caught.value)
    assert "\n" not in message
    assert f"{group}." in message
    if (group, key) != ("model", "planes"):
        assert message.startswith(f"{group}.{key}=")
    shown = value[-1] if isinstance(value, list) and value else value
    assert str(shown) in message


@pytest.mark.parametrize("name", sorted(vars(LimitsConfig())))
@pytest.mark.parametrize("bound", [0.0, -1.0, NAN])
def test_a_limit_is_above_zero(name: str, bound: float) -> None:
    with pytest.raises(UserError, match=rf"search\.limits\.{name}={bound}: valid: above 0"):
        check_search(SearchConfig(limits=LimitsConfig(**{name: bound})))


@given(st.lists(st.sampled_from(sorted(METRICS)), min_size=1, unique=True))
def test_any_recorded_metrics_are_objectives(objectives: list[str]) -> None:
    check_search(SearchConfig(objectives=objectives))


def test_an_objective_that_is_not_recorded_names_those_that_are() -> None:
    with pytest.raises(UserError) as caught:
        check_search(SearchConfig(objectives=["f1"]))
    assert str(caught.value) == f"search.objectives=f1: valid: {', '.join(METRICS)}"


@pytest.mark.parametrize("mode", ["offline", "online", "none"])
def test_tracking_modes(mode: str) -> None:
    check_keys(SweepConfig(tracking=TrackingConfig(mode)))


@pytest.mark.parametrize("mode", ["", "Offline", "wandb", "disabled"])
def test_other_tracking_modes_are_refused(mode: str) -> None:
    with pytest.raises(UserError, match=f"tracking.name={mode}: valid: offline, online, none"):
        check_keys(SweepConfig(tracking=TrackingConfig(mode)))


def test_a_variant_is_parsed_and_checked_on_the_stages() -> None:
    assert str(parse_variant("2s2x40d", ModelConfig())) == "2s2x40d"
    for text, rule in [
        ("3s1x64d", "radix x cardinality = 3 does not divide the group width 32"),
        ("2s0x64d", "cardinality must be at least 1"),
        ("2s2x040d", "leading zeros"),
        ("2x2s40d", "not of the form RsKxWd"),
    ]:
        with pytest.raises(UserError) as caught:
            parse_variant(text, ModelConfig())
        message = str(caught.value)
        assert message.startswith(f"variant={text}: model=small: ")
        assert rule in message
        assert "\n" not in message
