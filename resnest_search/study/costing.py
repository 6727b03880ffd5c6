"""What measuring found out about a network, before any trial of it."""

from __future__ import annotations

import dataclasses
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
    def also(self) -> dict[str, Any]:
        """What was found in the modes beside its own, by their names: see ``beside``."""
        found: dict[str, Any] = (self.details or {}).get("also", {})
        return found

    def beside(self, name: str) -> Costing | None:
        """What it costs in a mode that was measured beside its own; None where none was."""
        found = self.also.get(name)
        if found is None:
            return None
        known = {field.name for field in dataclasses.fields(Costing)}
        return Costing(**{key: value for key, value in found.items() if key in known})

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
