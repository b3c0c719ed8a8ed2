"""Sequences from arrays, zarr, lists, folders and cameras; see test_frames_tiff and test_frames_video for files."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from sam2_engine._readers.natural import natural_key
from sam2_engine.errors import EngineError, FramesError, ImageError, ImageTooLargeError
from sam2_engine.frames import LiveFrames, open_frames

RNG = np.random.default_rng(0)
STACK = RNG.integers(0, 60_000, (6, 9, 14)).astype(np.uint16)
COLOUR = RNG.integers(0, 256, (4, 9, 14, 3)).astype(np.uint8)


class FramesTests:
    """What every source of `STACK` must do."""

    @pytest.fixture
    def source(self, tmp_path: Path) -> Any:
        raise NotImplementedError

    def test_length_size_and_every_frame(self, source: Any) -> None:
        with open_frames(source) as frames:
            assert len(frames) == 6
            assert frames.size == (9, 14)
            for number in (3, 0, 5, 5, 1, 2, 4):
                frame = frames[number]
                assert type(frame) is np.ndarray
                assert frame.flags.writeable
                assert frame.dtype == np.uint16
                np.testing.assert_array_equal(frame, STACK[number])

    def test_negative_numbers_count_from_the_end_and_others_do_not_exist(self, source: Any) -> None:
        with open_frames(source) as frames:
            np.testing.assert_array_equal(frames[-1], STACK[5])
            np.testing.assert_array_equal(frames[np.int64(2)], STACK[2])
            for number in (6, -7):
                with pytest.raises(IndexError, match="6 frames, 0 to 5"):
                    frames[number]
            with pytest.raises(TypeError):
                frames[1.0]  # type: ignore[index]

    def test_iteration_ends(self, source: Any) -> None:
        with open_frames(source) as frames:
            np.testing.assert_array_equal(np.stack(list(frames)), STACK)  # type: ignore[call-overload]

    def test_a_closed_sequence_says_so(self, source: Any) -> None:
        frames = open_frames(source)
        frames.close()
        frames.close()
        with pytest.raises(FramesError, match="closed; open it again"):
            frames[0]

    def test_frames_are_taken_unchanged(self, source: Any) -> None:
        with open_frames(source) as frames:
            assert open_frames(frames) is frames


class TestNumpy(FramesTests):
    @pytest.fixture
    def source(self, tmp_path: Path) -> Any:
        return STACK


class TestReadOnly(FramesTests):
    @pytest.fixture
    def source(self, tmp_path: Path) -> Any:
        locked = STACK.copy()
        locked.flags.writeable = False
        return locked


class TestLastAxis(FramesTests):
    @pytest.fixture
    def source(self, tmp_path: Path) -> Any:
        return open_frames(np.ascontiguousarray(np.moveaxis(STACK, 0, -1)), axis=2)

    def test_a_closed_sequence_says_so(self, source: Any) -> None:
        source.close()
        with pytest.raises(FramesError, match="closed"):
            source[0]


class TestFortranOrder(FramesTests):
    @pytest.fixture
    def source(self, tmp_path: Path) -> Any:
        return np.asfortranarray(STACK)


class TestMemoryMap(FramesTests):
    @pytest.fixture
    def source(self, tmp_path: Path) -> Any:
        np.save(tmp_path / "a.npy", STACK)
        return tmp_path / "a.npy"


class TestDask(FramesTests):
    @pytest.fixture
    def source(self, tmp_path: Path) -> Any:
        return pytest.importorskip("dask.array").from_array(STACK, chunks=(2, 5, 7))


class TestZarrArray(FramesTests):
    @pytest.fixture
    def source(self, tmp_path: Path) -> Any:
        zarr = pytest.importorskip("zarr")
        array = zarr.create_array(str(tmp_path / "a.zarr"), shape=STACK.shape, dtype="uint16", chunks=(1, 9, 14))
        array[:] = STACK
        return array


class TestZarrPath(TestZarrArray):
    @pytest.fixture
    def source(self, tmp_path: Path) -> Any:
        zarr = pytest.importorskip("zarr")
        array = zarr.create_array(
            str(tmp_path / "a.zarr"), shape=STACK.shape, dtype="uint16", chunks=(1, 9, 14), zarr_format=2
        )
        array[:] = STACK
        return str(tmp_path / "a.zarr")


class TestListOfArrays(FramesTests):
    @pytest.fixture
    def source(self, tmp_path: Path) -> Any:
        return list(STACK)


class TestListOfPil(FramesTests):
    @pytest.fixture
    def source(self, tmp_path: Path) -> Any:
        return [Image.fromarray(picture) for picture in STACK]


class TestListOfPaths(FramesTests):
    @pytest.fixture
    def source(self, tmp_path: Path) -> Any:
        paths = [tmp_path / f"{9 - number}.png" for number in range(6)]
        for path, picture in zip(paths, STACK, strict=True):
            Image.fromarray(picture).save(path)
        return tuple(paths)


class TestFolder(FramesTests):
    @pytest.fixture
    def source(self, tmp_path: Path) -> Any:
        folder = tmp_path / "frames"
        folder.mkdir()
        for name, picture in zip(["a 1.png", "a 2.tif", "a 9.PNG", "a 10.png", "b.tiff", "ü.png"], STACK, strict=True):
            if "tif" in name:
                tifffile.imwrite(folder / name, picture)
            else:
                Image.fromarray(picture).save(folder / name)
        (folder / "notes.txt").write_text("no picture")
        (folder / "._a 1.png").write_bytes(b"resource fork")
        (folder / "more.png").mkdir()
        return folder


class TestOwnFrames:
    def test_any_object_with_the_three_methods_is_taken_unchanged(self) -> None:
        class Mine:
            size = (3, 4)

            def __len__(self) -> int:
                return 1

            def __getitem__(self, frame: int, /) -> NDArray[Any]:
                return np.zeros((3, 4))

        mine = Mine()
        assert open_frames(mine) is mine
        with pytest.raises(FramesError, match="one axis only"):
            open_frames(mine, axis=1)  # type: ignore[call-overload]


# --- axes of arrays


def test_colour_stays_the_last_axis() -> None:
    frames = open_frames(COLOUR)
    assert frames.size == (9, 14)
    np.testing.assert_array_equal(frames[2], COLOUR[2])


@pytest.mark.parametrize(
    ("axis", "length", "size"), [(0, 6, (9, 14)), (1, 9, (6, 14)), (2, 14, (6, 9)), (-1, 14, (6, 9))]
)
def test_any_axis_can_be_walked(axis: int, length: int, size: tuple[int, int]) -> None:
    frames = open_frames(STACK, axis=axis)
    assert len(frames) == length
    assert frames.size == size
    np.testing.assert_array_equal(frames[4], np.take(STACK, 4, axis=axis))


@given(st.lists(st.integers(1, 5), min_size=3, max_size=4), st.data())
def test_walking_equals_numpy_take(shape: list[int], data: st.DataObject) -> None:
    array = np.arange(np.prod(shape)).reshape(shape)
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    frames = open_frames(array, axis=axis)
    number = data.draw(st.integers(0, len(frames) - 1))
    np.testing.assert_array_equal(frames[number], np.take(array, number, axis=axis))


def test_of_further_axes_an_index_is_chosen() -> None:
    array = RNG.integers(0, 9, (2, 5, 7, 8, 3))
    frames = open_frames(array, axis=1, at={0: 1})
    assert len(frames) == 5
    np.testing.assert_array_equal(frames[3], array[1, 3])
    frames = open_frames(array, at={0: 1, -1: 2})
    np.testing.assert_array_equal(frames[3], array[1, 3, :, :, 2])


def test_frames_of_an_array_share_its_memory() -> None:
    assert np.shares_memory(open_frames(STACK)[2], STACK)


@pytest.mark.parametrize(
    ("array", "options", "message"),
    [
        (np.zeros(4), {}, "sequence is"),
        (np.zeros((4, 4)), {}, r"array\[None\]"),
        (np.zeros((2, 3, 4, 5, 6)), {}, "choose an index"),
        (np.zeros((0, 4, 4)), {}, "no frames"),
        (np.zeros((4, 0, 4)), {}, "without pixels"),
        (np.zeros((2, 3, 4, 0)), {}, "without channels"),
        (np.zeros((4, 4, 4), complex), {}, "complex"),
        (np.zeros((4, 4, 4), object), {}, "object"),
        (np.full((2, 2, 2), "a"), {}, "<U1"),
        (np.zeros((4, 3, 40, 50)), {}, "moveaxis"),
        (STACK, {"axis": 3}, "by position"),
        (STACK, {"axis": "z"}, "by position"),
        (COLOUR, {"at": {0: 0}, "axis": 0}, "cannot be walked"),
        (COLOUR, {"at": {0: 7}}, "outside"),
    ],
)
def test_arrays_that_are_no_sequence_are_refused(array: NDArray[Any], options: dict[str, Any], message: str) -> None:
    with pytest.raises(FramesError, match=message):
        open_frames(array, **options)


@pytest.mark.parametrize("source", [None, 3, {"a": 1}, Image.new("L", (4, 4)), iter([STACK[0]])])
def test_other_things_are_refused_with_what_to_give(source: Any) -> None:
    with pytest.raises(FramesError, match="give a path"):
        open_frames(source)


def test_dask_computes_one_frame_at_a_time() -> None:
    dask_array = pytest.importorskip("dask.array")
    computed = []

    def make(block: NDArray[Any], block_info: Any = None) -> NDArray[Any]:
        if block_info:
            computed.append(block_info[None]["chunk-location"][0])
        return block

    lazy = dask_array.from_array(STACK, chunks=(1, 9, 14)).map_blocks(make, dtype=STACK.dtype)
    frames = open_frames(lazy)
    assert computed == []
    frames[4]
    assert computed == [4]


# --- zarr


def _ome_zarr(path: Path, array: NDArray[Any], axes: list[Any], version: str) -> Any:
    zarr = pytest.importorskip("zarr")
    group = zarr.open_group(str(path), mode="w", zarr_format=3 if version == "0.5" else 2)
    group.create_array("coarse", data=array[..., ::2, ::2])
    group.create_array("fine", data=array, chunks=(1,) * (array.ndim - 2) + array.shape[-2:])
    multiscales = [{"axes": axes, "datasets": [{"path": "fine"}, {"path": "coarse"}], "version": version}]
    group.attrs.update({"ome": {"multiscales": multiscales}} if version == "0.5" else {"multiscales": multiscales})
    return group


def _named(axes: str) -> list[Any]:
    return [{"name": name, "type": "space"} for name in axes]


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_the_finest_level_of_an_ome_zarr_is_read_along_the_named_axis(tmp_path: Path, version: str) -> None:
    array = RNG.integers(0, 255, (2, 3, 4, 8, 10)).astype(np.uint8)
    group = _ome_zarr(tmp_path / "a.zarr", array, _named("tczyx"), version)
    for source in (group, tmp_path / "a.zarr"):
        frames = open_frames(source, axis="z", at={"t": 1})
        assert len(frames) == 4
        assert frames.size == (8, 10)
        np.testing.assert_array_equal(frames[2], np.moveaxis(array[1, :, 2], 0, -1))
        with pytest.raises(FramesError, match=r"t=2, c=3, z=4.*along t or z.*axis='t', at=\{'z': 0\}"):
            open_frames(source)
        with pytest.raises(FramesError, match=r"choose an index on t, e\.g\. at=\{'t': 0\}"):
            open_frames(source, axis="z")


def test_axes_of_older_ome_zarr_versions_are_understood(tmp_path: Path) -> None:
    array = RNG.integers(0, 255, (1, 1, 4, 8, 10)).astype(np.uint8)
    _ome_zarr(tmp_path / "a.zarr", array, list("tczyx"), "0.3")
    np.testing.assert_array_equal(open_frames(tmp_path / "a.zarr")[3], array[0, 0, 3])


def test_a_group_with_one_array_is_that_array_and_others_are_named(tmp_path: Path) -> None:
    zarr = pytest.importorskip("zarr")
    group = zarr.open_group(str(tmp_path / "a.zarr"), mode="w")
    group.create_array("raw", data=STACK)
    np.testing.assert_array_equal(open_frames(group)[1], STACK[1])
    group.create_array("labels", data=STACK)
    with pytest.raises(FramesError, match=r"\['labels', 'raw'\]"):
        open_frames(group)


def test_series_zero_of_a_converted_file_is_read(tmp_path: Path) -> None:
    zarr = pytest.importorskip("zarr")
    zarr.open_group(str(tmp_path / "a.zarr"), mode="w", zarr_format=2).attrs["bioformats2raw.layout"] = 3
    _ome_zarr(tmp_path / "a.zarr" / "0", STACK, _named("zyx"), "0.4")
    np.testing.assert_array_equal(open_frames(tmp_path / "a.zarr")[1], STACK[1])


@pytest.mark.parametrize("damage", ["metadata", "level", "axes"])
def test_damaged_zarr_is_refused(tmp_path: Path, damage: str) -> None:
    group = _ome_zarr(tmp_path / "a.zarr", STACK, _named("zyx"), "0.4")
    if damage == "metadata":
        (tmp_path / "a.zarr" / ".zgroup").write_text("{")
    else:
        bad = {"level": [{"axes": _named("zyx"), "datasets": [{"path": "no"}]}]}
        bad["axes"] = [{"axes": _named("yx"), "datasets": [{"path": "fine"}]}]
        group.attrs["multiscales"] = bad[damage]
    with pytest.raises(FramesError, match=r"a\.zarr"):
        open_frames(tmp_path / "a.zarr")


# --- lists and folders


def test_a_folder_of_many_kinds_of_names_is_in_natural_order(tmp_path: Path) -> None:
    names = ["frame2.png", "frame10.png", "Frame1.png", "00011.png", "1.jpg", "img_1_2.png", "img_1_10.png", "x².png"]
    for name in names:
        Image.new("L", (4, 3)).save(tmp_path / name)
    order = ["1.jpg", "00011.png", "Frame1.png", "frame2.png", "frame10.png", "img_1_2.png", "img_1_10.png", "x².png"]
    frames = open_frames(tmp_path)
    assert [path.name for path in frames._items] == order  # type: ignore[attr-defined]


@given(st.lists(st.integers(0, 10**6), unique=True, max_size=20), st.text(max_size=5))
def test_natural_order_of_numbered_names_is_numeric(numbers: list[int], prefix: str) -> None:
    names = [f"{prefix}_{number}.png" for number in numbers]
    assert sorted(names, key=natural_key) == [f"{prefix}_{number}.png" for number in sorted(numbers)]


@given(st.lists(st.text(max_size=8), max_size=8))
def test_any_names_can_be_ordered_and_the_order_is_total(names: list[str]) -> None:
    assert sorted(names, key=natural_key) == sorted(reversed(names), key=natural_key)


def test_a_picture_of_another_size_is_named(tmp_path: Path) -> None:
    for number, size in enumerate([(14, 9), (14, 9), (9, 14)]):
        Image.new("L", size).save(tmp_path / f"{number}.png")
    with pytest.raises(FramesError, match=r"2\.png is 14 × 9 pixels, but the first .* 9 × 14"):
        open_frames(tmp_path)
    with pytest.raises(FramesError, match="picture 1 of the list"):
        open_frames([STACK[0], STACK[0].T])


def test_a_turned_camera_picture_counts_with_its_upright_size(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6
    Image.new("L", (14, 9)).save(tmp_path / "0.jpg", exif=exif)
    Image.new("L", (9, 14)).save(tmp_path / "1.jpg")
    frames = open_frames(tmp_path)
    assert frames.size == (14, 9)
    assert frames[0].shape == frames[1].shape == (14, 9)


@pytest.mark.parametrize("content", [b"", b"hello", b"\x89PNG\r\n\x1a\n"])
def test_a_broken_picture_in_a_folder_is_named(tmp_path: Path, content: bytes) -> None:
    Image.new("L", (14, 9)).save(tmp_path / "0.png")
    (tmp_path / "1.png").write_bytes(content)
    with pytest.raises(FramesError, match=r"1\.png"):
        open_frames(tmp_path)


def test_a_picture_cut_short_is_named_when_it_is_read(tmp_path: Path) -> None:
    Image.fromarray(STACK[0]).save(tmp_path / "0.png")
    whole = (tmp_path / "0.png").read_bytes()
    (tmp_path / "1.png").write_bytes(whole[:-60])
    frames = open_frames(tmp_path)
    np.testing.assert_array_equal(frames[0], STACK[0])
    with pytest.raises(FramesError, match=r"1\.png .* truncated"):
        frames[1]


def test_a_file_exchanged_after_opening_is_noticed(tmp_path: Path) -> None:
    Image.new("L", (14, 9)).save(tmp_path / "0.png")
    frames = open_frames(tmp_path)
    Image.new("L", (7, 9)).save(tmp_path / "0.png")
    with pytest.raises(FramesError, match="changed"):
        frames[0]
    (tmp_path / "0.png").unlink()
    with pytest.raises(FramesError, match="does not exist"):
        frames[0]


def test_missing_and_empty_sources_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FramesError, match="does not exist"):
        open_frames(tmp_path / "no")
    with pytest.raises(FramesError, match="holds no pictures"):
        open_frames(tmp_path)
    with pytest.raises(FramesError, match="empty"):
        open_frames([])
    (tmp_path / "a.dat").write_bytes(b"")
    with pytest.raises(FramesError, match="0 bytes"):
        open_frames(tmp_path / "a.dat")
    (tmp_path / "a.dat").write_bytes(b"abcd")
    with pytest.raises(FramesError, match="no known kind"):
        open_frames(tmp_path / "a.dat")
    (tmp_path / "a.npy").write_bytes(b"abcd")
    with pytest.raises(FramesError, match="numpy array"):
        open_frames(tmp_path / "a.npy")


def test_one_picture_is_a_sequence_of_one(tmp_path: Path) -> None:
    Image.fromarray(COLOUR[0]).save(tmp_path / "a.png")
    frames = open_frames(str(tmp_path / "a.png"))
    assert len(frames) == 1
    np.testing.assert_array_equal(frames[0], COLOUR[0])


def test_folders_have_one_axis_which_may_be_named(tmp_path: Path) -> None:
    Image.new("L", (4, 3)).save(tmp_path / "a.png")
    for axis in ("z", "t", 0):
        assert len(open_frames(tmp_path, axis=axis)) == 1
    with pytest.raises(FramesError, match="one axis only"):
        open_frames(tmp_path, axis="c")
    with pytest.raises(FramesError, match="one axis only"):
        open_frames(tmp_path, at={"t": 0})


def test_pixel_limits_hold_for_files(tmp_path: Path) -> None:
    Image.new("L", (14, 9)).save(tmp_path / "a.png")
    np.save(tmp_path / "a.npy", STACK)
    for source in (tmp_path, tmp_path / "a.png", tmp_path / "a.npy"):
        with pytest.raises(ImageTooLargeError, match="limit of 100"):
            open_frames(source, max_pixels=100)


# --- live


def test_live_frames_are_numbered_and_copied() -> None:
    live = LiveFrames()
    buffer = STACK[0].copy()
    assert live.append(buffer) == 0
    buffer[:] = 0
    assert live.append(Image.fromarray(STACK[1])) == 1
    assert len(live) == 2
    assert live.size == (9, 14)
    np.testing.assert_array_equal(live[0], STACK[0])
    np.testing.assert_array_equal(live[-1], STACK[1])
    assert open_frames(live) is live


def test_a_bounded_live_buffer_drops_the_oldest_and_says_so() -> None:
    live = LiveFrames(max_frames=2)
    for picture in STACK:
        live.append(picture)
    assert len(live) == 6
    np.testing.assert_array_equal(live[4], STACK[4])
    np.testing.assert_array_equal(live[5], STACK[5])
    with pytest.raises(FramesError, match=r"frame 3 is no longer held.*raise max_frames"):
        live[3]
    with pytest.raises(IndexError):
        live[6]
    assert len(live._held) == 2


def test_live_mistakes_are_named() -> None:
    live = LiveFrames()
    with pytest.raises(FramesError, match="append the first"):
        _ = live.size
    with pytest.raises(FramesError, match="at least 1"):
        LiveFrames(max_frames=0)
    live.append(STACK[0])
    with pytest.raises(FramesError, match="those before"):
        live.append(STACK[0].T)
    with pytest.raises(ImageError):
        live.append(STACK[None])
    assert len(live) == 1


def test_every_error_on_a_source_is_one_of_ours(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rng = np.random.default_rng(2)
    names = ["a.tif", "a.png", "a.mp4", "a.avi", "a.npy", "a.gif", "a.zarr.zip", "a.mkv"]
    with caplog.at_level(logging.CRITICAL):
        for name in names:
            for length in (1, 3, 8, 16, 200, 5000):
                (tmp_path / name).write_bytes(rng.bytes(length))
                with pytest.raises(EngineError):
                    open_frames(tmp_path / name)


def test_importing_loads_no_optional_or_heavy_package() -> None:
    program = """
import sys
import sam2_engine.export, sam2_engine.frames
print(sorted({"torch", "av", "zarr", "dask", "tifffile", "PIL", "scipy", "skimage"} & set(sys.modules)))
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert ran.stdout.strip() == "[]"
