"""A table of recorded learning curves as arrays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resnest_search.errors import UserError
from resnest_search.simulation.table import Table as Recorded
from resnest_search.space import Candidate
from resnest_search.study.record import Epoch

__all__ = ["Costs", "Floats", "Setting", "Table", "read_table"]

Floats = NDArray[np.float64]
Setting = tuple[Any, ...]  # values of the table's parameters: what tells a candidate from others
Costs = tuple[float, ...]  # by the table's names of costs, known before any training

_MADE_UP = ("noise", "telling")  # those of tables/synthetic.py


@dataclass(frozen=True)
class Table:
    """Recorded curves of n candidates.

    Attributes:
        name: of the file.
        parameters: names of what varies.
        settings: the candidates, as the file lists them.
        cost_names: of the costs.
        costs: of each candidate.
        seeds: of the recorded trainings, ascending.
        accuracy: as a fraction, (n, seeds, epochs).
        seconds: that each epoch took, (n, seeds, epochs).
        images: validation images behind an accuracy, 0 where the file does not say.
        train_loss: (n, seeds, epochs), None where the file has none.
        loss: of validation, alike.
        true_accuracy: what the truth is where the file says so, (n,), else None.
        left_out: candidates that the file has in part, with what they lack.
    """

    name: str
    parameters: tuple[str, ...]
    settings: tuple[Setting, ...]
    cost_names: tuple[str, ...]
    costs: tuple[Costs, ...]
    seeds: tuple[int, ...]
    accuracy: Floats
    seconds: Floats
    images: int = 0
    train_loss: Floats | None = None
    loss: Floats | None = None
    true_accuracy: Floats | None = None
    left_out: tuple[str, ...] = ()

    @property
    def made_up(self) -> bool:
        """Whether nobody ever trained what it has: a stress test, which stands apart."""
        return self.name in _MADE_UP

    @property
    def epochs(self) -> int:
        """A candidate's full length."""
        return int(self.accuracy.shape[2])

    def part(self, share: float, seed: int) -> Table:
        """This share of the candidates, two at least, drawn by the seed, in their order."""
        count = len(self.settings)
        if share >= 1:
            return self
        most = max(min(2, count), round(share * count))
        chosen = np.sort(np.random.default_rng(seed).choice(count, most, replace=False))

        def of(values: Floats | None) -> Floats | None:
            return None if values is None else values[chosen]

        return replace(
            self,
            settings=tuple(self.settings[index] for index in chosen),
            costs=tuple(self.costs[index] for index in chosen),
            accuracy=self.accuracy[chosen],
            seconds=self.seconds[chosen],
            train_loss=of(self.train_loss),
            loss=of(self.loss),
            true_accuracy=of(self.true_accuracy),
        )


def read_table(path: Path) -> Table:
    """A table of which a candidate counts where it has every seed that others have, and no end
    before theirs.

    Raises:
        ValueError: it is no table of recorded curves, or no candidate is whole.
    """
    try:
        table = Recorded.read(path)
    except UserError as error:
        raise ValueError(str(error).removeprefix("trial.path=")) from None
    seeds = tuple(sorted({seed for c in table.candidates for seed in table.seeds(c)}))
    lacks = {candidate: _lacks(table, candidate, seeds) for candidate in table.candidates}
    whole = [candidate for candidate, lack in lacks.items() if not lack]
    if not whole:
        raise ValueError(f"{path}: no candidate has every seed and epoch")
    curves = [[table.curve(c, index) for index in range(len(seeds))] for c in whole]

    def numbers(of: Callable[[Epoch], float | None]) -> Floats | None:
        found = [[[of(epoch) for epoch in curve] for curve in each] for each in curves]
        if any(value is None for each in found for curve in each for value in curve):
            return None
        return np.array(found, dtype=float)

    accuracy, seconds = numbers(lambda e: e.accuracy), numbers(lambda e: e.seconds)
    assert accuracy is not None
    assert seconds is not None
    truths = [table.true_accuracy(candidate) for candidate in whole]
    return Table(
        name=path.stem,
        parameters=table.parameters,
        settings=tuple(tuple(value for _, value in c.parameters) for c in whole),
        cost_names=table.cost_names,
        costs=tuple(_costs(path, table, candidate) for candidate in whole),
        seeds=seeds,
        accuracy=accuracy,
        seconds=seconds,
        images=curves[0][0][0].images,
        train_loss=numbers(lambda e: e.train_loss),
        loss=numbers(lambda e: e.loss),
        true_accuracy=None if None in truths else np.array(truths, dtype=float),
        left_out=tuple(f"{c.name} lacks {lack}" for c, lack in lacks.items() if lack),
    )


def _costs(path: Path, table: Recorded, candidate: Candidate) -> Costs:
    found = table.costs(candidate)
    for name in table.cost_names:
        if name not in found:
            raise ValueError(f"{path}: {name} is empty for {candidate.name}")
    return tuple(found[name] for name in table.cost_names)


def _lacks(table: Recorded, candidate: Candidate, seeds: tuple[int, ...]) -> str:
    """What of a candidate is not in the file; empty where all is."""
    own = table.seeds(candidate)
    for index, seed in enumerate(seeds):
        if seed not in own:
            return f"seed {seed}"
        if (end := len(table.curve(candidate, index))) < table.epochs:
            return f"epoch {end + 1} of seed {seed}"
    return ""
