"""What ``sam2 replay`` calls: a project file, its picture and its model brought together. No window, no napari.

`sam2_engine.replaying` says what is asked; the package's entry point ``sam2.replay`` names `replay`.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sam2_engine.errors import MissingDependencyError, SessionFileError
from sam2_engine.replaying import LoadTracker, Replayed

if TYPE_CHECKING:
    from sam2_engine.budget import Budget
    from sam2_engine.tracking import Tracker

    from ._objects import Progress
    from ._picture import Picture
    from ._project import Project


def replay(
    project: Path,
    load_tracker: LoadTracker,
    *,
    images: Sequence[Path] = (),
    model: str | None = None,
    budget: Budget | None = None,
) -> Generator[Progress, None, Replayed]:
    """Do a project again; see `sam2_engine.replaying.Replay`.

    Raises
    ------
    SessionFileError
        No project, or the picture is not that of the project.
    EngineError
        The picture or the model cannot be had.
    MissingDependencyError
        psygnal is not installed; napari need not be.
    """
    try:
        from ._replay import replay_steps
    except ModuleNotFoundError as error:
        if error.name != "psygnal":
            raise
        raise MissingDependencyError("replaying needs the package psygnal: pip install 'sam2-tools[replay]'") from error
    from ._project import check_picture, read_project

    content = read_project(project)
    picture = open_picture(content, project, images)
    check_picture(content, picture, project)
    used: dict[str, Tracker] = {}

    @cache
    def load(name: str) -> Tracker:
        used[name] = load_tracker(name)
        return used[name]

    controller = yield from replay_steps(content, picture, load if model is None else load(model), budget=budget)
    return _result(content, picture, controller.state, used)


def open_picture(content: Project, project: Path, images: Sequence[Path] = ()) -> Picture:
    """The picture of a project, from its file or, in its place, from `images`: one, or one for each channel.

    Raises
    ------
    SessionFileError
        No file is known, it is not there, or its shape is not that of the project.
    FramesError
        It cannot be read.
    """
    from sam2_engine.frames import open_array

    from ._picture import Picture

    facts: Mapping[str, Any] = content.picture
    paths = list(images) or [_known_file(facts, project)]
    if len(paths) != facts["num_arrays"]:
        raise SessionFileError(
            f"{project} was made on {facts['num_arrays']} layers, a channel each; give --image for each, in their order"
        )
    arrays = [fitted(open_array(path)[0], _wanted_shape(facts), path, project) for path in paths]
    return Picture(
        data=arrays[0],
        others=tuple(arrays[1:]),
        frame_axis=facts["frame_axis"],
        channel_axis=facts["channel_axis"],
        rgb=facts["rgb"],
        contrast=facts["contrast"],
        limits=tuple((low, high) for low, high in facts["limits"]),
        axis_labels=tuple(facts["axis_labels"]),
        channels=tuple(facts["channels"]),
        scale=tuple(facts["scale"]),
        translate=tuple(facts["translate"]),
        units=tuple(facts["units"]),
        name=facts["name"],
        path=str(paths[0]),
    )


def fitted(array: Any, wanted: Sequence[int | None], path: Path, project: Path) -> Any:
    """An array without those axes of length 1 that `wanted` does not have; None in `wanted` fits any length.

    Raises
    ------
    SessionFileError
        It has another shape.
    """
    dropped: list[int] = []
    left = list(wanted)
    for axis, length in enumerate(array.shape):
        if left and left[0] in (length, None):
            left.pop(0)
        elif length == 1:
            dropped.append(axis)
        else:
            left = [-1]
            break
    if left:
        shape = "×".join("…" if one is None else str(one) for one in wanted)
        raise SessionFileError(
            f"{project} belongs to a picture of {shape}, {path} is {'×'.join(map(str, array.shape))}; give the picture "
            "it was made on by --image (of a multiscale zarr the level, such as image.zarr/1)"
        )
    return Dropped(array, dropped) if dropped else array


class Dropped:
    """An array without some axes of length 1."""

    def __init__(self, array: Any, axes: Sequence[int]) -> None:
        self._array, self._axes = array, tuple(axes)
        self.shape = tuple(length for axis, length in enumerate(array.shape) if axis not in self._axes)
        self.dtype = array.dtype
        self.ndim = len(self.shape)

    def __getitem__(self, key: Any) -> Any:
        keys = list(key) if isinstance(key, tuple) else [key]
        for axis in self._axes:
            keys[axis:axis] = [0] if len(keys) >= axis else [*[slice(None)] * (axis - len(keys)), 0]
        return self._array[tuple(keys)]


def _known_file(facts: Mapping[str, Any], project: Path) -> Path:
    """Where the picture is: where it was, or beside the project."""
    if not facts["path"]:
        raise SessionFileError(f"{project} does not know the file of its picture ({facts['name']!r}); give --image")
    was = Path(facts["path"])
    for path in (was, project.parent / was.name):
        if path.exists():
            return path
    raise SessionFileError(f"the picture of {project} is no longer at {was}; give --image with where it is now")


def _wanted_shape(facts: Mapping[str, Any]) -> list[int | None]:
    """Shape of the picture's array; None for the numbers of channels."""
    shape: list[int | None] = list(facts["shape"])
    if facts["channel_axis"] is not None:
        shape.insert(facts["channel_axis"] % (len(shape) + 1), None)
    return [*shape, None] if facts["rgb"] else shape


def _result(content: Project, picture: Picture, state: Any, used: Mapping[str, Tracker]) -> Replayed:
    from sam2_engine.session_file import fingerprint

    from ._exporting import space_of

    notes = []
    *_, (name, tracker) = [("none", None), *used.items()]
    if tracker is not None and content.weights not in (None, fingerprint(tracker.model.state_dict())):
        notes.append(f"the weights {name!r} are not those that the project was made with")
    intensities, channel_axis = picture.intensities
    return Replayed(
        labels=_all_labels(picture, state),
        saved=_all_labels(picture, content.state),
        space=space_of(picture),
        parents={obj: thing.parent for obj, thing in state.things.items() if thing.parent is not None},
        image=intensities,
        channel_axis=channel_axis,
        num_actions=len(content.journal),
        num_objects=len(state.things),
        model=name,
        notes=tuple(notes),
    )


def _all_labels(picture: Picture, state: Any) -> Any:
    from ._store_labels import StoreLabels

    draw: Callable[[Any], Any] = state.drawn_all
    return StoreLabels(picture, draw)
