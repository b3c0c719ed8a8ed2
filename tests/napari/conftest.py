"""A real napari window with the dock widget in it, for tests that need one; they are skipped where there is none."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

HAS_NAPARI = all(importlib.util.find_spec(name) for name in ("napari", "qtpy", "pytestqt"))
HAS_SCREEN = not sys.platform.startswith("linux") or bool(os.environ.get("DISPLAY"))


@pytest.fixture
def window(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Opens a window with a picture and the dock widget; gives what drives it, a `widget_cases.Window`."""
    if not HAS_NAPARI:
        pytest.skip("napari with Qt is not installed: pip install 'sam2-tools[napari-qt]' pytest-qt")
    if not HAS_SCREEN:
        pytest.skip("no screen: run under xvfb-run")
    from tests.napari.widget_cases import Window

    make_viewer = request.getfixturevalue("make_napari_viewer")
    qtbot = request.getfixturevalue("qtbot")
    opened: list[Any] = []

    def open_window(data: Any, **arguments: Any) -> Any:
        opened.append(Window(make_viewer, qtbot, tmp_path, data, **arguments))
        return opened[-1]

    yield open_window
    while opened:
        opened.pop().close()
