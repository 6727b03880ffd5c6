"""The dashboard command: a workspace of W&B's, in the project or beside the run."""

import json
import shutil
from dataclasses import replace

import pytest
from command_line import ROOT, run
from sample_sweeps import doubtful
from wandb_server import KEY, serving

from resnest_search.configuration.schema import TrackingConfig
from resnest_search.errors import UserError
from resnest_search.panels import drawn, read_panels
from resnest_search.tracking import workspace
from resnest_search.tracking.tracked import epoch_row, trial_config, trial_summary
from resnest_search.tracking.workspace import save_workspace

pytest.importorskip("wandb_workspaces")  # an extra, which wants a later W&B than the lowest


@pytest.fixture
def recorded(tmp_path):
    """A copy of a recorded run, in the folder where commands are typed."""
    shutil.copytree(ROOT / "tests" / "fixtures" / "run-0.2.0", tmp_path / "run")
    return tmp_path / "run"


def panels_of(spec):
    (section,) = spec["section"]["panelBankConfig"]["sections"]
    return [(panel["viewType"], panel["config"]) for panel in section["panels"]]


def test_the_panels_are_those_of_the_page_over_what_trials_log(tmp_path):
    sweep = replace(doubtful(), folder=str(tmp_path))
    said = save_workspace([sweep], TrackingConfig("offline", "nets", "lab"))
    assert said == f"Workspace: {tmp_path / 'workspace.json'}; not saved in W&B (tracking=offline)"
    found = json.loads((tmp_path / "workspace.json").read_text())
    assert (found["entity"], found["project"]) == ("lab", "nets")
    made = panels_of(found["spec"])
    importances = [config["targetKey"] for kind, config in made if kind == "Parameter Importance"]
    assert importances == list(sweep.objectives)
    made = [(kind, config) for kind, config in made if kind != "Parameter Importance"]
    kinds = ("curves", "parallel")
    expected = [p for p in drawn(read_panels(), sweep) if p.kind in kinds or p.x]
    assert [config["chartTitle"] for _, config in made] == [panel.title for panel in expected]
    trial = next(trial for trial in sweep.trials if trial.state == "complete")
    logged = {*epoch_row(trial.curve[-1]), *trial_summary(trial)}
    for (kind, config), panel in zip(made, expected, strict=True):
        if panel.kind == "curves":
            assert kind == "Run History Line Plot"
            assert (config["xAxis"], config["metrics"]) == ("epoch", [panel.y])
            named = {panel.y, "epoch"}
        elif panel.kind == "parallel":
            assert kind == "Parallel Coordinates Plot"
            told = trial_config(trial)
            axes = [column["accessor"] for column in config["columns"]]
            keys = ("radix", "cardinality", "width")
            assert axes[:3] == [f"config:{key}.value" for key in keys if key in told]
            named = [axis.removeprefix("summary:") for axis in axes[3:]]
        else:
            assert kind == "Scatter Plot"
            axes = [config.get(axis) for axis in ("xAxis", "yAxis", "zAxis") if axis in config]
            named = [name for name in (panel.x, panel.y, panel.size) if name]
            assert axes == [f"summary:{name}" for name in named]
        assert set(named) <= logged
    (runs,) = found["spec"]["section"]["runSets"]
    assert [one["value"] for one in runs["filters"]["filters"]] == [
        [workspace.group_of(sweep.name, sweep.folder)],
        "trial",
    ]
    columns = {f"summary:{name}" for name in sweep.objectives}
    assert columns <= {name for name, pinned in runs["runFeed"]["columnPinned"].items() if pinned}


def test_it_is_saved_once_and_then_brought_up_to_date(recorded):
    words = ("dashboard", "run=run", "tracking=online", "tracking.entity=lab")
    with serving() as server:
        for _ in range(2):
            done = run(recorded.parent, *words, **server.environment())
            assert done.code == 0, done
            assert done.out.startswith("Workspace: http"), done
            assert done.err == ""
    assert server.operations.count("UpsertView2") == 2
    (view,) = server.views.values()
    assert (view["entityName"], view["projectName"]) == ("lab", "resnest-search")
    assert panels_of(json.loads(view["spec"]))


def test_several_runs_are_shown_in_one_workspace(recorded):
    shutil.copytree(recorded, recorded.parent / "other")
    done = run(recorded.parent, "dashboard", "run=run", "beside=[other]", "tracking=offline")
    assert (done.code, done.err) == (0, ""), done
    found = json.loads((recorded / "workspace-other.json").read_text())
    (runs,) = found["spec"]["section"]["runSets"]
    groups, job = (one["value"] for one in runs["filters"]["filters"])
    assert [group.partition("/")[2] for group in groups] == ["run", "other"]
    assert job == "trial"
    said = run(recorded.parent, "dashboard", "run=run", "beside=[nowhere]").one_line
    assert "nowhere" in said


def test_where_nobody_answers_it_is_a_file_and_one_line(recorded):
    words = ("dashboard", "run=run", "tracking=online", "tracking.entity=lab")
    nobody = {"WANDB_BASE_URL": "http://127.0.0.1:9", "WANDB_API_KEY": KEY}
    done = run(recorded.parent, *words, **nobody)
    assert (done.code, done.err) == (0, ""), done
    (line,) = done.out.splitlines()
    file = recorded / "workspace.json"
    assert line.startswith(f"Workspace: {file}; not saved in W&B ("), line
    assert panels_of(json.loads(file.read_text())["spec"])


def test_without_the_extra_it_is_refused_with_what_installs_it(monkeypatch):
    monkeypatch.setattr(workspace, "find_spec", lambda name: None)
    with pytest.raises(UserError) as caught:
        save_workspace([doubtful()], TrackingConfig())
    assert str(caught.value) == (
        "dashboard: wandb-workspaces is not installed; "
        "pip install -c constraints.txt '.[dashboard]'"
    )
