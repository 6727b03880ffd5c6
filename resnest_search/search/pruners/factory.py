"""From a config's name and args to a pruner."""

from __future__ import annotations

import inspect
from collections.abc import Sequence

import optuna
from optuna.pruners import BasePruner, NopPruner

from resnest_search.errors import UserError
from resnest_search.schema import MethodConfig
from resnest_search.search.pruners.pareto_halving import ParetoHalvingPruner

__all__ = ["build_pruner", "rungs_of"]

_OWN = ("none", "pareto_halving")


def build_pruner(
    config: MethodConfig, *, objectives: Sequence[str], reported: str, epochs: int
) -> BasePruner:
    """The pruner of this name: our own, or any of Optuna's where one trained objective is sought.

    Raises:
        UserError: the name or an argument is unknown, or the pruner cannot serve the objectives.
    """
    if config.name == "none":
        if config.args:
            raise UserError(f"search.pruner.args={config.args}: none has no arguments")
        return NopPruner()
    if config.name == "pareto_halving":
        own = {"epochs": epochs, "reported": reported}
        return _construct(ParetoHalvingPruner, config, own)
    stock = {name for name in optuna.pruners.__all__ if name.endswith("Pruner")} - {"BasePruner"}
    if config.name not in stock:
        valid = ", ".join([*_OWN, *sorted(stock)])
        raise UserError(f"search.pruner.name={config.name}: no such pruner; valid: {valid}")
    if list(objectives) != [reported]:
        raise UserError(
            f"search.pruner.name={config.name}: Optuna's pruners follow one trained objective, "
            f"not {', '.join(objectives)}; use search/pruner=pareto_halving, or "
            f"search.objectives=[{reported}]"
        )
    return _construct(getattr(optuna.pruners, config.name), config, {})


def rungs_of(pruner: BasePruner, epochs: int) -> tuple[int, ...]:
    """Epochs at which the pruner may prune where it has rungs, else none."""
    return pruner.rungs(epochs) if isinstance(pruner, ParetoHalvingPruner) else ()


def _construct(kind: type[BasePruner], config: MethodConfig, own: dict[str, object]) -> BasePruner:
    valid = [name for name in inspect.signature(kind).parameters if name not in own]
    for name in config.args:
        if name not in valid:
            raise UserError(
                f"search.pruner.args.{name}: {config.name} has no such argument; "
                f"valid: {', '.join(valid)}"
            )
    try:
        return kind(**config.args, **own)
    except (TypeError, ValueError) as error:
        raise UserError(f"search.pruner.args={config.args}: {config.name}: {error}") from error
