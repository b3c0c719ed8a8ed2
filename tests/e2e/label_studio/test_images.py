"""Pictures: clicks, negative clicks and boxes in the browser, and the masks that are exported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from sam2_engine.export.polygons import mask_from_polygon
from sam2_engine.prompts import Prompts

from . import reference, scenes
from .conftest import Project
from .editor import Editor
from .rest import LabelStudio

NEAR_PX = 1.5
"""The screen's pixels are not those of the picture."""


@pytest.fixture(scope="module")
def scene() -> scenes.Scene:
    return scenes.picture()


def test_clicks_and_boxes_become_exactly_the_engines_masks(
    studio: LabelStudio, new_project: Project, page: Any, scene: scenes.Scene, tmp_path: Path
) -> None:
    picture, (first, neighbour, boxed) = scene.pictures[0], _three_objects(scene)
    paths = scenes.write_pictures(scene, tmp_path)
    project, (task,) = new_project("image", lambda made: {"image": studio.upload(made, *paths)[0]})

    editor = Editor(page, project, task, picture.shape)
    editor.ready()
    editor.take_tool("key-point-tool")
    editor.take_label("nucleus")
    once = editor.click(*scene.centre(first))
    twice = editor.click(*scene.centre(neighbour), negative=True)
    assert editor.num_suggestions() == 1
    editor.accept()
    editor.take_tool("rectangle-tool")
    drawn = editor.draw_box(scene.box(boxed))
    editor.accept()
    editor.submit()

    # What was meant is what was sent.
    assert [one.positive for one in reference.clicks(twice)] == [True, False]
    (click,) = reference.clicks(once)
    assert np.hypot(*np.subtract(scene.centre(first), (click.x + 0.5, click.y + 0.5))) < NEAR_PX
    # What was sent is what was answered, shown, accepted and exported.
    results = studio.submitted(project, task)
    found = list(reference.brush_masks(results).values())
    expected = [
        reference.mask_of(picture, Prompts(reference.clicks(twice))),
        reference.mask_of(picture, Prompts(box=reference.box(drawn))),
    ]
    assert [np.array_equal(one, other) for one, other in zip(found, expected, strict=True)] == [True, True]
    # It is the right thing, too, in the picture's own truth.
    assert reference.iou(found[1], scene.labels[0] == boxed) > 0.8
    assert list(reference.labels_of(results).values()) == [["nucleus"], ["nucleus"]]


def test_a_photo_with_an_orientation_gets_its_mask_where_it_was_clicked(
    studio: LabelStudio, new_project: Project, page: Any, scene: scenes.Scene, tmp_path: Path
) -> None:
    path = scenes.write_turned_picture(scene, tmp_path / "photo.jpg")
    with Image.open(path) as stored:
        picture = np.asarray(ImageOps.exif_transpose(stored))
        assert stored.size == picture.shape[:2]
    obj = scene.objects()[3]
    project, (task,) = new_project("image", lambda made: {"image": studio.upload(made, path)[0]})

    editor = Editor(page, project, task, picture.shape)
    editor.ready()
    editor.take_tool("rectangle-tool")
    editor.take_label("debris")
    context = editor.draw_box(scene.box(obj))
    editor.accept()
    editor.submit()

    results = studio.submitted(project, task)
    (found,) = reference.brush_masks(results).values()
    assert np.array_equal(found, reference.mask_of(picture, Prompts(box=reference.box(context))))
    assert reference.iou(found, scene.labels[0] == obj) > 0.75
    assert list(reference.labels_of(results).values()) == [["debris"]]


def test_several_boxes_become_a_mask_each(
    studio: LabelStudio, new_project: Project, page: Any, scene: scenes.Scene, tmp_path: Path
) -> None:
    chosen = [scene.objects()[index] for index in (1, 3, 6)]
    paths = scenes.write_pictures(scene, tmp_path)
    project, (task,) = new_project("image", lambda made: {"image": studio.upload(made, *paths)[0]})

    editor = Editor(page, project, task, scene.pictures[0].shape)
    editor.ready()
    editor.take_tool("rectangle-tool")
    editor.take_label("nucleus")
    for obj in chosen:
        editor.draw_box(scene.box(obj))
    assert editor.num_suggestions() == len(chosen)
    editor.accept()
    editor.submit()

    masks = reference.brush_masks(studio.submitted(project, task)).values()
    overlaps = [max(reference.iou(mask, scene.labels[0] == obj) for mask in masks) for obj in chosen]
    assert len(masks) == len(chosen) and min(overlaps) > 0.7


def test_a_project_of_polygons_gets_polygons_around_the_engines_mask(
    studio: LabelStudio, new_project: Project, page: Any, scene: scenes.Scene, tmp_path: Path
) -> None:
    obj, paths = scene.objects()[3], scenes.write_pictures(scene, tmp_path)
    project, (task,) = new_project("polygons", lambda made: {"image": studio.upload(made, *paths)[0]})

    editor = Editor(page, project, task, scene.pictures[0].shape)
    editor.ready()
    editor.take_tool("rectangle-tool")
    editor.take_label("nucleus")
    context = editor.draw_box(scene.box(obj))
    editor.accept()
    editor.submit()

    height, width = scene.labels.shape[1:]
    outlines = [one for one in studio.submitted(project, task) if one["type"].startswith("polygon")]
    outlines = [one for one in outlines if "points" in one["value"]]
    found = np.zeros((height, width), dtype=bool)
    for one in outlines:
        points = np.asarray(one["value"]["points"]) / 100 * (width, height)
        found |= mask_from_polygon(points, (height, width))
    expected = reference.mask_of(scene.pictures[0], Prompts(box=reference.box(context)))
    assert outlines and reference.iou(found, expected) > 0.95


def _three_objects(scene: scenes.Scene) -> tuple[int, int, int]:
    """The largest nucleus, the one that touches it on its right, and one by itself."""
    x, y = scene.centre(first := scene.objects()[0])
    # Not below it: there the editor puts the buttons that accept and reject its mask.
    places = {obj: np.subtract(scene.centre(obj), (x, y)) for obj in scene.objects() if obj != first}
    others = [obj for obj, (right, down) in places.items() if right > abs(down)]
    neighbour = min(others, key=lambda obj: np.hypot(*places[obj]))
    return first, neighbour, scene.objects()[3]
