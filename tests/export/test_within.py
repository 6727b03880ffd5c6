"""An export within a budget, as it is typed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from command_line import ROOT, rows, run

from resnest_search.study.study import SweepStudy

RECORDED = ROOT / "tests" / "fixtures" / "run-0.2.0"


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    shutil.copytree(RECORDED, tmp_path / "run")
    return tmp_path / "run"


def test_the_most_accurate_within_a_limit_is_exported(recorded: Path) -> None:
    (best,) = rows(recorded / "front.csv")
    limit = "limits.parameters_m=0.003"
    done = run(recorded.parent, "export", "run=run", "select=accuracy", limit)
    assert done.code == 0, done
    facts = json.loads((recorded / "best" / "model.json").read_text())
    assert facts["trial"] == int(best["number"])
    said = f"the most accurate of the front within {limit}"
    assert facts["chosen_as"] == said
    assert said in done.out.splitlines()[0]
    assert f"It is {said}." in (recorded / "best" / "README.md").read_text()
    refused = run(recorded.parent, "export", "run=run", "limits.parameters_m=1e-6").one_line
    assert "limits.parameters_m=1e-06: no complete trial is within it; the closest, " in refused
    refused = run(recorded.parent, "export", "run=run", "weights.gmacs=2").one_line
    assert "weights.gmacs=2: is no objective of this run; valid: accuracy, " in refused


def test_an_export_of_what_is_not_finished_says_so_first(recorded: Path) -> None:
    study = SweepStudy.open(recorded)
    study.note("finished", False)
    study.close()
    done = run(recorded.parent, "export", "run=run", "weights.accuracy=2")
    assert done.code == 0, done
    first, second, *_ = done.out.splitlines()
    assert first.startswith("Interrupted: not finished.")
    assert ", with weights.accuracy=2, to " in second
