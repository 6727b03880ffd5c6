"""Whole sweeps, as a user starts, breaks and resumes them."""

from __future__ import annotations

import math
import shutil
from collections import Counter
from pathlib import Path

import pytest
import yaml
from command_line import (
    ONE_AT_A_TIME,
    SMALL,
    VALIDATION,
    Done,
    logged,
    rows,
    run,
    study,
    sweep_file,
)
from finished_run import COMPLETE, INFEASIBLE, LIMIT_M, PRUNED, SECRETS, finished_run
from optuna.study import StudyDirection
from optuna.trial import TrialState
from wandb_files import configuration

from resnest_search.metrics import COSTS
from resnest_search.study.ledger import ledger
from resnest_search.study.read import read_sweep
from resnest_search.study.study import SweepStudy

EPOCHS = 4
NOISE = (
    "Traceback",
    "Warning",
    "WARNING",
    "GPU available",
    "LOCAL_RANK",
    "Trainer",
    "raylet",
    "pid=",
    "local Ray instance",
    "Tune Status",
    "ray::",
    "wandb: ",
    "[I 2",
    "\x1b",
)


# A whole sweep


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Done]:
    """A finished run and what it said; nobody changes its files."""
    return finished_run(tmp_path_factory)


def test_every_second_of_the_slots_is_accounted_for(whole: tuple[Path, Done]) -> None:
    folder, done = whole
    opened = SweepStudy.open(folder)
    sweep = read_sweep(opened, folder, uncertainty=False, at_work=False)
    opened.close()
    found = ledger(sweep)
    assert found is not None
    (driver,) = sweep.drivers
    assert driver.slots == 1
    assert found.total == pytest.approx(driver.slots * sweep.seconds, rel=0.02)
    assert min(found.preparing, found.training, found.beside) > 0
    assert found.training == pytest.approx(sum(trial.seconds for trial in sweep.trials))
    assert "% training" in done.out


def test_study_of_a_sweep_is_true_in_plain_optuna(whole: tuple[Path, Done]) -> None:
    found = study(whole[0])
    assert found.metric_names == ["accuracy", "latency_ms", "memory_mib"]
    assert found.directions == [
        StudyDirection.MAXIMIZE,
        StudyDirection.MINIMIZE,
        StudyDirection.MINIMIZE,
    ]
    states = {t.params["variant"]: t.state for t in found.trials}
    assert states == {**dict.fromkeys(COMPLETE, TrialState.COMPLETE), PRUNED: TrialState.PRUNED}
    for trial in found.trials:
        facts = trial.user_attrs
        last = EPOCHS if trial.state == TrialState.COMPLETE else 1
        assert sorted(trial.intermediate_values) == list(range(1, last + 1))
        accuracies = {e["epoch"]: e["accuracy"] for e in facts["curve"]}
        assert trial.intermediate_values == pytest.approx(accuracies)
        assert {e["images"] for e in facts["curve"]} == {VALIDATION}
        assert all(math.isfinite(facts[name]) and facts[name] > 0 for name in COSTS)
        assert facts["device"]
        assert facts["mode"]
        assert facts["seed"] == 0
        expected = [facts["curve"][-1]["accuracy"], facts["latency_ms"], facts["memory_mib"]]
        if trial.state == TrialState.COMPLETE:
            assert trial.values == pytest.approx(expected)
        assert facts["reason"]
    pruned = next(t for t in found.trials if t.state == TrialState.PRUNED)
    assert "budget of 13 epochs" in pruned.user_attrs["reason"]


def test_front_is_what_anybody_works_out_from_the_study(whole: tuple[Path, Done]) -> None:
    folder, _ = whole
    points = {
        t.number: (-t.values[0], t.values[1], t.values[2])
        for t in study(folder).trials
        if t.state == TrialState.COMPLETE
    }
    front = {
        number
        for number, point in points.items()
        if not any(
            other != point and all(a <= b for a, b in zip(other, point, strict=True))
            for other in points.values()
        )
    }
    written = rows(folder / "front.csv")
    assert {int(row["number"]) for row in written} == front
    assert [row["knee"] for row in written].count("true") == (len(front) > 2)
    marked = {int(r["number"]) for r in rows(folder / "trials.csv") if r["on_front"] == "true"}
    assert marked == front


def test_every_trial_and_what_was_ruled_out_is_in_the_table(whole: tuple[Path, Done]) -> None:
    table = {row["variant"]: row for row in rows(whole[0] / "trials.csv")}
    states = {variant: row["state"] for variant, row in table.items()}
    assert states == {
        **dict.fromkeys(COMPLETE, "complete"),
        PRUNED: "pruned",
        INFEASIBLE: "infeasible",
    }
    for trial in study(whole[0]).trials:
        row = table[trial.params["variant"]]
        assert int(row["epochs"]) == len(trial.intermediate_values)
        assert float(row["accuracy"]) == pytest.approx(trial.user_attrs["curve"][-1]["accuracy"])
        assert float(row["latency_ms"]) == pytest.approx(trial.user_attrs["latency_ms"])
    ruled_out = table[INFEASIBLE]
    assert "parameters_m" in ruled_out["reason"]
    assert float(ruled_out["parameters_m"]) > LIMIT_M
    assert ruled_out["number"] == ruled_out["accuracy"] == ""


def test_run_leaves_what_it_promises(whole: tuple[Path, Done]) -> None:
    folder, _ = whole
    config = yaml.safe_load((folder / "config.yaml").read_text())
    assert config["search"]["limits"]["parameters_m"] == LIMIT_M
    assert config["data"]["train_images"] == 128
    page = (folder / "report.html").read_text()
    assert all(variant in page for variant in (*COMPLETE, PRUNED, INFEASIBLE))
    assert (folder / "best" / "weights.pt").is_file()
    assert sorted(p.name for p in (folder / "trials").iterdir()) == ["0", "1", "2", "3"]
    assert not list(folder.glob("trials/*/error.log"))


def test_sweep_speaks_in_plain_lines(whole: tuple[Path, Done]) -> None:
    done = whole[1]
    assert done.err == ""
    assert [word for word in NOISE if word in done.out] == []
    lines = done.out.splitlines()
    for number in range(4):
        assert sum(line.startswith(f"trial {number} ") for line in lines) == 1
    assert any("ruled out" in line and INFEASIBLE in line for line in lines)
    assert any("resnest_search export" in line for line in lines)


def test_each_trial_is_one_offline_run_and_the_sweep_another(whole: tuple[Path, Done]) -> None:
    runs = list(whole[0].glob("wandb/offline-run-*"))
    assert len(runs) == len(study(whole[0]).trials) + 1


def test_runs_have_the_configuration_as_it_is(whole: tuple[Path, Done]) -> None:
    config = yaml.safe_load((whole[0] / "config.yaml").read_text())
    for path in whole[0].glob("wandb/offline-run-*"):
        found = configuration(whole[0], path.name.split("-", 3)[-1])["sweep"]
        assert found["search"] == config["search"]
        assert found["train"] == config["train"]
    assert not (whole[0] / "wandb" / "data").exists()


def test_no_secret_is_written_anywhere(whole: tuple[Path, Done]) -> None:
    folder, done = whole
    texts = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    texts[Path("output")] = (done.out + done.err).encode()
    assert len(texts) > 20
    for name, value in SECRETS.items():
        assert [path for path, text in texts.items() if value.encode() in text] == [], name


# What goes wrong


def test_failures_are_recorded_and_harm_nobody_else(tmp_path: Path) -> None:
    """One candidate diverges, two could never fit into memory, the last is trained."""
    space = {
        "variant": ["1s1x64d"],
        "train.learning_rate": [0.5, 1e30],
        "data.image_size": [8, 200_000],
    }
    sweep_file(tmp_path, space)
    done = run(tmp_path, "sweep=tiny", *SMALL, ONE_AT_A_TIME, "train.epochs=2", "run=out")
    assert done.code == 0, done
    found = {
        (t.params["data.image_size"], t.params["train.learning_rate"]): t
        for t in study(tmp_path / "out").trials
    }
    assert len(found) == 4
    good, diverged = found.pop((8, 0.5)), found.pop((8, 1e30))
    assert good.state == TrialState.COMPLETE
    assert len(good.intermediate_values) == 2
    assert diverged.state == TrialState.FAIL
    assert "diverged" in diverged.user_attrs["reason"]
    assert all(math.isfinite(value) for value in diverged.intermediate_values.values())
    trained = logged(tmp_path / "out", "started")
    for huge in found.values():
        assert huge.state == TrialState.FAIL
        assert "out of memory" in huge.user_attrs["reason"]
        assert huge.number not in trained
    states = Counter(row["state"] for row in rows(tmp_path / "out" / "trials.csv"))
    assert states == {"complete": 1, "failed": 3}
    assert len(rows(tmp_path / "out" / "front.csv")) == 1


# The other commands


def test_report_is_drawn_again_and_a_pruned_trial_is_not_exported(
    whole: tuple[Path, Done], tmp_path: Path
) -> None:
    folder = tmp_path / "moved"
    shutil.copytree(whole[0], folder)
    for name in ("report.html", "trials.csv", "front.csv"):
        (folder / name).unlink()
    done = run(tmp_path, "report", f"run={folder}")
    assert done.code == 0, done
    assert done.err == ""
    for name in ("trials.csv", "front.csv"):
        assert (folder / name).read_bytes() == (whole[0] / name).read_bytes()
    assert PRUNED in (folder / "report.html").read_text()
    said = run(tmp_path, "export", f"run={folder}", f"select={PRUNED}").one_line
    assert f"select={PRUNED}: is pruned" in said
