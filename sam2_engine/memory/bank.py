"""What the tracker keeps of one object's past frames."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from ..geometry import Window

if TYPE_CHECKING:
    from torch import Tensor

Direction = Literal[1, -1]


@dataclass(frozen=True, slots=True, eq=False)
class MemoryEntry:
    """One object on one past frame.

    Attributes
    ----------
    frame : index
    prompted : whether a person prompted this frame
    direction : +1 or -1 as it was tracked, None where it was prompted before any tracking
    logits : [1, 1, s, s] mask logits as decided
    pointer : [1, C]
    object_score : [1, 1] logit
    iou : predicted IoU, 0 to 1
    tokens : [1, M, h, w] spatial memory, or None while the prompt is not settled
    window : what was seen of the frame; None for all of it
    """

    frame: int
    prompted: bool
    direction: Direction | None
    logits: Tensor
    pointer: Tensor
    object_score: Tensor
    iou: float
    tokens: Tensor | None = None
    window: Window | None = None

    @property
    def nbytes(self) -> int:
        """Bytes held by all tensors."""
        tensors = (self.logits, self.pointer, self.object_score, self.tokens)
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors if tensor is not None)


@dataclass(slots=True)
class MemoryBank:
    """Memories of one object by frame: prompted ones, which stay, and recent ones, which are forgotten in time."""

    prompted: dict[int, MemoryEntry] = field(default_factory=dict)
    recent: dict[int, MemoryEntry] = field(default_factory=dict)

    def put(self, entry: MemoryEntry) -> None:
        """Keep an entry; it replaces what was known of its frame."""
        self.forget((entry.frame,))
        (self.prompted if entry.prompted else self.recent)[entry.frame] = entry

    def get(self, frame: int) -> MemoryEntry | None:
        """What is known of a frame."""
        return self.prompted.get(frame) or self.recent.get(frame)

    def forget(self, frames: Iterable[int]) -> None:
        """Drop frames, whether they are known or not."""
        for frame in frames:
            self.prompted.pop(frame, None)
            self.recent.pop(frame, None)

    def copy(self) -> MemoryBank:
        """A bank of its own with the same entries."""
        return MemoryBank(dict(self.prompted), dict(self.recent))

    def __iter__(self) -> Iterator[MemoryEntry]:
        yield from self.prompted.values()
        yield from self.recent.values()

    def __len__(self) -> int:
        return len(self.prompted) + len(self.recent)
