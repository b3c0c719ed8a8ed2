"""JSON files of data sets: what kind they are without reading them whole, and reading them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ...errors import FramesError

_CHUNK_BYTES = 1 << 20


def load_json(path: Path) -> Any:
    """The content of a file.

    Raises
    ------
    FramesError
        Missing or no JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise FramesError(f"{path} cannot be read as JSON ({error}); export it again") from error


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
