"""Tensors of a GPU never meet those of the processor, as far as that can be seen without one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from torch.utils import backend_registration


@pytest.mark.slow
@pytest.mark.skipif(
    not hasattr(backend_registration, "_setup_privateuseone_for_python_backend"),
    reason="this PyTorch knows no devices that are written in Python",
)
def test_everything_stays_on_its_device() -> None:
    script = Path(__file__).with_name("made_up_device.py")
    told = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=False, timeout=280)
    assert told.returncode == 0, told.stderr[-3000:]
    assert len(told.stdout.splitlines()) == 12
