"""All costs of one network on this machine's device."""

from __future__ import annotations

import hashlib
import json
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from resnest_search.configuration.checks import check_measured_on
from resnest_search.configuration.schema import MeasureConfig, ModelConfig
from resnest_search.cost.account import (
    MIB,
    Account,
    Shape,
    account,
    account_training,
    gradient_bytes,
    state_bytes,
)
from resnest_search.cost.busy import CpuWatch, Load, cores_for, look
from resnest_search.cost.cache import Known
from resnest_search.cost.latency import Made, Rounds, Timing, made_once, time_network
from resnest_search.cost.machine import (
    device_name,
    machine,
    memory_mib,
    resolve_device,
    versions,
)
from resnest_search.cost.memory import (
    OutOfMemory,
    cuda_inference,
    cuda_training,
    mapped_to_out_of_memory,
)
from resnest_search.models import ResNeSt, build
from resnest_search.models.build import network_arguments
from resnest_search.models.fast import Choice
from resnest_search.variant import Variant
from resnest_search.words import counted, now

__all__ = ["CostRequest", "Costs", "Measurement", "Visit", "measure", "training_bytes", "visit"]


# What visits a network: its request, what `models.fast` chose, passes.
Visit = Callable[["CostRequest", Made | None, int], tuple[Timing, Load]]

# Parts of a network that do nothing in a forward pass in eval mode.
_OF_TRAINING = ("dropout", "dropblock", "zero_init_last_gamma")
# The size of images is told apart; what is measured beside it has a request of its own.
_NAMES = ("name", "image_size", "cache", "doubtful", "also", "profile")
_NOT_OF_A_PASS = ("device",)  # a machine's has its own name
_NOT_OF_A_STEP = ("measure", "model", "gpu_share")
# Left out of an identity, so that costs are found that were cached before these keys were known.
_KNOWN_LATER = {
    **dict.fromkeys(("cuda_graph", "cold_l2", "train_ema"), False),
    "train_optimizer": "sgd",
    "train_fused": True,
}


@dataclass(frozen=True)
class CostRequest:
    """What is to be measured.

    Attributes:
        variant: as ``2s2x40d``.
        model: the network around it.
        channels: of an image.
        classes: logits.
        image_size: pixels, the side of a training image, and of a measured one where the
            mode names no other.
        measure: the mode of inference.
        train_batch: images that go through the network at once in a training step.
        train_precision: fp32, bf16 or fp16; the latter two are mixed.
        train_channels_last: memory format of a training step.
        train_workers: processes of a trial, each with a step of ``train_batch``; several keep their
            gradients a second time, to sum them.
        train_optimizer: sgd or adamw; the latter keeps two numbers a weight, the former one.
        train_ema: whether a running average of the weights is kept beside them.
        train_fused: split attention is fused on a GPU; beside a synchronised batch norm it is not.
        gpu_share: of a GPU that one of them has.
    """

    variant: str
    model: ModelConfig
    channels: int
    classes: int
    image_size: int
    measure: MeasureConfig
    train_batch: int
    train_precision: str = "fp32"
    train_channels_last: bool = False
    train_workers: int = 1
    train_optimizer: str = "sgd"
    train_ema: bool = False
    train_fused: bool = True
    gpu_share: float = 1.0

    @property
    def timed(self) -> str:
        """Identity of what is timed: the same for networks that only training tells apart."""
        return _digest(self._timed_facts(without=_NAMES))

    def timed_on(self, device: torch.device) -> str:
        """Identity of what is timed on this machine, for a cache: 16 hexadecimal digits.

        Two requests share it exactly where they would time the same network in the same mode, on
        the same device, with the same versions. Names of configs do not matter.
        """
        facts = self._timed_facts(without=(*_NAMES, *_NOT_OF_A_PASS))
        return _digest(facts | {"on": machine(device, self.measure)})

    @property
    def structure(self) -> str:
        """Identity of the network and of the size that it is timed at, on any device."""
        facts = self._timed_facts(without=tuple(vars(self.measure)))
        return _digest(facts | {"shape": self.inference_shape[1:]})

    @property
    def step(self) -> str:
        """Identity of the training step, on any device."""
        return _digest(_told(self, _NOT_OF_A_STEP) | {"model": network_arguments(self.model)})

    def step_on(self, device: torch.device) -> str:
        """Identity of the training step on this machine, for a cache: 16 hexadecimal digits."""
        return _digest({"step": self.step, "on": machine(device)})

    def _timed_facts(self, without: Sequence[str]) -> dict[str, Any]:
        model = network_arguments(self.model)
        measure = _told(self.measure, without)
        return {
            "variant": self.variant,
            "model": {k: v for k, v in model.items() if k not in _OF_TRAINING},
            "shape": self.inference_shape,
            "classes": self.classes,
            "measure": measure,
        }

    @property
    def train_mode(self) -> str:
        """The training step on one line: ``64 images of 32x32, bf16``."""
        side = self.image_size
        words = [f"{self.train_batch} images of {side}x{side}", self.train_precision]
        words += ["channels_last"] if self.train_channels_last else []
        words += ["adamw"] if self.train_optimizer == "adamw" else []
        words += ["ema"] if self.train_ema else []
        return ", ".join(words)

    @property
    def measured_size(self) -> int:
        """Pixels, the side of a measured image."""
        size = self.measure.image_size
        return self.image_size if size is None else size

    @property
    def inference_shape(self) -> Shape:
        """``[B, C, H, W]`` of a measured pass."""
        return (self.measure.batch, self.channels, self.measured_size, self.measured_size)

    @property
    def training_shape(self) -> Shape:
        """``[B, C, H, W]`` of a training step."""
        return (self.train_batch, self.channels, self.image_size, self.image_size)

    def make(self) -> ResNeSt:
        """The network, with fresh weights.

        Raises:
            ValueError: the variant is malformed or impossible in this network.
        """
        variant = Variant.parse(self.variant)
        return build(variant, self.model, in_channels=self.channels, num_classes=self.classes)


@dataclass(frozen=True)
class Costs:
    """What was measured.

    Attributes:
        values: a number for every name of `metrics.COSTS`, in the unit that the name says.
        device: human name of the device.
        mode: how it was measured, as a person reads it.
        busy_percent: share of the device that others took meanwhile; None where unknown.
        busy_s: seconds of it; None where unknown.
        passes: timed passes behind the latency.
        rounds: of these passes, or the processes that took turns in them; the latency is the median
            of their medians.
        deviations: standard deviation between the rounds, of the logarithm, of each value that
            was timed; empty where there was one round.
        half_width: of the latency's interval of 95 %, a share, see `latency.Rounds`; None where
            there was one round.
        begun: of the first round, ISO 8601, UTC.
        gpu_mib: all memory of the GPU; None on a CPU.
        gpu: clock, heat, power and throttling of a GPU, see `latency.Rounds`.
        versions: of python and torch, and on a GPU of CUDA and cuDNN.
        form: what `models.fast` chose; empty for the plain form.
        train_mode: of which training step the memory is, as a person reads it.
    """

    values: dict[str, float]
    device: str
    mode: str
    busy_percent: float | None
    passes: int
    versions: dict[str, str]
    busy_s: float | None = None
    form: str = ""
    train_mode: str = ""
    rounds: int = 1
    deviations: dict[str, float] = field(default_factory=dict)
    half_width: float | None = None
    begun: str = ""
    gpu_mib: float | None = None
    gpu: dict[str, Any] = field(default_factory=dict)

    def timed_as(self, other: Costs) -> Costs:
        """The costs of another request of the same network, with this one's training step."""
        step = {"train_memory_mib": self.values["train_memory_mib"]}
        return replace(other, values=other.values | step, train_mode=self.train_mode)


class Measurement:
    """One network's costs while they are gathered: the account at once, timings bit by bit.

    What training alone changes is no part of it, see ``training_bytes``.

    Args:
        request: what is measured.
        known: what was found before; its rounds count as this one's.

    Raises:
        ValueError: the variant is impossible, or a value of the request is out of its range.
        UserError: the device has no such mode.
        OutOfMemory: the account exceeds the device's memory, and nothing was allocated; or
            the device refused.
    """

    def __init__(self, request: CostRequest, known: Known | None = None) -> None:
        mode = request.measure
        if mode.batch < 1 or request.measured_size < 1:
            raise ValueError(
                "batches and image sizes must be at least 1, not measure.batch "
                f"{mode.batch} and {request.measured_size} pixels"
            )
        self.request = request
        self.device = resolve_device(mode.device)
        # A cluster's device is known here first.
        check_measured_on(mode, has_gpu=self.device.type == "cuda")
        self.load = Load() if known is None else known.load
        self.timings: list[Timing] = [] if known is None else list(known.timings)
        self.begun = "" if known is None else known.begun
        self._form = "" if known is None else known.form
        self.is_settled = known is not None and known.is_settled  # see `Known`
        self.account = self._accounted() if known is None else known.account
        self.made: Made | None = None
        self.processes = 1  # that take turns in the rounds
        self.limits_mib = _fitting(self.account.inference_bytes, self.device)
        if self.device.type == "cuda" and known is None:
            with mapped_to_out_of_memory(*self.limits_mib):
                self._make_once()
                self._ask_allocator()

    def _accounted(self) -> Account:
        mode = self.request.measure
        return account(
            self.request.make,
            inference=self.request.inference_shape,
            precision=mode.precision,
            folded=mode.form == "fast",
        )

    def _ask_allocator(self) -> None:
        """On a GPU the allocator's figure replaces the account's."""
        request, mode = self.request, self.request.measure
        found = cuda_inference(request.make, request.inference_shape, mode, self.device, self.made)
        self.account = replace(self.account, inference_bytes=found)
        if mode.compile:
            torch.compiler.reset()  # else only the first eight networks would be compiled

    @property
    def timed(self) -> int:
        """Rounds so far."""
        return len(self.timings)

    @property
    def latency_ms(self) -> float:
        """Of the rounds so far."""
        return Rounds(self.timings, self.processes).values["latency_ms"]

    @property
    def half_width(self) -> float:
        """Of the interval of the latency so far, as a share of it."""
        return Rounds(self.timings, self.processes).half_width

    def time(self, repeats: int, by: Visit | None = None) -> None:
        """A round: build the network, time this many passes after the mode's warm-up, drop it.

        Args:
            repeats: timed passes.
            by: what visits the network; this process where it is None.

        Raises:
            ValueError: a value of the mode is out of its range.
            OutOfMemory: the device refused memory.
        """
        with mapped_to_out_of_memory(*self.limits_mib):
            self._make_once()
            timing, load = (by or visit)(self.request, self.made, repeats)
        self.begun = self.begun or now()
        self.timings.append(timing)
        self.load += load

    @property
    def form(self) -> str:
        """What `models.fast` chose; empty for another form, and before the first round."""
        return str(self.made) if isinstance(self.made, Choice) else self._form

    @property
    def known(self) -> Known:
        """All that was found so far."""
        timings = tuple(self.timings)
        return Known(self.account, self.begun, timings, self.load, self.form, self.is_settled)

    def drop(self, load: Load) -> None:
        """Leave the last round out, before which others had loaded the device so much."""
        del self.timings[-1]
        self.load = load

    def _make_once(self) -> None:
        """Once for all rounds."""
        if self.request.measure.form != "plain" and self.made is None:
            self.made = made_once(*_made(self.request, self.device), self.request.measure)
            if isinstance(self.made, Path):
                weakref.finalize(self, self.made.unlink, missing_ok=True)

    def costs(self, request: CostRequest, training_bytes: int) -> Costs:
        """The costs, from all rounds so far.

        Args:
            request: whose ``timed`` is this one's.
            training_bytes: of its training step.

        Raises:
            ValueError: none was timed.
        """
        rounds = Rounds(self.timings, self.processes)
        return Costs(
            values={
                **rounds.values,
                "memory_mib": self.account.inference_bytes / MIB,
                "train_memory_mib": training_bytes / MIB,
                "parameters_m": self.account.parameters / 1e6,
                "gmacs": self.account.macs / 1e9,
            },
            device=device_name(self.device),
            mode=mode_text(self.request, self.device),
            busy_percent=self.load.percent,
            busy_s=None if self.load.percent is None else round(self.load.busy_s, 3),
            passes=rounds.passes,
            versions=versions(self.device, self.request.measure),
            form=self.form,
            train_mode=request.train_mode,
            rounds=rounds.n,
            deviations=rounds.deviations,
            half_width=rounds.half_width if rounds.n > 1 else None,
            begun=self.begun,
            gpu=rounds.gpu,
            gpu_mib=memory_mib(self.device) if self.device.type == "cuda" else None,
        )


def visit(request: CostRequest, made: Made | None, repeats: int) -> tuple[Timing, Load]:
    """Build the network of a request, time this many passes after the mode's warm-up, drop it.

    Beside it, what others took of the CPUs meanwhile; nothing on a GPU.

    Raises:
        ValueError: a value of the mode is out of its range.
    """
    mode = replace(request.measure, repeats=repeats)
    device = resolve_device(mode.device)
    watch = CpuWatch() if device.type == "cpu" else None
    network, images = _made(request, device)
    timing = time_network(network, images, mode, made)
    if mode.compile:
        torch.compiler.reset()  # else compiled networks pile up
    return timing, Load() if watch is None else watch.read()


def _made(request: CostRequest, device: torch.device) -> tuple[ResNeSt, torch.Tensor]:
    """The network and images on the device, the same in every round."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        network = request.make()
        images = torch.randn(request.inference_shape)
    return network.to(device), images.to(device)


def training_bytes(
    request: CostRequest,
    kept: Callable[[Callable[[], str], Callable[[], int]], int] = lambda key, found: found(),
) -> int:
    """Peak bytes of a training step: `account`'s on a CPU, the allocator's on a GPU.

    Args:
        request: whose step it is.
        kept: looks up what was found before, by its key, or finds it.

    Raises:
        ValueError: the variant is impossible, or a value of the request is out of its range.
        OutOfMemory: as `Measurement`.
    """
    if request.train_batch < 1 or request.image_size < 1:
        raise ValueError(
            f"batches and image sizes must be at least 1, not train batch {request.train_batch} "
            f"and {request.image_size} pixels"
        )
    device = resolve_device(request.measure.device)
    found = kept(lambda: request.step_on(device), lambda: _training_bytes(request, device))
    _fitting(found, device, request.gpu_share)
    return found


def _training_bytes(request: CostRequest, device: torch.device) -> int:
    shape, precision = request.training_shape, request.train_precision
    found = account_training(request.make, shape, precision)
    if request.train_optimizer == "adamw":  # its second state; its update needs less than backward
        found += gradient_bytes(request.make)
    if device.type == "cuda":
        # Training is fused there, which needs less than the account says: the allocator decides.
        with mapped_to_out_of_memory(found / MIB, memory_mib(device) * request.gpu_share):
            layout = request.train_channels_last
            stepped, fused = request.train_optimizer, request.train_fused
            found = cuda_training(request.make, shape, precision, layout, device, stepped, fused)
    if request.train_workers > 1:
        found += gradient_bytes(request.make)
    if request.train_ema:
        found += state_bytes(request.make)
    return found


def _fitting(needed_bytes: int, device: torch.device, share: float = 1.0) -> tuple[float, float]:
    """What is needed and what a share of the device has, in MiB; OutOfMemory if it does not fit."""
    limits_mib = (needed_bytes / MIB, memory_mib(device) * share)
    if limits_mib[0] > limits_mib[1]:
        raise OutOfMemory(*limits_mib)
    return limits_mib


def _told(section: Any, without: Sequence[str]) -> dict[str, Any]:
    """The fields that make an identity."""
    return {
        k: v
        for k, v in vars(section).items()
        if k not in without and (k not in _KNOWN_LATER or v != _KNOWN_LATER[k])
    }


def _digest(facts: dict[str, Any]) -> str:
    text = json.dumps(facts, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _run_by(mode: MeasureConfig) -> str:
    if mode.form == "onnxruntime":
        return "ONNX Runtime"
    if mode.cuda_graph:
        return "CUDA graph"
    return "compiled" if mode.compile else "eager"


def mode_text(request: CostRequest, device: torch.device) -> str:
    """The mode on one line: ``batch 1, 8x8, fp32, contiguous, eager, 1 thread``."""
    mode, side = request.measure, request.measured_size
    words = [
        f"batch {mode.batch}",
        f"{side}x{side}",
        mode.precision,
        "channels_last" if mode.channels_last else "contiguous",
        _run_by(mode),
        *(["fast form"] if mode.form == "fast" else []),
        *(["cold L2"] if mode.cold_l2 else []),
    ]
    if device.type == "cpu":
        words.append(_threads_text(mode.threads))
    return ", ".join(words)


def _threads_text(threads: int) -> str:
    """``2 threads on 2 cores``: several threads of one core are not as fast as on as many."""
    cores = cores_for(threads)
    where = "" if threads == 1 or cores is None else f" on {counted(cores, 'core')}"
    return counted(threads, "thread") + where


def measure(request: CostRequest) -> Costs:
    """All costs of one network, its passes timed in one round; of many see `measure_all`.

    On a CPU both memories are `account`'s, the same on any machine, of the eager network;
    on a GPU they are what torch's allocator gave.

    Raises:
        ValueError: the variant is impossible, or a value of the request is out of its range.
        OutOfMemory: the network does not fit the device.
    """
    training = training_bytes(request)
    measurement = Measurement(request)
    if measurement.device.type == "cuda":
        measurement.load += look(measurement.device)
    measurement.time(request.measure.repeats)
    return measurement.costs(request, training)
