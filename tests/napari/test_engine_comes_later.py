"""The window opens without PyTorch, which the worker brings in."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.napari.conftest import HAS_NAPARI

PYTHON = [sys.executable, "-c"]


def test_the_controller_comes_without_pytorch():
    code = "import sys, napari_sam2._controller; assert 'torch' not in sys.modules"
    subprocess.run([*PYTHON, code], check=True, timeout=120)


def test_the_widget_comes_without_pytorch():
    if not HAS_NAPARI:
        pytest.skip("Qt is not installed")
    code = "import sys, napari_sam2._widget; assert 'torch' not in sys.modules"
    subprocess.run([*PYTHON, code], check=True, timeout=120)


def test_the_worker_brings_in_everything_that_computes():
    code = "import sys; from napari_sam2._engine import bring_in; parts = list(bring_in()); " + (
        "assert {'torch', 'sam2_engine.walking'} <= set(sys.modules), parts"
    )
    subprocess.run([*PYTHON, code], check=True, timeout=240)
