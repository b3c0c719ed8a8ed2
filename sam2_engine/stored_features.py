"""Image features that many sequences share, in memory and on disk.

Who encodes a picture pays once: what was computed is found again by the picture's content, in this process while memory
lasts, and in a folder after a restart. What is found is the same to the bit wherever it comes from, so that answers
never depend on what happened to be kept.
"""

from __future__ import annotations

import atexit
import contextlib
import hashlib
import logging
import math
import os
import threading
import time
import zlib
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Sequence
from pathlib import Path
from uuid import uuid4

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load as read_tensors
from safetensors.torch import save as write_tensors
from torch import Tensor

from .features import EncodeWindows, single_rows
from .geometry import Window
from .outputs import ImageFeatures, joined
from .recent import Recent

logger = logging.getLogger(__name__)

FORMAT = 1
"""Changes whenever pictures are prepared for the encoder in another way, so that older files are passed over."""

STORED = torch.bfloat16
"""Number format of files that are to be small; with such a folder also that in memory, since what comes from either
must be the same."""

MAX_WAITING_BYTES = 64 * 2**20
"""Features that wait to be written; who has further ones waits, or goes on without writing them."""

ABANDONED_S = 3600.0
"""A file that has been half written for so long will never be finished."""

_LEVELS = ("embedding", "fine", "middle", "pixels")
"""Of `ImageFeatures`, by their names in files; not all models have pixels."""

Names = Callable[[int], str]
"""The content of a sequence's frame: equal for equal pixels and equal contrast, else different."""


class SharedFeatures:
    """Features of parts of many pictures; the most recently used ones stay.

    Parameters
    ----------
    max_bytes : what may be held in memory; 0 holds nothing
    folder : where features outlive the process
    device : that features are wanted on; memory holds them there too
    keeps_newest : whether the newest stay even where they alone are larger

    Notes
    -----
    May be used from several threads.
    """

    def __init__(
        self,
        max_bytes: int,
        folder: FeatureFolder | None = None,
        device: torch.device | None = None,
        *,
        keeps_newest: bool = False,
    ) -> None:
        self.folder = folder
        self.device = device or torch.device("cpu")
        self.hits = self.hits_on_disk = self.misses = 0
        self._recent: Recent[tuple[str, Window | None], ImageFeatures] = Recent(
            max_bytes, lambda features: features.nbytes, keeps_newest=keeps_newest
        )
        self._lock = threading.Lock()

    def of(self, names: Names) -> SequenceFeatures:
        """The features of one sequence, whose frames are called `names`."""
        return SequenceFeatures(self, names)

    def rows(self, name: str, windows: Sequence[Window | None], encode: EncodeWindows) -> ImageFeatures:
        """Features of windows of the picture of content `name`, one row each; see `FeatureCache.rows`."""
        known = {window: found for window in dict.fromkeys(windows) if (found := self._find(name, window)) is not None}
        missing = [window for window in dict.fromkeys(windows) if window not in known]
        if missing:
            fresh = single_rows(encode(missing), len(missing))
            for window, features in zip(missing, fresh, strict=True):
                known[window] = self._take_in(name, window, features)
        rounded = self.folder is not None and self.folder.stored is not None
        rows = [_as(known[window], torch.float32) if rounded else known[window] for window in windows]
        return rows[0] if len(rows) == 1 else joined(rows)

    def bring(self, name: str, window: Window | None) -> bool:
        """Whether features are in memory, after they were read where they lie in the folder only."""
        if (name, window) in self._recent:
            return True
        stored = self.folder.read(name, window) if self.folder is not None else None
        if stored is None:
            return False
        with self._lock:
            self.hits_on_disk += 1
        self._recent.put((name, window), at_rest(stored, self.device))
        return True

    @property
    def nbytes(self) -> int:
        """Bytes held in memory."""
        return self._recent.nbytes

    def __len__(self) -> int:
        """Windows held in memory."""
        return len(self._recent)

    def close(self) -> None:
        """Write what waits to be written."""
        if self.folder is not None:
            self.folder.close()

    def _find(self, name: str, window: Window | None) -> ImageFeatures | None:
        found = self._recent.get((name, window))
        if found is not None:
            with self._lock:
                self.hits += 1
            return found
        stored = self.folder.read(name, window) if self.folder is not None else None
        with self._lock:
            self.misses += stored is None
            self.hits_on_disk += stored is not None
        return None if stored is None else self._recent.put((name, window), at_rest(stored, self.device))

    def _take_in(self, name: str, window: Window | None, features: ImageFeatures) -> ImageFeatures:
        if self.folder is not None:
            if self.folder.stored is not None:
                features = _as(features, self.folder.stored)
            self.folder.write(name, window, features)
        # Also what is fresh is handed out as it is kept: how numbers lie in memory can change the last digits.
        return self._recent.put((name, window), at_rest(features, self.device))


class SequenceFeatures:
    """What a `FrameDecider` asks for the features of one sequence."""

    def __init__(self, shared: SharedFeatures, names: Names) -> None:
        self._shared = shared
        self._names = names

    def rows(self, name: Hashable, windows: Sequence[Window | None], encode: EncodeWindows) -> ImageFeatures:
        """Features of windows of a frame, one row each."""
        assert isinstance(name, int), "frames are called by their number"
        return self._shared.rows(self._names(name), windows, encode)

    def bring(self, name: Hashable, window: Window | None) -> bool:
        """Whether features of a frame are here; those that are stored are brought here first."""
        assert isinstance(name, int), "frames are called by their number"
        return self._shared.bring(self._names(name), window)


class FeatureFolder:
    """Features as files, one for each window of a picture.

    A file is named by what it holds: the picture's content, the window, the model and the format. It appears whole or
    not at all, carries a checksum, and one that does not match it is deleted and computed again. A folder that cannot
    be written to is read only. Writing goes on in a thread of its own, so that nobody waits for the disk.

    Parameters
    ----------
    path : made when something is written
    max_bytes : of all files; those used longest ago are deleted
    model : digest of the model that made the features
    stored : number format of files, to which features are rounded; None keeps each as it was computed
    patience_s : how long who writes waits for a slow disk, before features are not written
    keeps_own : never delete what was used since this was made; what finds no room then is not written. A long sequence
        that is gone through again would otherwise find each frame just deleted

    Notes
    -----
    Several processes may share a folder.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        max_bytes: int,
        model: str,
        *,
        stored: torch.dtype | None = STORED,
        patience_s: float = 0.0,
        keeps_own: bool = False,
    ) -> None:
        self.path = Path(path).expanduser()
        self.max_bytes = max_bytes
        self.model = model
        self.stored = stored
        self.is_writable = True
        self._patience_s = patience_s
        self._kept_since = time.time() if keeps_own else math.inf
        self._held: int | None = None
        self._waiting: deque[tuple[Path, ImageFeatures]] = deque()
        self._waiting_bytes = 0
        self._writer: threading.Thread | None = None
        self._changed = threading.Condition()

    def read(self, name: str, window: Window | None) -> ImageFeatures | None:
        """Features that were stored, on the CPU, in the number format of the file; None where there are none."""
        path = self._file(name, window)
        try:
            features = _unpacked(path.read_bytes())
        except OSError:
            return None
        except (SafetensorError, KeyError, ValueError) as error:
            logger.warning("%s is damaged (%s); it is made again", path, error)
            with contextlib.suppress(OSError):
                path.unlink()
            return None
        # The time of last use decides what is deleted first.
        with contextlib.suppress(OSError):
            os.utime(path)
        return features

    def write(self, name: str, window: Window | None, features: ImageFeatures) -> None:
        """Store features soon; without an error where they cannot be stored."""
        if not self.is_writable or self.max_bytes <= 0:
            return
        with self._changed:
            if not self._changed.wait_for(lambda: self._waiting_bytes < MAX_WAITING_BYTES, self._patience_s):
                return
            self._waiting.append((self._file(name, window), _on(features, torch.device("cpu"))))
            self._waiting_bytes += features.nbytes
            if self._writer is None:
                self._writer = threading.Thread(target=self._write_all, name="feature-folder", daemon=True)
                self._writer.start()
                # A daemon would be cut off at the end of the process, and what waits with it.
                atexit.register(self.close)

    def close(self) -> None:
        """Wait until what waits is written."""
        with self._changed:
            writer = self._writer
        if writer is not None:
            writer.join()

    def _file(self, name: str, window: Window | None) -> Path:
        place = "whole" if window is None else f"{window.x0},{window.y0},{window.width},{window.height}"
        numbers = "" if self.stored == STORED else f"|{self.stored}"
        digest = hashlib.sha256(f"{FORMAT}|{self.model}{numbers}|{name}|{place}".encode()).hexdigest()
        return self.path / digest[:2] / f"{digest[2:40]}.safetensors"

    def _write_all(self) -> None:
        """What the thread does; it ends when nothing waits, and the next features start another one."""
        while True:
            with self._changed:
                if not self._waiting:
                    self._writer = None
                    atexit.unregister(self.close)
                    return
                path, features = self._waiting[0]
            try:
                self._store(path, features)
            except (OSError, RuntimeError, SafetensorError) as error:
                self.is_writable = False
                logger.warning("encoded pictures are no longer stored in %s: %s", self.path, error)
            with self._changed:
                self._waiting.popleft()
                self._waiting_bytes -= features.nbytes
                self._changed.notify_all()

    def _store(self, path: Path, features: ImageFeatures) -> None:
        if not self.is_writable:
            return
        if self._held is None:
            self._held = sum(size for _, size, _ in self._files())
        content = _packed(features)
        if self._held + len(content) > self.max_bytes:
            self._held = self._shrunk(self.max_bytes - len(content))
            if self._held + len(content) > self.max_bytes:
                if self._kept_since < math.inf:
                    # All of it is of this run; looking again for each further frame would only take time.
                    self.is_writable = False
                    logger.info("%s is full with what this run encoded; the rest is not stored", self.path)
                return
        # Readable by this user only: they tell something about pictures.
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _place(path, content)
        self._held += len(content)

    def _files(self) -> list[tuple[float, int, Path]]:
        """Time of last use, size and path of each file."""
        found = []
        for path in self.path.glob("??/" + "[0-9a-f]" * 38 + ".safetensors"):
            with contextlib.suppress(OSError):
                status = path.stat()
                found.append((status.st_mtime, status.st_size, path))
        return found

    def _shrunk(self, wanted: int) -> int:
        """Delete the files used longest ago until at most nine tenths of `wanted` bytes are left; gives those bytes."""
        self._sweep()
        files = sorted(self._files())
        held = sum(size for _, size, _ in files)
        for used_at, size, path in files:
            if held <= max(wanted, 0) * 9 // 10 or used_at >= self._kept_since:
                break
            with contextlib.suppress(OSError):
                path.unlink()
                held -= size
        return held

    def _sweep(self) -> None:
        """Delete what a process that was killed left half written."""
        for path in self.path.glob("??/.*.part.safetensors"):
            with contextlib.suppress(OSError):
                if path.stat().st_mtime < time.time() - ABANDONED_S:
                    path.unlink()


def _place(path: Path, content: bytes) -> None:
    """Make a file appear whole. Not flushed to the disk, which takes longer than all else: its checksum tells whether
    a power failure has cut it."""
    temporary = path.with_name(f".{uuid4().hex}.part{path.suffix}")
    try:
        temporary.write_bytes(content)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def at_rest(features: ImageFeatures, device: torch.device) -> ImageFeatures:
    """Features to be kept: a copy, in main memory as one block.

    PyTorch's allocator asks for aligned blocks, which some C libraries do not use again once they were freed: of small
    features, three times the memory was taken after a while. NumPy's are plain.
    """
    if device.type != "cpu":
        return features.map(lambda level: level.to(device).contiguous())
    block = torch.from_numpy(np.empty(features.nbytes, np.uint8))
    kept, start = [], 0
    for level in features.levels:
        size = level.numel() * level.element_size()
        kept.append(block[start : start + size].view(level.dtype).view(level.shape).copy_(level))
        start += size
    return ImageFeatures.of_levels(kept)


def _as(features: ImageFeatures, dtype: torch.dtype) -> ImageFeatures:
    return features.map(lambda level: level.to(dtype))


def _on(features: ImageFeatures, device: torch.device) -> ImageFeatures:
    return features.map(lambda level: level.to(device))


def _packed(features: ImageFeatures) -> bytes:
    tensors = {name: level.contiguous() for name, level in zip(_LEVELS, features.levels, strict=False)}
    return write_tensors(tensors | {"checksum": torch.tensor([_checksum(tensors.values())])})


def _unpacked(content: bytes) -> ImageFeatures:
    """What `_packed` made; ValueError, KeyError or SafetensorError where it is damaged."""
    tensors = read_tensors(content)
    levels = [tensors[name] for name in _LEVELS if name in tensors or name != "pixels"]
    if int(tensors["checksum"][0]) != _checksum(levels):
        raise ValueError("its checksum does not match")
    return ImageFeatures.of_levels(levels)


def _checksum(tensors: Iterable[Tensor]) -> int:
    total = 0
    for tensor in tensors:
        total = zlib.crc32(tensor.contiguous().view(torch.uint8).numpy().data, total)
    return total
