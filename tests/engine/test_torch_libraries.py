"""PyTorch's libraries, loaded before PyTorch is."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="done on Linux only")
def test_pytorch_works_with_its_libraries_loaded_beforehand() -> None:
    code = (
        "from sam2_engine.torch_libraries import load_torch_libraries as load;"
        "assert 'libtorch_cpu.so' in list(load());"
        "import torch; assert not list(load()); print(int((torch.ones(3, 3) @ torch.ones(3, 3)).sum()))"
    )
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    assert subprocess.check_output([sys.executable, "-c", code], env=environ, text=True) == "27\n"
