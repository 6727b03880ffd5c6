"""What a trial gets and how many fit at once; what cannot fit is refused before Ray starts."""

from __future__ import annotations

import ctypes
import math
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

from resnest_search.configuration.schema import ResourcesConfig
from resnest_search.errors import UserError
from resnest_search.study.record import per_gpu

__all__ = [
    "AUTO",
    "Allotment",
    "Machine",
    "allot",
    "mixed_precision",
    "on_nodes",
    "this_machine",
    "workers_of",
]

_MAJOR = 75  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR
_GPUS = "valid: a fraction of one GPU, a whole number"
AUTO = "auto"  # of resources.gpus_per_trial, until costs are measured: see `packing`


@dataclass(frozen=True)
class Machine:
    """CPUs and GPUs to share out."""

    cpus: int
    gpus: int


@dataclass(frozen=True)
class Allotment:
    """What each trial gets, and how many trials run at once."""

    workers: int  # processes of a trial
    cpus_per_worker: int
    gpus_per_worker: float
    slots: int

    @property
    def accelerator(self) -> str:
        """Lightning's name of what trains."""
        return "gpu" if self.gpus_per_worker else "cpu"

    @property
    def per_gpu(self) -> int:
        """Slots that share a GPU; 1 where none is shared."""
        return per_gpu(self.gpus_per_worker)

    def bundles_of(self, alone: bool) -> list[dict[str, float]]:
        """Ray's resources of each worker of a trial that may have to be alone on its GPU."""
        if alone and self.per_gpu > 1:
            return [{**self.bundles[0], "GPU": 1.0}]
        return self.bundles

    @property
    def bundles(self) -> list[dict[str, float]]:
        """Ray's resources of each worker."""
        bundle: dict[str, float] = {"CPU": self.cpus_per_worker}
        if self.gpus_per_worker:
            bundle["GPU"] = self.gpus_per_worker
        return [dict(bundle) for _ in range(self.workers)]


def this_machine() -> Machine:
    """CPUs that this process may use, and the GPUs that torch sees."""
    return Machine(min(len(os.sched_getaffinity(0)), _cpu_quota()), _visible_gpus())


def mixed_precision(accelerator: str) -> str:
    """What ``train.precision=auto`` comes to on this machine.

    On GPUs the fastest that all of them have matrix units for: bf16 from compute capability 8.0
    on, fp16 with 7.x, else fp32. On a CPU fp32, which every CPU counts in.
    """
    if accelerator == "cpu":
        return "fp32"
    oldest = min(_major_capabilities(), default=0)
    return "bf16" if oldest >= 8 else "fp16" if oldest == 7 else "fp32"


def _major_capabilities() -> list[int]:
    """Of each visible GPU, from the driver, so that this process holds no context on one."""
    if _built_for() != "cuda":
        import torch

        count = torch.cuda.device_count()
        return [torch.cuda.get_device_capability(number)[0] for number in range(count)]
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return []
    driver.cuInit(0)
    found = []
    for number in range(_visible_gpus()):
        major = ctypes.c_int(0)
        driver.cuDeviceGetAttribute(ctypes.byref(major), _MAJOR, number)
        found.append(major.value)
    return found


def _visible_gpus() -> int:
    """What torch.cuda.device_count() says, from the driver itself: torch takes seconds to import.

    The driver heeds CUDA_VISIBLE_DEVICES. A torch that was built without CUDA sees nothing, and
    one that was built for other accelerators is asked.
    """
    built = _built_for()
    if built is None or "torch" in sys.modules:
        import torch

        return torch.cuda.device_count()
    if built == "cpu":
        return 0
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return 0
    count = ctypes.c_int(0)
    if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)):
        return 0
    return count.value


def _built_for() -> str | None:
    """cuda or cpu, from the file in which torch keeps its version; None for anything else."""
    found = find_spec("torch")
    if found is None or found.origin is None:
        return None
    try:
        text = Path(found.origin).with_name("version.py").read_text()
    except OSError:
        return None
    given = dict(re.findall(r"^(cuda|hip|xpu)\b[^=\n]*= *(.+)$", text, re.MULTILINE))
    if given.get("hip", "None") != "None" or "cuda" not in given:
        return None
    return "cpu" if given["cuda"] == "None" else "cuda"


def _cpu_quota() -> int:
    """Whole CPUs that a container's limit leaves (cgroup v2), at least 1; many without one."""
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return max(1, int(quota) // int(period))
    except (OSError, ValueError):  # no such file, or "max"
        return sys.maxsize


def allot(config: ResourcesConfig, machine: Machine) -> Allotment:
    """Share out a machine, or a whole cluster taken as one.

    Raises:
        UserError: a number is out of its range, or one trial does not fit.
    """
    gpus = _gpus_of(config, bool(machine.gpus))
    _check_numbers(config, gpus)
    workers = workers_of(config, bool(machine.gpus))
    gpus_per_worker = gpus / workers
    if gpus_per_worker > 1 or (workers > 1 and gpus_per_worker not in (0, 1)):
        raise UserError(
            f"resources.workers_per_trial={workers}: resources.gpus_per_trial={gpus:g} gives each "
            f"worker {gpus_per_worker:g} GPUs; valid: one worker for each whole GPU"
        )
    if gpus > machine.gpus:
        raise UserError(
            f"resources.gpus_per_trial={gpus:g}: there are {machine.gpus} GPUs; "
            f"valid: 0 to {machine.gpus}"
        )
    cpus = workers * config.cpus_per_worker
    if cpus > machine.cpus:
        raise UserError(
            f"resources.cpus_per_worker={config.cpus_per_worker}: {workers} workers need {cpus} "
            f"CPUs, there are {machine.cpus}; valid: 1 to {machine.cpus // workers}"
            if machine.cpus >= workers
            else f"resources.workers_per_trial={workers}: there are {machine.cpus} CPUs; "
            f"valid: 1 to {machine.cpus}"
        )
    slots = machine.cpus // cpus
    if gpus:
        slots = min(slots, machine.gpus * per_gpu(gpus) // max(1, int(gpus)))
    return Allotment(workers, config.cpus_per_worker, gpus_per_worker, slots)


def on_nodes(allotment: Allotment, nodes: Sequence[Machine]) -> Allotment:
    """What fits a cluster, of which each worker lies on one node: Ray would wait for ever.

    Raises:
        UserError: its nodes have no room for all workers of a trial.
    """
    cpus, gpus = allotment.cpus_per_worker, allotment.gpus_per_worker
    places = sum(
        min(node.cpus // cpus, node.gpus * per_gpu(gpus)) if gpus else node.cpus // cpus
        for node in nodes
    )
    if places < allotment.workers:
        raise UserError(
            f"resources.cpus_per_worker={cpus}: the nodes of the cluster have room for {places} "
            f"such workers, and a trial has {allotment.workers}; valid: fewer CPUs, or workers"
        )
    return replace(allotment, slots=min(allotment.slots, places // allotment.workers))


def workers_of(config: ResourcesConfig, has_gpu: bool) -> int:
    """Processes that train a trial together, where the machine has a GPU or none."""
    return config.workers_per_trial or max(1, math.ceil(_gpus_of(config, has_gpu)))


def _gpus_of(config: ResourcesConfig, has_gpu: bool) -> float:
    given = config.gpus_per_trial
    if given is None or given == AUTO:
        return float(has_gpu)
    if isinstance(given, str):
        raise UserError(f"resources.gpus_per_trial={given}: {_GPUS}, or {AUTO}")
    return float(given)


def _check_numbers(config: ResourcesConfig, gpus: float) -> None:
    if not (0 <= gpus <= 1 or float(gpus).is_integer()) or gpus < 0:
        raise UserError(f"resources.gpus_per_trial={gpus:g}: {_GPUS}, or {AUTO}")
    for name in ("workers_per_trial", "cpus_per_worker"):
        value = getattr(config, name)
        if value is not None and value < 1:
            raise UserError(f"resources.{name}={value}: valid: a whole number of at least 1")
