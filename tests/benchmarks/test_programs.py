"""Every program in benchmarks/ starts."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = sorted(
    path
    for path in [
        *(ROOT / "benchmarks").glob("*.py"),
        *(ROOT / "benchmarks" / "tables").glob("*.py"),
    ]
    if "argparse" in path.read_text(encoding="utf-8")
)


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.stem)
def test_it_says_what_it_takes(path: Path) -> None:
    done = subprocess.run(
        [sys.executable, path, "--help"], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("usage:")
