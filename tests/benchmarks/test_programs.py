"""Every program in benchmarks/ starts."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

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


# In one process, since each imports torch.
ASK = """
import contextlib, io, json, pathlib, runpy, sys, traceback

found = {}
before = list(sys.path)
for program in sys.argv[1:]:
    out = io.StringIO()
    sys.argv, sys.path[:] = [program, "--help"], [str(pathlib.Path(program).parent), *before]
    try:
        with contextlib.redirect_stdout(out):
            runpy.run_path(program, run_name="__main__")
        ended = "did not end"
    except SystemExit as end:
        ended = end.code
    except BaseException:
        ended = traceback.format_exc()
    found[program] = [ended, out.getvalue()]
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def answers() -> dict[str, Any]:
    words = [sys.executable, "-c", ASK, *map(str, PROGRAMS)]
    done = subprocess.run(words, capture_output=True, text=True, check=True, cwd=ROOT)
    return dict(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.stem)
def test_it_says_what_it_takes(answers: dict[str, Any], path: Path) -> None:
    code, said = answers[str(path)]
    assert code == 0, code
    assert said.startswith("usage:")
