"""A person's work on one picture: objects, prompts, masks, and everything that can be done with them. No Qt, no napari.

Methods are quick and for the thread of the window. What computes is a generator ``*_steps`` that a worker goes through;
closing it keeps what was done. Edits may come while a generator rests between two steps; `undo` and `redo` may not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from psygnal import Signal

from sam2_engine.doubt import Confidence
from sam2_engine.prompts import Click, Prompts
from sam2_engine.tracking import Tracker

from ._layers import Steps
from ._objects import ControllerSettings, Lineage, ObjectRow, Place, Progress, Status
from ._picture import Picture
from ._project import Recoverable
from ._store_labels import StoreLabels

Way = Literal["forward", "backward", "both"]


class Controller:
    """Everything a person does with one picture.

    Parameters
    ----------
    picture : what is segmented
    tracker : the model, or a function that loads it when it is first needed, in the thread that computes
    settings : see `ControllerSettings`
    model_name : kept in project files

    Notes
    -----
    Signals are emitted in the thread that changed something: in the worker's while a generator runs.
    """

    objects_changed = Signal()
    """Something in `objects` or `active` is different."""
    masks_changed = Signal(frozenset)
    """Masks of these places are different; an empty set stands for all places."""
    prompts_changed = Signal(frozenset)
    """What was said on these places was changed by something else than `set_prompts`: by undo, a merge, an opened file;
    marks on layers are to be drawn anew. An empty set stands for all places."""
    scores_changed = Signal()
    status_changed = Signal(object)
    """A `Status`."""

    def __init__(
        self,
        picture: Picture,
        tracker: Tracker | Callable[[], Tracker],
        *,
        settings: ControllerSettings | None = None,
        model_name: str = "default",
    ) -> None:
        raise NotImplementedError

    # What is there

    @property
    def picture(self) -> Picture: ...
    @property
    def settings(self) -> ControllerSettings: ...
    @property
    def objects(self) -> tuple[ObjectRow, ...]:
        """All objects, by id."""

    @property
    def active(self) -> int | None:
        """The object that prompts go to."""

    @property
    def status(self) -> Status: ...
    @property
    def can_undo(self) -> bool: ...
    @property
    def can_redo(self) -> bool: ...
    @property
    def is_dirty(self) -> bool:
        """Whether there is something that `save` has not written."""

    @property
    def work_labels(self) -> StoreLabels:
        """Objects that are not locked, as labels of the picture's shape; may be painted on."""

    @property
    def finished_labels(self) -> StoreLabels:
        """Locked objects, likewise, read only."""

    def prompts(self, place: Place) -> dict[int, Steps]:
        """What was marked on a place, by object."""

    def mask(self, obj: int, place: Place) -> NDArray[np.bool_] | None:
        """The mask ``[H, W]`` of an object on a place; None where nothing is known."""

    def scores(self, obj: int) -> dict[Place, Confidence]:
        """How sure every known place of an object is, in order of places."""

    def doubtful(self, obj: int | None = None) -> tuple[Place, ...]:
        """Places most worth correcting, the worst first; of all objects that are not locked when not given."""

    def lineage(self) -> Lineage:
        """Centres of all objects through time, and which came from which."""

    # Objects. Each is one step for undo

    def new_object(self, name: str | None = None) -> int:
        """A new object, which becomes the active one; gives its id."""

    def select(self, obj: int | None) -> None:
        """Make an object the active one; no step for undo."""

    def rename(self, obj: int, name: str) -> None: ...
    def recolour(self, obj: int, colour: str) -> None:
        """``#rrggbb``."""

    def delete(self, ids: Iterable[int]) -> None:
        """Forget objects, locked ones too."""

    def lock(self, ids: Iterable[int]) -> None:
        """Move objects to the finished view, where nothing changes them."""

    def unlock(self, ids: Iterable[int]) -> None: ...
    def finish(self, ids: Iterable[int]) -> None:
        """Lock objects and call them finished."""

    def reopen(self, ids: Iterable[int]) -> None:
        """Take finished objects up again, with their prompts."""

    def merge(self, ids: Sequence[int]) -> int:
        """Make objects one, on all places; it has the id of the first. Gives that id."""

    def relabel(self, old: int, new: int) -> None:
        """Give an object another id, which must be free."""

    def divide(self, obj: int, place: Place) -> tuple[int, int]:
        """A mother ends before a place's time and two daughters begin there; gives their ids.

        Where the mother's mask on the place has two parts, the daughters begin with one each.
        """

    # Prompts and masks. Each is one step for undo

    def set_prompts(self, place: Place, prompts: Mapping[int, Prompts | Steps]) -> frozenset[int]:
        """Everything that is marked on a place, by object; objects that are not named lose their marks there.

        Gives the objects for which something changed; `answer_steps` finds their masks.

        Raises
        ------
        SessionError
            A locked object.
        UnknownObjectError
            An object that does not exist.
        """

    def clear_prompts(self, obj: int, place: Place | None = None) -> None:
        """Take back what was marked for an object on a place, or everywhere."""

    def add_mask(self, obj: int, place: Place, mask: NDArray[np.bool_]) -> None:
        """Take a mask ``[H, W]`` as it is: a mask prompt on that place."""

    def paint(self, place: Place, label: int, rows: NDArray[np.intp], columns: NDArray[np.intp]) -> None:
        """Give pixels to an object, or with 0 to none; taken away from other objects that are not locked.

        `work_labels` calls this. Several in a row are one step for undo, until `end_stroke` or any other action.
        """

    def end_stroke(self) -> None:
        """The brush was lifted: what is painted next is a step of its own."""

    # What computes

    def load_steps(self) -> Iterator[Progress]:
        """Load the model."""

    def answer_steps(self, place: Place) -> Iterator[Progress]:
        """Find the masks of what was said on a place and not answered yet.

        An answer that arrives after the prompts changed once more is dropped.
        """

    def prefetch_steps(self, places: Iterable[Place]) -> Iterator[Progress]:
        """Encode places ahead of being asked."""

    def objects_from_labels_steps(self, labels: Any, ids: Sequence[int] | None = None) -> Iterator[Progress]:
        """Make objects of the labels of an array of the picture's shape; all of them when `ids` is not given.

        Planes are read one by one. The ids of the new objects are the generator's return value.
        """

    def propagate_steps(
        self,
        objects: Sequence[int] | None = None,
        direction: Way = "both",
        start: int | None = None,
        stop: int | None = None,
        patience: int | None = None,
        *,
        position: tuple[int, ...] | None = None,
        again: bool = False,
    ) -> Iterator[Progress]:
        """Carry objects from their own prompted frames to others, as far as their masks there are missing or outdated.

        Parameters
        ----------
        objects : ids; all that are not locked when not given
        start, stop : first and last frame to go to
        patience : see `ControllerSettings`
        position : of the fixed axes; that of the last prompt when not given
        again : also where nothing changed
        """

    def carry_steps(
        self,
        objects: Sequence[int] | None,
        positions: Sequence[tuple[int, ...]],
        patience: int | None = None,
    ) -> Iterator[Progress]:
        """Carry objects through the first of `positions`, then from each position to the next."""

    def split_steps(self, obj: int, place: Place, seeds: Sequence[Click]) -> Iterator[Progress]:
        """Split an object in two on all places, given a click in each part on one place.

        The first part keeps the id; the second part's id is the generator's return value.
        """

    # Undo

    def undo(self) -> bool:
        """Take back the last step; False where there is none.

        Raises
        ------
        SessionError
            Something is running; stop it first.
        """

    def redo(self) -> bool: ...

    # Model and picture may change; objects stay

    def use_tracker(self, tracker: Tracker | Callable[[], Tracker], model_name: str) -> None:
        """Go on with another model."""

    def use_picture(self, picture: Picture) -> None:
        """Go on with other channels or contrast of the same picture.

        Raises
        ------
        ShapeError
            A picture of another shape or with another followed axis.
        """

    def use_settings(self, settings: ControllerSettings) -> None: ...

    # Files

    def save(self, path: str | Path) -> None:
        """Write a project file, whole or not at all."""

    @classmethod
    def open(
        cls, path: str | Path, picture: Picture, tracker: Tracker | Callable[[], Tracker], **settings: Any
    ) -> Controller:
        """Open a project file, or what `autosave` left, on the picture it was made on.

        Raises
        ------
        SessionFileError
            Damaged, newer, of another picture, or open in another window.
        """

    def autosave(self, folder: str | Path) -> bool:
        """Bring a copy in `folder` up to date; False where it was so already. Any thread may do it."""

    def close(self, *, discard_autosave: bool = True) -> None:
        """Let go of files and locks; the copy of `autosave` is removed unless told otherwise."""


def recoverable(folder: str | Path) -> tuple[Recoverable, ...]:
    """Copies that `autosave` left in a folder and that no running process holds, the newest first."""
    raise NotImplementedError
