"""Masks as a COCO data set."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from sam2_engine.errors import ShapeError
from sam2_engine.export import coco_dataset, decode_rle, write_coco
from sam2_engine.outputs import FrameMasks

SIZE = (20, 30)


def box_mask(top: int, left: int, bottom: int, right: int) -> NDArray[np.bool_]:
    mask = np.zeros(SIZE, bool)
    mask[top:bottom, left:right] = True
    return mask


def frames() -> list[FrameMasks]:
    return [
        FrameMasks(2, {1: box_mask(2, 3, 8, 9), "cell": box_mask(0, 0, 20, 30)}, {1: 0.87654321, "cell": 0.5}),
        FrameMasks(0, {1: box_mask(1, 3, 8, 9), "cell": np.zeros(SIZE, bool)}, {1: 1.0, "cell": 0.0}),
        FrameMasks(1, {}, {}),
    ]


def test_every_frame_is_an_image_and_every_visible_mask_an_annotation() -> None:
    dataset = coco_dataset(frames(), SIZE)
    assert [image["id"] for image in dataset["images"]] == [1, 2, 3]
    assert dataset["images"][2] == {"id": 3, "file_name": "frame_000002.png", "height": 20, "width": 30, "frame": 2}
    found = [(one["id"], one["image_id"], one["object_id"]) for one in dataset["annotations"]]
    assert found == [(1, 3, 1), (2, 3, "cell"), (3, 1, 1)]


def test_box_area_score_and_mask_of_an_annotation() -> None:
    one = coco_dataset(frames(), SIZE)["annotations"][0]
    assert one["bbox"] == [3, 2, 6, 6]
    assert one["area"] == 36
    assert one["score"] == 0.8765
    assert one["iscrowd"] == 0
    np.testing.assert_array_equal(decode_rle(one["segmentation"]), box_mask(2, 3, 8, 9))


def test_names_may_be_a_list_or_a_function() -> None:
    listed = coco_dataset(frames(), SIZE, file_names=["a.png", "b.png", "c.png"], category="nucleus")
    assert [image["file_name"] for image in listed["images"]] == ["a.png", "b.png", "c.png"]
    assert listed["categories"] == [{"id": 1, "name": "nucleus"}]


def test_frames_are_read_one_by_one() -> None:
    alive = 0

    def source() -> object:
        nonlocal alive
        for frame in range(5):
            alive += 1
            yield FrameMasks(frame, {1: box_mask(0, 0, 2, 2)}, {1: 1.0})
            alive -= 1

    assert len(coco_dataset(source(), SIZE)["annotations"]) == 5  # type: ignore[arg-type]
    assert alive == 0


def test_masks_of_another_size_and_repeated_frames_are_refused() -> None:
    with pytest.raises(ShapeError, match="expected"):
        coco_dataset(frames(), (30, 20))
    with pytest.raises(ShapeError, match="came twice"):
        coco_dataset([frames()[0], frames()[0]], SIZE)


def test_numpy_ids_and_scores_become_plain_json(tmp_path: Path) -> None:
    masks = FrameMasks(0, {np.int64(4): box_mask(0, 0, 2, 2)}, {np.int64(4): float(np.float32(0.25))})
    write_coco(tmp_path / "a.json", coco_dataset([masks], SIZE))
    written = json.loads((tmp_path / "a.json").read_text())
    assert written["annotations"][0]["object_id"] == 4
    assert written["annotations"][0]["score"] == 0.25


# pycocotools is not yet made for numpy 2.
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_pycocotools_reads_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    reference = pytest.importorskip("pycocotools.coco")
    write_coco(tmp_path / "a.json", coco_dataset(frames(), SIZE))
    known = reference.COCO(str(tmp_path / "a.json"))
    capsys.readouterr()
    annotation = known.loadAnns(known.getAnnIds(imgIds=[1]))[0]
    np.testing.assert_array_equal(known.annToMask(annotation).astype(bool), box_mask(1, 3, 8, 9))
