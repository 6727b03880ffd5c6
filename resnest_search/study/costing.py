"""What measuring found out about a network, before any trial of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from resnest_search.metrics import METRICS

__all__ = ["Costing"]


@dataclass(frozen=True)
class Costing:
    """What measuring found out about one network."""

    costs: dict[str, float]
    device: str = ""
    mode: str = ""
    failure: str = ""  # why it could not be measured; empty where it was
    infeasible: str = ""  # the limit that it breaks
    details: dict[str, Any] | None = (
        None  # passes, rounds and what they deviate, busyness, versions
    )

    @property
    def half_width(self) -> float | None:
        """Half of the interval of 95 % of the latency, a share; None where it is not known."""
        found: float | None = (self.details or {}).get("latency_half_width")
        return found

    @property
    def facts(self) -> dict[str, Any]:
        """What a trial keeps of it; of costs that no metric is, the names, too."""
        own = [name for name in self.costs if name not in METRICS]
        return {
            "device": self.device,
            "mode": self.mode,
            **self.costs,
            **({"own_costs": own} if own else {}),
            **(self.details or {}),
        }
