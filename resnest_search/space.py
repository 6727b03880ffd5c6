"""What a sweep varies, and the candidates that this makes."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import math
import statistics
import typing
import warnings
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from types import MappingProxyType
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from resnest_search.conditions import (
    Choice,
    ancestors,
    check_conditions,
    combinations,
    parse,
    topological,
)
from resnest_search.configuration.schema import (
    VARIED,
    DataConfig,
    ModelConfig,
    SweepConfig,
    TrainConfig,
    dotted,
)
from resnest_search.errors import UserError
from resnest_search.study.record import name_of
from resnest_search.variant import Variant

__all__ = [
    "Candidate",
    "Space",
    "candidate_of",
    "configured",
    "distribution_of",
    "share_of",
]

_MOST_CANDIDATES = 100_000  # a finite space larger than this is not written out
_VARIANT_KEYS = ("variant", "radix", "cardinality", "width", "cardinality_width")
_MOST_CHOICES = 12  # distinct numbers that are a choice; more are a range
_VARIANT_PARTS = {"radix", "cardinality", "width"}
# Accuracies compare only on the same validation images, and a trial's length is search.epochs.
_FIXED = {"data.name", "data.root", "data.download", "data.classes", "data.channels"}
_FIXED |= {"data.val_images", "data.test_images", "data.split_seed", "train.epochs"}
_FIXED |= {"data.check", "data.unreadable", "data.skip", "data.background"}
_FIXED |= {"model.name", "train.name", "train.patience"}
# What leaves latency, memory and size as they are: measured once for all its values.
_NEUTRAL = {
    *("train.learning_rate", "train.momentum", "train.weight_decay", "train.warmup_epochs"),
    *("train.label_smoothing", "train.mixup", "train.cutmix", "train.compile", "train.beta2"),
    *("train.layer_decay", "train.frozen_epochs", "train.clip_gradients"),
    "train.progressive_resizing",  # its last epochs are of the whole size, which is measured
    *("data.augment", "data.policy", "data.randaugment_magnitude", "data.erasing"),
    *("data.train_images", "data.workers", "data.cache", "data.shrink"),
    *("model.dropout", "model.zero_init_last_gamma"),
}
# What changes a training step alone, not what is exported and timed.
_OF_TRAINING = {"train.batch_size", "train.precision", "train.channels_last"}
_OF_TRAINING |= {"train.optimizer", "train.ema", "train.accumulate", "train.sync_norm"}
_OF_TRAINING |= {"model.dropblock", "model.pretrained"}


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
            (``2s1x64d``) alone; and any key of model, data or train. With ``{choices: [values],
            when: {KEY: value or [values]}}``, or ``when`` within a range, a key exists only beside
            these values of others; ``else`` says what it is beside any other.
        model: the network, whose stage planes decide which variants exist.

    Raises:
        UserError: a key, a value or the whole is impossible; names the rule that is broken.
    """

    _choices: Mapping[str, Choice] = MappingProxyType({})  # none of a space that is a list

    def __init__(self, choices: Mapping[str, Any], model: ModelConfig) -> None:
        self._choices = _choices(choices)
        self._order = topological(self._choices)
        self._model = model
        self.distributions: dict[str, BaseDistribution] = {
            key: _distribution(key, choice) for key, choice in self._choices.items()
        }
        costly = [key for key in self._choices if key not in _NEUTRAL]
        costly += ancestors(self._choices, costly)
        # Of each network its first candidate, over those keys alone.
        self.networks: tuple[Candidate, ...] = self._enumerate(costly, by="network")
        timed = {candidate.without(_NEUTRAL | _OF_TRAINING) for candidate in self.networks}
        self.timed = len(timed)  # networks that a latency is measured of
        finite = all(choice.is_list for choice in self._choices.values())
        self.candidates = self._enumerate(self._order) if finite else None

    def settings(self) -> Iterator[Candidate]:
        """Candidates that hold every value of a list and both ends of each range.

        What a check accepts at both ends it accepts between them. Of a space that can be listed
        each distinct combination of what varies beside the variant.

        Raises:
            UserError: a value is beside no others.
        """
        if self.candidates is not None:
            yield from {repr(c.others): c for c in self.candidates if c.others}.values()
            return
        ends = {key: _ends(choice) for key, choice in self._choices.items()}
        seen: set[tuple[str, str]] = set()
        starts = [dict(c.parameters) for c in {repr(c.others): c for c in self.networks}.values()]
        for start in starts:
            found = self._candidate(_completed(ends, self._order, start))
            seen.update((key, str(value)) for key, value in found.parameters)
            yield found
        for key in self._order:
            for value in ends[key].every:
                if (key, str(value)) not in seen:
                    yield self._candidate(
                        _completed(ends, self._order, self._with(ends, key, value))
                    )

    def _with(self, ends: Mapping[str, Choice], key: str, value: Any) -> dict[str, Any]:
        """A network's values, and those beside which a key can have this value, and that value."""
        above = ancestors(ends, [key])
        for found in combinations(ends, [k for k in self._order if k in above or k == key]):
            if key not in found or found[key] != value:
                continue
            for network in (dict(candidate.parameters) for candidate in self.networks):
                if all(network[k] == found[k] for k in network.keys() & found.keys()):
                    return found | network
        raise UserError(_never(key, value))

    def candidate(self, parameters: Mapping[str, Any]) -> Candidate:
        """The candidate that Optuna's values of the distributions stand for.

        Values of keys that do not exist beside the others are of no account.

        Raises:
            ValueError: the variant is impossible, or a value beside the others.
            KeyError: a value lacks.
        """
        values: dict[str, Any] = {}
        for key in self._order:
            if possible := self._choices[key].beside(values):
                values[key] = _value(key, possible, parameters[key])
        return self._candidate(values)

    def proposed(self, parameters: Mapping[str, Any]) -> Candidate:
        """As ``candidate``, of what was drawn or typed rather than recorded.

        A number on a step of a range is the same one however it was added up, so that 0.1 + 0.2
        is 0.3. What is on record stays as it is, by which it is known.
        """
        exact = dict(parameters)
        for key, choice in self._choices.items():
            if key in exact and not choice.is_list:
                exact[key] = _on_step(choice.values, exact[key])
        return self.candidate(exact)

    def check_steps(self) -> None:
        """Raises UserError where the steps of a range do not lead to its end.

        Earlier versions ended such a range before.
        """
        for key, choice in self._choices.items():
            bounds = {} if choice.is_list else choice.values
            if (step := bounds.get("step")) is None:
                continue
            low, high = bounds["low"], bounds["high"]
            if abs((high - low) / step - round((high - low) / step)) > 1e-6:
                raise UserError(
                    f"search.space.{key}: step {step} does not lead from low {low} to high {high}; "
                    f"valid: a step of which {high - low:g} is a multiple"
                )

    def optuna_parameters(self, candidate: Candidate) -> dict[str, Any]:
        """The values by which Optuna knows a candidate; the inverse of ``candidate``."""
        return self.labels(dict(candidate.parameters))

    def labels(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Values as the space lists them, in the form in which Optuna knows them."""
        return {key: _label(value) for key, value in parameters.items()}

    def _enumerate(self, wanted: Sequence[str], by: str = "identity") -> tuple[Candidate, ...]:
        """Every possible candidate over some of the keys, in the order of the sweep.

        Of several that are the same by that attribute the first.
        """
        keys = [key for key in self._order if key in wanted]
        _check_count(self._choices, keys)
        found: dict[str, Candidate] = {}
        used: set[tuple[str, str]] = set()
        rules: dict[tuple[str, str], str] = {}
        for values in combinations(self._choices, keys):
            pairs = [(key, str(value)) for key, value in values.items()]
            try:
                candidate = self._candidate(values)
            except ValueError as error:
                rules.update(dict.fromkeys(pairs, str(error)))
                continue
            found.setdefault(getattr(candidate, by), candidate)
            used.update(pairs)
        # Every listed value is in some candidate, so that none is dropped without a word.
        listed = [(key, value) for key in keys for value in self._choices[key].every]
        for key, value in listed:
            if (key, str(value)) not in used:
                rule = rules.get((key, str(value)))
                where = f"search.space.{key}={value}: model={self._model.name}"
                raise UserError(f"{where}: {rule}" if rule else _never(key, value))
        return tuple(found.values())

    def _candidate(self, values: Mapping[str, Any]) -> Candidate:
        planes = values.get("model.planes", self._model.planes)
        listed = tuple((key, values[key]) for key in self._choices if key in values)
        return Candidate(_variant(values).check(planes), listed)


def _check_count(choices: Mapping[str, Choice], keys: Sequence[str]) -> None:
    """Raises UserError where there are too many combinations to list."""
    count, words = math.prod(len(choices[key].every) for key in keys), ""
    if count > _MOST_CANDIDATES and any(choices[key].when for key in keys):  # leaves out many
        some = itertools.islice(combinations(choices, keys), _MOST_CANDIDATES + 1)
        count, words = sum(1 for _ in some), "at least "
    if count > _MOST_CANDIDATES:
        raise UserError(
            f"search.space: {words}{count} combinations; at most {_MOST_CANDIDATES} can be listed"
        )


def _never(key: str, value: Any) -> str:
    return f"search.space.{key}={value}: is beside no values of the keys that its when names"


def _ends(choice: Choice) -> Choice:
    """A range as a list of its ends."""
    if choice.is_list:
        return choice
    return dataclasses.replace(choice, values=[choice.values["low"], choice.values["high"]])


def _completed(
    choices: Mapping[str, Choice], order: Sequence[str], values: Mapping[str, Any]
) -> dict[str, Any]:
    """The values, and the first one of each key that can be beside them."""
    found = dict(values)
    for key in order:
        if key not in found and (possible := choices[key].beside(found)):
            found[key] = possible[0]
    return found


def _value(key: str, possible: Any, given: Any) -> Any:
    """The value that Optuna's one stands for."""
    if not isinstance(possible, list):
        return given
    for value in possible:
        if _label(value) == given:
            return value
    raise ValueError(f"{key}={given} is impossible beside the others")


def _on_step(bounds: Mapping[str, Any], given: Any) -> Any:
    """A number of a range, of one with steps to twelve digits."""
    step = bounds.get("step")
    if step is None or isinstance(given, int):
        return given
    return float(f"{bounds['low'] + round((given - bounds['low']) / step) * step:.12g}")


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


def _choices(given: Mapping[str, Any]) -> dict[str, Choice]:
    """What each key may be, checked, and with values of the key's type."""
    found = {key: parse(key, values) for key, values in dotted(given).items()}
    _check_keys(found)
    return _conditional(found)


def _conditional(choices: Mapping[str, Choice]) -> dict[str, Choice]:
    """The choices with conditions that are checked, each on values of the other key's type."""
    found = {}
    for key, choice in choices.items():
        when = {
            other: _alternatives(other, wanted) if other in choices else [wanted]
            for other, wanted in dotted(choice.when).items()
        }
        if when and key in _VARIANT_KEYS and not choice.otherwise:
            raise UserError(
                f"search.space.{key}: every network has one; valid: beside when, else: VALUE"
            )
        values, otherwise = (_typed(key, v) for v in (choice.values, [*choice.otherwise]))
        found[key] = Choice(values, when, otherwise)
    check_conditions(found)
    return found


def _alternatives(key: str, wanted: Any) -> list[Any]:
    """What a condition names: a value, or a list of values, which for some keys are lists."""
    kinds = () if key in _VARIANT_KEYS else _kinds(key)
    is_one = not isinstance(wanted, list)
    if list in kinds and not is_one:
        is_one = not any(isinstance(value, list) for value in wanted)
    values = [wanted] if is_one else wanted
    return [float(value) if float in kinds and type(value) is int else value for value in values]


def _check_keys(choices: Mapping[str, Choice]) -> None:
    for key, choice in choices.items():
        _check_key(key)
        _check_values(key, choice.values)
        if choice.otherwise:
            _check_values(key, choice.otherwise)
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
    kind = VARIED.get(section)
    fields = [f"{section}.{f.name}" for f in dataclasses.fields(kind)] if kind else []
    valid = [field for field in fields if field not in _FIXED]
    if key not in valid:
        shown = valid or [*_VARIANT_KEYS, "model.<key>", "data.<key>", "train.<key>"]
        raise UserError(f"search.space.{key}: cannot be varied; valid: {', '.join(shown)}")


def _check_values(key: str, values: Any) -> None:
    if isinstance(values, list):
        if not values:
            raise UserError(f"search.space.{key}: an empty list leaves nothing to try")
        for value in values:
            _check_value(key, value)
        if len({_label(value) for value in values}) < len(values):
            raise UserError(f"search.space.{key}: {values} names a value twice")
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
    elif key == "train.precision" and value == "auto":
        raise UserError(
            f"search.space.{key}=auto: is one for a whole sweep, what the device has; valid: "
            "fp32, tf32, bf16, fp16, or train.precision=auto"
        )
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


@cache  # a long list asks for each value
def _kinds(key: str) -> tuple[type[Any], ...]:
    """Types that a config key takes; ``list`` for a list."""
    section, _, name = key.partition(".")
    wanted = typing.get_type_hints(VARIED[section])[name]
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


def _distribution(key: str, choice: Choice) -> BaseDistribution:
    values = choice.values
    if choice.is_list:
        return CategoricalDistribution([_label(value) for value in choice.every])
    low, high = values["low"], values["high"]
    log, step = bool(values.get("log", False)), values.get("step")
    try:
        with warnings.catch_warnings():
            # Of steps that do not lead to the end, which `check_steps` refuses of a new sweep.
            warnings.simplefilter("ignore", UserWarning)
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
