"""Everything known of one object in a sequence: what a person said, and what follows from it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace

from .kept_masks import KeptMasks, MaskShelf, PackedMask
from .memory import Direction, MemoryBank, MemoryEntry, MemoryPolicy
from .passed import Passed
from .prompts import Prompts

__all__ = ["PackedMask", "Track"]

NO_LIMIT = 2**63
"""Of bytes, for tracks that belong to no session."""


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
    passed: Passed = field(default_factory=Passed)
    masks: KeptMasks = field(default_factory=lambda: MaskShelf(NO_LIMIT).masks())

    def copy(self) -> Track:
        """A track of its own; the entries are shared, since nobody changes them."""
        return replace(
            self,
            prompts=dict(self.prompts),
            drafts=dict(self.drafts),
            bank=self.bank.copy(),
            passed=self.passed.copy(),
            masks=self.masks.copy(),
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


def extends(before: Prompts | None, now: Prompts) -> bool:
    """Whether nothing that was said before was moved or taken away."""
    if before is None or before.mask is not None or now.mask is not None:
        return True
    return before.box in (None, now.box) and now.clicks[: len(before.clicks)] == before.clicks
