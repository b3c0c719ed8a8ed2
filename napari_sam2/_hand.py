"""The work at hand, and how actions on it speak to the person."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, Protocol

from qtpy.QtCore import QObject, Signal

from sam2_engine.errors import SessionError

from ._objects import ObjectRow
from ._work import Work


class Hand(QObject):  # type: ignore[misc]
    """What actions are about; without a work they say so.

    Parameters
    ----------
    chosen : gives the ids that are selected in the table
    """

    failed = Signal(object)
    told = Signal(str)

    def __init__(self, chosen: Callable[[], tuple[int, ...]], parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._chosen = chosen
        self.work: Work | None = None

    @property
    def at_hand(self) -> Work:
        """The current work.

        Raises
        ------
        SessionError
            There is none.
        """
        if self.work is None:
            raise SessionError("no picture was begun yet; choose one under “Input” and press Start")
        return self.work

    def selected(self) -> list[int]:
        """Objects selected in the table; else the active one.

        Raises
        ------
        SessionError
            There is none.
        """
        active = self.at_hand.controller.active
        found = list(self._chosen()) or ([] if active is None else [active])
        if not found:
            raise SessionError("there is no object yet; press N or click on the picture")
        return found

    def active(self) -> int:
        """The object that prompts go to.

        Raises
        ------
        SessionError
            There is none.
        """
        active = self.at_hand.controller.active
        if active is None:
            raise SessionError("no object is selected; select one in the table, or press N for a new one")
        return active

    def row(self, obj: int) -> ObjectRow:
        """The row of an object.

        Raises
        ------
        SessionError
            It is gone.
        """
        row = self.at_hand.row(obj)
        if row is None:
            raise SessionError(f"there is no object {obj} any more; select another")
        return row


class HasHand(Protocol):
    """Whoever acts on the work at hand."""

    hand: Hand


def shown_errors(action: Callable[..., Any]) -> Callable[..., Any]:
    """Errors of an action reach the person instead of Qt."""

    @wraps(action)
    def safe(self: HasHand, *arguments: Any, **settings: Any) -> Any:
        try:
            return action(self, *arguments, **settings)
        except Exception as error:  # of any kind: it is shown to the person, and the window stays usable
            self.hand.failed.emit(error)
        return None

    return safe
