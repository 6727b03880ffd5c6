"""The trainable that Tune starts, resets and reuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from resnest_search.configuration.schema import DataConfig, ModelConfig, TrainConfig
from resnest_search.execution.resources import Allotment
from resnest_search.execution.trainable import TrialTrainable
from resnest_search.execution.workers import Workers
from resnest_search.study.record import Epoch
from resnest_search.training import Report, Run


def make_run(number: int, folder: Path) -> Run:
    return Run(number, "0s1x64d", ModelConfig(), DataConfig(), TrainConfig(), 0, str(folder))


def test_a_worker_that_tune_drops_before_its_first_step_has_trained_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[int] = []

    def train(workers: Workers, run: Run, report: Report) -> None:
        begun.append(run.number)
        report([Epoch(1, 0.5, 1.0, 1.0, 0.1)], "")

    monkeypatch.setattr(Workers, "train", train)
    allotment = Allotment(workers=1, cpus_per_worker=1, gpus_per_worker=0, slots=1)
    trainable = TrialTrainable({"run": make_run(0, tmp_path), "allotment": allotment})
    assert trainable.reset_config({"run": make_run(1, tmp_path), "allotment": allotment})
    assert begun == []
    assert len(trainable.step()["curve"]) == 1
    assert begun == [1]
    trainable.cleanup()
