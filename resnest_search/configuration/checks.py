"""Values of the right type that make no sense: refused with their key, before any work."""

from __future__ import annotations

from collections.abc import Iterable
from math import inf
from typing import Any

from resnest_search.configuration.schema import (
    MeasureConfig,
    ModelConfig,
    SearchConfig,
    TrainConfig,
    TrialConfig,
)
from resnest_search.errors import UserError
from resnest_search.metrics import METRICS, TRAINED
from resnest_search.variant import Variant

__all__ = [
    "check_measure",
    "check_model",
    "check_search",
    "check_tracking",
    "check_train",
    "check_trial",
    "parse_variant",
]

_PRECISIONS = ("fp32", "bf16", "fp16")


def parse_variant(text: str, model: ModelConfig) -> Variant:
    """The variant of a command, possible on the model's stages.

    Raises:
        UserError: it is malformed or impossible; names the rule.
    """
    try:
        return Variant.parse(text).check(model.planes)
    except ValueError as error:
        raise UserError(f"variant={text}: model={model.name}: {error}") from None


def check_model(model: ModelConfig) -> None:
    """Raises UserError where the network cannot be built with any variant."""
    _one_of("model.stem", model.stem, ("small", "deep"))
    _one_of("model.radix0", model.radix0, ("resnet_d", "avd"))
    _at_least("model.stem_width", model.stem_width, 1)
    if not model.depths or len(model.depths) != len(model.planes):
        raise UserError(
            f"model.depths={model.depths}: valid: one number for each of "
            f"model.planes={model.planes}"
        )
    for name in ("depths", "planes"):
        values = getattr(model, name)
        if not all(isinstance(value, int) and value >= 1 for value in values):
            raise UserError(f"model.{name}={values}: valid: whole numbers of at least 1")
    for name in ("dropout", "dropblock"):
        if not 0 <= getattr(model, name) < 1:
            raise UserError(f"model.{name}={getattr(model, name)}: valid: at least 0, below 1")


def check_train(train: TrainConfig) -> None:
    """Raises UserError where the recipe cannot be followed."""
    _at_least("train.epochs", train.epochs, 1)
    _at_least("train.batch_size", train.batch_size, 2)  # one image has no batch statistics
    for name in ("learning_rate", "momentum", "weight_decay", "warmup_epochs", "mixup"):
        _at_least(f"train.{name}", getattr(train, name), 0)
    if train.momentum >= 1:
        raise UserError(f"train.momentum={train.momentum}: valid: at least 0, below 1")
    if not 0 <= train.label_smoothing < 1:
        raise UserError(f"train.label_smoothing={train.label_smoothing}: valid: 0 up to below 1")
    _one_of("train.precision", train.precision, _PRECISIONS)


def check_measure(measure: MeasureConfig) -> None:
    """Raises UserError where nothing can be measured so."""
    for name in ("batch", "repeats", "threads"):
        _at_least(f"measure.{name}", getattr(measure, name), 1)
    _at_least("measure.warmup", measure.warmup, 0)
    if measure.image_size is not None:
        _at_least("measure.image_size", measure.image_size, 1)
    _one_of("measure.precision", measure.precision, _PRECISIONS)
    _one_of("measure.form", measure.form, ("plain", "fast"))
    if measure.device is not None:
        _one_of("measure.device", measure.device, ("cpu", "cuda"))


def check_search(search: SearchConfig) -> None:
    """Raises UserError where objectives or bounds make no sense."""
    if not search.objectives:
        raise UserError(f"search.objectives=[]: valid: one or more of {', '.join(METRICS)}")
    for name in search.objectives:
        _one_of("search.objectives", name, METRICS)
    if len(set(search.objectives)) < len(search.objectives):
        raise UserError(f"search.objectives={search.objectives}: names one twice")
    _at_least("search.epochs", search.epochs, 1)
    _at_least("search.seed", search.seed, 0)
    _at_least("search.repeats", search.repeats, 0)
    trained = [name for name in search.objectives if name in TRAINED]
    if search.repeats and trained != ["accuracy"]:
        raise UserError(
            f"search.repeats={search.repeats}: needs accuracy as the one trained objective, not "
            f"search.objectives={search.objectives}; valid: 0, or objectives with accuracy"
        )
    for name in ("trials", "budget"):
        if getattr(search, name) is not None:
            _at_least(f"search.{name}", getattr(search, name), 1)
    if search.hours is not None and not 0 < search.hours < inf:
        raise UserError(f"search.hours={search.hours}: valid: above 0")
    for name, bound in vars(search.limits).items():
        if bound is not None and not 0 < bound < inf:
            raise UserError(f"search.limits.{name}={bound}: valid: above 0")


def check_trial(trial: TrialConfig) -> None:
    """Raises UserError where no trial can come by its epochs so."""
    _one_of("trial.name", trial.name, ("train", "table"))
    _one_of("trial.engine", trial.engine, ("simulator", "ray"))
    _at_least("trial.workers", trial.workers, 1)
    if trial.name == "table" and trial.path is None:
        raise UserError("trial.path=null: valid: a CSV of recorded curves")


def check_tracking(tracking: str) -> None:
    """Raises UserError where the mode is unknown."""
    _one_of("tracking", tracking, ("offline", "online", "none"))


def _at_least(key: str, value: float, least: float) -> None:
    if not least <= value < inf:
        raise UserError(f"{key}={value}: valid: a number of at least {least}")


def _one_of(key: str, value: Any, valid: Iterable[str]) -> None:
    if value not in valid:
        raise UserError(f"{key}={value}: valid: {', '.join(valid)}")
