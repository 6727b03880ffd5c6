"""How busy others keep the device while it is measured: evidence beside every latency."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    import torch

__all__ = [
    "CpuWatch",
    "Load",
    "cores_for",
    "cpus_of_process",
    "idlest_cpus",
    "is_trouble",
    "look",
]

_FRESH_S = 1.0  # seconds for which a look at the CPUs holds: small networks take less
_last_look: dict[tuple[int, ...], tuple[float, list[int]]] = {}  # by our CPUs: when, and the order
_TOPOLOGY = Path("/sys/devices/system/cpu")  # of Linux
TROUBLE_PERCENT = 10.0  # of a device, by others; below it medians barely move
TROUBLE_S = 0.1  # of others' work: the kernel's ticks of 10 ms make less of nothing


@dataclass(frozen=True)
class Load:
    """Seconds of device time that others took, of the seconds that there were."""

    busy_s: float = 0.0
    offered_s: float = 0.0

    def __add__(self, other: Load) -> Load:
        return Load(self.busy_s + other.busy_s, self.offered_s + other.offered_s)

    def __sub__(self, other: Load) -> Load:
        return Load(self.busy_s - other.busy_s, self.offered_s - other.offered_s)

    @property
    def percent(self) -> float | None:
        """In [0, 100]; None where nothing is known."""
        if self.offered_s <= 0.0:
            return None
        return min(100.0, 100.0 * self.busy_s / self.offered_s)

    @property
    def is_trouble(self) -> bool:
        """Whether what was timed meanwhile is not to be trusted."""
        percent = self.percent
        return percent is not None and is_trouble(percent, self.busy_s)


def is_trouble(percent: float, busy_s: float | None = None) -> bool:
    """Whether so much of a device, in so many seconds where these are known, disturbs timing."""
    return percent > TROUBLE_PERCENT and (busy_s is None or busy_s >= TROUBLE_S)


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

    Of a GPU, NVML's utilization (`gauges.gpu_percent`), empty where it does not tell. It counts
    this process's own kernels, so that the caller leaves the device alone before the look.
    """
    if device.type == "cpu":
        watch = CpuWatch()
        time.sleep(seconds)
        return watch.read()
    # Not for CPUs: the export's own check watches them in a process that has this file alone.
    import torch

    from resnest_search.gauges import gpu_percent, gpu_uuid

    torch.cuda.synchronize(device)
    time.sleep(seconds)
    # Not torch.cuda.utilization: it takes torch's number of a GPU for NVML's, which follows the
    # slots, and raises what nobody expects where NVML does not answer.
    percent = gpu_percent(str(gpu_uuid(device)))
    return Load() if percent is None else Load(percent / 100.0 * seconds, seconds)


def cpus_of_process() -> list[int]:
    """Numbers of the CPUs that this thread may run on."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def cores_for(count: int) -> int | None:
    """Physical cores that this many pinned threads share; None where the system does not tell."""
    cores = {_siblings(cpu) for cpu in cpus_of_process()}
    return None if frozenset() in cores else min(count, len(cores))


def idlest_cpus(count: int, seconds: float = 0.05) -> list[int]:
    """This many of our CPUs, those that idle most during the next moment, or did a second ago.

    Each on a core of its own while there are such, where the system tells cores (Linux): two
    threads of one core get hardly more done than one. A core is as idle as its busiest thread.

    Raises:
        ValueError: we have fewer.
    """
    cpus = cpus_of_process()
    if not 1 <= count <= len(cpus):
        raise ValueError(f"measure.threads is {count}, but this process may use {len(cpus)} CPUs")
    if count == len(cpus):
        return cpus
    looked, ordered = _last_look.get(tuple(cpus), (-math.inf, cpus))
    if time.monotonic() - looked > _FRESH_S:
        before = psutil.cpu_times(percpu=True)
        time.sleep(seconds)
        after = psutil.cpu_times(percpu=True)
        idle = [now.idle - then.idle for then, now in zip(before, after, strict=False)]
        ordered = _spread(cpus, idle)
        _last_look[tuple(cpus)] = (time.monotonic(), ordered)
    return ordered[:count]


def _spread(cpus: Sequence[int], idle: Sequence[float]) -> list[int]:
    """Our CPUs, the idlest of each core first, idle cores first; then what is left of them."""

    def idleness(cpu: int) -> float:
        return idle[cpu] if cpu < len(idle) else 0.0

    def of_core(cpu: int) -> tuple[float, float]:
        return min(map(idleness, _siblings(cpu) or {cpu})), idleness(cpu)

    ordered = sorted(cpus, key=of_core, reverse=True)
    firsts: dict[frozenset[int], int] = {}
    for cpu in ordered:
        firsts.setdefault(_siblings(cpu) or frozenset({cpu}), cpu)
    first = list(firsts.values())
    return first + [cpu for cpu in ordered if cpu not in first]


def _siblings(cpu: int) -> frozenset[int]:
    """Numbers of the CPUs on its physical core, its own too; empty where they are not told."""
    path = _TOPOLOGY / f"cpu{cpu}" / "topology" / "thread_siblings_list"
    try:
        ranges = path.read_text(encoding="ascii").strip().split(",")
        ends = [[int(end) for end in text.split("-")] for text in ranges]
    except (OSError, ValueError):
        return frozenset()
    return frozenset(n for first, *last in ends for n in range(first, (last or [first])[0] + 1))
