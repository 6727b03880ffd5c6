"""What measuring found out about a network, before any trial of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = ["Costing"]


@dataclass(frozen=True)
class Costing:
    """What measuring found out about one network."""

    costs: dict[str, float]
    device: str = ""
    mode: str = ""
    failure: str = ""  # why it could not be measured; empty where it was
    infeasible: str = ""  # the limit that it breaks
    details: dict[str, Any] | None = None  # passes, busyness, versions
