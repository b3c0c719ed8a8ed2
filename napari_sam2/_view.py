"""What the strip and the lists show, found from what the controller knows. No Qt, no napari."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sam2_engine.doubt import Confidence, is_doubtful

from ._objects import ObjectRow, Place

if TYPE_CHECKING:
    from ._controller import Controller
    from ._picture import Picture

_SHORT_UNITS = {
    "micrometer": "µm",
    "micron": "µm",
    "nanometer": "nm",
    "millimeter": "mm",
    "second": "s",
    "minute": "min",
}
_NO_UNITS = ("", "pixel", "pixels", "dimensionless")


@dataclass(frozen=True, slots=True)
class FollowedAxis:
    """What the range is counted in.

    Attributes
    ----------
    name : of the axis
    length : slices along it
    step, origin : of the layer, in `unit`
    unit : empty where the layer has none but pixels
    """

    name: str = ""
    length: int = 1
    step: float = 1.0
    origin: float = 0.0
    unit: str = ""


@dataclass(frozen=True, slots=True)
class WorthCorrecting:
    """A line of the list."""

    obj: int
    place: Place
    words: str


@dataclass(frozen=True, slots=True)
class SliceMark:
    """What the strip shows of a slice.

    Attributes
    ----------
    confidence : 0 to 1; None where a person gave the mask
    is_prompted : the slice has prompts
    is_doubtful : worth a look
    is_found : the object is there
    words : for the tooltip
    """

    confidence: float | None
    is_prompted: bool = False
    is_doubtful: bool = False
    is_found: bool = True
    words: str = ""


@dataclass(frozen=True, slots=True)
class StripContent:
    """Everything that is painted.

    Attributes
    ----------
    num_frames : slices along the slider
    marks : slice → what is known of it
    now : the slice that is shown
    start, stop : first and last slice to propagate to
    title : whose confidence it is
    """

    num_frames: int = 0
    marks: Mapping[int, SliceMark] = field(default_factory=dict)
    now: int = 0
    start: int = 0
    stop: int = 0
    title: str = ""


def followed_axis(picture: Picture) -> FollowedAxis:
    """What a range is counted in."""
    axis = picture.frame_axis
    if axis is None:
        return FollowedAxis()
    name = picture.axis_labels[axis] if picture.axis_labels else ""
    unit = picture.units[axis] if picture.units else ""
    grid = picture.grid
    short = "" if unit in _NO_UNITS else _SHORT_UNITS.get(unit, unit)
    return FollowedAxis(name, picture.num_frames, grid.scale[axis], grid.translate[axis], short)


def fixed_axis_title(picture: Picture) -> str:
    """The axis that objects are carried along beside the followed one; empty where there is none."""
    if not picture.fixed_axes:
        return ""
    axis = picture.fixed_axes[0]
    return (picture.axis_labels[axis] if picture.axis_labels else "") or f"axis {axis}"


def strip_content(
    picture: Picture, row: ObjectRow | None, scores: Mapping[Place, Confidence], here: Place, live: tuple[int, int]
) -> StripContent:
    """What the strip shows of an object, at the position of the fixed axes that is shown."""
    marks = {}
    if row is not None:
        prompted = {place.frame for place in row.prompted if place.position == here.position}
        for place, confidence in scores.items():
            if place.position == here.position:
                marks[place.frame] = _mark(confidence, place.frame in prompted)
        for frame in prompted - marks.keys():
            marks[frame] = SliceMark(None, is_prompted=True, words="prompted")
    title = "" if row is None else row.name
    return StripContent(picture.num_frames, marks, here.frame, *live, title)


def worth_correcting(controller: Controller, limit: int = 50) -> tuple[WorthCorrecting, ...]:
    """Places of all open objects that are worth a look, the worst first."""
    found: list[tuple[float, WorthCorrecting]] = []
    for row in controller.objects:
        if row.locked:
            continue
        scores = controller.scores(row.id)
        for place in controller.doubtful(row.id)[:limit]:
            confidence = scores[place]
            where = place_words(controller.picture, place)
            words = f"{where} · {row.name} · {confidence.value:.2f} · {why(confidence)}"
            found.append((confidence.value, WorthCorrecting(row.id, place, words)))
    return tuple(line for _, line in sorted(found, key=lambda pair: pair[0])[:limit])


def place_words(picture: Picture, place: Place) -> str:
    """A place as people say it: "t 3, z 12", or "slice 12" where axes have no names."""
    axes = (*picture.fixed_axes, *(() if picture.frame_axis is None else (picture.frame_axis,)))
    names = [picture.axis_labels[axis] if picture.axis_labels else "" for axis in axes]
    indices = (*place.position, place.frame)
    if len(names) < 2 or not all(names):
        return f"slice {', '.join(str(index) for index in indices)}"
    return ", ".join(f"{name} {index}" for name, index in zip(names, indices, strict=True))


def why(confidence: Confidence) -> str:
    """What makes a mask doubtful, in words."""
    if confidence.is_given:
        return "given by you"
    signs = {
        "perhaps not there" if confidence.is_present else "perhaps there": (
            confidence.object_score if confidence.is_present else 1 - confidence.object_score
        ),
        "outline unsure": confidence.iou if confidence.is_present else 1.0,
        "area jumps": 1.0 - min(confidence.area_jump, 1.0),
    }
    return min(signs, key=lambda name: signs[name])


def next_place(places: Iterable[Place], here: Place, step: int) -> Place | None:
    """The next place after (+1) or before (-1) the one that is shown; None where there is none."""
    if step > 0:
        return min((place for place in places if place > here), default=None)
    return max((place for place in places if place < here), default=None)


def worth_visiting(controller: Controller, obj: int | None) -> Sequence[Place]:
    """Doubtful places of an object; where there are none, those with prompts."""
    doubtful = controller.doubtful(obj)
    if doubtful:
        return doubtful
    return [place for row in controller.objects if row.id == obj or obj is None for place in row.prompted]


def positions_from(
    picture: Picture, here: tuple[int, ...], direction: str, prompted: Iterable[Place] = ()
) -> tuple[tuple[int, ...], ...]:
    """Positions to carry objects through: this one, then all later or all earlier ones along the first fixed axis.

    Where nothing is prompted on this one, they begin at the nearest that has prompts, those on the way here first.
    """
    if not here:
        return (here,)
    first, rest = here[0], here[1:]
    side = 1 if direction == "forward" else -1
    known = {place.position[0] for place in prompted if place.position[1:] == rest}
    if known and first not in known:
        behind = [index for index in known if (first - index) * side > 0]
        first = min(behind or known, key=lambda index: abs(index - here[0]))
    length = picture.shape[picture.fixed_axes[0]]
    return tuple((index, *rest) for index in range(first, length if side > 0 else -1, side))


def _mark(confidence: Confidence, is_prompted: bool) -> SliceMark:
    words = "prompted" if is_prompted else f"confidence {confidence.value:.2f}"
    if not confidence.is_given:
        words += f" (there {confidence.object_score:.2f}, outline {confidence.iou:.2f}"
        words += f", area changes ×{_factor(confidence.area_jump)})" if confidence.area_jump > 0.2 else ")"
    if not confidence.is_present:
        words += "; the object is not here"
    return SliceMark(confidence.value, is_prompted, is_doubtful(confidence), confidence.is_present, words)


def _factor(jump: float) -> str:
    return f"{2.718281828**jump:.1f}"
