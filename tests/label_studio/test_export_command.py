"""``sam2 label-studio export``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sam2_engine.cli import main
from sam2_engine.export import decode_rle, encode_brush_rle
from sam2_engine.training.readers.opening import open_labelled_data
from tests.label_studio.media_cases import picture_bytes, send
from tests.label_studio.studio_cases import TOKEN, Studio, install, studio

ROOT = Path(__file__).parents[2]
MASK = np.zeros((20, 30), bool)
MASK[5:12, 8:20] = True


def annotation(updated_at: str = "2026-03-01T00:00:00Z") -> dict[str, Any]:
    region = {"id": "r1", "from_name": "brush", "to_name": "image", "type": "brushlabels", "original_width": 30}
    region |= {
        "original_height": 20,
        "value": {"format": "rle", "rle": encode_brush_rle(MASK), "brushlabels": ["Cell"]},
    }
    return {"id": 1, "result": [region], "was_cancelled": False, "updated_at": updated_at}


@pytest.fixture
def there(monkeypatch: pytest.MonkeyPatch) -> Iterator[Studio]:
    install(monkeypatch)
    with studio() as found:
        monkeypatch.setenv("LABEL_STUDIO_URL", found.url)
        monkeypatch.setenv("LABEL_STUDIO_API_KEY", TOKEN)
        found.add(picture_bytes(), annotations=[annotation()])
        found.add(picture_bytes(), "other.png", annotations=[annotation("2026-01-01T00:00:00Z")])
        found.add(picture_bytes(), "open.png")
        yield found


def export(*options: str) -> int:
    return main(["label-studio", "export", *options])


def test_a_project_becomes_coco_with_its_pictures(
    there: Studio, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert export("--project", "1", "--format", "coco", "--out", str(tmp_path / "x"), "--images") == 0
    assert "wrote 2 masks on 2 pictures" in capsys.readouterr().out
    content = json.loads((tmp_path / "x" / "annotations.json").read_text())
    np.testing.assert_array_equal(decode_rle(content["annotations"][0]["segmentation"]), MASK)
    for image in content["images"]:
        with Image.open(tmp_path / "x" / "images" / image["file_name"]) as picture:
            assert picture.size == (30, 20)


def test_a_json_export_becomes_png_without_any_label_studio(
    there: Studio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LABEL_STUDIO_URL")
    (tmp_path / "project.json").write_text(json.dumps(list(there.tasks.values())))
    options = ("--format", "png", "--out", str(tmp_path / "x"), "--values", "classes")
    assert export("--tasks", str(tmp_path / "project.json"), *options) == 0
    names = sorted(path.name for path in (tmp_path / "x" / "masks").iterdir())
    assert names == ["0a1b2c01-cells.png", "0a1b2c02-other.png"]
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "x" / "masks" / names[0])) == 1, MASK)
    assert there.server.asked == []


def test_corrections_since_a_day_become_what_finetune_reads(there: Studio, tmp_path: Path) -> None:
    out = tmp_path / "x"
    assert export("--project", "1", "--format", "training", "--out", str(out), "--since", "2026-02-01") == 0
    read = open_labelled_data(out)
    assert len(read.items) == 1
    np.testing.assert_array_equal(np.asarray(read.read(read.items[0]).labels[0]) > 0, MASK)


def test_predictions_are_exported_where_they_are_asked_for(there: Studio, tmp_path: Path) -> None:
    there.store({"task": 3, "model_version": "v1", "result": annotation()["result"]})
    out = tmp_path / "x"
    assert export("--project", "1", "--format", "yolo", "--out", str(out), "--source", "predictions") == 0
    assert [path.name for path in (out / "labels").iterdir()] == ["0a1b2c03-open.txt"]


def test_what_is_left_out_is_told_and_the_exit_code_says_so(
    there: Studio, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    there.server.pages[there.tasks[2]["data"]["image"]] = send(b"", status=500)
    assert export("--project", "1", "--format", "coco", "--out", str(tmp_path / "x"), "--images") == 1
    said = capsys.readouterr()
    assert "wrote 1 mask on 1 picture" in said.out and "task 2" in said.err and "1 thing left out" in said.err


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "cannot be read"), ("{", "is no JSON"), ("{}", "no list"), ("[]", "nothing to write")],
)
def test_a_file_that_is_no_export_is_an_error(
    there: Studio, tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str | None, message: str
) -> None:
    if content is not None:
        (tmp_path / "p.json").write_text(content)
    assert export("--tasks", str(tmp_path / "p.json"), "--format", "coco", "--out", str(tmp_path / "x")) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def test_help_comes_at_once() -> None:
    code = (
        "import sys, argparse; from sam2_engine.cli import options;"
        "from ls_backend.commands import doctor, export, predict;"
        "commands = argparse.ArgumentParser().add_subparsers();"
        "[one.add_parser(commands, options.common()) for one in (doctor, export, predict)];"
        "heavy = {'torch', 'flask', 'httpcore2', 'scipy', 'skimage', 'PIL'} & set(sys.modules); assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(ROOT)}, check=True)


def test_wrong_use_is_told(there: Studio, tmp_path: Path) -> None:
    assert export("--format", "coco", "--out", str(tmp_path)) == 2
    assert export("--project", "1", "--format", "coco", "--out", str(tmp_path), "--since", "yesterday") == 2
