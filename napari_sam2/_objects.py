"""The values that cross between the state of a person's work and whoever shows it. All frozen."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from sam2_engine.legs import Way

if TYPE_CHECKING:
    from sam2_engine.looking import WindowChoice

ObjectState = Literal["empty", "prompted", "tracked", "finished"]

WorkState = Literal["empty", "ready", "prompted", "answered", "stale", "tracked", "running"]

MAX_OBJECTS = 65535
"""Largest id of an object: label layers are uint16."""


class Place(NamedTuple):
    """One plane of a picture.

    Attributes
    ----------
    position : indices of the axes that are neither followed nor shown, in the order of the axes; () for a plain stack
    frame : index along the axis that is followed; 0 for a single picture
    """

    position: tuple[int, ...]
    frame: int


@dataclass(frozen=True, slots=True)
class ObjectRow:
    """One object, as a table shows it.

    Attributes
    ----------
    id : 1 to 65535, also its label
    name : what a person calls it
    colour : ``#rrggbb``
    state : what there is of it
    locked : whether it lies in the finished view and nothing may change it
    prompted : places where a person said something, by prompts, by painting or by an existing label
    tracked : number of places where it was found by tracking
    score : mean confidence of the places that were tracked, 0 to 1; None where there are none
    parent : the object it came from by a division
    born, ended : first and last index in time, where a division set them
    """

    id: int
    name: str
    colour: str
    state: ObjectState
    locked: bool
    prompted: tuple[Place, ...] = ()
    tracked: int = 0
    score: float | None = None
    parent: int | None = None
    born: int | None = None
    ended: int | None = None


@dataclass(frozen=True, slots=True)
class Status:
    """Where the work stands.

    Attributes
    ----------
    state : ``running`` while a generator is open
    sentence : what is running, or what to do next
    done, total : steps of what is running; 0 of 0 otherwise
    """

    state: WorkState
    sentence: str
    done: int = 0
    total: int = 0


@dataclass(frozen=True, slots=True)
class Progress:
    """One step of something that computes.

    Attributes
    ----------
    done, total : steps; the total may change while it runs
    place : what was done last, or None
    what : in words, such as ``encoding``
    """

    done: int
    total: int
    place: Place | None
    what: str


@dataclass(frozen=True, slots=True)
class Range:
    """Where to go: frames ``first`` to ``last``; `again` also where masks still hold."""

    first: int
    last: int
    way: Way = "both"
    again: bool = False


@dataclass(frozen=True, slots=True)
class ControllerSettings:
    """What a person may choose.

    Attributes
    ----------
    overlap : what a new mask does where a locked object lies: ``keep`` leaves the locked one its pixels, ``overwrite``
        takes them
    exclusive : let objects that are propagated together have no pixel in common
    patience : frames without the object after which propagation gives it up; 0 never does
    max_hole_area, max_island_area : cells of the mask grid, see `sam2_engine.Session`
    window : how objects are looked at, see `sam2_engine.Session`
    undo_steps, undo_bytes : how much can be undone at most
    """

    overlap: Literal["keep", "overwrite"] = "keep"
    exclusive: bool = False
    patience: int = 5
    max_hole_area: int = 0
    max_island_area: int = 0
    window: WindowChoice = None
    undo_steps: int = 100
    undo_bytes: int = 512 * 2**20


@dataclass(frozen=True, slots=True, eq=False)
class Lineage:
    """What napari's Tracks layer takes.

    Attributes
    ----------
    tracks : rows ``[id, t, (z,) y, x]`` in pixels, sorted by id and time; in a TZYX picture z is the mean plane
    graph : daughter → its mother in a list
    """

    tracks: Any
    graph: dict[int, list[int]]


def colour_of(obj: int) -> str:
    """A colour of its own for each object, far from its neighbours': hues in steps of the golden ratio."""
    red, green, blue = colorsys.hsv_to_rgb((0.35 + obj * 0.618034) % 1.0, 0.65, 0.95)
    return f"#{round(red * 255):02x}{round(green * 255):02x}{round(blue * 255):02x}"
