"""Pictures of every kind, as the browser shows them."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from ls_backend.media import Media, MediaWriter
from ls_backend.pictures import open_picture
from sam2_engine.errors import ImageError, ImageTooLargeError
from tests.label_studio.media_cases import encoded, picture_bytes, ramp


def media(content: bytes, name: str = "cells.png", ram_bytes: int = 1 << 30) -> Media:
    with MediaWriter(ram_bytes) as writer:
        writer.write(content)
        return writer.finish("", name)


def opened(content: bytes, **settings: Any) -> Any:
    return open_picture(media(content), **settings)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "WEBP"])
def test_colours_are_kept(kind: str) -> None:
    found = opened(picture_bytes(kind, **({"lossless": True} if kind == "WEBP" else {})))
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, ramp())


def test_the_format_is_seen_from_the_content_and_not_from_the_name() -> None:
    np.testing.assert_array_equal(open_picture(media(picture_bytes("BMP"), "wrong.jpg")), ramp())


def test_grey_stays_grey_with_all_its_bits() -> None:
    values = np.arange(600, dtype=np.uint16).reshape(20, 30) * 100
    found = opened(encoded(Image.fromarray(values), "PNG"))
    assert found.dtype == np.uint16
    np.testing.assert_array_equal(found, values)
    file = io.BytesIO()
    tifffile.imwrite(file, values)
    np.testing.assert_array_equal(opened(file.getvalue()), values)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_of_the_camera_is_applied(orientation: int) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    upright = np.zeros((16, 24, 3), np.uint8)
    upright[:8, :8] = 255  # bright corner, top left, once it is shown
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, 1),
        7: np.rot90(upright, 2).transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]
    found = opened(encoded(Image.fromarray(np.ascontiguousarray(stored)), "PNG", exif=exif))
    np.testing.assert_array_equal(found, upright)


def test_inks_become_colours() -> None:
    found = opened(encoded(Image.new("CMYK", (30, 20), (255, 0, 0, 0)), "JPEG"))
    assert found.shape == (20, 30, 3)
    assert found[10, 10, 0] < 60 and found[10, 10, 2] > 180, "cyan"


def test_what_is_transparent_is_white() -> None:
    pixels = np.zeros((4, 4, 4), np.uint8)
    pixels[:, :, 0] = 200
    pixels[0, :, 3], pixels[1, :, 3] = 255, 128
    found = opened(encoded(Image.fromarray(pixels), "PNG"))
    np.testing.assert_array_equal(found[:, 0], [[200, 0, 0], [227, 127, 127], [255, 255, 255], [255, 255, 255]])
    grey = Image.fromarray(np.full((4, 4), 50, np.uint8)).convert("LA")
    grey.putalpha(0)
    assert (opened(encoded(grey, "PNG")) == 255).all()


def test_palettes_become_colours() -> None:
    palette = Image.fromarray(ramp()).quantize(8)
    assert opened(encoded(palette, "PNG")).shape == (20, 30, 3)
    assert opened(encoded(palette, "GIF")).shape == (20, 30, 3)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_the_first_frame_of_an_animation_is_taken(kind: str) -> None:
    frames = [Image.new("RGB", (30, 20), colour) for colour in ((255, 0, 0), (0, 0, 255))]
    options = {"save_all": True, "append_images": frames[1:], "duration": 100}
    found = opened(encoded(frames[0], kind, **options))
    assert found.shape == (20, 30, 3)
    assert found[10, 10, 0] > 200 and found[10, 10, 2] < 60


def test_a_large_picture_is_read_from_its_file() -> None:
    np.testing.assert_array_equal(open_picture(media(picture_bytes(), ram_bytes=10)), ramp())


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "TIFF", "WEBP", "BMP"])
def test_a_picture_cut_short_is_an_error_that_names_it(kind: str) -> None:
    whole = picture_bytes(kind, (100, 100))
    with pytest.raises(ImageError, match=r"'cells\.png'") as raised:
        opened(whole[: len(whole) * 2 // 3])
    assert "sam2-media" not in str(raised.value)


@pytest.mark.parametrize(
    ("content", "seems"),
    [
        (b"<!DOCTYPE html><html>", "web page"),
        (b"\n <html lang='en'>", "web page"),
        (b"<?xml version='1.0'?><svg/>", "SVG"),
        (b'{"detail": "not found"}', "JSON"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "no PNG"),
        (b"%PDF-1.7", "no PNG"),
        (b"\x00\x00\x00\x18ftypmp42", "no PNG"),
        (b"x", "no PNG"),
    ],
)
def test_what_is_no_picture_is_named(content: bytes, seems: str) -> None:
    with pytest.raises(ImageError, match=seems):
        opened(content)


def png_that_claims(width: int, height: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(10_000_000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def test_too_many_pixels_are_refused_before_they_are_decoded() -> None:
    with pytest.raises(ImageTooLargeError):
        opened(png_that_claims(60_000, 60_000))
    with pytest.raises(ImageTooLargeError, match="limit"):
        opened(picture_bytes(size=(20, 30)), max_pixels=599)
    assert opened(picture_bytes(size=(20, 30)), max_pixels=600).shape == (20, 30, 3)


def test_a_tiff_with_too_many_pixels_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    path = tmp_path / "bomb.tif"
    tifffile.imwrite(path, np.zeros((3000, 3000), np.uint8), compression="zlib")
    with pytest.raises(ImageTooLargeError):
        opened(path.read_bytes(), max_pixels=1_000_000)


def test_a_tiff_of_several_pages_is_refused() -> None:
    file = io.BytesIO()
    tifffile.imwrite(file, np.zeros((3, 20, 30), np.uint8), photometric="minisblack")
    with pytest.raises(ImageError, match=r"3 pages.*valueList"):
        opened(file.getvalue())


@pytest.mark.property
@given(st.binary(max_size=200), st.sampled_from(["PNG", "JPEG", "TIFF", "GIF", "BMP", "WEBP"]), st.integers(0, 1000))
def test_damaged_files_are_errors_of_ours_or_pictures(noise: bytes, kind: str, where: int) -> None:
    whole = bytearray(picture_bytes(kind))
    start = where % len(whole)
    whole[start : start + len(noise)] = noise
    try:
        found = opened(bytes(whole), max_pixels=1_000_000)
    except ImageError:
        return
    assert found.ndim in (2, 3)
