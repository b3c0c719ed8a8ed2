"""How much may be kept: one value for everything that a session or a plug-in holds on to.

THE place of who gets which part of it. The model, and what one step computes with, come on top.
"""

from __future__ import annotations

import math
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from .errors import BudgetError

MEBIBYTE = 2**20

Stored = Literal["exact", "bfloat16"]
"""Number format of features in a folder: as they were computed, or half as large."""

LEAST_MB = 16
"""Less memory than this holds nothing that is of use."""

DEFAULT_SHARE, DEFAULT_LEAST_MB, DEFAULT_MOST_MB = 0.25, 256, 4096
"""Memory that is used where nobody said how much: a part of what is free, within bounds."""

DISK_SHARE, DISK_MOST_MB = 0.1, 16 * 1024
"""Disk likewise."""


@dataclass(frozen=True, slots=True)
class Budget:
    """How much may be kept.

    Attributes
    ----------
    memory_mb : MiB of memory for features, memories, masks, pixels and steps to undo; where not given, a quarter of
        what is free, from 256 to 4096
    disk_mb : MiB in `folder`; where not given, a tenth of the disk's free space, at most 16 GiB. 0 keeps nothing there
    folder : where features outlive the process, to be found again by the content of frames; None for no such place
    stored : ``exact`` gives the same masks to the bit with and without the folder; ``bfloat16`` takes half the disk,
        and rounds all features alike, whether they come from the folder or not

    Raises
    ------
    BudgetError
        Too little, negative, no number, or another word for `stored`.
    """

    memory_mb: float | None = None
    disk_mb: float | None = None
    folder: Path | None = None
    stored: Stored = "exact"

    def __post_init__(self) -> None:
        set_value = object.__setattr__  # the way for frozen values to complete themselves
        if self.folder is not None:
            set_value(self, "folder", Path(self.folder).expanduser())
        if self.memory_mb is None:
            set_value(self, "memory_mb", default_memory_mb())
        if self.disk_mb is None:
            set_value(self, "disk_mb", 0 if self.folder is None else default_disk_mb(self.folder))
        _check(self)

    @property
    def memory_bytes(self) -> int:
        """Bytes of memory for everything."""
        return int((self.memory_mb or 0) * MEBIBYTE)

    @property
    def disk_bytes(self) -> int:
        """Bytes in the folder; 0 without one."""
        return 0 if self.folder is None else int((self.disk_mb or 0) * MEBIBYTE)

    @property
    def shares(self) -> Shares:
        """Who gets what of the memory."""
        whole = self.memory_bytes
        return Shares(*(int(whole * part) for part in (0.5, 0.2, 0.1, 0.1, 0.1)))


@dataclass(frozen=True, slots=True)
class Shares:
    """Parts of a budget's memory, in bytes.

    Attributes
    ----------
    features : of frames and windows
    memories : of objects, on past frames
    masks : that were handed out, compressed; further ones wait on the disk
    history : what only undo and redo need
    pixels : of the frames at hand
    """

    features: int
    memories: int
    masks: int
    history: int
    pixels: int


def default_memory_mb() -> int:
    """MiB of memory to use on this machine as it is now."""
    share = DEFAULT_SHARE * free_memory_bytes() / MEBIBYTE
    return int(min(max(share, DEFAULT_LEAST_MB), DEFAULT_MOST_MB))


def default_disk_mb(folder: Path) -> int:
    """MiB of disk to use in a folder, which need not be there yet; 0 where its disk cannot be asked."""
    there = folder.absolute()
    while not there.exists() and there != there.parent:
        there = there.parent
    try:
        free = shutil.disk_usage(there).free
    except OSError:
        return 0
    return int(min(DISK_SHARE * free / MEBIBYTE, DISK_MOST_MB))


def free_memory_bytes() -> int:
    """Memory that can be taken without swapping, within the limit of a container."""
    import psutil

    free = int(psutil.virtual_memory().available)
    limit, used = (_number_in(Path("/sys/fs/cgroup") / name) for name in ("memory.max", "memory.current"))
    return free if limit is None or used is None else max(min(free, limit - used), 0)


def default_folder() -> Path:
    """The user's cache of features, beside that of downloaded weights; ``SAM2_CACHE`` names another place."""
    import pooch

    return Path(os.environ.get("SAM2_CACHE") or pooch.os_cache("sam2-tools")).expanduser() / "features"


def _number_in(path: Path) -> int | None:
    """What a file of the kernel says; None where it is not there or says "max"."""
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


def _check(budget: Budget) -> None:
    for name, least in (("memory_mb", LEAST_MB), ("disk_mb", 0)):
        value = getattr(budget, name)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value) or value < least:
            raise BudgetError(f"{name} is a number of MiB from {least} on, got {value!r}; leave it out for a default")
    if budget.stored not in get_args(Stored):
        raise BudgetError(f"features are stored as one of {get_args(Stored)}, got {budget.stored!r}")
