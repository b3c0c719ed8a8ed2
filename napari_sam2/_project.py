"""A person's work in a file: a zip, or a folder of the same members while it is being worked on.

``project.json`` says everything but masks, and can be read by people; ``masks/*.bin`` hold the masks of one object
each, ``marks.bin`` those in prompts and in the journal. See `_encoding`.
"""

from __future__ import annotations

import json
import os
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from sam2_engine.atomic import atomic_path
from sam2_engine.errors import SessionFileError

from ._encoding import PatchPool, from_json, planes_bytes, pool_bytes, read_planes, read_pool, to_json
from ._objects import ControllerSettings
from ._picture import Picture
from ._state import Action, State, Thing
from ._store import MaskStore

FORMAT = 2
"""Newest format of project files; 2 brought outlines."""

DOCUMENT = "project.json"
MARKS = "marks.bin"
SUFFIX = ".sam2"

MAX_MEMBER_BYTES = 4 * 2**30
"""Largest member taken from a file, against files made to fill the memory."""


@dataclass(frozen=True, slots=True, eq=False)
class Project:
    """What a project file holds.

    Attributes
    ----------
    state : everything but pixels of the picture
    picture : facts of the picture: ``shape``, ``axis_labels``, ``frame_axis``, ``channel_axis``, ``rgb``, ``channels``,
        ``contrast``, ``limits``, ``scale``, ``translate``, ``units``, ``name``, ``path``, ``other_paths``,
        ``fingerprint``, ``num_arrays`` and ``dtype``
    settings : what was chosen
    model_name : name or path of the weights
    weights : their fingerprint; None where the model was never needed
    position : where something was said last, on the fixed axes
    saved_at : seconds since 1970
    """

    state: State
    picture: Mapping[str, Any]
    settings: ControllerSettings
    model_name: str
    weights: str | None
    position: tuple[int, ...]
    saved_at: float

    @property
    def journal(self) -> tuple[Action, ...]:
        """What was done."""
        return self.state.journal


def picture_facts(picture: Picture) -> dict[str, Any]:
    """What is kept of a picture to find and to know it again."""
    names: tuple[str, ...] = ("axis_labels", "frame_axis", "channel_axis", "rgb", "channels", "contrast", "limits")
    names += ("scale", "translate", "units", "name", "path", "other_paths")
    facts = {name: _plain(getattr(picture, name)) for name in names}
    return {
        **facts,
        "shape": list(picture.shape),
        "dtype": str(np.dtype(picture.data.dtype)),
        "num_arrays": 1 + len(picture.others),
        "fingerprint": picture.fingerprint,
    }


def _plain(value: Any) -> Any:
    return [_plain(one) for one in value] if isinstance(value, tuple) else value


def document(project: Project, masks: Mapping[int, str], pool: PatchPool) -> bytes:
    """``project.json``; `masks` are the members with the masks of each object."""
    state = project.state
    settings = {name: value for name, value in asdict(project.settings).items() if name != "window"}
    said = [[obj, to_json(place, pool), to_json(one, pool)] for (obj, place), one in state.said.items()]
    content = {
        "format": FORMAT,
        "saved_at": project.saved_at,
        "picture": dict(project.picture),
        "model": {"name": project.model_name, "weights": project.weights},
        "settings": {**settings, "window": project.settings.window if _is_word(project.settings.window) else None},
        "position": list(project.position),
        "active": state.active,
        "next": [state.next_id, state.next_stamp],
        "objects": [{"id": obj, **asdict(thing)} for obj, thing in state.things.items()],
        "masks": {str(obj): member for obj, member in masks.items()},
        "said": said,
        "outlined": [[obj, to_json(place, pool), to_json(one, pool)] for (obj, place), one in state.outlined.items()],
        "journal": [to_json(action, pool) for action in state.journal],
    }
    return json.dumps(content, ensure_ascii=False, indent=1).encode()


def _is_word(window: object) -> bool:
    return window is None or isinstance(window, str)


def write_project(project: Project, path: Path) -> None:
    """Write a zip, whole or not at all.

    Raises
    ------
    ExportError
        It cannot be written.
    """
    pool = PatchPool()
    masks = {obj: f"masks/{obj}.bin" for obj in project.state.masks.objects}
    content = document(project, masks, pool)
    with atomic_path(path) as unfinished, zipfile.ZipFile(unfinished, "w") as archive:
        archive.writestr(DOCUMENT, content, compress_type=zipfile.ZIP_DEFLATED)
        archive.writestr(MARKS, pool_bytes(pool.patches), compress_type=zipfile.ZIP_DEFLATED)
        for obj, member in masks.items():
            archive.writestr(member, planes_bytes(project.state.masks.of(obj)), compress_type=zipfile.ZIP_DEFLATED)


def read_project(path: str | os.PathLike[str]) -> Project:
    """What a project file or an autosaved folder holds.

    Raises
    ------
    SessionFileError
        Missing, damaged, of a newer version, or something else.
    """
    path = Path(path)
    try:
        if path.is_dir():
            return _project(lambda member: _inside(path, member).read_bytes(), path)
        with zipfile.ZipFile(path) as archive:
            return _project(lambda member: _member(archive, member, path), path)
    except SessionFileError:
        raise
    except FileNotFoundError as error:
        raise SessionFileError(f"there is no project {path} (or a part of it is missing); check the path") from error
    except (OSError, ValueError, KeyError, TypeError, IndexError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise SessionFileError(
            f"{path} is damaged or is no project ({type(error).__name__}: {error}); open an earlier copy"
        ) from error


def _inside(folder: Path, member: str) -> Path:
    found = (folder / member).resolve()
    if folder.resolve() not in found.parents:
        raise SessionFileError(f"{folder} names a file outside of itself ({member}); it is no project of ours")
    return found


def _member(archive: zipfile.ZipFile, member: str, path: Path) -> bytes:
    if archive.getinfo(member).file_size > MAX_MEMBER_BYTES:
        raise SessionFileError(f"{path} unpacks to more than {MAX_MEMBER_BYTES >> 30} GiB; it is no project of ours")
    return archive.read(member)


def _project(read: Callable[[str], bytes], path: Path) -> Project:
    content = json.loads(read(DOCUMENT))
    if content["format"] > FORMAT:
        raise SessionFileError(
            f"{path} was written by a newer version (format {content['format']}); update this one to open it"
        )
    pool = PatchPool(read_pool(read(content.get("marks", MARKS))))
    things = {}
    for item in content["objects"]:
        obj = item.pop("id")
        things[int(obj)] = Thing(**item)
    state = State(
        things,
        MaskStore({int(obj): read_planes(read(member)) for obj, member in content["masks"].items()}),
        {(int(obj), from_json(place, pool)): from_json(said, pool) for obj, place, said in content["said"]},
        content["active"],
        int(content["next"][0]),
        int(content["next"][1]),
        tuple(from_json(action, pool) for action in content["journal"]),
        {(int(obj), from_json(place, pool)): from_json(one, pool) for obj, place, one in content.get("outlined", [])},
    )
    return Project(
        state,
        content["picture"],
        _settings(content["settings"]),
        content["model"]["name"],
        content["model"]["weights"],
        tuple(content["position"]),
        float(content["saved_at"]),
    )


def _settings(content: Mapping[str, Any]) -> ControllerSettings:
    """What was chosen; what later versions took out of it is passed over."""
    known = {one.name for one in fields(ControllerSettings)}
    return ControllerSettings(**{name: value for name, value in content.items() if name in known})


def check_picture(project: Project, picture: Picture, path: str | os.PathLike[str]) -> None:
    """
    Raises
    ------
    SessionFileError
        The project belongs to another picture, or to the same one followed along another axis.
    """
    facts = picture_facts(picture)
    for name, what in (("shape", "of shape"), ("frame_axis", "followed along axis"), ("fingerprint", "with content")):
        if project.picture[name] != facts[name]:
            raise SessionFileError(
                f"{path} belongs to a picture {what} {project.picture[name]} ({project.picture['name']!r}), "
                f"this one is {what} {facts[name]}; open the picture it was made on"
            )
