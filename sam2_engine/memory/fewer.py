"""Leaving out memories that say again what another one says. K memories of one object."""

from __future__ import annotations

from .bank import MemoryBank
from .policy import MemoryPlan


def fewer(plan: MemoryPlan, bank: MemoryBank, most: int) -> MemoryPlan:
    """A plan of at most so many spatial memories, as far as what must stay allows.

    As long as there are too many, of the tracked frames the one goes whose memory is most like that of a neighbour in
    time among those that are left. Prompted frames stay, since what a person said is the truth, and so does the most
    recent tracked one, since it says where the object is. Pointers stay, too.

    Parameters
    ----------
    plan : names frames that have a memory in `bank`
    most : spatial memories
    """
    if len(plan.spatial) <= most:
        return plan
    in_time = sorted(plan.spatial)
    likeness = _likeness([frame for frame, _ in in_time], bank)
    most_recent = min((slot for _, slot in in_time if slot > 0), default=0)
    left = list(range(len(in_time)))

    def to_neighbour(index: int) -> float:
        place = left.index(index)
        return max(likeness[index][other] for other in (*left[max(place - 1, 0) : place], *left[place + 1 : place + 2]))

    while len(left) > most:
        may_go = [index for index in left if in_time[index][1] > most_recent]
        if not may_go:
            break
        left.remove(max(may_go, key=to_neighbour))
    stays = {in_time[index] for index in left}
    return MemoryPlan(tuple(one for one in plan.spatial if one in stays), plan.pointers, plan.span)


def _likeness(frames: list[int], bank: MemoryBank) -> list[list[float]]:
    """Cosines between spatial memories, ``[K, K]``."""
    import torch  # the package is there without it: windows open while PyTorch still comes

    planes = []
    for frame in frames:
        entry = bank.get(frame)
        assert entry is not None and entry.tokens is not None, "a plan names only frames the bank has a memory of"
        planes.append(entry.tokens.flatten())
    vectors = torch.nn.functional.normalize(torch.stack(planes).float(), dim=1)  # [K, M*h*w]
    # What is left out is decided here, so a GPU is waited for once for each object and frame.
    cosines: list[list[float]] = (vectors @ vectors.T).tolist()
    return cosines
