"""Servers and a model that several tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sam2_engine import load_tracker
from sam2_engine.tracking import Tracker
from tests.label_studio.media_cases import PICTURE, Server, running, send


@pytest.fixture
def studio() -> Iterator[Server]:
    with running() as server:
        server.pages["/data/upload/1/cells.png"] = send(PICTURE)
        yield server


@pytest.fixture
def web() -> Iterator[Server]:
    with running() as server:
        server.pages["/cells.png"] = send(PICTURE)
        yield server


@pytest.fixture(scope="session")
def trained() -> Tracker:
    """The model that comes with the package."""
    return load_tracker("default", device="cpu")
