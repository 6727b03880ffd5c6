"""A training that pauses after each epoch until somebody decides on it."""

from __future__ import annotations

import contextlib
import gc
import queue
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from resnest_search.errors import ImagesChanged, lacks_memory
from resnest_search.files import is_full
from resnest_search.study.record import Epoch
from resnest_search.training import Report, Run

__all__ = [
    "OUT_OF_MEMORY",
    "Message",
    "TrainingThread",
    "WorkerLost",
    "failure_reason",
    "let_go_of_memory",
]

# How cuDNN may say that no algorithm's workspace fits; it may mean that it has none, too.
_NO_ENGINE = "unable to find an engine to execute this computation"
OUT_OF_MEMORY = "out of memory: "  # begins the reason of a failure that another place may mend


@dataclass(frozen=True)
class Message:
    """What a training has to say: its epochs so far, or why there will be no more."""

    curve: tuple[Epoch, ...] = ()
    note: str = ""
    failure: str = ""
    whose: Literal["trial", "worker", "disk", "images"] = "trial"  # fault the failure is


class WorkerLost(Exception):  # noqa: N818 (the trial's, not the program's error)
    """A process of the trial has died; the trial may go on from its checkpoint."""


class TrainingThread:
    """Runs ``train(run, report)`` in a thread, one epoch for each answer.

    Errors of the training end in a message, never in this process: an out-of-memory or a
    broken image concerns one trial alone.
    """

    def __init__(self, train: Callable[[Run, Report], object], run: Run) -> None:
        self._run = run
        self._train = train
        self._messages: queue.Queue[Message] = queue.Queue()
        self._answers: queue.Queue[bool] = queue.Queue()
        self._asked = False  # the training waits for an answer
        self._thread = threading.Thread(target=self._work, daemon=True, name="training")
        self._thread.start()

    def next(self) -> Message:
        """Let the training go on, and wait for what it says."""
        if self._asked:
            self._answers.put(True)
        message = self._messages.get()
        self._asked = not message.failure
        return message

    def stop(self) -> None:
        """End the training after the epoch that it is at, and wait for that."""
        self._answers.put(False)
        self._thread.join()

    def _report(self, curve: Sequence[Epoch], note: str) -> bool:
        self._messages.put(Message(tuple(curve), note))
        return self._answers.get()

    def _work(self) -> None:
        message = Message(failure="the training ended without a result")
        try:
            self._train(self._run, self._report)
        except Exception as error:
            with contextlib.suppress(OSError):  # a full disk may be what went wrong
                self._keep_traceback()
            message = _failed(error)
        # Not before: the error's traceback keeps the tensors of the step that failed.
        let_go_of_memory()
        self._messages.put(message)

    def _keep_traceback(self) -> None:
        folder = Path(self._run.folder)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "error.log").write_text(traceback.format_exc())


def _failed(error: Exception) -> Message:
    """Of a lost process another try may succeed; without a disk, or with other images, none."""
    if isinstance(error, ImagesChanged):
        return Message(failure=str(error), whose="images")
    reason = failure_reason(error)
    if isinstance(error, WorkerLost):
        return Message(failure=reason, whose="worker")
    return Message(failure=reason, whose="disk" if is_full(error) else "trial")


def let_go_of_memory() -> None:
    """Give a GPU's memory back to who shares it."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def failure_reason(error: BaseException) -> str:
    """An error as the reason of a failed trial: one line, out of memory told apart."""
    lines = str(error).strip().splitlines()
    text = f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
    if lacks_memory(error) or _NO_ENGINE in text:
        return f"{OUT_OF_MEMORY}{text}"
    return text
