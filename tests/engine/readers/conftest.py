"""Tiny labelled pictures to write in every layout."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

Labels = NDArray[np.int32]


@pytest.fixture
def truth() -> Labels:
    """Two rectangles on five frames [5, 12, 16]; the second comes on frame 1 and both move."""
    labels = np.zeros((5, 12, 16), np.int32)
    for frame in range(5):
        labels[frame, 2:6, 1 + frame : 5 + frame] = 1
        if frame:
            labels[frame, 7:11, 10 - frame : 13 - frame] = 2
    return labels


@pytest.fixture
def pictures(truth: Labels) -> NDArray[np.uint8]:
    """Grey pictures of them, bright on dark."""
    return (10 + 100 * (truth > 0) + truth).astype(np.uint8)


@pytest.fixture
def save() -> Callable[[Path, Any], Path]:
    """Writes an array as PNG or TIFF by its suffix, or anything else as JSON; makes folders."""

    def write(path: Path, content: Any) -> Path:
        import tifffile

        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".json":
            path.write_text(json.dumps(content), encoding="utf-8")
        elif path.suffix == ".tif":
            tifffile.imwrite(path, content, photometric="rgb" if content.shape[-1] == 3 else "minisblack")
        else:
            Image.fromarray(content).save(path, quality=95)
        return path

    return write
