"""Random fields: the grain of textures, uneven light, rough backgrounds."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Float = NDArray[np.float32]


def grain(rng: np.random.Generator, size: int, exponent: float, axes: int = 2) -> Float:
    """Noise that wraps around, mean 0 and standard deviation 1, with spectral amplitude ``1 / frequency ** exponent``.

    Exponent 0 is white, 1 looks like chromatin, 2 like clouds. The result is [size] * `axes`.
    """
    spectrum = np.fft.rfftn(rng.standard_normal((size,) * axes, dtype=np.float32))
    frequencies = [np.fft.fftfreq(size)] * (axes - 1) + [np.fft.rfftfreq(size)]
    squared = sum(np.square(f) for f in np.meshgrid(*frequencies, indexing="ij", sparse=True))
    radius = np.sqrt(np.maximum(np.asarray(squared), 1 / size**2))
    field = np.fft.irfftn(spectrum / radius**exponent, s=(size,) * axes, axes=range(axes)).astype(np.float32)
    field -= field.mean()
    return field / (field.std() + np.float32(1e-6))  # type: ignore[no-any-return]


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
