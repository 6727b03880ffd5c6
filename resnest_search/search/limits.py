"""Which networks the limits of a search rule out, before any of them is trained."""

from __future__ import annotations

from dataclasses import replace

from resnest_search.configuration.checks import given
from resnest_search.configuration.schema import LimitsConfig
from resnest_search.errors import UserError
from resnest_search.metrics import broken, excess
from resnest_search.study.costing import Costing

__all__ = ["check_limits", "within_limits"]


def within_limits(costings: dict[str, Costing], limits: LimitsConfig) -> dict[str, Costing]:
    """The costings with the limit that each breaks."""
    bounds = given(limits)
    return {
        network: replace(costing, infeasible=broken(costing.costs, bounds))
        for network, costing in costings.items()
    }


def check_limits(costings: dict[str, Costing], limits: LimitsConfig) -> None:
    """Raises UserError where no network meets the limits; names the one that rules out most."""
    measured = [costing for costing in costings.values() if not costing.failure]
    if any(not costing.infeasible for costing in measured):
        return
    if not measured:
        reason = next(iter(costings.values())).failure
        raise UserError(f"search.space: none of {len(costings)} networks can be measured: {reason}")
    for name, bound in given(limits).items():
        values = [costing.costs[name] for costing in measured]
        if all(excess(name, value, bound) > 1 for value in values):
            span = f"{min(values):.4g} to {max(values):.4g}"
            raise UserError(
                f"search.limits.{name}={bound:g}: no variant meets it; measured here: {span}"
            )
    raise UserError("search.limits: each is met by some variant, but no variant meets all of them")
