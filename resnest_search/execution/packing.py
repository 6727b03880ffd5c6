"""How many trials share a GPU, from what their training steps were measured to need."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

from resnest_search.configuration.schema import ResourcesConfig, SweepConfig
from resnest_search.execution.resources import AUTO, Machine
from resnest_search.study.costing import Costing
from resnest_search.words import counted

__all__ = ["packed", "trials_per_gpu"]

# A step takes more than was measured where the allocator's blocks do not fit or cuDNN tries
# algorithms, and validation has batches of its own.
_MARGIN = 1.25
_KEY = f"resources.gpus_per_trial={AUTO}"
_CONTEXT_MIB = 1024.0  # of CUDA, in each process, which no allocator counts


def trials_per_gpu(
    config: ResourcesConfig, step_mib: float, gpu_mib: float, machine: Machine | None = None
) -> int:
    """Trials that share a GPU, at least 1.

    Args:
        config: with the most that may.
        step_mib: of the dearest training step.
        gpu_mib: all memory of a GPU.
        machine: whose CPUs bound them, too; None where they are not known.
    """
    room = math.floor(gpu_mib / (_MARGIN * step_mib + _CONTEXT_MIB))
    if machine is not None and machine.gpus:
        room = min(room, machine.cpus // config.cpus_per_worker // machine.gpus)
    return max(1, min(config.trials_per_gpu, room))


def packed(
    config: SweepConfig, costings: Mapping[str, Costing], machine: Machine | None
) -> tuple[SweepConfig, str]:
    """The configuration with what ``resources.gpus_per_trial=auto`` comes to, and a line on it.

    Everything as it is, and no line, where that is not asked.

    Args:
        config: of the sweep.
        costings: as measured, with the limits that they break.
        machine: that trains; None for a cluster.
    """
    if config.resources.gpus_per_trial != AUTO:
        return config, ""
    if machine is not None and not machine.gpus:
        return _with(config, None), ""
    steps = [
        (costing.costs["train_memory_mib"], (costing.details or {}).get("gpu_mib"))
        for costing in costings.values()
        if not (costing.failure or costing.infeasible) and "train_memory_mib" in costing.costs
    ]
    sizes = [size for _, size in steps if size is not None]
    if config.measure.profile or not sizes or len(sizes) < len(steps):
        return _with(config, None), (
            f"{_KEY}: a trial for each GPU, since no training step was measured on one here"
        )
    dearest, size = max(step for step, _ in steps), min(sizes)
    share = trials_per_gpu(config.resources, dearest, size, machine)
    most = config.resources.trials_per_gpu
    return _with(config, 1 / share), (
        f"{_KEY}: {counted(share, 'trial')} for each GPU of {size:.0f} MiB, of which the dearest "
        f"training step takes {dearest:.0f} (resources.trials_per_gpu={most}); what lacks memory "
        "beside others goes on alone, once"
    )


def _with(config: SweepConfig, gpus: float | None) -> SweepConfig:
    resources = dataclasses.replace(config.resources, gpus_per_trial=gpus)
    return dataclasses.replace(config, resources=resources)
