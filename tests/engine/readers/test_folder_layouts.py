"""Pictures beside their masks, in two folders, and with a mask file for each object."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from sam2_engine.errors import FramesError
from sam2_engine.training.readers import open_labelled_data

Array = NDArray[Any]
Save = Callable[[Path, Any], Path]


def test_masks_beside_their_pictures_are_found(tmp_path: Path, truth: Array, pictures: Array, save: Save) -> None:
    save(tmp_path / "one.png", pictures[0])
    save(tmp_path / "one_masks.png", truth[0].astype(np.uint8))
    save(tmp_path / "two_img.tif", pictures[1].astype(np.uint16) * 100)
    save(tmp_path / "two_labels.tif", truth[1].astype(np.uint16))
    save(tmp_path / "three.png", pictures[2])
    save(tmp_path / "three_cp_masks.png", truth[2].astype(np.uint8))
    save(tmp_path / "stack.tif", pictures)
    save(tmp_path / "stack-seg.tif", truth.astype(np.uint16))
    save(tmp_path / "alone.png", pictures[0])
    found = open_labelled_data(tmp_path)
    clips = {item.name: found.read(item) for item in found.items}
    assert set(clips) == {"one", "two_img", "three", "stack"}
    for name, frames in (("one", [0]), ("two_img", [1]), ("three", [2]), ("stack", [0, 1, 2, 3, 4])):
        np.testing.assert_array_equal(clips[name].labels, truth[frames], err_msg=name)
    np.testing.assert_array_equal(clips["two_img"].images[0], pictures[1].astype(np.uint16) * 100)
    assert [item.name for item in found.items if item.is_tracked] == ["stack"]


def test_a_palette_of_a_label_picture_is_not_taken_for_its_numbers(tmp_path: Path, truth: Array, save: Save) -> None:
    save(tmp_path / "images" / "one.png", np.zeros((12, 16), np.uint8))
    labels = Image.fromarray(truth[1].astype(np.uint8))
    labels.putpalette([0, 0, 0, 200, 30, 0, 0, 70, 250])
    (tmp_path / "masks").mkdir()
    labels.save(tmp_path / "masks" / "one.png")
    shown = np.stack([np.arange(256, dtype=np.uint16)[::-1] * 257] * 3)
    save(tmp_path / "images" / "two.png", np.zeros((12, 16), np.uint8))
    tifffile.imwrite(tmp_path / "masks" / "two.tif", truth[1].astype(np.uint8), photometric="palette", colormap=shown)
    for clip in open_labelled_data(tmp_path):
        np.testing.assert_array_equal(clip.labels[0], truth[1])


def test_colours_of_a_label_picture_are_numbered(tmp_path: Path, truth: Array, save: Save) -> None:
    save(tmp_path / "images" / "one.png", np.zeros((12, 16), np.uint8))
    save(tmp_path / "masks" / "one.png", np.array([[0, 0, 0], [0, 90, 7], [250, 1, 0]], np.uint8)[truth[1]])
    found = open_labelled_data(tmp_path)
    np.testing.assert_array_equal(found.read(found.items[0]).labels[0], truth[1])


@pytest.mark.parametrize("kind", [np.uint8, np.bool_])
def test_black_and_white_masks_are_split_into_regions(
    tmp_path: Path, truth: Array, save: Save, kind: type[np.generic]
) -> None:
    mask = (truth[1] > 0).astype(kind)
    save(tmp_path / "images" / "one.png", np.zeros((12, 16), np.uint8))
    save(tmp_path / "masks" / "one.png", mask * np.uint8(255) if kind is np.uint8 else mask)
    found = open_labelled_data(tmp_path)
    np.testing.assert_array_equal(found.read(found.items[0]).labels[0], truth[1])


def test_very_large_numbers_of_a_single_picture_become_small_ones(tmp_path: Path, truth: Array, save: Save) -> None:
    save(tmp_path / "images" / "one.tif", np.zeros((12, 16), np.uint8))
    save(tmp_path / "masks" / "one.tif", np.array([0, 7_000_000, 4_000_000_000], np.uint32)[truth[1]])
    found = open_labelled_data(tmp_path)
    np.testing.assert_array_equal(found.read(found.items[0]).labels[0], truth[1])


def test_pictures_of_two_channels_become_red_and_green(tmp_path: Path, truth: Array, save: Save) -> None:
    (tmp_path / "images").mkdir()
    two = np.stack((np.full((12, 16), 9, np.uint8), np.arange(192, dtype=np.uint8).reshape(12, 16)))
    tifffile.imwrite(tmp_path / "images" / "one.tif", two, photometric="minisblack", metadata={"axes": "CYX"})
    save(tmp_path / "masks" / "one.tif", truth[0].astype(np.uint16))
    found = open_labelled_data(tmp_path)
    image = found.read(found.items[0]).images[0]
    np.testing.assert_array_equal(image[..., :2], np.moveaxis(two, 0, -1))
    assert not image[..., 2].any()


def test_a_mask_file_for_each_object_makes_labels(tmp_path: Path, truth: Array, pictures: Array, save: Save) -> None:
    save(tmp_path / "dsb" / "0a7d" / "images" / "0a7d.png", np.repeat(pictures[1][..., None], 3, axis=2))
    for obj in (1, 2):
        save(tmp_path / "dsb" / "0a7d" / "masks" / f"{obj}.png", (truth[1] == obj).astype(np.uint8) * 255)
    save(tmp_path / "other" / "images" / "x.png", pictures[2])
    for obj in (1, 2):
        save(tmp_path / "other" / "masks" / "x" / f"{obj}.png", truth[2] == obj)
    for folder, frame, channels in (("dsb", 1, (3,)), ("other", 2, ())):
        found = open_labelled_data(tmp_path / folder)
        clip = found.read(found.items[0])
        np.testing.assert_array_equal(clip.labels[0], truth[frame])
        assert clip.images.shape == (1, 12, 16, *channels)


def test_where_masks_of_objects_overlap_the_smaller_one_is_on_top(tmp_path: Path, save: Save) -> None:
    large, small = np.zeros((2, 12, 16), bool)
    large[1:9, 1:9] = True
    small[3:5, 3:5] = True
    save(tmp_path / "a" / "images" / "a.png", np.zeros((12, 16), np.uint8))
    # By name the small one comes first.
    save(tmp_path / "a" / "masks" / "1.png", small)
    save(tmp_path / "a" / "masks" / "2.png", large)
    found = open_labelled_data(tmp_path)
    labels = found.read(found.items[0]).labels[0]
    np.testing.assert_array_equal(labels == 1, small)
    np.testing.assert_array_equal(labels == 2, large & ~small)


def test_a_picture_without_objects_has_empty_labels(tmp_path: Path, save: Save) -> None:
    for name in "ab":
        save(tmp_path / name / "images" / f"{name}.png", np.zeros((12, 16), np.uint8))
        (tmp_path / name / "masks").mkdir()
    save(tmp_path / "a" / "masks" / "1.png", np.ones((12, 16), bool))
    found = open_labelled_data(tmp_path)
    assert [found.read(item).labels.sum() for item in found.items] == [12 * 16, 0]


def test_stacks_are_read_plane_by_plane(tmp_path: Path, truth: Array, pictures: Array, save: Save) -> None:
    save(tmp_path / "images" / "stack.tif", pictures)
    save(tmp_path / "masks" / "stack.tif", truth.astype(np.uint16))
    found = open_labelled_data(tmp_path, cache_bytes=1)
    clip = found.read(found.items[0], [3, 1, 3])
    np.testing.assert_array_equal(clip.labels, truth[[3, 1, 3]])
    np.testing.assert_array_equal(clip.images, pictures[[3, 1, 3]])
    assert found._cache.nbytes <= truth[0].nbytes, "one plane at most is kept beyond the limit"


def test_what_is_read_does_not_depend_on_the_process(tmp_path: Path, truth: Array, save: Save) -> None:
    save(tmp_path / "images" / "one.png", np.zeros((12, 16), np.uint8))
    save(tmp_path / "masks" / "one.png", truth[1].astype(np.uint8))
    found = open_labelled_data(tmp_path)
    found.read(found.items[0])
    elsewhere = pickle.loads(pickle.dumps(found))
    np.testing.assert_array_equal(elsewhere.read(elsewhere.items[0]).labels[0], truth[1])


def broken(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:45])


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.full((12, 16), -1, np.int16), "from 0"),
        (np.full((12, 16), 0.5, np.float32), "whole numbers"),
        (np.zeros((9, 9), np.uint8), "do not fit labels"),
    ],
)
def test_labels_that_are_none_are_refused(tmp_path: Path, save: Save, labels: Array, message: str) -> None:
    save(tmp_path / "images" / "one.png", np.zeros((12, 16), np.uint8))
    save(tmp_path / "masks" / "one.tif", labels)
    found = open_labelled_data(tmp_path)
    with pytest.raises(FramesError, match=message):
        found.read(found.items[0])


@pytest.mark.parametrize("name", ["images/one.png", "masks/one.png"])
def test_broken_files_are_named_when_they_are_read(tmp_path: Path, truth: Array, save: Save, name: str) -> None:
    save(tmp_path / "images" / "one.png", np.zeros((12, 16), np.uint8))
    save(tmp_path / "masks" / "one.png", truth[1].astype(np.uint8))
    broken(tmp_path / name)
    found = open_labelled_data(tmp_path)
    with pytest.raises(FramesError, match=r"one\.png cannot be read"):
        found.read(found.items[0])


def test_stacks_of_different_length_are_refused(tmp_path: Path, truth: Array, pictures: Array, save: Save) -> None:
    save(tmp_path / "images" / "stack.tif", pictures)
    save(tmp_path / "masks" / "stack.tif", truth[:4].astype(np.uint16))
    found = open_labelled_data(tmp_path)
    with pytest.raises(FramesError, match=r"5 frames, its labels 4"):
        found.read(found.items[0])


def test_two_masks_of_one_name_are_refused(tmp_path: Path, truth: Array, save: Save) -> None:
    save(tmp_path / "images" / "one.png", np.zeros((12, 16), np.uint8))
    save(tmp_path / "masks" / "one.png", truth[1].astype(np.uint8))
    save(tmp_path / "masks" / "one_mask.png", truth[1].astype(np.uint8))
    with pytest.raises(FramesError, match="both masks of 'one'"):
        open_labelled_data(tmp_path)


def test_masks_of_objects_have_one_size(tmp_path: Path, save: Save) -> None:
    save(tmp_path / "a" / "images" / "a.png", np.zeros((12, 16), np.uint8))
    save(tmp_path / "a" / "masks" / "1.png", np.ones((12, 16), bool))
    save(tmp_path / "a" / "masks" / "2.png", np.ones((12, 15), bool))
    found = open_labelled_data(tmp_path)
    with pytest.raises(FramesError, match=r"2\.png does not fit 1\.png"):
        found.read(found.items[0])
