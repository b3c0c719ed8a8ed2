"""Everything known of one object in a sequence: what a person said, and what follows from it."""

from __future__ import annotations

import zlib
from collections.abc import Collection
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from .memory import Direction, MemoryBank, MemoryEntry, MemoryPolicy
from .prompts import Prompts


@dataclass(frozen=True, slots=True)
class PackedMask:
    """A mask at image size in a few hundred bytes, with its score.

    Attributes
    ----------
    size : (height, width)
    bits : compressed rows of bits
    score : 0 to 1, as in `FrameMasks`
    """

    size: tuple[int, int]
    bits: bytes
    score: float

    @classmethod
    def pack(cls, mask: NDArray[np.bool_], score: float) -> PackedMask:
        """Keep a mask ``[H, W]``."""
        return cls((mask.shape[0], mask.shape[1]), zlib.compress(np.packbits(mask).tobytes(), level=1), score)

    def unpack(self) -> NDArray[np.bool_]:
        """The mask ``[H, W]``, a new array."""
        height, width = self.size
        bits = np.frombuffer(zlib.decompress(self.bits), dtype=np.uint8)
        return np.unpackbits(bits, count=height * width).reshape(height, width).astype(np.bool_)


@dataclass(slots=True)
class Track:
    """One object.

    Attributes
    ----------
    policy : its own choice of memories
    prompts : frame → what a person said; the truth, from which the rest can be made again
    drafts : frame → the answer to prompts that are not settled into the bank yet
    bank : memories
    passed : frame → direction it was last tracked in
    masks : frame → what was handed out
    """

    policy: MemoryPolicy
    prompts: dict[int, Prompts] = field(default_factory=dict)
    drafts: dict[int, MemoryEntry] = field(default_factory=dict)
    bank: MemoryBank = field(default_factory=MemoryBank)
    passed: dict[int, Direction] = field(default_factory=dict)
    masks: dict[int, PackedMask] = field(default_factory=dict)

    def copy(self) -> Track:
        """A track of its own; the entries are shared, since nobody changes them."""
        return replace(
            self,
            prompts=dict(self.prompts),
            drafts=dict(self.drafts),
            bank=self.bank.copy(),
            passed=dict(self.passed),
            masks=dict(self.masks),
        )

    def known(self, frame: int) -> MemoryEntry | None:
        """The latest answer on a frame, as far as it is kept."""
        return self.drafts.get(frame) or self.bank.get(frame)

    def anchors(self) -> Collection[int]:
        """Frames to propagate from: those prompted."""
        return self.drafts.keys() | self.bank.prompted.keys()

    def reaches(self, frame: int, direction: Direction) -> bool:
        """Whether going in `direction` from some anchor arrives at `frame`."""
        return any((frame - anchor) * direction >= 0 for anchor in self.anchors())

    def clear(self, frame: int, *, keep_memory: bool) -> None:
        """Take back what was said on a frame.

        `keep_memory` keeps its answer as that of a tracked frame, as the published code does; otherwise what followed
        from the prompt goes with it.
        """
        self.prompts.pop(frame, None)
        self.drafts.pop(frame, None)
        entry = self.bank.prompted.pop(frame, None)
        if entry is None:
            return
        self.passed.pop(frame, None)
        if keep_memory:
            self.bank.put(replace(entry, prompted=False))
        else:
            self.masks.pop(frame, None)

    @property
    def nbytes(self) -> int:
        """Bytes of the tensors held, roughly."""
        entries = [*self.bank, *self.drafts.values()]
        tensors = [t for e in entries for t in (e.logits, e.pointer, e.tokens) if t is not None]
        held = sum(int(tensor.nbytes) for tensor in tensors)
        return held + sum(len(mask.bits) for mask in self.masks.values())
