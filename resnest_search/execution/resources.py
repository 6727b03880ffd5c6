"""What a trial gets and how many fit at once; what cannot fit is refused before Ray starts."""

from __future__ import annotations

import ctypes
import math
import os
import re
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from resnest_search.configuration.schema import ResourcesConfig
from resnest_search.errors import UserError

__all__ = ["Allotment", "Machine", "allot", "this_machine", "workers_of"]


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
    def bundles(self) -> list[dict[str, float]]:
        """Ray's resources of each worker."""
        bundle: dict[str, float] = {"CPU": self.cpus_per_worker}
        if self.gpus_per_worker:
            bundle["GPU"] = self.gpus_per_worker
        return [dict(bundle) for _ in range(self.workers)]


def this_machine() -> Machine:
    """CPUs that this process may use, and the GPUs that torch sees."""
    return Machine(min(len(os.sched_getaffinity(0)), _cpu_quota()), _visible_gpus())


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
        per_gpu = math.floor(1 / gpus + 1e-9)
        slots = min(slots, machine.gpus * per_gpu if gpus < 1 else machine.gpus // int(gpus))
    return Allotment(workers, config.cpus_per_worker, gpus_per_worker, slots)


def workers_of(config: ResourcesConfig, has_gpu: bool) -> int:
    """Processes that train a trial together, where the machine has a GPU or none."""
    return config.workers_per_trial or max(1, math.ceil(_gpus_of(config, has_gpu)))


def _gpus_of(config: ResourcesConfig, has_gpu: bool) -> float:
    return float(has_gpu) if config.gpus_per_trial is None else config.gpus_per_trial


def _check_numbers(config: ResourcesConfig, gpus: float) -> None:
    if not (0 <= gpus <= 1 or float(gpus).is_integer()) or gpus < 0:
        raise UserError(
            f"resources.gpus_per_trial={gpus:g}: valid: a fraction of one GPU, or a whole number"
        )
    for name in ("workers_per_trial", "cpus_per_worker"):
        value = getattr(config, name)
        if value is not None and value < 1:
            raise UserError(f"resources.{name}={value}: valid: a whole number of at least 1")
