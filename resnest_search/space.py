"""What a sweep varies, and the candidates that this makes."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import math
import statistics
import typing
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from resnest_search.configuration.schema import DataConfig, ModelConfig, SweepConfig, TrainConfig
from resnest_search.errors import UserError
from resnest_search.study.record import name_of
from resnest_search.variant import Variant

__all__ = ["Candidate", "Space", "candidate_of", "configured", "distribution_of", "share_of"]

_MOST_CANDIDATES = 100_000  # a finite space larger than this is not written out
_VARIANT_KEYS = ("variant", "radix", "cardinality", "width", "cardinality_width")
_MOST_CHOICES = 12  # distinct numbers that are a choice; more are a range
_VARIANT_PARTS = {"radix", "cardinality", "width"}
# Accuracies compare only on the same validation images, and a trial's length is search.epochs.
_FIXED = {"data.name", "data.root", "data.download", "data.classes", "data.channels"}
_FIXED |= {"data.val_images", "data.test_images", "data.split_seed", "train.epochs"}
_FIXED |= {"data.check", "data.unreadable", "data.skip", "data.background"}
_FIXED |= {"model.name", "train.name"}
# What leaves latency, memory and size as they are: measured once for all its values.
_NEUTRAL = {
    *("train.learning_rate", "train.momentum", "train.weight_decay", "train.warmup_epochs"),
    *("train.label_smoothing", "train.mixup", "train.compile"),
    *("data.augment", "data.train_images", "data.workers"),
    *("model.dropout", "model.zero_init_last_gamma"),
}
# What changes a training step alone, not what is exported and timed.
_OF_TRAINING = {"train.batch_size", "train.precision", "train.channels_last"}
_OF_TRAINING |= {"model.dropblock", "model.pretrained"}
_SECTIONS: dict[str, type[Any]] = {"model": ModelConfig, "data": DataConfig, "train": TrainConfig}


@dataclass(frozen=True)
class Candidate:
    """A variant plus whatever else the sweep varies."""

    variant: Variant | None  # None where a recorded table brings parameters of its own
    parameters: tuple[tuple[str, Any], ...]  # as the space lists them, in its order

    @cached_property
    def identity(self) -> str:
        """Ten hexadecimal digits, the same wherever the candidate is named."""
        others = {key: value for key, value in self.parameters if key not in _VARIANT_KEYS}
        text = json.dumps([self.in_words, others], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:10]

    @property
    def built(self) -> Variant:
        """The variant of a network that is built.

        Raises:
            ValueError: only a recorded table has this candidate.
        """
        if self.variant is None:
            raise ValueError(f"{self.name} is no variant")
        return self.variant

    @property
    def in_words(self) -> str:
        """The variant, such as 2s1x64d; empty where there is none."""
        return "" if self.variant is None else str(self.variant)

    @property
    def name(self) -> str:
        """What a person calls it by."""
        return name_of(self.in_words, dict(self.parameters))

    @cached_property
    def network(self) -> str:
        """Identity of what decides the costs: candidates that share it are measured once."""
        return self.without(_NEUTRAL)

    def without(self, keys: Container[str]) -> str:
        """Identity of what is left where some keys do not count."""
        left = tuple((key, value) for key, value in self.parameters if key not in keys)
        return Candidate(self.variant, left).identity

    @property
    def others(self) -> dict[str, Any]:
        """What varies besides the variant, by its config key."""
        return {key: value for key, value in self.parameters if key not in _VARIANT_KEYS}


def candidate_of(parameters: Mapping[str, Any]) -> Candidate:
    """The candidate with these values; of a variant where they name all that it has."""
    named = parameters.keys() >= _VARIANT_PARTS
    return Candidate(_variant(parameters) if named else None, tuple(parameters.items()))


class Space:
    """A product of choices, restricted to the variants that the network can have.

    Args:
        choices: for each key a list of values, or for a config key a range
            ``{low, high, log, step}``. Keys: ``radix``, ``cardinality``, ``width``;
            ``cardinality_width`` (``1x64d``) where the two go together; ``variant``
            (``2s1x64d``) alone; and any key of model, data or train.
        model: the network, whose stage planes decide which variants exist.

    Raises:
        UserError: a key, a value or the whole is impossible; names the rule that is broken.
    """

    def __init__(self, choices: Mapping[str, Any], model: ModelConfig) -> None:
        given = _flat(choices)
        _check_keys(given)
        self._choices = {key: _typed(key, values) for key, values in given.items()}
        self._model = model
        self.distributions: dict[str, BaseDistribution] = {
            key: _distribution(key, values) for key, values in self._choices.items()
        }
        costly = [key for key in self._choices if key not in _NEUTRAL]
        self.networks: tuple[Candidate, ...] = self._enumerate(costly)
        timed = {candidate.without(_OF_TRAINING) for candidate in self.networks}
        self.timed = len(timed)  # networks that a latency is measured of
        finite = all(isinstance(values, list) for values in self._choices.values())
        self.candidates = self._enumerate(list(self._choices)) if finite else None

    def settings(self) -> Iterator[Candidate]:
        """Candidates that hold every value of a list and both ends of each range.

        What a check accepts at both ends it accepts between them. Of a space that can be listed
        each distinct combination of what varies beside the variant.
        """
        if self.candidates is not None:
            yield from {repr(c.others): c for c in self.candidates if c.others}.values()
            return
        network = self.networks[0]
        ends = {
            key: values if isinstance(values, list) else [values["low"], values["high"]]
            for key, values in self._choices.items()
        }
        fixed = dict(network.parameters)
        first = {key: fixed.get(key, values[0]) for key, values in ends.items()}
        for found in {repr(c.others): c for c in self.networks}.values():
            yield Candidate(found.variant, tuple((first | dict(found.parameters)).items()))
        for key, values in ends.items():
            if key not in fixed:
                for value in values:
                    yield Candidate(network.variant, tuple((first | {key: value}).items()))

    def candidate(self, parameters: Mapping[str, Any]) -> Candidate:
        """The candidate that Optuna's values of the distributions stand for.

        Raises:
            ValueError: the variant is impossible.
        """
        return self._candidate({key: self._value(key, parameters[key]) for key in self._choices})

    def optuna_parameters(self, candidate: Candidate) -> dict[str, Any]:
        """The values by which Optuna knows a candidate; the inverse of ``candidate``."""
        return self.labels(dict(candidate.parameters))

    def labels(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Values as the space lists them, in the form in which Optuna knows them."""
        return {key: _label(value) for key, value in parameters.items()}

    def _value(self, key: str, given: Any) -> Any:
        values = self._choices[key]
        if isinstance(values, list):
            return next(value for value in values if _label(value) == given)
        return given

    def _enumerate(self, keys: Sequence[str]) -> tuple[Candidate, ...]:
        """Every possible candidate over some of the keys, in the order of the sweep."""
        choices = [self._choices[key] for key in keys]
        count = math.prod(len(values) for values in choices)
        if count > _MOST_CANDIDATES:
            raise UserError(
                f"search.space: {count} combinations; at most {_MOST_CANDIDATES} can be listed"
            )
        found: dict[str, Candidate] = {}
        used: set[tuple[str, str]] = set()
        rules: dict[tuple[str, str], str] = {}
        for combination in itertools.product(*choices):
            values = dict(zip(keys, combination, strict=True))
            pairs = [(key, str(value)) for key, value in values.items()]
            try:
                candidate = self._candidate(values)
            except ValueError as error:
                rules.update(dict.fromkeys(pairs, str(error)))
                continue
            found.setdefault(candidate.identity, candidate)
            used.update(pairs)
        # Every listed value is in some candidate, so that none is dropped without a word.
        for (key, value), rule in rules.items():
            if (key, value) not in used:
                raise UserError(f"search.space.{key}={value}: model={self._model.name}: {rule}")
        return tuple(found.values())

    def _candidate(self, values: Mapping[str, Any]) -> Candidate:
        planes = values.get("model.planes", self._model.planes)
        return Candidate(_variant(values).check(planes), tuple(values.items()))


def distribution_of(values: Sequence[Any]) -> BaseDistribution:
    """What a sampler draws from: a choice among words or few numbers, else a range.

    The range is logarithmic where that puts the median nearer to its middle.
    """
    distinct = sorted(set(values))
    if isinstance(distinct[0], str) or len(distinct) <= _MOST_CHOICES:
        return CategoricalDistribution(distinct)
    low, high, middle = distinct[0], distinct[-1], statistics.median(distinct)
    log = low > 0 and abs(share_of(middle, low, high, log=True) - 0.5) < abs(
        share_of(middle, low, high) - 0.5
    )
    if isinstance(low, int):
        return IntDistribution(low, high, log=log)
    return FloatDistribution(low, high, log=log)


def share_of(value: float, low: float, high: float, log: bool = False) -> float:
    """Where a number lies in its range, from 0 to 1."""
    if log:
        value, low, high = math.log(value), math.log(low), math.log(high)
    return (value - low) / (high - low) if high > low else 0.0


def configured(
    config: SweepConfig, candidate: Candidate
) -> tuple[ModelConfig, DataConfig, TrainConfig]:
    """The sections of a sweep's config as one candidate has them."""
    sections: dict[str, Any] = {
        "model": config.model,
        "data": config.data,
        "train": dataclasses.replace(config.train, epochs=config.search.epochs),
    }
    for key, value in candidate.others.items():
        if "." not in key:  # of a recorded table, which trains nothing
            continue
        section, _, name = key.partition(".")
        sections[section] = dataclasses.replace(sections[section], **{name: value})
    return sections["model"], sections["data"], sections["train"]


def _flat(choices: Mapping[str, Any]) -> dict[str, Any]:
    """Nested sections as dotted keys: Hydra splits ``train.learning_rate`` at its dot."""
    flat: dict[str, Any] = {}
    for key, values in choices.items():
        if key in _SECTIONS and isinstance(values, Mapping):
            flat |= {f"{key}.{name}": value for name, value in values.items()}
        else:
            flat[key] = values
    return flat


def _check_keys(choices: Mapping[str, Any]) -> None:
    for key, values in choices.items():
        _check_key(key)
        _check_values(key, values)
    given = [key for key in _VARIANT_KEYS if key in choices]
    complete = (["variant"], ["radix", "cardinality_width"], ["radix", "cardinality", "width"])
    if given not in ([sorted(way, key=_VARIANT_KEYS.index) for way in complete]):
        ways = "; or ".join(" + ".join(way) for way in complete)
        raise UserError(
            f"search.space: {' + '.join(given) or 'nothing'} given; needs {ways}; "
            "search.space={variant: […]} replaces what a sweep varies"
        )


def _check_key(key: str) -> None:
    if key in _VARIANT_KEYS:
        return
    section, _, _name = key.partition(".")
    kind = _SECTIONS.get(section)
    fields = [f"{section}.{f.name}" for f in dataclasses.fields(kind)] if kind else []
    valid = [field for field in fields if field not in _FIXED]
    if key not in valid:
        shown = valid or [*_VARIANT_KEYS, "model.<key>", "data.<key>", "train.<key>"]
        raise UserError(f"search.space.{key}: cannot be varied; valid: {', '.join(shown)}")


def _check_values(key: str, values: Any) -> None:
    if isinstance(values, list):
        if not values:
            raise UserError(f"search.space.{key}: an empty list leaves nothing to try")
        if len({_label(value) for value in values}) < len(values):
            raise UserError(f"search.space.{key}: {values} names a value twice")
        for value in values:
            _check_value(key, value)
        return
    is_range = isinstance(values, Mapping) and {"low", "high"} <= set(values)
    if key not in _NEUTRAL and is_range:
        raise UserError(
            f"search.space.{key}: a range; what changes the costs is measured before the "
            "first epoch and must be a list of values"
        )
    if not is_range:
        ranged = " and no range {low: , high: , log: , step: }" if key in _NEUTRAL else ""
        raise UserError(f"search.space.{key}: {values!r} is no list of values{ranged}")
    _check_range(key, values)


def _check_value(key: str, value: Any) -> None:
    if key in ("variant", "cardinality_width"):
        text = f"2s{value}" if key == "cardinality_width" else str(value)
        try:
            Variant.parse(text)
        except ValueError as error:
            raise UserError(f"search.space.{key}: {error}") from None
    elif key in _VARIANT_KEYS:
        least = 0 if key == "radix" else 1
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise UserError(f"search.space.{key}: {value!r} is no whole number of at least {least}")
    else:
        _check_type(key, value)


def _check_type(key: str, value: Any) -> None:
    kinds = _kinds(key)
    fits = isinstance(value, kinds) or (float in kinds and isinstance(value, int))
    if not fits or (isinstance(value, bool) and bool not in kinds):
        names = " or ".join(kind.__name__ for kind in kinds)
        raise UserError(f"search.space.{key}: {value!r} is not of type {names}")
    if list in kinds and not all(type(entry) in (int, float) for entry in value):
        raise UserError(f"search.space.{key}: {value!r} is no list of numbers")


def _check_range(key: str, values: Mapping[str, Any]) -> None:
    unknown = sorted(set(values) - {"low", "high", "log", "step"})
    if unknown:
        raise UserError(
            f"search.space.{key}: {unknown[0]} is no part of a range; valid: low, high, log, step"
        )
    if not {int, float} & set(_kinds(key)):
        raise UserError(f"search.space.{key}: a range needs a number's key; give a list of values")
    for name in ("low", "high"):
        _check_number(key, name, values[name])
    if values["low"] > values["high"]:
        raise UserError(
            f"search.space.{key}: low {values['low']} is above high {values['high']}; "
            "valid: low up to high"
        )
    log, step = values.get("log", False), values.get("step")
    if type(log) is not bool:
        raise UserError(f"search.space.{key}: log {log!r}; valid: true, false")
    if log and values["low"] <= 0:
        raise UserError(
            f"search.space.{key}: low {values['low']} has no logarithm; valid: above 0 with log"
        )
    if step is not None:
        _check_number(key, "step", step)
        if step <= 0:
            raise UserError(f"search.space.{key}: step {step}; valid: above 0")
        if log:
            raise UserError(f"search.space.{key}: log and step; valid: one of them")


def _check_number(key: str, name: str, value: Any) -> None:
    """One number of a range: of the key's type, and finite."""
    whole = float not in _kinds(key)
    if type(value) not in ((int,) if whole else (int, float)) or not math.isfinite(value):
        kind = "a whole number" if whole else "a finite number"
        raise UserError(f"search.space.{key}: {name} {value!r}; valid: {kind}")


def _kinds(key: str) -> tuple[type[Any], ...]:
    """Types that a config key takes; ``list`` for a list."""
    section, _, name = key.partition(".")
    wanted = typing.get_type_hints(_SECTIONS[section])[name]
    if typing.get_origin(wanted) is list:
        return (list,)
    return tuple(typing.get_args(wanted) or (wanted,))


def _typed(key: str, values: Any) -> Any:
    """Whole numbers of a float's key as floats, so that 1 and 1.0 are one candidate."""
    if key in _VARIANT_KEYS or float not in _kinds(key):
        return values
    if isinstance(values, list):
        return [float(value) for value in values]
    bounds = ("low", "high", "step")
    return {k: float(v) if k in bounds and v is not None else v for k, v in values.items()}


def _distribution(key: str, values: Any) -> BaseDistribution:
    if isinstance(values, list):
        return CategoricalDistribution([_label(value) for value in values])
    low, high = values["low"], values["high"]
    log, step = bool(values.get("log", False)), values.get("step")
    try:
        if isinstance(low, int) and isinstance(high, int):
            return IntDistribution(low, high, log=log, step=1 if step is None else step)
        return FloatDistribution(low, high, log=log, step=step)
    except (ValueError, TypeError) as error:
        raise UserError(f"search.space.{key}: {error}") from error


def _label(value: Any) -> Any:
    """A value as Optuna stores it among its categories: lists become JSON."""
    return (
        json.dumps(list(value))
        if isinstance(value, Sequence) and not isinstance(value, str)
        else value
    )


def _variant(values: Mapping[str, Any]) -> Variant:
    if "variant" in values:
        return Variant.parse(values["variant"])
    if "cardinality_width" in values:
        return Variant.parse(f"{values['radix']}s{values['cardinality_width']}")
    return Variant(values["radix"], values["cardinality"], values["width"])
