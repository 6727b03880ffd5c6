"""How much of an objective's variance each parameter explains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from math import isfinite
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution

from resnest_search.metrics import TRAINED
from resnest_search.study.record import Sweep, TrialRecord, value_text, varied

__all__ = ["LEAST", "importance"]

LEAST = 8  # candidates, below which a forest has nothing to split
_ABSENT = "–"  # in place of the value of a key that does not exist beside the others
_TREES, _DEPTH = 32, 5  # of 1,000 candidates, 64 of any depth take 30 times as long for 0.01


def importance(sweep: Sweep) -> dict[str, tuple[dict[str, float], int]]:
    """Of each objective the share of each parameter, and of how many candidates.

    Functional ANOVA over a random forest (Hutter, Hoos and Leyton-Brown, 2014), as Optuna computes
    it, with seed 0. What is trained counts complete candidates alone, a cost all of which it is
    known. What shares lack of 1 lies in parameters together. An objective of too few candidates,
    or that is the same for all, is left out.
    """
    varying = varied(sweep.trials)
    found = {}
    for name in sweep.objectives if len(varying) > 1 else ():
        rows = tuple(
            (tuple(_hashable(values.get(key, _ABSENT)) for key in varying), value)
            for values, value in _known(sweep, name)
        )
        if len(rows) >= LEAST and len({value for _, value in rows}) > 1:
            found[name] = (dict(zip(varying, _shares(rows), strict=True)), len(rows))
    return found


def _known(sweep: Sweep, name: str) -> list[tuple[Mapping[str, Any], float]]:
    found: dict[str, TrialRecord] = {}
    for trial in sweep.trials:
        value = trial.metric(name)
        ended = trial.stands
        if value is not None and isfinite(value) and (ended or name not in TRAINED):
            found.setdefault(trial.candidate, trial)
    return [(t.dimensions, _value(t, name)) for t in found.values()]


def _value(trial: TrialRecord, name: str) -> float:
    value = trial.mean(name)
    assert value is not None  # by its caller
    return float(value)


def _hashable(value: Any) -> Any:
    """A list or a mapping as its text."""
    return value_text(value) if isinstance(value, list | tuple | dict) else value


@lru_cache(maxsize=16)  # a page is drawn again while nothing of this has changed
def _shares(rows: tuple[tuple[tuple[Any, ...], float], ...]) -> tuple[float, ...]:
    # Not above: it brings scikit-learn along, a second that a page of few candidates is not worth.
    from optuna.importance import FanovaImportanceEvaluator

    columns = [_as_optuna(column) for column in zip(*(values for values, _ in rows), strict=True)]
    names = [str(number) for number in range(len(columns))]
    spaces: dict[str, BaseDistribution] = dict(zip(names, (s for _, s in columns), strict=True))
    study = optuna.create_study()
    study.add_trials(
        optuna.trial.create_trial(
            params=dict(zip(names, values, strict=True)), distributions=spaces, value=value
        )
        for values, (_, value) in zip(zip(*(c for c, _ in columns), strict=True), rows, strict=True)
    )
    shares = FanovaImportanceEvaluator(n_trees=_TREES, max_depth=_DEPTH, seed=0).evaluate(study)
    return tuple(float(shares[name]) for name in names)


def _as_optuna(
    column: Sequence[Any],
) -> tuple[list[Any], FloatDistribution | CategoricalDistribution]:
    """Numbers are a range, so that a forest may split them in two; all else are words.

    A number that does not exist lies below the others, by the width of their range.
    """
    if len(present := [value for value in column if value != _ABSENT]) < len(column) and present:
        numbers, kind = _as_optuna(present)
        if isinstance(kind, FloatDistribution):
            least = kind.low - ((kind.high - kind.low) or 1.0)
            column = [least if value == _ABSENT else value for value in column]
    if all(isinstance(value, int | float) and not isinstance(value, bool) for value in column):
        numbers = [float(value) for value in column]
        return numbers, FloatDistribution(min(numbers), max(numbers))
    words = [value_text(value) for value in column]
    return words, CategoricalDistribution(list(dict.fromkeys(words)))
