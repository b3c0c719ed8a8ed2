"""Sequences of the Cell Tracking Challenge."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from sam2_engine.errors import FramesError
from sam2_engine.training.readers import CellTrack, open_labelled_data, read_lineage
from sam2_engine.training.readers.ctc import name_by_markers

Array = NDArray[Any]
Save = Callable[[Path, Any], Path]
TRACKS = "1 0 4 0\n2 1 4 1\n"


def markers(labels: Array) -> Array:
    """The middle rows of each object."""
    kept = np.zeros_like(labels)
    kept[..., 3:5, :] = labels[..., 3:5, :]
    kept[..., 8:10, :] = labels[..., 8:10, :]
    return kept


@pytest.fixture
def dataset(tmp_path: Path, truth: Array, pictures: Array, save: Save) -> Path:
    """A set with a fully tracked sequence 01; masks are numbered anew on every frame, as they are there."""
    root = tmp_path / "Fluo-N2DH-Tiny"
    for frame in range(5):
        save(root / "01" / f"t{frame:03d}.tif", pictures[frame].astype(np.uint16) * 50)
        numbered_anew = np.array([0, 9 - frame, 1 + frame % 2], np.uint16)[truth[frame]]
        save(root / "01_GT" / "SEG" / f"man_seg{frame:03d}.tif", numbered_anew)
        save(root / "01_GT" / "TRA" / f"man_track{frame:03d}.tif", markers(truth[frame]).astype(np.uint16))
    (root / "01_GT" / "TRA" / "man_track.txt").write_text(TRACKS)
    return root


def test_a_sequence_is_tracked_by_its_markers(dataset: Path, truth: Array, pictures: Array) -> None:
    for path in (dataset, dataset.parent):
        found = open_labelled_data(path)
        (item,) = found.items
        assert (item.name, item.category, item.is_tracked) == ("Fluo-N2DH-Tiny/01", "Fluo-N2DH-Tiny", True)
        assert item.lineage == (CellTrack(1, 0, 4), CellTrack(2, 1, 4, parent=1))
        clip = found.read(item, [4, 0])
        np.testing.assert_array_equal(clip.labels, truth[[4, 0]])
        np.testing.assert_array_equal(clip.images, pictures[[4, 0]].astype(np.uint16) * 50)


def test_silver_masks_serve_cells_without_gold_ones(dataset: Path, truth: Array, save: Save) -> None:
    gold, silver = dataset / "01_GT" / "SEG", dataset / "01_ST" / "SEG"
    for frame in range(5):
        # Silver has both cells, the first one a row too high; gold knows the first cell on frame 2 only.
        coarse = np.zeros_like(truth[frame])
        coarse[:-1][truth[frame][1:] == 1] = 5
        coarse[truth[frame] == 2] = 3
        save(silver / f"man_seg{frame:03d}.tif", coarse.astype(np.uint16))
        (gold / f"man_seg{frame:03d}.tif").unlink()
    save(gold / "man_seg002.tif", (truth[2] == 1).astype(np.uint16))
    found = open_labelled_data(dataset)
    (item,) = found.items
    labels = found.read(item).labels
    assert item.is_tracked
    np.testing.assert_array_equal(labels[2], truth[2])
    np.testing.assert_array_equal(labels[1] == 2, truth[1] == 2)
    np.testing.assert_array_equal(labels[1][:-1] == 1, truth[1][1:] == 1)


def test_a_sequence_with_few_masks_gives_single_pictures(dataset: Path, truth: Array) -> None:
    for frame in (0, 2, 3):
        (dataset / "01_GT" / "SEG" / f"man_seg{frame:03d}.tif").unlink()
    found = open_labelled_data(dataset)
    (item,) = found.items
    assert (item.num_frames, item.is_tracked, item.lineage) == (2, False, ())
    np.testing.assert_array_equal(found.read(item).labels > 0, truth[[1, 4]] > 0)


def test_sequences_are_subsets(dataset: Path, save: Save) -> None:
    save(dataset / "02" / "t000.tif", np.zeros((12, 16), np.uint8))
    save(dataset / "02_GT" / "SEG" / "man_seg000.tif", np.eye(12, 16, dtype=np.uint16))
    assert [item.name for item in open_labelled_data(dataset, subset="02").items] == ["Fluo-N2DH-Tiny/02"]
    assert len(open_labelled_data(dataset)) == 2
    with pytest.raises(FramesError, match="subsets there are: 01, 02"):
        open_labelled_data(dataset, subset="03")


def test_volumes_are_stacks_and_masks_of_some_planes_are_pictures(tmp_path: Path, truth: Array, save: Save) -> None:
    root = tmp_path / "Fluo-N3DH-Tiny"
    volume = (truth * 60).astype(np.uint8)
    for time in range(2):
        save(root / "01" / f"t{time:03d}.tif", volume)
    save(root / "01_GT" / "SEG" / "man_seg000.tif", truth.astype(np.uint16))
    save(root / "01_GT" / "TRA" / "man_track000.tif", (markers(truth) * 4).astype(np.uint16))
    save(root / "01_GT" / "SEG" / "man_seg_001_003.tif", truth[3].astype(np.uint16))
    found = open_labelled_data(root)
    stack, slices = found.items
    assert (stack.num_frames, stack.is_tracked, slices.num_frames, slices.is_tracked) == (5, True, 1, False)
    np.testing.assert_array_equal(found.read(stack, [2, 4]).labels, truth[[2, 4]] * 4)
    np.testing.assert_array_equal(found.read(slices).labels[0], truth[3])
    np.testing.assert_array_equal(found.read(slices).images[0], volume[3])


def test_a_mask_has_the_name_of_the_marker_it_covers_by_more_than_half() -> None:
    marks = np.array([[7, 7, 7, 7, 8, 8, 0]])
    masks = np.array([[1, 1, 2, 2, 3, 3, 4]])
    np.testing.assert_array_equal(name_by_markers(masks, marks), [[0, 0, 0, 0, 8, 8, 0]])
    merged = np.array([[1, 1, 1, 1, 1, 1, 1]])
    np.testing.assert_array_equal(name_by_markers(merged, marks), np.full((1, 7), 7))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 0 4\n", "line 1"),
        ("1 0 4 0\nx 1 2 3\n", "line 2"),
        ("1 4 0 0\n", "line 1"),
        ("1 0 4 9\n", "parent 9"),
        ("1 0 1 0\n1 2 4 0\n", "two lines"),
    ],
)
def test_lineages_that_make_no_sense_are_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "man_track.txt").write_text(text)
    with pytest.raises(FramesError, match=message):
        read_lineage(tmp_path / "man_track.txt")


def test_what_does_not_fit_or_is_broken_is_named(dataset: Path, save: Save) -> None:
    found = open_labelled_data(dataset)
    save(dataset / "01_GT" / "TRA" / "man_track001.tif", np.zeros((4, 4), np.uint16))
    with pytest.raises(FramesError, match=r"man_seg001\.tif is \(12, 16\), its markers are \(4, 4\)"):
        found.read(found.items[0])
    (dataset / "01" / "t000.tif").write_bytes(b"II*\0")
    with pytest.raises(FramesError, match=r"t000\.tif cannot be read: it is truncated"):
        found.read(found.items[0], [0])


def test_what_is_missing_is_named(dataset: Path) -> None:
    (dataset / "01_GT" / "TRA" / "man_track.txt").unlink()
    with pytest.raises(FramesError, match=r"man_track\.txt cannot be read"):
        open_labelled_data(dataset)
    for path in (dataset / "01_GT" / "SEG").iterdir():
        path.unlink()
    with pytest.raises(FramesError, match="has no masks"):
        open_labelled_data(dataset)
