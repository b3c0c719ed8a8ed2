from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from numpy.typing import NDArray
from PIL import Image

from sam2_engine.cli import main
from sam2_engine.export import decode_rle
from sam2_engine.model import Sam2
from sam2_engine.prompt_files import PromptedObject, write_prompts
from sam2_engine.prompts import Box, Click, Prompts

Run = Callable[..., int]


def test_segment_writes_the_mask_of_a_click(sam2: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert sam2("segment", "cells.png", "--point", "12,10") == 0
    mask = np.asarray(Image.open("cells_mask.png"))
    assert mask.shape == (40, 48)
    assert mask.dtype == np.uint8
    assert set(np.unique(mask)) <= {0, 255}
    said, complaints = capsys.readouterr()
    assert f"object 1: {np.count_nonzero(mask):,} pixels, predicted IoU 0." in said
    assert "wrote cells_mask.png" in said
    assert complaints == ""


def test_segment_gives_what_the_predictor_gives(sam2: Run, tiny_model: Sam2, clip: NDArray[np.uint8]) -> None:
    from sam2_engine.image_predictor import SAM2ImagePredictor

    assert sam2("segment", "cells.png", "--point", "12,10", "--point", "30,30,-", "--out", "a.png") == 0
    assert sam2("segment", "cells.png", "--box", "5,4,20,17", "--out", "b.png") == 0
    predictor = SAM2ImagePredictor(tiny_model)
    predictor.set_image(clip[0])
    for name, prompts in (
        ("a.png", {"point_coords": [[12, 10], [30, 30]], "point_labels": [1, 0]}),
        ("b.png", {"box": [5, 4, 20, 17]}),
    ):
        masks, _, _ = predictor.predict(**prompts, multimask_output=False)
        assert np.array_equal(np.asarray(Image.open(name)) > 0, masks[0] > 0)


def test_a_picture_is_encoded_once_for_all_runs(sam2: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoded: list[int] = []
    plain = Sam2.encode_image

    def counting(model: Sam2, pixels: torch.Tensor) -> Any:
        encoded.append(len(pixels))
        return plain(model, pixels)

    monkeypatch.setattr(Sam2, "encode_image", counting)
    kept = ("--feature-cache", str(folder / "kept"))
    assert sam2("segment", "cells.png", "--point", "12,10", "--out", "a.png", *kept) == 0
    assert sam2("segment", "cells.png", "--point", "12,10", "--out", "b.png", *kept) == 0
    assert encoded == [1]
    assert sam2("segment", "cells.png", "--point", "12,10", "--out", "c.png", "--no-feature-cache") == 0
    assert encoded == [1, 1]
    found = [np.asarray(Image.open(name)) for name in ("a.png", "b.png", "c.png")]
    assert np.array_equal(found[0], found[1]) and np.array_equal(found[0], found[2])


@pytest.mark.parametrize(
    ("prompts", "has_candidates"),
    [
        (["--point", "12,10"], True),
        (["--point", "12,10", "--point", "30,30,-"], False),
        (["--point", "12,10", "--box", "5,4,20,17"], False),
        (["--box", "5,4,20,17"], False),
    ],
)
def test_only_a_single_click_is_taken_as_ambiguous(
    sam2: Run, monkeypatch: pytest.MonkeyPatch, prompts: list[str], has_candidates: bool
) -> None:
    from sam2_engine.image_predictor import SAM2ImagePredictor

    predict, offered = SAM2ImagePredictor.predict, []

    def noted(self: SAM2ImagePredictor, *arguments: Any, **settings: Any) -> Any:
        answer = predict(self, *arguments, **settings)
        offered.append(len(answer[0]))
        return answer

    monkeypatch.setattr(SAM2ImagePredictor, "predict", noted)
    assert sam2("segment", "cells.png", *prompts) == 0
    assert offered == [3 if has_candidates else 1]


def test_segment_labels_several_objects_and_tells_json_the_same(sam2: Run) -> None:
    prompts = ["--point", "12,10", "--object", "7", "--box", "20,20,40,36"]
    assert sam2("segment", "cells.png", *prompts, "--out", "labels.tif", "--json", "found.json") == 0
    labels = tifffile.imread("labels.tif")
    found = json.loads(Path("found.json").read_text())
    expected = np.zeros_like(labels)
    for annotation in found["annotations"]:
        expected[decode_rle(annotation["segmentation"])] = annotation["object_id"]
    assert set(np.unique(labels)) == {0, 1, 7} & set(np.unique(labels))
    assert labels.any()
    assert np.array_equal(labels, expected)
    assert [(one["id"], one["label"]) for one in found["objects"]] == [(1, 1), (7, 7)]
    assert found["objects"][1]["prompts"] == [{"frame": 0, "box": [20.0, 20.0, 40.0, 36.0]}]
    assert found["images"][0]["file_name"] == "cells.png"


def test_segment_reads_prompts_of_several_objects_from_json(sam2: Run) -> None:
    objects = [
        PromptedObject("left", "", {0: Prompts((Click(12, 10),))}),
        PromptedObject("right", "", {0: Prompts(box=Box(20, 20, 40, 36))}),
    ]
    write_prompts("p.json", objects)
    assert sam2("segment", "cells.png", "--prompts", "p.json", "--out", "file.tif") == 0
    assert (
        sam2("segment", "cells.png", "--point", "12,10", "--object", "2", "--box", "20,20,40,36", "--out", "o.tif") == 0
    )
    assert np.array_equal(tifffile.imread("file.tif"), tifffile.imread("o.tif"))


def test_segment_improves_a_rough_mask(sam2: Run, clip: NDArray[np.uint8]) -> None:
    Image.fromarray(((clip[0] > 150) & (np.arange(48) < 24)).astype(np.uint8) * 255).save("rough.png")
    assert sam2("segment", "cells.png", "--mask", "rough.png", "--out", "fine.png") == 0
    assert np.asarray(Image.open("fine.png")).shape == (40, 48)


def test_segment_draws_an_overlay(sam2: Run, clip: NDArray[np.uint8]) -> None:
    assert sam2("segment", "cells.png", "--point", "12,10", "--overlay", "look.png") == 0
    picture = np.asarray(Image.open("look.png"))
    assert picture.shape == (40, 48, 3)
    assert (picture != clip[0][:, :, None]).any()
    assert not Path("cells_mask.png").exists(), "only what was asked for is written"


def test_segment_finds_everything_and_tells_json_the_same(sam2: Run) -> None:
    loose = ["--everything", "--points-per-side", 3, "--min-iou", 0, "--min-stability", 0]
    assert sam2("segment", "cells.png", *loose, "--out", "all.tif", "--json", "all.json", "--overlay", "all.png") == 0
    labels = tifffile.imread("all.tif")
    found = json.loads(Path("all.json").read_text())["annotations"]
    assert found
    expected = np.zeros_like(labels)
    for annotation in sorted(found, key=lambda one: -one["area"]):
        expected[decode_rle(annotation["segmentation"])] = annotation["id"]
    assert np.array_equal(labels, expected)


def test_searching_everything_keeps_what_was_found_before_ctrl_c(
    sam2: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from sam2_engine import automatic

    decode = automatic.decode_prompts

    def interrupted(*arguments: Any, **settings: Any) -> Any:
        os.kill(os.getpid(), signal.SIGINT)
        return decode(*arguments, **settings)

    monkeypatch.setattr(automatic, "decode_prompts", interrupted)
    before = signal.getsignal(signal.SIGINT)
    # 100 clicks are two batches; the first one is finished.
    code = sam2("segment", "cells.png", "--everything", "--points-per-side", 10, "--min-iou", 0, "--min-stability", 0)
    assert code == 130
    assert signal.getsignal(signal.SIGINT) is before
    assert np.asarray(Image.open("cells_labels.png")).any()
    assert "so far" in capsys.readouterr()[0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["gone.png", "--point", "3,3"], "gone.png does not exist"),
        (["broken.png", "--point", "3,3"], "broken.png"),
        (["stack.tif", "--point", "3,3"], "8 pages"),
        (["cells.png", "--point", "300,3"], "object 1: a click must lie inside the image"),
        (["cells.png", "--object", "b", "--box", "100,100,120,120"], "object 'b'"),
        (["cells.png", "--mask", "small.png"], "must have the image's size"),
        (["cells.png", "--mask", "gone.png"], "gone.png does not exist"),
        (["cells.png", "--mask", "black.png"], "black.png is empty"),
        (["cells.png", "--prompts", "gone.json"], "gone.json cannot be read"),
        (["cells.png", "--prompts", "frame3.json"], "prompt on frame 3"),
        (["cells.png", "--point", "3,3", "--out", "a.bmp"], "a.bmp should end in .png or .tif"),
        (["cells.png", "--point", "3,3", "--out", "no/a.png"], "no folder no"),
        (["cells.png", "--point", "3,3", "--out", "cells.png"], "is the input itself"),
        (["cells.png", "--point", "3,3", "--overlay", "a.mp4"], "a.mp4 should end in .png"),
    ],
)
def test_what_cannot_be_segmented_gives_1_and_one_line(
    sam2: Run, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("broken.png").write_bytes(Path("cells.png").read_bytes()[:60])
    Image.fromarray(np.ones((4, 4), np.uint8)).save("small.png")
    Image.fromarray(np.zeros((40, 48), np.uint8)).save("black.png")
    write_prompts("frame3.json", [PromptedObject(1, "", {3: Prompts((Click(1, 1),))})])
    before = {path.name: path.read_bytes() for path in Path().iterdir()}
    assert sam2("segment", *arguments) == 1
    said, complaint = capsys.readouterr()
    assert complaint.startswith("sam2: error: ")
    assert complaint.count("\n") == 1
    assert message in complaint
    assert said == ""
    assert {path.name: path.read_bytes() for path in Path().iterdir()} == before


def test_debug_shows_where_an_error_came_from(sam2: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert sam2("segment", "gone.png", "--point", "3,3", "--debug") == 1
    complaint = capsys.readouterr()[1]
    assert "Traceback" in complaint
    assert complaint.rstrip().splitlines()[-1].startswith("sam2: error: ")


def test_running_out_of_memory_is_said_without_traceback(
    sam2: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(Sam2, "encode_image", full)
    assert sam2("segment", "cells.png", "--point", "3,3") == 1
    assert capsys.readouterr()[1].startswith("sam2: error: out of memory")


def test_our_own_mistakes_are_not_hidden(sam2: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(*_: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(Sam2, "encode_image", wrong)
    with pytest.raises(RuntimeError, match="a bug"):
        sam2("segment", "cells.png", "--point", "3,3")


def test_quiet_says_nothing(sam2: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert sam2("segment", "cells.png", "--point", "12,10", "--quiet") == 0
    assert sam2("track", "stack.tif", "--point", "12,10", "--quiet") == 0
    assert capsys.readouterr() == ("", "")


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_a_device_that_is_not_there_is_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["segment", "cells.png", "--point", "3,3", "--device", "cuda"]) == 1
    assert "no device 'cuda'" in capsys.readouterr()[1]


def test_threads_are_set(sam2: Run) -> None:
    before = torch.get_num_threads()
    try:
        assert sam2("segment", "cells.png", "--point", "12,10", "--threads", "2") == 0
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_side_changes_the_model_input(sam2: Run) -> None:
    assert sam2("segment", "cells.png", "--point", "12,10", "--out", "a.png") == 0
    assert sam2("segment", "cells.png", "--point", "12,10", "--out", "b.png", "--side", "128") == 0
    assert (np.asarray(Image.open("a.png")) != np.asarray(Image.open("b.png"))).any()
