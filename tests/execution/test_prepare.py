"""What a sweep varies goes through the very checks of the config, before any work."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from resnest_search.configuration.checks import check_measure, check_measured_on
from resnest_search.configuration.compose import run_command
from resnest_search.configuration.schema import (
    MeasureConfig,
    MethodConfig,
    ResourcesConfig,
    SearchConfig,
    SweepConfig,
    TrainConfig,
)
from resnest_search.errors import UserError
from resnest_search.execution import precision
from resnest_search.execution.prepare import check_trained_on, ill_suited, prepare
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
        (
            ["data=digits", "train=quick", "model.pretrained=a.pt"],
            "train.learning_rate=0.8 for 256 images is of fresh weights",
        ),
        (["data=digits", "train=quick", "train.learning_rate=0.01", "model.pretrained=a.pt"], ""),
        (["data=digits", "train=finetune", "model.pretrained=a.pt"], ""),
        (["data=digits", "train=finetune"], "train=finetune: made for model.pretrained=FILE"),
        (
            ["train.warmup_epochs=27"],
            "train.warmup_epochs=27 of 27 epochs: the learning rate never",
        ),
        (["train.warmup_epochs=26"], ""),
        (["data.cache=ram", "data.shrink=64"], "data.cache=ram data.shrink=64: without effect on"),
    ],
)
def test_who_brings_images_or_weights_hears_what_is_made_for_others(
    words: list[str], said: str
) -> None:
    composed: list[SweepConfig] = []
    run_command("sweep", ["sweep=radix_card", *words], composed.append)
    assert " ".join(ill_suited(composed[0])).startswith(said)
    assert bool(ill_suited(composed[0])) == bool(said)


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


# What a machine and a recipe come to


@pytest.mark.parametrize("found", ["fp32", "bf16"])
def test_auto_is_recorded_as_what_it_comes_to(found: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "mixed_precision", lambda accelerator: found)
    config, _ = prepare(dataclasses.replace(sweep({}), train=TrainConfig(precision="auto")))
    assert config.train.precision == found
    for varied in (
        {"train.precision": ["auto", "bf16"]},
        {"train": {"precision": ["auto"]}},
        {"train.precision": {"choices": ["bf16"], "when": {"radix": 2}, "else": "auto"}},
    ):
        with pytest.raises(UserError, match=r"^search\.space\.train\.precision=auto: is one for"):
            prepare(sweep(varied))


def test_on_a_cpu_auto_is_fp32() -> None:
    assert precision.mixed_precision("cpu") == "fp32"


def test_patience_is_of_a_single_training() -> None:
    one = dataclasses.replace(sweep({}), train=TrainConfig(patience=3))
    config, _ = prepare(one)
    assert config.train.patience == 3
    both = dataclasses.replace(one.search, space={"variant": ["1s1x64d", "2s1x64d"]})
    with pytest.raises(UserError, match=r"^train\.patience=3: ends a single training; .*valid: 0"):
        prepare(dataclasses.replace(one, search=both))
    again = dataclasses.replace(one.search, repeats=1)
    with pytest.raises(UserError, match=r"^train\.patience=3: ends a single training"):
        prepare(dataclasses.replace(one, search=again))
    with pytest.raises(UserError, match=r"search\.space\.train\.patience: cannot be varied"):
        prepare(sweep({"train.patience": [0, 3]}))


def test_what_recipes_add_may_vary_and_is_timed_once() -> None:
    space = {
        "train.optimizer": ["sgd", "adamw"],
        "train.ema": [0.0, 0.999],
        "train.accumulate": [1, 4],
        "train.layer_decay": ranged(0.5, 1.0),
        "train.frozen_epochs": ranged(0, 2),
        "train.clip_gradients": [0.0, 1.0],
        "train.beta2": [0.99, 0.999],
    }
    _, found = prepare(sweep(space))
    assert found.timed == 1
    assert len(found.networks) == 8
    assert prepare(sweep({"train.sync_norm": [True, False]}))[1].timed == 1
    with pytest.raises(
        UserError, match=r"^search\.space\.train\.accumulate=3: train\.batch_size=64"
    ):
        prepare(sweep({"train.accumulate": [1, 3]}))


@pytest.mark.parametrize(
    ("batch", "sync_norm", "valid"),
    [(33, True, "2, 4"), (1, True, "2, 4"), (2, False, "4, 6"), (2, True, ""), (8, False, "")],
)
def test_workers_of_a_trial_share_a_batch_equally(batch: int, sync_norm: bool, valid: str) -> None:
    config = sweep({})
    train = dataclasses.replace(config.train, batch_size=batch, sync_norm=sync_norm)
    two = ResourcesConfig(workers_per_trial=2, gpus_per_trial=0)
    config = dataclasses.replace(config, train=train, resources=two)
    space = Space(config.search.space, config.model)
    if not valid:
        check_trained_on(config, space, has_gpu=False)
        return
    refusal = rf"^train.batch_size={batch}: 2 workers of a trial .* valid: {valid}, …$"
    with pytest.raises(UserError, match=refusal):
        check_trained_on(config, space, has_gpu=False)


@pytest.mark.parametrize("key", ["cuda_graph", "cold_l2"])
def test_what_is_of_gpus_is_refused_on_a_cpu(key: str) -> None:
    measure = MeasureConfig(**{key: True})  # type: ignore[arg-type]
    check_measured_on(measure, has_gpu=True)
    with pytest.raises(UserError, match=f"^measure.{key}=true: a CPU has none; valid there: false"):
        check_measured_on(measure, has_gpu=False)
    with pytest.raises(UserError, match=r"^measure\.cuda_graph=true: measure\.compile=true has"):
        check_measure(MeasureConfig(cuda_graph=True, compile=True))
