"""Training one network: repeatable, interruptible, and as the recipe says."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from sklearn.metrics import balanced_accuracy_score, f1_score
from torch import nn
from torch.nn.modules.module import register_module_forward_hook
from training_runs import DATA, EPOCHS, MODEL, VALIDATION, make_run, numbers, train

from resnest_search.data import build as build_data
from resnest_search.models.build import build
from resnest_search.study.answers import unpack, unpack_sheet
from resnest_search.training import CHECKPOINT, EPOCH_LOG, load_weights
from resnest_search.variant import Variant

# Everything that draws a random number or keeps a state between epochs.
RICH: dict[str, Any] = {
    "mixup": 0.4,
    "cutmix": 1.0,
    "progressive_resizing": 0.5,
    "label_smoothing": 0.1,
    "model": {"dropout": 0.3},
}


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[int, float, float, float]]:
    """The curve of the plain recipe."""
    return numbers(train(make_run(tmp_path_factory.mktemp("plain"))))


@contextmanager
def convolved() -> Iterator[list[torch.Tensor]]:
    """What goes into and comes out of each convolution."""
    seen: list[torch.Tensor] = []

    def keep(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        if isinstance(module, nn.Conv2d) and not seen:
            seen.extend([inputs[0], output])

    handle = register_module_forward_hook(keep)
    try:
        yield seen
    finally:
        handle.remove()


def started(folder: Path) -> list[int]:
    """Epochs that were begun, by the log."""
    lines = [json.loads(line) for line in (folder / EPOCH_LOG).read_text().splitlines()]
    return [line["epoch"] for line in lines if line["event"] == "started"]


# Repeating and continuing


def test_training_reports_each_epoch_and_logs_it(tmp_path: Path) -> None:
    listener = train(make_run(tmp_path))
    assert [e.epoch for e in listener.curve] == [1, 2, 3]
    assert listener.notes == [""] * EPOCHS
    assert {e.images for e in listener.curve} == {VALIDATION}
    assert all(e.seconds > 0 for e in listener.curve)
    lines = [json.loads(line) for line in (tmp_path / EPOCH_LOG).read_text().splitlines()]
    events = [(line["epoch"], line["event"]) for line in lines]
    assert events == [(e, w) for e in (1, 2, 3) for w in ("started", "finished")]
    assert [line["time"] for line in lines] == sorted(line["time"] for line in lines)
    found = sorted(path.name for path in tmp_path.iterdir())
    assert found == [CHECKPOINT, EPOCH_LOG]


def test_a_batch_larger_than_the_set_is_the_set_and_says_so(tmp_path: Path) -> None:
    """Else the learning rate, which follows the batch, would be 85 times what its rule gives."""
    asked = train(make_run(tmp_path / "asked", batch_size=8192), stop_after=2)
    whole = train(make_run(tmp_path / "whole", batch_size=96), stop_after=2)
    assert [e.train_loss for e in asked.curve] == [e.train_loss for e in whole.curve]
    assert asked.notes[0].startswith("train.batch_size=8192 ")
    assert "96 images" in asked.notes[0]
    assert asked.notes[1:] == [""]
    assert whole.notes == ["", ""]


def test_training_learns(plain: list[tuple[int, float, float, float]]) -> None:
    losses = [entry[3] for entry in plain]
    assert losses == sorted(losses, reverse=True)
    assert plain[-1][2] < math.log(10)  # what knowing nothing costs among ten classes
    assert plain[-1][1] > 0.2


def test_same_seed_gives_the_same_curve(
    tmp_path: Path, plain: list[tuple[int, float, float, float]]
) -> None:
    torch.rand(7)  # whatever this process has drawn before
    assert numbers(train(make_run(tmp_path))) == plain


def test_another_seed_gives_another_curve(
    tmp_path: Path, plain: list[tuple[int, float, float, float]]
) -> None:
    assert numbers(train(dataclasses.replace(make_run(tmp_path), seed=1))) != plain


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("after", [1, 2])
def test_continued_training_is_the_unbroken_one_to_the_last_bit(
    tmp_path: Path, after: int, precision: str
) -> None:
    whole = train(make_run(tmp_path / "whole", precision=precision, **RICH))
    run = make_run(tmp_path / "parts", precision=precision, **RICH)
    assert len(train(run, stop_after=after).curve) == after
    rest = train(run)
    assert numbers(rest) == numbers(whole)
    assert rest.notes[0] == f"continues after epoch {after}"
    assert started(tmp_path / "parts") == [1, 2, 3]
    ours, theirs = load_weights(tmp_path / "parts"), load_weights(tmp_path / "whole")
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_continued_training_reports_its_past_before_it_trains(tmp_path: Path) -> None:
    """Since whoever decides may know less, and may have decided against it."""
    run = make_run(tmp_path)
    before = train(run, stop_after=2)
    again = train(run, stop_after=2)
    assert numbers(again) == numbers(before)
    assert again.notes == ["continues after epoch 2"]
    assert started(tmp_path) == [1, 2]


def test_finished_training_reports_its_curve_again_and_trains_nothing(tmp_path: Path) -> None:
    """Since whoever decides may have been killed before the last epoch reached it."""
    run = make_run(tmp_path)
    before = train(run)
    again = train(run)
    assert numbers(again) == numbers(before)
    assert started(tmp_path) == [1, 2, 3]


@pytest.mark.parametrize("damage", ["truncated", "empty", "garbage", "text"])
def test_damaged_checkpoint_starts_again_and_says_so(
    tmp_path: Path, damage: str, plain: list[tuple[int, float, float, float]]
) -> None:
    run = make_run(tmp_path)
    train(run, stop_after=2)
    path = tmp_path / CHECKPOINT
    whole = path.read_bytes()
    path.write_bytes(
        {
            "truncated": whole[: len(whole) // 2],
            "empty": b"",
            "garbage": whole[:600] + bytes(400) + whole[1000:-300] + bytes(300),
            "text": b"not a checkpoint",
        }[damage]
    )
    again = train(run)
    assert "damaged" in again.notes[0]
    assert "starts again" in again.notes[0]
    assert again.notes[1:] == [""] * (EPOCHS - 1)
    assert numbers(again) == plain
    assert load_weights(tmp_path)


def test_checkpoint_belongs_to_its_images(tmp_path: Path) -> None:
    """Of other images it is another training; where either digest is unknown, it continues."""
    for before, after, note in (
        ("aa", "bb", "the checkpoint is of another training; starts again"),
        ("aa", "aa", "continues after epoch 1"),
        (None, "bb", "continues after epoch 1"),
        ("aa", None, "continues after epoch 1"),
    ):
        folder = tmp_path / f"{before}{after}"
        train(dataclasses.replace(make_run(folder), images=before), stop_after=1)
        again = train(dataclasses.replace(make_run(folder), images=after), stop_after=1)
        assert again.notes[0] == note


def test_checkpoint_of_an_earlier_version_continues(tmp_path: Path) -> None:
    """Whose identity lacks the keys that have come since, and the images."""
    train(make_run(tmp_path), stop_after=1)
    path = tmp_path / CHECKPOINT
    state = torch.load(path, weights_only=True)
    identity = json.loads(state["resnest_search"]["identity"])
    del identity["images"], identity["data"]["background"], identity["data"]["skip"]
    state["resnest_search"]["identity"] = json.dumps(identity, sort_keys=True)
    for epoch in state["resnest_search"]["curve"]:
        del epoch["balanced_accuracy"], epoch["macro_f1"], epoch["sheet"]
    torch.save(state, path)
    assert train(make_run(tmp_path), stop_after=2).notes[0] == "continues after epoch 1"
    run = make_run(tmp_path)
    other = dataclasses.replace(run, data=dataclasses.replace(run.data, background=[0]))
    assert "another training" in train(other, stop_after=1).notes[0]


def test_checkpoint_of_another_training_starts_again_and_says_so(
    tmp_path: Path, plain: list[tuple[int, float, float, float]]
) -> None:
    train(make_run(tmp_path, learning_rate=3.2), stop_after=2)
    again = train(make_run(tmp_path))
    assert "another training" in again.notes[0]
    assert numbers(again) == plain


def test_checkpoint_goes_on_in_another_place(tmp_path: Path) -> None:
    """A run's folder may be moved, and its trials may get other threads."""
    run = make_run(tmp_path / "here")
    train(run, stop_after=1)
    (tmp_path / "here").rename(tmp_path / "there")
    moved = dataclasses.replace(run, folder=str(tmp_path / "there"), number=5, threads=2)
    assert train(moved, stop_after=2).notes[0] == "continues after epoch 1"


def test_checkpoint_that_carries_code_is_not_run(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "sprung",))

    torch.save({"state_dict": {}, "resnest_search": Trap()}, tmp_path / CHECKPOINT)
    with pytest.raises(Exception, match="weights_only"):
        load_weights(tmp_path)
    assert "damaged" in train(make_run(tmp_path), stop_after=1).notes[0]
    assert not (tmp_path / "sprung").exists()


def test_missing_checkpoint_is_missing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        load_weights(tmp_path)


# What is recorded


def test_validated_accuracy_and_loss_are_those_of_the_checkpoint(tmp_path: Path) -> None:
    last = train(make_run(tmp_path)).curve[-1]
    network = build(Variant(2, 1, 64), MODEL, in_channels=1, num_classes=10)
    network.load_state_dict(load_weights(tmp_path))
    network.eval()
    right, loss, images = 0, 0.0, 0
    with torch.inference_mode():
        for batch, labels in build_data(DATA, 7, 0).val_dataloader():
            logits = network(batch)
            right += int((logits.argmax(1) == labels).sum())
            loss += float(nn.functional.cross_entropy(logits, labels, reduction="sum"))
            images += len(labels)
    assert images == VALIDATION == last.images
    assert last.accuracy == pytest.approx(right / images, abs=1e-7)
    assert last.loss == pytest.approx(loss / images, rel=1e-4)


def test_answers_of_the_last_epoch_are_those_of_the_checkpoint_image_by_image(
    tmp_path: Path,
) -> None:
    """In the order of the validation set, whatever the batches, and also after a resume."""
    run = make_run(tmp_path)
    train(run, stop_after=2)
    *before, last = train(run).curve
    assert [epoch.correct for epoch in before] == [None] * (EPOCHS - 1)
    found = unpack(last.correct, VALIDATION)
    assert found is not None
    network = build(Variant(2, 1, 64), MODEL, in_channels=1, num_classes=10)
    network.load_state_dict(load_weights(tmp_path))
    network.eval()
    data = build_data(DATA, 7, 0)
    with torch.inference_mode():
        pairs = [(labels, network(batch).argmax(1)) for batch, labels in data.val_dataloader()]
    truth, answers = (torch.cat(part) for part in zip(*pairs, strict=True))
    assert found.right.tolist() == (truth == answers).tolist()
    sheet = unpack_sheet(last.sheet, VALIDATION)
    assert sheet is not None
    assert (sheet.classes, sheet.images) == (10, found.images)
    assert sheet.truth.tolist() == truth.tolist()
    assert sheet.answers.tolist() == answers.tolist()
    assert last.balanced_accuracy == pytest.approx(balanced_accuracy_score(truth, answers))
    assert last.macro_f1 == pytest.approx(f1_score(truth, answers, average="macro"))
    assert all(0 < e.balanced_accuracy < 1 and 0 < e.macro_f1 < 1 for e in before)
    assert 0 < found.right.sum() < VALIDATION
    assert found.right.mean() == pytest.approx(last.accuracy)
    assert data.describe()["sha256"]["validation"].startswith(found.images)
    again = train(run).curve[-1]  # from the checkpoint alone
    assert (again.correct, again.sheet, again.macro_f1) == (last.correct, last.sheet, last.macro_f1)


def test_diverged_training_reports_losses_that_are_not_finite(tmp_path: Path) -> None:
    first = train(make_run(tmp_path, learning_rate=1e30, warmup_epochs=0), stop_after=1).curve[0]
    assert not (math.isfinite(first.loss) and math.isfinite(first.train_loss))


# Whatever a recipe names works


@pytest.mark.parametrize(
    "change",
    [
        {"precision": "bf16"},
        {"precision": "fp16"},
        {"mixup": 0.4},
        {"cutmix": 1.0},
        {"progressive_resizing": 0.5},
        {"label_smoothing": 0.1},
        {"warmup_epochs": 0.0},
        {"warmup_epochs": 0.5},
        {"momentum": 0.0},
        {"weight_decay": 0.1},
        {"model": {"dropout": 0.5}},
    ],
    ids=lambda change: "-".join(map(str, *change.items())),
)
def test_each_part_of_a_recipe_changes_the_curve(
    tmp_path: Path, change: dict[str, Any], plain: list[tuple[int, float, float, float]]
) -> None:
    listener = train(make_run(tmp_path, **change), stop_after=2)
    assert len(listener.curve) == 2
    assert all(math.isfinite(e.loss) and math.isfinite(e.train_loss) for e in listener.curve)
    assert numbers(listener) != plain[:2]


def test_images_grow_from_epoch_to_epoch_and_it_is_recorded(tmp_path: Path) -> None:
    with convolved() as seen:
        curve = train(make_run(tmp_path, progressive_resizing=0.5)).curve
    assert seen[0].shape[2:] == (4, 4)
    assert [epoch.image_size for epoch in curve] == [4, 6, 8]


def test_channels_last_reaches_the_convolutions(
    tmp_path: Path, plain: list[tuple[int, float, float, float]]
) -> None:
    with convolved() as seen:
        listener = train(make_run(tmp_path, channels_last=True))
    # One channel is in both formats at once, so that only the output tells.
    assert seen[1].is_contiguous(memory_format=torch.channels_last)
    assert not seen[1].is_contiguous()
    for ours, theirs in zip(numbers(listener), plain, strict=True):
        assert ours[2:] == pytest.approx(theirs[2:], rel=1e-2)  # the same arithmetic


@pytest.mark.parametrize(
    ("precision", "dtype"),
    [("fp32", torch.float32), ("tf32", torch.float32), ("bf16", torch.bfloat16)],
)
def test_precision_is_that_of_the_convolutions(
    tmp_path: Path, precision: str, dtype: torch.dtype
) -> None:
    with convolved() as seen:
        train(make_run(tmp_path, precision=precision), stop_after=1)
    assert seen[1].dtype == dtype
    assert {value.dtype for value in load_weights(tmp_path).values()} <= {
        torch.float32,
        torch.int64,
    }


def test_compiled_training_is_compiled_and_keeps_the_names_of_its_weights(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    plain: list[tuple[int, float, float, float]],
) -> None:
    """Without the code generator, which takes half a minute and needs a C++ compiler."""
    from torch._dynamo.utils import counters

    compiler = torch.compile

    def captured(*args: Any, **kwargs: Any) -> Any:
        return compiler(*args, **{**kwargs, "backend": "eager"})

    monkeypatch.setattr(torch, "compile", captured)
    counters.clear()
    listener = train(make_run(tmp_path, compile=True))
    assert counters["stats"]["unique_graphs"] > 0
    for ours, theirs in zip(numbers(listener), plain, strict=True):
        assert ours[2:] == pytest.approx(theirs[2:], rel=1e-2)
    build(Variant(2, 1, 64), MODEL, in_channels=1, num_classes=10).load_state_dict(
        load_weights(tmp_path)
    )
    # Nor is it one network of a process alone: without a word, beyond a limit, none is compiled.
    with torch._dynamo.config.patch(recompile_limit=2):
        for number in range(3):
            counters.clear()
            train(make_run(tmp_path / str(number), compile=True, epochs=1))
            assert counters["stats"]["unique_graphs"] > 0, number
    torch.compiler.reset()


def test_a_job_of_several_tasks_does_not_make_a_trial_one_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lightning refuses ``--ntasks``, which others set for what they do beside."""
    for name, value in {"NTASKS": "4", "JOB_NAME": "sweep", "JOB_ID": "1", "NODEID": "0"}.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    assert len(train(make_run(tmp_path, epochs=1)).curve) == 1


def test_that_an_earlier_version_mixed_images_by_other_draws_is_said(tmp_path: Path) -> None:
    run = make_run(tmp_path, mixup=0.2)
    train(run, stop_after=1)
    path = tmp_path / CHECKPOINT
    state = torch.load(path, weights_only=True)
    identity = json.loads(state["resnest_search"]["identity"])
    del identity["train"]["cutmix"]
    state["resnest_search"]["identity"] = json.dumps(identity, sort_keys=True)
    torch.save(state, path)
    said = "continues after epoch 1; an earlier version began it, which cropped and mixed images"
    assert train(run, stop_after=2).notes[0].startswith(said)
    assert train(run, stop_after=2).notes[0] == "continues after epoch 2"
