"""Films: a box on one frame, a track of boxes on all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sam2_engine.prompts import Box

from . import reference, scenes
from .conftest import Project
from .editor import Editor
from .rest import LabelStudio


def test_a_box_on_the_first_frame_becomes_a_track_that_follows_the_object(
    studio: LabelStudio, new_project: Project, page: Any, tmp_path: Path
) -> None:
    scene = scenes.film()
    obj, count = scene.objects()[0], len(scene.pictures)
    path = scenes.write_film(scene, tmp_path / "film.mp4")
    project, (task,) = new_project("video", lambda made: {"video": studio.upload(made, path)[0]})

    editor = Editor(page, project, task, scene.pictures[0].shape)
    editor.ready_for_film()
    editor.draw_box_on_film(scene.box(obj))
    asked = editor.ask_by_label("nucleus")
    editor.submit()

    (track,) = studio.submitted(project, task)
    sequence = track["value"]["sequence"]
    # The box that was drawn is where it was meant, and stays as it was drawn.
    boxes = {frame["frame"] - 1: _box(frame, scene) for frame in sequence if frame["enabled"]}
    assert reference.box_iou(boxes[0], Box(*scene.box(obj))) > 0.9
    assert sequence[0] == asked["result"][0]["value"]["sequence"][0]
    # It is followed: in the truth of the film, on every frame.
    assert sorted(boxes) == list(range(count))
    truth = {frame: Box(*scene.box(obj, frame)) for frame in range(count)}
    overlaps = [reference.box_iou(boxes[frame], truth[frame]) for frame in range(count)]
    assert min(overlaps) > 0.6
    assert track["value"]["labels"] == ["nucleus"] and track["type"] == "videorectangle"
    # At the time that Label Studio plays the frame.
    seconds = [frame["time"] for frame in sequence]
    assert seconds == [round(frame["frame"] / scenes.FRAMES_PER_SECOND, 6) for frame in sequence]


def _box(frame: dict[str, Any], scene: scenes.Scene) -> Box:
    height, width = scene.pictures.shape[1:]
    left, top = frame["x"] / 100 * width, frame["y"] / 100 * height
    return Box(left, top, left + frame["width"] / 100 * width, top + frame["height"] / 100 * height)
