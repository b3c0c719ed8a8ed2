"""Servers and a model that several tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from flask.testing import FlaskClient

from ls_backend.service import Service
from sam2_engine import load_tracker
from sam2_engine.tracking import Tracker
from tests.label_studio.media_cases import PICTURE, Server, running, send
from tests.label_studio.serving_parts import FakeAnswerer, client_of, make_service


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


@pytest.fixture
def answerer() -> FakeAnswerer:
    return FakeAnswerer()


@pytest.fixture
def service(answerer: FakeAnswerer) -> Iterator[Service]:
    service = make_service(answerer=answerer)
    yield service
    service.close()


@pytest.fixture
def client(service: Service) -> FlaskClient:
    return client_of(service)
