"""What a person says of objects on a place: marks, masks, outlines, strokes. Each method is a step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from sam2_engine.errors import ShapeError
from sam2_engine.geometry import check_prompts
from sam2_engine.patches import MaskPatch
from sam2_engine.prompts import Prompts

from . import _editing, _outlines
from ._desk import Desk
from ._layers import Steps
from ._objects import Place
from ._state import Outline, State, marks_of


class Prompting:
    """Takes prompts and masks."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def set_prompts(self, place: Place, prompts: Mapping[int, Prompts | Steps]) -> frozenset[int]:
        """Everything that is marked on a place, by object; objects that are not named lose their marks there.

        Gives the objects for which something changed; `answer_steps` finds their masks.

        Raises
        ------
        SessionError
            A locked object.
        UnknownObjectError
            An object that does not exist.
        PromptError
            Something outside of the picture.
        """
        place = self._desk.picture.check(place)
        marked = {obj: marks_of(said) for obj, said in prompts.items()}
        for said in prompts.values():
            for step in (said,) if isinstance(said, Prompts) else said:
                check_prompts(step, self._desk.picture.size)
        changed: frozenset[int] = frozenset()

        def mark(state: State) -> State:
            nonlocal changed
            for obj in marked:
                state.thing(obj)
            state, changed = _editing.mark(state, place, marked)
            return state

        self._desk.edit(mark, is_silent=True)
        self._desk.position = place.position
        return changed

    def clear_prompts(self, obj: int, place: Place | None = None) -> None:
        """Take back everything said of an object on a place, drawn masks too, or everywhere.

        Tracked masks that were there before come back.
        """
        self._desk.edit(lambda state: _editing.unmark(state, obj, place))

    def add_mask(self, obj: int, place: Place, mask: NDArray[np.bool_]) -> None:
        """Take a mask ``[H, W]`` as it is: a mask prompt on that place.

        Raises
        ------
        ShapeError
            A mask of another size or of numbers.
        """
        place = self._desk.picture.check(place)
        if mask.shape != self._desk.picture.size or mask.dtype != np.bool_:
            raise ShapeError(f"a mask is bool of size {self._desk.picture.size}, got {mask.dtype} {mask.shape}")
        patch, overwrite = MaskPatch.pack(mask), self._desk.settings.overlap == "overwrite"
        self._desk.edit(
            lambda state: _editing.give(state, obj, place, patch, overwrite=overwrite).did(
                "add_mask", obj=obj, place=place, patch=patch
            )
        )
        self._desk.position = place.position

    def draw(self, obj: int, place: Place, outline: Outline) -> None:
        """Take an outline as a mask prompt: what is in it is of the object, or is not where it is negative.

        It stays an outline that `outline` may change, until something else makes the mask of that place.

        Raises
        ------
        PromptError
            It covers no pixel, or is negative where there is no mask.
        """
        place, overwrite = self._desk.picture.check(place), self._desk.settings.overlap == "overwrite"
        size = self._desk.picture.size
        self._desk.edit(lambda state: _outlines.add(state, obj, place, outline, size, overwrite=overwrite))
        self._desk.position = place.position

    def outline(self, obj: int, place: Place, outlines: Sequence[Outline], *, is_shown: bool = False) -> None:
        """Other outlines of an object on a place; without any, what was below them comes back.

        With `is_shown` they are on the layers already, and `prompts_changed` is left out.
        """
        place, overwrite = self._desk.picture.check(place), self._desk.settings.overlap == "overwrite"
        size = self._desk.picture.size
        self._desk.edit(
            lambda state: _outlines.change(state, obj, place, outlines, size, overwrite=overwrite), is_silent=is_shown
        )
        self._desk.position = place.position

    def paint(self, place: Place, label: int, rows: NDArray[np.intp], columns: NDArray[np.intp]) -> None:
        """Give pixels to an object, or with 0 to none; taken away from other objects that are not locked.

        `work_labels` calls this. Several in a row are one step for undo, until `end_stroke` or any other action.
        """
        if not len(rows):
            return
        place = self._desk.picture.check(place)
        patch, overwrite = MaskPatch.of_pixels(rows, columns), self._desk.settings.overlap == "overwrite"
        goes_on = self._desk.is_stroke_open

        def stroke(state: State) -> State:
            painted = _editing.paint(state, place, label, patch, overwrite=overwrite)
            return _editing.noted_stroke(painted, place, label, patch, goes_on=goes_on)

        self._desk.edit(stroke, is_stroke=True)
        self._desk.position = place.position

    def end_stroke(self) -> None:
        """The brush was lifted: what is painted next is a step of its own."""
        self._desk.end_stroke()
