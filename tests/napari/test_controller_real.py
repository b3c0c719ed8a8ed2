"""The controller with the model that comes with the package, on pictures of every kind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from napari_sam2._controller import Controller
from napari_sam2._objects import ControllerSettings
from napari_sam2._picture import Picture
from napari_sam2._project import read_project
from napari_sam2._replay import replay_steps
from sam2_engine.opening import load_tracker
from sam2_engine.prompts import Box, Click, Prompts
from tests.napari.work_cases import areas, ask, at, click, run

pytestmark = pytest.mark.slow

HEIGHT, WIDTH = 72, 88


@pytest.fixture(scope="module")
def model():
    return load_tracker("default", device="cpu")


def truth(times: int, planes: int) -> np.ndarray:
    """Two balls in a volume over time, ``[T, Z, Y, X]``: 1 moves to the right, 2 downwards, in the upper planes."""
    t, z, y, x = np.ogrid[:times, :planes, :HEIGHT, :WIDTH]
    labels = np.zeros((times, planes, HEIGHT, WIDTH), np.uint8)
    middle = (planes - 1) / 2
    labels[((x - 22 - 2 * t) ** 2 + (y - 24) ** 2 + (3 * (z - middle)) ** 2) < 12**2] = 1
    labels[((x - 62) ** 2 + (y - 44 - t) ** 2 + (3 * (z - middle + 1)) ** 2) < 10**2] = 2
    return labels


def pixels(labels: np.ndarray, dtype: type = np.uint16) -> np.ndarray:
    rng = np.random.default_rng(1)
    picture = 300 + 2500 * (labels == 1) + 1900 * (labels == 2) + rng.normal(0, 60, labels.shape)
    return picture.clip(0, 4095).astype(dtype)


def iou(one: np.ndarray, other: np.ndarray) -> float:
    return float((one & other).sum() / max((one | other).sum(), 1))


def mean_iou(found: np.ndarray, labels: np.ndarray, obj: int) -> float:
    planes = [
        (f == obj, t == obj)
        for f, t in zip(found.reshape(-1, HEIGHT, WIDTH), labels.reshape(-1, HEIGHT, WIDTH), strict=True)
    ]
    return float(np.mean([iou(f, t) for f, t in planes if t.any()]))


def kinds() -> dict:
    labels = truth(1, 9)[0]
    film = truth(7, 1)[:, 0]
    grey = pixels(labels)
    dark = np.zeros_like(grey)
    rgb = np.stack([(grey // 16).astype(np.uint8)] * 3, axis=-1)
    dask = pytest.importorskip("dask.array")
    zarr = pytest.importorskip("zarr")
    stored = zarr.array(grey, chunks=(1, 36, 44))
    return {
        "YX": (lambda: Picture(grey[4]), labels[4][None], 4),
        "ZYX": (lambda: Picture(grey, ("z", "y", "x"), 0, scale=(3.0, 0.5, 0.5)), labels, 4),
        "TYX": (lambda: Picture(pixels(film), ("t", "y", "x"), 0), film, 3),
        "ZCYX": (
            lambda: Picture(np.stack([dark, grey], 1), frame_axis=0, channel_axis=1, channels=(1,)), labels, 4),
        "CZYX mixed": (lambda: Picture(np.stack([grey, grey[::-1], dark]), frame_axis=0, channel_axis=0), labels, 4),
        "layers": (lambda: Picture(grey, frame_axis=0, others=(dark,), channels=(0, 1)), labels, 4),
        "ZYX RGB": (lambda: Picture(rgb, frame_axis=0, rgb=True), labels, 4),
        "dask": (lambda: Picture(dask.from_array(grey, chunks=(2, 36, 44)), frame_axis=0), labels, 4),
        "zarr": (lambda: Picture(stored, frame_axis=0), labels, 4),
        "YXZ": (lambda: Picture(np.moveaxis(grey, 0, 2), ("y", "x", "z"), 2), labels, 4),
        "float": (lambda: Picture(grey / 4095.0, frame_axis=0), labels, 4),
        "limits": (
            lambda: Picture(grey, frame_axis=0, contrast="limits", limits=((200.0, 3000.0),)), labels, 4),
        "minmax": (lambda: Picture(grey, frame_axis=0, contrast="minmax"), labels, 4),
    }  # fmt: skip


@pytest.mark.parametrize(
    "kind",
    ["YX", "ZYX", "TYX", "ZCYX", "CZYX mixed", "layers", "ZYX RGB", "dask", "zarr", "YXZ", "float", "limits", "minmax"],
)
def test_two_clicks_segment_any_kind_of_picture(model, kind):
    make, labels, frame = kinds()[kind]
    picture = make()
    controller = Controller(picture, model)
    frame = 0 if picture.frame_axis is None else frame
    row, column = (round(float(axis.mean())) for axis in np.nonzero(labels[frame] == 1))
    ask(controller, controller.new_object(), at(frame), click(column, row))
    assert iou(controller.mask(1, at(frame)), labels[frame] == 1) > 0.8
    if picture.frame_axis is not None:
        run(controller.propagate_steps())
    dense = np.asarray(controller.work_labels)
    dense = dense if picture.frame_axis is None else np.moveaxis(dense, picture.frame_axis, 0)
    assert dense.shape[-2:] == (HEIGHT, WIDTH)
    assert mean_iou(dense, labels, 1) > 0.6
    preview = picture.model_input(at(frame), 64)
    assert preview.shape == (64, 64, 3) and preview.max() > 150 and preview.min() < 80


def test_a_volume_over_time_from_one_click_each(model, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    labels = truth(3, 9)
    picture = Picture(pixels(labels), ("t", "z", "y", "x"), 1, scale=(1.0, 3.0, 0.5, 0.5))
    controller = Controller(picture, model, settings=ControllerSettings(patience=2))
    ask(controller, controller.new_object(), at(4, 0), click(22, 24))
    ask(controller, controller.new_object(), at(4, 0), Prompts(box=Box(52, 34, 73, 55)))
    run(controller.carry_steps(None, [(0,), (1,), (2,)]))
    found = np.asarray(controller.work_labels)
    for obj in (1, 2):
        for time in range(3):
            assert mean_iou(found[time], labels[time], obj) > 0.6, (obj, time)
    assert controller.objects[0].prompted == (at(4, 0),)
    lineage = controller.lineage()
    assert lineage.tracks.shape == (6, 5)
    assert np.allclose(lineage.tracks[:3, 4], [22, 24, 26], atol=2)

    # A correction at another time changes that time, and what is carried on from there.
    first = controller.state.masks.along(1, (0,))
    ask(controller, 1, at(5, 1), Prompts((Click(24, 24), Click(60, 60, False))))
    run(controller.carry_steps([1], [(1,), (2,)]))
    assert controller.state.masks.along(1, (0,)) == first
    assert mean_iou(np.asarray(controller.work_labels)[2], labels[2], 1) > 0.6

    controller.save(tmp_path / "volume.sam2")
    controller.close()
    replayed = run(replay_steps(read_project(tmp_path / "volume.sam2"), picture, model))
    assert np.array_equal(np.asarray(replayed.all_labels), np.asarray(controller.all_labels))


def test_a_correction_helps(model):
    labels = truth(1, 9)[0]
    controller = Controller(Picture(pixels(labels), frame_axis=0), model)
    ask(controller, controller.new_object(), at(2), click(62, 44))
    run(controller.propagate_steps([1]))
    wrong = iou(controller.mask(1, at(5)), labels[5] == 1)
    ask(controller, 1, at(5), Prompts((Click(22, 24), Click(62, 44, False))))
    assert iou(controller.mask(1, at(5)), labels[5] == 1) > max(0.6, wrong)


def test_an_object_that_leaves_the_stack_is_not_found_beyond(model):
    labels = truth(1, 15)[0]
    controller = Controller(Picture(pixels(labels), frame_axis=0), model)
    ask(controller, controller.new_object(), at(7), click(22, 24))
    run(controller.propagate_steps())
    beyond = [frame for frame in range(15) if not (labels[frame] == 1).any()]
    assert beyond and sum(areas(controller, 1)[frame] > 30 for frame in beyond) <= 2


BIG = """
    import json, resource, sys
    import dask.array as da
    import numpy as np
    from napari_sam2._controller import Controller
    from napari_sam2._picture import Picture
    from napari_sam2._objects import Place
    from sam2_engine import load_tracker
    from sam2_engine.prompts import Click, Prompts

    def plane(block_info=None):
        frame = block_info[None]["array-location"][0][0]
        rows, columns = np.ogrid[:2048, :2048]
        picture = np.random.default_rng(frame).integers(0, 400, (2048, 2048)).astype(np.uint16)
        for number in range(3):
            here = (rows - 300 - 250 * number) ** 2 + (columns - 400 - 2 * frame - 200 * number) ** 2 < 60**2
            picture[here] += 3000
        return picture[None]

    def used():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

    stack = da.map_blocks(plane, dtype=np.uint16, chunks=((1,) * 2000, (2048,), (2048,)))
    tracker, before = load_tracker(), used()
    controller = Controller(Picture(stack, ("z", "y", "x"), 0), tracker)
    place = Place((), 100)
    for number in range(3):
        obj = controller.new_object()
        said = Prompts((Click(600 + 200 * number, 300 + 250 * number),))
        controller.set_prompts(place, {**controller.prompts(place), obj: said})
    for _ in controller.answer_steps(place):
        pass
    for step in controller.propagate_steps(start=100, stop=int(sys.argv[1])):
        if step.place is not None:
            controller.work_labels[step.place.frame]
    areas = [mask.patch.area for mask in controller.state.masks.along(1, ()).values()]
    print(json.dumps({"added": used() - before, "areas": areas}))
"""


def test_a_stack_larger_than_memory_adds_little(model):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", textwrap.dedent(BIG), "106"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True, timeout=280)
    told = json.loads(done.stdout)
    assert told["added"] < 600, "MiB beyond the model"
    assert len(told["areas"]) == 7 and all(9000 < area < 13000 for area in told["areas"])
