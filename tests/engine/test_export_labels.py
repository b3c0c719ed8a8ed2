"""Masks as label TIFF and PNG."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from sam2_engine.errors import ExportError, ShapeError
from sam2_engine.export import LabelWriter, label_values, labels_from_masks, write_label_image, write_png
from sam2_engine.export import labels as labels_module


def blocks(value: int, size: tuple[int, int] = (11, 7)) -> NDArray[np.int64]:
    labels = np.zeros(size, np.int64)
    labels[2:5, 1:4] = value
    return labels


def test_frames_come_back_in_any_order_of_writing_and_gaps_are_zero(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    with LabelWriter(path, 5, (11, 7)) as writer:
        writer.write(3, blocks(4))
        writer.write(0, blocks(1))
        writer.write(4, blocks(9))
        writer.write(4, blocks(2))
    stack = tifffile.imread(path)
    expected = np.stack([blocks(value) for value in (1, 0, 0, 4, 2)])
    assert stack.dtype == np.uint8
    np.testing.assert_array_equal(stack, expected)
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.tif"]


def test_a_frame_can_be_emptied_again(tmp_path: Path) -> None:
    with LabelWriter(tmp_path / "a.tif", 2, (11, 7)) as writer:
        writer.write(1, blocks(4))
        writer.write(1, blocks(0))
    assert not tifffile.imread(tmp_path / "a.tif").any()


@pytest.mark.parametrize(("highest", "dtype"), [(255, np.uint8), (256, np.uint16), (65_536, np.uint32)])
def test_the_smallest_dtype_that_holds_all_frames_is_taken(tmp_path: Path, highest: int, dtype: type) -> None:
    with LabelWriter(tmp_path / "a.tif", 3, (11, 7)) as writer:
        writer.write(0, blocks(3))
        writer.write(2, blocks(highest))
    stack = tifffile.imread(tmp_path / "a.tif")
    assert stack.dtype == dtype
    assert sorted(np.unique(stack)) == [0, 3, highest]


def test_a_label_beyond_the_chosen_dtype_is_refused_and_nothing_written(tmp_path: Path) -> None:
    with (
        pytest.raises(ExportError, match="label 300 does not fit uint8; use dtype=uint16"),
        LabelWriter(tmp_path / "a.tif", 1, (11, 7), dtype="uint8") as writer,
    ):
        writer.write(0, blocks(300))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("axes", ["ZYX", "TYX"])
@pytest.mark.parametrize("name", ["a.tif", "a.ome.tif"])
def test_axes_and_pixel_size_can_be_read_back(tmp_path: Path, axes: str, name: str) -> None:
    with LabelWriter(tmp_path / name, 4, (11, 7), axes=axes, pixel_size_um=(0.5, 0.25), step=2.0) as writer:
        writer.write(1, blocks(1))
    with tifffile.TiffFile(tmp_path / name) as file:
        assert file.series[0].axes == axes
        assert file.series[0].shape == (4, 11, 7)
        assert len(file.pages) == 4
        assert file.is_ome == name.endswith(".ome.tif")
        page = file.pages[0]
        assert page.tags["ResolutionUnit"].value.name == "CENTIMETER"
        x, y = (page.tags[tag].value for tag in ("XResolution", "YResolution"))
        assert (x[0] / x[1], y[0] / y[1]) == (40_000, 20_000)
        if file.is_ome:
            description = file.ome_metadata
            assert description is not None
            assert 'PhysicalSizeX="0.25"' in description
            assert ('TimeIncrement="2.0"' if axes == "TYX" else 'PhysicalSizeZ="2.0"') in description


def test_one_frame_without_a_stack_axis(tmp_path: Path) -> None:
    write_label_image(tmp_path / "a.tif", blocks(3), pixel_size_um=(1.0, 1.0))
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        assert file.series[0].axes == "YX"
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "a.tif"), blocks(3))


def test_large_files_become_bigtiff(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(labels_module, "_CLASSIC_BYTES", 100)
    with LabelWriter(tmp_path / "a.tif", 2, (11, 7)) as writer:
        writer.write(1, blocks(1))
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        assert file.is_bigtiff
        np.testing.assert_array_equal(file.asarray()[1], blocks(1))


def test_an_exception_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(b"old")
    with pytest.raises(RuntimeError, match="stop"), LabelWriter(path, 3, (11, 7)) as writer:
        writer.write(0, blocks(1))
        raise RuntimeError("stop")
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.tif"]


def test_only_the_end_of_the_block_makes_the_file(tmp_path: Path) -> None:
    writer = LabelWriter(tmp_path / "a.tif", 1, (11, 7))
    writer.write(0, blocks(1))
    assert list(tmp_path.iterdir()) == []
    writer.close()
    writer.close()
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.tif"]


@pytest.mark.parametrize(
    ("frame", "labels", "error"),
    [
        (0, np.zeros((7, 11), int), ShapeError),
        (3, blocks(1), ShapeError),
        (-1, blocks(1), ShapeError),
        (0, blocks(1).astype(float), ShapeError),
        (0, blocks(-1), ExportError),
        (0, blocks(2**32), ExportError),
    ],
)
def test_labels_that_do_not_fit_are_refused(
    tmp_path: Path, frame: int, labels: NDArray[np.int64], error: type[Exception]
) -> None:
    with pytest.raises(error), LabelWriter(tmp_path / "a.tif", 3, (11, 7)) as writer:
        writer.write(frame, labels)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "bad",
    [{"num_frames": 0}, {"size": (0, 4)}, {"axes": "XYZ"}, {"axes": "YX", "num_frames": 2}, {"dtype": "float32"}],
)
def test_impossible_files_are_refused(tmp_path: Path, bad: dict[str, object]) -> None:
    with pytest.raises(ShapeError):
        LabelWriter(**({"path": tmp_path / "a.tif", "num_frames": 1, "size": (4, 4)} | bad))  # type: ignore[arg-type]


def test_a_folder_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="create it first"):
        LabelWriter(tmp_path / "no" / "a.tif", 1, (4, 4))


def test_masks_become_labels_and_the_later_one_wins() -> None:
    left, right = np.zeros((3, 6), bool), np.zeros((3, 6), bool)
    left[:, :4], right[:, 3:] = True, True
    labels = labels_from_masks({"a": left, "b": right}, {"a": 7, "b": 300})
    assert labels.dtype == np.uint16
    np.testing.assert_array_equal(labels[0], [7, 7, 7, 300, 300, 300])


def test_positive_integer_ids_are_their_own_labels() -> None:
    assert label_values([5, 2, 5]) == {5: 5, 2: 2}
    assert label_values([np.int64(5), 2]) == {5: 5, 2: 2}
    assert label_values(["b", "a"]) == {"b": 1, "a": 2}
    assert label_values([0, 1]) == {0: 1, 1: 2}
    assert label_values([]) == {}


def test_no_masks_make_an_empty_picture_of_the_given_size() -> None:
    labels = labels_from_masks({}, size=(3, 4))
    assert labels.shape == (3, 4)
    assert labels.dtype == np.uint8
    assert not labels.any()


def test_label_mistakes_are_named() -> None:
    mask = np.ones((2, 2), bool)
    with pytest.raises(ShapeError, match="size"):
        labels_from_masks({})
    with pytest.raises(ShapeError, match="image size"):
        labels_from_masks({1: mask}, size=(3, 3))
    with pytest.raises(ExportError, match="'b'"):
        labels_from_masks({"b": mask}, {"a": 1})
    with pytest.raises(ExportError, match="from 1"):
        labels_from_masks({"a": mask}, {"a": 0})


@pytest.mark.parametrize(("highest", "mode"), [(255, "L"), (256, "I;16"), (65_535, "I;16")])
def test_label_png_keeps_values(tmp_path: Path, highest: int, mode: str) -> None:
    write_label_image(tmp_path / "a.png", blocks(highest))
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.mode == mode
        np.testing.assert_array_equal(np.asarray(picture), blocks(highest))


def test_mask_png_is_black_and_white(tmp_path: Path) -> None:
    write_png(tmp_path / "a.png", blocks(1).astype(bool))
    with Image.open(tmp_path / "a.png") as picture:
        np.testing.assert_array_equal(np.asarray(picture), blocks(255))


def test_labels_too_large_for_png_point_to_tiff(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="TIFF"):
        write_png(tmp_path / "a.png", blocks(65_536))


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads memory use through /proc")
def test_writing_2000_frames_needs_no_more_memory_than_200(tmp_path: Path) -> None:
    program = """
import sys
import numpy as np
from sam2_engine.export import LabelWriter

def resident_mib():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096 / 2**20

labels = np.zeros((256, 256), np.uint16)
with LabelWriter(sys.argv[1], 2000, (256, 256), dtype="uint16") as writer:
    for frame in range(2000):
        labels[:50, :50] = frame
        writer.write(frame, labels)
        if frame == 200:
            before = resident_mib()
    after = resident_mib()
print(before, after)
"""
    path = tmp_path / "a.tif"
    ran = subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True, text=True, timeout=200)
    assert ran.returncode == 0, ran.stderr
    before, after = map(float, ran.stdout.split())
    assert after < before * 1.05 + 2, f"{before:.1f} MiB after 200 frames, {after:.1f} MiB after 2000"
    with tifffile.TiffFile(path) as file:
        assert len(file.pages) == 2000
        assert (file.pages[1234].asarray()[:50, :50] == 1234).all()
