"""One picture from a file, a PIL image or an array."""

from __future__ import annotations

import contextlib
import logging
import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import FramesError, ImageError, ImageTooLargeError
from ..pixels import MAX_PIXELS
from .base import check_dtype, check_pixels

if TYPE_CHECKING:
    from PIL.Image import Image

logger = logging.getLogger(__name__)

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp", ".gif"})
TIFF_MAGICS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

# What Pillow raises on files that are cut short or damaged.
_DECODE_ERRORS = (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error, zlib.error)
_ORIENTATION_TAG = 274


def read_image(source: Any, *, max_pixels: int = MAX_PIXELS) -> NDArray[Any]:
    """A single picture as an array.

    TIFF keeps its dtype, 16 bits and floats included. Other files: 8-bit colours, 16- and 32-bit grey as they are;
    palette, CMYK and other colour spaces become RGB, or RGBA where they are transparent; black-and-white becomes 0 and
    255. The orientation that a camera noted in the file is applied. Of an animation this is the first frame.

    Parameters
    ----------
    source : path, PIL image, or array ``[H, W]`` or ``[H, W, C]``
    max_pixels : larger pictures are refused before they are decoded

    Returns
    -------
    ``[H, W]`` grey or ``[H, W, C]``. An array given is returned as it is.

    Raises
    ------
    ImageError
        Missing, empty, truncated or not a picture; a TIFF with several pages; an array of another kind.
    ImageTooLargeError
        More than `max_pixels` pixels, or more than Pillow's own limit ``PIL.Image.MAX_IMAGE_PIXELS`` allows.
    """
    if isinstance(source, (str, os.PathLike)):
        path = _existing_file(source)
        return _read_tiff(path, max_pixels) if is_tiff(path) else _read_with_pillow(path, max_pixels)
    if hasattr(source, "convert") and hasattr(source, "mode"):
        check_pixels((source.height, source.width), "the image", max_pixels)
        return _pillow_to_array(source, "the image")
    return _checked_array(source, max_pixels)


def image_size(source: Any, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """(height, width) of what `read_image` would give, read from the header of a file.

    Raises
    ------
    ImageError, ImageTooLargeError
        As in `read_image`, as far as the header tells.
    """
    if not isinstance(source, (str, os.PathLike)):
        height, width = read_image(source, max_pixels=max_pixels).shape[:2]
        return height, width
    path = _existing_file(source)
    if is_tiff(path):
        with _open_tiff(path, max_pixels) as pages:
            tiff_size: tuple[int, int] = pages.size
            return tiff_size
    from PIL import Image

    with _pillow_errors(path), Image.open(path) as image:
        size = (image.height, image.width)
        check_pixels(size, str(path), max_pixels)
        # A PNG without it at the front would be decoded as a whole in search of it.
        is_turned = "exif" in image.info and image.getexif().get(_ORIENTATION_TAG, 1) >= 5
        return size[::-1] if is_turned else size


def is_tiff(path: Path) -> bool:
    """Whether the file begins like a TIFF, whatever it is called."""
    with open(path, "rb") as file:
        return file.read(4) in TIFF_MAGICS


def _existing_file(source: str | os.PathLike[str]) -> Path:
    path = Path(source)
    if path.is_dir():
        raise ImageError(f"{path} is a folder, a picture is expected; open folders with open_frames")
    if not path.is_file():
        raise ImageError(f"{path} does not exist; check the path")
    try:
        if path.stat().st_size == 0:
            raise ImageError(f"{path} is empty (0 bytes); export or copy it again")
        with open(path, "rb"):
            return path
    except OSError as error:
        raise ImageError(f"{path} cannot be opened: {error.strerror}; check its permissions") from error


def _open_tiff(path: Path, max_pixels: int) -> Any:
    from .tiff import TiffFrames

    try:
        pages = TiffFrames(path, None, None, max_pixels)
    except FramesError as error:
        raise ImageError(str(error)) from error
    if len(pages) > 1:
        pages.close()
        raise ImageError(f"{path} holds {len(pages)} pages, a single picture is expected; open it with open_frames")
    return pages


def _read_tiff(path: Path, max_pixels: int) -> NDArray[Any]:
    with _open_tiff(path, max_pixels) as pages:
        try:
            picture: NDArray[Any] = pages[0]
        except FramesError as error:
            raise ImageError(str(error)) from error
        return picture


@contextlib.contextmanager
def _pillow_errors(path: Path) -> Iterator[None]:
    """Turn what Pillow raises on a file into an `ImageError` that names it."""
    from PIL import Image, UnidentifiedImageError

    try:
        yield
    except ImageError:
        raise
    except Image.DecompressionBombError as error:
        raise ImageTooLargeError(
            f"{path}: {error}; crop it or use a coarser resolution, or raise PIL.Image.MAX_IMAGE_PIXELS if you trust it"
        ) from error
    except UnidentifiedImageError as error:
        raise ImageError(f"{path} is not a picture that can be read; export it as PNG or TIFF") from error
    except _DECODE_ERRORS as error:
        raise ImageError(f"{path} is truncated or damaged ({error}); export or copy it again") from error


def _read_with_pillow(path: Path, max_pixels: int) -> NDArray[Any]:
    from PIL import Image, ImageOps

    with _pillow_errors(path), Image.open(path) as image:
        check_pixels((image.height, image.width), str(path), max_pixels)
        if getattr(image, "n_frames", 1) > 1 and image.format in ("GIF", "WEBP", "PNG"):
            logger.info("%s is an animation; its first frame is read, open_frames reads all of a GIF", path)
        image.load()
        return _pillow_to_array(ImageOps.exif_transpose(image), str(path))


def _pillow_to_array(image: Image, name: str) -> NDArray[Any]:
    """Grey as it is, everything else as RGB or RGBA."""
    if min(image.size) < 1:
        raise ImageError(f"{name} has no pixels, {image.height} × {image.width}")
    # Copies, because arrays over Pillow's memory are read-only, which torch warns of.
    if image.mode in ("L", "I", "F", "RGB", "RGBA"):
        return np.array(image)
    if image.mode.startswith("I;16"):
        return np.array(image, np.uint16)
    if image.mode == "1":
        return np.array(image.convert("L"))
    is_transparent = image.mode in ("LA", "La", "PA", "RGBa") or (image.mode == "P" and "transparency" in image.info)
    return np.array(image.convert("RGBA" if is_transparent else "RGB"))


def _checked_array(source: Any, max_pixels: int) -> NDArray[Any]:
    array = np.asarray(source)
    try:
        check_dtype(array.dtype, "the image")
    except FramesError as error:
        raise ImageError(f"{error}; give a path, a PIL image or an array") from error
    if array.ndim not in (2, 3) or 0 in array.shape:
        raise ImageError(f"an image is [H, W] or [H, W, C] with at least one pixel, got {array.shape}")
    check_pixels(array.shape[:2], "the image", max_pixels)
    return array
