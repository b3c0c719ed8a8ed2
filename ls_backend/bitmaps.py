"""Masks as PNG in a data address: the value of ``BitmaskLabels``."""

from __future__ import annotations

import base64
import binascii
import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam2_engine.errors import PromptError

_PREFIX = "data:image/png;base64,"


def encode_bitmap(mask: NDArray[np.bool_]) -> str:
    """A mask ``[H, W]`` as the editor keeps it: black where it is, transparent elsewhere."""
    from PIL import Image

    alpha = np.where(mask, 255, 0).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(np.stack([np.zeros_like(alpha), alpha], axis=-1), "LA").save(file, "PNG")
    return _PREFIX + base64.b64encode(file.getvalue()).decode("ascii")


def decode_bitmap(address: Any, size: tuple[int, int]) -> NDArray[np.bool_]:
    """The mask ``[H, W]`` of a data address: what is not transparent, or not black in a picture without alpha.

    Parameters
    ----------
    size : (height, width) that the picture must have

    Raises
    ------
    PromptError
        No PNG, damaged, or of another size.
    """
    from PIL import Image, UnidentifiedImageError

    if not isinstance(address, str) or not address.startswith(_PREFIX):
        raise PromptError(f"imageDataURL begins with {_PREFIX!r}, got {str(address)[:40]!r}; send it unchanged")
    try:
        content = base64.b64decode(address.removeprefix(_PREFIX), validate=True)
        with Image.open(io.BytesIO(content), formats=["PNG"]) as picture:
            if picture.size != size[::-1]:
                raise PromptError(
                    f"the bitmask is {picture.size[1]} × {picture.size[0]} pixels, its region {size[0]} × {size[1]}"
                )
            pixels = np.asarray(picture.convert("RGBA"))
            has_alpha = "A" in picture.getbands() or "transparency" in picture.info
    except (
        binascii.Error,
        UnidentifiedImageError,
        OSError,
        ValueError,
        SyntaxError,
        Image.DecompressionBombError,
    ) as error:
        if isinstance(error, PromptError):
            raise
        raise PromptError(f"imageDataURL is no PNG that can be read ({error}); send it unchanged") from error
    shown = pixels[:, :, 3] if has_alpha else pixels[:, :, :3].max(axis=2)
    return np.asarray(shown > 0)
