"""JSON files of data sets: what kind they are without reading them whole, and reading them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ...errors import FramesError

_CHUNK_BYTES = 1 << 20
_SPACE = re.compile(r"[ \t\r\n]*")


def load_json(path: Path) -> Any:
    """The content of a file.

    Raises
    ------
    FramesError
        Missing or no JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise FramesError(f"{path} cannot be read as JSON ({error}); export it again") from error


def read_members(path: Path) -> Iterator[tuple[str, Any]]:
    """Members of the object in a file: (key, value); of a list (key, element) for each element.

    The whole object would take about seven times the file's size in memory; so it is one element at a time.

    Raises
    ------
    FramesError
        Missing or no JSON object.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        decode = json.JSONDecoder().raw_decode
        place = _expect(text, 0, "{")
        while text[place : place + 1] != "}":
            _check_string(text, place)
            key, place = decode(text, place)
            place = _expect(text, place, ":")
            if text[place : place + 1] == "[":
                place = _skip(text, place + 1)
                while text[place : place + 1] != "]":
                    element, place = decode(text, place)
                    yield key, element
                    place = _next(text, place, "]")
                place += 1
            else:
                value, place = decode(text, place)
                yield key, value
            place = _next(text, place, "}")
    except (OSError, ValueError) as error:
        raise FramesError(f"{path} cannot be read as JSON ({error}); export it again") from error


def _skip(text: str, place: int) -> int:
    found = _SPACE.match(text, place)
    return found.end() if found else place


def _expect(text: str, place: int, sign: str) -> int:
    """The place of what follows a sign.

    Raises
    ------
    JSONDecodeError
        Something else stands there.
    """
    place = _skip(text, place)
    if text[place : place + 1] != sign:
        raise json.JSONDecodeError(f"expected {sign!r}", text, place)
    return _skip(text, place + 1)


def _check_string(text: str, place: int) -> None:
    if text[place : place + 1] != '"':
        raise json.JSONDecodeError("expected a name in quotes", text, place)


def _next(text: str, place: int, closing: str) -> int:
    """The place of the next member, or of the closing bracket."""
    place = _skip(text, place)
    return place if text[place : place + 1] == closing else _expect(text, place, ",")


def has_keys(path: Path, opening: str, keys: tuple[str, ...]) -> bool:
    """Whether a file begins with this bracket and mentions all keys; it is not parsed, and read as far as needed."""
    wanted = {f'"{key}"'.encode() for key in keys}
    longest = max(len(key) for key in wanted)
    try:
        with open(path, "rb") as file:
            text = file.read(_CHUNK_BYTES)
            if not text.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(opening.encode()):
                return False
            while text and wanted:
                wanted = {key for key in wanted if key not in text}
                # A key may lie across two pieces.
                rest = file.read(_CHUNK_BYTES)
                text = text[-longest:] + rest if rest else b""
    except OSError:
        return False
    return not wanted
