"""The command line as a user has it: a process of its own, and nothing left of it afterwards."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
import psutil

ROOT = Path(__file__).parents[2]
TIMEOUT_S = 600  # a machine of two slow cores, of which others have a share
VALIDATION = 100  # images
_KINDS = ("Trial", "Resource")
_SLOWER = "measure.cache: networks are not as fast as they were before"

# One block of two splits at most, on a tenth of the digits: an epoch takes 0.3 s on a core.
SMALL = (  # slow enough to be interrupted
    "model=small",
    "train=quick",
    "tracking=none",
    "data.train_images=128",
    f"data.val_images={VALIDATION}",
    "data.test_images=60",
    "train.batch_size=32",
    "train.epochs=4",
    "model.depths=[1]",
    "model.planes=[32]",
    "measure.repeats=6",
    "measure.warmup=1",
    "measure.processes=1",  # each imports torch for seconds
)
# Each worker process imports torch for seconds, which an epoch of these is not worth.
ONE_AT_A_TIME = f"resources.cpus_per_worker={len(os.sched_getaffinity(0))}"


@dataclass
class Done:
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def one_line(self) -> str:
        """What a refusal said; fails where it is more than one line."""
        assert self.code == 2, self
        lines = self.err.splitlines()
        assert len(lines) == 1, self
        return lines[0]


class Command:
    """A command at work; its output goes to files, since a pipe that nobody reads fills up."""

    def __init__(
        self, words: tuple[str, ...], cwd: Path, extra: Mapping[str, str] | None = None
    ) -> None:
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("WANDB", "RAY"))}
        environment["PYTHONPATH"] = str(ROOT)  # a checkout without an installed package
        environment["COLUMNS"] = "200"
        environment |= extra or {}
        self._out, self._err = cwd / ".stdout", cwd / ".stderr"
        with self._out.open("w") as out, self._err.open("w") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "resnest_search", *words],
                cwd=cwd,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,  # Ctrl-C is meant for it and its children, not for us
            )
        self._seen: dict[int, psutil.Process] = {}
        self._ran: set[str] = set()

    @property
    def descendants(self) -> list[psutil.Process]:
        """Every process under it that is alive, remembered for the end."""
        children: list[psutil.Process] = []
        with contextlib.suppress(psutil.NoSuchProcess):
            children = psutil.Process(self.process.pid).children(recursive=True)
        for child in children:
            self._seen[child.pid] = child
            with contextlib.suppress(psutil.Error):  # it may have ended meanwhile
                self._ran.add(" ".join(child.cmdline()))
        return [child for child in self._seen.values() if _alive(child)]

    def training(self) -> list[psutil.Process]:
        """The worker processes in which Ray trains."""
        return [child for child in self.descendants if trains(child)]

    @property
    def started_ray(self) -> bool:
        """Whether one of its children was ever seen to be Ray's."""
        return any("raylet" in line for line in self._ran)

    def until(self, condition: Callable[[], bool]) -> None:
        """Wait for something that happens while it runs; fails where it ends before."""
        deadline = time.monotonic() + TIMEOUT_S
        while not condition():
            assert self.process.poll() is None, f"ended before: {self.said()}"
            assert time.monotonic() < deadline, f"did not happen: {self.said()}"
            time.sleep(0.02)

    def wait(self) -> Done:
        """Its end."""
        deadline = time.monotonic() + TIMEOUT_S
        while self.process.poll() is None:
            assert time.monotonic() < deadline, f"does not end: {self.said()}"
            self.descendants  # noqa: B018  remembers who must be gone afterwards
            time.sleep(0.25)  # to ask costs 5 ms, which a sweep of a minute would feel
        return self.said()

    def said(self) -> Done:
        """Exit code and output so far, -1 while it runs; without what other work beside made of it.

        All commands of a test process have one cache of costs. Where the machine is slower than
        when an earlier one filled it, they say so, and rightly.
        """
        code = self.process.poll()
        err = [line for line in self._err.read_text().splitlines(True) if _SLOWER not in line]
        return Done(-1 if code is None else code, self._out.read_text(), "".join(err))

    def left_behind(self, patience_s: float = 20) -> list[str]:
        """Descendants that outlive it."""
        gone_by = time.monotonic() + patience_s
        while (left := self.descendants) and time.monotonic() < gone_by:
            time.sleep(0.1)
        return [" ".join(child.cmdline()) for child in left]

    def kill_all(self) -> None:
        """End it and all its descendants, whatever state they are in."""
        left = self.descendants
        for child in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def _alive(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def trains(process: psutil.Process) -> bool:
    """Whether Ray runs trials in it; the title names the class or the one that Tune wraps it in."""
    with contextlib.suppress(psutil.Error):
        return any(f"ray::{kind}Trainable" in " ".join(process.cmdline()) for kind in _KINDS)
    return False


@contextlib.contextmanager
def started(cwd: Path, *words: str, **extra: str) -> Iterator[Command]:
    """A command at work, ended for certain afterwards."""
    command = Command(words, cwd, extra)
    try:
        yield command
    finally:
        command.kill_all()


def run(cwd: Path, *words: str, **extra: str) -> Done:
    """A command from start to end."""
    with started(cwd, *words, **extra) as command:
        return command.wait()


def sweep_file(cwd: Path, space: Mapping[str, Any], **search: Any) -> None:
    """A sweep of the user's own, ``sweep=tiny``."""
    folder = cwd / "sweeps"
    folder.mkdir(exist_ok=True)
    search = {"space": dict(space), **search}
    text = "\n".join(f"  {key}: {json.dumps(value)}" for key, value in search.items())
    (folder / "tiny.yaml").write_text(f"# Does a tiny sweep end well?\nsearch:\n{text}\n")


def study(folder: Path) -> optuna.Study:
    """A run's study, opened with Optuna alone."""
    return optuna.load_study(study_name="sweep", storage=f"sqlite:///{folder / 'study.db'}")


def logged(folder: Path, event: str) -> dict[int, list[int]]:
    """Epochs of each trial's log that were started, or finished, in their order."""
    found: dict[int, list[int]] = {}
    for path in folder.glob("trials/*/epochs.jsonl"):
        # The last line may be half written while the trial is at work.
        lines = [json.loads(line) for line in path.read_text().splitlines(True) if line[-1] == "\n"]
        found[int(path.parent.name)] = [x["epoch"] for x in lines if x["event"] == event]
    return found


def rows(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))
