"""Image features of frames, computed once and kept up to a number of bytes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable

from .outputs import ImageFeatures


class FeatureCache:
    """The most recently used features.

    Parameters
    ----------
    max_bytes : what may be held; the newest entry stays even where it alone is larger
    max_frames : how many frames at most, so that memory is flat from early on with small models too
    """

    def __init__(self, max_bytes: int, max_frames: int = 24) -> None:
        self.max_bytes = max_bytes
        self.max_frames = max_frames
        self._entries: OrderedDict[Hashable, ImageFeatures] = OrderedDict()

    def get(self, key: Hashable, compute: Callable[[], ImageFeatures]) -> ImageFeatures:
        """The features of `key`, computed where they are not here."""
        if key in self._entries:
            self._entries.move_to_end(key)
            return self._entries[key]
        features = compute()
        self._entries[key] = features
        self._shrink()
        return features

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
        while len(self._entries) > 1 and (held > self.max_bytes or len(self._entries) > self.max_frames):
            _, dropped = self._entries.popitem(last=False)
            held -= dropped.nbytes
