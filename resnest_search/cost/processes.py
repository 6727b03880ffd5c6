"""Rounds of timing in several processes.

Where a process's memory happens to lie stays with it: on one CPU a network of grouped convolutions
was 8 % slower in one process of six, round after round. Rounds of one process would take that for
the network's own, and promise more than another process keeps.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Any

from resnest_search import stopping
from resnest_search.cost.busy import Load
from resnest_search.cost.latency import Made, Timing
from resnest_search.cost.measure import CostRequest, Visit, visit

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

__all__ = ["visitors"]


@contextmanager
def visitors(processes: int) -> Iterator[tuple[list[Visit], Callable[[], None]]]:
    """So many ways to visit a network: in this process, and in each of further ones.

    Those are started at once, which takes them seconds, and end with the context. The second
    value waits until all are there.
    """
    with ExitStack() as stack:
        others: list[_Process] = []
        for _ in range(processes - 1):
            others.append(_Process())
            stack.callback(others[-1].end)

        def ready() -> None:
            for other in others:
                other.answer()

        yield [visit, *(other.visit for other in others)], ready


class _Process:
    """A new process that times networks; EOFError where it has died."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()  # so that its death is the end of the pipe

    def answer(self) -> Any:
        """What it sends next."""
        try:
            return self._pipe.recv()
        except OSError as error:  # reset, not closed
            raise EOFError(str(error)) from error

    def visit(self, request: CostRequest, made: Made | None, repeats: int) -> tuple[Timing, Load]:
        """As `measure.visit`, there."""
        with suppress(OSError):  # it has died: the answer says so
            self._pipe.send((request, made, repeats))
        found: tuple[Timing, Load] | Exception = self.answer()
        if isinstance(found, Exception):
            raise found
        return found

    def end(self) -> None:
        """Leave nothing of it."""
        self._process.kill()
        self._process.join()
        self._pipe.close()


def _serve(pipe: Connection) -> None:
    """Time what is asked for until nobody asks any more; the first message says it is there."""
    stopping.with_parent()
    with suppress(EOFError, OSError):  # whoever asked has ended
        pipe.send(None)
        while True:
            asked = pipe.recv()
            try:
                found: object = visit(*asked)
            except Exception as error:
                found = RuntimeError(str(error))
            pipe.send(found)
