"""A single picture from a file, a PIL image or an array."""

from __future__ import annotations

import io
import logging
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from sam2_engine.errors import ImageError, ImageTooLargeError
from sam2_engine.frames import read_image

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (9, 14)).astype(np.uint8)
RGB = RNG.integers(0, 256, (9, 14, 3)).astype(np.uint8)
RGBA = RNG.integers(0, 256, (9, 14, 4)).astype(np.uint8)


@pytest.mark.parametrize("suffix", ["png", "bmp", "webp", "tif"])
def test_colours_come_back_from_lossless_files(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(RGB).save(path, **({"lossless": True} if suffix == "webp" else {}))
    picture = read_image(path)
    assert picture.dtype == np.uint8
    np.testing.assert_array_equal(picture, RGB)


@pytest.mark.parametrize("picture", [GREY, RGB, RGBA, GREY.astype(np.uint16) * 257], ids=["grey", "rgb", "rgba", "16"])
def test_png_keeps_grey_colour_transparency_and_16_bits(tmp_path: Path, picture: NDArray[np.generic]) -> None:
    Image.fromarray(picture).save(tmp_path / "a.png")
    got = read_image(tmp_path / "a.png")
    assert got.dtype == picture.dtype
    np.testing.assert_array_equal(got, picture)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", ">u2", "uint32", "int16", "float32", ">f4", "float64", "bool"])
def test_tiff_keeps_its_dtype_in_native_byte_order(tmp_path: Path, dtype: str) -> None:
    picture = (GREY > 128) if dtype == "bool" else (GREY.astype(dtype) * 100 - 7).astype(dtype)
    tifffile.imwrite(tmp_path / "a.tif", picture, byteorder=">" if dtype.startswith(">") else "<")
    got = read_image(tmp_path / "a.tif")
    assert got.dtype == np.dtype(dtype).newbyteorder("=")
    np.testing.assert_array_equal(got, picture)


def test_channels_of_a_tiff_come_last(tmp_path: Path) -> None:
    stack = RNG.integers(0, 4000, (5, 9, 14)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", stack, metadata={"axes": "CYX"}, photometric="minisblack")
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), np.moveaxis(stack, 0, -1))


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_deflate", "packbits"])
@pytest.mark.parametrize("picture", [GREY, RGB, GREY.astype(np.uint16) * 257], ids=["grey", "rgb", "16"])
def test_common_tiff_compressions_are_read(tmp_path: Path, compression: str, picture: NDArray[np.generic]) -> None:
    Image.fromarray(picture).save(tmp_path / "a.tif", compression=compression)
    got = read_image(tmp_path / "a.tif")
    assert got.dtype == picture.dtype
    np.testing.assert_array_equal(got, picture)


def test_a_tiff_is_known_by_its_content(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", GREY.astype(np.float32))
    (tmp_path / "a.tif").rename(tmp_path / "a.dat")
    assert read_image(tmp_path / "a.dat").dtype == np.float32


def test_palette_tiff_becomes_colour_unless_its_palette_is_grey(tmp_path: Path) -> None:
    colours = RNG.integers(0, 256, (3, 256)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", GREY, photometric="palette", colormap=colours * 257)
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), colours.T[GREY])
    ramp = np.tile(np.arange(256, dtype=np.uint16) * 257, (3, 1))
    tifffile.imwrite(tmp_path / "b.tif", GREY, photometric="palette", colormap=ramp)
    np.testing.assert_array_equal(read_image(tmp_path / "b.tif"), GREY)


def test_cmyk_tiff_becomes_rgb(tmp_path: Path) -> None:
    inks = np.array([[[0, 0, 0, 0], [255, 0, 0, 0], [0, 0, 0, 255], [0, 0, 255, 0]]], np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", inks, photometric="separated")
    expected = [[[255, 255, 255], [0, 255, 255], [0, 0, 0], [255, 255, 0]]]
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), expected)


def _palette(transparency: int | None) -> Image.Image:
    image = Image.fromarray(RGB).quantize(8)
    if transparency is not None:
        image.info["transparency"] = transparency
    return image


@pytest.mark.parametrize(
    ("image", "channels"),
    [
        (Image.fromarray(GREY > 128), 0),
        (Image.fromarray(RGBA).convert("LA"), 4),
        (_palette(None), 3),
        (_palette(2), 4),
        (Image.fromarray(RGB).convert("CMYK"), 3),
        (Image.fromarray(RGB).convert("YCbCr"), 3),
        (Image.fromarray(RGB).convert("HSV"), 3),
        (Image.fromarray(GREY.astype(np.int32) * 1000), 0),
        (Image.fromarray(GREY.astype(np.float32)), 0),
    ],
    ids=["1-bit", "LA", "palette", "palette+alpha", "CMYK", "YCbCr", "HSV", "int32", "float"],
)
def test_other_pil_modes_become_grey_rgb_or_rgba(image: Image.Image, channels: int) -> None:
    picture = read_image(image)
    assert picture.shape == ((9, 14, channels) if channels else (9, 14))
    if image.mode == "1":
        assert set(np.unique(picture)) == {0, 255}


def test_cmyk_jpeg_shows_its_colours(tmp_path: Path) -> None:
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(tmp_path / "a.jpg", quality=95)
    red, green, blue = read_image(tmp_path / "a.jpg")[4, 4]
    assert red > 200
    assert max(green, blue) < 60


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_of_a_camera_file_is_applied(tmp_path: Path, orientation: int) -> None:
    upright = np.zeros((16, 32), np.uint8)
    upright[:8, :8] = 255  # bright in the top left corner
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.T,
        6: np.rot90(upright),
        7: upright[::-1, ::-1].T,
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[274] = orientation
    Image.fromarray(np.ascontiguousarray(stored)).save(tmp_path / "a.jpg", exif=exif, quality=100)
    picture = read_image(tmp_path / "a.jpg")
    assert picture.shape == (16, 32)
    assert np.abs(picture.astype(int) - upright).max() < 10


def test_of_an_animation_the_first_frame_is_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    first, second = (Image.new("RGB", (8, 6), colour) for colour in ("red", "blue"))
    first.save(tmp_path / "a.gif", save_all=True, append_images=[second])
    with caplog.at_level(logging.INFO):
        picture = read_image(tmp_path / "a.gif")
    assert picture.shape == (6, 8, 3)
    assert picture.dtype == np.uint8
    assert (picture == [255, 0, 0]).all()
    assert "first frame" in caplog.text


def test_arrays_are_returned_as_they_are() -> None:
    assert read_image(GREY) is GREY
    assert read_image(RGBA) is RGBA


@pytest.mark.parametrize(
    "bad",
    [
        np.zeros(4),
        np.zeros((2, 2, 2, 2)),
        np.zeros((0, 4)),
        np.zeros((4, 4, 0)),
        np.zeros((2, 2), complex),
        np.array([["a"]]),
        None,
        3.5,
        b"bytes",
    ],
)
def test_what_is_no_picture_is_refused(bad: object) -> None:
    with pytest.raises(ImageError):
        read_image(bad)


def test_a_missing_file_and_a_folder_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="does not exist"):
        read_image(tmp_path / "no.png")
    with pytest.raises(ImageError, match="open_frames"):
        read_image(tmp_path)


def _encoded(name: str) -> bytes:
    buffer = io.BytesIO()
    picture = RNG.integers(0, 256, (64, 64, 3)).astype(np.uint8)
    if name == "tif":
        tifffile.imwrite(buffer, picture)
    else:
        Image.fromarray(picture).save(buffer, format={"jpg": "JPEG"}.get(name, name.upper()))
    return buffer.getvalue()


@pytest.mark.parametrize("share", [0.0, 0.0005, 0.1, 0.5, 0.99])
@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "gif", "webp", "tif"])
def test_truncated_files_are_refused(tmp_path: Path, suffix: str, share: float) -> None:
    whole = _encoded(suffix)
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(ImageError, match=r"a\.\w+ (is|cannot)"):
        read_image(path)


def test_flipped_bytes_give_a_picture_or_an_image_error(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    for suffix in ("png", "jpg", "tif", "gif"):
        whole = np.frombuffer(_encoded(suffix), np.uint8)
        for _ in range(25):
            damaged = whole.copy()
            where = rng.integers(0, min(len(whole), 400), 4)
            damaged[where] = rng.integers(0, 256, 4)
            path = tmp_path / f"a.{suffix}"
            path.write_bytes(damaged.tobytes())
            try:
                picture = read_image(path, max_pixels=10**6)
            except ImageError:
                continue
            assert picture.ndim in (2, 3)


def test_a_text_file_is_no_picture(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("hello")
    with pytest.raises(ImageError, match="not a picture"):
        read_image(tmp_path / "a.png")


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_pictures_above_the_limit_are_refused(tmp_path: Path, name: str) -> None:
    Image.fromarray(GREY).save(tmp_path / name)
    with pytest.raises(ImageTooLargeError, match="limit of 100"):
        read_image(tmp_path / name, max_pixels=100)
    for source in (GREY, Image.fromarray(GREY)):
        with pytest.raises(ImageTooLargeError):
            read_image(source, max_pixels=100)


def _png_that_claims(width: int, height: int) -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


def test_a_file_that_claims_a_huge_size_is_refused_before_decoding(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(_png_that_claims(50_000, 50_000))
    with pytest.raises(ImageTooLargeError):
        read_image(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(_png_that_claims(9_000, 9_000))
    with pytest.raises(ImageTooLargeError, match="81,000,000 pixels"):
        read_image(tmp_path / "b.png", max_pixels=80_000_000)


def test_pillows_own_limit_stays_on() -> None:
    assert Image.MAX_IMAGE_PIXELS is not None


def test_a_tiff_with_several_pages_points_to_open_frames(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((3, 9, 14), np.uint8), photometric="minisblack")
    with pytest.raises(ImageError, match=r"3 pages.*open_frames"):
        read_image(tmp_path / "a.tif")
