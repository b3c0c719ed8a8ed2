"""Which keys do what, before a person chooses others. Needs no Qt."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from sam2_engine.errors import PromptError


@dataclass(frozen=True, slots=True)
class KeyAction:
    """Something a key can do.

    Attributes
    ----------
    name : of the setting
    title : what it does, as shown to people
    key : the default, as Qt writes keys: ``Shift+G``
    """

    name: str
    title: str
    key: str


ACTIONS = (
    KeyAction("answer", "segment this slice", "G"),
    KeyAction("propagate", "propagate", "Shift+G"),
    KeyAction("toggle_label", "positive ↔ negative", "H"),
    KeyAction("next_object", "next object", "N"),
    KeyAction("previous_object", "previous object", "Shift+N"),
    KeyAction("next_doubtful", "next doubtful slice", "J"),
    KeyAction("previous_doubtful", "previous doubtful slice", "K"),
    KeyAction("undo", "undo", "U"),
    KeyAction("redo", "redo", "Shift+U"),
    KeyAction("finish", "finish the object", "W"),
    KeyAction("clear_slice", "clear the prompts of this slice", "Q"),
    KeyAction("clear_object", "clear all prompts of the object", "Shift+Q"),
    KeyAction("divide", "the object divides here", "Shift+D"),
    KeyAction("cancel", "stop what is running", "Escape"),
)
"""None of these is a default of napari 0.9; Escape works only while something runs."""


def clashes(keys: Mapping[str, str]) -> dict[str, list[str]]:
    """Key → names of the actions that share it; empty where every key does one thing."""
    by_key: dict[str, list[str]] = {}
    for name, key in keys.items():
        if key:
            by_key.setdefault(key.casefold(), []).append(name)
    return {key: names for key, names in by_key.items() if len(names) > 1}


def check_free(name: str, key: str, keys: Mapping[str, str], taken: Iterable[str] = ()) -> None:
    """Refuse a key that another action or napari itself has.

    Raises
    ------
    PromptError
        The key is taken; the message says by what.
    """
    titles = {action.name: action.title for action in ACTIONS}
    for other, used in keys.items():
        if other != name and key and used.casefold() == key.casefold():
            raise PromptError(f"{key} already does “{titles[other]}”; choose another key, or change that one first")
    if key and key.casefold() in {one.casefold() for one in taken}:
        raise PromptError(f"{key} belongs to napari; choose another key, for example one with Shift")
