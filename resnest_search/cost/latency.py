"""How long a forward pass takes in a deployment mode, and how that is timed."""

from __future__ import annotations

import gc
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from resnest_search.configuration.schema import MeasureConfig
from resnest_search.cost.busy import idlest_cpus
from resnest_search.cost.machine import state_of
from resnest_search.cost.precision import as_in_training, dtype_of
from resnest_search.cost.runtime import Session, as_onnx
from resnest_search.gauges import GpuState
from resnest_search.metrics import rounds_error
from resnest_search.models import ResNeSt
from resnest_search.models.fast import Choice, choose, fold
from resnest_search.models.fused import fusible

__all__ = ["Made", "Rounds", "Timing", "deploy", "made_once", "time_network"]

Made = Choice | Path  # of the form fast, or a file of an ONNX model
_BEFORE_CAPTURE = 3  # passes, as torch's own examples have
_TASKS = Path("/proc/self/task")  # one entry a thread of this process


@dataclass(frozen=True)
class Timing:
    """Timed passes of one network in one round.

    Attributes:
        samples_ms: duration of each pass, in milliseconds, in the order they were made.
        batch: images of each pass.
        gpu: before the first and after the last of them, where the GPU tells.
    """

    samples_ms: tuple[float, ...]
    batch: int
    gpu: tuple[GpuState, ...] = ()

    @property
    def throttled(self) -> tuple[str, ...]:
        """By what the GPU was slowed down before or after."""
        return tuple(dict.fromkeys(reason for state in self.gpu for reason in state.throttled))

    @property
    def n(self) -> int:
        """Passes."""
        return len(self.samples_ms)

    @property
    def median_ms(self) -> float:
        """Half of the passes took no longer."""
        return float(np.median(self.samples_ms))

    @property
    def p95_ms(self) -> float:
        """95 % of the passes took no longer, interpolated between neighbours."""
        return float(np.percentile(self.samples_ms, 95))

    @property
    def images_per_s(self) -> float:
        """Images of a batch over its median time."""
        return 1000.0 * self.batch / self.median_ms


class Rounds:
    """What several rounds found of one network; each built it anew, some time after the last.

    Passes of one round are no independent draws: they share its memory and its neighbours. So
    what a round found counts as one draw, and the error of the latency is that between rounds.
    Where several processes take turns, what all rounds of one found is one draw: where its memory
    lies stays with it.

    Args:
        timings: of the rounds, one batch size; at least one, each with a pass at least.
        processes: that took turns in them, the first one first.

    Raises:
        ValueError: there is none, or their batches differ.
    """

    def __init__(self, timings: Sequence[Timing], processes: int = 1) -> None:
        batches = {timing.batch for timing in timings}
        if len(batches) != 1:
            raise ValueError(f"rounds of one batch are joined, not of {sorted(batches)}")
        self.batch = batches.pop()
        apart = len(timings) if processes == 1 else min(processes, len(timings))
        draws = [timings[first::apart] for first in range(apart)]
        self._medians = [_middle(timing.median_ms for timing in draw) for draw in draws]
        self._p95s = [_middle(timing.p95_ms for timing in draw) for draw in draws]
        self._timings = timings
        self._samples = [sample for timing in timings for sample in timing.samples_ms]

    @property
    def n(self) -> int:
        """Draws: rounds, or the processes that took turns in them."""
        return len(self._medians)

    @property
    def passes(self) -> int:
        """Of all rounds."""
        return len(self._samples)

    @property
    def values(self) -> dict[str, float]:
        """The median of the draws' medians is the latency; ``latency_p95_ms`` is of all passes."""
        median = float(np.median(self._medians))
        return {
            "latency_ms": median,
            "latency_p95_ms": float(np.percentile(self._samples, 95)),
            "images_per_s": 1000.0 * self.batch / median,
        }

    @property
    def gpu(self) -> dict[str, Any]:
        """Least and most of what the GPU told of itself, and what throttled it; empty of a CPU."""
        states = [state for timing in self._timings for state in timing.gpu]
        if not states:
            return {}
        found: dict[str, Any] = {}
        for name in ("sm_mhz", "celsius", "watts"):
            values = [v for state in states if (v := getattr(state, name)) is not None]
            found |= {name: [min(values), max(values)]} if values else {}
        slowed = [timing.throttled for timing in self._timings if timing.throttled]
        reasons = list(dict.fromkeys(reason for reasons in slowed for reason in reasons))
        return found | {"throttled_rounds": len(slowed), "throttled_by": reasons}

    @property
    def deviations(self) -> dict[str, float]:
        """Standard deviation between draws of each value's logarithm; empty of one draw."""
        if self.n < 2:
            return {}
        latency, p95 = (float(np.std(np.log(x), ddof=1)) for x in (self._medians, self._p95s))
        return {"latency_ms": latency, "latency_p95_ms": p95, "images_per_s": latency}

    @property
    def half_width(self) -> float:
        """Half of the interval of 95 % around the latency, as a share of it.

        In it falls the latency of another measuring with as many draws: both err, so that it is
        sqrt(2) times as wide as the interval of the true median, exp(sqrt(2) t e) - 1 with
        Student's t (1908) of n - 1 degrees of freedom and e of `metrics.rounds_error`. Upwards;
        downwards it is 1 - 1 / (1 + share). Of fewer than two draws it is infinite.
        """
        if self.n < 2:
            return math.inf
        from scipy.special import stdtrit  # not for the driver, which measures nothing

        error = rounds_error(self.deviations["latency_ms"], self.n)
        return math.expm1(min(float(stdtrit(self.n - 1, 0.975)) * math.sqrt(2) * error, 500.0))


def _middle(values: Iterable[float]) -> float:
    return float(np.median(list(values)))


def deploy(
    network: nn.Module, images: torch.Tensor, mode: MeasureConfig, made: Made | None = None
) -> tuple[nn.Module, torch.Tensor]:
    """The network and its ``[B, C, H, W]`` images as the mode deploys them.

    Eval mode; weights, buffers and images cast to the precision (no autocast, no float32
    copy kept); the memory format; compiled or not. Of the form ``fast``, see `models.fast`,
    the choice made before is taken, or one is made; of ``onnxruntime`` the model. The given network
    itself is changed.

    Raises:
        ValueError: the precision is unknown.
    """
    dtype = dtype_of(mode.precision)
    layout = torch.channels_last if mode.channels_last else torch.contiguous_format
    network.eval()
    network.to(dtype=dtype)
    network.to(memory_format=layout)
    images = images.to(dtype=dtype, memory_format=layout)
    if mode.form == "onnxruntime":
        model = made if isinstance(made, Path) else as_onnx(network, images)
        try:
            return Session(model, mode.threads), images
        finally:
            if model is not made:
                model.unlink()
    if mode.form == "fast" and isinstance(network, ResNeSt):
        choice = made if isinstance(made, Choice) else choose(network, images)
        network = fold(network, choice, fusible(images.device))
    if mode.compile:
        network = torch.compile(network)  # type: ignore[assignment]
    if mode.cuda_graph:
        with torch.cuda.device(images.device), as_in_training(mode.precision):
            network = _Graph(network, images)
    return network, images


class _Graph(nn.Module):
    """A network's pass over images of one shape, launched at once.

    Captured as torch's documentation of CUDA graphs says: after passes on a stream beside the
    current one, in which cuDNN tries its algorithms, from images in a place of their own.

    Args:
        network: in eval mode, on the current GPU.
        images: ``[B, C, H, W]`` of each pass.
    """

    def __init__(self, network: nn.Module, images: torch.Tensor) -> None:
        super().__init__()
        self._network = network  # its weights are read by the graph
        self._images = images.clone()
        beside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        beside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(beside), torch.inference_mode():
            for _ in range(_BEFORE_CAPTURE):
                network(self._images)
        torch.cuda.current_stream().wait_stream(beside)
        self._graph = torch.cuda.CUDAGraph()
        with torch.inference_mode(), torch.cuda.graph(self._graph):
            self._logits: torch.Tensor = network(self._images)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits ``[B, classes]``, which the next pass overwrites."""
        self._images.copy_(images)
        self._graph.replay()
        return self._logits


def made_once(network: ResNeSt, images: torch.Tensor, mode: MeasureConfig) -> Made | None:
    """What a mode needs that takes long, for all passes to come; changes the network.

    What `models.fast` chooses, on the mode's threads; or the model that ONNX Runtime reads.
    """
    if mode.form == "onnxruntime":
        return as_onnx(network, images)
    if mode.form != "fast":
        return None
    threads = _threads(mode.threads) if images.device.type == "cpu" else nullcontext()
    with threads, as_in_training(mode.precision):
        plain = replace(mode, form="plain", compile=False, cuda_graph=False)
        network, images = deploy(network, images, plain)  # type: ignore[assignment]
        return choose(network, images)


def time_network(
    network: nn.Module, images: torch.Tensor, mode: MeasureConfig, made: Made | None = None
) -> Timing:
    """Time ``mode.repeats`` forward passes of these ``[B, C, H, W]`` images, one by one.

    On the device that holds both. On a GPU a pass is what two CUDA events enclose, with a
    synchronisation after each, so a small network's time is that of launching its kernels, unless
    they are launched at once (``mode.cuda_graph``); ``mode.cold_l2`` empties the L2 cache before.
    On a CPU a pass is wall-clock time on ``mode.threads`` threads, pinned to the CPUs that are
    idlest at the start. Python's garbage collector rests meanwhile; the number of threads
    and the CPUs they may use are restored. The network is changed, see `deploy`.

    Raises:
        ValueError: a value of the mode is out of its range.
    """
    if mode.repeats < 1 or mode.warmup < 0:
        raise ValueError(
            f"measure.repeats must be at least 1 and measure.warmup at least 0, "
            f"not {mode.repeats} and {mode.warmup}"
        )
    network, images = deploy(network, images, mode, made)
    cpu = images.device.type == "cpu"
    once = _cpu_pass if cpu else partial(_cuda_pass, flush=_twice_l2(images.device, mode.cold_l2))
    device = _threads(mode.threads) if cpu else torch.cuda.device(images.device)
    with device, as_in_training(mode.precision), torch.inference_mode():
        if mode.compile:  # before the pin: the compiler may use every CPU
            network(images)
        with _pinned(mode.threads) if cpu else nullcontext(), _no_garbage_collection():
            for _ in range(mode.warmup):
                once(network, images)
            states = [state_of(images.device)]
            samples = tuple(once(network, images) for _ in range(mode.repeats))
            states.append(state_of(images.device))
    return Timing(samples, len(images), tuple(state for state in states if state is not None))


def _cpu_pass(network: Callable[[torch.Tensor], object], images: torch.Tensor) -> float:
    start = time.perf_counter_ns()
    network(images)
    return (time.perf_counter_ns() - start) / 1e6


def _twice_l2(device: torch.device, cold: bool) -> torch.Tensor | None:
    """What is written between passes to leave nothing else in a GPU's L2 cache; None for warm."""
    if not cold:
        return None
    size = 2 * torch.cuda.get_device_properties(device).L2_cache_size
    return torch.empty(size, dtype=torch.uint8, device=device)


def _cuda_pass(
    network: Callable[[torch.Tensor], object],
    images: torch.Tensor,
    flush: torch.Tensor | None = None,
) -> float:
    if flush is not None:
        flush.zero_()
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
    torch.cuda.synchronize()
    start.record()
    network(images)
    end.record()
    end.synchronize()
    return float(start.elapsed_time(end))


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """This many threads within an operation.

    Raises:
        ValueError: the count is not positive.
    """
    if count < 1:
        raise ValueError(f"measure.threads must be at least 1, not {count}")
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _pinned(count: int) -> Iterator[None]:
    """Every thread of this process on the same ``count`` CPUs, and then where it was.

    Threads that are born meanwhile inherit the pin, and get the caller's CPUs afterwards:
    torch's pool outlives the measurement. A platform without affinity is left alone.
    """
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    cpus = idlest_cpus(count)
    callers = os.sched_getaffinity(0)
    before = {task: os.sched_getaffinity(task) for task in _tasks()}
    try:
        for task in before:
            _set_affinity(task, cpus)
        yield
    finally:
        for task in _tasks():
            _set_affinity(task, before.get(task, callers))


def _tasks() -> list[int]:
    return [int(task.name) for task in _TASKS.iterdir()] if _TASKS.is_dir() else [0]


def _set_affinity(task: int, cpus: Iterable[int]) -> None:
    try:
        os.sched_setaffinity(task, cpus)
    except ProcessLookupError:  # the thread has ended since it was listed
        return
