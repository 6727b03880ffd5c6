"""Train one network, epoch by epoch, under somebody else's decisions."""

from __future__ import annotations

import dataclasses
import json
import logging
import math
import os
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.strategies import DDPStrategy

from resnest_search.configuration.schema import DataConfig, ModelConfig, TrainConfig
from resnest_search.data import build as build_data
from resnest_search.data.sampling import sides
from resnest_search.gauges import Energy, gpu_uuid
from resnest_search.models.build import build as build_network
from resnest_search.models.float32 import float32_products
from resnest_search.models.fused import fuse
from resnest_search.models.weights import load_pretrained
from resnest_search.study.answers import pack, pack_sheet
from resnest_search.study.record import Epoch
from resnest_search.training.averaging import Average
from resnest_search.training.checkpoint import load
from resnest_search.training.run import CHECKPOINT, EPOCH_LOG, Report, Run
from resnest_search.training.synced import synchronise
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
    grown = sides(run.data.image_size, run.train.progressive_resizing, run.train.epochs)
    data = build_data(run.data, run.train.batch_size, run.seed, run.images, grown, run.names)
    rank = environment.global_rank() if environment else 0
    data.shard(rank, world, run.train.accumulate)
    if run.accelerator == "gpu":  # of which a process sees its own alone
        data.device = torch.device("cuda")
    network = build_network(
        Variant.parse(run.variant), run.model, in_channels=data.channels, num_classes=data.classes
    )
    network = fuse(network)  # where the device has Triton; elsewhere the plain form runs
    synced = run.train.sync_norm and world > 1
    if synced and run.accelerator == "cpu":
        network = synchronise(network)  # on GPUs the trainer does it
    if run.train.channels_last:
        network = network.to(memory_format=torch.channels_last)
    if run.train.compile:
        torch.compiler.reset()  # of eight networks in one process the rest would not be compiled
        network.compile()  # in place, so that the state dict keeps its names
    recipe = dataclasses.replace(run.train, batch_size=data.batch_taken)
    steps = len(data.train_dataloader()) // recipe.accumulate
    task = Classification(network, recipe, steps, run.seed, data.classes)
    checkpoint, curve, note = _last_checkpoint(run)
    if checkpoint is None and run.model.pretrained is not None:
        begun = load_pretrained(network, Path(run.model.pretrained))
        note = f"{note}; {begun}" if note else begun
    notes = (note, _batch_note(run, recipe), data.squeezed, data.uncached)
    note = "; ".join(text for text in notes if text)
    images = data.describe()["sha256"]["validation"]
    follower = _Follower(run, curve, report, note, images, grown)
    if curve and (not follower.ask() or _is_last(curve[-1], run)):
        return False
    trainer = _trainer(run, follower, environment, world, synced)
    loaders = (data.train_dataloader(), data.val_dataloader())
    with float32_products(run.train.precision):
        trainer.fit(task, *loaders, ckpt_path=checkpoint, weights_only=True)
    return True


class _Follower(Callback):
    """Keeps curve, checkpoint and epoch log, and follows the decisions of the report.

    ``images`` is a digest of the validation images, ``sides`` those of each epoch's training
    images in pixels.
    """

    def __init__(
        self,
        run: Run,
        curve: list[Epoch],
        report: Report,
        note: str,
        images: str,
        sides: Sequence[int],
    ) -> None:
        self._run = run
        self._curve = curve
        self._report = report
        self._note = note
        self._images, self._sides = images, sides
        self._began = 0.0
        self._energy = Energy()

    def ask(self) -> bool:
        """Whether to go on after the epochs so far."""
        note, self._note = self._note, ""
        return self._report(tuple(self._curve), note)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        done = len(self._curve)
        if done != (first := trainer.strategy.broadcast(done)):
            raise RuntimeError(
                f"worker {trainer.global_rank} found {done} epochs in {self._run.folder}, "
                f"the first worker {first}: it must be the same folder for all"
            )

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._began = time.perf_counter()
        self._energy = Energy(gpu_uuid(pl_module.device))
        if trainer.is_global_zero:
            self._log(trainer, "started")

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, Classification)
        found = pl_module.validated()
        train_loss = pl_module.trained()
        seconds = time.perf_counter() - self._began
        number, rate = trainer.current_epoch + 1, pl_module.learning_rate
        entry = Epoch(
            epoch=number,
            train_loss=train_loss,
            seconds=seconds,
            learning_rate=rate,
            image_size=self._sides[number - 1],
            joules=self._joules(trainer, pl_module.device),
            **found._asdict(),
        )
        entry = dataclasses.replace(entry, ended=_ended([*self._curve, entry], self._run.train))
        if _is_last(entry, self._run):  # of the others nobody asks, and curves are short
            entry = _with_answers(entry, pl_module, self._images)
        self._curve.append(entry)
        self._save(trainer)
        go_on = True
        if trainer.is_global_zero:
            self._log(trainer, "finished", accuracy=found.accuracy, seconds=round(seconds, 3))
            go_on = self.ask() and not entry.ended
        if not trainer.strategy.broadcast(go_on):
            trainer.should_stop = True

    def _joules(self, trainer: Trainer, device: torch.device) -> float | None:
        """Of the epoch, on all workers; None where a device does not tell.

        A GPU that several trials share counts in equal shares, the packages of a CPU in those of
        the threads that train.
        """
        used, run = self._energy.joules(), self._run
        share = run.gpu_share if device.type == "cuda" else run.threads / (os.cpu_count() or 1)
        own = torch.tensor(math.nan if used is None else used * min(1.0, share), device=device)
        found = float(trainer.strategy.reduce(own, reduce_op="sum"))
        return None if math.isnan(found) else found

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


def _with_answers(entry: Epoch, task: Classification, images: str) -> Epoch:
    """The last epoch with what was answered to single images; ``images`` is their digest."""
    truth, answers = task.answered()
    sheet = pack_sheet(truth, answers, task.classes, images)
    return dataclasses.replace(entry, correct=pack(truth == answers, images), sheet=sheet)


def _trainer(
    run: Run,
    follower: _Follower,
    environment: ClusterEnvironment | None,
    world: int,
    synced: bool,
) -> Trainer:
    """A Trainer that only trains: progress, logs and checkpoints are the follower's."""
    strategy: Any = "auto"
    # Else Lightning looks for a cluster, and refuses a job of SLURM's that has several tasks.
    alone: list[Any] = [LightningEnvironment()] if environment is None else []
    if environment is not None:
        strategy = DDPStrategy(
            cluster_environment=environment,
            process_group_backend="nccl" if run.accelerator == "gpu" else "gloo",
            find_unused_parameters=run.train.frozen_epochs > 0,
            broadcast_buffers=not synced,  # statistics that are synchronised are equal already
        )
    return Trainer(
        accelerator=run.accelerator,
        strategy=strategy,
        plugins=alone,
        devices=1,  # each worker sees only its own device
        num_nodes=world,
        max_epochs=run.train.epochs,
        precision=_PRECISION[run.train.precision],  # type: ignore[arg-type]
        callbacks=[*([Average(run.train.ema)] if run.train.ema else []), follower],
        accumulate_grad_batches=run.train.accumulate,
        gradient_clip_val=run.train.clip_gradients or None,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        sync_batchnorm=synced and run.accelerator == "gpu",
        benchmark=run.accelerator == "gpu",
        default_root_dir=run.folder,
    )


def _is_last(epoch: Epoch, run: Run) -> bool:
    return epoch.epoch >= run.train.epochs or bool(epoch.ended)


def _ended(curve: Sequence[Epoch], recipe: TrainConfig) -> str:
    """Why a training ends early, from its curve alone; empty while it goes on."""
    accuracies = [entry.accuracy for entry in curve]
    best = accuracies.index(max(accuracies)) + 1
    last, patience = curve[-1].epoch, recipe.patience
    if not patience or last - best < patience or last >= recipe.epochs:
        return ""
    return (
        f"stopped after {last} of {recipe.epochs} epochs: none was better than epoch {best} "
        f"for train.patience={patience}"
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
    note = f"continues after epoch {curve[-1].epoch}"
    return str(path), curve, f"{note}{_of_another_version(own['identity'], run)}"


def _of_another_version(identity: str, run: Run) -> str:
    """That the version that began, up to 0.2.0, drew images in another way; or nothing."""
    is_earlier = "cutmix" not in json.loads(identity)["train"]
    drawn = run.train.mixup > 0 or run.data.augment in ("resized_crop", "autoaugment")
    if not (is_earlier and drawn):
        return ""
    return "; an earlier version began it, which cropped and mixed images by other draws"


def _identity(run: Run) -> str:
    """What must agree for a checkpoint to be continued: not where it lies or on what it runs."""
    facts = dataclasses.asdict(run)
    for name in ("number", "folder", "accelerator", "threads", "names", "gpu_share"):
        del facts[name]
    for name in ("root", "workers", "cache", "download", "check", "unreadable"):
        del facts["data"][name]
    return json.dumps(facts, sort_keys=True)


def _continues(identity: str, run: Run) -> bool:
    """Whether a checkpoint's identity is the run's, where an earlier version knew fewer keys.

    What it did not know is taken for the default, and its images for the run's own.
    """
    recorded, own = json.loads(identity), json.loads(_identity(run))
    # Its default is not what earlier versions did, which the run's configuration knows.
    recorded["train"].setdefault("sync_norm", own["train"]["sync_norm"])
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
