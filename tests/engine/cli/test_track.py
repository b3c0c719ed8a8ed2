from __future__ import annotations

import errno
import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from sam2_engine.frames import TiffFrames
from sam2_engine.model import Sam2
from sam2_engine.prompt_files import PromptedObject, write_prompts
from sam2_engine.prompts import Box, Click, Prompts
from sam2_engine.session import Session
from sam2_engine.tracking import Tracker

Run = Callable[..., int]


def tracked(
    model: Sam2, frames: NDArray[np.uint8], prompts: dict[int, dict[int, Prompts]], ways: list[str]
) -> NDArray[np.uint8]:
    """Labels of a session that is used directly."""
    session = Session(frames, Tracker(model))
    for obj, said in prompts.items():
        for frame, one in said.items():
            session.prompt(obj, frame, one)
    reached: set[int] = set()
    for way in ways:
        reached |= {masks.frame for masks in session.propagate(way)}  # type: ignore[arg-type]
    labels = np.zeros(frames.shape, np.uint8)
    for frame in reached:
        for obj, mask in session.masks(frame).masks.items():
            labels[frame][mask] = obj
    return labels


@pytest.mark.parametrize(
    ("options", "ways", "reached"),
    [
        ([], ["forward"], range(3, 8)),
        (["--backward"], ["backward"], range(4)),
        (["--both"], ["forward", "backward"], range(8)),
    ],
)
def test_track_gives_what_the_session_gives(
    sam2: Run, tiny_model: Sam2, clip: NDArray[np.uint8], options: list[str], ways: list[str], reached: range
) -> None:
    assert (
        sam2("track", "stack.tif", "--axis", "z", "--frame", "3", "--point", "12,13", *options, "--out", "l.tif") == 0
    )
    labels = tifffile.imread("l.tif")
    assert labels.shape == clip.shape
    assert np.array_equal(labels, tracked(tiny_model, clip, {1: {3: Prompts((Click(12, 13),))}}, ways))
    assert {int(frame) for frame in np.flatnonzero(labels.any(axis=(1, 2)))} <= set(reached)
    assert labels[3].any()


def test_objects_prompted_on_different_frames_are_whole_in_both_directions(
    sam2: Run, tiny_model: Sam2, clip: NDArray[np.uint8]
) -> None:
    prompts = ["--object", 1, "--frame", 2, "--point", "12,12", "--object", 2, "--frame", 5, "--box", "22,21,36,36"]
    assert sam2("track", "stack.tif", *prompts, "--both", "--out", "l.tif", "--json", "l.json") == 0
    expected = tracked(
        tiny_model,
        clip,
        {1: {2: Prompts((Click(12, 12),))}, 2: {5: Prompts(box=Box(22, 21, 36, 36))}},
        ["forward", "backward"],
    )
    labels = tifffile.imread("l.tif")
    assert np.array_equal(labels, expected)
    # Object 2 on frames that only the way back reaches for it, beside what object 1 had there from the way forth.
    assert (labels[3] == 2).any()
    found = json.loads(Path("l.json").read_text())
    assert [image["frame"] for image in found["images"]] == list(range(8))
    assert {(one["object_id"], one["image_id"]) for one in found["annotations"]} >= {(2, 4), (1, 4)}


def test_a_single_frame_option_is_about_all_prompts_wherever_it_stands(sam2: Run) -> None:
    assert sam2("track", "stack.tif", "--point", "12,13", "--frame", "3", "--out", "a.tif") == 0
    assert sam2("track", "stack.tif", "--frame", "3", "--point", "12,13", "--out", "b.tif") == 0
    assert np.array_equal(tifffile.imread("a.tif"), tifffile.imread("b.tif"))
    assert not tifffile.imread("a.tif")[:3].any()


def test_track_leaves_out_what_it_is_told_to(sam2: Run, tiny_model: Sam2, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: set[tuple[int, int]] = set()
    condition = Sam2.condition

    def watched(self: Sam2, embedding: Any, memory: Any) -> Any:
        seen.update([] if memory is None else [(len(memory.spatial), memory.pool)])
        return condition(self, embedding, memory)

    monkeypatch.setattr(Sam2, "condition", watched)
    asked = ("track", "stack.tif", "--axis", "z", "--frame", "0", "--point", "12,13", "--out", "l.tif")
    assert sam2(*asked) == 0
    assert max(seen) == (7, 1)
    seen.clear()
    assert sam2(*asked, "--fewer-memories", "3", "--pool-memories") == 0
    assert max(seen) == (3, 2) and {pool for _, pool in seen} == {2}


def test_track_reads_prompts_from_json(sam2: Run) -> None:
    write_prompts("p.json", [PromptedObject("disc", "left disc", {3: Prompts((Click(12, 13),))})])
    assert sam2("track", "stack.tif", "--prompts", "p.json", "--out", "file.tif", "--json", "file.json") == 0
    assert sam2("track", "stack.tif", "--frame", "3", "--point", "12,13", "--out", "o.tif") == 0
    assert np.array_equal(tifffile.imread("file.tif"), tifffile.imread("o.tif"))
    (one,) = json.loads(Path("file.json").read_text())["objects"]
    assert (one["id"], one["name"], one["label"]) == ("disc", "left disc", 1)


def test_track_starts_from_a_mask_and_keeps_it(sam2: Run, clip: NDArray[np.uint8]) -> None:
    mask = (clip[0] > 150) & (np.arange(48) < 24)
    Image.fromarray(mask).save("mask.png")
    assert sam2("track", "stack.tif", "--mask", "mask.png", "--out", "l.tif") == 0
    found = tifffile.imread("l.tif")[0] > 0
    assert (found & mask).sum() / (found | mask).sum() > 0.6


def test_track_names_its_result_after_the_stack(sam2: Run, folder: Path) -> None:
    assert sam2("track", "stack.tif", "--point", "12,10") == 0
    assert sorted(path.name for path in folder.iterdir()) == ["cells.png", "stack.tif", "stack_labels.tif"]
    with tifffile.TiffFile("stack_labels.tif") as file:
        assert file.series[0].axes == "ZYX"


def test_track_chooses_axes_of_a_larger_stack(sam2: Run, clip: NDArray[np.uint8]) -> None:
    tifffile.imwrite("4d.ome.tif", np.stack([clip[::-1], clip]), photometric="minisblack", metadata={"axes": "TZYX"})
    assert sam2("track", "4d.ome.tif", "--axis", "z", "--at", "t=1", "--point", "12,10", "--out", "a.tif") == 0
    assert sam2("track", "stack.tif", "--point", "12,10", "--out", "b.tif") == 0
    assert np.array_equal(tifffile.imread("a.tif"), tifffile.imread("b.tif"))
    assert sam2("track", "4d.ome.tif", "--axis", "t", "--at", "z=0", "--point", "12,10") == 0
    with tifffile.TiffFile("4d_labels.tif") as file:
        assert file.series[0].axes == "TYX"
        assert file.series[0].shape == (2, 40, 48)


def test_track_draws_a_video_of_all_frames(sam2: Run) -> None:
    av = pytest.importorskip("av")
    assert sam2("track", "stack.tif", "--frame", "3", "--point", "12,13", "--overlay", "film.mp4", "--fps", "5") == 0
    with av.open("film.mp4") as film:
        frames = list(film.decode(video=0))
        assert len(frames) == 8
        assert film.streams.video[0].average_rate == 5
        assert (frames[0].height, frames[0].width) == (40, 48)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["gone.tif", "--point", "3,3"], "gone.tif does not exist"),
        (["broken.tif", "--point", "3,3"], "broken.tif"),
        (["stack.tif", "--frame", "8", "--point", "3,3"], "prompt on frame 8, but stack.tif ends earlier"),
        (["stack.tif", "--frame", "2", "--point", "99,3"], "object 1, frame 2: a click must lie inside"),
        (["stack.tif", "--axis", "t", "--point", "3,3"], "there is no axis 't'"),
        (["stack.tif", "--point", "3,3", "--out", "a.png"], "a.png should end in .tif"),
        (["stack.tif", "--point", "3,3", "--out", "stack.tif"], "is the input itself"),
        (["stack.tif", "--point", "3,3", "--overlay", "a.gif"], "a.gif should end in .mp4"),
        (["stack.tif", "--point", "3,3", "--json", "no/a.json"], "no folder no"),
    ],
)
def test_what_cannot_be_tracked_gives_1_and_one_line(
    sam2: Run, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("broken.tif").write_bytes(Path("stack.tif").read_bytes()[:3000])
    before = {path.name: path.read_bytes() for path in Path().iterdir()}
    assert sam2("track", *arguments) == 1
    said, complaint = capsys.readouterr()
    assert complaint.startswith("sam2: error: ")
    assert complaint.count("\n") == 1
    assert message in complaint
    assert said == ""
    assert {path.name: path.read_bytes() for path in Path().iterdir()} == before


def test_ctrl_c_keeps_what_was_tracked_so_far(
    sam2: Run, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("av")
    forward = ["stack.tif", "--frame", "2", "--point", "12,12"]
    assert sam2("track", *forward, "--out", "whole.tif") == 0
    whole = tifffile.imread("whole.tif")
    assert whole[6].any()
    propagate, before = Session.propagate, signal.getsignal(signal.SIGINT)

    def interrupted(self: Session, *arguments: Any, **settings: Any) -> Iterator[Any]:
        for masks in propagate(self, *arguments, **settings):
            if masks.frame == 5:
                os.kill(os.getpid(), signal.SIGINT)
            yield masks

    monkeypatch.setattr(Session, "propagate", interrupted)
    results = ["--out", "part.tif", "--json", "part.json", "--overlay", "part.mp4"]
    assert sam2("track", *forward, "--both", *results) == 130
    assert signal.getsignal(signal.SIGINT) is before
    part = tifffile.imread("part.tif")
    assert part.shape == whole.shape
    assert np.array_equal(part[:6], whole[:6])
    assert not part[6:].any()
    assert [image["frame"] for image in json.loads(Path("part.json").read_text())["images"]] == [2, 3, 4, 5]
    complaint = capfd.readouterr()[1]
    assert "stopping after this frame" in complaint
    assert "4 of 8 frames were tracked and are kept (part.tif and part.json)" in complaint
    assert "part.mp4 was not written" in complaint
    assert not list(Path().glob(".*")), "nothing half-written stays"


def test_a_second_ctrl_c_stops_at_once_and_still_keeps_finished_frames(
    sam2: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    encode, count = Sam2.encode_image, iter(range(100))

    def interrupted(self: Sam2, *arguments: Any) -> Any:
        if next(count) == 4:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
        return encode(self, *arguments)

    monkeypatch.setattr(Sam2, "encode_image", interrupted)
    assert sam2("track", "stack.tif", "--point", "12,10", "--out", "part.tif") == 130
    part = tifffile.imread("part.tif")
    assert part[:4].any()
    assert not part[4:].any()


def test_ctrl_c_outside_of_long_work_stops_at_once(
    sam2: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Sam2, "encode_image", interrupted)
    assert sam2("segment", "cells.png", "--point", "12,10") == 130
    assert capsys.readouterr()[1] == "sam2: interrupted\n"


def test_a_full_disk_is_said_and_what_stood_there_stays(
    sam2: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("labels.tif").write_bytes(b"precious")

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(tifffile.TiffWriter, "write", full)
    assert sam2("track", "stack.tif", "--point", "12,10", "--out", "labels.tif", "--overlay", "film.mp4") == 1
    complaint = capsys.readouterr()[1]
    assert "labels.tif" in complaint
    assert "disk is full" in complaint
    assert Path("labels.tif").read_bytes() == b"precious"
    assert not list(Path().glob(".*"))


def test_frames_are_read_when_their_turn_comes(sam2: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    read, asked = TiffFrames._read, []

    def noted(self: TiffFrames, frame: int) -> Any:
        asked.append(frame)
        return read(self, frame)

    monkeypatch.setattr(TiffFrames, "_read", noted)
    assert sam2("track", "stack.tif", "--frame", "5", "--point", "12,10") == 0
    # Eight for the range of intensities, which takes up to nine samples, then one by one.
    assert asked == [*range(8), 5, 6, 7]


def count_encoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many pictures the model encodes from now on, one number a time."""
    encode, counts = Sam2.encode_image, []

    def counted(self: Sam2, pixels: Any) -> Any:
        counts.append(len(pixels))
        return encode(self, pixels)

    monkeypatch.setattr(Sam2, "encode_image", counted)
    return counts


def test_a_second_run_with_another_prompt_encodes_nothing(sam2: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    counts = count_encoded(monkeypatch)
    assert sam2("track", "stack.tif", "--point", "12,10", "--out", "a.tif") == 0
    assert sum(counts) == 8
    assert sam2("track", "stack.tif", "--point", "30,28", "--out", "b.tif", "--memory-mb", "32") == 0
    assert sum(counts) == 8


def test_where_encoded_frames_go_can_be_said(sam2: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counts = count_encoded(monkeypatch)
    assert sam2("track", "stack.tif", "--point", "12,10", "--no-feature-cache", "--out", "a.tif") == 0
    cache = ("--feature-cache", "encoded", "--disk-mb", "8", "--feature-format", "bfloat16")
    for _ in range(2):
        assert sam2("track", "stack.tif", "--point", "12,10", *cache, "--out", "b.tif") == 0
    assert sum(counts) == 16 and len(list((folder / "encoded").rglob("*.safetensors"))) == 8


def test_too_little_memory_is_refused(sam2: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert sam2("track", "stack.tif", "--point", "12,10", "--memory-mb", "3") == 1
    assert "memory_mb is a number of MiB from 16 on, got 3.0" in capsys.readouterr()[1]
