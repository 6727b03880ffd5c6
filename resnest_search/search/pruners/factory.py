"""From a config's name and args to a pruner."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import optuna
from optuna.pruners import BasePruner

from resnest_search.configuration.schema import MethodConfig
from resnest_search.errors import UserError
from resnest_search.search.pruners.base import PausingPruner
from resnest_search.search.pruners.front_probability import FrontProbabilityPruner
from resnest_search.search.pruners.keep_all import KeepAllPruner
from resnest_search.search.pruners.pareto_halving import ParetoHalvingPruner
from resnest_search.search.pruners.single_objective import SingleObjectivePruner

__all__ = ["build_pruner"]

_P = TypeVar("_P", bound=BasePruner)

_OWN: dict[str, type[PausingPruner]] = {  # they take ``epochs`` and ``reported``, too
    "pareto_halving": ParetoHalvingPruner,
    "front_probability": FrontProbabilityPruner,
}
_STOCK: dict[str, type[BasePruner]] = {
    name: getattr(optuna.pruners, name)
    for name in sorted(optuna.pruners.__all__)
    if name.endswith("Pruner") and name != "BasePruner"
}


def build_pruner(
    config: MethodConfig, *, objectives: Sequence[str], reported: str, epochs: int
) -> PausingPruner:
    """The pruner of this name: one of our own, or any of Optuna's on the reported objective.

    Raises:
        UserError: the name or an argument is unknown, or the pruner cannot serve the objectives.
    """
    if config.name == "none":
        for arg in config.args:
            raise UserError(f"search.pruner.args.{arg}: none has no such argument; it has none")
        return KeepAllPruner()
    if config.name in _OWN:
        own = {"epochs": epochs, "reported": reported}
        return _construct(_OWN[config.name], config.name, config.args, own)
    if config.name not in _STOCK:
        valid = ", ".join(["none", *_OWN, *_STOCK])
        raise UserError(f"search.pruner.name={config.name}: no such pruner; valid: {valid}")
    args = dict(config.args)
    followed = _followed(config.name, args.pop("objective", reported), objectives, reported)
    return SingleObjectivePruner(_stock(config.name, args, epochs), followed, reported=reported)


def _followed(name: str, objective: str, objectives: Sequence[str], reported: str) -> str:
    """The objective that one of Optuna's pruners follows."""
    if reported not in objectives:
        raise UserError(
            f"search.pruner.name={name}: Optuna's pruners follow a trained objective, and "
            f"search.objectives=[{', '.join(objectives)}] has none"
        )
    if objective != reported:
        raise UserError(
            f"search.pruner.args.objective={objective}: trials report {reported} at each epoch; "
            f"valid: {reported}"
        )
    return objective


def _stock(name: str, args: Mapping[str, Any], epochs: int) -> BasePruner:
    """One of Optuna's; where it would guess a trial's length from the first, it is told."""
    told: dict[str, dict[str, object]] = {
        "SuccessiveHalvingPruner": {"min_resource": max(epochs // 100, 1)},  # its own guess
        "HyperbandPruner": {"max_resource": epochs},
    }
    args = {**told.get(name, {}), **args}
    wrapped = args.get("wrapped_pruner")
    if isinstance(wrapped, Mapping) and wrapped.get("name") in _STOCK:
        args["wrapped_pruner"] = _stock(wrapped["name"], wrapped.get("args", {}), epochs)
    elif wrapped is not None:
        raise UserError(
            f"search.pruner.args.wrapped_pruner={wrapped}: valid: null, or the name of one of "
            f"Optuna's pruners with its args, {{name: MedianPruner, args: {{}}}}"
        )
    return _construct(_STOCK[name], name, args, {})


def _construct(kind: type[_P], name: str, args: Mapping[str, Any], own: Mapping[str, object]) -> _P:
    valid = [parameter for parameter in inspect.signature(kind).parameters if parameter not in own]
    for arg in args:
        if arg not in valid:
            raise UserError(
                f"search.pruner.args.{arg}: {name} has no such argument; valid: {', '.join(valid)}"
            )
    try:
        return kind(**args, **own)
    except (TypeError, ValueError) as error:
        raise UserError(f"search.pruner.args={dict(args)}: {name}: {error}") from error
