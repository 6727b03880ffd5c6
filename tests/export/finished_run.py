"""One finished sweep, made once a session and read by many tests."""

from __future__ import annotations

import functools
import os
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "execution"))
from command_line import SMALL, Done, run, sweep_file

__all__ = ["COMPLETE", "INFEASIBLE", "LIMIT_M", "PRUNED", "SECRETS", "finished_run"]

COMPLETE = ("0s1x64d", "1s1x64d", "2s1x64d")
PRUNED = "4s1x64d"
INFEASIBLE = "2s2x64d"
LIMIT_M = 0.028  # millions of parameters
SECRETS = {
    "WANDB_API_KEY": "5ec7e7" * 6 + "beef",
    "AWS_SECRET_ACCESS_KEY": "nobody/should+ever+see+this+value",
}


@functools.cache
def finished_run(base: Path) -> tuple[Path, Done]:
    """A run's folder and what the command said.

    Three candidates of four epochs each fill the budget of 13 but for one epoch, at which
    the fourth is pruned; one more breaks the limit.
    """
    cwd = Path(tempfile.mkdtemp(dir=base))
    sweep_file(
        cwd,
        {"variant": [*COMPLETE, PRUNED, INFEASIBLE]},
        limits={"parameters_m": LIMIT_M},
        budget=13,
    )
    words = (
        "search/sampler=grid",
        "search/pruner=none",
        f"resources.cpus_per_worker={len(os.sched_getaffinity(0))}",  # one trial at a time
        "tracking=offline",
    )
    small = tuple(word for word in SMALL if not word.startswith("tracking"))
    done = run(cwd, "sweep=tiny", *small, *words, "run=out", **SECRETS)
    assert done.code == 0, done
    return cwd / "out", done
