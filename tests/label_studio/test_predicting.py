"""Predictions for whole projects, stored through the API."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ls_backend.api import ApiError, LabelStudioApi
from ls_backend.media_errors import MediaAuthError, MediaUnavailableError
from ls_backend.predicting import Choice, Failures, ProjectPredictor, TaskDone
from ls_backend.regions import Canvas, read_geometry
from ls_backend.settings import MediaSettings
from sam2_engine.cli import main
from tests.label_studio.media_cases import encoded, picture_bytes, send, send_json
from tests.label_studio.studio_cases import TOKEN, Studio, install, studio

VERSION = "sam2-test-1"
ROOT = Path(__file__).parents[2]


class Model:
    """Finds one region in every task; some it cannot do."""

    def __init__(self, failures: Failures, broken: tuple[int, ...] = (), empty: tuple[int, ...] = ()) -> None:
        self.failures, self.broken, self.empty = failures, broken, empty
        self.requests: list[dict[str, Any]] = []

    def predict(self, request: Any, *, is_batch: bool | None = None) -> list[dict[str, Any]]:
        assert is_batch, "one task is no opened task"
        self.requests.append(request)
        number = request["tasks"][0]["id"]
        if number in self.broken:
            self.failures(f"task {number}", MediaUnavailableError("its picture is gone"))
            return [{"result": [], "score": 0.0, "model_version": VERSION}]
        results = [] if number in self.empty else [{"id": f"r{number}", "value": {}}]
        return [{"result": results, "score": 0.5, "model_version": VERSION}]


@pytest.fixture
def there() -> Iterator[Studio]:
    with studio() as found:
        for _ in range(4):
            found.add(b"x")
        yield found


@pytest.fixture(autouse=True)
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch)


def predictor(there: Studio, **model: Any) -> ProjectPredictor:
    failures = Failures()
    settings = MediaSettings(label_studio_url=there.url, api_key=TOKEN)
    api = LabelStudioApi.from_settings(settings, sleep=lambda seconds: None)
    return ProjectPredictor(api, Model(failures, **model), VERSION, failures, sleep=lambda seconds: None)


def outcomes(found: list[TaskDone]) -> list[tuple[int, str]]:
    return [(one.task, one.outcome) for one in found]


def test_every_task_gets_its_prediction_in_order(there: Studio) -> None:
    done = list(predictor(there, empty=(2,)).run(1))
    assert outcomes(done) == [(1, "predicted"), (2, "empty"), (3, "predicted"), (4, "predicted")]
    assert there.predictions() == {number: [VERSION] for number in range(1, 5)}
    assert there.tasks[3]["predictions"][0]["result"] == [{"id": "r3", "value": {}}]


def test_the_model_is_asked_as_label_studio_asks(there: Studio) -> None:
    there.project |= {"task_data_login": "anna", "task_data_password": "geheim"}
    work = predictor(there)
    list(work.run(1))
    request = work.predictor.requests[0]  # type: ignore[attr-defined]
    assert request["params"] == {"login": "anna", "password": "geheim", "context": None}
    assert request["project"] == "1" and "<View>" in request["label_config"] and len(request["tasks"]) == 1


def test_a_run_that_was_killed_goes_on_where_it_was(there: Studio) -> None:
    first = predictor(there).run(1)
    assert outcomes(list(islice(first, 2))) == [(1, "predicted"), (2, "predicted")]
    first.close()
    assert outcomes(list(predictor(there).run(1))) == [
        *((1, "skipped"), (2, "skipped"), (3, "predicted"), (4, "predicted"))
    ]
    assert [one.outcome for one in predictor(there).run(1)] == ["skipped"] * 4
    assert all(versions == [VERSION] for versions in there.predictions().values())


def test_predictions_of_another_version_do_not_count_and_stay(there: Studio) -> None:
    there.store({"task": 1, "model_version": "older", "result": []})
    list(predictor(there).run(1))
    assert there.predictions()[1] == ["older", VERSION]


def test_a_task_that_fails_is_told_stores_nothing_and_does_not_spoil_the_others(there: Studio) -> None:
    done = list(predictor(there, broken=(2,)).run(1))
    assert outcomes(done) == [(1, "predicted"), (2, "failed"), (3, "predicted"), (4, "predicted")]
    assert done[1].message == "its picture is gone"
    assert there.predictions()[2] == []


def test_tasks_can_be_chosen(there: Studio) -> None:
    there.tasks[1]["annotations"] = [{"result": [], "was_cancelled": False}]
    there.tasks[2]["annotations"] = [{"result": [], "was_cancelled": True}]
    assert outcomes(list(predictor(there).run(1, Choice(limit=1, skip_annotated=True)))) == [
        *((1, "skipped"), (2, "predicted"))
    ]
    assert outcomes(list(predictor(there).run(1, Choice(only=frozenset({4, 77}))))) == [
        (4, "predicted"),
        (77, "failed"),
    ]


def test_predicting_again_replaces_what_this_version_found(there: Studio) -> None:
    list(predictor(there).run(1))
    before = {task["predictions"][0]["id"] for task in there.tasks.values()}
    assert [one.outcome for one in predictor(there, empty=(1,)).run(1, Choice(again=True))] == ["empty"] + 3 * [
        "predicted"
    ]
    assert all(versions == [VERSION] for versions in there.predictions().values())
    assert before.isdisjoint(task["predictions"][0]["id"] for task in there.tasks.values())


def test_an_answer_that_was_lost_does_not_store_twice(there: Studio) -> None:
    def stores_and_hangs_up(handler: Any) -> None:
        there.store({"task": 1, "model_version": VERSION, "result": []})
        handler.close_connection = True

    there.once("POST", "/api/predictions/", stores_and_hangs_up)
    assert next(iter(predictor(there).run(1, Choice(limit=1)))).outcome == "predicted"
    assert there.predictions()[1] == [VERSION]


def test_label_studio_that_restarts_is_waited_for(there: Studio) -> None:
    there.once("POST", "/api/predictions/", *[send_json({}, 503)] * 3)
    assert [one.outcome for one in predictor(there).run(1)] == ["predicted"] * 4
    assert there.predictions()[1] == [VERSION]


def test_a_task_that_label_studio_refuses_is_told(there: Studio) -> None:
    there.once("POST", "/api/predictions/", send_json({"detail": "wrong result"}, 400))
    done = list(predictor(there).run(1))
    assert done[0].outcome == "failed" and "wrong result" in done[0].message
    assert [one.outcome for one in done[1:]] == ["predicted"] * 3


def test_what_concerns_all_tasks_ends_the_run(there: Studio) -> None:
    there.once("POST", "/api/predictions/", send_json({"detail": "no"}, 401))
    with pytest.raises(MediaAuthError):
        list(predictor(there).run(1))
    there.once("POST", "/api/predictions/", *[send_json({}, 503)] * 5)
    with pytest.raises(ApiError):
        list(predictor(there).run(1))
    assert all(versions == [] for versions in there.predictions().values())


# ------------------------------------------------------------------------------------------------ the command


def spots() -> tuple[bytes, np.ndarray[Any, Any]]:
    """A bright disc on a dark ground, as a picture and as a mask."""
    rows, columns = np.indices((96, 128))
    mask = (rows - 50) ** 2 + (columns - 70) ** 2 < 18**2
    from PIL import Image

    pixels = np.where(mask, 210, 40) + np.random.default_rng(0).normal(0, 6, mask.shape)
    return encoded(Image.fromarray(pixels.clip(0, 255).astype(np.uint8)), "PNG"), mask


def boxed() -> dict[str, Any]:
    """A prediction of another model: a box around the disc, in percent."""
    value = {"x": 50 / 1.28, "y": 30 / 0.96, "width": 40 / 1.28, "height": 40 / 0.96, "rotation": 0}
    region = {"id": "b1", "from_name": "rect", "to_name": "image", "type": "rectanglelabels", "original_width": 128}
    region |= {"original_height": 96, "value": value | {"rectanglelabels": ["Cell"]}}
    return {"id": 900, "model_version": "detector", "result": [region], "created_at": "2026-01-01T00:00:00Z"}


def test_the_command_stores_masks_of_the_real_model_for_boxes_that_are_there(
    there: Studio, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("ls_backend.answering")
    picture, mask = spots()
    there.tasks.clear()
    there.add(picture, predictions=[boxed()])
    there.add(picture_bytes())
    there.server.pages[there.tasks[2]["data"]["image"]] = send(b"", status=500)
    monkeypatch.setenv("LABEL_STUDIO_URL", there.url)
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", TOKEN)
    command = ["label-studio", "predict", "--project", "1", "--only-marked", "--threads", "1"]
    assert main([*command, "--task", "1"]) == 0
    assert "1 task predicted by sam2-" in capsys.readouterr().out
    stored = there.tasks[1]["predictions"][1]
    found = read_geometry(stored["result"][0], Canvas((96, 128)))
    assert isinstance(found, np.ndarray)
    assert (found & mask).sum() / (found | mask).sum() > 0.85
    assert json.dumps(stored) and stored["result"][0]["value"]["brushlabels"] == ["Cell"]
    assert main([*command, "--task", "1"]) == 0, "a second run finds nothing to do"
    assert "0 tasks predicted" in capsys.readouterr().out
    assert len(there.tasks[1]["predictions"]) == 2


RUN = """
import argparse
from ls_backend.commands import predict
from sam2_engine.cli import options
commands = argparse.ArgumentParser()
predict.add_parser(commands.add_subparsers(), options.common())
args = commands.parse_args()
raise SystemExit(args.run(args))
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="the system has no SIGKILL")
def test_a_process_that_is_killed_leaves_nothing_half_done_and_the_next_one_goes_on(there: Studio) -> None:
    there.tasks.clear()
    for _ in range(3):
        there.add(spots()[0], predictions=[boxed()])
    variables = {"LABEL_STUDIO_URL": there.url, "LABEL_STUDIO_API_KEY": TOKEN, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", RUN, "predict", "--project", "1", "--threads", "1"]

    with subprocess.Popen(command, env={**os.environ, **variables}) as killed:
        wait_until(lambda: len(there.predictions()[1]) == 2)
        killed.send_signal(signal.SIGKILL)
    assert killed.returncode == -signal.SIGKILL
    assert there.predictions()[3] == ["detector"], "it was killed in the middle"
    again = subprocess.run(command, env={**os.environ, **variables}, capture_output=True, text=True, check=True)
    assert " 0 failed" in again.stdout
    assert [len(versions) for versions in there.predictions().values()] == [2, 2, 2]


def wait_until(is_done: Callable[[], bool], timeout_s: float = 120) -> None:
    end = time.monotonic() + timeout_s
    while not is_done():
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.005)


def test_the_command_ends_with_one_where_a_task_failed(
    there: Studio, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    there.tasks.clear()
    there.add(b"no picture", predictions=[boxed()])
    monkeypatch.setenv("LABEL_STUDIO_API_KEY", TOKEN)
    assert main(["label-studio", "predict", "--project", "1", "--label-studio-url", there.url, "--threads", "1"]) == 1
    told = capsys.readouterr()
    assert "task 1 failed" in told.err and "1 failed" in told.out
    assert len(there.tasks[1]["predictions"]) == 1


def test_the_command_names_what_is_missing(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("LABEL_STUDIO_URL", "LABEL_STUDIO_HOST"):
        monkeypatch.delenv(name, raising=False)
    assert main(["label-studio", "predict", "--project", "1"]) == 1
    assert "set LABEL_STUDIO_URL" in capsys.readouterr().err
    assert main(["label-studio", "predict", "--project", "zero"]) == 2
