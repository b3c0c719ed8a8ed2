"""Exports of Label Studio."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from sam2_engine.errors import FramesError
from sam2_engine.export import encode_brush_rle
from sam2_engine.training.readers import open_labelled_data

Array = NDArray[Any]
Save = Callable[[Path, Any], Path]
SIZE = {"original_width": 16, "original_height": 12, "image_rotation": 0}


def brush(mask: Array, label: str = "cell", **more: Any) -> dict[str, Any]:
    value = {"format": "rle", "rle": encode_brush_rle(mask), "brushlabels": [label]}
    return {**SIZE, "type": "brushlabels", "value": value, **more}


def outline(points_xy: list[list[float]]) -> dict[str, Any]:
    points = [[x / 16 * 100, y / 12 * 100] for x, y in points_xy]
    return {**SIZE, "type": "polygonlabels", "value": {"points": points, "polygonlabels": ["cell"]}}


def rectangle() -> dict[str, Any]:
    value = {"x": 1, "y": 1, "width": 50, "height": 50, "rotation": 0, "rectanglelabels": ["cell"]}
    return {**SIZE, "type": "rectanglelabels", "value": value}


def task(*results: dict[str, Any], image: Any = "/data/upload/3/0a1b2c3d-one.png", **annotation: Any) -> dict[str, Any]:
    return {"id": 4, "data": {"image": image}, "annotations": [{"result": list(results), **annotation}]}


@pytest.fixture
def folder(tmp_path: Path, save: Save) -> Path:
    save(tmp_path / "images" / "0a1b2c3d-one.png", np.zeros((12, 16), np.uint8))
    return tmp_path


def test_brushes_and_outlines_are_objects_and_boxes_are_not(folder: Path, truth: Array, save: Save) -> None:
    square = outline([[2, 2], [6, 2], [6, 6], [2, 6]])
    save(folder / "export.json", [task(square, rectangle(), brush(truth[1] == 2))])
    for path in (folder, folder / "export.json"):
        found = open_labelled_data(path)
        (item,) = found.items
        assert (item.name, item.category) == ("0a1b2c3d-one", "cell")
        np.testing.assert_array_equal(found.read(item).labels[0], truth[1])


def test_an_ellipse_is_filled_in_pixels_and_turned(folder: Path, save: Save) -> None:
    rows, columns = np.mgrid[:12, :16] + 0.5
    value = {"x": 50, "y": 50, "radiusX": 5 / 16 * 100, "radiusY": 2 / 12 * 100, "ellipselabels": ["cell"]}
    for turn, expected in (
        (0, ((columns - 8) / 5) ** 2 + ((rows - 6) / 2) ** 2 <= 1),
        (90, ((columns - 8) / 2) ** 2 + ((rows - 6) / 5) ** 2 <= 1),
    ):
        result = {**SIZE, "type": "ellipselabels", "value": {**value, "rotation": turn}}
        save(folder / "export.json", [task(result)])
        found = open_labelled_data(folder)
        np.testing.assert_array_equal(found.read(found.items[0]).labels[0], expected)


def test_the_newest_annotation_counts_unless_one_is_ground_truth(folder: Path, truth: Array, save: Save) -> None:
    first, second = (brush(truth[1] == obj, name) for obj, name in ((1, "old"), (2, "new")))
    one = task(first, updated_at="2024-01-01T00:00:00Z")
    one["annotations"].append({"result": [second], "updated_at": "2024-02-01T00:00:00Z"})
    one["annotations"].append({"result": [first], "updated_at": "2024-03-01T00:00:00Z", "was_cancelled": True})
    save(folder / "export.json", [one])
    assert open_labelled_data(folder).categories == ("new",)
    one["annotations"][0]["ground_truth"] = True
    save(folder / "export.json", [one])
    assert open_labelled_data(folder).categories == ("old",)


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("/data/upload/3/0a1b2c3d-cells%20a.png", "images/0a1b2c3d-cells a.png"),
        ("/data/upload/3/0a1b2c3d-cells.png", "cells.png"),
        ("/data/local-files/?d=plate/cells.png", "plate/cells.png"),
        ("s3://bucket/plate/cells.png", "deep/down/cells.png"),
        ("https://example.org/cells.png?key=1", "images/cells.png"),
    ],
)
def test_pictures_are_found_by_what_label_studio_calls_them(
    tmp_path: Path, truth: Array, save: Save, address: str, name: str
) -> None:
    picture = save(tmp_path / name, np.zeros((12, 16), np.uint8))
    save(tmp_path / "export.json", [task(brush(truth[1] == 1), image=address)])
    assert open_labelled_data(tmp_path).items[0].image == picture


def test_each_picture_of_a_task_with_several_is_an_item(tmp_path: Path, truth: Array, save: Save) -> None:
    for name in "abc":
        save(tmp_path / f"{name}.png", np.zeros((12, 16), np.uint8))
    results = [brush(truth[1] == 1, item_index=0), brush(truth[2] == 2, "axon", item_index=2)]
    save(tmp_path / "export.json", [task(*results, image=["/a.png", "/b.png", "/c.png"])])
    found = open_labelled_data(tmp_path)
    assert [(item.name, item.category) for item in found.items] == [("a", "cell"), ("c", "axon")]
    np.testing.assert_array_equal(found.read(found.items[1]).labels[0], truth[2] == 2)


def test_tasks_without_masks_are_left_out(folder: Path, truth: Array, save: Save) -> None:
    empty = {"id": 5, "data": {"image": "/gone.png"}, "annotations": []}
    boxes = task(rectangle(), image="/gone.png")
    text = {"id": 6, "data": {"text": "hello"}, "annotations": [{"result": [{"type": "choices", "value": {}}]}]}
    save(folder / "export.json", [empty, boxes, text, task(brush(truth[1] == 1))])
    assert len(open_labelled_data(folder)) == 1
    save(folder / "export.json", [empty, boxes, text])
    with pytest.raises(FramesError, match="holds nothing labelled"):
        open_labelled_data(folder)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (lambda one: one.pop("data"), "task 4"),
        (lambda one: one.update(data={"text": "no picture"}), "address of a picture"),
        (lambda one: one["annotations"][0]["result"][0].pop("original_width"), "original_width"),
        (lambda one: one["annotations"][0]["result"][0]["value"].update(rle=[1, 999]), "task 4"),
        (
            lambda one: one["annotations"][0]["result"][0]["value"].update(rle=None, points=[[1, 2]]),
            "at least 3 points",
        ),
        (lambda one: one["annotations"][0]["result"][0].update(item_index=7), "task 4"),
        (lambda one: one["data"].update(image="/gone.png"), r"gone\.png.*not below"),
    ],
)
def test_broken_exports_are_named(
    folder: Path, truth: Array, save: Save, changed: Callable[[Any], Any], message: str
) -> None:
    one = task(brush(truth[1] == 1))
    changed(one)
    save(folder / "export.json", [one, {"id": 9, "data": {}, "annotations": []}])
    with pytest.raises(FramesError, match=message):
        open_labelled_data(folder, layout="label-studio")


def test_a_damaged_brush_and_a_picture_of_another_size_are_named(folder: Path, truth: Array, save: Save) -> None:
    damaged = brush(truth[1] == 1)
    damaged["value"]["rle"] = damaged["value"]["rle"][:-3]
    save(folder / "export.json", [task(damaged)])
    found = open_labelled_data(folder)
    with pytest.raises(FramesError, match="damaged or cut short"):
        found.read(found.items[0])
    save(folder / "export.json", [task(brush(truth[1] == 1))])
    save(folder / "images" / "0a1b2c3d-one.png", np.zeros((24, 32), np.uint8))
    found = open_labelled_data(folder)
    with pytest.raises(FramesError, match="do not fit labels"):
        found.read(found.items[0])
