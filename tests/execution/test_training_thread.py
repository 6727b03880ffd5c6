"""A training that waits for an answer after each epoch."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from resnest_search.configuration.schema import DataConfig, ModelConfig, TrainConfig
from resnest_search.execution.training_thread import Message, TrainingThread, failure_reason
from resnest_search.study.record import Epoch
from resnest_search.training import EPOCH_LOG, Report, Run, fit

PATIENCE_S = 20


def make_run(folder: Path, **train: Any) -> Run:
    data = DataConfig(channels=1, train_images=32, val_images=20, test_images=0)
    model = ModelConfig(stem_width=4, depths=[1], planes=[4])
    recipe = TrainConfig(**{"epochs": 2, "batch_size": 16, **train})
    return Run(0, "0s1x64d", model, data, recipe, 0, str(folder))


def within_patience(work: Callable[[], Any]) -> Any:
    """The result of what might wait for ever."""
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(work()), daemon=True)
    thread.start()
    thread.join(PATIENCE_S)
    assert found, "waits for ever"
    return found[0]


def stopped(training: TrainingThread) -> None:
    within_patience(lambda: training.stop() or True)  # type: ignore[func-returns-value]


def steps(run: Run, report: Report) -> None:
    """A training of 1000 epochs that leaves a mark after each."""
    curve: list[Epoch] = []
    for epoch in range(1, 1001):
        curve.append(Epoch(epoch, 0.5, 1.0, 1.0, 0.1))
        (Path(run.folder) / f"epoch{epoch}").touch()
        if not report(curve, "note" if epoch == 1 else ""):
            return


def test_each_answer_lets_one_epoch_run(tmp_path: Path) -> None:
    training = TrainingThread(steps, make_run(tmp_path))
    first, second = within_patience(training.next), within_patience(training.next)
    assert [len(first.curve), len(second.curve)] == [1, 2]
    assert [first.note, second.note] == ["note", ""]
    assert not (tmp_path / "epoch3").exists()
    stopped(training)
    assert not (tmp_path / "epoch3").exists()


def test_stop_before_anything_was_heard_ends_after_the_first_epoch(tmp_path: Path) -> None:
    stopped(TrainingThread(steps, make_run(tmp_path)))
    assert [path.name for path in tmp_path.iterdir()] == ["epoch1"]


def test_stop_in_an_epoch_ends_after_it(tmp_path: Path) -> None:
    training_on, may_end = threading.Event(), threading.Event()

    def slow(run: Run, report: Report) -> None:
        training_on.set()
        assert may_end.wait(PATIENCE_S)
        steps(run, report)

    training = TrainingThread(slow, make_run(tmp_path))
    assert training_on.wait(PATIENCE_S)
    threading.Timer(0.2, may_end.set).start()
    stopped(training)
    assert [path.name for path in tmp_path.iterdir()] == ["epoch1"]


def test_stop_after_the_end_and_twice_is_harmless(tmp_path: Path) -> None:
    def fails(run: Run, report: Report) -> None:
        raise ValueError("no")

    training = TrainingThread(fails, make_run(tmp_path))
    assert within_patience(training.next).failure == "ValueError: no"
    stopped(training)
    stopped(training)


def test_real_training_runs_and_stops_epoch_by_epoch(tmp_path: Path) -> None:
    training = TrainingThread(fit, make_run(tmp_path))
    message: Message = within_patience(training.next)
    assert ([e.epoch for e in message.curve], message.failure) == ([1], "")
    stopped(training)
    assert len((tmp_path / EPOCH_LOG).read_text().splitlines()) == 2

    again = TrainingThread(fit, make_run(tmp_path))
    message = within_patience(again.next)
    assert ([e.epoch for e in message.curve], message.note) == ([1], "continues after epoch 1")
    assert [e.epoch for e in within_patience(again.next).curve] == [1, 2]
    stopped(again)


def test_training_that_was_over_says_so_with_its_whole_curve(tmp_path: Path) -> None:
    """Its last epoch may not have reached a driver that was killed."""
    fit(make_run(tmp_path), lambda curve, note: True)
    training = TrainingThread(fit, make_run(tmp_path))
    message = within_patience(training.next)
    assert (len(message.curve), message.failure) == (2, "")
    stopped(training)


def test_error_becomes_a_reason_and_a_traceback_in_the_folder(tmp_path: Path) -> None:
    run = make_run(tmp_path / "trial")

    def breaks(run: Run, report: Report) -> None:
        raise OSError("image 7 is broken\nand a second line")

    message = within_patience(TrainingThread(breaks, run).next)
    assert message == Message(failure="OSError: image 7 is broken")
    log = (tmp_path / "trial" / "error.log").read_text()
    assert "Traceback" in log
    assert "in breaks" in log
    assert "and a second line" in log


def test_error_after_an_epoch_is_heard_after_it(tmp_path: Path) -> None:
    def breaks(run: Run, report: Report) -> None:
        report([Epoch(1, 0.5, 1.0, 1.0, 0.1)], "")
        raise ValueError("later")

    training = TrainingThread(breaks, make_run(tmp_path))
    assert len(within_patience(training.next).curve) == 1
    assert within_patience(training.next).failure == "ValueError: later"


def test_training_that_ends_in_silence_has_failed(tmp_path: Path) -> None:
    training = TrainingThread(lambda run, report: None, make_run(tmp_path))
    assert "without a result" in within_patience(training.next).failure


def test_error_whose_traceback_cannot_be_kept_is_heard_all_the_same(tmp_path: Path) -> None:
    """On a full or vanished disk a trial fails; the sweep does not wait for ever."""
    (tmp_path / "file").touch()
    training = TrainingThread(fit, make_run(tmp_path / "file" / "trial"))
    assert within_patience(training.next).failure


def test_memory_that_a_real_tensor_lacks_is_told_apart() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**48, dtype=torch.float32)
    assert failure_reason(caught.value).startswith("out of memory: ")
    assert "\n" not in failure_reason(caught.value)


def test_what_a_failed_step_held_is_free_before_anybody_hears_of_it(tmp_path: Path) -> None:
    """On a GPU that others share they would lack it."""
    held: list[weakref.ref[torch.Tensor]] = []

    def train(run: Run, report: Report) -> None:
        tensor = torch.zeros(8)
        tensor.cycle = [tensor]  # type: ignore[attr-defined]
        held.append(weakref.ref(tensor))
        raise torch.cuda.OutOfMemoryError("CUDA out of memory.")

    assert within_patience(TrainingThread(train, make_run(tmp_path)).next).failure
    assert held[0]() is None


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (MemoryError(), "out of memory: MemoryError"),
        (
            torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nMore"),
            "out of memory: OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.",
        ),
        (
            RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(h)`"),
            "out of memory: RuntimeError: CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling "
            "`cublasCreate(h)`",
        ),
        (
            RuntimeError("FIND was unable to find an engine to execute this computation"),
            "out of memory: RuntimeError: FIND was unable to find an engine to execute this "
            "computation",
        ),
        (ValueError("no room"), "ValueError: no room"),
        (KeyError(), "KeyError"),
    ],
)
def test_reason_is_one_line(error: BaseException, reason: str) -> None:
    assert failure_reason(error) == reason
