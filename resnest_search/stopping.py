"""Signals that ask a run to end: each does what Ctrl-C does, and names itself in the exit code.

A scheduler sends SIGTERM or SIGUSR1 before it takes the machine away, and a closed terminal
SIGHUP. What a process was started to ignore, as ``nohup`` does, it goes on ignoring.
"""

from __future__ import annotations

import contextlib
import errno
import multiprocessing
import os
import signal
import termios
import threading
from collections.abc import Iterator
from types import FrameType

__all__ = ["exit_code", "held", "unheard", "watch", "with_parent"]

_ASKING = (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)
_received: list[int] = []  # the first of them


def watch() -> None:
    """Answer these signals; to be called again after a library has put its own handler there."""
    for number in _ASKING:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _stop)


def exit_code() -> int:
    """128 + the signal that ended the run; that of Ctrl-C where no other came."""
    return 128 + (_received or [signal.SIGINT])[0]


@contextlib.contextmanager
def held() -> Iterator[None]:
    """Let what must not be left half done end first; a second signal is not held back."""
    before = signal.getsignal(signal.SIGINT)
    came: list[int] = []

    def remember(number: int, frame: FrameType | None) -> None:
        if came:
            raise KeyboardInterrupt
        came.append(number)

    signal.signal(signal.SIGINT, remember)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if came:
        raise KeyboardInterrupt


@contextlib.contextmanager
def unheard() -> Iterator[None]:
    """Processes that start meanwhile never hear these signals: they end when the driver ends them.

    A scheduler signals every process of a job at once, and a driver whose cluster has gone
    before it has answered is torn down with it. What comes meanwhile is answered afterwards.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _ASKING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _stop(number: int, frame: FrameType | None) -> None:
    """As Ctrl-C, once: ``timeout`` and schedulers send the same signal twice."""
    if _received:
        return
    _received.append(number)
    _leave_closed_terminal()
    interrupt = signal.getsignal(signal.SIGINT)
    if callable(interrupt):
        interrupt(signal.SIGINT, frame)
    else:
        raise KeyboardInterrupt


def _leave_closed_terminal() -> None:
    """Write to nowhere instead of to a terminal that is gone, where each line would be an error."""
    for descriptor in (0, 1, 2):
        try:
            termios.tcgetattr(descriptor)
        except termios.error as error:
            if error.args[0] == errno.EIO:
                nowhere = os.open(os.devnull, os.O_RDWR)
                os.dup2(nowhere, descriptor)
                os.close(nowhere)


def with_parent() -> None:
    """From now on end when the process that started this one does, in the middle of anything.

    One that is killed ends nobody itself, and what went on timing would be in the figures of
    whoever measures next.
    """
    if (parent := multiprocessing.parent_process()) is None:
        return

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
