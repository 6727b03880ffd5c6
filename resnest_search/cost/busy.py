"""How busy others keep the device while it is measured: evidence beside every latency."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    import torch

__all__ = [
    "TROUBLE_PERCENT",
    "CpuWatch",
    "Load",
    "busy_percent",
    "cpus_of_process",
    "idlest_cpus",
    "look",
]

TROUBLE_PERCENT = 10.0  # of a device, by others; below it medians barely move


@dataclass(frozen=True)
class Load:
    """Seconds of device time that others took, of the seconds that there were."""

    busy_s: float = 0.0
    offered_s: float = 0.0

    def __add__(self, other: Load) -> Load:
        return Load(self.busy_s + other.busy_s, self.offered_s + other.offered_s)

    @property
    def percent(self) -> float | None:
        """In [0, 100]; None where nothing is known."""
        if self.offered_s <= 0.0:
            return None
        return min(100.0, 100.0 * self.busy_s / self.offered_s)


class CpuWatch:
    """Watches, from its construction on, what other processes take of this process's CPUs.

    The kernel counts in ticks of 10 ms, so that short watches are coarse; add several.
    """

    def __init__(self) -> None:
        self._cpus = cpus_of_process()
        self._start = self._now()

    def read(self) -> Load:
        """The load since the construction; empty where the kernel tells nothing."""
        offered, busy, own = (
            now - start for now, start in zip(self._now(), self._start, strict=True)
        )
        return Load(max(0.0, busy - own), offered) if offered > 0.0 else Load()

    def _now(self) -> tuple[float, float, float]:
        """CPU seconds since boot: offered by all our CPUs, not idle, and our own."""
        times = psutil.cpu_times(percpu=True)
        mine = [times[cpu] for cpu in self._cpus if cpu < len(times)]
        offered = sum(sum(cpu[:8]) for cpu in mine)  # guest time, past 8, is within user time
        idle = sum(cpu.idle + getattr(cpu, "iowait", 0.0) for cpu in mine)
        own = psutil.Process().cpu_times()
        return offered, offered - idle, own.user + own.system


def look(device: torch.device, seconds: float = 0.3) -> Load:
    """Do nothing for this long, and see who else uses the device.

    Of a GPU, NVML's utilization: the share of its last sample, between 1/6 s and 1 s, in
    which any kernel ran. It is empty without the package nvidia-ml-py or the driver's
    consent, and it counts this process's own kernels, so that the caller leaves the
    device alone before the look.
    """
    if device.type == "cpu":
        watch = CpuWatch()
        time.sleep(seconds)
        return watch.read()
    import torch  # not for CPUs: the export's own check watches them in a process without it

    torch.cuda.synchronize(device)
    time.sleep(seconds)
    try:
        return Load(torch.cuda.utilization(device) / 100.0 * seconds, seconds)
    except (ImportError, RuntimeError, OSError):  # no pynvml; no driver library; not permitted
        return Load()


def busy_percent(device: torch.device, seconds: float = 0.3) -> float | None:
    """How busy others keep the device now, in [0, 100]; None where it cannot be known."""
    return look(device, seconds).percent


def cpus_of_process() -> list[int]:
    """Numbers of the CPUs that this thread may run on."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def idlest_cpus(count: int, seconds: float = 0.05) -> list[int]:
    """This many of our CPUs, those that idle most during the next moment.

    Raises:
        ValueError: we have fewer.
    """
    cpus = cpus_of_process()
    if not 1 <= count <= len(cpus):
        raise ValueError(f"measure.threads is {count}, but this process may use {len(cpus)} CPUs")
    if count == len(cpus):
        return cpus
    before = psutil.cpu_times(percpu=True)
    time.sleep(seconds)
    after = psutil.cpu_times(percpu=True)
    known = [cpu for cpu in cpus if cpu < len(after)]
    idle = {cpu: after[cpu].idle - before[cpu].idle for cpu in known}
    return sorted(cpus, key=lambda cpu: idle.get(cpu, 0.0), reverse=True)[:count]
