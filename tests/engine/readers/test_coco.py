"""COCO JSON files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from sam2_engine.errors import FramesError
from sam2_engine.export import compress_rle, encode_rle
from sam2_engine.training.readers import open_labelled_data

Array = NDArray[Any]
Save = Callable[[Path, Any], Path]


def annotation(image_id: int, segmentation: Any, **more: Any) -> dict[str, Any]:
    return {"id": 1, "image_id": image_id, "category_id": 1, "segmentation": segmentation, "iscrowd": 0, **more}


def document(*annotations: dict[str, Any], name: str = "one.png", images: int = 1) -> dict[str, Any]:
    return {
        "images": [
            {
                "id": number,
                "file_name": name.replace("one", f"one{number}" if number else "one"),
                "height": 12,
                "width": 16,
            }
            for number in range(images)
        ],
        "annotations": list(annotations),
        "categories": [{"id": 1, "name": "nucleus"}, {"id": 2, "name": "cell"}],
    }


def test_outlines_and_both_kinds_of_run_lengths_become_labels(tmp_path: Path, truth: Array, save: Save) -> None:
    first, second = truth[1] == 1, truth[1] == 2
    assert np.argwhere(first).min(axis=0).tolist() == [2, 2]
    square = [2, 2, 6, 2, 6, 6, 2, 6]  # x, y of the corners of rows 2 to 5, columns 2 to 5
    dot = np.zeros((12, 16), bool)
    dot[11, 15] = True
    save(tmp_path / "images" / "one.png", np.zeros((12, 16), np.uint8))
    save(
        tmp_path / "cells.json",
        document(
            annotation(0, [square]),
            annotation(0, dict(compress_rle(encode_rle(second)))),
            annotation(0, dict(encode_rle(dot))),
            annotation(0, dict(encode_rle(~first)), iscrowd=1),
            annotation(0, []),
        ),
    )
    for path in (tmp_path, tmp_path / "cells.json"):
        found = open_labelled_data(path)
        (item,) = found.items
        assert (item.name, item.category, item.num_frames) == ("one", "nucleus", 1)
        np.testing.assert_array_equal(found.read(item).labels[0], truth[1] + 3 * dot)


def test_an_object_of_several_outlines_is_their_union_and_small_ones_lie_on_top(tmp_path: Path, save: Save) -> None:
    save(tmp_path / "one.png", np.zeros((12, 16), np.uint8))
    parts = [[0, 0, 4, 0, 4, 4, 0, 4], [8, 0, 12, 0, 12, 4, 8, 4]]
    save(tmp_path / "a.json", document(annotation(0, [[1, 1, 3, 1, 3, 3, 1, 3]]), annotation(0, parts)))
    found = open_labelled_data(tmp_path)
    expected = np.zeros((12, 16), int)
    expected[0:4, 0:4] = expected[0:4, 8:12] = 2
    expected[1:3, 1:3] = 1
    np.testing.assert_array_equal(found.read(found.items[0]).labels[0], expected)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_outlines_are_filled_as_by_pycocotools_up_to_their_edge() -> None:
    mask = pytest.importorskip("pycocotools.mask")
    from sam2_engine.training.readers.coco import region_of
    from sam2_engine.training.readers.regions import paint_regions

    rng = np.random.default_rng(0)
    for _ in range(10):
        angles = np.sort(rng.uniform(0, 2 * np.pi, 12))
        outline = (40 + rng.uniform(15, 30, 12) * np.array([np.cos(angles), np.sin(angles)])).T.ravel().tolist()
        theirs = mask.decode(mask.frPyObjects([outline], 80, 80))[..., 0] > 0
        region = region_of([outline])
        assert region is not None
        ours = paint_regions((80, 80), [(1, region)]) > 0
        assert (ours & theirs).sum() / (ours | theirs).sum() > 0.98


def test_files_are_subsets_and_pictures_are_found_where_coco_puts_them(tmp_path: Path, save: Save) -> None:
    square = [2, 2, 6, 2, 6, 6, 2, 6]
    for year in ("train2017", "val2017"):
        save(tmp_path / year / "one.png", np.zeros((12, 16), np.uint8))
        save(tmp_path / "annotations" / f"instances_{year}.json", document(annotation(0, [square])))
        save(tmp_path / "annotations" / f"captions_{year}.json", document({"image_id": 0, "caption": "a cell"}))
    found = open_labelled_data(tmp_path, subset="val2017")
    assert [item.image for item in found.items] == [tmp_path / "val2017" / "one.png"]
    assert [item.image.parent.name for item in open_labelled_data(tmp_path, subset="train").items] == ["train2017"]
    assert len(open_labelled_data(tmp_path)) == 2


def test_each_folder_with_its_own_file_is_a_subset(tmp_path: Path, save: Save) -> None:
    for folder in ("train", "valid"):
        save(tmp_path / folder / "one.png", np.zeros((12, 16), np.uint8))
        save(tmp_path / folder / "_annotations.coco.json", document(annotation(0, [[2, 2, 6, 2, 6, 6, 2, 6]])))
    assert open_labelled_data(tmp_path, subset="valid").items[0].image == tmp_path / "valid" / "one.png"


def test_categories_choose_pictures(tmp_path: Path, save: Save) -> None:
    square = [[2, 2, 6, 2, 6, 6, 2, 6]]
    for name in ("one", "one1", "one2"):
        save(tmp_path / f"{name}.png", np.zeros((12, 16), np.uint8))
    several = [annotation(0, square), annotation(1, square, category_id=2), annotation(2, square)]
    save(tmp_path / "a.json", document(*several, annotation(2, square, category_id=2), images=3))
    found = open_labelled_data(tmp_path)
    assert [item.category for item in found.items] == ["nucleus", "cell", "mixed"]
    assert [item.name for item in open_labelled_data(tmp_path, category="cell").items] == ["one1"]
    with pytest.raises(FramesError, match="there are: cell, mixed, nucleus"):
        open_labelled_data(tmp_path, category="axon")


def test_a_picture_is_found_anywhere_below_by_its_name_if_that_is_unique(tmp_path: Path, save: Save) -> None:
    save(tmp_path / "deep" / "down" / "one.png", np.zeros((12, 16), np.uint8))
    save(tmp_path / "a.json", document(annotation(0, [[2, 2, 6, 2, 6, 6]])))
    assert open_labelled_data(tmp_path).items[0].image == tmp_path / "deep" / "down" / "one.png"
    save(tmp_path / "deep" / "one.png", np.zeros((12, 16), np.uint8))
    with pytest.raises(FramesError, match="are called so"):
        open_labelled_data(tmp_path)


def test_a_name_that_leads_out_of_the_data_is_not_followed(tmp_path: Path, save: Save) -> None:
    save(tmp_path / "secret.png", np.zeros((12, 16), np.uint8))
    save(tmp_path / "set" / "a.json", document(annotation(0, [[2, 2, 6, 2, 6, 6]]), name="../one.png"))
    save(tmp_path / "one.png", np.zeros((12, 16), np.uint8))
    with pytest.raises(FramesError, match=r"names the picture '\.\./one\.png'"):
        open_labelled_data(tmp_path / "set")


@pytest.mark.parametrize(
    ("segmentation", "message"),
    [
        ({"size": [12, 16], "counts": [3, 4]}, "add up to"),
        ({"size": [12, 16], "counts": "~~~"}, "damaged"),
        ({"size": [9, 9], "counts": [81]}, "9 × 9"),
    ],
)
def test_broken_run_lengths_are_named_when_they_are_read(
    tmp_path: Path, save: Save, segmentation: Any, message: str
) -> None:
    save(tmp_path / "one.png", np.zeros((12, 16), np.uint8))
    save(tmp_path / "a.json", document(annotation(0, segmentation)))
    found = open_labelled_data(tmp_path)
    with pytest.raises(FramesError, match=message):
        found.read(found.items[0])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"images": [], "annotations": [{"image_id": 1}]}, "holds nothing labelled"),
        ({"images": [{"id": 0}], "annotations": [annotation(0, [[1, 1, 2, 2, 3, 1]])]}, "no COCO file"),
        (document(annotation(0, [[1, 1, "x", 2, 3, 1]])), "no COCO file"),
        (document(annotation(0, [[1, 1, float("nan"), 2, 3, 1]])), "no finite numbers"),
        (document(annotation(0, [[1, 1, 2, 2, 3]])), "holds nothing labelled"),
        (document(annotation(0, [[1, 1, 2, 2, 3, 1]]), name="gone.png"), r"gone\.png.*not below"),
    ],
)
def test_broken_files_are_named(tmp_path: Path, save: Save, content: Any, message: str) -> None:
    save(tmp_path / "one.png", np.zeros((12, 16), np.uint8))
    save(tmp_path / "a.json", content)
    with pytest.raises(FramesError, match=message):
        open_labelled_data(tmp_path)


def test_a_file_cut_short_is_named(tmp_path: Path, save: Save) -> None:
    path = save(tmp_path / "a.json", document(annotation(0, [[1, 1, 2, 2, 3, 1]])))
    path.write_text(path.read_text()[:-5])
    with pytest.raises(FramesError, match="cannot be read as JSON"):
        open_labelled_data(tmp_path)
