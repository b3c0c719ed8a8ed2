"""Files as one array with all their axes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from sam2_engine.errors import FramesError
from sam2_engine.frames import open_array

HYPER = np.random.default_rng(0).integers(0, 60_000, (3, 4, 2, 12, 15)).astype(np.uint16)  # t z c y x
INDICES: tuple[Any, ...] = (
    (1, 2, 0),
    (slice(None), 2, 1, slice(3, 9), 4),
    (0, slice(None), slice(None), 5),
    (-1, slice(0, 4, 2)),
    (..., 3),
    2,
    slice(1, 3),
    ...,
)

WRITERS: dict[str, Any] = {
    "ome": lambda path: tifffile.imwrite(
        path, HYPER, ome=True, metadata={"axes": "TZCYX"}, photometric="minisblack", compression="zlib"
    ),
    "imagej": lambda path: tifffile.imwrite(path, HYPER, imagej=True, metadata={"axes": "TZCYX"}),
    "shaped": lambda path: tifffile.imwrite(path, HYPER, photometric="minisblack", metadata={"axes": "TZCYX"}),
}


@pytest.mark.parametrize("kind", list(WRITERS))
@pytest.mark.parametrize("index", INDICES, ids=str)
def test_tiffs_of_five_axes_are_indexed_like_the_array(tmp_path: Path, kind: str, index: Any) -> None:
    WRITERS[kind](tmp_path / "a.tif")
    array, axes = open_array(tmp_path / "a.tif")
    assert (array.shape, array.dtype, axes) == (HYPER.shape, HYPER.dtype, ("t", "z", "c", "y", "x"))
    np.testing.assert_array_equal(array[index], HYPER[index])


def test_an_array_becomes_numpy_on_request(tmp_path: Path) -> None:
    WRITERS["ome"](tmp_path / "a.tif")
    np.testing.assert_array_equal(np.asarray(open_array(tmp_path / "a.tif")[0]), HYPER)


@pytest.mark.parametrize(("shape", "axes"), [((7, 12, 15), None), ((12, 15), "yx"), ((12, 15, 3), "yxs")])
def test_plain_tiffs_keep_their_axes(tmp_path: Path, shape: tuple[int, ...], axes: str | None) -> None:
    pixels = np.random.default_rng(1).integers(0, 255, shape).astype(np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb" if shape[-1] == 3 else "minisblack")
    array, names = open_array(tmp_path / "a.tif")
    np.testing.assert_array_equal(array[...], pixels)
    assert axes is None or names == tuple(axes)


def test_zarr_and_npy_are_opened_as_they_are(tmp_path: Path) -> None:
    zarr = pytest.importorskip("zarr")
    zarr.save_array(str(tmp_path / "a.zarr"), HYPER)
    np.save(tmp_path / "a.npy", HYPER)
    for name in ("a.zarr", "a.npy"):
        array, axes = open_array(tmp_path / name)
        assert axes == ("",) * 5
        np.testing.assert_array_equal(array[1:, 2], HYPER[1:, 2])


def test_folders_are_stacks_and_single_pictures_are_planes(tmp_path: Path) -> None:
    (tmp_path / "f").mkdir()
    planes = HYPER[0, :, 0].astype(np.uint8)
    for number, plane in enumerate(planes):
        Image.fromarray(plane).save(tmp_path / "f" / f"{number}.png")
    array, axes = open_array(tmp_path / "f")
    assert axes == ("", "y", "x")
    np.testing.assert_array_equal(array[...], planes)
    single, axes = open_array(tmp_path / "f" / "2.png")
    assert axes == ("y", "x")
    np.testing.assert_array_equal(single[3:5], planes[2, 3:5])


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(FramesError, match="does not exist"):
        open_array(tmp_path / "a.tif")
    (tmp_path / "b.npy").write_bytes(b"no")
    with pytest.raises(FramesError, match="cannot be read as a numpy array"):
        open_array(tmp_path / "b.npy")


def test_an_index_too_many_is_refused(tmp_path: Path) -> None:
    WRITERS["ome"](tmp_path / "a.tif")
    array, _ = open_array(tmp_path / "a.tif")
    with pytest.raises(IndexError, match="5 axes, got an index for 6"):
        array[0, 0, 0, 0, 0, 0]
