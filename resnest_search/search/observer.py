"""Who watches a sweep, as far as what runs its trials must know."""

from __future__ import annotations

from typing import Protocol

__all__ = ["Observer"]


class Observer(Protocol):
    """Is told what happens; must not raise."""

    def changed(self, number: int, over: bool) -> None:
        """A trial has started, has another epoch, or is over."""

    def message(self, text: str) -> None:
        """Something deserves a line."""
