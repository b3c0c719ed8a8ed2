"""The masks in a session file, without the model and the memories that made them."""

from __future__ import annotations

import base64
import json
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import SessionFileError
from .kept_masks import PackedMask
from .prompts import ObjectId

FORMAT = 1
"""Newest format of session files."""

DOCUMENT = "session.json"
"""Member of the zip file that people can read."""

MAX_BYTES = 16 * 2**30
"""Largest unpacked size taken from a file, against files made to fill the memory."""


@dataclass(frozen=True, slots=True, eq=False)
class SavedMasks:
    """What a session handed out.

    Attributes
    ----------
    num_frames : of the sequence it was made on
    size : (height, width) of the frames
    masks : object → frame → mask
    prompted : frames on which a person said something
    """

    num_frames: int
    size: tuple[int, int]
    masks: Mapping[ObjectId, Mapping[int, PackedMask]]
    prompted: frozenset[int]


def read_saved_masks(path: Path) -> SavedMasks:
    """The masks of a session file.

    Raises
    ------
    SessionFileError
        Missing, damaged, of a newer version, or no session file.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if archive.getinfo(DOCUMENT).file_size > MAX_BYTES:
                raise SessionFileError(
                    f"{path} unpacks to more than {MAX_BYTES >> 30} GiB; it is not a session of ours"
                )
            document = json.loads(archive.read(DOCUMENT))
        check_format(document, path)
        return _masks(document)
    except SessionFileError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError, zipfile.BadZipFile, zlib.error) as error:
        raise SessionFileError(
            f"{path} is damaged or is no session file ({type(error).__name__}: {error}); open an earlier copy"
        ) from error


def check_format(document: Mapping[str, Any], path: Path) -> None:
    """Refuse what a later version wrote.

    Raises
    ------
    SessionFileError
    """
    if document["format"] > FORMAT:
        raise SessionFileError(f"{path} was written by a newer version (format {document['format']}); update this one")


def read_packed_mask(item: Mapping[str, Any]) -> PackedMask:
    """A mask as the document holds it: ``size``, ``bits`` and ``score``."""
    height, width = item["size"]
    return PackedMask((int(height), int(width)), base64.b64decode(item["bits"]), float(item["score"]))


def _masks(document: Mapping[str, Any]) -> SavedMasks:
    frames = document["frames"]
    masks = {
        item["id"]: {int(frame): read_packed_mask(mask) for frame, mask in item["masks"].items()}
        for item in document["objects"]
    }
    prompted = frozenset(int(frame) for item in document["objects"] for frame in item["prompts"])
    return SavedMasks(int(frames["count"]), (int(frames["height"]), int(frames["width"])), masks, prompted)
