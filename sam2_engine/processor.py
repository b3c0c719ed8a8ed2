"""What the processor can do, as far as that is told without PyTorch."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

INSTRUCTION_SETS = {
    "AVX2": ("avx2",),
    "AVX-512": ("avx512f", "avx512_f"),
    "AVX512-VNNI": ("avx512_vnni",),
    "AVX512-BF16": ("avx512_bf16",),
    "AVX512-FP16": ("avx512_fp16",),
    "AMX-TILE": ("amx_tile",),
    "AMX-BF16": ("amx_bf16",),
    "AMX-INT8": ("amx_int8",),
    "NEON": ("asimd", "neon"),
    "SVE": ("sve",),
    "ARM-BF16": ("bf16", "arm_bf16"),
}
"""What makes a difference here → how Linux and PyTorch call it."""

BF16_SETS = frozenset({"AVX512-BF16", "AMX-BF16", "ARM-BF16"})
"""Those that multiply numbers of 16 bits by themselves."""


def instruction_sets() -> list[str]:
    """Those of `INSTRUCTION_SETS` that the processor has; PyTorch is asked, too, where it was imported already."""
    has = {word for name, value in cpuinfo() if name in ("flags", "features") for word in value.split()}
    torch = _imported_torch()
    if torch is not None and hasattr(torch.cpu, "get_capabilities"):
        has |= {name for name, value in torch.cpu.get_capabilities().items() if value is True}
    return [name for name, words in INSTRUCTION_SETS.items() if has.intersection(words)]


def knows_bf16(device: str = "cpu") -> bool | None:
    """Whether ``bf16`` is quick on a device: ``cpu``, ``cuda``, ``cuda:1``, ``mps``, or ``auto`` for the best there is.

    None where it cannot be said: before PyTorch is imported, on systems that do not tell, on Apple's GPU.
    """
    torch = _imported_torch()
    kind = device.partition(":")[0]
    if kind == "auto":
        if torch is None or torch.backends.mps.is_available():
            return True if knows_bf16() else None
        kind = "cuda" if torch.cuda.is_available() else "cpu"
    if kind == "cuda":
        return None if torch is None else bool(torch.cuda.is_available() and torch.cuda.is_bf16_supported())
    if kind == "mps":
        return None
    found = instruction_sets()
    return bool(BF16_SETS.intersection(found)) if found else None


def _imported_torch() -> Any | None:
    """PyTorch, where somebody imported it, and is not just doing so in another thread."""
    torch = sys.modules.get("torch")
    is_coming = getattr(getattr(torch, "__spec__", None), "_initializing", False)
    return None if is_coming else torch


def cpuinfo() -> Iterator[tuple[str, str]]:
    """What Linux says of its processors, name and value; nothing elsewhere."""
    path = Path("/proc/cpuinfo")
    if path.exists():
        for line in path.read_text().splitlines():
            name, _, value = line.partition(":")
            yield name.strip().lower(), value.strip()
