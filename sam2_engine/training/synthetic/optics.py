"""How microscopes turn what is there into light: phase contrast, differential interference contrast, stains."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from scipy import ndimage

from .fields import Float


class Optics(Protocol):
    """From a canvas to light of 0 to 1."""

    def __call__(self, canvas: Float) -> Float:
        """Light [S, S] or [S, S, 3]."""


@dataclass(frozen=True, slots=True)
class Direct:
    """The canvas is the light."""

    def __call__(self, canvas: Float) -> Float:
        """The canvas itself."""
        return canvas


@dataclass(frozen=True, slots=True)
class PhaseContrast:
    """Dark where the optical path is longer than around, bright beside it: the halo and the shading off of phase rings.

    Attributes
    ----------
    ring : width of the halo, px
    gain, level : contrast, and light of the ground
    shade_off : 1 forgets wide flat bodies entirely, 0 keeps them dark
    """

    ring: float
    gain: float
    level: float
    shade_off: float

    def __call__(self, canvas: Float) -> Float:
        """Light from the optical path; beyond half a wavelength it turns bright again, as in rounded cells."""
        width = max(int(self.ring), 1) * 2 + 1
        around = ndimage.uniform_filter(ndimage.uniform_filter(canvas, width), width)
        light: Float = np.float32(self.level) - np.float32(self.gain) * np.sin(
            canvas - np.float32(self.shade_off) * around
        )
        return light


@dataclass(frozen=True, slots=True)
class Relief:
    """Differential interference contrast: the slope of the optical path along a direction.

    Attributes
    ----------
    angle : of the light, radians
    gain, level : contrast, and light of the ground
    """

    angle: float
    gain: float
    level: float

    def __call__(self, canvas: Float) -> Float:
        """Light from the slope."""
        down, right = np.gradient(canvas)
        across = np.float32(math.sin(self.angle)) * down + np.float32(math.cos(self.angle)) * right
        return np.asarray(np.float32(self.level) + np.float32(self.gain) * across)


@dataclass(frozen=True, slots=True, eq=False)
class Stains:
    """Transmitted light through two stains.

    Attributes
    ----------
    colours : [2, C] absorption of the nuclear stain and of the counterstain; C is 3, or 1 for a grey camera
    lamp : [C] light of the empty slide
    """

    colours: Float
    lamp: Float

    def __call__(self, canvas: Float) -> Float:
        """Light from the amounts of the stains [S, S, 2]."""
        light: Float = self.lamp * np.exp(-(np.maximum(canvas, 0) @ self.colours))
        return light if light.shape[-1] == 3 else light[..., 0]


ABSORPTION = {
    "haematoxylin": (0.65, 0.70, 0.29),
    "eosin": (0.10, 0.90, 0.35),
    "violet": (0.53, 0.84, 0.13),
    "pink violet": (0.50, 0.80, 0.35),
    "brown": (0.30, 0.57, 0.78),
    "blue": (0.85, 0.55, 0.20),
    "green": (0.80, 0.30, 0.65),
    "orange": (0.05, 0.40, 0.85),
}
"""What stains take from red, green and blue light."""

PAIRS = (
    ("haematoxylin", "eosin"),
    ("haematoxylin", "eosin"),
    ("violet", "violet"),
    ("violet", "violet"),
    ("violet", "pink violet"),
    ("pink violet", "eosin"),
    ("brown", "blue"),
    ("blue", "orange"),
    ("green", "eosin"),
)


def random_stains(rng: np.random.Generator, grey: bool) -> Stains:
    """A pair of stains that are used together, each a little off."""
    pair = PAIRS[int(rng.integers(len(PAIRS)))]
    colours = np.array([ABSORPTION[name] for name in pair]) * np.exp(rng.normal(size=(2, 3)) * 0.12)
    lamp = np.clip(rng.uniform(0.85, 1.0) + rng.normal(size=3) * 0.03, 0.7, 1.0)
    if grey:
        colours, lamp = colours.mean(axis=1, keepdims=True), lamp[:1]
    return Stains(colours.astype(np.float32), lamp.astype(np.float32))
