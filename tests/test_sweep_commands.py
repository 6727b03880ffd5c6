"""Bounds, methods and the commands around a sweep, as a user types them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from command_line import (
    ONE_AT_A_TIME,
    SMALL,
    logged,
    rows,
    run,
    started,
    study,
    sweep_file,
)
from optuna.trial import TrialState

from resnest_search.configuration.schema import ModelConfig
from resnest_search.models.build import build
from resnest_search.training import load_weights
from resnest_search.variant import Variant

EPOCHS = 4


# Bounds and methods


def test_budget_bounds_a_sweep_for_one_objective_with_a_stock_pruner(tmp_path: Path) -> None:
    sweep_file(tmp_path, {"variant": ["0s1x64d", "1s1x64d", "2s1x64d", "4s1x64d"]})
    done = run(
        tmp_path,
        "sweep=tiny",
        *SMALL,
        ONE_AT_A_TIME,
        "search.objectives=[accuracy]",
        "search/pruner=median",
        "search.budget=9",
        "run=out",
    )
    assert done.code == 0, done
    found = study(tmp_path / "out")
    assert found.metric_names == ["accuracy"]
    assert found.best_trial.state == TrialState.COMPLETE
    spent = sum(len(t.intermediate_values) for t in found.trials)
    assert EPOCHS <= spent <= 9
    assert spent == sum(map(len, logged(tmp_path / "out", "finished").values()))
    assert {t.state for t in found.trials} == {TrialState.COMPLETE, TrialState.PRUNED}
    front = rows(tmp_path / "out" / "front.csv")
    assert {float(row["accuracy"]) for row in front} == {found.best_value}


def test_a_sweep_may_refuse_latencies_of_a_busy_device(tmp_path: Path) -> None:
    """A second process that loads every CPU: nothing is trained, and nothing is left behind."""
    sweep_file(tmp_path, {"variant": ["0s1x64d", "1s1x64d"]})
    words = ("sweep=tiny", *SMALL, "measure.repeats=60", "measure.half_width=null")
    burn = [sys.executable, "-c", "while True: pass"]
    loads = [subprocess.Popen(burn) for _ in os.sched_getaffinity(0)]
    try:
        done = run(tmp_path, *words, "measure.doubtful=refuse", "run=out")
    finally:
        for load in loads:
            load.kill()
            load.wait()
    assert "measure.doubtful=refuse: Other work kept the device up to" in done.one_line
    assert not (tmp_path / "out").exists()


def test_limits_that_nothing_meets_are_refused_before_ray_starts(tmp_path: Path) -> None:
    sweep_file(tmp_path, {"variant": ["0s1x64d", "1s1x64d"]})
    limit = "search.limits.parameters_m=0.001"
    # what others have kept would be a line of its own on a machine whose speed has changed
    with started(tmp_path, "sweep=tiny", *SMALL, limit, "measure.cache=none", "run=out") as command:
        said = command.wait().one_line
        assert not command.started_ray
    assert "search.limits.parameters_m=0.001" in said
    assert "0.02" in said  # what the smallest has
    assert not (tmp_path / "out").exists()


# The other commands


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which one variant was trained, from weights beside it, without learning."""
    cwd = tmp_path_factory.mktemp("trained")
    torch.manual_seed(0)
    model = ModelConfig(stem_width=16, depths=[1], planes=[32])
    network = build(Variant.parse("1s1x64d"), model, in_channels=1, num_classes=7)
    torch.save(network.state_dict(), cwd / "seven.pt")
    words = ("train", "variant=1s1x64d", *SMALL, ONE_AT_A_TIME, "train.epochs=2", "run=out")
    frozen = ("train.learning_rate=0", "model.stem_width=16")
    done = run(cwd, *words, *frozen, "model.pretrained=seven.pt")
    assert done.code == 0, done
    return cwd


def test_one_variant_is_fine_tuned_from_a_relative_path(trained: Path) -> None:
    assert len(study(trained / "out").trials) == 1
    given = torch.load(trained / "seven.pt", weights_only=True)
    found = load_weights(trained / "out" / "trials" / "0")
    convolutions = {name: tensor for name, tensor in given.items() if tensor.ndim == 4}
    assert convolutions
    for name, tensor in convolutions.items():  # learning would have changed them
        assert torch.equal(found[name], tensor), name


def test_one_variant_is_trained_and_exported(trained: Path) -> None:
    (trial,) = study(trained / "out").trials
    assert trial.state == TrialState.COMPLETE
    assert trial.user_attrs["variant"] == "1s1x64d"
    shutil.rmtree(trained / "out" / "best")
    exported = run(trained, "export", "run=out", "select=1s1x64d")
    assert exported.code == 0, exported
    assert exported.err == ""
    facts: dict[str, Any] = json.loads((trained / "out" / "best" / "model.json").read_text())
    assert facts["validation"]["accuracy"] == pytest.approx(trial.values[0])
