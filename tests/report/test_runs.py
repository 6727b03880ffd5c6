"""The list of runs: each with its state, whatever is below the folder."""

from __future__ import annotations

import fcntl
import shutil
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from command_line import ROOT, run

from resnest_search.report.runs import run_line, runs_table
from resnest_search.study.record import Epoch, Sweep, TrialRecord

RECORDED = sorted((ROOT / "tests" / "fixtures").glob("run-*"))[0]


def trial(number: int, state: str) -> TrialRecord:
    curve = (Epoch(1, 0.5, 1.0, 1.0, 1.0),)
    return TrialRecord(number, f"c{number}", "2s1x64d", {}, state, curve=curve)


def sweep(*states: str, finished: bool, started: str = "2026-01-02T03:04:05+00:00") -> Sweep:
    trials = tuple(trial(n, state) for n, state in enumerate(states))
    return Sweep(
        *("mine", "", "", {}, ("accuracy",), trials), budget=9, started=started, finished=finished
    )


@pytest.mark.parametrize(
    ("found", "at_work", "state", "trials"),
    [
        (
            sweep("complete", "running", "paused", finished=False),
            True,
            "running",
            "1 complete, 1 running, 1 paused",
        ),
        (
            sweep("complete", "interrupted", "paused", finished=False),
            False,
            "interrupted",
            "1 complete, 1 interrupted, 1 paused",
        ),
        (
            sweep("complete", "pruned", "pruned", "failed", finished=True),
            False,
            "finished",
            "2 pruned, 1 complete, 1 failed",
        ),
        (sweep("failed", "failed", finished=True), False, "failed", "2 failed"),
        (sweep("infeasible", finished=True), False, "nothing completed", "1 infeasible"),
        (sweep(finished=True), False, "nothing completed", "none"),
    ],
)
def test_a_run_says_how_it_stands(found: Sweep, at_work: bool, state: str, trials: str) -> None:
    line = run_line(replace(found, at_work=at_work), "runs/x")
    assert (line.state, line.trials) == (state, trials)
    assert line.epochs == f"{len(found.trials)}/9"
    assert line.begun == "2026-01-02 03:04"


def test_runs_stand_in_the_order_in_which_they_began() -> None:
    later = run_line(sweep("complete", finished=True), "a")
    sooner = run_line(sweep(finished=False, started="2025-12-31T00:00:00+00:00"), "b")
    none = run_line(sweep(finished=False, started=""), "c")
    lines = runs_table([later, none, sooner]).splitlines()
    assert [line.split()[-1] for line in lines[:3]] == ["run", "b", "a"]
    assert lines[3] == "c: has no sweep: it was stopped before it began"


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """A whole run, and what only looks like one."""
    shutil.copytree(RECORDED, tmp_path / "runs" / "mini" / "whole")
    for name in ("empty", "garbage", "foreign", "nowhere"):
        (tmp_path / "runs" / name).mkdir()
    (tmp_path / "runs" / "empty" / "study.db").touch()
    (tmp_path / "runs" / "garbage" / "study.db").write_text("no database at all, by no means\n" * 9)
    with sqlite3.connect(tmp_path / "runs" / "foreign" / "study.db") as file:
        file.execute("create table t (x)")
    record = '{"url": "sqlite:////nowhere/x.db", "study": "mini"}'
    (tmp_path / "runs" / "nowhere" / "storage.json").write_text(record)
    return tmp_path


def test_the_command_lists_what_it_can_read_and_says_what_it_cannot(runs: Path) -> None:
    done = run(runs, "list")
    assert (done.code, done.err) == (0, "")
    head, whole, *others = done.out.splitlines()
    assert head.split() == ["begun,", "UTC", "sweep", "state", "front", "epochs", "trials", "run"]
    assert whole.endswith("runs/mini/whole")
    assert "finished" in whole
    assert "10/10" in whole
    assert "2 complete, 1 pruned" in whole
    names = ["runs/empty", "runs/foreign", "runs/garbage", "runs/nowhere"]
    assert sorted(line.partition(":")[0] for line in others) == names
    assert (runs / "runs" / "empty" / "study.db").stat().st_size == 0


def test_a_run_whose_driver_is_at_work_is_running(runs: Path) -> None:
    folder = runs / "runs" / "mini"
    with (folder / "whole" / "driver.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert "running" in run(runs, "list", "runs=runs/mini").out
    assert "running" not in run(runs, "list", f"runs={folder}").out


def test_a_folder_without_runs_says_so(tmp_path: Path) -> None:
    assert run(tmp_path, "list").out == "No runs below runs.\n"
    assert run(tmp_path, "list", "runs=.").out == "No runs below ..\n"
    refused = run(tmp_path, "list", "runs=absent")
    assert refused.code == 2
    assert "runs=absent: is no folder" in refused.err


@pytest.mark.parametrize("words", ["list", "--help", "--version", "train --help"])
def test_what_is_only_told_imports_nothing_that_trains(words: str, runs: Path) -> None:
    heavy = {"torch", "torchvision", "ray", "sklearn", "pytorch_lightning", "matplotlib"}
    code = (
        f"import sys; sys.argv = sys.orig_argv = ['resnest-search', *{words.split()!r}]\n"
        "from resnest_search.__main__ import main\n"
        f"main(); print(set(sys.modules) & {heavy!r}, file=sys.stderr)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=runs,
        env={"PYTHONPATH": str(ROOT), "PATH": "", "HOME": str(runs)},
        check=True,
    )
    assert ran.stderr == "set()\n"
