"""Project files, autosave, recovery after a crash, locks between windows."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from napari_sam2._autosave import LOCK, recoverable
from napari_sam2._controller import Controller
from napari_sam2._objects import ControllerSettings
from napari_sam2._picture import Picture
from napari_sam2._project import DOCUMENT, FORMAT, read_project
from napari_sam2._replay import replay_steps
from sam2_engine.errors import ExportError, SessionFileError, ShapeError
from tests.napari.work_cases import areas, ask, at, click, disc, run, stack

SIZE = (40, 48)


@pytest.fixture
def home(tmp_path, monkeypatch):
    """Locks of files go to a folder of the test."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path


@pytest.fixture
def worked(clip, tracker, home):
    """Something of everything."""
    controller = Controller(stack(clip), tracker, settings=ControllerSettings(patience=3))
    controller.new_object("nucleus")
    ask(controller, 1, at(2), click(12, 12))
    controller.add_mask(controller.new_object(), at(3), disc(SIZE, 28, 31))
    run(controller.propagate_steps())
    controller.finish([2])
    controller.new_object()
    controller.work_labels[0, 3:9, 3:9] = 3
    yield controller
    controller.close()


def test_a_project_opens_with_all_that_was_there(worked, tracker, home):
    path = home / "work.sam2"
    assert worked.is_dirty
    worked.save(path)
    worked.select(1)
    assert not worked.is_dirty
    worked.select(3)
    worked.close()
    opened = Controller.open(path, worked.picture, tracker)
    assert opened.state.same_as(worked.state) and opened.settings == worked.settings
    assert opened.objects == worked.objects and opened.position == worked.position
    assert opened.prompts(at(2))[1][0].clicks == worked.prompts(at(2))[1][0].clicks
    assert not opened.can_undo and not opened.is_dirty
    opened.close()


def test_a_finished_object_is_taken_up_again_after_opening(worked, tracker, home):
    worked.save(home / "work.sam2")
    worked.close()
    opened = Controller.open(home / "work.sam2", worked.picture, tracker)
    opened.reopen([2])
    opened.add_mask(2, at(6), disc(SIZE, 28, 29))
    run(opened.propagate_steps([2]))
    opened.close()
    worked.reopen([2])
    worked.add_mask(2, at(6), disc(SIZE, 28, 29))
    run(worked.propagate_steps([2]))
    assert opened.state.same_as(worked.state)


def test_replaying_gives_the_same_labels(worked, tracker, home):
    worked.save(home / "work.sam2")
    project = read_project(home / "work.sam2")
    replayed = run(replay_steps(project, worked.picture, tracker))
    assert np.array_equal(np.asarray(replayed.all_labels), np.asarray(worked.all_labels))
    by_name = run(replay_steps(project, worked.picture, lambda name: {"default": tracker}[name]))
    assert by_name.state.same_as(replayed.state)


def test_replaying_goes_through_other_models_and_contrast(clip, tracker, home):
    controller = Controller(stack(clip), tracker, model_name="first")
    controller.add_mask(controller.new_object(), at(3), disc(SIZE, 13, 12))
    run(controller.propagate_steps(stop=4))
    controller.use_tracker(tracker, "second")
    controller.use_picture(replace(controller.picture, contrast="limits", limits=((0.0, 90.0),)))
    controller.add_mask(controller.new_object(), at(3), disc(SIZE, 28, 31))
    controller.undo()
    controller.undo()
    run(controller.propagate_steps(again=True))
    controller.save(home / "work.sam2")
    controller.close()
    asked = []
    replayed = run(
        replay_steps(read_project(home / "work.sam2"), stack(clip), lambda name: asked.append(name) or tracker)
    )
    assert list(dict.fromkeys(asked)) == ["first", "second"]
    assert np.array_equal(np.asarray(replayed.all_labels), np.asarray(controller.all_labels))


def test_replaying_computes_in_the_numbers_of_then(clip, tracker, home):
    quick = tracker.computing_in("bf16")
    controller = Controller(stack(clip), quick, precision="bf16")
    controller.add_mask(controller.new_object(), at(3), disc(SIZE, 13, 12))
    run(controller.propagate_steps())
    controller.save(home / "work.sam2")
    controller.close()
    project = read_project(home / "work.sam2")
    replayed = run(replay_steps(project, stack(clip), lambda name: tracker))
    assert replayed.desk.walkers.tracker().placement == quick.placement
    assert replayed.state.same_as(controller.state)


def test_saving_over_a_project_is_whole_or_not_at_all(worked, home):
    path = home / "work.sam2"
    worked.save(path)
    before = path.read_bytes()
    with pytest.raises(ExportError):
        worked.save(home / "no folder" / "work.sam2")
    with pytest.raises(SessionFileError, match="another window"):
        Controller(worked.picture, worked.desk.tracker()).save(path)
    assert path.read_bytes() == before and [one.name for one in home.glob("*.sam2")] == ["work.sam2"]


def test_another_window_cannot_open_what_is_open(worked, tracker, home):
    path = home / "work.sam2"
    worked.save(path)
    with pytest.raises(SessionFileError, match="another window"):
        Controller.open(path, worked.picture, tracker)
    other = Controller(worked.picture, tracker)
    with pytest.raises(SessionFileError, match="another window"):
        other.save(path)
    worked.save(path)
    worked.save(home / "elsewhere.sam2")
    other.save(path)
    other.close()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda picture: Picture(picture.data[:5], frame_axis=0), "of shape"),
        (lambda picture: Picture(picture.data, frame_axis=1), "axis"),
        (lambda picture: Picture(picture.data + 1, frame_axis=0), "content"),
    ],
)
def test_a_project_belongs_to_its_picture(worked, tracker, home, change, message):
    worked.save(home / "work.sam2")
    worked.close()
    with pytest.raises(SessionFileError, match=message):
        Controller.open(home / "work.sam2", change(worked.picture), tracker)
    Controller.open(home / "work.sam2", worked.picture, tracker).close()


def test_other_channels_of_the_same_picture_are_the_same_picture(clip):
    channels = np.stack([clip, clip // 2], axis=1)
    one, other = (Picture(channels, channel_axis=1, frame_axis=0, channels=chosen) for chosen in ((0,), (0, 1)))
    assert one.fingerprint == other.fingerprint


def broken(path: Path, kind: str) -> None:
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    document = json.loads(members[DOCUMENT])
    if kind == "newer":
        document["format"] = FORMAT + 1
    elif kind == "mask missing":
        del members["masks/1.bin"]
    elif kind == "mask cut":
        members["masks/1.bin"] = members["masks/1.bin"][:-3]
    elif kind == "no objects":
        del document["objects"]
    elif kind == "unknown value":
        document["journal"].append({"something": 1})
    members[DOCUMENT] = json.dumps(document).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    if kind == "cut":
        path.write_bytes(path.read_bytes()[:200])


@pytest.mark.parametrize("kind", ["newer", "mask missing", "mask cut", "no objects", "unknown value", "cut"])
def test_what_is_damaged_is_refused_in_words(worked, tracker, home, kind):
    path = home / "work.sam2"
    worked.save(path)
    worked.close()
    broken(path, kind)
    with pytest.raises(SessionFileError, match="newer version" if kind == "newer" else "damaged"):
        Controller.open(path, worked.picture, tracker)


def test_a_missing_project_is_said(worked, tracker, home):
    with pytest.raises(SessionFileError, match="no project"):
        Controller.open(home / "nothing.sam2", worked.picture, tracker)


def test_an_autosaved_folder_cannot_point_outside_of_itself(worked, tracker, home):
    worked.autosave(home / "copies")
    worked.close(discard_autosave=False)
    (copy,) = (home / "copies").iterdir()
    document = json.loads((copy / DOCUMENT).read_text())
    document["masks"]["1"] = "../../secret.bin"
    (copy / DOCUMENT).write_text(json.dumps(document))
    with pytest.raises(SessionFileError, match="outside"):
        read_project(copy)
    assert recoverable(home / "copies") == ()


# Autosave


def test_autosave_writes_only_what_changed(worked, home):
    assert worked.autosave(home / "copies")
    assert not worked.autosave(home / "copies")
    (copy,) = (home / "copies").iterdir()
    masks = {path.name for path in (copy / "masks").iterdir()}
    worked.rename(1, "other")
    worked.new_object()
    worked.work_labels[1, 3:9, 3:9] = 4
    worked.delete([3])
    assert worked.autosave(home / "copies")
    kept = masks & {path.name for path in (copy / "masks").iterdir()}
    assert len(masks) == 3 and "2-2.bin" in kept and "3-3.bin" not in kept
    assert not worked.autosave(home / "copies")
    assert read_project(copy).state.same_as(worked.state)


def test_a_copy_is_offered_only_when_its_process_is_gone(worked, tracker, home):
    worked.autosave(home / "copies")
    assert recoverable(home / "copies") == ()
    worked.close(discard_autosave=False)
    (found,) = recoverable(home / "copies")
    assert (found.num_objects, found.shape) == (3, worked.picture.shape)
    recovered = Controller.open(found.path, worked.picture, tracker)
    assert recovered.state.same_as(worked.state) and recovered.is_dirty
    assert recoverable(home / "copies") == ()
    recovered.new_object()
    recovered.autosave(home / "copies")
    assert not found.path.exists()
    recovered.close()
    assert recoverable(home / "copies") == () and not list((home / "copies").iterdir())


def test_what_one_thread_holds_another_lets_go(worked, tracker, home):
    path = home / "work.sam2"
    with ThreadPoolExecutor(1) as worker:
        worker.submit(worked.autosave, home / "copies").result()
        worker.submit(worked.save, path).result()
        worked.close(discard_autosave=False)
    assert len(recoverable(home / "copies")) == 1
    again = Controller.open(path, worked.picture, tracker)
    assert len(again.objects) == len(worked.objects)
    again.close()


def test_a_clean_end_leaves_no_copy(worked, home):
    worked.autosave(home / "copies")
    worked.close()
    assert not list((home / "copies").iterdir())


def test_a_copy_can_be_discarded(worked, home):
    worked.autosave(home / "copies")
    worked.close(discard_autosave=False)
    recoverable(home / "copies")[0].discard()
    assert recoverable(home / "copies") == ()


def test_autosave_is_whole_in_the_middle_of_a_run(clip, tracker, home):
    controller = Controller(stack(clip), tracker)
    controller.add_mask(controller.new_object(), at(3), disc(SIZE, 13, 12))
    steps = controller.propagate_steps()
    for _ in range(4):
        next(steps)
    controller.autosave(home / "copies")
    (copy,) = (home / "copies").iterdir()
    assert read_project(copy).state.same_as(controller.state)
    replayed = run(replay_steps(read_project(copy), stack(clip), tracker))
    assert np.array_equal(np.asarray(replayed.all_labels), np.asarray(controller.all_labels))
    steps.close()
    controller.close()


WORK = """
    import sys, time
    import numpy as np
    from pathlib import Path
    from napari_sam2._controller import Controller
    from napari_sam2._picture import Picture
    from napari_sam2._objects import Place
    from sam2_engine import load_tracker

    rows, columns = np.indices((64, 64))
    moved = [columns - 20 - abs(t % 40 - 20) for t in range(2000)]
    stack = np.stack([((rows - 32) ** 2 + away**2 < 80) * 200 for away in moved]).astype(np.uint8)
    controller = Controller(Picture(stack, frame_axis=0), load_tracker())
    controller.add_mask(controller.new_object("survivor"), Place((), 0), stack[0] > 0)
    saved = time.monotonic()
    for step in controller.propagate_steps(patience=0):
        if time.monotonic() - saved > 0.5:
            controller.autosave(Path(sys.argv[1]))
            saved = time.monotonic()
        print(step.done, flush=True)
"""


def longest_step(lines: list[tuple[float, int]]) -> float:
    return max((after[0] - before[0] for before, after in pairwise(lines[1:])), default=0.0)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")
def test_nothing_older_than_the_interval_is_lost_when_the_process_is_killed(home):
    copies = home / "copies"
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", textwrap.dedent(WORK), str(copies)]
    lines: list[tuple[float, int]] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        for line in process.stdout:
            lines.append((time.monotonic(), int(line)))
            longest = longest_step(lines)
            if len(lines) > 12 and lines[-1][0] - lines[1][0] > 4 + 4 * longest:
                process.send_signal(signal.SIGKILL)
                killed = time.monotonic()
                break
        process.wait()
    (found,) = recoverable(copies)
    state = read_project(found.path).state
    kept = len(state.masks.of(1)) - 1
    # The interval of half a second, the step before the copy, and the one with the copy in it that was under way.
    older = max(done for moment, done in lines if moment < killed - 0.5 - 2 * longest)
    assert kept >= older > 0
    assert state.things[1].name == "survivor" and (found.path / LOCK).exists()


# Going on with something else


def test_changing_the_model_keeps_objects(worked, tracker):
    before = worked.state.masks
    worked.use_tracker(tracker, "other")
    assert worked.state.masks is before
    run(worked.propagate_steps([1], again=True))
    assert list(areas(worked, 1)) == list(range(8))


def test_changing_channels_keeps_objects(clip, tracker):
    channels = np.stack([clip, np.zeros_like(clip)], axis=-1)
    controller = Controller(Picture(channels, frame_axis=0, channel_axis=-1, channels=(0,)), tracker)
    controller.add_mask(controller.new_object(), at(3), disc(SIZE, 13, 12))
    run(controller.propagate_steps())
    seen = controller.state.masks.get(1, at(5))
    controller.use_picture(replace(controller.picture, channels=(1,)))
    assert controller.state.masks.get(1, at(5)) is seen
    run(controller.propagate_steps(again=True))
    assert not controller.state.masks.get(1, at(5)).same_as(seen)
    with pytest.raises(ShapeError, match="another piece of work"):
        controller.use_picture(Picture(clip[:4], frame_axis=0))
