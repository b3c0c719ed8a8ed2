"""Commands of other packages: ``sam2 serve label-studio``, ``sam2 label-studio doctor``. The engine knows none of them.

A package names each under the entry point group `GROUP`: the words of the command, joined by dots, and a module or
object with the function ``add_parser(commands, common)`` that the commands here have too::

    sam2.commands =
        serve.label-studio = ls_backend.serving

The function adds a parser of the last word. Nothing is imported before a person types the first word.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from importlib.metadata import EntryPoint
from typing import Any, Protocol

from ..errors import EngineError

GROUP = "sam2.commands"


class Command(Protocol):
    """What an entry point names."""

    def add_parser(self, commands: Any, common: argparse.ArgumentParser) -> None: ...


def add_found(commands: Any, common: argparse.ArgumentParser, argv: Sequence[str]) -> None:
    """Add the commands of other packages; import those that `argv` is about.

    Parameters
    ----------
    commands : subparsers of ``sam2``; a word that it has already is left alone
    common : options of every command
    argv : what was typed

    Raises
    ------
    EngineError
        The command that was typed cannot be imported.
    """
    typed = first_word(argv)
    for word, members in _by_word().items():
        if word in commands.choices:
            continue
        parser = commands.add_parser(word, help=", ".join(members), description=f"sam2 {word} COMMAND")
        if word != typed:
            continue
        inner = parser.add_subparsers(metavar="COMMAND", required=True)
        for entry in members.values():
            _load(entry).add_parser(inner, common)


def first_word(argv: Sequence[str]) -> str | None:
    """The command of a line, None where there is none."""
    return next((text for text in argv if not text.startswith("-")), None)


def _by_word() -> Mapping[str, Mapping[str, EntryPoint]]:
    """First word → last word → where it is; of several of one name the first counts."""
    from importlib.metadata import entry_points

    found: dict[str, dict[str, EntryPoint]] = {}
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name):
        word, _, last = entry.name.partition(".")
        if word and last:
            found.setdefault(word, {}).setdefault(last, entry)
    return found


def _load(entry: EntryPoint) -> Command:
    try:
        command: Command = entry.load()
    except ImportError as error:
        words = entry.name.replace(".", " ")
        raise EngineError(
            f"the command 'sam2 {words}' cannot be loaded ({error}); install its package again"
        ) from error
    return command
