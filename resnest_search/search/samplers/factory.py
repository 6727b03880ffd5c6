"""From a config's name and args to a sampler."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import optuna
from optuna.samplers import BaseSampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial

from resnest_search.configuration.schema import MethodConfig
from resnest_search.errors import UserError
from resnest_search.metrics import TRAINED
from resnest_search.search.samplers.known_cost import MOST_COSTS, KnownCostSampler
from resnest_search.search.samplers.ordered import OrderedSampler
from resnest_search.search.samplers.quasi_random import QuasiRandomSampler
from resnest_search.search.samplers.stock import StockSampler
from resnest_search.search.situation import Goal, Sampler
from resnest_search.space import Space

__all__ = ["build_forecaster", "build_sampler"]

_T = TypeVar("_T")

_ORDERS = ("grid", "random", "cheapest")
_STOCK: dict[str, type[BaseSampler]] = {
    "tpe": optuna.samplers.TPESampler,
    "nsga2": optuna.samplers.NSGAIISampler,
    "gp": optuna.samplers.GPSampler,
}
# Kinds of arguments that a configuration can hold, by the words of an annotation.
_PLAIN: dict[str, tuple[type, ...]] = {
    "bool": (bool,),
    "int": (int,),
    "float": (int, float),
    "str": (str,),
    "None": (type(None),),
}
_POPULATION = 50  # Optuna's default of NSGA-II


def build_sampler(
    config: MethodConfig,
    space: Space,
    directions: Sequence[StudyDirection],
    values: Callable[[FrozenTrial], list[float] | None],
    seed: int,
    goal: Goal,
) -> Sampler:
    """The sampler of this name.

    Args:
        config: name and arguments.
        space: what varies.
        directions: of the objectives.
        values: objective values of a trial so far, for a stock sampler's view.
        seed: of the sweep.
        goal: objectives, reported metric and a trial's length.

    Raises:
        UserError: the name or an argument is unknown, or the sampler needs a finite space or
            other objectives.
    """
    name = config.name
    if name in ("known_cost", "qmc"):
        return _own(config, space, seed, goal)
    if name in _ORDERS and space.candidates is not None:
        if config.args:
            raise UserError(f"search.sampler.args={config.args}: {name} has no arguments")
        return OrderedSampler(name, seed)
    if name in _ORDERS and name != "random":
        raise UserError(
            f"search/sampler={name}: the space has a continuous range, so that its "
            f"candidates cannot be listed; valid: known_cost, random, qmc, {', '.join(_STOCK)}"
        )
    stock: dict[str, type[BaseSampler]] = {"random": optuna.samplers.RandomSampler, **_STOCK}
    if name not in stock:
        valid = ", ".join(["known_cost", *_ORDERS, "qmc", *_STOCK])
        raise UserError(f"search.sampler.name={name}: no such sampler; valid: {valid}")
    make = _maker(config, stock[name])
    population = int(config.args.get("population_size", _POPULATION))
    return StockSampler(make, space, directions, values, seed, population)


def build_forecaster(space: Space, goal: Goal, seed: int) -> KnownCostSampler | None:
    """What tells whatever the sampler is what is left to gain; None where nothing forecasts it."""
    trained = [name for name in goal.objectives if name in TRAINED]
    if trained != [goal.reported]:
        return None
    return KnownCostSampler(space, goal, seed, pausing=False)


def _own(config: MethodConfig, space: Space, seed: int, goal: Goal) -> Sampler:
    if config.name == "qmc":
        _check_arguments(config, ())
        return QuasiRandomSampler(space, seed)
    trained = [name for name in goal.objectives if name in TRAINED]
    if trained != [goal.reported]:
        raise UserError(
            f"search/sampler=known_cost: models one trained objective, not "
            f"{', '.join(trained) or 'none'} of search.objectives={list(goal.objectives)}; "
            f"valid: exactly one of {', '.join(TRAINED)}, besides any costs"
        )
    if (costs := len(goal.objectives) - 1) > MOST_COSTS:
        raise UserError(
            f"search/sampler=known_cost: weighs {MOST_COSTS} costs at most, not the {costs} of "
            f"search.objectives={list(goal.objectives)}; valid: fewer, or search/sampler=random"
        )
    _check_arguments(config, _arguments(KnownCostSampler))
    return _called(config, lambda: KnownCostSampler(space, goal, seed, **config.args))


def _maker(config: MethodConfig, kind: type[Any]) -> Callable[[int], BaseSampler]:
    parameters = inspect.signature(kind).parameters
    kinds = {name: _kinds(p.annotation) for name, p in parameters.items() if name != "seed"}
    _check_arguments(config, [name for name, kind in kinds.items() if kind <= _PLAIN.keys()])
    for name, value in config.args.items():  # else some are found out in the middle of a sweep
        if not any(type(value) in _PLAIN[word] for word in kinds[name]):
            kind = parameters[name].annotation
            raise UserError(f"search.sampler.args.{name}={value}: {config.name} takes {kind}")

    def make(seed: int) -> BaseSampler:
        sampler: BaseSampler = kind(**config.args, seed=seed)
        return sampler

    _called(config, lambda: make(0))
    return make


def _kinds(annotation: Any) -> set[str]:
    """The words of an annotation such as ``float | None``."""
    return {word.strip() for word in str(annotation).split("|")}


def _arguments(kind: type[Any]) -> list[str]:
    """What a user may set: the keyword-only arguments."""
    parameters: Mapping[str, inspect.Parameter] = inspect.signature(kind).parameters
    return [name for name, p in parameters.items() if p.kind is p.KEYWORD_ONLY]


def _check_arguments(config: MethodConfig, valid: Sequence[str]) -> None:
    for name in config.args:
        if name not in valid:
            shown = f"valid: {', '.join(valid)}" if valid else "it has none"
            raise UserError(
                f"search.sampler.args.{name}: {config.name} has no such argument; {shown}"
            )


def _called(config: MethodConfig, make: Callable[[], _T]) -> _T:
    try:
        return make()
    except (TypeError, ValueError) as error:
        raise UserError(f"search.sampler.args={config.args}: {config.name}: {error}") from error
