"""Pictures and short clips with structure at several scales, the same on every machine."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage


def texture(height: int, width: int, seed: int) -> NDArray[np.float64]:
    """[H, W, 3] values in 0..1: coloured noise, coarse and fine."""
    rng = np.random.default_rng(seed)
    layers = []
    for cell in (4, 16, 48):
        rows, columns = height // cell + 4, width // cell + 4
        noise = ndimage.zoom(rng.standard_normal((rows, columns, 3)), (cell, cell, 1), order=1)
        layers.append(noise[:height, :width])
    mixed = sum(layers)
    return (mixed - mixed.min()) / (mixed.max() - mixed.min())


def picture(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    """[H, W, 3] picture of four coloured discs on a textured ground."""
    return clip(1, height, width, seed)[0]


def clip(num_frames: int, height: int, width: int, seed: int = 0) -> list[NDArray[np.uint8]]:
    """Frames [H, W, 3] of four discs that drift over a textured ground."""
    rng = np.random.default_rng(seed + 1000)
    ground = texture(height, width, seed)
    starts, steps = rng.uniform(0.2, 0.8, (4, 2)), rng.uniform(-0.03, 0.03, (4, 2))
    radii, colours = rng.uniform(0.08, 0.22, 4), rng.uniform(0, 1, (4, 3))
    rows, columns = np.mgrid[:height, :width]
    frames = []
    for time in range(num_frames):
        frame = ground.copy()
        for start, step, radius, colour in zip(starts, steps, radii, colours, strict=True):
            y, x = (start + time * step) * (height, width)
            inside = (rows - y) ** 2 + (columns - x) ** 2 < (radius * min(height, width)) ** 2
            frame[inside] = 0.4 * frame[inside] + 0.6 * colour
        frames.append((frame * 255).astype(np.uint8))
    return frames


def disc(height: int, width: int, *, x: float, y: float, radius: float) -> NDArray[np.bool_]:
    """[H, W] mask of a disc; `x`, `y` and `radius` in fractions of width, height and the shorter side."""
    rows, columns = np.mgrid[:height, :width]
    return (rows - y * height) ** 2 + (columns - x * width) ** 2 < (radius * min(height, width)) ** 2


def write_jpegs(frames: list[NDArray[np.uint8]], folder: Path) -> Path:
    """A folder of JPEG files named 00000.jpg, 00001.jpg, … as the published video predictor reads it."""
    folder.mkdir(parents=True, exist_ok=True)
    for index, frame in enumerate(frames):
        Image.fromarray(frame).save(folder / f"{index:05d}.jpg", quality=92)
    return folder
