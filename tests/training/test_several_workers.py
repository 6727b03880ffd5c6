"""Several processes train one network as one process does."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from several_workers import Ended, together, train_together
from torch import Tensor, nn
from training_runs import DATA, STEPS, Listener, make_run, train

from resnest_search.study.answers import unpack
from resnest_search.training import Run, load_weights
from resnest_search.training.synced import synchronise

SHARES = ((5, 3), (1, 7), (4, 4), (1, 1))  # images of either process


@pytest.fixture(scope="module")
def ten_steps(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, list[Ended]]:
    """Ten steps by two processes, and the run that they were given."""
    run = make_run(tmp_path_factory.mktemp("two"), epochs=1, warmup_epochs=0)
    run = dataclasses.replace(run, data=dataclasses.replace(DATA, train_images=80, val_images=61))
    return run, train_together(run, run)


def equal(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> bool:
    """Whether two state dicts are the same to the last bit."""
    return ours.keys() == theirs.keys() and all(torch.equal(ours[n], theirs[n]) for n in ours)


def farthest(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> float:
    """The largest difference between values of two state dicts."""
    assert ours.keys() == theirs.keys()
    return max(float((ours[name] - theirs[name]).abs().max()) for name in ours)


def close(ours: Listener, theirs: Listener) -> bool:
    """Whether two curves are the same but for the order in which numbers were added."""
    return all(
        (a.loss, a.train_loss) == pytest.approx((b.loss, b.train_loss), rel=5e-3)
        and abs(a.accuracy - b.accuracy) < 2.5 / a.images  # that hang in the balance
        for a, b in zip(ours.curve, theirs.curve, strict=True)
    )


def test_two_workers_come_to_the_weights_of_one(
    ten_steps: tuple[Run, list[Ended]], tmp_path: Path
) -> None:
    run, (first, second) = ten_steps
    assert equal(first.state, second.state)
    alone = train(dataclasses.replace(run, folder=str(tmp_path)))
    ours, theirs = load_weights(Path(run.folder)), load_weights(tmp_path)
    assert farthest(ours, theirs) < 1e-4
    assert close(first.listener, alone)


def test_two_workers_that_normalise_alone_do_not(
    ten_steps: tuple[Run, list[Ended]], tmp_path: Path
) -> None:
    run, (synced, _) = ten_steps
    train_alone = dataclasses.replace(run.train, sync_norm=False)
    run = dataclasses.replace(run, folder=str(tmp_path), train=train_alone)
    first, second = train_together(run, run)
    assert farthest(first.state, synced.state) > 1e-3
    assert equal(first.state, second.state)  # the first one's statistics are validated by all


def test_workers_drop_different_values_and_the_first_those_of_one(tmp_path: Path) -> None:
    run = make_run(tmp_path / "two", {"dropout": 0.5}, epochs=1)
    first, second = train_together(run, run)
    assert len(first.masks) == len(second.masks) == STEPS
    assert not any(torch.equal(*masks) for masks in zip(first.masks, second.masks, strict=True))
    (single,) = train_together(dataclasses.replace(run, folder=str(tmp_path / "one")))
    # A half as large a batch takes the first of the numbers that the whole one takes.
    assert torch.equal(single.masks[0][:4], first.masks[0])


@pytest.mark.parametrize(("before", "after"), [(2, 1), (1, 2)])
def test_a_checkpoint_goes_on_with_another_number_of_workers(
    before: int, after: int, tmp_path: Path
) -> None:
    run = make_run(tmp_path / "parts")
    train_together(*[run] * before, stop_after=1)
    rest = train_together(*[run] * after)[0].listener
    assert rest.notes[0] == "continues after epoch 1"
    assert close(rest, train(dataclasses.replace(run, folder=str(tmp_path / "whole"))))


def test_fewer_validation_images_than_workers_are_counted_once(tmp_path: Path) -> None:
    """By the first; the second has none, and no one waits for it."""
    run = make_run(tmp_path, epochs=2)
    run = dataclasses.replace(run, data=dataclasses.replace(DATA, val_images=1))
    last = train_together(run, run)[0].listener.curve[-1]
    assert last.images == 1
    found = unpack(last.correct, 1)
    assert found is not None
    assert found.right.mean() == pytest.approx(last.accuracy)


def test_a_worker_that_finds_another_checkpoint_ends_all(tmp_path: Path) -> None:
    """Else one would train other epochs than the other, and wait for it at the end."""
    run = make_run(tmp_path / "here")
    train(run, stop_after=1)
    elsewhere = dataclasses.replace(run, folder=str(tmp_path / "elsewhere"))
    with pytest.raises(RuntimeError, match=r"found 0 epochs in .*elsewhere, the first worker 1"):
        train_together(run, elsewhere)


def normalised(rank: int, world: int, share: tuple[int, int], dtype: torch.dtype) -> dict[str, Any]:
    """What a norm makes of this process's part of eight images, and of its gradient."""
    torch.manual_seed(0)
    images = torch.randn(sum(share), 3, 4, 5, dtype=dtype) * 2 + 7
    grads = torch.randn_like(images)
    norm = nn.BatchNorm2d(3).to(dtype)
    nn.init.uniform_(norm.weight)
    if world > 1:
        norm = synchronise(norm)
        images, grads = (whole.tensor_split(share[:1])[rank] for whole in (images, grads))
    images.requires_grad_()
    out = norm(images)
    out.backward(grads)
    return {
        "out": out.detach(),
        "images": images.grad,
        "weight": norm.weight.grad,
        "bias": norm.bias.grad,
        "state": dict(norm.state_dict()),
        "validated": norm.eval()(images).detach(),
    }


def every_share(rank: int, world: int, dtype: torch.dtype) -> list[dict[str, Any]]:
    """`normalised` of every share."""
    return [normalised(rank, world, share, dtype) for share in SHARES]


@pytest.mark.parametrize(("dtype", "within"), [(torch.float64, 1e-12), (torch.float32, 2e-5)])
def test_synchronised_norm_is_batch_norm_of_all_images(dtype: torch.dtype, within: float) -> None:
    """Each process counts with the images that it has, in the statistics and in the gradient."""
    shares = zip(*together(every_share, (dtype,), (dtype,)), strict=True)
    for (ours, theirs), share in zip(shares, SHARES, strict=True):
        whole = normalised(0, 1, share, dtype)
        for name in ("out", "images", "validated"):
            joined = torch.cat((ours[name], theirs[name]))
            torch.testing.assert_close(joined, whole[name], rtol=within, atol=within)
        for name in ("weight", "bias"):  # of its own images: who trains takes the mean of all
            summed = ours[name] + theirs[name]
            torch.testing.assert_close(summed, whole[name], rtol=10 * within, atol=10 * within)
        assert equal(ours["state"], theirs["state"])
        torch.testing.assert_close(ours["state"], whole["state"], rtol=within, atol=within)
