"""Runs that earlier versions recorded: read, carried on and exported by this one.

Each folder of fixtures/ is a run as its version left it, without the page and W&B's files: a sweep
of four tiny networks on 400 digits that a budget of 10 epochs stopped, so that trial 2 stands
after 2 of 4 epochs, and the fourth candidate was never begun.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from command_line import ROOT, rows, run, study
from optuna.trial import TrialState

RUNS = sorted((ROOT / "tests" / "fixtures").glob("run-*"))


@pytest.fixture(params=RUNS, ids=[folder.name for folder in RUNS])
def recorded(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A copy of a recorded run, in the folder where commands are typed."""
    shutil.copytree(request.param, tmp_path / "run")
    return tmp_path / "run"


def test_an_earlier_run_is_reported_with_its_own_numbers(recorded: Path) -> None:
    before = {row["number"]: row for row in rows(recorded / "trials.csv")}
    done = run(recorded.parent, "report", "run=run")
    assert done.code == 0, done
    after = {row["number"]: row for row in rows(recorded / "trials.csv")}
    assert after.keys() == before.keys()
    for number, row in before.items():
        for name in ("variant", "state", "accuracy", "latency_ms", "memory_mib", "epochs"):
            assert after[number][name] == row[name], (number, name)
    # what its version chose, by whatever rule
    facts = json.loads((recorded / "best" / "model.json").read_text())
    chosen = facts.get("chosen_as") or f"select={facts['selected_as']}"  # 0.1.0 gave no reason
    said = f"({facts['variant']}, trial {facts['trial']}: {chosen})"
    assert said in done.out
    assert "Interrupted: " not in done.out
    page = (recorded / "report.html").read_text()
    assert all(row["variant"] in page for row in before.values())


def test_an_earlier_run_is_carried_on_from_its_checkpoints(recorded: Path) -> None:
    stopped = rows(recorded / "trials.csv")[2]
    done = run(recorded.parent, "resume", "run=run", "budget=14")
    assert done.code == 0, done
    found = study(recorded)
    trials = [t for t in found.trials if t.user_attrs["variant"] == stopped["variant"]]
    assert [t.state for t in trials] == [TrialState.PRUNED, TrialState.COMPLETE]
    assert trials[-1].user_attrs["inherited"] == 2
    assert sorted(trials[-1].intermediate_values) == [1, 2, 3, 4]
    assert trials[0].intermediate_values.items() <= trials[-1].intermediate_values.items()


def test_an_earlier_run_is_exported(recorded: Path) -> None:
    shutil.rmtree(recorded / "best")
    done = run(recorded.parent, "export", "run=run", "select=latency")
    assert done.code == 0, done
    assert "max difference 0," in done.out
    assert (recorded / "best" / "model.py").exists()
