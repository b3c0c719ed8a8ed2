"""Prompts for several objects in one JSON file.

::

    {
      "version": 1,
      "objects": [
        {
          "id": 1,
          "name": "dividing cell",
          "prompts": [
            {"frame": 12, "points": [[140.5, 88, 1], [160, 90, 0]], "box": [120, 60, 181, 110]},
            {"frame": 20, "mask": "cell1_frame20.png"}
          ]
        }
      ]
    }

===========  =========================================================================================================
``id``       names the object: an integer from 1 on, or a text; each occurs once
``name``     any text for people; may be left out
``frame``    number of the frame, from 0 on; may be left out for a picture, then it is 0; each occurs once per object
``points``   clicks ``[x, y, kind]`` in image pixels; kind 1 is on the object, 0 is off it
``box``      ``[x0, y0, x1, y1]`` in image pixels, top left to bottom right
``mask``     a picture of the image's size, its path relative to the JSON file, where everything that is not black is
             the object; or COCO run lengths ``{"size": [height, width], "counts": …}``. A mask stands alone on its
             frame, without points and box
===========  =========================================================================================================

Unknown keys are errors, so that a misspelt one is not silently ignored. What is written holds masks as run lengths, so
that one file holds everything.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .atomic import write_json
from .errors import EngineError, PromptError
from .export.rle import compress_rle, decode_rle, encode_rle
from .frames import read_image
from .prompts import Box, Click, Prompts

VERSION = 1

ReadMask = Callable[[str], NDArray[np.bool_]]
"""Gives the mask ``[H, W]`` of a file named in the document."""

_LARGEST = 1e300
_OBJECT_KEYS = {"id", "name", "prompts"}
_PROMPT_KEYS = {"frame", "points", "box", "mask"}


@dataclass(frozen=True, slots=True, eq=False)
class PromptedObject:
    """One object and what a person said about it.

    Attributes
    ----------
    obj : its id, an integer from 1 on or a text
    name : for people; may be empty
    prompts : frame → prompts
    """

    obj: int | str
    name: str = ""
    prompts: Mapping[int, Prompts] = field(default_factory=dict)


def read_prompts(path: str | os.PathLike[str]) -> tuple[PromptedObject, ...]:
    """The objects of a JSON file, in its order; the format stands at the top of this module.

    Raises
    ------
    PromptError
        The file is missing or no JSON, or something in it is not as described; the message says where in the document
        and what was expected.
    """
    file = Path(path)
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text in UTF-8"
        raise PromptError(f"the prompts {file} cannot be read: {reason}; check the path") from error
    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        raise PromptError(
            f"{file} is no JSON: line {error.lineno}, column {error.colno}: {error.msg}; correct it there"
        ) from error
    except (RecursionError, ValueError) as error:
        raise PromptError(f"{file} is no prompt file ({error}); write it as docs/cli.md describes") from error
    return prompts_from_json(document, lambda name: read_mask(file.parent / name), source=file.name)


def write_prompts(path: str | os.PathLike[str], objects: Iterable[PromptedObject]) -> None:
    """Write objects as JSON, whole or not at all.

    Raises
    ------
    ExportError
        See `sam2_engine.atomic.atomic_path`.
    """
    write_json(path, prompts_to_json(objects), indent=1)


def prompts_to_json(objects: Iterable[PromptedObject]) -> dict[str, Any]:
    """The document of some objects, masks as COCO run lengths; read back by `prompts_from_json`."""
    return {"version": VERSION, "objects": [_object_to_json(one) for one in objects]}


def prompts_from_json(
    document: Any, read_mask: ReadMask | None = None, *, source: str = "the document"
) -> tuple[PromptedObject, ...]:
    """The objects of a document.

    Parameters
    ----------
    document : what `json.loads` gave
    read_mask : reads masks that are named by file; None refuses them
    source : what error messages call the document

    Raises
    ------
    PromptError
        As in `read_prompts`.
    """
    where = f"{source}: "
    _require(isinstance(document, dict), f"{where}expected an object with version and objects", document)
    version = document.get("version")
    if _is_integer(version) and version > VERSION:
        raise PromptError(f"{where}version {version} comes from a newer version of this package; update it")
    _require(version == VERSION and _is_integer(version), f"{where}version: expected {VERSION}", version)
    _only_keys(document, {"version", "objects"}, where)
    listed = document.get("objects")
    _require(isinstance(listed, list) and listed, f"{where}objects: expected a list with at least one object", listed)
    objects: dict[int | str, PromptedObject] = {}
    for index, entry in enumerate(listed):
        place = f"{where}objects[{index}]"
        one = _read_object(entry, place, read_mask)
        if one.obj in objects:
            raise PromptError(f"{place}.id: {one.obj!r} occurs twice; put all prompts of an object into one entry")
        objects[one.obj] = one
    return tuple(objects.values())


def read_mask(path: str | os.PathLike[str]) -> NDArray[np.bool_]:
    """A mask ``[H, W]`` from a picture: everything that is not black, and not transparent, is the object.

    Raises
    ------
    ImageError
        The file cannot be read as a picture.
    PromptError
        Nothing in it is foreground.
    """
    picture = read_image(path)
    if picture.ndim == 2:
        mask = picture != 0
    else:
        has_alpha = picture.shape[2] in (2, 4)
        colours = picture[:, :, :-1] if has_alpha else picture
        mask = (colours != 0).any(axis=2) & ((picture[:, :, -1] != 0) if has_alpha else True)
    if not mask.any():
        raise PromptError(f"the mask {os.fspath(path)} is empty; paint the object in any colour but black")
    return np.asarray(mask, dtype=np.bool_)


# -------------------------------------------------------------------------------------------------------- writing


def _object_to_json(one: PromptedObject) -> dict[str, Any]:
    entry: dict[str, Any] = {"id": one.obj}
    if one.name:
        entry["name"] = one.name
    entry["prompts"] = [{"frame": frame, **_said(said)} for frame, said in sorted(one.prompts.items())]
    return entry


def _said(prompts: Prompts) -> dict[str, Any]:
    said: dict[str, Any] = {}
    if prompts.clicks:
        said["points"] = [[click.x, click.y, int(click.positive)] for click in prompts.clicks]
    if prompts.box is not None:
        said["box"] = [prompts.box.x0, prompts.box.y0, prompts.box.x1, prompts.box.y1]
    if prompts.mask is not None:
        said["mask"] = compress_rle(encode_rle(prompts.mask))
    return said


# -------------------------------------------------------------------------------------------------------- reading


def _read_object(entry: Any, place: str, read_mask: ReadMask | None) -> PromptedObject:
    _require(isinstance(entry, dict), f"{place}: expected an object with id and prompts", entry)
    _only_keys(entry, _OBJECT_KEYS, f"{place}: ")
    obj, name, listed = entry.get("id"), entry.get("name", ""), entry.get("prompts")
    valid_id = (_is_integer(obj) and obj > 0) or (isinstance(obj, str) and obj)
    _require(valid_id, f"{place}.id: expected an integer from 1 on or a text", obj)
    _require(isinstance(name, str), f"{place}.name: expected a text", name)
    _require(
        isinstance(listed, list) and listed, f"{place}.prompts: expected a list with the prompts of one frame", listed
    )
    prompts: dict[int, Prompts] = {}
    for index, said in enumerate(listed):
        here = f"{place}.prompts[{index}]"
        frame, read = _read_frame(said, here, read_mask)
        if frame in prompts:
            raise PromptError(f"{here}.frame: {frame} occurs twice; put all that is said on a frame into one entry")
        prompts[frame] = read
    return PromptedObject(obj, name, prompts)


def _read_frame(said: Any, place: str, read_mask: ReadMask | None) -> tuple[int, Prompts]:
    _require(isinstance(said, dict), f"{place}: expected an object with frame and points, box or mask", said)
    _only_keys(said, _PROMPT_KEYS, f"{place}: ")
    frame = said.get("frame", 0)
    _require(_is_integer(frame) and frame >= 0, f"{place}.frame: expected a frame number from 0 on", frame)
    points, box, mask = said.get("points"), said.get("box"), said.get("mask")
    clicks = () if points is None else _read_points(points, f"{place}.points")
    corners = None if box is None else _numbers(box, 4, f"{place}.box", "[x0, y0, x1, y1]")
    painted = None if mask is None else _read_mask(mask, f"{place}.mask", read_mask)
    try:
        prompts = Prompts(clicks, None if corners is None else Box(*corners), painted)
    except PromptError as error:
        raise PromptError(f"{place}: {error}") from error
    if prompts.is_empty:
        raise PromptError(f"{place}: says nothing; give points, box or mask, or leave the entry out")
    return frame, prompts


def _read_points(points: Any, place: str) -> tuple[Click, ...]:
    _require(isinstance(points, list), f"{place}: expected a list of [x, y, 1 or 0]", points)
    clicks = []
    for index, point in enumerate(points):
        x, y, kind = _numbers(point, 3, f"{place}[{index}]", "[x, y, kind] with kind 1 (on the object) or 0 (off it)")
        if kind not in (0, 1):
            raise PromptError(f"{place}[{index}][2]: expected 1 (on the object) or 0 (off it), got {kind:g}")
        clicks.append(Click(x, y, bool(kind)))
    return tuple(clicks)


def _read_mask(mask: Any, place: str, read_mask: ReadMask | None) -> NDArray[np.bool_]:
    expected = f"{place}: expected the name of a picture, or run lengths with size and counts"
    if isinstance(mask, dict):
        _require(set(mask) == {"size", "counts"}, expected, mask)
        size = mask["size"]
        is_size = isinstance(size, list) and all(map(_is_integer, size))
        _require(is_size, f"{place}.size: expected [height, width]", size)
        _require(isinstance(mask["counts"], (str, list)), f"{place}.counts: expected a text or a list", mask["counts"])
        reader: Callable[[], NDArray[np.bool_]] = lambda: decode_rle(mask)  # type: ignore[arg-type]  # noqa: E731
    else:
        _require(isinstance(mask, str) and mask, expected, mask)
        if read_mask is None:
            raise PromptError(f"{place}: masks in files cannot be used here, got {mask!r}; give run lengths instead")
        named: ReadMask = read_mask
        reader = lambda: named(mask)  # noqa: E731
    try:
        return reader()
    except EngineError as error:
        raise PromptError(f"{place}: {error}") from error


def _numbers(value: Any, count: int, place: str, expected: str) -> list[float]:
    is_list = isinstance(value, list) and len(value) == count
    if not (is_list and all(isinstance(one, (int, float)) and not isinstance(one, bool) for one in value)):
        raise PromptError(f"{place}: expected {expected}, got {_shown(value)}")
    if not all(abs(one) <= _LARGEST for one in value):
        raise PromptError(f"{place}: expected finite numbers {expected}, got {_shown(value)}")
    return [float(one) for one in value]


def _only_keys(entry: Mapping[str, Any], known: set[str], where: str) -> None:
    unknown = sorted(set(entry) - known)
    if unknown:
        raise PromptError(f"{where}unknown key {unknown[0]!r}; known are {', '.join(sorted(known))}")


def _require(fits: object, expected: str, value: Any) -> None:
    if not fits:
        raise PromptError(f"{expected}, got {_shown(value)}")


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _shown(value: Any) -> str:
    """A value as JSON would show it, cut short."""
    if value is None:
        return "nothing"
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 80 else text[:77] + "…"
