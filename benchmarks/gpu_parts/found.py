"""What a part is told, and what it finds: figures, checks, and what it had to leave out."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch

__all__ = ["TOO_LATE", "Found", "Setting"]

TOO_LATE = "out of time"


@dataclass(frozen=True)
class Setting:
    """How a part runs.

    Attributes:
        small: with little of everything, as a test on a CPU does.
        device: where.
        end: of its time, on the clock `time.monotonic`; what has not begun by then is left out.
    """

    small: bool
    device: torch.device
    end: float

    @property
    def cuda(self) -> bool:
        """Whether the device is a GPU."""
        return self.device.type == "cuda"

    def left(self) -> float:
        """Seconds."""
        return self.end - time.monotonic()


@dataclass
class Found:
    """What a part finds, written as it goes: what fails later takes nothing away.

    Attributes:
        figures: rows, each of names and JSON's values.
        checks: rows ``what``, ``value``, ``limit``, ``passed``.
        skipped: lines, what was left out and why.
        failed: lines, what raised and what.
        notes: lines for the page: how it was measured, why a limit is what it is.
        page: Markdown of tables that the figures are in another form of.
    """

    figures: list[dict[str, Any]] = field(default_factory=list)
    checks: list[dict[str, Any]] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    page: list[str] = field(default_factory=list)

    def check(self, what: str, value: float, limit: float) -> None:
        """A number that must not be above its limit; infinity and what is no number fail."""
        known = value if math.isfinite(value) else None  # JSON knows no other
        passed = known is not None and known <= limit
        self.checks.append({"what": what, "value": known, "limit": limit, "passed": passed})

    def table(self, rows: list[dict[str, Any]]) -> None:
        """Figures, and the same on the page."""
        self.figures += rows
        if rows:
            self.page += markdown(rows)

    @contextmanager
    def case(self, what: str, setting: Setting, seconds: float = 0.0) -> Iterator[bool]:
        """One of many: whether there is time for it; an error in it is kept, and ends it alone.

        Args:
            what: it is.
            setting: of the part.
            seconds: that it is known to take.
        """
        if setting.left() < seconds:
            self.skipped.append(f"{what}: {TOO_LATE}")
            yield False
            return
        try:
            yield True
        except Exception as error:  # whatever it is, the others go on
            words = str(error).strip().partition("\n")[0][:300]
            self.failed.append(f"{what}: {type(error).__name__}: {words}")
            if setting.cuda:
                torch.cuda.empty_cache()


def markdown(rows: list[dict[str, Any]]) -> list[str]:
    """A table with a column for each name of the first row."""
    names = list(rows[0])
    lines = ["", f"| {' | '.join(names)} |", "|" + " --- |" * len(names)]
    lines += ["| " + " | ".join(shown(row.get(name)) for name in names) + " |" for row in rows]
    return [*lines, ""]


def shown(value: Any) -> str:
    """A cell."""
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value).replace("|", "\\|")
