"""One finished sweep, made once and read by many tests."""

from __future__ import annotations

import dataclasses
import fcntl
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import ONE_AT_A_TIME, SMALL, Done, run, sweep_file

__all__ = [
    "BUDGET",
    "COMPLETE",
    "INFEASIBLE",
    "LIMIT_M",
    "PRUNED",
    "SECRETS",
    "WORDS",
    "ask",
    "finished_run",
    "made_once",
]

COMPLETE = ("0s1x64d", "1s1x64d", "2s1x64d")
PRUNED = "4s1x64d"
INFEASIBLE = "2s2x64d"
LIMIT_M = 0.028  # millions of parameters
BUDGET = 13  # epochs
WORDS = (
    "sweep=tiny",
    *(word for word in SMALL if not word.startswith("tracking")),
    "search/sampler=grid",
    "search/pruner=none",
    ONE_AT_A_TIME,
    "tracking=offline",
    "run=out",
)
SECRETS = {
    "WANDB_API_KEY": "5ec7e7" * 6 + "beef",
    "AWS_SECRET_ACCESS_KEY": "nobody/should+ever+see+this+value",
}


def finished_run(factory: pytest.TempPathFactory) -> tuple[Path, Done]:
    """A run's folder and what the command said; made by whoever asks first.

    Three candidates of four epochs each fill the budget of 13 but for one epoch, at which
    the fourth is pruned; one more breaks the limit.
    """
    return made_once(factory, "finished_run", _make)


def made_once(
    factory: pytest.TempPathFactory, name: str, make: Callable[[Path], Done]
) -> tuple[Path, Done]:
    """The folder ``out`` that a command made in one of this name, and what the command said."""
    base = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent  # of all the processes that run tests
    cwd = base / name
    cwd.mkdir(exist_ok=True)
    said = cwd / "said.json"
    with (cwd / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not said.exists():
            said.write_text(json.dumps(dataclasses.asdict(make(cwd))))
    done = Done(**json.loads(said.read_text()))
    assert done.code == 0, done
    return cwd / "out", done


def ask(cwd: Path) -> None:
    """Write the question that `WORDS` then answer."""
    variants = [*COMPLETE, PRUNED, INFEASIBLE]
    sweep_file(cwd, {"variant": variants}, limits={"parameters_m": LIMIT_M}, budget=BUDGET)


def _make(cwd: Path) -> Done:
    ask(cwd)
    return run(cwd, *WORDS, **SECRETS)
