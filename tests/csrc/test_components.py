"""The kernels' sources, built here, against the plain twins: the CPU library, and the CUDA source on host threads.

`components` and `cleanup_masks` share their region finding, so they are tested side by side.
"""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage
from torch import Tensor

from sam2_engine import kernels as libraries
from sam2_engine import ops

HERE = Path(__file__).parent
CSRC = HERE.parents[1] / "csrc"
COMPILER = shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
SHARED = ["-O2", "-std=c++17", "-Wall", "-Wextra", "-shared", "-fPIC"]
TOO_LARGE = 2

MASKS = hnp.arrays(
    np.uint8, hnp.array_shapes(min_dims=3, max_dims=3, min_side=0, max_side=9), elements=st.integers(0, 1)
)
AREAS = st.integers(0, 20)


@dataclass
class Kernels:
    """One library and the way to call it with tensors."""

    library: ctypes.CDLL
    device: str

    def components(self, mask: Tensor) -> tuple[Tensor, Tensor]:
        labels, areas = torch.empty(mask.shape, dtype=torch.int32), torch.empty(mask.shape, dtype=torch.int32)
        assert self._call("components", mask, (), (labels, areas)) == 0
        return labels, areas

    def cleanup_masks(self, mask: Tensor, max_hole_area: int, max_island_area: int) -> Tensor:
        cleaned = torch.empty(mask.shape, dtype=torch.bool)
        assert self._call("cleanup_masks", mask, (max_hole_area, max_island_area), (cleaned,)) == 0
        return cleaned

    def _call(self, op: str, mask: Tensor, numbers: Sequence[int], outputs: Sequence[Tensor]) -> int:
        pointers = [output.data_ptr() for output in outputs]
        if self.device == "cuda":
            size = getattr(self.library, f"sam2_{op}_cuda_workspace")(*mask.shape)
            workspace = torch.full((size,), 0xA5, dtype=torch.uint8)  # the kernels must not rely on what it holds
            pointers += [workspace.data_ptr(), 0]
        function = getattr(self.library, f"sam2_{op}_{self.device}")
        return int(function(mask.data_ptr(), *mask.shape, *numbers, *pointers))


@pytest.fixture(scope="module", params=["cpu", "cuda"])
def kernels(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Kernels:
    if COMPILER is None or sys.platform == "win32":
        pytest.skip("needs a C++ compiler with the options of GCC")
    path = tmp_path_factory.mktemp("kernels") / "library.so"
    sources = sorted(str(source) for source in (CSRC / request.param).glob("*.c*") if source.suffix in (".cpp", ".cu"))
    on_host = ["-pthread", "-x", "c++", "-include", str(HERE / "cuda_on_host.h")] if request.param == "cuda" else []
    subprocess.run([COMPILER, *SHARED, "-o", str(path), *on_host, *sources], check=True)
    library = ctypes.CDLL(str(path))
    libraries._declare(library, request.param)
    return Kernels(library, request.param)


def assert_same_as_twins(kernels: Kernels, mask: Tensor, max_hole_area: int, max_island_area: int) -> None:
    labels, areas = kernels.components(mask)
    expected_labels, expected_areas = ops.components_twin(mask)
    assert torch.equal(labels, expected_labels)
    assert torch.equal(areas, expected_areas)
    cleaned = kernels.cleanup_masks(mask, max_hole_area, max_island_area)
    assert torch.equal(cleaned, ops.cleanup_masks_twin(mask, max_hole_area, max_island_area))


@pytest.mark.property
@given(mask=MASKS, max_hole_area=AREAS, max_island_area=AREAS)
def test_kernels_equal_their_twins(
    kernels: Kernels, mask: np.ndarray, max_hole_area: int, max_island_area: int
) -> None:
    assert_same_as_twins(kernels, torch.from_numpy(mask), max_hole_area, max_island_area)


@pytest.mark.parametrize("shape", [(2, 301, 403), (1, 1, 5000), (1, 5000, 1), (3, 64, 37)])
@pytest.mark.parametrize("smoothing", [0, 1, 6])
def test_kernels_equal_their_twins_on_larger_masks(
    kernels: Kernels, shape: tuple[int, int, int], smoothing: int
) -> None:
    noise = np.random.default_rng(smoothing).normal(size=shape)
    mask = torch.from_numpy(ndimage.gaussian_filter(noise, (0, smoothing, smoothing)) > 0)
    assert_same_as_twins(kernels, mask, 40, 30)


def spiral(side: int) -> np.ndarray:
    """One line, one pixel wide, that winds inwards: regions that join as late as they can."""
    mask = np.zeros((side, side), np.uint8)
    y, x, step, turn = 0, 0, side - 1, 0
    mask[0, 0] = 1
    while step > 0:
        for _ in range(2 if turn else 3):
            dy, dx = [(0, 1), (1, 0), (0, -1), (-1, 0)][turn % 4]
            for _ in range(step):
                y, x = y + dy, x + dx
                mask[y, x] = 1
            turn += 1
        step -= 2
    return mask


def comb(side: int) -> np.ndarray:
    """Teeth that meet only in the last row."""
    mask = np.zeros((side, side), np.uint8)
    mask[:, ::2] = 1
    mask[-1] = 1
    return mask


@pytest.mark.parametrize(
    "shape_of", [spiral, comb, lambda side: comb(side).T.copy(), lambda side: comb(side)[::-1].copy()]
)
def test_kernels_follow_winding_regions(kernels: Kernels, shape_of: object) -> None:
    mask = torch.from_numpy(shape_of(201))[None]  # type: ignore[operator]
    assert ops.components_twin(mask)[1].max() == mask.sum(), "the picture is one region"
    assert_same_as_twins(kernels, mask, 0, 0)


def test_a_label_is_one_more_than_the_place_of_the_first_pixel(kernels: Kernels) -> None:
    mask = torch.tensor(
        [[[0, 1, 0, 0, 1], [1, 0, 0, 0, 1], [0, 0, 1, 0, 0]], [[0] * 5, [0] * 5, [0, 0, 0, 0, 1]]]
    ).byte()
    labels, areas = kernels.components(mask)
    assert labels.tolist() == [
        [[0, 2, 0, 0, 5], [2, 0, 0, 0, 5], [0, 0, 13, 0, 0]],
        [[0] * 5, [0] * 5, [0, 0, 0, 0, 15]],
    ]
    assert areas.tolist() == [
        [[0, 2, 0, 0, 2], [2, 0, 0, 0, 2], [0, 0, 1, 0, 0]],
        [[0] * 5, [0] * 5, [0, 0, 0, 0, 1]],
    ]


def test_every_nonzero_value_is_foreground(kernels: Kernels) -> None:
    mask = torch.randint(0, 4, (1, 33, 34), generator=torch.Generator().manual_seed(0)).byte() * 85
    assert_same_as_twins(kernels, mask, 3, 3)
    assert torch.equal(kernels.components(mask)[0], kernels.components(mask != 0)[0])


def test_an_image_with_too_many_pixels_is_refused(kernels: Kernels) -> None:
    sizes = (1, 2**16, 2**16)
    workspace = [0, 0] if kernels.device == "cuda" else []
    assert getattr(kernels.library, f"sam2_components_{kernels.device}")(0, *sizes, 0, 0, *workspace) == TOO_LARGE
    cleanup = getattr(kernels.library, f"sam2_cleanup_masks_{kernels.device}")
    assert cleanup(0, *sizes, 1, 1, 0, *workspace) == TOO_LARGE
    assert b"pixels" in kernels.library.sam2_kernels_message(TOO_LARGE)


def test_the_library_has_the_version_that_ops_expects(kernels: Kernels) -> None:
    assert kernels.library.sam2_kernels_version() == libraries._KERNELS_VERSION


@pytest.mark.slow
def test_nvcc_compiles_the_cuda_library(build_kernels: Any, tmp_path: Path) -> None:
    nvcc = build_kernels.find_nvcc()
    if nvcc is None:
        pytest.skip("needs nvcc")
    path = tmp_path / "library.so"
    sources = sorted(str(source) for source in (CSRC / "cuda").glob("*.cu"))
    flags = ["-std=c++17", "-Xcompiler", "-fPIC", "--shared"]
    subprocess.run([nvcc, *flags, "-cudart", "static", "-o", str(path), *sources], check=True)
    assert ctypes.CDLL(str(path)).sam2_kernels_version() == libraries._KERNELS_VERSION


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("shape", [(0, 4, 4), (1, 1, 1), (3, 257, 1023), (2, 1024, 1024), (1, 1, 70001)])
@pytest.mark.parametrize("smoothing", [0, 4])
def test_cuda_tensors_give_what_the_twins_give(shape: tuple[int, int, int], smoothing: int) -> None:
    noise = np.random.default_rng(1).normal(size=shape)
    on_cpu = torch.from_numpy(
        ndimage.gaussian_filter(noise, (0, smoothing, smoothing)) > 0 if noise.size else noise > 0
    )
    mask = on_cpu.cuda()
    labels, areas = ops.components(mask)
    cleaned = ops.cleanup_masks(mask, 60, 40)
    assert labels.is_cuda and areas.is_cuda and cleaned.is_cuda
    assert torch.equal(labels.cpu(), ops.components_twin(on_cpu)[0])
    assert torch.equal(areas.cpu(), ops.components_twin(on_cpu)[1])
    assert torch.equal(cleaned.cpu(), ops.cleanup_masks_twin(on_cpu, 60, 40))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_work_runs_on_the_current_stream() -> None:
    if libraries.build_info().cuda is None:
        pytest.skip("needs the CUDA library (SAM2_BUILD_CUDA=1)")
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        torch.cuda._sleep(50_000_000)  # the mask is written late: a kernel on another stream would read zeros
        mask = torch.zeros(1, 64, 64, dtype=torch.bool, device="cuda").fill_(True)
        areas = ops.components(mask)[1]
    stream.synchronize()
    assert torch.equal(areas.cpu(), torch.full((1, 64, 64), 64 * 64, dtype=torch.int32))
