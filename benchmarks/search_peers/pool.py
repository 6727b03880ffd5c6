"""Many races in a few processes."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

from search_peers.results import LEVELS, Spread
from search_peers.rows import rows_named
from search_peers.running import Trace, run
from search_peers.table import Table, read_table
from search_peers.truth import Truth

__all__ = ["Asked", "raced"]

Job = tuple[Path, int, str]  # table, workers, key of the row


@dataclass(frozen=True)
class Asked:
    """What every process needs to know.

    Attributes:
        tables: their files.
        keys: of the rows.
        registry: a clone of OptunaHub's, None where there is none.
        seeds: searches of each kind.
        neps: an interpreter that has NePS, None where there is none.
        share: of the candidates that each seed searches.
    """

    tables: list[Path]
    keys: list[str]
    registry: Path | None
    seeds: int
    neps: Path | None = None
    share: float = 1.0


def raced(
    asked: Asked, workers: Sequence[int], processes: int
) -> Iterator[tuple[tuple[str, int, str], list[Trace]]]:
    """Every row on every table with every number of workers, with progress on stderr.

    What comes out does not depend on the number of processes.
    """
    jobs: list[Job] = [(t, w, key) for t in asked.tables for w in workers for key in asked.keys]
    started = time.monotonic()
    for number, ((path, count, key), traces) in enumerate(_done(asked, jobs, processes), start=1):
        spread = Spread.of([trace.epochs_until(LEVELS[0]) for trace in traces])
        print(
            f"{time.monotonic() - started:5.0f} s  {number}/{len(jobs)}  {path.stem}, {count} "
            f"workers, {key}: {spread.median:.0f} epochs until {LEVELS[0]:.0%}, "
            f"{spread.reached} of {spread.seeds}",
            file=sys.stderr,
            flush=True,
        )
        yield (path.stem, count, key), traces


def _done(asked: Asked, jobs: Sequence[Job], processes: int) -> Iterator[tuple[Job, list[Trace]]]:
    if processes == 1:
        _prepare(asked)
        yield from zip(jobs, map(_race_all, jobs), strict=True)
        return
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")  # read where a process of the pool imports numpy
    # Spawned: a fork would copy the locks of whatever threads Ray's import has started.
    with ProcessPoolExecutor(processes, get_context("spawn"), _prepare, (asked,)) as pool:
        yield from zip(jobs, pool.map(_race_all, jobs), strict=True)


class _Shared:
    """What a process reads once."""

    def __init__(self, asked: Asked) -> None:
        self.seeds = asked.seeds
        self.rows = {row.key: row for row in rows_named(asked.keys, asked.registry, asked.neps)}
        self._share = asked.share
        self._tables = {path: read_table(path) for path in asked.tables}
        self._parts: dict[tuple[Path, int], tuple[Table, Truth]] = {}

    def part(self, path: Path, seed: int) -> tuple[Table, Truth]:
        """What a seed searches of a table, and what it is judged by."""
        key = path, seed if self._share < 1 else 0
        if key not in self._parts:
            part = self._tables[path].part(self._share, seed)
            self._parts[key] = part, Truth(part)
        return self._parts[key]


_shared: _Shared  # of a process of the pool


def _prepare(asked: Asked) -> None:
    global _shared
    _shared = _Shared(asked)


def _race_all(job: Job) -> list[Trace]:
    """All seeds of a row. Of what comes after the last level nothing is told: most of the time."""
    path, workers, key = job
    row, parts = _shared.rows[key], [_shared.part(path, seed) for seed in range(_shared.seeds)]
    return [run(row, *part, workers, seed, LEVELS[-1]) for seed, part in enumerate(parts)]
