"""What this machine is: processor, cores, instruction sets, memory, versions."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from typing import Any

import torch

from .._version import __version__
from ..kernels import build_info
from ..processor import cpuinfo, instruction_sets


def describe_machine(threads: int, device: torch.device) -> dict[str, Any]:
    """Everything about this machine that speed depends on; what cannot be found out is None."""
    facts: dict[str, Any] = {
        "processor": processor(),
        "cores": usable_cores(),
        "instruction_sets": instruction_sets(),
        "memory_gib": memory_gib(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torch_capability": torch.backends.cpu.get_cpu_capability(),
        "threads": threads,
        "device": str(device),
        "sam2_tools": __version__,
        "kernels": str(build_info()),
        "load": load(),
    }
    if device.type == "cuda":
        facts["gpu"] = torch.cuda.get_device_name(device)
    return facts


def processor() -> str:
    """Name of the processor."""
    names = [value for name, value in cpuinfo() if name == "model name"]
    if names:
        return names[0]
    if sys.platform == "darwin":
        asked = subprocess.run(
            ["sysctl", "-n", "machdep.cpu.brand_string"], capture_output=True, text=True, check=False
        )
        if asked.returncode == 0:
            return asked.stdout.strip()
    return platform.processor() or platform.machine()


def usable_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def memory_gib() -> float | None:
    """Main memory."""
    try:
        return round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1)
    except (AttributeError, ValueError, OSError):
        return None  # Windows


def load() -> float | None:
    """Processes that wanted to run in the last minute, this one among them: above the cores, figures are too slow."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None
