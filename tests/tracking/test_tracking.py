import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from sample_sweeps import doubtful, make_sweep, make_trial, mixed, unbalanced
from wandb_files import configuration, header, history, records, summary

from resnest_search.configuration.compose import to_record
from resnest_search.configuration.schema import SearchConfig, SweepConfig, TrackingConfig
from resnest_search.panels import drawn, read_panels
from resnest_search.report.figures import figure_of
from resnest_search.study.record import COMPLETE, INFEASIBLE, OPEN, PRUNED
from resnest_search.tracking.tracked import sweep_summary, trial_table
from resnest_search.tracking.wandb import Tracker

SUPPORT = Path(__file__).parents[1] / "support"


def runs(folder):
    return sorted(p.name.split("-")[-1] for p in folder.glob("wandb/offline-run-*"))


def tracker(folder, mode="offline", config=None):
    said = []
    made = Tracker(
        TrackingConfig(mode), folder, "radix_card 2026-01-02", config or {"sweep": "x"}, said.append
    )
    return made, said


def test_every_epoch_and_every_cost_of_a_trial_is_in_its_run(tmp_path):
    trial = make_trial(3, "2s2x40d")
    made, said = tracker(tmp_path)
    made.trial(trial)
    assert said == []
    run = "t3"
    logged = history(tmp_path, run)
    assert [row["epoch"] for row in logged] == list(range(1, 10))
    for row, epoch in zip(logged, trial.curve, strict=True):
        for name in ("accuracy", "loss", "train_loss", "seconds"):
            assert row[name] == getattr(epoch, name)
    found = summary(tmp_path, run)
    assert {name: found[name] for name in trial.costs} == trial.costs
    assert found["state"] == "complete"
    assert found["final_accuracy"] == trial.accuracy


def test_epoch_is_the_axis_of_every_trained_metric(tmp_path):
    made, _ = tracker(tmp_path)
    made.trial(make_trial(0, "2s2x40d"))
    metrics = [r.metric for r in records(tmp_path, "t0") if r.HasField("metric")]
    steps = {metric.name: metric.step_metric for metric in metrics}
    assert steps == {
        "epoch": "",
        "accuracy": "epoch",
        "balanced_accuracy": "epoch",
        "macro_f1": "epoch",
        "loss": "epoch",
        "train_loss": "epoch",
        "learning_rate": "epoch",
        "seconds": "epoch",
    }


def test_a_run_says_what_the_trial_was(tmp_path):
    made, _ = tracker(tmp_path)
    made.trial(make_trial(2, "2s1x24d", PRUNED))
    run = header(tmp_path, "t2")
    assert (run.display_name, run.job_type, run.run_group) == (
        "2s1x24d",
        "trial",
        "radix_card 2026-01-02",
    )
    config = configuration(tmp_path, "t2")
    assert config["variant"] == "2s1x24d"
    assert config["seed"] == 2
    assert config["device"] == "Intel Xeon, 2 threads"
    assert config["sweep"] == {"sweep": "x"}


def test_a_home_folder_in_a_parameter_stays_here(tmp_path):
    made, _ = tracker(tmp_path)
    trial = make_trial(2, "2s1x24d", parameters={"model.pretrained": "/home/alice/x.pth"})
    made.trial(trial)
    assert header(tmp_path, "t2").display_name == "2s1x24d (model.pretrained=~/x.pth)"
    assert configuration(tmp_path, "t2")["parameters"] == {"model.pretrained": "~/x.pth"}
    sweep = make_sweep([trial])
    assert "alice" not in str([list(row) for row in trial_table(sweep)[1]])
    assert "alice" not in str(sweep_summary(sweep))


def test_the_configuration_is_nested_and_none_is_the_text_of_an_object(tmp_path):
    config = to_record(SweepConfig(sweep="x", search=SearchConfig(space={"variant": ["1s1x16d"]})))
    tracker(tmp_path, config=config)[0].close(make_sweep([make_trial(0, "1s1x16d")]))
    for run in runs(tmp_path):
        found = configuration(tmp_path, run)["sweep"]
        assert found["search"]["space"] == {"variant": ["1s1x16d"]}
        assert found["data"] == config["data"]
    made, said = tracker(tmp_path / "other", config={"search": SearchConfig()})
    made.trial(make_trial(0, "1s1x16d"))
    assert len(said) == 1
    assert "was not tracked" in said[0]


def test_nothing_is_left_beside_the_runs(tmp_path):
    tracker(tmp_path)[0].close(mixed(6))
    names = {path.name for path in (tmp_path / "wandb").iterdir()}
    assert names - {"written.json"} == {p.name for p in tmp_path.glob("wandb/offline-run-*")}
    # what wandb sync uploads is where the run says that it is
    staged = [
        entry.local_path
        for run in runs(tmp_path)
        for record in records(tmp_path, run)
        if record.HasField("artifact")
        for entry in record.artifact.manifest.contents
    ]
    assert staged
    assert all(Path(path).is_file() for path in staged)


def test_what_is_interrupted_and_why_something_is_chosen_is_in_the_summary(tmp_path):
    sweep = make_sweep([make_trial(0, "1s1x16d"), make_trial(1, "4s4x64d")])
    sweep = replace(sweep, chosen=1, finished=False, at_work=False)
    tracker(tmp_path)[0].close(sweep)
    (folder,) = tmp_path.glob("wandb/offline-run-*-s*")
    run = folder.name.split("-", 3)[-1]
    found = summary(tmp_path, run)
    assert (found["finished"], found["interrupted"]) == (False, True)
    assert (found["chosen"], found["knee"]) == ("4s4x64d", "")
    assert found["chosen_by"].startswith("nothing to choose: first in the order accuracy, latency")
    assert header(tmp_path, run).display_name == "radix_card: interrupted after 18 epochs"


def test_the_objectives_are_the_first_numbers_and_varied_keys_have_columns(tmp_path):
    trials = [
        make_trial(n, "1s1x16d", parameters={"variant": "1s1x16d", "train.learning_rate": rate})
        for n, rate in enumerate((0.1, 0.05))
    ]
    sweep = replace(make_sweep(trials), objectives=("memory_mib", "loss"))
    tracker(tmp_path)[0].close(sweep)
    (folder,) = tmp_path.glob("wandb/offline-run-*-s*")
    (table,) = folder.glob("files/media/table/trials_*.json")
    found = json.loads(table.read_text())
    at = found["columns"].index("on_front") + 1
    assert found["columns"][at : at + 3] == ["memory_mib", "loss", "accuracy"]
    assert [row[found["columns"].index("train.learning_rate")] for row in found["data"]] == [
        0.1,
        0.05,
    ]
    assert header(tmp_path, "t1").display_name == ("1s1x16d (train.learning_rate=0.05)")


def test_a_pruned_trial_has_no_final_accuracy_and_is_not_on_the_front(tmp_path):
    made, _ = tracker(tmp_path)
    made.trial(replace(make_trial(2, "2s1x24d", PRUNED), on_front=True))
    found = summary(tmp_path, "t2")
    assert found["state"] == "pruned"
    assert found["pruned_at"] == 1
    assert found["on_front_so_far"] is False
    assert "final_accuracy" not in found


def test_what_runs_or_never_began_has_no_run(tmp_path):
    made, _ = tracker(tmp_path)
    for number, state in enumerate(OPEN):
        made.trial(make_trial(number, "1s1x16d", state))
    made.trial(make_trial(-1, "4s4x96d", INFEASIBLE))
    assert runs(tmp_path) == []


def test_a_resumed_sweep_writes_no_trial_twice(tmp_path):
    first, second = make_trial(0, "1s1x16d"), make_trial(1, "2s1x16d")
    tracker(tmp_path)[0].trial(first)
    again, _ = tracker(tmp_path)
    again.trial(first)
    again.trial(second)
    assert runs(tmp_path) == ["t0", "t1"]


def test_a_run_that_a_killed_driver_did_not_note_is_replaced(tmp_path):
    made, _ = tracker(tmp_path)
    made.trial(make_trial(0, "1s1x16d"))
    marker = tmp_path / "wandb" / "written.json"
    noted = json.loads(marker.read_text())
    marker.write_text(json.dumps({**noted, "trials": []}))
    tracker(tmp_path)[0].trial(make_trial(0, "1s1x16d"))
    assert runs(tmp_path) == ["t0"]
    assert len(history(tmp_path, "t0")) == 9


def test_the_summary_holds_all_trials_the_front_and_the_panels(tmp_path):
    sweep = make_sweep([make_trial(0, "1s1x16d"), make_trial(2, "2s1x24d", PRUNED)])
    made, said = tracker(tmp_path)
    made.close(sweep)
    assert said == []
    (folder,) = tmp_path.glob("wandb/offline-run-*-s*")
    run = folder.name.split("-", 3)[-1]
    found = summary(tmp_path, run)
    assert found["front"] == ["1s1x16d"]
    assert (found["chosen"], found["knee"]) == ("1s1x16d", "")  # there is nothing to choose
    (trials,) = folder.glob("files/media/table/trials_*.json")
    (front,) = folder.glob("files/media/table/front_*.json")
    assert len(json.loads(trials.read_text())["data"]) == 2
    assert len(json.loads(front.read_text())["data"]) == 1
    charts = {p.name.split("_")[0]: p for p in folder.glob("files/media/plotly/panels/*.json")}
    panels = enumerate(drawn(read_panels(), sweep), start=1)
    figures = {f"{number} {p.title}": figure_of(p, sweep) for number, p in panels}
    expected = {title: figure for title, figure in figures.items() if figure is not None}
    assert charts.keys() == expected.keys()
    for title, figure in expected.items():
        written = json.loads(charts[title].read_text())
        assert [trace["name"] for trace in written["data"]] == [t.name for t in figure.data]


def test_a_figure_that_fails_costs_a_line_and_no_table(tmp_path):
    sweep = make_sweep([make_trial(0, "1s1x16d")], config={"dashboard": "gone"})
    made, said = tracker(tmp_path)
    made.close(sweep)
    (line,) = said
    assert line.startswith("W&B: figures are not tracked (UserError: dashboard=gone: there is none")
    (folder,) = tmp_path.glob("wandb/offline-run-*-s*")
    assert list(folder.glob("files/media/table/trials_*.json"))
    assert summary(tmp_path, folder.name.split("-", 3)[-1])["front"] == ["1s1x16d"]


def test_means_over_classes_are_tracked_beside_accuracy(tmp_path):
    sweep = unbalanced()
    made, said = tracker(tmp_path)
    made.close(sweep)
    assert said == []
    last = sweep.trials[3].curve[-1]
    logged = history(tmp_path, "t3")[-1]
    assert (logged["balanced_accuracy"], logged["macro_f1"]) == (
        last.balanced_accuracy,
        last.macro_f1,
    )
    assert "sheet" not in logged
    assert summary(tmp_path, "t3")["final_balanced_accuracy"] == last.balanced_accuracy
    (folder,) = tmp_path.glob("wandb/offline-run-*-s*")
    (path,) = folder.glob("files/media/table/trials_*.json")
    table = json.loads(path.read_text())
    row = dict(zip(table["columns"], table["data"][3], strict=True))
    trial = sweep.trials[3]
    assert row["mean_balanced_accuracy"] == trial.means["balanced_accuracy"]
    assert row["mean_balanced_accuracy_error"] == trial.errors["balanced_accuracy"]


def test_what_noise_leaves_open_is_in_the_summary_and_answer_sheets_are_nowhere(tmp_path):
    sweep = doubtful()
    made, said = tracker(tmp_path)
    made.close(sweep)
    assert said == []
    (folder,) = tmp_path.glob("wandb/offline-run-*-s*")
    found = summary(tmp_path, folder.name.split("-", 3)[-1])
    assert found["knee_share"] == sweep.knee_share
    assert found["knee"] == found["chosen"] == sweep.trials[sweep.knee].variant
    assert found["rivals"] == [t.variant for t in sweep.trials if t.number in sweep.rivals]
    members = sweep.front
    assert found["front"] == [t.variant for t in members]
    assert found["front_membership"] == [t.membership for t in members]
    (table,) = folder.glob("files/media/table/trials_*.json")
    columns = json.loads(table.read_text())["columns"]
    assert {"membership", "seeds", "mean_accuracy", "mean_error"} <= set(columns)
    sheets = [t.curve[-1].correct for t in sweep.trials if t.state == "complete"]
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert not any(sheet[9:].encode() in written for sheet in sheets)
    assert set(history(tmp_path, "t3")[-1]) >= {"accuracy", "images"}
    assert "correct" not in history(tmp_path, "t3")[-1]


def test_every_metric_of_a_panel_is_one_that_a_trial_logs(tmp_path):
    sweep = doubtful()
    panels = drawn(read_panels(), sweep)
    tracker(tmp_path)[0].close(sweep)
    complete = [trial for trial in sweep.trials if trial.state == COMPLETE]
    assert complete
    for trial in complete:
        run = f"t{trial.number}"
        logged = {*history(tmp_path, run)[-1], *summary(tmp_path, run)}
        named = {axis for panel in panels for axis in (panel.x, panel.y, panel.size) if axis}
        assert {"accuracy", "latency_ms", "gmacs"} <= named <= logged


def exported(folder, trial):
    best = folder / "best"
    best.mkdir()
    facts = {"variant": trial.variant, "trial": trial.number, "validation": {"accuracy": 0.9}}
    (best / "model.json").write_text(json.dumps(facts))
    for name in ("model.py", "weights.pt", "model.onnx"):
        (best / name).write_text(name)


def artifacts(folder, run):
    found = [r.artifact for r in records(folder, run) if r.HasField("artifact")]
    return {one.name: one for one in found if one.type == "model"}


@pytest.mark.parametrize("name", ["size", "größe", "größe " * 30])
def test_the_exported_network_is_an_artifact_without_its_weights(name, tmp_path):
    sweep = replace(doubtful(), name=name)  # a name of W&B has letters of ASCII, 128 at most
    chosen = next(trial for trial in sweep.trials if trial.number == sweep.chosen)
    exported(tmp_path, chosen)
    tracker(tmp_path)[0].close(sweep)
    ((name, artifact),) = artifacts(
        tmp_path, next(r for r in runs(tmp_path) if r[0] == "s")
    ).items()
    whole = f"{sweep.name}-{chosen.variant}"
    assert name == "".join(c if c.isascii() and c != " " else "-" for c in whole)[:128]
    assert {entry.path for entry in artifact.manifest.contents} == {"model.json", "model.py"}
    assert json.loads(artifact.metadata)["validation"] == {"accuracy": 0.9}


def test_an_export_of_what_the_sweep_does_not_choose_is_no_winner(tmp_path):
    sweep = doubtful()
    exported(tmp_path, next(t for t in sweep.trials if t.number not in (sweep.chosen, -1)))
    tracker(tmp_path)[0].close(sweep)
    assert artifacts(tmp_path, next(r for r in runs(tmp_path) if r[0] == "s")) == {}


def test_closing_the_same_sweep_again_writes_nothing(tmp_path):
    sweep = make_sweep([make_trial(0, "1s1x16d")])
    tracker(tmp_path)[0].close(sweep)
    tracker(tmp_path)[0].close(sweep)
    assert len(runs(tmp_path)) == 2


def test_none_leaves_nothing(tmp_path):
    tracker(tmp_path, "none")[0].close(mixed())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("mode", ["offline", "online"])
def test_disabled_in_the_environment_leaves_nothing(mode, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    tracker(tmp_path, mode)[0].close(mixed())
    assert list(tmp_path.iterdir()) == []


def test_offline_in_the_environment_keeps_an_online_sweep_offline(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    made, said = tracker(tmp_path, "online")
    made.trial(make_trial(0, "1s1x16d"))
    assert (runs(tmp_path), said) == (["t0"], [])


def test_project_entity_and_tags_are_the_keys_else_those_of_the_environment(tmp_path, monkeypatch):
    for name in ("PROJECT", "ENTITY", "TAGS"):
        monkeypatch.setenv(f"WANDB_{name}", f"environment,{name.lower()}")
    given = TrackingConfig("offline", "nets", "lab", ["a", "b"])
    Tracker(given, tmp_path / "key", "group", {}).trial(make_trial(0, "1s1x16d"))
    run = header(tmp_path / "key", "t0")
    assert (run.project, run.entity, list(run.tags)) == ("nets", "lab", ["a", "b"])
    tracker(tmp_path)[0].trial(make_trial(0, "1s1x16d"))
    run = header(tmp_path, "t0")
    assert run.project == "environment,project"
    assert run.entity == "environment,entity"
    assert list(run.tags) == ["environment", "tags"]


def test_a_folder_that_cannot_be_written_is_one_line_and_no_error(tmp_path):
    (tmp_path / "file").write_text("")
    made, said = tracker(tmp_path / "file")
    made.trial(make_trial(0, "1s1x16d"))
    assert len(said) == 1
    assert "was not tracked" in said[0]
    assert "\n" not in said[0]


_PROGRAM = """
import sys
sys.path.insert(0, sys.argv[2])
from sample_sweeps import make_sweep, make_trial
from resnest_search.configuration.schema import TrackingConfig
from resnest_search.tracking.tracked import sweep_summary, trial_table
from resnest_search.tracking.wandb import Tracker
sweep = make_sweep([make_trial(0, "1s1x16d"), make_trial(1, "2s1x16d")])
config = {"data": {"root": "/home/alice/images"}, "resources": {"address": "gpu17.lab:6379"}}
Tracker(TrackingConfig(sys.argv[3]), sys.argv[1], "group", config).close(sweep)
"""


def in_a_process_of_its_own(folder, mode, **environment):
    inherited = {k: v for k, v in os.environ.items() if k != "WANDB_SERVICE"}  # this process's own
    return subprocess.run(
        [sys.executable, "-c", _PROGRAM, str(folder), str(SUPPORT), mode],
        env={**inherited, **environment},
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )


def test_nothing_of_the_environment_or_the_machine_is_written(tmp_path):
    home = tmp_path / "homeofzed"
    home.mkdir()
    secrets = {
        "WANDB_API_KEY": "0123456789abcdef" * 2 + "01234567",
        "AWS_SECRET_ACCESS_KEY": "awsvalue+never/written",
        "HF_TOKEN": "hf_neverwritten",
        "WANDB_NOTES": "notesfromenvironment",
        "USER": "userzed",
        "LOGNAME": "userzed",
        "HOSTNAME": "hostzed",
        "HOME": str(home),
    }
    folder = tmp_path / "run"
    done = in_a_process_of_its_own(folder, "offline", **secrets)
    assert done.stdout + done.stderr == ""
    written = [p for p in folder.rglob("*") if p.is_file()]
    assert any(p.suffix == ".wandb" for p in written)
    assert not any(p.is_symlink() for p in folder.rglob("*"))
    words = [*secrets.values(), "alice", "gpu17", "git@", ".py"]
    for path in written:
        data = path.read_bytes()
        for word in words:
            assert word.encode() not in data, (path, word)
    for folder_ in folder.glob("wandb/offline-run-*-t*"):  # the summary names its tables' files
        data = next(folder_.glob("*.wandb")).read_bytes()
        assert str(tmp_path).encode() not in data
        assert f"\x12{os.uname().nodename}".encode() not in data


def test_a_server_that_cannot_be_reached_leaves_offline_runs_and_one_line(tmp_path):
    done = in_a_process_of_its_own(
        tmp_path,
        "online",
        WANDB_API_KEY="0123456789abcdef" * 2 + "01234567",
        WANDB_BASE_URL="http://127.0.0.1:9",
    )
    assert done.stderr == ""
    assert done.stdout.count("\n") == 1, done.stdout
    line = done.stdout
    assert line.startswith("W&B online failed")
    assert "0123456789abcdef" not in line
    assert [name for name in runs(tmp_path) if name[0] == "t"] == ["t0", "t1"]
