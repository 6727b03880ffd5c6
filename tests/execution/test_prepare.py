"""What a sweep varies goes through the very checks of the config, before any work."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from resnest_search.configuration.checks import check_measured_on
from resnest_search.configuration.compose import run_command
from resnest_search.configuration.schema import (
    MeasureConfig,
    MethodConfig,
    SearchConfig,
    SweepConfig,
)
from resnest_search.errors import UserError
from resnest_search.execution.prepare import made_for_digits, prepare
from resnest_search.space import Space

V = ["1s1x64d"]


def sweep(space: dict[str, Any], **search: Any) -> SweepConfig:
    methods = {"sampler": MethodConfig("random"), "pruner": MethodConfig("none")}
    found = SearchConfig(space={"variant": V, **space}, **{"trials": 3, **methods, **search})
    return SweepConfig(sweep="mine", search=found)


def ranged(low: float, high: float, **others: Any) -> dict[str, Any]:
    return {"low": low, "high": high, **others}


@pytest.mark.parametrize(
    ("key", "values", "bad"),
    [
        ("train.learning_rate", ranged(-1, 1), "-1.0"),
        ("train.momentum", ranged(0.5, 1.5), "1.5"),
        ("train.momentum", ranged(0.5, 1), "1.0"),
        ("train.weight_decay", ranged(-1e-4, 1e-4), "-0.0001"),
        ("train.label_smoothing", ranged(0, 1), "1.0"),
        ("train.mixup", ranged(-0.5, 1), "-0.5"),
        ("train.warmup_epochs", ranged(-1, 1), "-1.0"),
        ("model.dropout", ranged(0.5, 1), "1.0"),
        ("data.workers", ranged(-1, 2), "-1"),
        ("data.train_images", ranged(10, 10**6), "1000000"),
        ("train.learning_rate", [0.1, -1.0], "-1.0"),
        ("train.learning_rate", [0.1, float("nan")], "nan"),
        ("train.learning_rate", [0.1, float("inf")], "inf"),
        ("train.momentum", [0.9, 1.0], "1.0"),
        ("train.precision", ["fp32", "fp8"], "fp8"),
        ("train.batch_size", [64, 1], "1"),
        ("model.stem", ["small", "huge"], "huge"),
        ("data.augment", ["none", "flip"], "flip"),
    ],
)
def test_a_value_out_of_its_range_is_refused_at_either_end(key: str, values: Any, bad: str) -> None:
    with pytest.raises(UserError) as caught:
        prepare(sweep({key: values}))
    message = str(caught.value)
    assert message.startswith(f"search.space.{key}")
    assert bad in message
    assert "\n" not in message


def test_a_list_beside_a_range_is_checked_too() -> None:
    both = {"train.momentum": ranged(0.5, 0.9), "train.mixup": [0.0, -1.0]}
    with pytest.raises(UserError, match=r"search\.space\.train\.mixup=-1\.0: valid"):
        prepare(sweep(both))


def test_what_can_be_trained_passes() -> None:
    rates = ranged(0.01, 1, log=True)
    config, space = prepare(
        sweep({"train.learning_rate": rates, "data.augment": ["none", "shift"]})
    )
    assert isinstance(space, Space)
    assert config.data.classes == 10


def test_the_recipe_on_record_is_as_long_as_its_trials() -> None:
    asked = sweep({}, epochs=2)
    assert asked.train.epochs == 9
    config, _ = prepare(asked)
    assert (config.search.epochs, config.train.epochs) == (2, 2)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["data=cifar10"], "model=tiny train=tiny: made for data=digits; for data=cifar"),
        (["data=cifar10", "model=small"], "train=tiny: made for data=digits"),
        (["data=cifar10", "model=small", "train=quick"], ""),
        (["data=digits"], ""),
    ],
)
def test_who_brings_images_hears_what_is_made_for_the_digits(words: list[str], said: str) -> None:
    composed: list[SweepConfig] = []
    run_command("sweep", ["sweep=radix_card", *words], composed.append)
    assert " ".join(made_for_digits(composed[0])).startswith(said)
    assert bool(made_for_digits(composed[0])) == bool(said)


@pytest.mark.parametrize(
    ("section", "key", "valid"),
    [("train", "train.precision", "fp32, bf16"), ("measure", "measure.precision", "fp16")],
)
def test_products_that_no_cpu_has_are_refused_before_any_work(
    section: str, key: str, valid: str
) -> None:
    config = sweep({})
    config.resources.gpus_per_trial = 0
    getattr(config, section).precision = "tf32"
    with pytest.raises(UserError, match=f"^{key}=tf32: a CPU .*valid: .*{valid}$"):
        prepare(config)


def test_of_a_gpu_alone_it_is_measured() -> None:
    measure = MeasureConfig(precision="tf32")
    check_measured_on(measure, has_gpu=True)
    with pytest.raises(UserError, match=r"^measure\.precision=tf32"):
        check_measured_on(dataclasses.replace(measure, device="cpu"), has_gpu=True)
