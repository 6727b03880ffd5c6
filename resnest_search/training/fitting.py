"""Train one network, epoch by epoch, under somebody else's decisions."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import time
import warnings
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins.environments.cluster_environment import ClusterEnvironment
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.strategies import DDPStrategy

from resnest_search.configuration.schema import DataConfig, ModelConfig, TrainConfig
from resnest_search.data import build as build_data
from resnest_search.models.build import build as build_network
from resnest_search.models.float32 import float32_products
from resnest_search.models.fused import fuse
from resnest_search.models.weights import load_pretrained
from resnest_search.study.answers import pack
from resnest_search.study.record import Epoch
from resnest_search.training.checkpoint import load
from resnest_search.training.run import CHECKPOINT, EPOCH_LOG, Report, Run
from resnest_search.training.task import Classification
from resnest_search.variant import Variant

__all__ = ["fit"]

_PRECISION = {"fp32": "32-true", "tf32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}


def fit(
    run: Run, report: Report, environment: ClusterEnvironment | None = None, world: int = 1
) -> bool:
    """Train until the last epoch, or until the report says stop.

    After each epoch the checkpoint is replaced and then ``report(curve, note)`` is asked
    whether to go on, with every epoch of the run so far and a note where something about
    it deserves a line, such as a checkpoint that could not be read. Only the first of
    several workers reports; the others follow its decision.

    Args:
        run: what to train.
        report: decides; called with at least one epoch.
        environment: of a worker among several; None trains in this process alone.
        world: how many workers.

    Returns:
        Whether there was anything to train: where the first worker finds that its report
        wants no more, the others wait for it in vain.
    """
    _quiet()
    torch.set_num_threads(run.threads)
    torch.manual_seed(run.seed)
    data = build_data(run.data, run.train.batch_size, run.seed, run.images)
    rank = environment.global_rank() if environment else 0
    data.shard(rank, world)
    network = build_network(
        Variant.parse(run.variant), run.model, in_channels=data.channels, num_classes=data.classes
    )
    network = fuse(network)  # where the device has Triton; elsewhere the plain form runs
    if run.train.channels_last:
        network = network.to(memory_format=torch.channels_last)
    if run.train.compile:
        network.compile()  # in place, so that the state dict keeps its names
    recipe = dataclasses.replace(run.train, batch_size=data.batch_taken)
    task = Classification(network, recipe, len(data.train_dataloader()), run.seed)
    checkpoint, curve, note = _last_checkpoint(run)
    if checkpoint is None and run.model.pretrained is not None:
        begun = load_pretrained(network, Path(run.model.pretrained))
        note = f"{note}; {begun}" if note else begun
    note = "; ".join(text for text in (note, _batch_note(run, recipe), data.squeezed) if text)
    images = data.describe()["sha256"]["validation"]
    follower = _Follower(run, curve, report, note, images)
    if curve and (not follower.ask() or curve[-1].epoch >= run.train.epochs):
        return False
    trainer = _trainer(run, follower, environment, world)
    loaders = (data.train_dataloader(), data.val_dataloader())
    with float32_products(run.train.precision):
        trainer.fit(task, *loaders, ckpt_path=checkpoint, weights_only=True)
    return True


class _Follower(Callback):
    """Keeps curve, checkpoint and epoch log, and follows the decisions of the report.

    ``images`` is a digest of the validation images.
    """

    def __init__(
        self, run: Run, curve: list[Epoch], report: Report, note: str, images: str
    ) -> None:
        self._run = run
        self._curve = curve
        self._report = report
        self._note = note
        self._images = images
        self._began = 0.0

    def ask(self) -> bool:
        """Whether to go on after the epochs so far."""
        note, self._note = self._note, ""
        return self._report(tuple(self._curve), note)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._began = time.perf_counter()
        if trainer.is_global_zero:
            self._log(trainer, "started")

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, Classification)
        accuracy, loss, images = pl_module.validated()
        train_loss = pl_module.trained()
        seconds = time.perf_counter() - self._began
        entry = Epoch(trainer.current_epoch + 1, accuracy, loss, train_loss, seconds, images)
        if entry.epoch == self._run.train.epochs:  # of the others nobody asks, and curves are short
            correct = pack(pl_module.answered(), self._images)
            entry = dataclasses.replace(entry, correct=correct)
        self._curve.append(entry)
        self._save(trainer)
        go_on = True
        if trainer.is_global_zero:
            self._log(trainer, "finished", accuracy=accuracy, seconds=round(seconds, 3))
            go_on = self.ask()
        if not trainer.strategy.broadcast(go_on):
            trainer.should_stop = True

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        checkpoint["resnest_search"] = {
            "identity": _identity(self._run),
            "curve": [dataclasses.asdict(entry) for entry in self._curve],
        }

    def _save(self, trainer: Trainer) -> None:
        """Replace the checkpoint in one step: a kill leaves the old one or the new one."""
        path = Path(self._run.folder) / CHECKPOINT
        temporary = path.with_suffix(".tmp")
        trainer.save_checkpoint(temporary)
        if trainer.is_global_zero:
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            temporary.replace(path)

    def _log(self, trainer: Trainer, event: str, **facts: Any) -> None:
        line = {"epoch": trainer.current_epoch + 1, "event": event, "time": time.time(), **facts}
        with (Path(self._run.folder) / EPOCH_LOG).open("a") as file:
            file.write(json.dumps(line) + "\n")


def _trainer(
    run: Run, follower: _Follower, environment: ClusterEnvironment | None, world: int
) -> Trainer:
    """A Trainer that only trains: progress, logs and checkpoints are the follower's."""
    strategy: Any = "auto"
    if environment is not None:
        strategy = DDPStrategy(
            cluster_environment=environment,
            process_group_backend="nccl" if run.accelerator == "gpu" else "gloo",
        )
    return Trainer(
        accelerator=run.accelerator,
        strategy=strategy,
        devices=1,  # each worker sees only its own device
        num_nodes=world,
        max_epochs=run.train.epochs,
        precision=_PRECISION[run.train.precision],  # type: ignore[arg-type]
        callbacks=[follower],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        benchmark=run.accelerator == "gpu",
        default_root_dir=run.folder,
    )


def _batch_note(run: Run, recipe: TrainConfig) -> str:
    """That a batch is smaller than asked for, which the learning rate follows; else nothing."""
    if recipe.batch_size == run.train.batch_size:
        return ""
    return (
        f"train.batch_size={run.train.batch_size} is more than there is to train on: batches hold "
        f"{recipe.batch_size} images, which the learning rate follows"
    )


def _last_checkpoint(run: Run) -> tuple[str | None, list[Epoch], str]:
    """Path, curve and a note: nothing and a reason where the checkpoint is unusable."""
    folder = Path(run.folder)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / CHECKPOINT
    if not path.exists():
        return None, [], ""
    try:
        own = load(path)["resnest_search"]
        if not _continues(own["identity"], run):
            return None, [], "the checkpoint is of another training; starts again"
        curve = [Epoch(**entry) for entry in own["curve"]]
    except Exception as error:  # a damaged file raises whatever its first wrong byte leads to
        return None, [], f"the checkpoint is damaged ({type(error).__name__}); starts again"
    return str(path), curve, f"continues after epoch {curve[-1].epoch}"


def _identity(run: Run) -> str:
    """What must agree for a checkpoint to be continued: not where it lies or on what it runs."""
    facts = dataclasses.asdict(run)
    for name in ("number", "folder", "accelerator", "threads"):
        del facts[name]
    for name in ("root", "workers", "download", "check", "unreadable"):
        del facts["data"][name]
    return json.dumps(facts, sort_keys=True)


def _continues(identity: str, run: Run) -> bool:
    """Whether a checkpoint's identity is the run's, where an earlier version knew fewer keys.

    What it did not know is taken for the default, and its images for the run's own.
    """
    recorded, own = json.loads(identity), json.loads(_identity(run))
    for section, kind in (("model", ModelConfig), ("data", DataConfig), ("train", TrainConfig)):
        recorded[section] = dataclasses.asdict(kind()) | recorded[section]
        recorded[section] = {key: recorded[section].get(key) for key in own[section]}
    if recorded.setdefault("images", None) is None or own["images"] is None:
        recorded["images"] = own["images"]
    return bool(recorded == own)


def _quiet() -> None:
    """Lightning's advice is for somebody at a notebook."""
    for name in ("pytorch_lightning", "lightning_fabric", "lightning"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"pytorch_lightning|lightning_fabric")
