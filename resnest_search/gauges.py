"""What devices tell of themselves: clocks, heat, throttling and energy, where anybody can be asked.

A GPU through NVML, with the package nvidia-ml-py; the packages of a CPU through Linux's powercap
(RAPL). Whatever cannot be asked is None: no driver, no package, no permission, another system.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

__all__ = ["Energy", "GpuState", "gpu_percent", "gpu_state", "gpu_uuid"]

_POWERCAP = Path("/sys/class/powercap")
# Bits of nvmlDeviceGetCurrentClocksThrottleReasons: what slows a GPU below what its power lets.
# That limit itself (bit 2) is how a GPU runs under load, and no fault of a measuring.
_THROTTLES = {
    0x08: "hardware slowdown",
    0x20: "heat",
    0x40: "heat, by hardware",
    0x80: "power brake",
}


@dataclass(frozen=True)
class GpuState:
    """A GPU at one moment.

    Attributes:
        sm_mhz: clock of its multiprocessors.
        celsius: temperature of the chip.
        watts: power of the board.
        throttled: by what it is slowed down, besides its own power limit.
    """

    sm_mhz: float | None
    celsius: float | None
    watts: float | None
    throttled: tuple[str, ...] = ()


def gpu_state(uuid: str) -> GpuState | None:
    """A GPU now, by its UUID; None where NVML does not answer."""
    found = _gpu(uuid)
    if found is None:
        return None
    nvml, handle = found
    reasons = _asked(lambda: nvml.nvmlDeviceGetCurrentClocksThrottleReasons(handle))
    milliwatts = _asked(lambda: nvml.nvmlDeviceGetPowerUsage(handle))
    return GpuState(
        sm_mhz=_asked(lambda: nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM)),
        celsius=_asked(lambda: nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU)),
        watts=None if milliwatts is None else milliwatts / 1e3,
        throttled=tuple(name for bit, name in _THROTTLES.items() if int(reasons or 0) & bit),
    )


def gpu_percent(uuid: str) -> float | None:
    """Share of NVML's last sample, 1/6 s to 1 s, in which a GPU ran any kernel; None where it
    does not tell, as with a part of a GPU (MIG) or some virtual ones.
    """
    found = _gpu(uuid)
    if found is None:
        return None
    nvml, handle = found
    rates = _asked(lambda: nvml.nvmlDeviceGetUtilizationRates(handle))
    return None if rates is None else float(rates.gpu)


def gpu_uuid(device: Any) -> str | None:
    """Of torch's device, as NVML knows it; None of a CPU."""
    if device.type != "cuda":
        return None
    import torch

    return f"GPU-{torch.cuda.get_device_properties(device).uuid}"


class Energy:
    """What a device has used since this was made.

    Args:
        gpu: its UUID; None for all packages of the CPU.
    """

    def __init__(self, gpu: str | None = None) -> None:
        self._gpu = gpu
        self._before = self._now()

    def joules(self) -> float | None:
        """Since then; None where the device does not tell, or told less than before."""
        now = self._now()
        if not now or now.keys() != self._before.keys():
            return None
        used = [
            (end - begun) % most if most else end - begun
            for (begun, _), (end, most) in zip(self._before.values(), now.values(), strict=True)
        ]
        return sum(used) if min(used) >= 0 else None

    def _now(self) -> dict[str, tuple[float, float]]:
        """Joules of each counter, and where it begins anew; 0 where it does not."""
        if self._gpu is None:
            return _packages()
        found = _gpu(self._gpu)
        if found is None:
            return {}
        nvml, handle = found
        millijoules = _asked(lambda: nvml.nvmlDeviceGetTotalEnergyConsumption(handle))
        return {} if millijoules is None else {"gpu": (millijoules / 1e3, 0.0)}


def _packages() -> dict[str, tuple[float, float]]:
    """The counters of the CPU's packages; what lies within one is not counted again."""
    found = {}
    for folder in sorted(_POWERCAP.glob("intel-rapl:*")):
        try:
            if not (folder / "name").read_text().startswith("package"):
                continue  # a part of one, or the whole platform
            used, most = (
                int((folder / name).read_text()) / 1e6
                for name in ("energy_uj", "max_energy_range_uj")
            )
        except (OSError, ValueError):
            return {}
        found[folder.name] = (used, most)
    return found


def _gpu(uuid: str) -> tuple[Any, Any] | None:
    """NVML and its handle of a GPU."""
    nvml = _nvml()
    if nvml is None:
        return None
    handle = _asked(lambda: nvml.nvmlDeviceGetHandleByUUID(uuid))
    return None if handle is None else (nvml, handle)


@cache
def _nvml() -> Any:
    """The module, once it has found the driver; else None."""
    try:
        import pynvml as nvml

        nvml.nvmlInit()
    except Exception:  # not installed, no driver, or a driver that is another than its library
        return None
    return nvml


def _asked(ask: Callable[[], Any]) -> Any:
    """An answer of NVML's; None where the device has none to this question."""
    nvml = _nvml()
    try:
        return ask()
    except nvml.NVMLError:
        return None
