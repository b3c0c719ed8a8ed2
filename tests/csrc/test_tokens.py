"""Sums with norms, maxima, mixing to masks, 8-bit numbers: right and within their memory, for odd sizes and none."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from sam2_engine.attention import AVX2, instructions
from tests.csrc.compiling import COMPILER, CSRC, HERE, run_carefully


@pytest.mark.skipif(COMPILER is None or sys.platform == "win32", reason="needs a C++ compiler with the options of GCC")
def test_they_are_right_and_stay_within_their_memory(tmp_path: Path) -> None:
    if instructions(torch.float32) < AVX2:
        pytest.skip("needs AVX2 and the compiled kernels")
    sources = [CSRC / "cpu" / "kernels.cpp", CSRC / "cpu" / "quantise.cpp", *sorted((CSRC / "cpu").glob("tokens*.cpp"))]
    run_carefully(tmp_path, [HERE / "tokens_driver.cpp", *sources], "60")
