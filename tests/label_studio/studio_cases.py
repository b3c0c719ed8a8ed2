"""A Label Studio that is small enough to look into; its answers are shaped like those of 1.23.2."""

from __future__ import annotations

import configparser
import contextlib
import importlib.metadata
import json
import operator
import re
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.label_studio.media_cases import Serve, Server, running, send, send_json

TOKEN = "0123456789abcdef0123456789abcdef01234567"
CONFIG = """<View>
  <Image name="image" value="$image"/>
  <BrushLabels name="brush" toName="image"><Label value="Cell"/></BrushLabels>
  <KeyPointLabels name="kp" toName="image" smart="true" smartOnly="true"><Label value="Cell"/></KeyPointLabels>
  <RectangleLabels name="rect" toName="image" smart="true" smartOnly="true"><Label value="Cell"/></RectangleLabels>
</View>"""


class Studio:
    """One project, number 1."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.project: dict[str, Any] = {"id": 1, "label_config": CONFIG, "task_data_login": None}
        self.project |= {"task_data_password": None, "model_version": "SAM 2"}
        self.tasks: dict[int, dict[str, Any]] = {}
        self.backends: list[dict[str, Any]] = []
        self.webhooks: list[dict[str, Any]] = []
        self.special: dict[tuple[str, str], list[Serve]] = {}
        self._predictions = 0
        server.pages["/health"] = send_json({"status": "UP"})
        server.fallback = self._answer

    @property
    def url(self) -> str:
        return self.server.url

    def add(self, picture: bytes, name: str = "cells.png", **more: Any) -> dict[str, Any]:
        number = len(self.tasks) + 1
        address = f"/data/upload/1/0a1b2c{number:02x}-{name}"
        self.server.pages[address] = send(picture)
        task = {"id": number, "data": {"image": address}, "annotations": [], "drafts": [], "predictions": [], **more}
        self.tasks[number] = task
        return task

    def once(self, method: str, path: str, *pages: Serve) -> None:
        """What the next requests get in place of their answer."""
        self.special.setdefault((method, path), []).extend(pages)

    def predictions(self) -> dict[int, list[str]]:
        """Versions of the predictions of each task."""
        return {number: [one["model_version"] for one in task["predictions"]] for number, task in self.tasks.items()}

    def store(self, body: dict[str, Any]) -> dict[str, Any]:
        self._predictions += 1
        stored = {"id": self._predictions, "created_at": "2026-01-01T00:00:00Z", **body}
        self.tasks[body["task"]]["predictions"].append(stored)
        return stored

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        path = urlsplit(handler.path).path
        waiting = self.special.get((handler.command, path))
        if waiting:
            waiting.pop(0)(handler)
            return
        if handler.headers.get("Authorization") != f"Token {TOKEN}":
            send_json({"status_code": 401, "version": "1.23.2", "detail": "Invalid token."}, 401)(handler)
            return
        status, found = self._api(handler.command, path, handler.path, json.loads(body) if body else {})
        send_json(found, status)(handler)

    def _api(self, method: str, path: str, full: str, body: Any) -> tuple[int, Any]:
        query = {key: values[0] for key, values in parse_qs(urlsplit(full).query).items()}
        fixed: dict[tuple[str, str], Any] = {
            ("GET", "/api/version"): {"release": "1.23.2"},
            ("GET", "/api/current-user/whoami"): {"id": 1, "email": "dev@example.com"},
            ("GET", "/api/projects/1/"): self.project | {"task_number": len(self.tasks)},
            ("GET", "/api/ml/"): self.backends,
            ("GET", "/api/webhooks/"): self.webhooks,
        }
        if (method, path) in fixed:
            return 200, fixed[method, path]
        if (method, path) == ("GET", "/api/tasks/"):
            return self._page(int(query["page"]), int(query["page_size"]), json.loads(query.get("query", "{}")))
        if (method, path) == ("POST", "/api/predictions/"):
            return 201, self.store(body)
        if match := re.fullmatch(r"/api/tasks/(\d+)/", path):
            found = self.tasks.get(int(match[1]))
            return (200, found) if found else (404, {"detail": "No Task matches the given query."})
        if match := re.fullmatch(r"/api/predictions/(\d+)/", path):
            for task in self.tasks.values():
                task["predictions"] = [one for one in task["predictions"] if one["id"] != int(match[1])]
            return 204, {}
        return 404, {"status_code": 404, "detail": "No Project matches the given query."}

    def _page(self, page: int, size: int, chosen: dict[str, Any]) -> tuple[int, Any]:
        listed = [self.tasks[number] for number in sorted(self.tasks)]
        for one in chosen.get("filters", {}).get("items", []):
            counts = {"filter:tasks:id": lambda task: task["id"]}
            counts["filter:tasks:total_annotations"] = lambda task: len(task["annotations"])
            holds = {"greater": operator.gt, "equal": operator.eq}[one["operator"]]
            listed = [task for task in listed if holds(counts[one["filter"]](task), one["value"])]
        found = listed[(page - 1) * size : page * size]
        if not found and page > 1:
            return 404, {"detail": "Invalid page."}
        return 200, {"tasks": found, "total": len(listed), "total_annotations": 0, "total_predictions": 0}


def install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make ``sam2`` find the commands of setup.cfg, installed or not."""
    config = configparser.ConfigParser()
    config.read_string((Path(__file__).parents[2] / "setup.cfg").read_text(encoding="utf-8"))
    lines = config["options.entry_points"]["sam2.commands"].strip().splitlines()
    found = [EntryPoint(*(part.strip() for part in line.split("=")), "sam2.commands") for line in lines]
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: found if group == "sam2.commands" else [])


@contextlib.contextmanager
def studio() -> Iterator[Studio]:
    with running() as server:
        yield Studio(server)
