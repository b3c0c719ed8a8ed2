"""DAVIS and SA-V."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from sam2_engine.errors import FramesError
from sam2_engine.export import compress_rle, encode_rle
from sam2_engine.training.readers import open_labelled_data

Array = NDArray[Any]
Save = Callable[[Path, Any], Path]


def close(found: Array, expected: Array) -> bool:
    """Whether pictures are equal up to what JPEG and H.264 do to rectangles this small."""
    return bool(np.abs(found.astype(int) - expected.astype(int)).mean() < 12)


def save_palette(path: Path, labels: Array) -> None:
    picture = Image.fromarray(labels.astype(np.uint8))
    picture.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0, *[90] * 759])
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path)


@pytest.fixture
def davis(tmp_path: Path, truth: Array, pictures: Array, save: Save) -> Path:
    """Two videos with a palette as in 2017, with lists of both years."""
    for name in ("bear", "camel"):
        for frame in range(5):
            colour = np.repeat(pictures[frame][..., None], 3, axis=2)
            save(tmp_path / "JPEGImages" / "480p" / name / f"{frame:05d}.jpg", colour)
            save_palette(tmp_path / "Annotations" / "480p" / name / f"{frame:05d}.png", truth[frame])
    (tmp_path / "ImageSets" / "2017").mkdir(parents=True)
    (tmp_path / "ImageSets" / "2017" / "train.txt").write_text("bear\n")
    (tmp_path / "ImageSets" / "480p").mkdir()
    line = "/JPEGImages/480p/camel/00000.jpg /Annotations/480p/camel/00000.png\n"
    (tmp_path / "ImageSets" / "480p" / "val.txt").write_text(line)
    return tmp_path


def test_annotations_with_a_palette_are_object_numbers(davis: Path, truth: Array, pictures: Array) -> None:
    found = open_labelled_data(davis)
    assert [(item.name, item.num_frames, item.is_tracked) for item in found.items] == [
        ("bear", 5, True),
        ("camel", 5, True),
    ]
    clip = found.read(found.items[0], [4, 1])
    np.testing.assert_array_equal(clip.labels, truth[[4, 1]])
    assert close(clip.images[..., 0], pictures[[4, 1]])


def test_lists_of_both_years_are_subsets(davis: Path) -> None:
    assert [item.name for item in open_labelled_data(davis, subset="train").items] == ["bear"]
    assert [item.name for item in open_labelled_data(davis, subset="val").items] == ["camel"]
    with pytest.raises(FramesError, match="no list 'test'; there are: train, val"):
        open_labelled_data(davis, subset="test")
    (davis / "ImageSets" / "2017" / "train.txt").write_text("bear\nzebra\n")
    with pytest.raises(FramesError, match="names 'zebra'"):
        open_labelled_data(davis, subset="train")


def test_a_black_and_white_annotation_is_one_object_and_void_is_none(davis: Path, truth: Array, save: Save) -> None:
    annotations = davis / "Annotations" / "480p" / "bear"
    apart = (truth[1] > 0).astype(np.uint8) * 255
    save(annotations / "00001.png", apart)
    save(annotations / "00002.png", np.repeat(apart[..., None], 3, axis=2))
    void = truth[3].copy()
    void[0, 0] = 255
    save_palette(annotations / "00003.png", void)
    found = open_labelled_data(davis)
    labels = found.read(found.items[0]).labels
    np.testing.assert_array_equal(labels[1], truth[1] > 0)
    np.testing.assert_array_equal(labels[2], truth[1] > 0)
    np.testing.assert_array_equal(labels[3], truth[3])


def test_frames_without_annotation_are_left_out(davis: Path, truth: Array, pictures: Array) -> None:
    (davis / "Annotations" / "480p" / "bear" / "00002.png").unlink()
    for path in (davis / "Annotations" / "480p" / "camel").iterdir():
        path.unlink()
    found = open_labelled_data(davis)
    (item,) = found.items
    clip = found.read(item)
    np.testing.assert_array_equal(clip.labels, truth[[0, 1, 3, 4]])
    assert close(clip.images[2, ..., 0], pictures[3])


def test_videos_without_a_folder_for_the_resolution_are_read(tmp_path: Path, truth: Array, save: Save) -> None:
    save(tmp_path / "JPEGImages" / "a1" / "00000.jpg", np.zeros((12, 16, 3), np.uint8))
    save_palette(tmp_path / "Annotations" / "a1" / "00000.png", truth[1])
    found = open_labelled_data(tmp_path)
    np.testing.assert_array_equal(found.read(found.items[0]).labels[0], truth[1])


def test_a_broken_annotation_is_named(davis: Path) -> None:
    (davis / "Annotations" / "480p" / "bear" / "00002.png").write_bytes(b"no picture")
    found = open_labelled_data(davis)
    assert found.read(found.items[0], [1]).labels.any()
    with pytest.raises(FramesError, match=r"00002\.png cannot be read"):
        found.read(found.items[0])


# ----------------------------------------------------------------------------------------------------------- SA-V


def write_film(path: Path, images: Array) -> None:
    av = pytest.importorskip("av")
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=24)
        stream.height, stream.width, stream.pix_fmt, stream.bit_rate = *images.shape[1:3], "yuv420p", 4_000_000
        for image in images:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())


def masklets(labels: Array, *, count: float | None = 17.0) -> dict[str, Any]:
    frames = [[dict(compress_rle(encode_rle(plane == obj))) for obj in (1, 2)] for plane in labels]
    head = {} if count is None else {"video_frame_count": count}
    size = {"video_height": float(labels.shape[1]), "video_width": float(labels.shape[2])}
    return {"video_id": "sav_1", **head, **size, "masklet": frames, "masklet_id": [0, 1]}


@pytest.fixture
def film(tmp_path: Path, truth: Array, pictures: Array, save: Save) -> Path:
    """A film of 17 frames; the masks are of frames 0, 4, 8, 12 and 16."""
    large = np.repeat(np.repeat(pictures, 4, axis=1), 4, axis=2)
    slow = np.repeat(large, 4, axis=0)[:17]
    write_film(tmp_path / "sav_000" / "sav_1.mp4", np.repeat(slow[..., None], 3, axis=3))
    labels = np.repeat(np.repeat(truth, 4, axis=1), 4, axis=2)
    save(tmp_path / "sav_000" / "sav_1_manual.json", masklets(labels))
    save(tmp_path / "sav_000" / "sav_1_auto.json", masklets(3 - labels))
    return tmp_path


def test_every_fourth_frame_of_a_film_has_its_masks(film: Path, truth: Array, pictures: Array) -> None:
    for path in (film, film / "sav_000"):
        found = open_labelled_data(path)
        (item,) = found.items
        assert (item.name, item.num_frames, item.is_tracked) == ("sav_1", 5, True)
        clip = found.read(item, [3, 1])
        np.testing.assert_array_equal(clip.labels[:, ::4, ::4], truth[[3, 1]])
        assert close(clip.images[:, 2::4, 2::4, 0], pictures[[3, 1]])


def test_kinds_of_masks_are_subsets(film: Path, truth: Array) -> None:
    found = open_labelled_data(film, subset="auto")
    np.testing.assert_array_equal(found.read(found.items[0]).labels[:, ::4, ::4], (3 - truth) % 3)
    with pytest.raises(FramesError, match="manual and auto"):
        open_labelled_data(film, subset="train")


def test_the_number_of_frames_is_found_without_the_head_too(film: Path, save: Save, truth: Array) -> None:
    labels = np.repeat(np.repeat(truth, 4, axis=1), 4, axis=2)
    save(film / "sav_000" / "sav_1_manual.json", masklets(labels, count=None))
    assert open_labelled_data(film).items[0].num_frames == 5


def test_objects_that_are_absent_may_have_no_mask(film: Path, save: Save, truth: Array) -> None:
    document = masklets(np.repeat(np.repeat(truth, 4, axis=1), 4, axis=2))
    document["masklet"][0][1] = None
    document["masklet"][1][1] = {"size": [48, 64], "counts": ""}
    save(film / "sav_000" / "sav_1_manual.json", document)
    found = open_labelled_data(film)
    labels = found.read(found.items[0]).labels[:, ::4, ::4]
    np.testing.assert_array_equal(labels[:2], truth[:2] * (truth[:2] == 1))
    np.testing.assert_array_equal(labels[2:], truth[2:])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"masklet": []}, "masks of frame"),
        ({"masklet": 5}, "masks of frame"),
        ({"video_height": 20.0}, "both need the same size"),
        ({"video_frame_count": 40.0}, "masks of frame"),
    ],
)
def test_a_broken_file_of_masks_is_named(
    film: Path, save: Save, truth: Array, change: dict[str, Any], message: str
) -> None:
    labels = np.repeat(np.repeat(truth, 4, axis=1), 4, axis=2)
    save(film / "sav_000" / "sav_1_manual.json", masklets(labels) | change)
    found = open_labelled_data(film)
    with pytest.raises(FramesError, match=message):
        found.read(found.items[0])


def test_a_film_that_is_missing_or_short_is_named(film: Path, truth: Array, pictures: Array) -> None:
    large = np.repeat(np.repeat(pictures, 4, axis=1), 4, axis=2)
    write_film(film / "sav_000" / "sav_1.mp4", np.repeat(large[..., None], 3, axis=3))
    found = open_labelled_data(film)
    with pytest.raises(FramesError, match=r"sav_1\.mp4.*has 5 frames, there are labels for frame 16"):
        found.read(found.items[0])
    (film / "sav_000" / "sav_1.mp4").unlink()
    with pytest.raises(FramesError, match=r"sav_1\.mp4 must lie beside"):
        open_labelled_data(film)


def test_validation_frames_with_a_mask_file_for_each_object_are_read(
    tmp_path: Path, truth: Array, pictures: Array, save: Save
) -> None:
    frames, masks = tmp_path / "JPEGImages_24fps" / "sav_7", tmp_path / "Annotations_6fps" / "sav_7"
    for frame in range(17):
        save(frames / f"{frame:05d}.jpg", np.repeat(pictures[frame // 4][..., None], 3, axis=2))
    for frame in range(5):
        for obj in (1, 2):
            save(masks / f"{obj - 1:03d}" / f"{4 * frame:05d}.png", truth[frame] == obj)
    (tmp_path / "sav_val.txt").write_text("sav_7\n")
    found = open_labelled_data(tmp_path, subset="sav_val")
    (item,) = found.items
    clip = found.read(item, [2, 0])
    assert (item.num_frames, item.is_tracked) == (5, True)
    np.testing.assert_array_equal(clip.labels, truth[[2, 0]])
    assert close(clip.images[0, ..., 0], pictures[2])
    with pytest.raises(FramesError, match=r"no list sav_test\.txt; there are: sav_val"):
        open_labelled_data(tmp_path, subset="sav_test")
    (frames / "00008.jpg").unlink()
    with pytest.raises(FramesError, match="a mask of frame 00008"):
        open_labelled_data(tmp_path)
