"""The order in which people number files."""

from __future__ import annotations

import re

_DIGITS = re.compile(r"([0-9]+)")


def natural_key(name: str) -> tuple[list[tuple[int, int, str]], str]:
    """A sort key that counts numbers as numbers: frame2 before frame10; equal ones in the order of their letters."""
    pieces = [piece for piece in _DIGITS.split(name.casefold()) if piece]
    return [(0, int(piece), "") if piece.isdecimal() and piece.isascii() else (1, 0, piece) for piece in pieces], name
