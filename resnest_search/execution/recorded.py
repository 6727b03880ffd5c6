"""A run's folder as plain data: the one way in which commands read it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from resnest_search.execution.folder import existing_folder, is_held
from resnest_search.study.read import read_sweep
from resnest_search.study.record import Sweep
from resnest_search.study.study import SweepStudy

__all__ = ["opened_run", "recorded_sweep"]


@contextlib.contextmanager
def opened_run(
    word: str | Path | None,
    storage: str | None = None,
    *,
    key: str = "run",
    uncertainty: bool = True,
) -> Iterator[tuple[SweepStudy, Sweep]]:
    """A run's study, open for as long as it is needed, and what it says.

    Args:
        word: the folder, as it was typed.
        storage: URL of the study's database now; None for what the run recorded.
        key: that named it, for what is said of a wrong one.
        uncertainty: whether what noise leaves open is worked out, which takes seconds.

    Raises:
        UserError: the folder is none of a run, or its study cannot be read.
    """
    folder = existing_folder(word if word is None else str(word), key)
    with contextlib.closing(SweepStudy.open(folder, storage)) as study:
        yield study, read_sweep(study, folder, uncertainty=uncertainty, at_work=is_held(folder))


def recorded_sweep(
    word: str | Path | None,
    storage: str | None = None,
    *,
    key: str = "run",
    uncertainty: bool = True,
) -> Sweep:
    """What a run's study says now; see `opened_run`."""
    with opened_run(word, storage, key=key, uncertainty=uncertainty) as (_, sweep):
        return sweep
