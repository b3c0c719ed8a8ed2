"""What to do next, in a sentence."""

from __future__ import annotations

from ._editing import stamps_around
from ._objects import Progress, Status
from ._state import State


def status_of(state: State, running: str | None, progress: Progress | None) -> Status:
    """Where the work stands.

    Parameters
    ----------
    running : title of what computes
    progress : how far that is
    """
    if running is not None:
        done, total = (progress.done, progress.total) if progress is not None else (0, 0)
        return Status("running", f"{running}: {done} of {total}" if total else running, done, total)
    waiting = sum(not said.is_answered for said in state.said.values())
    if waiting:
        return Status("prompted", "There are prompts without a mask yet: predict this slice.")
    if not state.things:
        return Status("empty", "Click on an object, or draw a box around it.")
    if state.active is None:
        return Status("ready", "Choose an object in the table, or begin a new one.")
    return _status_of_object(state, state.active)


def _status_of_object(state: State, obj: int) -> Status:
    name = state.thing(obj).name
    planes = state.masks.of(obj)
    if not planes:
        return Status("ready", f"Click on {name}, or draw a box around it.")
    outdated = count_outdated(state, obj)
    if outdated:
        return Status("stale", f"{outdated} masks of {name} are older than its last correction: propagate again.")
    if all(mask.is_anchor for mask in planes.values()):
        return Status("answered", f"Correct the mask of {name}, propagate it to the other slices, or finish it.")
    return Status("tracked", f"Look at the doubtful slices of {name} and correct them, or finish it.")


def count_outdated(state: State, obj: int) -> int:
    """Tracked masks of an object that do not follow from its present prompts."""
    count = 0
    for along in state.masks.by_position(obj).values():
        around = stamps_around(along)
        count += sum(not mask.is_anchor and mask.between != around[frame] for frame, mask in along.items())
    return count
