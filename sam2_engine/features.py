"""Image features of frames, computed once and kept up to a number of bytes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from typing import Protocol

import torch

from .geometry import Window
from .outputs import ImageFeatures, joined

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


class FeatureCache:
    """The most recently used features.

    Parameters
    ----------
    max_bytes : what may be held; the newest entry stays even where it alone is larger
    max_entries : how many entries at most; None for no such limit
    """

    def __init__(self, max_bytes: int, max_entries: int | None = MAX_WHOLE_FRAMES) -> None:
        self.max_bytes = max_bytes
        self.max_entries = max_entries
        self._entries: OrderedDict[Hashable, ImageFeatures] = OrderedDict()

    def get(self, key: Hashable, compute: Callable[[], ImageFeatures]) -> ImageFeatures:
        """The features of `key`, computed where they are not here."""
        features = self._entries[key] if key in self._entries else compute()
        self._keep(key, features)
        return features

    def _keep(self, key: Hashable, features: ImageFeatures) -> None:
        self._entries[key] = features
        self._entries.move_to_end(key)
        self._shrink()

    def rows(self, name: Hashable, windows: Sequence[Window | None], encode: EncodeWindows) -> ImageFeatures:
        """Features of windows of one picture, one row each; those that are not here are computed in one batch."""
        known = {window: self._entries[name, window] for window in windows if (name, window) in self._entries}
        missing = [window for window in dict.fromkeys(windows) if window not in known]
        if missing:
            fresh = encode(missing)
            known.update(zip(missing, single_rows(fresh, len(missing)), strict=True))
        for window in windows:
            self._keep((name, window), known[window])
        return known[windows[0]] if len(windows) == 1 else joined([known[window] for window in windows])

    def __contains__(self, key: Hashable) -> bool:
        return key in self._entries

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return sum(features.nbytes for features in self._entries.values())

    def clear(self) -> None:
        """Forget everything."""
        self._entries.clear()

    def _shrink(self) -> None:
        held = self.nbytes
        limit = self.max_entries or len(self._entries)
        while len(self._entries) > 1 and (held > self.max_bytes or len(self._entries) > limit):
            _, dropped = self._entries.popitem(last=False)
            held -= dropped.nbytes


def single_rows(features: ImageFeatures, count: int) -> list[ImageFeatures]:
    """Each of `count` rows by itself; copies, since a view would keep all of them in memory."""
    return [features] if count == 1 else [features.select(torch.tensor([row])) for row in range(count)]
