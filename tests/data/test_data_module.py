"""Batches depend on (seed, epoch) alone: with loader processes, over ranks, after a resume."""

from __future__ import annotations

import dataclasses
import gc
import multiprocessing
import time
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch

from resnest_search.configuration.schema import DataConfig
from resnest_search.data import ImageData, build
from resnest_search.data.augment import Augment
from resnest_search.data.loading import BatchLoader, ImageBatches
from resnest_search.data.pixels import squashed
from resnest_search.data.sampling import EvaluationSampler
from resnest_search.errors import UserError


def digits(seed: int = 0, workers: int = 0, batch_size: int = 32, **values) -> ImageData:
    fixed = {"channels": 1, "train_images": 200, "val_images": 51, "workers": workers}
    config = DataConfig(**{"augment": "shift", **fixed, **values})
    return build(config, batch_size, seed)


def epoch_of(data: ImageData, epoch: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    loader = data.train_dataloader()
    loader.sampler.set_epoch(epoch)
    batches = list(loader)
    assert len(batches) == len(loader)
    return batches


def same(a: list, b: list) -> bool:
    return len(a) == len(b) and all(
        torch.equal(x, y) for p, q in zip(a, b, strict=True) for x, y in zip(p, q, strict=True)
    )


def test_an_epoch_repeats_after_fresh_construction_and_epochs_differ() -> None:
    assert same(epoch_of(digits(), 3), epoch_of(digits(), 3))
    assert not same(epoch_of(digits(), 3), epoch_of(digits(), 2))
    assert not same(epoch_of(digits(seed=1), 3), epoch_of(digits(), 3))


def test_loader_processes_see_the_same_batches() -> None:
    assert same(epoch_of(digits(workers=2), 3), epoch_of(digits(), 3))


@pytest.mark.parametrize(
    "values",
    [
        {"augment": "autoaugment"},
        {"augment": "crop_flip", "policy": "randaugment", "erasing": 0.5, "channels": 1},
    ],
)
def test_loader_processes_augment_folders_alike(write_folders, values) -> None:
    values = {
        "name": "image_folder",
        "root": str(write_folders(train=8)),
        "image_size": 16,
    } | values
    alone, helped = (build(DataConfig(**values, workers=n), 6, 0) for n in (0, 2))
    assert same(epoch_of(alone, 1), epoch_of(helped, 1))


def test_autoaugment_is_a_resized_crop_with_that_policy() -> None:
    """The one word is older, and recorded configurations have it."""
    word = digits(augment="autoaugment")
    assert same(
        epoch_of(word, 1), epoch_of(digits(augment="resized_crop", policy="autoaugment"), 1)
    )


@pytest.mark.parametrize("augment", ["crop_flip", "resized_crop"])
def test_images_of_an_epoch_are_as_large_as_is_asked(write_folders, augment: str) -> None:
    values = {"name": "image_folder", "root": str(write_folders(train=8)), "image_size": 16}
    config = DataConfig(**values, augment=augment, mean=[], std=[])
    small, whole = (epoch_of(build(config, 6, 0, None, sides), 1) for sides in ([8, 12, 16], []))
    assert {tuple(images.shape[1:]) for images, _ in small} == {(3, 12, 12)}
    assert all(torch.equal(a[1], b[1]) for a, b in zip(small, whole, strict=True))
    if augment == "crop_flip":  # the same images, made smaller
        bytes_of = ((images * 255).round().to(torch.uint8) for images, _ in whole)
        for (images, _), full in zip(small, bytes_of, strict=True):
            assert torch.allclose(images, squashed(full, 12) / 255)
    assert same(epoch_of(build(config, 6, 0, None, [8, 16]), 1), whole)
    helped = build(dataclasses.replace(config, workers=2), 6, 0, None, [8, 12, 16])
    assert same(epoch_of(helped, 1), small)
    assert {images.shape[-1] for images, _ in helped.val_dataloader()} == {16}


def test_where_shared_memory_has_no_room_the_same_batches_come_through_pipes(monkeypatch) -> None:
    expected = epoch_of(digits(workers=2), 3)
    monkeypatch.setattr("resnest_search.data.module.shared_room", lambda: 2**18)
    data = digits(workers=2)  # 32 images of 8 x 8 pixels: 2 KiB
    assert data.squeezed == ""
    monkeypatch.setattr("resnest_search.data.module.shared_room", lambda: 2**14)
    data = digits(workers=2)
    assert data.squeezed.startswith("/dev/shm has 0 MiB left, too little for what 2 loader")
    opened = []
    monkeypatch.setattr("torch.storage.UntypedStorage._share_fd_cpu_", opened.append)
    assert same(epoch_of(data, 3), expected)
    assert not opened
    assert same(list(data.val_dataloader()), list(digits().val_dataloader()))


class Stuck(ImageBatches):
    """Whose first batch takes a minute."""

    def __getitem__(self, batch):
        time.sleep(60)


def test_no_batch_is_waited_for_for_ever() -> None:
    batches = Stuck(None, torch.zeros(8, dtype=torch.int64).numpy(), [], [], Augment())
    loader = BatchLoader(batches, EvaluationSampler(8, 8), workers=1, patience_s=1)
    with pytest.raises(UserError, match=r"data\.workers: 1 loader processes gave no batch in 1 s"):
        next(iter(loader))
    del loader  # which ends its processes, after having waited for them
    gc.collect()
    for process in multiprocessing.active_children():
        process.join(10)
        assert process.exitcode is not None


def test_a_batch_is_no_larger_than_the_set_over_all_ranks() -> None:
    data = digits(batch_size=512)
    assert data.batch_taken == 200
    data.shard(0, 16)
    assert data.batch_taken == 192 == 16 * len(next(iter(data.train_dataloader()))[1])
    assert digits(batch_size=32).batch_taken == 32


def test_loaders_leave_the_global_generator_alone() -> None:
    torch.manual_seed(0)
    expected = torch.rand(2)
    torch.manual_seed(0)
    epoch_of(digits(), 0)
    assert torch.equal(torch.rand(2), expected)


def test_ranks_share_the_batches_of_one() -> None:
    alone = epoch_of(digits(), 1)
    parts = []
    for rank in range(2):
        data = digits()
        data.shard(rank, 2)
        parts.append(epoch_of(data, 1))
    joined = [
        (torch.cat([a[0], b[0]]), torch.cat([a[1], b[1]])) for a, b in zip(*parts, strict=True)
    ]
    assert same(joined, alone)


def test_ranks_deal_out_validation_without_padding() -> None:
    alone = torch.cat([images for images, _ in digits().val_dataloader()])
    parts = []
    for rank in range(2):
        data = digits()
        data.shard(rank, 2)
        parts.append(torch.cat([images for images, _ in data.val_dataloader()]))
    assert torch.equal(parts[0], alone[0::2])
    assert torch.equal(parts[1], alone[1::2])


def test_bad_shards_are_refused() -> None:
    with pytest.raises(ValueError, match=r"rank 2 is not in 0\.\.1"):
        digits().shard(2, 2)
    with pytest.raises(UserError, match=r"train\.batch_size: 32 .* 3 workers"):
        digits().shard(0, 3)
    with pytest.raises(UserError, match=r"train\.batch_size: 0"):
        digits(batch_size=0)


def test_a_set_smaller_than_a_batch_is_one_batch() -> None:
    (batch,) = epoch_of(digits(batch_size=512), 0)
    assert len(batch[1]) == 200


def test_without_test_images_the_test_loader_is_empty() -> None:
    data = digits()
    assert data.test_count == 0
    assert list(data.test_dataloader()) == []


class Recorder(pl.LightningModule):
    """Notes what it is fed, by epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(64, 10)
        self.seen: dict[int, list[torch.Tensor]] = {}

    def training_step(self, batch, _):
        images, labels = batch
        self.seen.setdefault(self.current_epoch, []).append(images)
        return torch.nn.functional.cross_entropy(self.linear(images.flatten(1)), labels)

    def validation_step(self, batch, _):
        pass

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


class SaveAfterSecondEpoch(pl.Callback):
    def __init__(self, hook: str, path: Path) -> None:
        self.path = path
        setattr(self, hook, self.save)

    def save(self, trainer: pl.Trainer, *_: object) -> None:
        if trainer.current_epoch == 1:
            trainer.save_checkpoint(self.path)


def fitted(data: ImageData, checkpoint: Path | None, callbacks: list[pl.Callback]) -> Recorder:
    trainer = pl.Trainer(
        max_epochs=4,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        callbacks=callbacks,
    )
    model = Recorder()
    trainer.fit(model, data.train_dataloader(), data.val_dataloader(), ckpt_path=checkpoint)
    return model


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("hook", ["on_train_epoch_end", "on_validation_end"])
def test_a_resumed_run_sees_the_batches_of_an_uninterrupted_one(tmp_path, workers, hook) -> None:
    path = tmp_path / "at_epoch_2.ckpt"
    whole = fitted(digits(workers=workers), None, [SaveAfterSecondEpoch(hook, path)])
    resumed = fitted(digits(workers=workers), path, [])
    assert list(resumed.seen) == [2, 3]
    assert len({batches[0].sum().item() for batches in whole.seen.values()}) == 4
    for epoch, batches in resumed.seen.items():
        assert same([batches], [whole.seen[epoch]])
