"""This project's strategy, as a sweep runs it, on a study in memory."""

from __future__ import annotations

from typing import Any

import yaml

from resnest_search.configuration.schema import MethodConfig, SearchConfig
from resnest_search.configuration.shipped import shipped_folder
from resnest_search.search import Strategy
from resnest_search.study.costing import Costing
from resnest_search.study.record import Epoch
from resnest_search.study.study import SweepStudy
from search_peers.race import Measured, Problem

__all__ = ["OwnSearch", "method", "shipped"]


def shipped() -> dict[str, str]:
    """Sampler and pruner that are taken where nobody names one."""
    loaded = yaml.safe_load((shipped_folder("conf") / "config.yaml").read_text(encoding="utf-8"))
    named: dict[str, str] = {}
    for entry in loaded["defaults"]:
        if isinstance(entry, dict):
            named |= entry
    return {group: named[f"search/{group}"] for group in ("sampler", "pruner")}


def method(group: str, text: str) -> MethodConfig:
    """A sampler or pruner with the arguments that conf/search has for it.

    Args:
        group: ``sampler`` or ``pruner``.
        text: its name, or ``name:key=value,key=value`` where arguments differ.
    """
    name, _, given = text.partition(":")
    path = shipped_folder("conf") / "search" / group / f"{name}.yaml"
    loaded: dict[str, Any] = yaml.safe_load(path.read_text()) if path.is_file() else {}
    pairs = (pair.partition("=") for pair in given.split(",") if pair)
    changed = {key: yaml.safe_load(value) for key, _, value in pairs}
    args = dict(loaded.get("args") or {}) | changed
    return MethodConfig(name=str(loaded.get("name", name)), args=args)


class OwnSearch:
    """A `Strategy` with a budget of the whole table, so that it ends with all of it trained.

    Args:
        problem: with costs.
        sampler, pruner: as `method` reads them.

    Raises:
        UserError: sampler or pruner are unknown, or their arguments are.
    """

    def __init__(self, problem: Problem, sampler: MethodConfig, pruner: MethodConfig) -> None:
        space = problem.space()
        costings = {
            candidate.network: Costing(dict(zip(problem.cost_names, costs, strict=True)))
            for candidate, costs in zip(space.candidates, problem.known_costs, strict=True)
        }
        config = SearchConfig(
            objectives=list(problem.objectives),
            epochs=problem.epochs,
            budget=len(problem.settings) * problem.epochs,
            seed=problem.seed,
            sampler=sampler,
            pruner=pruner,
        )
        study = SweepStudy.create(None, config.objectives)
        self._strategy = Strategy(study, space, config, costings, clock=problem.clock)
        self._index = {c.identity: index for index, c in enumerate(space.candidates)}
        self._numbers: dict[int, int] = {}
        self._curves: dict[int, list[Epoch]] = {}

    def next(self) -> int | None:
        """A new candidate, or one that was paused."""
        assignment = self._strategy.next()
        if assignment is None:
            return None
        candidate = self._index[assignment.candidate.identity]
        self._numbers[candidate] = assignment.number
        return candidate

    def report(self, candidate: int, epoch: int, measured: Measured) -> bool:
        """Tell the strategy."""
        entry = Epoch(
            epoch=epoch,
            accuracy=measured.accuracy,
            loss=measured.loss,
            train_loss=measured.train_loss,
            seconds=measured.seconds,
            images=measured.images,
        )
        curve = self._curves.setdefault(candidate, [])
        curve.append(entry)
        return self._strategy.report(self._numbers[candidate], curve)

    def finished(self, candidate: int) -> None:
        """The strategy knows."""
