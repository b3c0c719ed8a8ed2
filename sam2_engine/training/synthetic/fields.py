"""Random fields: the grain of textures, uneven light, rough backgrounds."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import fft

Float = NDArray[np.float32]


def grain(rng: np.random.Generator, size: int, exponent: float, axes: int = 2) -> Float:
    """Noise that wraps around, mean 0 and standard deviation 1, with spectral amplitude ``1 / frequency ** exponent``.

    Exponent 0 is white, 1 looks like chromatin, 2 like clouds. The result is [size] * `axes`.
    """
    return volume(rng, (size,) * axes, exponent)


def volume(rng: np.random.Generator, shape: tuple[int, ...], exponent: float) -> Float:
    """Noise as of :func:`grain` with axes of any lengths, the same per pixel along each."""
    spectrum = fft.rfftn(rng.standard_normal(shape, dtype=np.float32))
    frequencies = [np.fft.fftfreq(size) for size in shape[:-1]] + [np.fft.rfftfreq(shape[-1])]
    squared = sum(np.square(f) for f in np.meshgrid(*frequencies, indexing="ij", sparse=True))
    decay = np.maximum(np.asarray(squared), 1 / max(shape) ** 2) ** (-0.5 * exponent)
    field: Float = fft.irfftn(spectrum * decay.astype(np.float32), s=shape)
    field -= field.mean()
    field /= field.std() + np.float32(1e-6)
    return field


def hills(rng: np.random.Generator, size: int, cells: int) -> Float:
    """A smooth field [size, size] of about unit height with `cells` random heights a side."""
    heights = rng.standard_normal((cells + 2, cells + 2), dtype=np.float32)
    return enlarge(heights, size)


def enlarge(field: Float, size: int) -> Float:
    """The field, interpolated smoothly to [size, size]."""
    return np.asarray(Image.fromarray(field).resize((size, size), Image.Resampling.BICUBIC))


def rough(rng: np.random.Generator, size: int, exponent: float) -> Float:
    """Noise as of :func:`grain` of any size; sizes beyond 256 are interpolated."""
    field = grain(rng, min(128 if size <= 256 else 256, size), exponent)
    return field if len(field) == size else enlarge(field, size)


def fibres(rng: np.random.Generator, size: int, ratio: float, exponent: float = 1.0) -> Float:
    """Noise [size, size] drawn out `ratio` times along one, slightly bent, direction."""
    field = grain(rng, 128, exponent)
    angle = rng.uniform(0, np.pi)
    ticks = np.arange(size, dtype=np.float32)
    cosine, sine = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    bend = hills(rng, size, 2) * np.float32(0.04 * size)
    along = (ticks * cosine + ticks[:, None] * sine) / np.float32(ratio)
    across = ticks[:, None] * cosine - ticks * sine + bend
    return field[across.astype(np.int32) & 127, along.astype(np.int32) & 127]  # type: ignore[no-any-return]


def specks(rng: np.random.Generator, size: int, count: int, radius: float) -> Float:
    """A field [size, size] of `count` small round spots of heights -1 to 1."""
    field = np.zeros((size, size), dtype=np.float32)
    reach = int(3 * radius) + 1
    for _ in range(count):
        own = radius * rng.uniform(0.5, 1.0)
        x, y = rng.uniform(0, size, 2)
        rows = np.arange(max(int(y) - reach, 0), min(int(y) + reach + 1, size))
        columns = np.arange(max(int(x) - reach, 0), min(int(x) + reach + 1, size))
        squared = np.square(rows - y)[:, None] + np.square(columns - x)
        field[rows[:, None], columns] += rng.uniform(-1, 1) * np.exp(squared * (-0.5 / own**2))
    return field
