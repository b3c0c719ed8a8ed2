"""Parts of the dock widget by themselves: settings and keys, the worker, the strip, the table, channel layers."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_sam2 import _settings
from napari_sam2._key_table import ACTIONS, check_free, clashes
from napari_sam2._objects import ObjectRow, Place
from napari_sam2._picture_source import AlongChannels
from napari_sam2._settings import DEFAULTS, EXACT, PLUGIN, QUICK, Settings, precision_of
from napari_sam2._view import SliceMark, StripContent, next_place
from sam2_engine.errors import PromptError

MANIFEST = Path(__file__).parents[2] / "napari_sam2" / "napari.yaml"

needs_napari = pytest.mark.skipif(
    __import__("importlib.util").util.find_spec("napari") is None, reason="napari is not installed"
)


@pytest.fixture
def qt(request: pytest.FixtureRequest) -> Any:
    """Qt without a window of napari."""
    from tests.napari.conftest import HAS_NAPARI, HAS_SCREEN

    if not HAS_NAPARI or not HAS_SCREEN:
        pytest.skip("Qt with a screen is needed: run under xvfb-run")
    return request.getfixturevalue("qtbot")


# Settings and keys


def test_settings_are_kept(tmp_path: Path) -> None:
    settings = Settings(tmp_path / "new" / "settings.json")
    assert settings["prompting.live"] is True
    settings["prompting.live"] = False
    settings["keys.answer"] = "Shift+A"
    again = Settings(tmp_path / "new" / "settings.json")
    assert again["prompting.live"] is False and again["keys.answer"] == "Shift+A"
    with pytest.raises(KeyError):
        settings["no.such"] = 1


def test_damaged_settings_become_defaults(tmp_path: Path) -> None:
    (tmp_path / "settings.json").write_text('{"prompting.encode_ahead": "many"}')
    assert Settings(tmp_path / "settings.json")["prompting.encode_ahead"] == DEFAULTS["prompting.encode_ahead"]
    (tmp_path / "settings.json").write_text("{")
    assert Settings(tmp_path / "settings.json")["prompting.live"] is True


def test_no_two_actions_share_a_key() -> None:
    keys = {action.name: action.key for action in ACTIONS}
    assert clashes(keys) == {}
    assert clashes({**keys, "undo": "g"}) == {"g": ["answer", "undo"]}
    with pytest.raises(PromptError, match="segment this slice"):
        check_free("undo", "G", keys)


@needs_napari
def test_the_manifest_is_valid_and_lists_the_same_settings() -> None:
    from npe2 import PluginManifest

    manifest = PluginManifest.from_file(MANIFEST)
    assert manifest.name == PLUGIN
    manifest.validate_imports()
    if not hasattr(manifest.contributions, "configurations"):
        pytest.skip("this npe2 knows no settings of plug-ins")
    listed = {
        f"{section}.{name}": one.default
        for section, part in manifest.contributions.configurations.items()
        for name, one in part.properties.items()
    }
    assert listed == dict(DEFAULTS)


@needs_napari
def test_no_key_is_one_of_napari() -> None:
    from napari.utils.shortcuts import default_shortcuts

    taken = {str(key) for keys in default_shortcuts.values() for key in keys}
    assert {action.key for action in ACTIONS if action.name != "cancel"} & taken == set()


# Number formats


@pytest.mark.parametrize(
    ("chosen", "known", "precision"),
    [(EXACT, True, "fp32"), (QUICK, True, "bf16"), (QUICK, None, "bf16"), (QUICK, False, "fp32")],
)
def test_quick_numbers_are_used_where_they_are_not_known_to_be_slow(
    chosen: str, known: bool | None, precision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(tmp_path / "settings.json")
    settings["model.numbers"] = chosen
    monkeypatch.setattr(_settings, "knows_bf16", lambda device: known)
    assert precision_of(settings, "cpu") == precision


@pytest.mark.parametrize("known", [True, None, False])
def test_quick_numbers_are_grey_where_they_are_slow(
    known: bool | None, qt: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari_sam2 import _group_model

    monkeypatch.setattr(_group_model, "knows_bf16", lambda device: known)
    group = _group_model.ModelGroup([], "default", "cpu", EXACT)
    qt.addWidget(group)
    item = group.numbers_combo.model().item(group.numbers_combo.findData(QUICK))
    assert item.isEnabled() is (known is not False)
    assert ("bf16" in item.toolTip()) is (known is False)


def test_choosing_a_number_format_is_told_with_the_model(qt: Any) -> None:
    from napari_sam2._group_model import ModelGroup

    group = ModelGroup([], "default", "cpu", EXACT)
    qt.addWidget(group)
    with qt.waitSignal(group.chosen) as told:
        group.numbers_combo.setCurrentIndex(group.numbers_combo.findData(QUICK))
    assert told.args == ["default", "cpu", QUICK]


# Choosing places


def test_the_next_place_is_found_on_either_side() -> None:
    places = [Place((0,), 7), Place((1,), 2), Place((0,), 3)]
    assert next_place(places, Place((0,), 3), 1) == Place((0,), 7)
    assert next_place(places, Place((0,), 7), 1) == Place((1,), 2)
    assert next_place(places, Place((0,), 3), -1) is None


# Labels on every channel


@pytest.mark.parametrize("axis", [0, 1, 3])
def test_labels_along_channels_are_the_same_on_each(axis: int) -> None:
    labels = np.arange(24, dtype=np.uint16).reshape(2, 3, 4)
    shown = AlongChannels(labels, axis, 5)
    expected = np.stack([labels] * 5, axis)
    assert shown.shape == expected.shape
    assert np.array_equal(np.asarray(shown), expected)
    key = [slice(None)] * 4
    key[axis] = slice(1, 3)
    key[0 if axis != 0 else 1] = 1
    assert np.array_equal(shown[tuple(key)], expected[tuple(key)])
    points = tuple(np.array([index, index]) for index in (0, 1, 1, 1))
    shown[points] = 99
    rest = [one[0] for number, one in enumerate(points) if number != axis]
    assert labels[tuple(rest)] == 99


# The worker


class Listener:
    """Writes down what the worker tells."""

    def __init__(self, worker: Any) -> None:
        self.told: list[tuple[str, str]] = []
        for name in ("finished", "stopped", "failed", "started"):
            getattr(worker, name).connect(self.listener(name))

    def listener(self, name: str) -> Callable[..., None]:
        return lambda job, *_: self.told.append((name, job.title))


@pytest.fixture
def worker(qt: Any) -> Iterator[Any]:
    from napari_sam2._worker import Worker

    made = Worker()
    yield made
    assert made.close()


def counting(steps: list[str], name: str, count: int, gate: threading.Event | None = None) -> Callable[[], Any]:
    def run() -> Iterator[int]:
        try:
            for number in range(count):
                if gate is not None:
                    gate.wait(10)
                steps.append(f"{name}{number}")
                yield number
        finally:
            steps.append(f"{name} closed")

    return run


def test_an_answer_goes_between_the_steps_of_a_run(qt: Any, worker: Any) -> None:
    from napari_sam2._worker import Job, Urgency

    steps: list[str] = []
    gate = threading.Event()
    worker.submit(Job("run", counting(steps, "r", 3, gate)))
    worker.submit(Job("ahead", counting(steps, "i", 1), Urgency.IDLE))
    worker.submit(Job("answer", counting(steps, "a", 2), Urgency.ANSWER))
    time.sleep(0.1)
    gate.set()
    qt.waitUntil(lambda: steps.count("i closed") == 1, timeout=10_000)
    ran = [step for step in steps if "closed" not in step]
    assert sorted(ran) == ["a0", "a1", "i0", "r0", "r1", "r2"]
    assert ran.index("a1") < ran.index("r1") and ran[-1] == "i0"


def test_cancelling_closes_the_generator_and_keeps_the_thread(qt: Any, worker: Any) -> None:
    from napari_sam2._worker import Job

    steps: list[str] = []
    told = Listener(worker).told
    # More than it can have done before it is stopped, however late that comes.
    worker.submit(Job("long", counting(steps, "s", sys.maxsize)))
    qt.waitUntil(lambda: "s3" in steps, timeout=10_000)
    worker.cancel()
    qt.waitUntil(lambda: ("stopped", "long") in told, timeout=10_000)
    assert steps[-1] == "s closed" and not worker.is_running
    worker.submit(Job("next", counting(steps, "n", 1)))
    qt.waitUntil(lambda: ("finished", "next") in told, timeout=10_000)


def test_a_paused_run_rests_and_goes_on(qt: Any, worker: Any) -> None:
    from napari_sam2._worker import Job, Urgency

    steps: list[str] = []
    gate = threading.Event()
    worker.submit(Job("run", counting(steps, "r", 2, gate)))
    worker.pause()
    gate.set()
    worker.submit(Job("answer", counting(steps, "a", 1), Urgency.ANSWER))
    qt.waitUntil(lambda: "a closed" in steps, timeout=10_000)
    qt.wait(100)
    assert "r1" not in steps and worker.is_running
    worker.resume()
    qt.waitUntil(lambda: "r closed" in steps, timeout=10_000)


def test_of_jobs_about_one_subject_only_the_latest_counts(qt: Any, worker: Any) -> None:
    from napari_sam2._worker import Job, Urgency

    steps: list[str] = []
    gate = threading.Event()
    worker.submit(Job("busy", counting(steps, "b", 1, gate), Urgency.CHORE))
    for name in "xyz":
        worker.submit(Job(name, counting(steps, name, 1), Urgency.ANSWER, "slice"))
    gate.set()
    qt.waitUntil(lambda: "z closed" in steps, timeout=10_000)
    assert "x0" not in steps and "y0" not in steps


def test_an_error_is_told_and_the_worker_goes_on(qt: Any, worker: Any) -> None:
    from napari_sam2._worker import Job

    told = Listener(worker).told

    def fails() -> Iterator[int]:
        yield 1
        raise ValueError("no")

    worker.submit(Job("bad", fails))
    worker.submit(Job("good", counting([], "g", 1)))
    qt.waitUntil(lambda: ("finished", "good") in told, timeout=10_000)
    assert ("failed", "bad") in told


# The strip


def test_the_strip_shows_confidence_prompts_and_range() -> None:
    pytest.importorskip("qtpy")
    from napari_sam2._strip import BAR_BOTTOM, BAR_TOP, strip_pixels

    marks = {0: SliceMark(1.0, is_prompted=True), 1: SliceMark(0.2, is_doubtful=True), 2: SliceMark(0.9)}
    pixels = strip_pixels(StripContent(4, marks, now=3, start=1, stop=2), 400)
    heights = [int((pixels[BAR_TOP:BAR_BOTTOM, x] != pixels[BAR_TOP, 390]).sum()) for x in (50, 150, 250)]
    assert heights[0] == BAR_BOTTOM - BAR_TOP and heights[1] == 4 and heights[2] == 18
    assert pixels[BAR_BOTTOM - 1, 150] != pixels[BAR_BOTTOM - 1, 250], "doubtful slices have a colour of their own"
    below = pixels[BAR_BOTTOM + 3]
    assert below[150] != 0 and below[50] == 0 and below[350] == 0


def test_a_click_on_the_strip_goes_there_and_markers_can_be_dragged(qt: Any) -> None:
    from qtpy.QtCore import QPoint, Qt

    from napari_sam2._strip import BAR_BOTTOM, ConfidenceStrip

    strip = ConfidenceStrip()
    qt.addWidget(strip)
    strip.resize(416, 34)
    strip.show_content(StripContent(10, {}, 0, 0, 9))
    strip.show()
    frames, ranges = [], []
    strip.frame_chosen.connect(frames.append)
    strip.range_chosen.connect(lambda start, stop: ranges.append((start, stop)))
    left = Qt.MouseButton.LeftButton
    qt.mouseClick(strip, left, pos=QPoint(round(strip.position_of(6)), 10))
    assert frames == [6]
    edge = QPoint(round(strip.position_of(9.5)) - 1, BAR_BOTTOM + 4)
    qt.mousePress(strip, left, pos=edge)
    qt.mouseMove(strip, QPoint(round(strip.position_of(7)), BAR_BOTTOM + 4))
    qt.mouseRelease(strip, left, pos=QPoint(round(strip.position_of(7)), BAR_BOTTOM + 4))
    assert ranges[-1] == (0, 7)
    assert "slice 6" in strip.words_at(strip.position_of(6))


# The table


def row(obj: int, **facts: Any) -> ObjectRow:
    return ObjectRow(obj, f"object {obj}", "#ff0000", facts.pop("state", "empty"), facts.pop("locked", False), **facts)


def test_the_table_picks_renames_and_keeps_its_selection(qt: Any) -> None:
    from napari_sam2._objects_table import NAME, SCORE, ObjectsTable

    table = ObjectsTable()
    qt.addWidget(table)
    table.show_rows([row(1), row(2), row(3, score=0.514)], 2)
    picked, renamed = [], []
    table.picked.connect(picked.append)
    table.renamed.connect(lambda obj, name: renamed.append((obj, name)))
    assert table.chosen == (2,) and picked == []
    table.selectRow(2)
    assert picked == [3]
    model = table.model()
    assert model.data(model.index(2, SCORE)) == "0.51"
    assert model.setData(model.index(0, NAME), "nucleus")
    assert renamed == [(1, "nucleus")]
    table.selectAll()
    table.show_rows([row(1), row(2), row(3), row(4)], 3)
    assert table.chosen == (1, 2, 3), "a new object does not disturb what is selected"


# The sentence


def test_a_problem_stays_until_something_else_is_done(qt: Any) -> None:
    from napari_sam2._state_line import StateLine

    line = StateLine()
    qt.addWidget(line)
    line.say("Click on the object.")
    line.complain("That was outside.")
    line.say("Click on object 2.")
    assert line.text == "That was outside.\nClick on object 2."
    line.settle()
    assert line.text == "Click on object 2."
