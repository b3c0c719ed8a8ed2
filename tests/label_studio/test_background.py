"""What goes on behind the server's doors: the model that comes in the background, and the logs."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from ls_backend.loading import RETRY_S, BackgroundModel, ModelState, ModelUnavailableError
from ls_backend.logs import LineFormatter, Redactor, current_request_id, request_scope, set_up
from ls_backend.settings import MediaSettings, Settings
from sam2_engine.errors import WeightsUnavailableError

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 60


class Clock:
    """Time that passes when a test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


# ---------------------------------------------------------------------------------------------------- the model


def test_nothing_is_loaded_before_it_is_asked_for() -> None:
    model = BackgroundModel(lambda: pytest.fail("asked for"), lambda: 1)
    assert (model.status.state, model.loaded) == (ModelState.IDLE, None)


def test_the_version_is_known_before_the_model_is_there() -> None:
    gate = threading.Event()

    def load() -> str:
        assert gate.wait(PATIENCE_S)
        return "loaded"

    model = BackgroundModel(lambda: "v1", load)
    assert model.version(PATIENCE_S) == "v1"
    with pytest.raises(ModelUnavailableError, match="being loaded; try again"):
        model.get(0.01)
    gate.set()
    assert model.get(PATIENCE_S) == "loaded"
    assert model.status.state is ModelState.READY and model.status.seconds is not None


def test_a_version_that_takes_long_is_not_waited_for() -> None:
    gate = threading.Event()

    def find() -> str:
        assert gate.wait(PATIENCE_S)
        return "v1"

    model = BackgroundModel(find, lambda: 1)
    with pytest.raises(ModelUnavailableError, match="being loaded"):
        model.version(0.01)
    gate.set()
    assert model.version(PATIENCE_S) == "v1"


def test_a_model_that_comes_late_is_loaded_without_a_restart() -> None:
    clock, tried = Clock(), []

    def find() -> str:
        tried.append(clock.now)
        if len(tried) == 1:
            raise WeightsUnavailableError("there is no file 'mine.pt'; check the path")
        return "v1"

    model = BackgroundModel(find, lambda: "loaded", clock=clock)
    for _ in range(2):
        with pytest.raises(ModelUnavailableError, match=r"cannot be loaded: there is no file 'mine\.pt'"):
            model.get(PATIENCE_S)
    assert len(tried) == 1
    clock.now += RETRY_S
    assert model.get(PATIENCE_S) == "loaded"
    assert model.status.error is None


def test_mistakes_of_ours_are_told_without_their_text(caplog: pytest.LogCaptureFixture) -> None:
    def load() -> int:
        raise ZeroDivisionError("inside")

    model = BackgroundModel(lambda: "v1", load)
    with pytest.raises(ModelUnavailableError, match="ZeroDivisionError; the log has more"):
        model.get(PATIENCE_S)
    assert "inside" in caplog.text


def test_many_who_ask_at_once_load_once() -> None:
    loads: list[int] = []

    def load() -> list[int]:
        loads.append(1)
        return loads

    model = BackgroundModel(lambda: "v1", load)
    threads = [threading.Thread(target=model.get, args=(PATIENCE_S,)) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert loads == [1]


# -------------------------------------------------------------------------------------------------------- the logs

SETTINGS = Settings(token="tok-0123456789", media=MediaSettings(api_key="key-987654321"))


def _record(message: str, *arguments: object, **extra: object) -> logging.LogRecord:
    record = logging.LogRecord("ls_backend.app", logging.WARNING, __file__, 1, message, arguments, None)
    for name, value in extra.items():
        setattr(record, name, value)
    return record


def test_a_line_names_its_request_and_hides_secrets() -> None:
    formatter = LineFormatter(Redactor(SETTINGS), as_json=False)
    with request_scope("abc"):
        line = formatter.format(_record("used %s", "tok-0123456789", fields={"status": 200, "what": "two words"}))
    assert "[abc] used [hidden] status=200" in line and 'what="two words"' in line
    assert current_request_id() == "-"


def test_a_line_break_makes_no_second_record() -> None:
    line = LineFormatter(Redactor(SETTINGS), as_json=False).format(_record("a\n2026 ERROR forged\r"))
    assert "\n" not in line and "\r" not in line


def test_json_lines_are_json() -> None:
    record = _record("key-987654321 and\nmore", fields={"ms": 3})
    try:
        raise ValueError("with key-987654321")
    except ValueError:
        record.exc_info = sys.exc_info()
    text = LineFormatter(Redactor(SETTINGS), as_json=True).format(record)
    line = json.loads(text)
    assert (line["message"], line["ms"], line["level"]) == ("[hidden] and\nmore", 3, "WARNING")
    assert "ValueError" in line["traceback"] and "key-987654321" not in text and "\n" not in text


def test_without_secrets_nothing_is_hidden() -> None:
    assert Redactor(Settings())("anything") == "anything"


def test_set_up_writes_once(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])
    level = root.level
    try:
        set_up(SETTINGS)
        set_up(SETTINGS)
        logging.getLogger("ls_backend.test").warning("said once")
    finally:
        root.setLevel(level)
    assert capsys.readouterr()[1].count("said once") == 1


# ------------------------------------------------------------------------------------------------------- gunicorn


@pytest.mark.e2e
def test_gunicorn_takes_its_configuration() -> None:
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "PORT": "0", "SAM2_QUEUE_SIZE": "5"}
    command = [sys.executable, "-m", "gunicorn", "--print-config", "--config", "python:ls_backend.gunicorn_config"]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    settings = dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)
    settings = {name.strip(): value.strip() for name, value in settings.items()}
    assert (settings["workers"], settings["threads"], settings["timeout"]) == ("1", "9", "0")
    assert settings["preload_app"] == "False" and "127.0.0.1:0" in settings["bind"]
