"""``sam2 replay`` on projects of all kinds of work."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from napari_sam2._controller import Controller
from napari_sam2._objects import ControllerSettings, Place
from napari_sam2._picture import Picture
from napari_sam2._replay_command import fitted, replay
from sam2_engine import replaying
from sam2_engine.checkpoint import save_model
from sam2_engine.cli import main
from sam2_engine.errors import SessionFileError
from sam2_engine.model import Sam2
from sam2_engine.prompts import Box, Click, Prompts
from sam2_engine.tracking import Tracker

Run = Callable[..., int]


@pytest.fixture
def weights(tiny_model: Sam2, tmp_path: Path) -> Path:
    save_model(tiny_model, tmp_path / "tiny.safetensors")
    return tmp_path / "tiny.safetensors"


@pytest.fixture
def sam2(monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs ``sam2 replay`` as if the package were installed."""
    monkeypatch.setattr(replaying, "find_replay", lambda: replay)
    return lambda *arguments: main(["replay", *map(str, arguments), "--device", "cpu"])


def go(steps: Iterator[Any], most: int | None = None) -> None:
    """Go through a generator, or begin it and close it."""
    for _ in itertools.islice(steps, most):
        pass
    steps.close()  # type: ignore[attr-defined]


def click(x: float, y: float, positive: bool = True) -> Prompts:
    return Prompts((Click(x, y, positive),))


def written(path: Path, array: NDArray[Any], axes: str) -> Path:
    tifffile.imwrite(path, array, photometric="minisblack", metadata={"axes": axes})
    return path


def worked_on(picture: Picture, tracker: Tracker, weights: Path) -> Controller:
    """Prompts, corrections, a stopped run, brush strokes, undone and redone steps, merging, locking, deleting."""
    controller = Controller(picture, tracker, model_name=str(weights))
    here = picture.positions[0]
    places = [Place(here, frame) for frame in range(picture.num_frames)]
    one = controller.new_object("first")
    controller.set_prompts(places[0], {one: click(12, 10)})
    go(controller.answer_steps(places[0]))
    controller.set_prompts(places[0], {one: Prompts((Click(12, 10), Click(30, 30, False)))})
    go(controller.answer_steps(places[0]))
    go(controller.propagate_steps(), most=3)
    two = controller.new_object()
    controller.set_prompts(places[-1], {two: Prompts(box=Box(22, 20, 36, 36))})
    go(controller.answer_steps(places[-1]))
    go(controller.propagate_steps(direction="backward"))
    controller.paint(places[1], one, np.array([3, 3, 4]), np.array([5, 6, 5]))
    controller.end_stroke()
    controller.undo()
    controller.redo()
    controller.paint(places[2], 0, np.arange(4, 20), np.full(16, 12))
    controller.end_stroke()
    go(controller.propagate_steps())
    three = controller.new_object()
    mask = np.zeros(picture.size, bool)
    mask[2:9, 30:40] = True
    controller.add_mask(three, places[1], mask)
    controller.use_settings(ControllerSettings(exclusive=True, patience=1))
    go(controller.propagate_steps([three], "both"))
    four = controller.new_object()
    controller.set_prompts(places[0], {four: click(40, 5)})
    go(controller.answer_steps(places[0]))
    controller.merge([two, three])
    controller.finish([two])
    controller.delete([four])
    controller.undo()
    go(controller.propagate_steps([four], "forward", 0, 2))
    controller.relabel(four, 9)
    return controller


def moving(clip: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A time-lapse of stacks [3, 8, 40, 48]."""
    return np.stack([np.roll(clip, shift, axis=2) for shift in (0, 1, 2)])


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_replaying_a_stack_gives_identical_labels(
    tmp_path: Path,
    clip: NDArray[np.uint8],
    tracker: Tracker,
    weights: Path,
    sam2: Run,
    axis: int,
    capsys: pytest.CaptureFixture[str],
) -> None:
    data = np.moveaxis(clip.astype(np.uint16) * 100, 0, axis)
    image = written(tmp_path / "stack.tif", data, "ZYX")
    picture = Picture(data, frame_axis=axis, path=str(image), scale=(2.0, 1.0, 1.0))
    controller = worked_on(picture, tracker, weights)
    labels = np.asarray(controller.all_labels)
    controller.save(tmp_path / "work.sam2")
    controller.close()
    assert sam2(tmp_path / "work.sam2", "--check", "--out", tmp_path / "labels.tif") == 0
    said = capsys.readouterr()
    assert "identical to the labels in the project" in said.out and "3 objects" in said.out
    assert said.err == ""
    assert len(np.unique(labels)) > 2
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "labels.tif"), labels)


def test_time_lapses_of_stacks_are_carried_again_and_divisions_kept(
    tmp_path: Path, clip: NDArray[np.uint8], tracker: Tracker, weights: Path, sam2: Run
) -> None:
    data = moving(clip)
    image = written(tmp_path / "film.tif", data, "TZYX")
    picture = Picture(data, ("t", "z", "y", "x"), frame_axis=1, path=str(image))
    controller = worked_on(picture, tracker, weights)
    mother = controller.new_object()
    controller.set_prompts(Place((0,), 3), {mother: click(12, 13)})
    go(controller.carry_steps([mother], [(0,), (1,), (2,)]))
    daughters = controller.divide(mother, Place((2,), 3))
    controller.save(tmp_path / "work.sam2")
    controller.close()
    assert sam2(tmp_path / "work.sam2", "--check", "--tracks", tmp_path / "t.csv") == 0
    rows = [line.split(",")[:2] for line in (tmp_path / "t.csv").read_text().splitlines()[1:]]
    assert {child for child, parent in rows if parent == str(mother)} <= {str(one) for one in daughters}


def test_channels_and_contrast_are_those_of_the_project(
    tmp_path: Path, clip: NDArray[np.uint8], tracker: Tracker, weights: Path, sam2: Run
) -> None:
    data = np.stack((clip, clip[:, ::-1], clip // 2), axis=1)
    image = written(tmp_path / "colours.tif", data, "ZCYX")
    picture = Picture(data, ("z", "y", "x"), 0, 1, channels=(2, 0), contrast="percentile", path=str(image))
    controller = worked_on(picture, tracker, weights)
    controller.use_picture(Picture(data, ("z", "y", "x"), 0, 1, channels=(1,), contrast="minmax", path=str(image)))
    five = controller.new_object()
    controller.set_prompts(Place((), 4), {five: click(30, 12)})
    go(controller.propagate_steps([five]))
    controller.save(tmp_path / "work.sam2")
    controller.close()
    assert sam2(tmp_path / "work.sam2", "--check") == 0


def small_project(folder: Path, clip: NDArray[np.uint8], tracker: Tracker, name: str, path: Path | None) -> Path:
    controller = Controller(
        Picture(clip, frame_axis=0, path=None if path is None else str(path)), tracker, model_name=name
    )
    one = controller.new_object()
    controller.set_prompts(Place((), 0), {one: click(12, 10)})
    go(controller.propagate_steps())
    controller.save(folder / "small.sam2")
    controller.close()
    return folder / "small.sam2"


def test_a_picture_that_moved_is_found_beside_the_project_or_named(
    tmp_path: Path, clip: NDArray[np.uint8], tracker: Tracker, weights: Path, sam2: Run, capsys: Any
) -> None:
    project = small_project(tmp_path, clip, tracker, str(weights), tmp_path / "gone" / "stack.tif")
    assert sam2(project, "--check") == 1
    assert "is no longer at" in capsys.readouterr().err
    elsewhere = written(tmp_path / "other.tif", clip, "ZYX")
    assert sam2(project, "--check", "--image", elsewhere) == 0
    elsewhere.rename(tmp_path / "stack.tif")
    assert sam2(project, "--check") == 0


def test_another_picture_is_refused(
    tmp_path: Path, clip: NDArray[np.uint8], tracker: Tracker, weights: Path, sam2: Run, capsys: Any
) -> None:
    project = small_project(tmp_path, clip, tracker, str(weights), None)
    assert sam2(project, "--check") == 1
    assert "does not know the file of its picture" in capsys.readouterr().err
    assert sam2(project, "--check", "--image", written(tmp_path / "short.tif", clip[1:], "ZYX")) == 1
    assert "belongs to a picture of 8×40×48" in capsys.readouterr().err
    assert sam2(project, "--check", "--image", written(tmp_path / "dark.tif", clip // 2, "ZYX")) == 1
    assert "with content" in capsys.readouterr().err


def test_without_psygnal_the_extra_is_named(
    tmp_path: Path, sam2: Run, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("napari_sam2._replay", "napari_sam2._controller", "napari_sam2._desk", "napari_sam2._news"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, "psygnal", None)
    assert sam2(tmp_path / "work.sam2", "--check") == 1
    assert "pip install 'sam2-tools[replay]'" in capsys.readouterr().err


def test_replaying_needs_neither_napari_nor_qt(
    tmp_path: Path, clip: NDArray[np.uint8], tracker: Tracker, weights: Path
) -> None:
    project = small_project(tmp_path, clip, tracker, str(weights), written(tmp_path / "stack.tif", clip, "ZYX"))
    code = (
        "import sys; from sam2_engine import replaying; from sam2_engine.cli import main;"
        "from napari_sam2._replay_command import replay; replaying.find_replay = lambda: replay;"
        f"code = main(['replay', {str(project)!r}, '--check', '--device', 'cpu']);"
        "seen = {'napari', 'qtpy', 'PyQt6', 'magicgui'} & set(sys.modules); assert not seen, seen; sys.exit(code)"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(replaying.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_other_weights_are_told_and_differences_counted(
    tmp_path: Path, clip: NDArray[np.uint8], tracker: Tracker, tiny_model: Sam2, weights: Path, sam2: Run, capsys: Any
) -> None:
    import copy

    import torch

    image = written(tmp_path / "stack.tif", clip, "ZYX")
    project = small_project(tmp_path, clip, tracker, str(weights), image)
    other = copy.deepcopy(tiny_model)
    with torch.no_grad():
        other.sam_mask_decoder.output_hypernetworks_mlps[0].layers[-1].bias += 0.5
        for mixer in other.sam_mask_decoder.output_hypernetworks_mlps:
            mixer.layers[-1].weight *= -1
    save_model(other, tmp_path / "other.safetensors")
    assert sam2(project, "--check", "--model", tmp_path / "other.safetensors") == 1
    said = capsys.readouterr().err
    assert "are not those that the project was made with" in said
    assert "different from the labels in the project" in said


@pytest.mark.parametrize(
    ("shape", "wanted", "found"),
    [
        ((8, 4, 5), (8, 4, 5), (8, 4, 5)),
        ((1, 8, 1, 4, 5), (8, 4, 5), (8, 4, 5)),
        ((8, 3, 4, 5), (8, None, 4, 5), (8, 3, 4, 5)),
        ((1, 1, 4), (1, 4), (1, 4)),
    ],
)
def test_axes_of_length_one_may_be_missing(shape: Any, wanted: Any, found: Any) -> None:
    array = np.random.default_rng(0).random(shape)
    cut = fitted(array, wanted, Path("a.tif"), Path("p"))
    assert cut.shape == found and cut.ndim == len(found)
    whole = (slice(None),) * len(found)
    np.testing.assert_array_equal(cut[whole], array.reshape(found))
    np.testing.assert_array_equal(cut[(0, *whole[1:])], array.reshape(found)[0])


@pytest.mark.parametrize(("shape", "wanted"), [((8, 4, 5), (8, 4)), ((8, 4), (8, 4, 5)), ((7, 4, 5), (8, 4, 5))])
def test_other_shapes_are_refused(shape: Any, wanted: Any) -> None:
    with pytest.raises(SessionFileError, match="belongs to a picture of"):
        fitted(np.zeros(shape), wanted, Path("a.tif"), Path("p"))
