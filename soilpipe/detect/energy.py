"""What a computation ran on, and the energy that it took, where the machine tells.

Two meters are read, both counters that only rise: the processor packages' by Linux's power capping interface (RAPL,
/sys/class/powercap; many systems show it to administrators alone), and a GPU's by NVIDIA's management library (through
the package pynvml, where it is installed). They meter the whole package and the whole GPU, whoever uses them.
"""

from __future__ import annotations

import importlib
import os
import platform
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

POWERCAP = Path("/sys/class/powercap")
EVERY_S = 60.0  # a package's counter begins again after some ten minutes at the earliest: it is read more often
JOULES_PER_WH = 3600.0


class EnergyMeter:
    """Reads the meters from its making on, in the background, until `stop`.

    `device`: where the computation runs. `powercap`: the folder of the counters.
    """

    def __init__(self, device: torch.device, *, powercap: Path = POWERCAP, every_s: float = EVERY_S) -> None:
        self._device = device
        self._counters = [counter for zone in packages(powercap) if (counter := _Counter.of(zone)) is not None]
        self._gpu = _gpu_meter(device) if device.type == "cuda" else None
        self._gpu_first = self._gpu() if self._gpu else 0.0
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        if self._counters:
            self._thread = threading.Thread(target=self._watch, args=(every_s,), daemon=True)
            self._thread.start()

    def __enter__(self) -> EnergyMeter:
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()

    def _watch(self, every_s: float) -> None:
        while not self._over.wait(every_s):
            self.read()

    def read(self) -> None:
        """Take in what the counters show; done in the background too."""
        for counter in self._counters:
            counter.read()

    def stop(self) -> dict[str, Any]:
        """`hardware`; `energy_wh`: Wh of what could be metered, else None; `energy_of`: what that is, in words."""
        self._over.set()
        if self._thread is not None:
            self._thread.join()
        self.read()
        parts: list[tuple[str, float]] = []
        if self._counters:
            parts.append(("processor packages, whole", sum(counter.joules for counter in self._counters)))
        if self._gpu is not None:
            parts.append(("GPU, whole", self._gpu() - self._gpu_first))
        if not parts:
            told: dict[str, Any] = {
                "energy_wh": None,
                "energy_of": "not metered: this machine shows no meter that may be read",
            }
        else:
            total = sum(joules for _, joules in parts) / JOULES_PER_WH
            told = {"energy_wh": round(total, 3), "energy_of": " and ".join(name for name, _ in parts)}
        return {"hardware": hardware(self._device), **told}


def packages(powercap: Path = POWERCAP) -> list[Path]:
    """The zones of whole processor packages (`intel-rapl:0`; what lies below a package is a part of it)."""
    return sorted(zone for zone in powercap.glob("*-rapl:*") if zone.name.count(":") == 1)


class _Counter:
    """One counter of microjoules, which begins again at its range."""

    def __init__(self, file: Path, span: int, value: int) -> None:
        self._file, self._span, self._last = file, span, value
        self._sum = 0

    @classmethod
    def of(cls, zone: Path) -> _Counter | None:
        """None where it may not be read."""
        try:
            span = int((zone / "max_energy_range_uj").read_text())
            file = zone / "energy_uj"
            return cls(file, span, int(file.read_text()))
        except (OSError, ValueError):
            return None

    def read(self) -> None:
        try:
            value = int(self._file.read_text())
        except (OSError, ValueError):
            return  # the next reading takes in what this one missed
        self._sum += value - self._last if value >= self._last else value - self._last + self._span
        self._last = value

    @property
    def joules(self) -> float:
        return self._sum / 1e6


def _gpu_meter(device: torch.device) -> Callable[[], float] | None:
    """What reads the joules that the GPU has taken since its driver was loaded; None without such a meter."""
    try:
        nvml: Any = importlib.import_module("pynvml")
        nvml.nvmlInit()
        identity = str(torch.cuda.get_device_properties(device).uuid)
        handle = nvml.nvmlDeviceGetHandleByUUID(identity if identity.startswith("GPU-") else f"GPU-{identity}")
        nvml.nvmlDeviceGetTotalEnergyConsumption(handle)
    except Exception:  # whatever is missing there, a training does without the figure
        return None
    return lambda: float(nvml.nvmlDeviceGetTotalEnergyConsumption(handle)) / 1000


def hardware(device: torch.device) -> dict[str, Any]:
    """The machine, JSON-able: processor, cores that may be used, torch threads, memory in GB, GPU (None without)."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "processor": _processor(),
        "cores": cores,
        "threads": torch.get_num_threads(),
        "memory_gb": _memory_gb(),
        "gpu": torch.cuda.get_device_name(device) if device.type == "cuda" else None,
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _memory_gb() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1)
    except (ValueError, OSError, AttributeError):
        return None
