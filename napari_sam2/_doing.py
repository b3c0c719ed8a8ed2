"""What buttons and keys do at once with the work at hand: prompts, objects, looking around, settings."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sam2_engine.errors import SessionError

from ._hand import Hand, shown_errors
from ._objects import Place
from ._tools import Tool
from ._view import next_place, worth_visiting


class Doing:
    """Quick actions on the current work."""

    def __init__(self, hand: Hand) -> None:
        self.hand = hand

    # Prompts

    @shown_errors
    def answer(self) -> None:
        """Segment the slice that is shown."""
        self.hand.at_hand.answer()

    @shown_errors
    def use_tool(self, tool: Tool) -> None:
        """Let the mouse do this."""
        self.hand.at_hand.layers.use_tool(tool)

    @shown_errors
    def use_label(self, is_positive: bool) -> None:
        """What marks mean."""
        self.hand.at_hand.use_label(is_positive)

    @shown_errors
    def toggle_label(self) -> None:
        """The other meaning."""
        self.hand.at_hand.use_label(not self.hand.at_hand.is_positive)

    @shown_errors
    def clear(self, everywhere: bool = False) -> None:
        """Take back the prompts of the active object on the slice that is shown, or everywhere."""
        work = self.hand.at_hand
        obj = self.hand.active()
        work.controller.clear_prompts(obj, None if everywhere else work.layers.place())

    # Objects

    @shown_errors
    def new_object(self) -> None:
        """A new object."""
        self.hand.at_hand.controller.new_object()

    @shown_errors
    def next_object(self, step: int) -> None:
        """The next open object, or a new one after the last that has prompts; backwards the one before."""
        controller = self.hand.at_hand.controller
        open_ids = [row.id for row in controller.objects if not row.locked]
        active = controller.active
        place = open_ids.index(active) if active in open_ids else len(open_ids) - (step > 0)
        if 0 <= place + step < len(open_ids):
            controller.select(open_ids[place + step])
        elif step > 0:
            row = self.hand.at_hand.row(active)
            if row is None or row.locked or row.state != "empty":
                controller.new_object()
        else:
            self.hand.told.emit("This is the first object.")

    @shown_errors
    def select(self, obj: int) -> None:
        """Let prompts go to this object."""
        self.hand.at_hand.controller.select(obj)

    @shown_errors
    def rename(self, obj: int, name: str) -> None:
        """Another name."""
        self.hand.at_hand.controller.rename(obj, name)

    @shown_errors
    def delete(self) -> None:
        """Forget the selected objects."""
        self.hand.at_hand.controller.delete(self.hand.selected())

    @shown_errors
    def finish(self) -> None:
        """Lock the selected objects and go on with another."""
        controller = self.hand.at_hand.controller
        ids = [obj for obj in self.hand.selected() if not self.hand.row(obj).locked]
        if not ids:
            raise SessionError("the selected objects are finished already; select an open one")
        controller.finish(ids)

    @shown_errors
    def reopen(self) -> None:
        """Take the selected objects up again."""
        self.hand.at_hand.controller.reopen([obj for obj in self.hand.selected() if self.hand.row(obj).locked])

    @shown_errors
    def merge(self) -> None:
        """Make the selected objects one."""
        ids = self.hand.selected()
        if len(ids) < 2:
            raise SessionError("select two or more objects in the table to merge them")
        self.hand.at_hand.controller.merge(ids)

    @shown_errors
    def relabel(self, number: int) -> None:
        """Another number for the active object."""
        self.hand.at_hand.controller.relabel(self.hand.active(), number)

    @shown_errors
    def divide(self) -> None:
        """The active object divides on the slice that is shown."""
        self.hand.at_hand.controller.divide(self.hand.active(), self.hand.at_hand.layers.place())

    @shown_errors
    def split(self, splitting: bool) -> None:
        """Wait for two clicks, or no longer."""
        self.hand.at_hand.begin_split(splitting)

    # Looking

    @shown_errors
    def visit(self, step: int) -> None:
        """To the next or previous doubtful slice of the active object."""
        work = self.hand.at_hand
        places = worth_visiting(work.controller, work.controller.active)
        found = next_place(places, work.layers.place(), step)
        if found is None:
            words = "after" if step > 0 else "before"
            self.hand.told.emit(f"No doubtful or prompted slice of this object comes {words} this one.")
        else:
            work.layers.go_to(found)

    @shown_errors
    def go_to(self, obj: int, place: Place) -> None:
        """Show an object on a place."""
        self.hand.at_hand.controller.select(obj)
        self.hand.at_hand.layers.go_to(place)

    @shown_errors
    def show_tracks(self) -> None:
        """Centres and divisions as a layer."""
        work = self.hand.at_hand
        if not work.layers.show_tracks(work.controller.lineage()):
            raise SessionError("nothing was tracked through time yet; propagate along t first")

    # Settings

    @shown_errors
    def use_setting(self, **changes: Any) -> None:
        """Change settings of the controller."""
        self.hand.at_hand.controller.use_settings(replace(self.hand.at_hand.controller.settings, **changes))
