"""Lists of pictures: one click, a mask on every frame, corrections on any of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sam2_engine.prompts import Prompts

from . import reference, scenes
from .conftest import Project
from .editor import Editor
from .rest import LabelStudio


@pytest.fixture(scope="module")
def scene() -> scenes.Scene:
    return scenes.stack()


def test_one_click_becomes_the_engines_masks_on_all_frames_and_a_correction_elsewhere_holds(
    studio: LabelStudio, new_project: Project, page: Any, scene: scenes.Scene, tmp_path: Path
) -> None:
    obj, count = scene.objects()[0], len(scene.pictures)
    paths = scenes.write_pictures(scene, tmp_path)
    project, (task,) = new_project("frames", lambda made: {"images": studio.upload(made, *paths)})

    editor = Editor(page, project, task, scene.pictures[0].shape)
    editor.ready()
    editor.take_tool("key-point-tool")
    editor.take_label("nucleus")
    clicked = editor.click(*scene.centre(obj))
    answered = reference.brush_masks(editor.answered[-1]["data"]["result"])
    assert editor.num_suggestions() == count

    # Without corrections: exactly what the engine finds by itself.
    found = {frame: mask for (_, frame), mask in answered.items()}
    expected = reference.masks_on_all(scene.pictures, Prompts(reference.clicks(clicked)), 0)
    assert sorted(found) == sorted(expected) == list(range(count))
    assert [np.array_equal(found[frame], expected[frame]) for frame in range(count)] == [True] * count
    assert np.mean([reference.iou(found[frame], scene.labels[frame] == obj) for frame in range(count)]) > 0.7

    # A negative click on the last frame, inside the mask's edge.
    editor.go_to_page(count)
    x, y = _inside_the_edge(found[count - 1])
    corrected = editor.click(x, y, negative=True)
    editor.accept()
    editor.submit()
    (click,) = reference.clicks(corrected, count - 1)
    exported = studio.submitted(project, task)
    masks = {frame: mask for (_, frame), mask in reference.brush_masks(exported).items()}
    assert sorted(masks) == list(range(count))
    at = round(click.y), round(click.x)
    assert not click.positive and found[count - 1][at] and not masks[count - 1][at]
    assert np.array_equal(masks[0], found[0])
    assert set(map(tuple, reference.labels_of(exported).values())) == {("nucleus",)}


def _inside_the_edge(mask: reference.Mask) -> tuple[float, float]:
    """(x, y) of a pixel three pixels above the lowest one of its column."""
    rows, columns = np.nonzero(mask)
    column = int(np.median(columns))
    return column + 0.5, float(rows[columns == column].max()) - 2.5
