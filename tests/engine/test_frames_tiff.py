"""Sequences from TIFF files."""

from __future__ import annotations

import gc
import io
import logging
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from sam2_engine.errors import FramesError, ImageTooLargeError
from sam2_engine.frames import open_frames

RNG = np.random.default_rng(0)
STACK = RNG.integers(0, 60_000, (7, 12, 15)).astype(np.uint16)
HYPER = RNG.integers(0, 60_000, (3, 4, 2, 12, 15)).astype(np.uint16)  # t z c y x


def _one_by_one(path: Path) -> None:
    with tifffile.TiffWriter(path) as writer:
        for page in STACK:
            writer.write(page, metadata=None, compression="zlib")


def _pillow(path: Path, compression: str | None = None) -> None:
    first, *rest = (Image.fromarray(page) for page in STACK)
    first.save(path, save_all=True, append_images=rest, compression=compression)


STACK_WRITERS: dict[str, Any] = {
    "contiguous": lambda path: tifffile.imwrite(path, STACK, photometric="minisblack"),
    "zlib": lambda path: tifffile.imwrite(path, STACK, photometric="minisblack", compression="zlib"),
    "zlib-predictor": lambda path: tifffile.imwrite(
        path, STACK, photometric="minisblack", compression="zlib", predictor=True
    ),
    "strips": lambda path: tifffile.imwrite(path, STACK, photometric="minisblack", compression="zlib", rowsperstrip=5),
    "tiles": lambda path: tifffile.imwrite(path, STACK, photometric="minisblack", tile=(16, 16)),
    "imagej": lambda path: tifffile.imwrite(path, STACK, imagej=True, metadata={"axes": "ZYX"}),
    "ome": lambda path: tifffile.imwrite(path, STACK, ome=True, metadata={"axes": "TYX"}, photometric="minisblack"),
    "big-endian": lambda path: tifffile.imwrite(path, STACK, photometric="minisblack", byteorder=">"),
    "bigtiff": lambda path: tifffile.imwrite(path, STACK, photometric="minisblack", bigtiff=True, metadata=None),
    "one-by-one": _one_by_one,
    "pillow": _pillow,
    "pillow-lzw": lambda path: _pillow(path, "tiff_lzw"),
}


@pytest.mark.parametrize("writer", list(STACK_WRITERS))
def test_every_frame_of_a_stack_comes_back(tmp_path: Path, writer: str) -> None:
    STACK_WRITERS[writer](tmp_path / "a.tif")
    with open_frames(tmp_path / "a.tif") as frames:
        assert len(frames) == 7
        assert frames.size == (12, 15)
        for number in (4, 0, 6, 6, 1):
            assert frames[number].dtype == np.dtype("=u2")
            np.testing.assert_array_equal(frames[number], STACK[number])


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("kind", ["imagej", "ome"])
def test_hyperstacks_are_walked_along_the_named_axis_with_channels_last(
    tmp_path: Path, kind: str, compression: str | None
) -> None:
    tifffile.imwrite(
        tmp_path / "a.tif",
        HYPER,
        imagej=kind == "imagej",
        ome=kind == "ome",
        metadata={"axes": "TZCYX"},
        photometric="minisblack",
        compression=compression,
    )
    with open_frames(tmp_path / "a.tif", axis="z", at={"t": 2}) as frames:
        assert len(frames) == 4
        np.testing.assert_array_equal(frames[1], np.moveaxis(HYPER[2, 1], 0, -1))
    with open_frames(tmp_path / "a.tif", axis="T", at={"z": 3, "C": 1}) as frames:
        assert len(frames) == 3
        np.testing.assert_array_equal(frames[1], HYPER[1, 3, 1])
    with open_frames(tmp_path / "a.tif", axis="c", at={"t": 0, "z": 0}) as frames:
        np.testing.assert_array_equal(frames[1], HYPER[0, 0, 1])
    with open_frames(tmp_path / "a.tif", axis=1, at={0: 0}) as frames:
        assert len(frames) == 4


@pytest.mark.parametrize("axes", ["ZYX", "TYX", "QYX"])
def test_one_long_axis_need_not_be_named(tmp_path: Path, axes: str) -> None:
    tifffile.imwrite(tmp_path / "a.tif", STACK, metadata={"axes": axes}, photometric="minisblack")
    with open_frames(tmp_path / "a.tif", axis=axes[0].lower()) as named, open_frames(tmp_path / "a.tif") as unnamed:
        np.testing.assert_array_equal(named[3], unnamed[3])


def test_axes_of_length_one_need_no_choice(tmp_path: Path) -> None:
    tifffile.imwrite(
        tmp_path / "a.tif", STACK[None, :, None], imagej=True, metadata={"axes": "TZCYX"}, photometric="minisblack"
    )
    with open_frames(tmp_path / "a.tif", axis="z") as frames:
        np.testing.assert_array_equal(frames[5], STACK[5])


def test_an_open_choice_of_axes_says_what_there_is(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", HYPER, imagej=True, metadata={"axes": "TZCYX"})
    with pytest.raises(FramesError, match=r"t=3, z=4, c=2, y=12, x=15; .*axis='t', at=\{'z': 0\}"):
        open_frames(tmp_path / "a.tif")
    with pytest.raises(FramesError, match=r"also choose an index on t, e\.g\. at=\{'t': 0\}"):
        open_frames(tmp_path / "a.tif", axis="z")
    with pytest.raises(FramesError, match="no axis 'q'"):
        open_frames(tmp_path / "a.tif", axis="q")
    with pytest.raises(FramesError, match="index 9 on axis t is outside"):
        open_frames(tmp_path / "a.tif", axis="z", at={"t": 9})
    with pytest.raises(FramesError, match="cannot be walked"):
        open_frames(tmp_path / "a.tif", axis="x")


@pytest.mark.parametrize("planarconfig", ["contig", "separate"])
def test_colour_comes_last_however_it_is_stored(tmp_path: Path, planarconfig: str) -> None:
    colour = RNG.integers(0, 256, (4, 12, 15, 3)).astype(np.uint8)
    stored = colour if planarconfig == "contig" else np.moveaxis(colour, -1, 1)
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric="rgb", planarconfig=planarconfig)
    with open_frames(tmp_path / "a.tif") as frames:
        assert len(frames) == 4
        np.testing.assert_array_equal(frames[2], colour[2])


def test_a_volume_in_a_single_page_is_walked_too(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", STACK.astype(np.uint8), volumetric=True, tile=(16, 16, 16))
    with open_frames(tmp_path / "a.tif") as frames:
        np.testing.assert_array_equal(frames[6], STACK[6].astype(np.uint8))


def test_a_plane_missing_from_ome_counts_as_empty(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.ome.tif", STACK, metadata={"axes": "TYX"}, photometric="minisblack")
    whole = (tmp_path / "a.ome.tif").read_bytes()
    (tmp_path / "a.ome.tif").write_bytes(whole.replace(b'SizeT="7"', b'SizeT="8"'))
    with open_frames(tmp_path / "a.ome.tif") as frames:
        assert len(frames) == 8
        np.testing.assert_array_equal(frames[6], STACK[6])
        assert not frames[7].any()


def test_pages_of_several_sizes_are_refused(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        for page in (STACK[0], STACK[1], STACK[2, :5]):
            writer.write(page, metadata=None)
    with pytest.raises(FramesError, match=r"several sizes.*save them separately"):
        open_frames(tmp_path / "a.tif")


def test_reduced_copies_of_a_pyramid_are_left_out(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        writer.write(STACK, subifds=1, photometric="minisblack", metadata={"axes": "ZYX"})
        writer.write(STACK[:, ::2, ::2], subfiletype=1, photometric="minisblack")
    with open_frames(tmp_path / "a.tif") as frames:
        assert frames.size == (12, 15)
        np.testing.assert_array_equal(frames[3], STACK[3])


def test_pages_above_the_limit_are_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", STACK, photometric="minisblack")
    with pytest.raises(ImageTooLargeError, match="180 pixels, more than the limit of 100"):
        open_frames(tmp_path / "a.tif", max_pixels=100)


@pytest.mark.parametrize("writer", list(STACK_WRITERS))
def test_a_truncated_file_is_refused_or_still_complete(tmp_path: Path, writer: str) -> None:
    """Wherever it is cut: an error when opened, unless only filling bytes at the very end are gone."""
    path = tmp_path / "a.tif"
    STACK_WRITERS[writer](path)
    whole = path.read_bytes()
    cuts = {0, 4, 7, 8, 100, *np.linspace(9, len(whole) - 1, 40).astype(int).tolist(), len(whole) - 2, len(whole) - 1}
    opened = []
    for cut in sorted(cuts):
        path.write_bytes(whole[:cut])
        try:
            frames = open_frames(path)
        except FramesError as error:
            assert "a.tif" in str(error)
            continue
        opened.append(cut)
        with frames:
            np.testing.assert_array_equal(np.stack([frames[number] for number in range(7)]), STACK)
    assert all(cut > len(whole) - 32 for cut in opened)


@pytest.mark.parametrize(
    "content", [b"", b"II", b"II*\0", b"hello world", b"MM\0*\0\0\0\x08", b"II+\0\x08\0\0\0" + b"\xff" * 64]
)
def test_what_is_no_tiff_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.tif").write_bytes(content)
    with pytest.raises(FramesError, match=r"a\.tif (is|cannot)"):
        open_frames(tmp_path / "a.tif")


def test_page_tables_that_run_in_a_circle_end(tmp_path: Path) -> None:
    """The last page points back to the first."""
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as writer:
        for page in STACK[:2]:
            writer.write(page, metadata=None)
    with tifffile.TiffFile(io.BytesIO(buffer.getvalue())) as file:
        last = file.pages[1]
        first_offset = file.pages[0].offset
        end = last.offset + 2 + 12 * len(last.tags)
    looped = bytearray(buffer.getvalue())
    looped[end : end + 4] = first_offset.to_bytes(4, "little")
    (tmp_path / "a.tif").write_bytes(looped)
    try:
        frames = open_frames(tmp_path / "a.tif")
    except FramesError as error:
        assert "a.tif" in str(error)  # older versions of tifffile refuse it
        return
    with frames:
        np.testing.assert_array_equal(frames[1], STACK[1])


def test_an_unknown_compression_names_the_package_to_install(tmp_path: Path) -> None:
    pytest.importorskip("PIL")
    tifffile.imwrite(tmp_path / "a.tif", STACK, photometric="minisblack", compression="zlib")
    whole = (tmp_path / "a.tif").read_bytes()
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        where = [page.tags["Compression"].valueoffset for page in file.pages]
    changed = bytearray(whole)
    for offset in where:
        changed[offset : offset + 2] = (34712).to_bytes(2, "little")  # JPEG 2000
    (tmp_path / "a.tif").write_bytes(changed)
    with open_frames(tmp_path / "a.tif") as frames, pytest.raises(FramesError, match=r"imagecodecs|damaged"):
        frames[0]


def test_files_are_closed_by_the_block_and_when_forgotten(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", STACK, photometric="minisblack", compression="zlib")

    def open_files() -> int:
        return sum(os.path.realpath(f"/proc/self/fd/{name}").endswith("a.tif") for name in os.listdir("/proc/self/fd"))

    if not Path("/proc/self/fd").is_dir():
        pytest.skip("counts open files through /proc")
    with open_frames(tmp_path / "a.tif") as frames:
        frames[0]
        assert open_files() == 1
    assert open_files() == 0
    forgotten = open_frames(tmp_path / "a.tif")
    forgotten[0]
    del forgotten, frames
    gc.collect()
    assert open_files() == 0


def test_a_failed_opening_leaves_no_file_open(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", HYPER, imagej=True, metadata={"axes": "TZCYX"})
    if not Path("/proc/self/fd").is_dir():
        pytest.skip("counts open files through /proc")
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        with pytest.raises(FramesError):
            open_frames(tmp_path / "a.tif")
    assert len(os.listdir("/proc/self/fd")) == before


def test_threads_may_read_at_the_same_time(tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    tifffile.imwrite(tmp_path / "a.tif", STACK, photometric="minisblack")
    with open_frames(tmp_path / "a.tif") as frames, ThreadPoolExecutor(4) as pool:
        order = RNG.integers(0, 7, 200).tolist()
        read: list[NDArray[Any]] = list(pool.map(frames.__getitem__, order))
    for number, frame in zip(order, read, strict=True):
        np.testing.assert_array_equal(frame, STACK[number])


def test_flipped_bytes_give_frames_or_a_frames_error(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rng = np.random.default_rng(3)
    path = tmp_path / "a.tif"
    with caplog.at_level(logging.CRITICAL):
        for writer in ("imagej", "ome", "zlib", "bigtiff"):
            STACK_WRITERS[writer](path)
            whole = np.frombuffer(path.read_bytes(), np.uint8)
            for _ in range(30):
                damaged = whole.copy()
                damaged[rng.integers(0, 300, 3)] = rng.integers(0, 256, 3)
                path.write_bytes(damaged.tobytes())
                try:
                    with open_frames(path, max_pixels=10**6) as frames:
                        assert frames[len(frames) - 1].shape[:2] == frames.size
                except (FramesError, ImageTooLargeError):
                    continue
