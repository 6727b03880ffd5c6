"""Copies of one finished run, for tests that change its files."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from finished_run import finished_run

from resnest_search.study.read import read_sweep
from resnest_search.study.record import Sweep
from resnest_search.study.study import SweepStudy


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run, which nobody changes."""
    return finished_run(tmp_path_factory)[0]


@pytest.fixture
def copied(finished: Path, tmp_path: Path) -> Sweep:
    """The sweep of a copy that a test may damage."""
    folder = tmp_path / "run"
    shutil.copytree(finished, folder, ignore=shutil.ignore_patterns("wandb"))
    return read_sweep(SweepStudy.open(folder), folder)
