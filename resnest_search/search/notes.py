"""What a study says of its sweep besides the trials: enough to report on it and to resume it."""

from __future__ import annotations

import dataclasses
import importlib.metadata
from collections.abc import Sequence
from functools import cache
from typing import Any

from resnest_search import __version__
from resnest_search.configuration.compose import to_record
from resnest_search.configuration.options import question
from resnest_search.configuration.schema import SweepConfig
from resnest_search.search.named import rows_of
from resnest_search.search.strategy import Strategy
from resnest_search.space import Space
from resnest_search.study.costing import Costing
from resnest_search.study.study import SweepStudy
from resnest_search.words import now

__all__ = ["note_bounds", "note_driver", "note_end", "note_start", "note_sweep"]

_PACKAGES = ("torch", "torchvision", "pytorch-lightning", "ray", "optuna")


def note_sweep(
    study: SweepStudy,
    config: SweepConfig,
    space: Space,
    costings: dict[str, Costing],
    command: str,
    warnings: Sequence[str] = (),
    cost_doubts: Sequence[str] = (),
) -> None:
    """What a new sweep is: its configuration, costs, versions, and what to doubt of it."""
    study.note("name", config.sweep)
    study.note("question", question("sweep", config.sweep))
    study.note("config", to_record(config))
    study.note("command", command)
    study.note("versions", {"resnest-search": __version__, **_versions()})
    if config.trial.name != "table":  # whose file keeps them: a note each would take minutes
        for network, costing in costings.items():
            study.note(f"costs/{network}", dataclasses.asdict(costing))
    study.note("infeasible", _infeasible(space, costings))
    study.note("rows", [dataclasses.asdict(row) for row in rows_of(space, config.rows)])
    study.note("warnings", list(warnings))
    study.note("cost_doubts", list(cost_doubts))


def note_start(study: SweepStudy) -> None:
    """That all stands from which a resume can carry on."""
    study.note("started", now())


def note_driver(strategy: Strategy, slots: int, gpus: float) -> None:
    """That trials can begin now, as many at once as there are slots, each with so many GPUs."""
    study = strategy.study
    driver = {"begun": round(strategy.elapsed, 3), "slots": slots, "gpus": gpus}
    study.note("drivers", [*study.notes.get("drivers", []), driver])


def note_bounds(study: SweepStudy, config: SweepConfig, space: Space, strategy: Strategy) -> None:
    """How much the sweep may train, which a resume may raise, and so whether it is over."""
    candidates = None if space.candidates is None else len(space.candidates)
    bounds = [bound for bound in (config.search.trials, candidates) if bound is not None]
    # A resume may ask for fewer than there are already.
    study.note("most_trials", max(min(bounds), strategy.started) if bounds else 0)
    study.note("rungs", list(strategy.rungs))
    study.note("finished", strategy.finished)


def note_end(strategy: Strategy) -> None:
    """The seconds that all drivers spent, whether anything is left, and what ended it."""
    strategy.study.note("seconds", round(strategy.elapsed, 1))
    is_finished = strategy.finished
    strategy.study.note("finished", is_finished)
    if is_finished:
        strategy.study.note("ending", dataclasses.asdict(strategy.ending()))


@cache  # many sweeps are simulated in one process, and a look-up costs as much as one of them
def _versions() -> dict[str, str]:
    return {name: importlib.metadata.version(name) for name in _PACKAGES}


def _infeasible(space: Space, costings: dict[str, Costing]) -> list[dict[str, Any]]:
    """Candidates that a limit rules out, as the record that a person is shown."""
    return [
        {
            "candidate": candidate.identity,
            "variant": candidate.in_words,
            "parameters": dict(candidate.parameters),
            "reason": costing.infeasible,
            "costs": costing.costs,
            "device": costing.device,
            "mode": costing.mode,
            "half_width": costing.half_width,
            "also": costing.also,
        }
        for candidate in space.candidates or space.networks
        if (costing := costings[candidate.network]).infeasible
    ]
