"""Whoever is told of a sweep as it goes: W&B, TensorBoard, and classes of one's own."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from resnest_search.configuration.schema import TrackingConfig
from resnest_search.errors import UserError
from resnest_search.study.record import Sweep, TrialRecord
from resnest_search.tracking.client import one_line
from resnest_search.tracking.wandb import Tracker

__all__ = ["Listener", "Told", "found_listeners"]

_OURS = {"tensorboard": "resnest_search.tracking.tensorboard:TensorBoard"}
_VALID = f"valid: {', '.join(_OURS)}, or module:Class of a Listener"


class Listener:
    """Is told of a sweep; the base of classes that ``tracking.listeners=[module:Class]`` names.

    What a method raises becomes one line, and the listener is told no more: nothing of it stops a
    sweep. A resumed sweep makes a new one, which is told of every trial again.

    Args:
        folder: the run's, where it may write.
        config: the resolved configuration, as nested plain data.
    """

    def __init__(self, folder: Path, config: Mapping[str, Any]) -> None:
        self.folder = folder
        self.config = config

    def trial(self, record: TrialRecord) -> None:
        """A trial has begun, has another epoch, or is over: as it stands, with its whole curve."""

    def close(self, sweep: Sweep) -> None:
        """The sweep is over, or interrupted, and as it stands; nothing is told afterwards."""


def found_listeners(tracking: TrackingConfig) -> list[type[Listener]]:
    """The classes that a configuration names, found before anything begins.

    Raises:
        UserError: one is none; the message names it.
    """
    ours = [tracking.name] if tracking.name in _OURS else []
    return [_found(word) for word in dict.fromkeys([*ours, *tracking.listeners])]


def _found(word: str) -> type[Listener]:
    module, _, name = _OURS.get(word, word).partition(":")
    if str(Path.cwd()) not in sys.path:  # as python -m has it, whatever began this process
        sys.path.append(str(Path.cwd()))
    try:
        found = getattr(importlib.import_module(module), name) if module and name else None
    except Exception as error:  # whatever a file of the user's raises
        raise UserError(f"tracking.listeners={word}: {one_line(error)}; {_VALID}") from error
    if not (isinstance(found, type) and issubclass(found, Listener)):
        raise UserError(f"tracking.listeners={word}: is no Listener; {_VALID}")
    return found


class Told:
    """A tracker and listeners as one.

    Args:
        tracking: the configuration's section.
        folder: the run's.
        group: under which W&B groups the runs.
        config: the resolved configuration, as nested plain data.
        warn: called with one line where telling fails.

    Raises:
        UserError: a listener is none.
    """

    def __init__(
        self,
        tracking: TrackingConfig,
        folder: Path,
        group: str,
        config: Mapping[str, Any],
        warn: Callable[[str], None] = print,
    ) -> None:
        self._tracker = Tracker(tracking, folder, group, config, warn)
        self._warn = warn
        self._listeners: list[Listener] = []
        for kind in found_listeners(tracking):
            self._try(kind.__name__, partial(self._make, kind, folder, config))

    @property
    def live(self) -> bool:
        """Whether a trial is to be handed in after each epoch, and not only when it is over."""
        return self._tracker.live or bool(self._listeners)

    def trial(self, record: TrialRecord) -> None:
        """Tell of a trial as it stands."""
        self._tracker.trial(record)
        for listener in list(self._listeners):
            self._tell(listener, partial(listener.trial, record))

    def close(self, sweep: Sweep) -> None:
        """Tell of the sweep; nothing may be handed in afterwards."""
        self._tracker.close(sweep)
        for listener in list(self._listeners):
            self._tell(listener, partial(listener.close, sweep))

    def _make(self, kind: type[Listener], folder: Path, config: Mapping[str, Any]) -> None:
        self._listeners.append(kind(folder, config))

    def _tell(self, listener: Listener, telling: Callable[[], None]) -> None:
        if not self._try(type(listener).__name__, telling):
            self._listeners.remove(listener)

    def _try(self, name: str, telling: Callable[[], None]) -> bool:
        try:
            telling()
            return True
        except Exception as error:
            self._warn(f"{name} is told no more ({one_line(error)}); the sweep goes on")
            return False
