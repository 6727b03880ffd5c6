"""The installed package, as its users run it: from any folder, without a checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest


@pytest.fixture
def environment() -> dict[str, str]:
    """Without what would let the checkout stand in for the installation."""
    try:
        distribution("resnest-search")
    except PackageNotFoundError:
        pytest.skip("resnest-search is not installed")
    return {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}


def test_sweeps_and_configs_come_with_it(environment: dict[str, str], tmp_path: Path) -> None:
    words = ("sweep=radix_card", "model=resnest50_fast", "--cfg", "job")
    done = subprocess.run(
        [sys.executable, "-m", "resnest_search", *words],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "cardinality_width" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_dashboards_come_with_it(environment: dict[str, str], tmp_path: Path) -> None:
    code = "from resnest_search.panels import read_panels; print(len(read_panels()))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, check=True
    )
    assert int(done.stdout) > 2


def test_console_script_is_the_same_program(environment: dict[str, str], tmp_path: Path) -> None:
    script = shutil.which("resnest-search", path=str(Path(sys.executable).parent))
    assert script
    done = subprocess.run(
        [script, "sweep=radix_crad"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "did you mean radix_card" in done.stderr
