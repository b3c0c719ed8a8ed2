"""From light to recorded pixels: uneven ground, blur, noise, bit depth."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from ..scenes import Array
from .fields import Float, enlarge, hills


@dataclass(frozen=True, slots=True, eq=False)
class Camera:
    """What the microscope and the camera add, the same on all frames of a clip.

    Attributes
    ----------
    blur : standard deviation of the point spread, px
    haze : share of light that comes from far out of focus
    shading : [S, S] uneven light, multiplied
    read_noise, shot_noise : constant part, and the part that grows with the square root of light
    inverted : dark objects on bright ground
    bits : 8 or 16
    low, high : of 0 and 1 in counts
    gains : [T] light of each frame relative to the first: bleaching, and an unsteady lamp
    defocus : [T] further blur of each frame, px
    """

    blur: float
    haze: float
    shading: Float
    read_noise: float
    shot_noise: float
    inverted: bool
    bits: int
    low: float
    high: float
    gains: Float
    defocus: Float

    def record(self, light: Float, rng: np.random.Generator, frame: int = 0) -> Array:
        """One frame [S, S] or [S, S, 3] of light 0 to 1 as uint8 or uint16."""
        blur = math.hypot(self.blur, float(self.defocus[frame]))
        seen = ndimage.gaussian_filter(light, (blur, blur, 0)[: light.ndim], truncate=2.5) if blur > 0.25 else +light
        if self.haze:
            seen += np.float32(self.haze) * _far_blur(light)
        shading = self.shading * self.gains[frame]
        seen *= shading if light.ndim == 2 else shading[..., None]
        noise = rng.standard_normal(seen.shape, dtype=np.float32)
        noise *= np.float32(self.read_noise) + np.float32(self.shot_noise) * np.sqrt(np.clip(seen, 0, 1.5))
        seen += noise
        if self.inverted:
            np.subtract(1, seen, out=seen)
        counts = np.rint(seen * np.float32(self.high - self.low) + np.float32(self.low))
        limit, dtype = (255, np.uint8) if self.bits == 8 else (65535, np.uint16)
        recorded: Array = np.clip(counts, 0, limit).astype(dtype)
        return recorded


def random_camera(
    rng: np.random.Generator, side: int, num_frames: int, fluorescent: bool, colour: bool, detail: float
) -> Camera:
    """A camera of random quality.

    Parameters
    ----------
    side, num_frames : of the clip
    fluorescent : light in the dark, rather than transmitted light
    colour : 8 bits only, and hardly ever inverted
    detail : radius of typical objects in px, which blur must not drown
    """
    gains, defocus = _unsteady(rng, num_frames, fluorescent)
    blur = rng.uniform(0.3, 1.6) if rng.random() < 0.85 else rng.uniform(1.6, 3.0)
    most = 0.2 * detail + 0.3
    quality = rng.random()
    bits = 8 if colour or rng.random() < 0.7 else 16
    full = 255.0 if bits == 8 else float(rng.choice([1023, 4095, 65535]))
    low = full * rng.uniform(0, 0.12 if fluorescent else 0.2)
    high = full * (rng.uniform(0.15, 0.95) if fluorescent else rng.uniform(0.65, 1.0))
    uneven = rng.uniform(0, 0.15) if fluorescent else 0.04 * rng.exponential()
    shading = 1 + np.float32(uneven) * hills(rng, side, 1)
    noise = math.exp(rng.uniform(math.log(0.002), math.log(0.03 if fluorescent else 0.015)))
    return Camera(
        blur=min(blur, most),
        haze=rng.uniform(0.05, 0.4) if fluorescent and rng.random() < 0.5 else 0.0,
        shading=np.clip(shading, 0.5, 1.5).astype(np.float32),
        read_noise=noise * (1.6 if quality > 0.9 else 1),
        shot_noise=rng.uniform(0.0, 0.06 if fluorescent else 0.02) * (1.6 if quality > 0.9 else 1),
        inverted=bool(rng.random() < (0.04 if colour else 0.12)),
        bits=bits,
        low=low,
        high=max(high, low + 0.1 * full),
        gains=gains,
        defocus=np.minimum(defocus, np.float32(most)),
    )


def _unsteady(rng: np.random.Generator, num_frames: int, fluorescent: bool) -> tuple[Float, Float]:
    """Light and blur of each frame: dyes bleach, lamps flicker, focus wanders."""
    times = np.arange(num_frames)
    decay = rng.uniform(0.02, 0.18) if fluorescent and rng.random() < 0.35 else 0.0
    flicker = rng.normal(size=num_frames) * (rng.uniform(0.0, 0.06) if rng.random() < 0.3 else 0.0)
    defocus = np.zeros(num_frames)
    if num_frames > 1 and rng.random() < 0.2:
        defocus = rng.uniform(0.5, 1.8) * (1 + np.sin(rng.uniform(0, 2 * math.pi) + times * rng.uniform(0.3, 1.5))) / 2
    return (np.exp(-decay * times) * (1 + flicker)).astype(np.float32), defocus.astype(np.float32)


def _far_blur(light: Float) -> Float:
    """A wide blur, made on an eighth of the size."""
    side = light.shape[0]
    step = max(side // 32, 1)
    small = light[: side // step * step, : side // step * step]
    small = small.reshape(side // step, step, side // step, step).mean(axis=(1, 3))
    return enlarge(ndimage.gaussian_filter(small, 1.2).astype(np.float32), side)
