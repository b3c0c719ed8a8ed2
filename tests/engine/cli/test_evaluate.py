from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from sam2_engine.cli import main

Run = Callable[..., int]

QUICK = ("--clicks", "2", "--noc-clicks", "2", "--objects", "2", "--frames", "3")


def test_evaluate_prints_tables_and_writes_one_page_and_every_score(
    sam2: Run, labelled: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = ["--json", "scores.json", "--report", "report"]
    assert sam2("evaluate", labelled, *QUICK, *results) == 0
    said = capsys.readouterr()[0]
    assert "| 1 click | 2 clicks | box |" in said
    for method in ("model", "ellipse", "watershed", "reprompt", "copy"):
        assert f"| {method} |" in said
    scores = json.loads(Path("scores.json").read_text())
    assert {score["name"] for score in scores["pictures"]} == {"still0", "still3"}
    assert {score["name"] for score in scores["sequences"]} == {"film"}
    ours = [score for score in scores["pictures"] if score["method"] == "model"]
    assert all(len(score["clicks"]) == 2 and min(score["clicks"]) >= 0 for score in ours)
    tables = {row["method"]: row for row in scores["tables"]["pictures"]}
    assert tables["model"]["box"] == pytest.approx(np.mean([score["box"] for score in ours]))
    assert sorted(path.name for path in Path("report").iterdir()) == ["report.html", "report.json"]
    assert json.loads(Path("report/report.json").read_text()) == scores
    assert "data:image/jpeg;base64," in Path("report/report.html").read_text()


def test_evaluate_measures_only_what_is_asked_for(sam2: Run, labelled: Path) -> None:
    asked = ["--prompt", "mask", "--no-baselines", "--items", "2", "--interactive", "offline", "--json", "scores.json"]
    assert sam2("evaluate", labelled, *QUICK, *asked) == 0
    scores = json.loads(Path("scores.json").read_text())
    assert {score["method"] for score in scores["pictures"] + scores["sequences"]} <= {"model"}
    assert {score["prompt"] for score in scores["sequences"]} <= {"mask"}
    assert {score["mode"] for score in scores["corrections"]} == {"offline"}
    assert scores["about"]["items"] == "2"
    assert len({score["name"] for score in scores["pictures"] + scores["sequences"]}) == 2


def test_several_weights_are_compared_on_the_same_objects(sam2: Run, labelled: Path, weights: Path) -> None:
    other = Path("other.safetensors")
    other.write_bytes(weights.read_bytes())
    assert sam2("evaluate", labelled, "--weights", other, *QUICK, "--prompt", "box", "--json", "scores.json") == 0
    scores = json.loads(Path("scores.json").read_text())
    methods = {score["method"] for score in scores["sequences"]}
    assert methods == {
        *("other", "tiny", "reprompt (other)", "reprompt (tiny)", "copy (other)", "copy (tiny)", "watershed")
    }
    differences = {row["method"]: row["difference"] for row in scores["tables"]["differences"]}
    assert differences["other − tiny"] == 0, "the same weights under two names"


def test_evaluate_is_the_same_each_time_and_for_each_item_alone(sam2: Run, labelled: Path) -> None:
    def scores_of(*arguments: object) -> list[Any]:
        assert sam2("evaluate", labelled, *QUICK, "--objects", "1", *arguments, "--json", "scores.json") == 0
        document = json.loads(Path("scores.json").read_text())
        return [score for score in document["pictures"] if score["name"] == "still0"]

    first = scores_of()
    assert first == scores_of("--items", "2") != []


def test_stacks_are_measured_as_volumes(sam2: Run, labelled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wanted = ["--spacing", "0.5,0.2,0.2", "--tolerance", "0.4", "--prompt", "mask"]
    assert sam2("evaluate", labelled, *QUICK, *wanted, "--json", "scores.json") == 0
    assert "| volume IoU | NSD |" in capsys.readouterr()[0]
    volumes = json.loads(Path("scores.json").read_text())["volumes"]
    assert {score["method"] for score in volumes} == {"model", "reprompt", "copy", "watershed"}
    assert all(0 <= score["iou"] <= 1 and 0 <= score["nsd"] <= 1 for score in volumes)


def two_discs(clip: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return ((clip > 150) * (1 + (np.arange(48) > 24))).astype(np.uint8)


def as_davis(folder: Path, clip: NDArray[np.uint8]) -> None:
    for kind in ("JPEGImages", "Annotations"):
        (folder / kind / "480p" / "discs").mkdir(parents=True)
    for frame, (image, labels) in enumerate(zip(clip, two_discs(clip), strict=True)):
        Image.fromarray(image).convert("RGB").save(folder / f"JPEGImages/480p/discs/{frame:05}.jpg")
        picture = Image.fromarray(labels)
        picture.putpalette([0, 0, 0, 200, 0, 0, 0, 200, 0])
        picture.save(folder / f"Annotations/480p/discs/{frame:05}.png")


def as_ctc(folder: Path, clip: NDArray[np.uint8]) -> None:
    (folder / "01").mkdir(parents=True)
    for kind in ("TRA", "SEG"):
        (folder / "01_GT" / kind).mkdir(parents=True)
    for frame, (image, labels) in enumerate(zip(clip, two_discs(clip), strict=True)):
        tifffile.imwrite(folder / "01" / f"t{frame:03}.tif", image)
        tifffile.imwrite(folder / "01_GT" / "TRA" / f"man_track{frame:03}.tif", labels.astype(np.uint16))
        tifffile.imwrite(folder / "01_GT" / "SEG" / f"man_seg{frame:03}.tif", labels.astype(np.uint16))
    (folder / "01_GT" / "TRA" / "man_track.txt").write_text(f"1 0 {len(clip) - 1} 0\n2 0 {len(clip) - 1} 0\n")


@pytest.mark.parametrize("lay_out", [as_davis, as_ctc])
def test_known_layouts_are_measured_as_sequences(
    sam2: Run, folder: Path, clip: NDArray[np.uint8], lay_out: Callable[[Path, NDArray[np.uint8]], None]
) -> None:
    lay_out(folder / "data", clip[:4])
    assert sam2("evaluate", folder / "data", *QUICK, "--prompt", "mask", "--json", "scores.json") == 0
    scores = json.loads(Path("scores.json").read_text())
    assert {(score["obj"], score["method"]) for score in scores["sequences"]} == {
        (obj, method) for obj in (1, 2) for method in ("model", "reprompt", "copy", "watershed")
    }
    assert all(len(score["frames"]["jaccard"]) == 3 for score in scores["sequences"])
    assert "volumes" in scores and not scores["volumes"]


def test_time_lapses_get_the_measures_of_the_challenge(
    sam2: Run, folder: Path, clip: NDArray[np.uint8], capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("ctc_metrics", reason="the extra 'evaluation' is not installed")
    as_ctc(folder / "data", clip[:4])
    assert sam2("evaluate", folder / "data", *QUICK, "--prompt", "mask", "--lineage", "--json", "scores.json") == 0
    assert "| SEG | DET | TRA |" in capsys.readouterr()[0]
    scores = json.loads(Path("scores.json").read_text())["lineages"]
    assert [(score["method"], score["objects"]) for score in scores] == [
        (method, 2) for method in ("model", "reprompt", "copy", "watershed")
    ]
    copied = next(score for score in scores if score["method"] == "copy")
    assert 0 < copied["seg"] < 1 and copied["det"] > 0.5


def test_logs_tell_how_long_it_takes(
    sam2: Run, labelled: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from sam2_engine.cli import evaluate

    monkeypatch.setattr(evaluate, "LINE_EVERY_S", 0.0)
    assert sam2("evaluate", labelled, *QUICK, "--prompt", "mask", "--no-baselines") == 0
    lines = capsys.readouterr()[1].splitlines()
    assert [line.split(" % ")[0] for line in lines] == ["sam2: 60", "sam2: 80", "sam2: 100"]
    assert lines[-1].endswith("about 0 s left")


@pytest.mark.parametrize("spacing", ["1,2", "1,2,x", "0,1,1", ""])
def test_a_spacing_that_is_none_is_wrong_use(labelled: Path, spacing: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(labelled), "--spacing", spacing]) == 2
    assert "--spacing" in capsys.readouterr()[1]


def test_evaluate_takes_the_subset_of_an_indexed_folder(
    sam2: Run, labelled: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = folder / "indexed"
    data.mkdir()
    items = []
    for frame, subset in ((0, "train"), (3, "dev")):
        for kind, parent in (("image", "images"), ("labels", "masks")):
            (data / f"{kind}{frame}.tif").write_bytes((labelled / parent / f"still{frame}.tif").read_bytes())
        entry = {"name": f"still{frame}", "image": f"image{frame}.tif", "labels": f"labels{frame}.tif"}
        items.append({**entry, "dims": "YX", "shape": [40, 48], "subset": subset, "category": "discs"})
    (data / "index.json").write_text(json.dumps({"items": items}))
    assert sam2("evaluate", data, *QUICK, "--json", "scores.json") == 0
    assert {score["name"] for score in json.loads(Path("scores.json").read_text())["pictures"]} == {"still3"}
    assert sam2("evaluate", data, "--subset", "train", *QUICK, "--json", "scores.json") == 0
    assert {score["name"] for score in json.loads(Path("scores.json").read_text())["pictures"]} == {"still0"}
    capsys.readouterr()
    assert sam2("evaluate", data, "--subset", "test") == 1
    assert "'test'" in capsys.readouterr()[1]


def test_evaluation_that_is_stopped_reports_what_it_measured(
    sam2: Run, labelled: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from sam2_engine.evaluation import measure

    try_image = measure.try_image

    def interrupted(*arguments: Any) -> Any:
        os.kill(os.getpid(), signal.SIGINT)
        return try_image(*arguments)

    monkeypatch.setattr(measure, "try_image", interrupted)
    assert sam2("evaluate", labelled, *QUICK, "--prompt", "box", "--json", "scores.json", "--report", "report") == 130
    scores = json.loads(Path("scores.json").read_text())
    names = [score["name"] for score in scores["pictures"]]
    assert set(names) == {"still0"}
    assert scores["about"]["stopped"]
    assert "stopped" in Path("report/report.html").read_text()
    assert "measured so far" in capsys.readouterr()[1]


def test_the_second_interruption_gives_up_the_item_at_hand_but_not_the_report(
    sam2: Run, labelled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sam2_engine.evaluation import measure

    try_image = measure.try_image

    def interrupted(*arguments: Any) -> Any:
        for number, trial in enumerate(try_image(*arguments)):
            yield trial
            if trial.score.name == "still3" and number == 0:
                os.kill(os.getpid(), signal.SIGINT)
                os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(measure, "try_image", interrupted)
    assert sam2("evaluate", labelled, *QUICK, "--prompt", "box", "--json", "scores.json") == 130
    scores = json.loads(Path("scores.json").read_text())
    assert {score["name"] for score in scores["pictures"]} == {"still0"}, "no half of an item"


def test_a_report_that_could_not_be_written_is_refused_before_the_work(
    sam2: Run, labelled: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("file").write_text("in the way")
    assert sam2("evaluate", labelled, "--report", "file") == 1
    assert "is a file" in capsys.readouterr()[1]
    assert sam2("evaluate", labelled, "--report", "gone/report") == 1
    assert "no folder gone" in capsys.readouterr()[1]


def test_what_lineages_need_is_asked_for_before_the_work(
    labelled: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "ctc_metrics", None)
    assert main(["evaluate", str(labelled), "--lineage", "--weights", "nothing of the kind"]) == 1
    assert "pip install 'sam2-tools[evaluation]'" in capsys.readouterr()[1]
