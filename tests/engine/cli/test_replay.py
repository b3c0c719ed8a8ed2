"""``sam2 replay``, with a program that replays by heart."""

from __future__ import annotations

import importlib.metadata
import json
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from sam2_engine import replaying
from sam2_engine.cli import main
from sam2_engine.errors import MissingDependencyError
from sam2_engine.export import ImageSpace
from sam2_engine.replaying import Replayed, difference, find_replay
from sam2_engine.tracking import Tracker

Run = Callable[..., int]
SPACE = ImageSpace("TYX", (60.0, 0.5, 0.5), ("second", "micrometer", "micrometer"))


@dataclass(frozen=True)
class Step:
    done: int
    total: int
    what: str = "propagating"


def labels() -> Any:
    planes = np.zeros((3, 8, 9), np.uint16)
    planes[:2, 2:4, 2:4] = 1
    planes[2, 2:4, 2:4] = 2
    return planes


class Program:
    """Gives `labels`, compared with what it was told to have saved."""

    def __init__(self, saved: Any) -> None:
        self.saved = saved
        self.asked: dict[str, Any] = {}
        self.was_closed = False

    def __call__(
        self, project: Path, load_tracker: Any, *, images: Any = (), model: Any = None, budget: Any = None
    ) -> Iterator[Step]:
        self.asked = {"project": project, "images": images, "model": model}
        self.budget = budget
        try:
            for done in range(3):
                yield Step(done, 3)
        except GeneratorExit:
            self.was_closed = True
            raise
        self.asked["tracker"] = load_tracker(model)
        return Replayed(
            labels(), self.saved, SPACE, {2: 1}, labels() * 10, None, 3, 2, "tiny", ("the weights are others",)
        )


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch) -> Program:
    one = Program(labels())
    monkeypatch.setattr(replaying, "find_replay", lambda: one)
    return one


def test_labels_are_written_and_compared(
    sam2: Run, program: Program, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sam2("replay", "work.sam2", "--image", "stack.tif") == 0
    said = capsys.readouterr()
    assert "3 actions of work.sam2 replayed" in said.out and "2 objects, model tiny" in said.out
    assert "identical to the labels in the project, on all 3 planes" in said.out
    assert "the weights are others" in said.err
    assert program.asked["images"] == (Path("stack.tif"),)
    assert isinstance(program.asked["tracker"], Tracker)
    np.testing.assert_array_equal(tifffile.imread(folder / "work_labels.ome.tif"), labels())


def test_every_result_can_be_asked_for(sam2: Run, program: Program, folder: Path) -> None:
    pytest.importorskip("zarr")
    arguments = (
        "--out",
        "l.ome.zarr",
        "--ctc",
        "01_RES",
        "--tracks",
        "t.csv",
        "--measure",
        "m.csv",
        "--coco",
        "c.json",
    )
    assert sam2("replay", "work.sam2", *arguments) == 0
    assert (folder / "l.ome.zarr" / "zarr.json").is_file()
    assert (folder / "01_RES" / "res_track.txt").read_text() == "1 0 1 0\n2 2 2 1\n"
    assert "area_um2" in (folder / "t.csv").read_text()
    assert (folder / "m.csv").read_text().splitlines()[1].endswith(",10,10,10")
    assert (folder / "c.json").is_file() and (folder / "m_objects.csv").is_file()


def test_differences_are_counted_and_fail_a_check(
    sam2: Run, program: Program, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    program.saved[1, 2, 2] = 0
    assert sam2("replay", "work.sam2", "--check") == 1
    assert "different from the labels in the project on 1 of 3 planes, 1 pixel;" in capsys.readouterr().err
    assert not list(folder.glob("work_labels*")), "a check alone writes nothing"
    assert sam2("replay", "work.sam2") == 0


def test_interrupting_writes_nothing(
    sam2: Run, program: Program, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = Step.__init__

    def interrupt(self: Step, done: int, total: int) -> None:
        usual(self, done, total)
        if done == 1:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Step, "__init__", interrupt)
    assert sam2("replay", "work.sam2") == 130
    assert program.was_closed
    assert not list(folder.glob("work_labels*"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--out", "a.png"), "should end in .tif or .tiff or .zarr"),
        (("--measure", "a.xlsx"), "should end in .csv"),
        (("--coco", "nowhere/a.json"), "there is no folder nowhere"),
    ],
)
def test_results_that_could_not_be_written_are_known_before(
    sam2: Run, program: Program, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], message: str
) -> None:
    assert sam2("replay", "work.sam2", *arguments) == 1
    assert message in capsys.readouterr().err
    assert program.asked == {}


def test_programs_are_found_by_their_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    def known(group: str) -> list[EntryPoint]:
        assert group == "sam2.replay"
        return [EntryPoint("here", "json:loads", group)]

    monkeypatch.setattr(importlib.metadata, "entry_points", known)
    assert find_replay() is json.loads
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: [])
    with pytest.raises(MissingDependencyError, match=r"sam2-tools\[napari\]"):
        find_replay()


def test_without_a_program_the_reason_is_told(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: [])
    assert main(["replay", "work.sam2", "--check"]) == 1
    assert "no program whose projects could be replayed" in capsys.readouterr().err


def test_differences_are_counted_by_plane() -> None:
    other = labels()
    other[0, 0, :3] = 5
    found = difference(labels(), other, SPACE)
    assert (found.planes, found.of_planes, found.pixels) == (1, 3, 3)
