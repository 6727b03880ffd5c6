"""From a config's name and args to a sampler."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import optuna
from optuna.samplers import BaseSampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial

from resnest_search.errors import UserError
from resnest_search.schema import MethodConfig
from resnest_search.search.samplers.ordered import OrderedSampler
from resnest_search.search.samplers.stock import StockSampler
from resnest_search.search.space import Space

__all__ = ["build_sampler"]

_ORDERS = ("grid", "random", "cheapest")
_STOCK: dict[str, type[BaseSampler]] = {"tpe": optuna.samplers.TPESampler}


def build_sampler(
    config: MethodConfig,
    space: Space,
    directions: Sequence[StudyDirection],
    values: Callable[[FrozenTrial], list[float] | None],
    seed: int,
) -> OrderedSampler | StockSampler:
    """The sampler of this name; the other arguments are StockSampler's.

    Raises:
        UserError: the name or an argument is unknown, or the sampler needs a finite space.
    """
    if config.name in _ORDERS and space.candidates is not None:
        if config.args:
            raise UserError(f"search.sampler.args={config.args}: {config.name} has no arguments")
        return OrderedSampler(config.name, seed)
    stock: dict[str, type[BaseSampler]] = {"random": optuna.samplers.RandomSampler, **_STOCK}
    if config.name in _ORDERS and config.name != "random":
        raise UserError(
            f"search/sampler={config.name}: the space has a continuous range, so that its "
            f"candidates cannot be listed; valid: {', '.join(stock)}"
        )
    if config.name not in stock:
        valid = ", ".join([*_ORDERS, *_STOCK])
        raise UserError(f"search.sampler.name={config.name}: no such sampler; valid: {valid}")
    make = _maker(config, stock[config.name])
    return StockSampler(make, space, directions, values, seed)


def _maker(config: MethodConfig, kind: type[Any]) -> Callable[[int], BaseSampler]:
    valid = [name for name in inspect.signature(kind).parameters if name != "seed"]
    for name in config.args:
        if name not in valid:
            raise UserError(
                f"search.sampler.args.{name}: {config.name} has no such argument; "
                f"valid: {', '.join(valid)}"
            )

    def make(seed: int) -> BaseSampler:
        sampler: BaseSampler = kind(**config.args, seed=seed)
        return sampler

    try:
        make(0)
    except (TypeError, ValueError) as error:
        raise UserError(f"search.sampler.args={config.args}: {config.name}: {error}") from error
    return make
