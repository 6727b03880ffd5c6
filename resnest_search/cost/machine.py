"""The device that is measured on: which, its name, its memory, the versions around it."""

from __future__ import annotations

import platform
import re
from pathlib import Path

import psutil
import torch

from resnest_search import __version__
from resnest_search.configuration.schema import MeasureConfig
from resnest_search.cost.account import MIB
from resnest_search.cost.busy import cpus_of_process
from resnest_search.cost.runtime import runtime_version
from resnest_search.gauges import GpuState, gpu_state, gpu_uuid
from resnest_search.models.float32 import float32_products

__all__ = ["device_name", "machine", "memory_mib", "resolve_device", "state_of", "versions"]

_DRIVER = Path("/proc/driver/nvidia/version")


def resolve_device(name: str | None) -> torch.device:
    """The device of this name; None is a GPU where there is one, else the CPU.

    Raises:
        ValueError: the name is no CPU or CUDA device, or this process sees no such GPU.
    """
    if name is None:
        name = "cuda" if torch.cuda.is_available() else "cpu"
    kind, _, index = name.partition(":")
    if kind not in ("cpu", "cuda") or (index and not (index.isascii() and index.isdigit())):
        raise ValueError(f"measure.device must be cpu, cuda or cuda:<index>, not {name!r}")
    if kind == "cpu":
        return torch.device("cpu")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if int(index or 0) >= count:
        raise ValueError(f"measure.device is {name!r}, but this process sees {count} GPUs")
    return torch.device("cuda", int(index or 0))


def device_name(device: torch.device) -> str:
    """What a person calls it: the model of the GPU or of the CPU."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(models, "") or platform.processor() or platform.machine()


def state_of(device: torch.device) -> GpuState | None:
    """Clock, heat, power and throttling of a GPU now; None where nobody tells, as of a CPU."""
    uuid = gpu_uuid(device)
    return None if uuid is None else gpu_state(uuid)


def memory_mib(device: torch.device) -> float:
    """All memory of the device, used or free; of a CPU, as far as its container may use it."""
    if device.type == "cuda":
        return float(torch.cuda.get_device_properties(device).total_memory / MIB)
    total = float(psutil.virtual_memory().total)
    try:  # a container's bound, which psutil does not know
        bound = Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii").strip()
    except OSError:
        bound = "max"
    return (min(total, float(bound)) if bound.isdigit() else total) / MIB


def versions(device: torch.device, mode: MeasureConfig | None = None) -> dict[str, str]:
    """What a latency depends on besides the device.

    Of a mode, too: on a GPU how it multiplies float32, and of ONNX Runtime's its version.
    """
    found = {"python": platform.python_version(), "torch": str(torch.__version__)}
    if device.type == "cuda":
        found["cuda"] = str(torch.version.cuda)
        found["cudnn"] = str(torch.backends.cudnn.version())  # type: ignore[no-untyped-call]
        if driver := _driver():
            found["driver"] = driver
        if mode is not None:
            with float32_products(mode.precision) as products:
                found["float32_products"] = products
    if mode is not None and mode.form == "onnxruntime":
        found["onnxruntime"] = runtime_version()
    return found


def machine(device: torch.device, mode: MeasureConfig | None = None) -> dict[str, str]:
    """What costs depend on besides the network and its mode: host, device, CPUs and `versions`."""
    cpus = {"cpus": str(len(cpus_of_process()))} if device.type == "cpu" else {}
    here = {"host": platform.node(), "device": device_name(device), "resnest-search": __version__}
    return {**here, **cpus, **versions(device, mode)}


def _driver() -> str:
    """The version of NVIDIA's driver; empty where the kernel does not tell."""
    try:
        found = re.search(r"\d+\.\d+(\.\d+)?", _DRIVER.read_text(encoding="ascii"))
    except (OSError, UnicodeDecodeError):
        return ""
    return found[0] if found else ""
