"""Files to write: checked before the work begins, so that an hour's work does not end at a misspelt folder."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ExportError

if TYPE_CHECKING:
    from ..outputs import FrameMasks
    from ..prompt_files import PromptedObject

LABEL_STACK = (".tif", ".tiff")
LABEL_PICTURE = (".png", *LABEL_STACK)
PICTURE = (".png",)
OVERLAY_VIDEO = (".mp4", ".mov", ".mkv")
VIDEO = (*OVERLAY_VIDEO, ".avi", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv", ".gif")
JSON = (".json",)


def check_target(path: str | None, endings: Sequence[str], inputs: Iterable[str | None] = ()) -> None:
    """Refuse a file that could not be written at the end; None passes.

    Parameters
    ----------
    endings : that the name may have
    inputs : files that must not be replaced

    Raises
    ------
    ExportError
        Another ending, no such folder, or one of the inputs.
    """
    if path is None:
        return
    target = Path(path)
    if target.suffix.lower() not in endings:
        raise ExportError(f"{path} should end in {' or '.join(endings)}; change the name")
    if not target.parent.is_dir():
        raise ExportError(f"cannot write {path}: there is no folder {target.parent}; create it first")
    for source in inputs:
        if source is not None and target.exists() and os.path.exists(source) and os.path.samefile(source, target):
            raise ExportError(f"{path} is the input itself; choose another name for the result")


def default_target(source: str, what: str, suffix: str) -> str:
    """A name in the current folder, made from that of the input."""
    name = Path(source).resolve().name
    for ending in (".ome.tif", ".ome.tiff", ".ome.zarr"):
        if name.lower().endswith(ending):
            return name[: -len(ending)] + what + suffix
    return Path(name).stem + what + suffix


def results(
    frames: Iterable[FrameMasks],
    size: tuple[int, int],
    objects: Sequence[PromptedObject],
    values: Mapping[Any, int],
    model: str,
    file_name: Any,
) -> dict[str, Any]:
    """The JSON of results: a COCO data set, with what was asked and by which model under further keys.

    Parameters
    ----------
    frames : masks, each frame once
    values : object id → label in the label files
    file_name : of a frame, by its number
    """
    from ..export import coco_dataset
    from ..prompt_files import prompts_to_json

    document: dict[str, Any] = dict(coco_dataset(frames, size, file_names=file_name))
    document["objects"] = [
        {**entry, "label": values[one.obj]}
        for one, entry in zip(objects, prompts_to_json(objects)["objects"], strict=True)
    ]
    document["info"] = {**document["info"], **about(model)}
    return document


def about(model: str) -> dict[str, str]:
    """What made a file."""
    from .._version import __version__

    return {"made_by": f"sam2-tools {__version__}", "model": model}
