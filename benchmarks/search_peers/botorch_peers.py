"""BoTorch's qLogNEHVI over the candidates of a table; imported where it is installed.

As in BoTorch's tutorial on several noisy objectives: a ``SingleTaskGP`` for each of them, fitted to
its marginal likelihood, and the acquisition with ``prune_baseline``, which its documentation
recommends. ``optimize_acqf_discrete`` weighs all unused candidates; those under way are the
acquisition's ``X_pending``.

The tutorial knows the reference point. Here it is the worst that is known of each objective and a
tenth of its range more, as the race judges. Tried, too: BoTorch's ``infer_reference_point``, which
looks at the front so far alone, so that nothing promises anything that costs more than that.

Where the costs are known they are deterministic models, and accuracy alone is learnt.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from optuna.distributions import BaseDistribution, CategoricalDistribution

from resnest_search.space import share_of
from search_peers.race import Measured, Problem
from search_peers.table import Floats

__all__ = ["SAMPLES", "QLogNehvi"]

# Of the posterior, each with a front of its own that is cut into boxes: nearly all of the time.
# With the default of 128 the step was the same in 10 of 10 situations on two tables.
SAMPLES = 16


class QLogNehvi:
    """Trains to their full length what qLogNEHVI takes, after 2 (d + 1) at random.

    Args:
        problem: of d parameters; with costs where they are not to be learnt.
    """

    def __init__(self, problem: Problem) -> None:
        self._places = torch.as_tensor(_places(problem))
        self._signs = np.array([1 if more else -1 for more in problem.objectives.values()])
        self._costs = None
        if problem.costs is not None:
            self._costs = torch.as_tensor(np.array(problem.costs) * self._signs[1:])
        self._rng = np.random.default_rng(problem.seed)
        self._first = 2 * (len(problem.parameters) + 1)
        self._unused = list(range(len(problem.settings)))
        self._pending: list[int] = []
        self._last: dict[int, Measured] = {}
        self._values: dict[int, Floats] = {}

    def next(self) -> int | None:
        """An unused candidate."""
        if not self._unused:
            return None
        if len(self._values) < self._first:
            place = int(self._rng.integers(len(self._unused)))
        else:
            place = self._best()
        candidate = self._unused.pop(place)
        self._pending.append(candidate)
        return candidate

    def report(self, candidate: int, epoch: int, measured: Measured) -> bool:
        """Nothing is stopped."""
        self._last[candidate] = measured
        return True

    def finished(self, candidate: int) -> None:
        """Its last epoch is what is learnt."""
        measured = self._last.pop(candidate)
        self._pending.remove(candidate)
        self._values[candidate] = self._signs * np.array([measured.accuracy, *measured.costs])

    def _best(self) -> int:
        """Where among the unused the acquisition is largest."""
        from botorch.optim import optimize_acqf_discrete
        from botorch.utils.sampling import manual_seed

        # The warnings are of numerics that BoTorch repairs.
        with warnings.catch_warnings(), manual_seed(int(self._rng.integers(2**31))), _one_thread():
            warnings.simplefilter("ignore")
            choices = self._places[self._unused]
            chosen, _ = optimize_acqf_discrete(self._acquisition(), q=1, choices=choices)
        return int((choices == chosen).all(dim=1).nonzero()[0, 0])

    def _acquisition(self) -> Any:
        from botorch.acquisition.multi_objective import logei
        from botorch.sampling.get_sampler import get_sampler

        # Else it compiles a kernel where it finds a compiler, for minutes, and waits for the lock
        # of any process that was ended meanwhile. Most of the time is spent elsewhere.
        logei._load_attempted = True
        trained = self._places[list(self._values)]
        values = torch.as_tensor(np.array(list(self._values.values())))
        model = self._model(trained, values)
        sampler = get_sampler(model.posterior(trained), torch.Size([SAMPLES]))
        return logei.qLogNoisyExpectedHypervolumeImprovement(
            model,
            self._reference(values),
            trained,
            sampler=sampler,
            prune_baseline=True,
            X_pending=self._places[self._pending] if self._pending else None,
        )

    def _reference(self, values: torch.Tensor) -> torch.Tensor:
        """Below everything that is known, by a tenth of the ranges, (m,)."""
        low, high = values.amin(dim=0), values.amax(dim=0)
        if self._costs is not None:
            low[1:], high[1:] = self._costs.amin(dim=0), self._costs.amax(dim=0)
        return low - 0.1 * (high - low)

    def _model(self, trained: torch.Tensor, values: torch.Tensor) -> Any:
        """Of places (n, d) and values to be maximised (n, m)."""
        from botorch.fit import fit_gpytorch_mll
        from botorch.models import ModelListGP, SingleTaskGP
        from botorch.models.deterministic import GenericDeterministicModel
        from botorch.models.model import ModelList
        from gpytorch.mlls import SumMarginalLogLikelihood

        learnt = values.shape[1] if self._costs is None else 1
        model = ModelListGP(*(SingleTaskGP(trained, values[:, i, None]) for i in range(learnt)))
        fit_gpytorch_mll(SumMarginalLogLikelihood(model.likelihood, model))
        if self._costs is None:
            return model
        known = GenericDeterministicModel(self._known_costs, self._costs.shape[1])
        return ModelList(*model.models, known)

    def _known_costs(self, places: torch.Tensor) -> torch.Tensor:
        """Of places of candidates, (…, d), their costs with the sign turned, (…, m - 1)."""
        assert self._costs is not None
        apart = (places.unsqueeze(-2) - self._places).abs().sum(dim=-1)  # (…, n)
        return self._costs[apart.argmin(dim=-1)]


@contextmanager
def _one_thread() -> Iterator[None]:
    """Torch's own threads only wait for each other where tensors are this small."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _places(problem: Problem) -> Floats:
    """Candidates in the unit cube, (n, d)."""
    distributions = problem.space().distributions
    columns = zip(*problem.settings, strict=True)
    places = [
        [_place(distributions[name], value) for value in column]
        for name, column in zip(problem.parameters, columns, strict=True)
    ]
    return np.concatenate([np.array(place) for place in places], axis=1)


def _place(distribution: BaseDistribution, value: Any) -> list[float]:
    """As Ax has it: a number by its share of the range, or its rank among few; words one-hot."""
    if not isinstance(distribution, CategoricalDistribution):
        return [share_of(value, distribution.low, distribution.high, distribution.log)]
    choices = distribution.choices
    if isinstance(choices[0], str):
        return [float(value == choice) for choice in choices]
    return [choices.index(value) / max(len(choices) - 1, 1)]
