"""One Label Studio, one backend and one browser for all tests; each test has a project of its own.

Skipped, with the reason, where Chromium, Playwright or Label Studio is missing and cannot be had.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from . import editor, processes
from .processes import Account, Running
from .rest import LabelStudio

CONFIGS = processes.ROOT / "examples" / "label_studio"

TIMEOUT_S = 900
"""Of one test, with what is started for it: installing Label Studio and its first start take minutes."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All of this folder is end to end, and waits longer."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.e2e)
            item.add_marker(pytest.mark.slow)
            item.add_marker(pytest.mark.timeout(TIMEOUT_S))


@pytest.fixture(scope="session")
def account() -> Account:
    return Account()


@pytest.fixture(scope="session")
def chromium() -> str:
    pytest.importorskip("playwright", reason="Playwright is not installed: pip install playwright")
    found = editor.find_chromium()
    if found is None:
        pytest.skip("there is no Chromium: apt-get install chromium")
    return found


@pytest.fixture(scope="session")
def studio(chromium: str, account: Account, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabelStudio]:
    """A Label Studio, as a logged-in user sees it."""
    try:
        processes.install()
    except processes.NotInstallableError as error:
        pytest.skip(str(error))
    with processes.label_studio(tmp_path_factory.mktemp("label_studio"), account) as running:
        client = LabelStudio(running.url, account)
        yield client
        client.close()


@pytest.fixture(scope="session")
def token(studio: LabelStudio) -> str:
    return studio.personal_access_token()


@pytest.fixture(scope="session")
def backend(studio: LabelStudio, token: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with processes.backend(tmp_path_factory.mktemp("backend"), studio.url, token) as running:
        yield running


@pytest.fixture(scope="session")
def browser_page(studio: LabelStudio, account: Account, chromium: str) -> Iterator[Any]:
    with editor.logged_in(studio.url, account, chromium) as page:
        yield page


@pytest.fixture
def page(browser_page: Any, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    """The browser's page; a test that fails leaves a picture of it."""
    failed = request.session.testsfailed
    yield browser_page
    if request.session.testsfailed > failed:
        browser_page.screenshot(path=tmp_path / "failed.png")
        print(f"what was seen last: {tmp_path / 'failed.png'}")
    browser_page.goto("about:blank")


Project = Callable[..., tuple[int, list[int]]]


@pytest.fixture
def new_project(studio: LabelStudio, backend: Running) -> Project:
    """Makes a project with one of the label configs that are shipped, its tasks, and the backend connected."""

    def make(config: str, *data: Callable[[int], dict[str, Any]], connect: bool = True) -> tuple[int, list[int]]:
        project = studio.new_project(processes.fresh_name(config), (CONFIGS / f"{config}.xml").read_text())
        tasks = studio.new_tasks(project, [make_data(project) for make_data in data])
        if connect:
            studio.connect(project, backend.url)
        return project, tasks

    return make
