from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def build_kernels() -> Any:
    """The module with the build commands; it lies in no package."""
    spec = importlib.util.spec_from_file_location("build_kernels", ROOT / "csrc" / "build_kernels.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
