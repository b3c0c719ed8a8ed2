"""napari image layers → `Picture`: which level, which axis is followed, which channels. Reads layers, knows no Qt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam2_engine.errors import ShapeError

from ._picture import Contrast, Picture
from ._slicing import guess_frame_axis

_CHANNEL_NAMES = ("c", "channel", "channels", "ch")
_USUAL_NAMES = {1: ("z",), 2: ("t", "z"), 3: ("t", "c", "z")}
"""What axes before rows and columns are probably called where nobody named them; only shown, never relied on."""


@dataclass(frozen=True, slots=True, eq=False)
class PictureChoice:
    """What a person chose to segment. Axes are those of the layer, without that of RGB values.

    Attributes
    ----------
    layer : an image layer
    level : of a multiscale layer, 0 the finest
    frame_axis : the axis to follow objects along; None for single planes
    channel_axis : None where the layer holds one channel
    channels : along `channel_axis`, or positions in ``(layer, *others)``
    others : further image layers, a channel each
    contrast : see `Picture`
    """

    layer: Any
    level: int = 0
    frame_axis: int | None = None
    channel_axis: int | None = None
    channels: tuple[int, ...] = ()
    others: tuple[Any, ...] = ()
    contrast: Contrast = "model"

    @property
    def is_same_place(self) -> tuple[Any, ...]:
        """What must be equal for objects of one choice to lie on the picture of another."""
        return id(self.layer), self.level, self.frame_axis, self.channel_axis


def num_levels(layer: Any) -> int:
    """Levels of a layer; 1 unless it is multiscale."""
    return len(layer.data) if layer.multiscale else 1


def level_of(layer: Any, level: int) -> Any:
    """The array of a level."""
    return layer.data[level] if layer.multiscale else layer.data


def level_shape(layer: Any, level: int = 0) -> tuple[int, ...]:
    """Length of each axis, without that of RGB values."""
    shape = tuple(int(length) for length in level_of(layer, level).shape)
    return shape[:-1] if layer.rgb else shape


def axis_names(layer: Any) -> tuple[str, ...]:
    """Names that somebody gave to the axes of a layer; empty texts where nobody did."""
    labels = getattr(layer, "axis_labels", ()) or ()
    names = tuple("" if _is_made_up(str(label)) else str(label) for label in labels)
    return names if len(names) == layer.ndim else ("",) * layer.ndim


def guess_channel_axis(layer: Any) -> int | None:
    """The axis named as that of channels."""
    return channel_axis_of(axis_names(layer))


def channel_axis_of(names: Sequence[str]) -> int | None:
    """The axis named as that of channels, among names of axes."""
    named = [axis for axis, name in enumerate(names) if str(name).strip().lower() in _CHANNEL_NAMES]
    return named[0] if named else None


def guess_followed_axis(layer: Any, channel_axis: int | None = None) -> int | None:
    """The axis that objects are probably followed along; None where names do not tell, or in a single picture."""
    names, shape = axis_names(layer), level_shape(layer)
    kept = [axis for axis in range(len(shape)) if axis != channel_axis]
    found = guess_frame_axis([names[axis] for axis in kept], [shape[axis] for axis in kept])
    return None if found is None else kept[found]


def followable_axes(layer: Any, channel_axis: int | None = None) -> tuple[int, ...]:
    """Axes that objects may be followed along: all but channels, where two remain for the plane."""
    axes = tuple(axis for axis in range(layer.ndim) if axis != channel_axis)
    return axes if len(axes) > 2 else ()


def axis_title(layer: Any, axis: int, level: int = 0) -> str:
    """An axis as shown to people: "z · 60 slices"."""
    length = level_shape(layer, level)[axis]
    name = axis_names(layer)[axis]
    if not name:
        usual = _USUAL_NAMES.get(layer.ndim - 2, ())
        hint = f" ({usual[axis]}?)" if axis < len(usual) else ""
        return f"axis {axis}{hint} · {length}"
    return f"{name} · {length}"


def picture_of(choice: PictureChoice) -> Picture:
    """The picture that was chosen. Nothing is read.

    Raises
    ------
    ShapeError, FramesError
        As `Picture`; also where a further layer has another shape.
    """
    layer, level = choice.layer, choice.level
    for other in choice.others:
        if other.rgb or level_shape(other, min(level, num_levels(other) - 1)) != level_shape(layer, level):
            raise ShapeError(
                f"the layer {other.name!r} cannot be a channel of {layer.name!r}: its shape {level_shape(other)} "
                f"differs from {level_shape(layer, level)}, or it is RGB; choose another layer"
            )
    scale, translate = level_grid(layer, level)
    kept = [axis for axis in range(layer.ndim) if axis != choice.channel_axis]
    names, units = axis_names(layer), tuple(str(unit) for unit in getattr(layer, "units", ()) or ())
    frame_axis = None if choice.frame_axis is None else kept.index(choice.frame_axis)
    return Picture(
        data=level_of(layer, level),
        axis_labels=tuple(names[axis] for axis in kept),
        frame_axis=frame_axis,
        channel_axis=choice.channel_axis,
        rgb=bool(layer.rgb),
        channels=choice.channels,
        others=tuple(level_of(other, min(level, num_levels(other) - 1)) for other in choice.others),
        contrast=choice.contrast,
        limits=_limits(choice) if choice.contrast == "limits" else (),
        scale=tuple(scale[axis] for axis in kept),
        translate=tuple(translate[axis] for axis in kept),
        units=tuple(units[axis] for axis in kept) if len(units) == layer.ndim else (),
        name=layer.name,
        path=_path_of(layer),
        other_paths=tuple(_path_of(other) for other in choice.others),
        channel_names=tuple(one.name for one in (layer, *choice.others)) if choice.others else (),
    )


def level_grid(layer: Any, level: int = 0) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Scale and translation of a level: its pixels are larger, and their centres lie elsewhere."""
    factors = [a / b for a, b in zip(level_shape(layer, 0), level_shape(layer, level), strict=True)]
    scale = [float(one) * factor for one, factor in zip(layer.scale, factors, strict=True)]
    shifts = [float(one) * (factor - 1) / 2 for one, factor in zip(layer.scale, factors, strict=True)]
    return tuple(scale), tuple(float(one) + shift for one, shift in zip(layer.translate, shifts, strict=True))


def placement(choice: PictureChoice) -> dict[str, Any]:
    """How a layer is added so that it lies on the chosen picture, channel axis included."""
    layer = choice.layer
    scale, translate = level_grid(layer, choice.level)
    found: dict[str, Any] = {"scale": scale, "translate": translate, "affine": layer.affine}
    if not np.allclose(layer.rotate, np.eye(layer.ndim)):
        found["rotate"] = layer.rotate
    if not np.allclose(layer.shear, 0):
        found["shear"] = layer.shear
    for name in ("axis_labels", "units"):
        if hasattr(layer, name):
            found[name] = getattr(layer, name)
    return found


def without_axis(positions: NDArray[np.float64], axis: int | None) -> NDArray[np.float64]:
    """Positions ``[N, axes]`` without the axis of channels."""
    return positions if axis is None else np.delete(positions, axis, axis=1)


def with_axis(positions: NDArray[np.float64], axis: int | None, index: float) -> NDArray[np.float64]:
    """Positions ``[N, axes]`` at one channel."""
    return positions if axis is None else np.insert(positions, axis, index, axis=1)


class AlongChannels:
    """Labels that lie on every channel: an array with one more axis, along which it is always the same."""

    def __init__(self, labels: Any, axis: int, length: int) -> None:
        self.labels, self.axis, self.length = labels, axis, length
        self.dtype = np.dtype(labels.dtype)

    @property
    def shape(self) -> tuple[int, ...]:
        """Length of each axis, channels among them."""
        shape = tuple(self.labels.shape)
        return (*shape[: self.axis], self.length, *shape[self.axis :])

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of elements."""
        return int(np.prod(self.shape, dtype=np.int64))

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> NDArray[Any]:
        keys = self._keys(key)
        channel = keys.pop(self.axis)
        found = np.asarray(self.labels[tuple(keys)])
        if not isinstance(channel, slice):
            return found
        count = len(range(*channel.indices(self.length)))
        at = sum(isinstance(one, slice) for one in keys[: self.axis])
        shape = (*found.shape[:at], count, *found.shape[at:])
        return np.broadcast_to(np.expand_dims(found, at), shape)

    def __setitem__(self, key: Any, value: Any) -> None:
        keys = self._keys(key)
        keys.pop(self.axis)
        self.labels[tuple(keys)] = value

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.asarray(self[(slice(None),) * self.ndim], dtype=dtype)

    def max(self, axis: None = None, out: None = None, **_: Any) -> int:
        """The largest label; napari asks for it when a new label is wanted."""
        return int(self.labels.max())

    def _keys(self, key: Any) -> list[Any]:
        keys = list(key) if isinstance(key, tuple) else [key]
        if Ellipsis in [one for one in keys if not isinstance(one, np.ndarray)]:
            at = next(i for i, one in enumerate(keys) if one is Ellipsis)
            keys[at : at + 1] = [slice(None)] * (self.ndim - len(keys) + 1)
        return keys + [slice(None)] * (self.ndim - len(keys))


def _limits(choice: PictureChoice) -> tuple[tuple[float, float], ...]:
    layers: Sequence[Any] = (choice.layer, *choice.others)
    if choice.others:
        used = choice.channels or tuple(range(len(layers)))
        return tuple(_pair(layers[number].contrast_limits) for number in used)
    return (_pair(choice.layer.contrast_limits),) * max(1, len(choice.channels))


def _path_of(layer: Any) -> str | None:
    """The file that napari read the layer from, if any."""
    path = getattr(getattr(layer, "source", None), "path", None)
    return None if path is None else str(path)


def _pair(limits: Sequence[float]) -> tuple[float, float]:
    return float(limits[0]), float(limits[1])


def _is_made_up(label: str) -> bool:
    """Whether napari made this name because nobody gave one: "axis -3", "-3", "0"."""
    return label.lower().removeprefix("axis").strip().lstrip("-").isdigit() or not label.strip()
