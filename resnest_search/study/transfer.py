"""A sweep as it stands with the costs of another device or mode; nothing is trained for it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

from resnest_search.metrics import metric_of
from resnest_search.study.costing import Costing
from resnest_search.study.read import costs_in, judged_anew
from resnest_search.study.record import COMPLETE, INFEASIBLE, Sweep, TrialRecord
from resnest_search.words import counted

__all__ = ["changes", "come_and_gone", "transferred"]

_UNKNOWN = "its costs there are not known"


def transferred(
    sweep: Sweep,
    found: Mapping[str, Costing | None],
    cost_doubts: Sequence[str] = (),
    costs_of: str = "",
) -> Sweep:
    """The sweep with other costs, and with the front and the choice that these make.

    Args:
        sweep: as it was measured.
        found: what candidates cost there, by their hash; None where it is not known. Such a
            candidate is on no front, and none that breaks a limit there.
        costs_of: what the profile or the mode is called.
        cost_doubts: of these costs, in place of the sweep's own.
    """
    trials = [_with_costs(trial, found.get(trial.candidate)) for trial in sweep.trials]
    return judged_anew(
        sweep,
        trials,
        cost_doubts=tuple(cost_doubts),
        costs_of=costs_of,
        # What the forecasts said of the front was said of other costs.
        ending=sweep.ending and dataclasses.replace(sweep.ending, lost=None),
    )


def changes(before: Sweep, after: Sweep) -> list[str]:
    """Which members of the front come and go, and which stands for it, a line each.

    And how alike the order of all networks is in the first cost that is an objective, else in
    latency: Kendall's tau (1938), 1 where it is the same, -1 where it is turned round.
    """
    come, gone = come_and_gone(before, after)
    lines = [f"On the front there, not here: {_list(come)}. Here, not there: {_list(gone)}."]
    names = {trial.number: trial.name for trial in after.trials}
    if before.chosen is not None and after.chosen is not None:
        same = before.chosen == after.chosen
        chosen = names[after.chosen]
        was = "as here" if same else f"here it is {names[before.chosen]}"
        lines.append(f"{'Its knee' if after.knee is not None else 'Its first'} is {chosen}; {was}.")
    lines += _order(before, after)
    there = [t for t in after.trials if t.state == INFEASIBLE and t.is_whole]
    broken = [t.name for t in there if t.costs]
    if broken:
        lines.append(f"Trained here, and beyond a limit there: {_list(sorted(set(broken)))}.")
    unknown = [t.name for t in there if not t.costs]
    if unknown:
        lines.append(f"Without costs there, and so on no front: {_list(sorted(set(unknown)))}.")
    return lines


def come_and_gone(before: Sweep, after: Sweep) -> tuple[list[str], list[str]]:
    """Names of those that are on the later front and not on the earlier one, and the reverse."""
    old = {trial.candidate: trial.name for trial in before.front}
    new = {trial.candidate: trial.name for trial in after.front}
    come = [name for key, name in new.items() if key not in old]
    return come, [name for key, name in old.items() if key not in new]


def _order(before: Sweep, after: Sweep) -> list[str]:
    from scipy.stats import kendalltau

    name = next(iter(before.sought_costs), "latency_ms")
    here, there = ({t.candidate: t.metric(name) for t in s.trials} for s in (before, after))
    both = [key for key, value in here.items() if value is not None and there[key] is not None]
    tau = kendalltau([here[key] for key in both], [there[key] for key in both])[0]
    if math.isnan(tau):  # of fewer than two, or all alike
        return []
    title = metric_of(name).title
    return [
        f"Kendall's tau of both orders of {counted(len(both), 'network')} in {title}: {tau:.2f}."
    ]


def _list(names: Sequence[str]) -> str:
    return ", ".join(names) or "none"


def _with_costs(trial: TrialRecord, costing: Costing | None) -> TrialRecord:
    found = Costing({}) if costing is None else costing
    if trial.is_whole and trial.state != COMPLETE:  # by costs that it was seen with before
        trial = dataclasses.replace(trial, state=COMPLETE, reason=trial.curve[-1].ended)
    reason = found.infeasible or ("" if found.costs else found.failure or _UNKNOWN)
    if trial.state == COMPLETE and reason:
        trial = dataclasses.replace(trial, state=INFEASIBLE, reason=reason)
    elif trial.state == INFEASIBLE:  # its reason is of the costs here
        here = f"never trained: {trial.reason} where it was searched"
        trial = dataclasses.replace(trial, reason=found.infeasible or here)
    return dataclasses.replace(trial, **costs_in(found.facts))
