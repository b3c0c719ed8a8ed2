"""Around annotating: connecting in the browser, what the doctor says, whole projects, exports."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests

from sam2_engine.export.rle import decode_rle
from sam2_engine.prompts import Box, Prompts

from . import editor, reference, scenes
from .conftest import Project
from .processes import ROOT, Running
from .rest import Json, LabelStudio


@pytest.fixture(scope="module")
def scene() -> scenes.Scene:
    return scenes.picture()


def test_a_person_connects_the_backend_in_the_browser_and_the_doctor_finds_no_problem(
    studio: LabelStudio, backend: Running, token: str, new_project: Project, page: Any, scene: Any, tmp_path: Path
) -> None:
    paths = scenes.write_pictures(scene, tmp_path)
    project, _ = new_project("image", lambda made: {"image": studio.upload(made, *paths)[0]}, connect=False)
    editor.connect_backend(page, project, backend.url)
    (connected,) = studio.get(f"/api/ml?project={project}")
    assert connected["state"] == "CO" and connected["is_interactive"] and connected["url"] == backend.url
    assert connected["model_version"].startswith("sam2-default-")

    said = _sam2("doctor", "--project", project, "--backend-url", backend.url, "--json", studio=studio, token=token)
    assert said.returncode == 0, said.stdout + said.stderr


def test_the_doctor_says_what_is_wrong(studio: LabelStudio, backend: Running, token: str, new_project: Project) -> None:
    project, _ = new_project("image", lambda made: {"image": "/data/upload/1/nowhere.png"}, connect=False)
    said = _sam2("doctor", "--project", project, "--backend-url", backend.url, studio=studio, token=token)
    assert said.returncode == 1
    assert "connect" in said.stdout.lower() and "nowhere.png" in said.stdout


def test_boxes_of_a_whole_project_become_masks_which_are_exported_as_coco(
    studio: LabelStudio, token: str, new_project: Project, scene: scenes.Scene, tmp_path: Path
) -> None:
    paths = scenes.write_pictures(scene, tmp_path)
    chosen = scene.objects()[2:5]
    project, tasks = new_project("image", *[lambda made: {"image": studio.upload(made, *paths)[0]}] * 2)
    for task in tasks:
        regions = [region for obj in chosen for region in _box_regions(scene.box(obj), scene.labels.shape[1:])]
        studio.post(f"/api/tasks/{task}/annotations/", json={"result": regions})

    said = _sam2("predict", "--project", project, studio=studio, token=token)
    assert said.returncode == 0, said.stdout + said.stderr
    picture = scene.pictures[0]
    expected = [reference.mask_of(picture, Prompts(box=Box(*scene.box(obj)))) for obj in chosen]
    for task in tasks:
        (prediction,) = studio.task(task)["predictions"]
        found = list(reference.brush_masks(prediction["result"]).values())
        overlaps = [max(reference.iou(mask, one) for mask in found) for one in expected]
        assert len(found) == len(chosen) and min(overlaps) > 0.98
    # A second run finds nothing left to do.
    again = _sam2("predict", "--project", project, studio=studio, token=token)
    assert again.returncode == 0 and len(studio.task(tasks[0])["predictions"]) == 1

    out = tmp_path / "coco"
    exported = _sam2(
        *("export", "--project", project, "--format", "coco", "--source", "predictions", "--out", out),
        studio=studio,
        token=token,
    )
    assert exported.returncode == 0, exported.stdout + exported.stderr
    (written,) = out.rglob("*.json")
    coco = json.loads(written.read_text())
    assert len(coco["images"]) == 2 and len(coco["annotations"]) == 2 * len(chosen)
    sizes = sorted(int(one["area"]) for one in coco["annotations"])
    assert sizes == sorted(2 * [int(mask.sum()) for mask in expected])
    assert all(decode_rle(one["segmentation"]).sum() == one["area"] for one in coco["annotations"])


def test_retrieving_predictions_in_the_list_of_tasks_stores_them_once(
    studio: LabelStudio, new_project: Project, scene: scenes.Scene, tmp_path: Path
) -> None:
    paths = scenes.write_pictures(scene, tmp_path)
    chosen = scene.objects()[3], scene.objects()[1]
    # Two, because a request for one task looks just like the one that is sent when a task is opened.
    project, tasks = new_project("image", *[lambda made: {"image": studio.upload(made, *paths)[0]}] * 2)
    for task, obj in zip(tasks, chosen, strict=True):
        regions = _box_regions(scene.box(obj), scene.labels.shape[1:])
        studio.post(f"/api/tasks/{task}/annotations/", json={"result": regions})
    for _ in range(2):
        studio.retrieve_predictions(project, tasks)
    for task, obj in zip(tasks, chosen, strict=True):
        (prediction,) = studio.task(task)["predictions"]
        (found,) = reference.brush_masks(prediction["result"]).values()
        assert np.isfinite(prediction["score"]) and prediction["model_version"].startswith("sam2-default-")
        assert reference.iou(found, scene.labels[0] == obj) > 0.8


def test_pictures_of_the_next_tasks_are_there_before_they_are_opened(
    studio: LabelStudio, backend: Running, new_project: Project, scene: scenes.Scene, tmp_path: Path
) -> None:
    # As many different pictures as tasks: the same one would be known already.
    many = scenes.Scene(np.stack([scene.pictures[0] ^ value for value in range(1, 6)]), scene.labels)
    paths = scenes.write_pictures(many, tmp_path)
    data = [lambda made, path=path: {"image": studio.upload(made, path)[0]} for path in paths]
    _, tasks = new_project("image", *data)
    before = _number(backend, "sam2_cache_pictures")
    asked = _number(backend, "sam2_requests_total", endpoint="predict")
    studio.task(tasks[1])
    end = time.monotonic() + 60
    while _number(backend, "sam2_cache_pictures") < before + 3 and time.monotonic() < end:
        time.sleep(0.1)
    # The opened one and two behind it; asking for them made Label Studio ask for nothing.
    assert _number(backend, "sam2_cache_pictures") == before + 3
    assert _number(backend, "sam2_requests_total", endpoint="predict") == asked + 1


def _number(backend: Running, name: str, **labels: str) -> float:
    """A number of the backend's ``/metrics``, summed over what is not said."""
    text = requests.get(f"{backend.url}/metrics", timeout=30).text
    lines = [line for line in text.splitlines() if line.startswith((f"{name} ", f"{name}{{"))]
    return sum(float(line.split()[-1]) for line in lines if all(f'="{value}"' in line for value in labels.values()))


def _box_regions(box: tuple[float, float, float, float], size: tuple[int, ...]) -> list[Json]:
    """A labelled box as the editor submits it."""
    height, width = size
    x0, y0, x1, y1 = box
    value = {"x": 100 * x0 / width, "y": 100 * y0 / height, "rotation": 0}
    value |= {"width": 100 * (x1 - x0) / width, "height": 100 * (y1 - y0) / height}
    shared = {"original_width": width, "original_height": height, "image_rotation": 0, "to_name": "image"}
    shared |= {"id": f"box{x0:.0f}x{y0:.0f}", "origin": "manual"}
    return [
        {**shared, "value": value, "from_name": "box", "type": "rectangle"},
        {**shared, "value": value | {"labels": ["nucleus"]}, "from_name": "label", "type": "labels"},
    ]


def _sam2(*words: Any, studio: LabelStudio, token: str) -> subprocess.CompletedProcess[str]:
    """``sam2 label-studio …``"""
    command = [sys.executable, "-m", "sam2_engine.cli", "label-studio", *map(str, words)]
    variables = {**os.environ, "LABEL_STUDIO_URL": studio.url, "LABEL_STUDIO_API_KEY": token}
    return subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, timeout=600, check=False)
