"""What this machine has measured before, kept for the sweeps to come; losing it costs time alone.

A *measuring* is a set of networks that were timed in turns, so that a drift of the clock is in all
of them alike. Every round is kept as soon as it is over: a measuring that was killed goes on where
it stood. What is looked up is the network, the mode, the device, and the versions that decide how
fast it is; of a training step its batch and precision, too.
"""

from __future__ import annotations

import dataclasses
import json
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from resnest_search.cost.account import Account
from resnest_search.cost.busy import Load
from resnest_search.cost.latency import Timing
from resnest_search.gauges import GpuState

__all__ = ["FILE", "Cache", "Known", "Shelf"]

_T = TypeVar("_T")

# A file of another form is left to the version that wrote it: raise the number with the tables or
# with what `Known` is as JSON.
FILE = "costs-1.db"
_TABLES = """
create table if not exists networks (
    measuring integer, key text, known text, primary key (measuring, key)
);
create table if not exists steps (key text primary key, bytes integer);
"""
_PATIENCE_S = 30.0  # for another process that writes


@dataclass(frozen=True)
class Known:
    """What is known of a network's costs so far.

    Attributes:
        account: of its tensors; on a GPU with the allocator's figure.
        begun: of its first round, ISO 8601, UTC.
        timings: of its rounds, in their order.
        load: of the device by others meanwhile.
        form: what `models.fast` chose, as text.
        is_settled: whether it got the further rounds that its interval asked for, or the time for
            them was over. Of one that was killed before it is not.
    """

    account: Account
    begun: str = ""
    timings: tuple[Timing, ...] = ()
    load: Load = dataclasses.field(default_factory=Load)
    form: str = ""
    is_settled: bool = False

    @classmethod
    def read(cls, text: str) -> Known:
        """What `dataclasses.asdict` made of one, as JSON."""
        facts = json.loads(text)
        timings = [
            Timing(tuple(t["samples_ms"]), t["batch"], tuple(map(_state, t.get("gpu", ()))))
            for t in facts["timings"]
        ]
        return cls(
            account=Account(**facts["account"]),
            begun=facts["begun"],
            timings=tuple(timings),
            load=Load(**facts["load"]),
            form=facts["form"],
            is_settled=facts.get("is_settled", True),  # an earlier version did not say
        )

    @property
    def is_doubtful(self) -> bool:
        """Whether latencies are not to be trusted: the device was kept busy, or throttled."""
        return self.load.is_trouble or any(timing.throttled for timing in self.timings)


def _state(facts: dict[str, Any]) -> GpuState:
    return GpuState(**{**facts, "throttled": tuple(facts["throttled"])})


class Cache:
    """A file of measurings; each call opens it, since they are few and far between.

    Args:
        file: of SQLite, in a folder that is made where it is not there.

    Raises:
        OSError: it can be neither read nor written.
        sqlite3.Error: it is no such file.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        file.parent.mkdir(parents=True, exist_ok=True)
        with closing(self._open()) as database, database:
            database.executescript(_TABLES)

    def step(self, key: str) -> int | None:
        """Bytes of a training step; None where they were never found."""
        with closing(self._open()) as database:
            row = database.execute("select bytes from steps where key = ?", [key]).fetchone()
        return None if row is None else int(row[0])

    def keep_step(self, key: str, bytes_: int) -> None:
        """Bytes of a training step."""
        self._write("insert or replace into steps values (?, ?)", key, bytes_)

    def most(self, keys: Iterable[str]) -> int:
        """The measuring that has most of these networks, of several the last; a new one if none."""
        wanted = set(keys)
        with closing(self._open()) as database:
            rows = database.execute("select measuring, key from networks").fetchall()
        counts: Counter[int] = Counter(measuring for measuring, key in rows if key in wanted)
        if not counts:
            return self.new()
        return max(counts, key=lambda measuring: (counts[measuring], measuring))

    def new(self) -> int:
        """A measuring that nothing belongs to yet."""
        with closing(self._open()) as database:
            (last,) = database.execute("select max(measuring) from networks").fetchone()
        return (last or 0) + 1

    def drop(self, measuring: int) -> None:
        """Forget a measuring whose clock is known to have been another."""
        self._write("delete from networks where measuring = ?", measuring)

    def known(self, measuring: int, key: str) -> Known | None:
        """What a measuring has of a network."""
        with closing(self._open()) as database:
            row = database.execute(
                "select known from networks where measuring = ? and key = ?", [measuring, key]
            ).fetchone()
        return None if row is None else Known.read(row[0])

    def keep(self, measuring: int, key: str, known: Known) -> None:
        """All that is known of a network, in place of what was."""
        text = json.dumps(dataclasses.asdict(known))
        self._write("insert or replace into networks values (?, ?, ?)", measuring, key, text)

    def forget(self, measuring: int, key: str) -> None:
        """Drop what a measuring has of a network."""
        self._write("delete from networks where measuring = ? and key = ?", measuring, key)

    def _open(self) -> sqlite3.Connection:
        return sqlite3.connect(self._file, timeout=_PATIENCE_S)

    def _write(self, statement: str, *values: object) -> None:
        with closing(self._open()) as database, database:
            database.execute(statement, values)


class Shelf:
    """The part of a cache that one call of `measure_all` reads and fills.

    A cache that turns out to be of no use, for a full disk or a damaged file, is done without.

    Args:
        cache: None for none.
        keys: of the networks in it, by those of the call; what has none is never kept.
        told: of why the cache is of no use.
    """

    def __init__(
        self,
        cache: Cache | None,
        keys: dict[str, str],
        told: Callable[[Exception], None] = lambda error: None,
    ) -> None:
        self._cache = cache
        self._keys = keys
        self._told = told
        self._steps: dict[str, int] = {}  # of this call
        self._measuring = self._of(lambda cache: cache.most(keys.values()), 0)

    def step(self, key: Callable[[], str], found: Callable[[], int]) -> int:
        """Bytes of a training step, found once."""
        name = key()
        known = self._steps.get(name) or self._of(lambda cache: cache.step(name), None)
        if known is None:
            known = found()
            bytes_ = known
            self._of(lambda cache: cache.keep_step(name, bytes_), None)
        self._steps[name] = known
        return known

    def known(self, key: str) -> Known | None:
        """What is known of a network; nothing that was timed on a busy or throttled device."""
        if key not in self._keys:
            return None
        known = self._of(lambda cache: cache.known(self._measuring, self._keys[key]), None)
        if known is not None and known.is_doubtful:
            self._of(lambda cache: cache.forget(self._measuring, self._keys[key]), None)
            return None
        return known

    def keep(self, key: str, known: Known) -> None:
        """All that is known of a network."""
        if key in self._keys:
            self._of(lambda cache: cache.keep(self._measuring, self._keys[key], known), None)

    def begin_anew(self) -> None:
        """Forget what was measured on another clock."""
        self._of(lambda cache: cache.drop(self._measuring), None)
        self._measuring = self._of(lambda cache: cache.new(), 0)

    def _of(self, ask: Callable[[Cache], _T], otherwise: _T) -> _T:
        """What the cache answers; without one, what is said otherwise."""
        if self._cache is None:
            return otherwise
        try:
            return ask(self._cache)
        except (OSError, sqlite3.Error, ValueError, TypeError, KeyError) as error:
            self._cache = None
            self._told(error)
            return otherwise
