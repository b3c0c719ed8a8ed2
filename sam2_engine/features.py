"""Image features of frames, computed once and kept up to a number of bytes."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Protocol

import torch

from .geometry import Window
from .outputs import ImageFeatures, joined
from .recent import Recent

MAX_WHOLE_FRAMES = 24
"""Whole frames kept at most, so that memory is flat from early on with small models too."""

MAX_WINDOWS = 128
"""Windows kept at most, likewise; they are small, and objects have one on every frame."""


EncodeWindows = Callable[[Sequence[Window | None]], ImageFeatures]
"""Features of windows of one picture, one row each; None stands for the whole picture."""


class FeatureRows(Protocol):
    """Where features of a sequence's frames come from: a cache of its own, or one that several share."""

    def rows(self, name: Hashable, windows: Sequence[Window | None], encode: EncodeWindows, /) -> ImageFeatures:
        """Features of windows of the picture `name`; those that are not here are computed by `encode`."""

    def bring(self, name: Hashable, window: Window | None, /) -> bool:
        """Whether these features are here; those that are stored somewhere are brought here first."""


class FeatureCache:
    """The most recently used features.

    Parameters
    ----------
    max_bytes : what may be held; the newest entry stays even where it alone is larger
    max_entries : how many entries at most; None for no such limit
    """

    def __init__(self, max_bytes: int, max_entries: int | None = MAX_WHOLE_FRAMES) -> None:
        self._recent: Recent[Hashable, ImageFeatures] = Recent(
            max_bytes, lambda features: features.nbytes, max_entries=max_entries
        )

    def get(self, key: Hashable, compute: Callable[[], ImageFeatures]) -> ImageFeatures:
        """The features of `key`, computed where they are not here."""
        known = self._recent.get(key)
        return self._recent.put(key, compute()) if known is None else known

    def rows(self, name: Hashable, windows: Sequence[Window | None], encode: EncodeWindows) -> ImageFeatures:
        """Features of windows of one picture, one row each; those that are not here are computed in one batch."""
        wanted = list(dict.fromkeys(windows))
        known = {window: found for window in wanted if (found := self._recent.get((name, window))) is not None}
        missing = [window for window in wanted if window not in known]
        if missing:
            known.update(zip(missing, single_rows(encode(missing), len(missing)), strict=True))
        for window in missing:
            self._recent.put((name, window), known[window])
        return known[windows[0]] if len(windows) == 1 else joined([known[window] for window in windows])

    def __contains__(self, key: Hashable) -> bool:
        return key in self._recent

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return self._recent.nbytes

    def clear(self) -> None:
        """Forget everything."""
        self._recent.clear()


def single_rows(features: ImageFeatures, count: int) -> list[ImageFeatures]:
    """Each of `count` rows by itself; copies, since a view would keep all of them in memory."""
    return [features] if count == 1 else [features.select(torch.tensor([row])) for row in range(count)]
