"""In which direction an object came to each frame, a byte a frame: tens of thousands of frames are copied at once."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping

from .memory import Direction


class Passed(MutableMapping[int, Direction]):
    """Frame → direction in which it was last tracked, in the order of frames."""

    def __init__(self, known: MutableMapping[int, Direction] | dict[int, Direction] | None = None) -> None:
        self._bytes = bytearray()
        self.update(known or {})

    def copy(self) -> Passed:
        """A mapping of its own."""
        copied = Passed()
        copied._bytes = bytearray(self._bytes)
        return copied

    def __getitem__(self, frame: int) -> Direction:
        value = self._bytes[frame] if 0 <= frame < len(self._bytes) else 0
        if value == 0:
            raise KeyError(frame)
        return 1 if value == 1 else -1

    def __setitem__(self, frame: int, direction: Direction) -> None:
        if frame >= len(self._bytes):
            self._bytes.extend(bytes(frame + 1 - len(self._bytes)))
        self._bytes[frame] = 1 if direction == 1 else 2

    def __delitem__(self, frame: int) -> None:
        self[frame]
        self._bytes[frame] = 0

    def __iter__(self) -> Iterator[int]:
        return (frame for frame, value in enumerate(self._bytes) if value)

    def __len__(self) -> int:
        return len(self._bytes) - self._bytes.count(0)
