"""Pictures that were fetched, as arrays: upright, without alpha, checked before they are decoded."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sam2_engine.errors import ImageError
from sam2_engine.frames import read_image
from sam2_engine.pixels import MAX_PIXELS, as_picture

from ._media_store import Media

_HEAD_BYTES = 32
_FOR_PROGRAMS = "open it with open_frames"
_FOR_PEOPLE = "save each page as a picture and name them all in the task, for <Image valueList> in the label config"
_SIGNATURES: tuple[tuple[int, bytes, str], ...] = (
    (0, b"\x89PNG\r\n\x1a\n", "PNG"),
    (0, b"\xff\xd8\xff", "JPEG"),
    (0, b"GIF8", "GIF"),
    (0, b"BM", "BMP"),
    (8, b"WEBP", "WebP"),
    *((0, magic, "TIFF") for magic in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")),
)


def open_picture(media: Media, *, max_pixels: int = MAX_PIXELS) -> NDArray[Any]:
    """A picture as the browser shows it.

    Parameters
    ----------
    media : PNG, JPEG, GIF, BMP, WebP or TIFF
    max_pixels : larger ones are refused before they are decoded

    Returns
    -------
    ``[H, W]`` or ``[H, W, 3]``: orientation of its EXIF data applied, CMYK and palettes as RGB, put over white where
    transparent, the first frame of an animation. Grey keeps its 16 bits, as TIFF keeps its dtype.

    Raises
    ------
    ImageError
        Not a picture, cut short, damaged, or a TIFF of several pages.
    ImageTooLargeError
        More than `max_pixels` pixels.
    """
    kind = picture_kind(media)
    with media.as_file() as path:
        try:
            picture = read_image(path, max_pixels=max_pixels)
        except ImageError as error:
            # Whose name is a temporary one, and whose advice is for those who write programs.
            said = str(error).replace(str(path), repr(media.name)).replace(_FOR_PROGRAMS, _FOR_PEOPLE)
            raise type(error)(said) from None
    if kind != "TIFF" and picture.ndim == 3 and picture.shape[2] == 4:
        return _over_white(picture)
    return as_picture(picture)


def picture_kind(media: Media) -> str:
    """The format, by the first bytes and not by the name.

    Raises
    ------
    ImageError
        None that is read; what it seems to be instead is named.
    """
    head = _head(media)
    for offset, signature, kind in _SIGNATURES:
        if head[offset : offset + len(signature)] == signature:
            return kind
    text = head.lstrip().lower()
    if text.startswith((b"<!doctype html", b"<html")):
        raise ImageError(f"{media.name!r} is a web page, not a picture; does its address lead to a login?")
    if text.startswith((b"<?xml", b"<svg")):
        raise ImageError(f"{media.name!r} is SVG or XML, which has no pixels; export it as PNG")
    if text.startswith((b"{", b"[")):
        raise ImageError(f"{media.name!r} is JSON, not a picture; check the address in the task's data")
    raise ImageError(f"{media.name!r} is no PNG, JPEG, GIF, BMP, WebP or TIFF; export it in one of these formats")


def _head(media: Media) -> bytes:
    if media.path is None:
        return media.data[:_HEAD_BYTES]
    with open(media.path, "rb") as file:
        return file.read(_HEAD_BYTES)


def _over_white(picture: NDArray[Any]) -> NDArray[Any]:
    """RGBA of 8 bits put over white."""
    alpha = picture[:, :, 3:].astype(np.uint16)
    mixed = picture[:, :, :3] * alpha + 255 * (255 - alpha)
    over: NDArray[np.uint8] = ((mixed + 127) // 255).astype(np.uint8)
    return over
