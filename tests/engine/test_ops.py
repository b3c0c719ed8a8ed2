from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from sam2_engine import kernels, ops
from sam2_engine.errors import ShapeError


@pytest.fixture
def fresh_libraries() -> Iterator[None]:
    """Lets a test decide which libraries are found, and forgets them afterwards."""
    kernels.library.cache_clear()
    yield
    kernels.library.cache_clear()


@pytest.fixture
def no_libraries(fresh_libraries: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(kernels, "_library_path", lambda device: tmp_path / f"{device}.so")


def random_mask(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0)) > 0.5


def test_touching_corners_join_a_component() -> None:
    labels, areas = ops.components(torch.tensor([[[1, 0, 0], [0, 1, 0], [0, 0, 0]]], dtype=torch.uint8))
    assert labels.tolist() == [[[1, 0, 0], [0, 1, 0], [0, 0, 0]]]
    assert areas.tolist() == [[[2, 0, 0], [0, 2, 0], [0, 0, 0]]]
    assert labels.dtype == areas.dtype == torch.int32


def test_images_of_a_batch_do_not_touch() -> None:
    labels, areas = ops.components(torch.ones(3, 2, 2, dtype=torch.bool))
    assert (labels == 1).all() and (areas == 4).all()


def test_holes_are_filled_up_to_the_given_area() -> None:
    mask = torch.ones(1, 5, 7, dtype=torch.bool)
    mask[0, 1, 1] = False
    mask[0, 2:4, 4] = False
    assert ops.cleanup_masks(mask, 1, 0).sum() == 33
    assert ops.cleanup_masks(mask, 2, 0).all()
    assert torch.equal(ops.cleanup_masks(mask, 0, 0), mask)


def test_islands_are_removed_up_to_the_given_area() -> None:
    mask = torch.zeros(1, 5, 7, dtype=torch.bool)
    mask[0, 1, 1] = True
    mask[0, 2:4, 4] = True
    assert ops.cleanup_masks(mask, 0, 1).sum() == 2
    assert not ops.cleanup_masks(mask, 0, 2).any()
    assert torch.equal(ops.cleanup_masks(mask, 0, 0), mask)


def test_results_do_not_depend_on_whether_the_library_was_built(
    monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    mask = random_mask(2, 65, 130)
    before = (*ops.components(mask), ops.cleanup_masks(mask, 9, 5))
    request.getfixturevalue("no_libraries")
    assert kernels.build_info() == kernels.KernelBuild(None, None)
    after = (*ops.components(mask), ops.cleanup_masks(mask, 9, 5))
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_memory_order_does_not_matter() -> None:
    mask = random_mask(2, 31, 40)
    turned = mask.transpose(1, 2).contiguous().transpose(1, 2)
    assert not turned.is_contiguous()
    assert torch.equal(ops.components(turned)[0], ops.components(mask)[0])
    assert torch.equal(ops.cleanup_masks(turned, 9, 9), ops.cleanup_masks(mask, 9, 9))


@pytest.mark.parametrize("shape", [(0, 4, 5), (2, 0, 5), (2, 4, 0), (0, 0, 0)])
def test_empty_masks_give_empty_results(shape: tuple[int, int, int]) -> None:
    mask = torch.empty(shape, dtype=torch.bool)
    labels, areas = ops.components(mask)
    assert labels.shape == areas.shape == ops.cleanup_masks(mask, 1, 1).shape == shape


def test_the_mask_given_is_left_as_it_was() -> None:
    mask = random_mask(1, 20, 20)
    copy = mask.clone()
    ops.cleanup_masks(mask, 400, 400)
    assert torch.equal(mask, copy)


@pytest.mark.parametrize("shape", [(4, 5), (1, 1, 4, 5)])
def test_another_rank_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match=r"\[B, H, W\], got \(.*4, 5\)"):
        ops.components(torch.zeros(shape, dtype=torch.bool))
    with pytest.raises(ShapeError, match=r"\[B, H, W\]"):
        ops.cleanup_masks(torch.zeros(shape, dtype=torch.bool), 1, 1)


def test_logits_are_refused() -> None:
    with pytest.raises(TypeError, match="float32; threshold"):
        ops.components(torch.zeros(1, 4, 5))


def test_an_image_with_too_many_pixels_is_refused() -> None:
    with pytest.raises(ShapeError, match="tiles"):
        ops.components(torch.zeros(1, 1, 1, dtype=torch.bool).expand(1, 2**16, 2**15))


@pytest.mark.parametrize(("hole", "island", "name"), [(-1, 0, "max_hole_area_px"), (0, -3, "max_island_area_px")])
def test_a_negative_area_is_refused(hole: int, island: int, name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} must be 0 or more"):
        ops.cleanup_masks(random_mask(1, 4, 4), hole, island)


def test_ops_keep_the_rules_of_torch() -> None:
    mask = random_mask(2, 6, 7)
    torch.library.opcheck(torch.ops.sam2_engine.components.default, (mask,))
    torch.library.opcheck(torch.ops.sam2_engine.cleanup_masks.default, (mask, 3, 2))


def test_ops_stand_inside_a_compiled_program() -> None:
    compiled = torch.compile(lambda logits: ops.cleanup_masks(logits > 0, 3, 2), backend="eager", fullgraph=True)
    logits = torch.randn(1, 16, 17, generator=torch.Generator().manual_seed(0))
    assert torch.equal(compiled(logits), ops.cleanup_masks(logits > 0, 3, 2))


def test_a_broken_library_is_reported_once_and_the_twin_serves(
    no_libraries: None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "cpu.so").write_bytes(b"not a library")
    mask = random_mask(1, 9, 9)
    with caplog.at_level(logging.WARNING, logger="sam2_engine.ops"):
        labels, _ = ops.components(mask)
        ops.components(mask)
    assert torch.equal(labels, ops.components_twin(mask)[0])
    assert kernels.build_info().cpu is None
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "reinstall" in caplog.text


def test_a_library_of_another_version_is_not_used(
    fresh_libraries: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    if kernels.build_info().cpu is None:
        pytest.skip("needs the CPU library")
    kernels.library.cache_clear()
    monkeypatch.setattr(kernels, "_KERNELS_VERSION", kernels._KERNELS_VERSION + 1)
    assert kernels.build_info().cpu is None
    assert f"expected {kernels._KERNELS_VERSION}" in caplog.text


def test_build_info_says_what_is_compiled() -> None:
    assert str(kernels.KernelBuild(None, None)) == (
        "components, cleanup_masks, attention, add_norm, halve, mix - CPU: not built, the plain twin is used; "
        "CUDA: not built, CUDA tensors are cleaned up on the CPU"
    )
    assert "CPU: compiled; CUDA: compiled" in str(kernels.KernelBuild(Path("a"), Path("b")))


def test_importing_opens_no_library() -> None:
    code = "from sam2_engine import kernels, ops; assert kernels.library.cache_info().currsize == 0"
    subprocess.run([sys.executable, "-c", code], check=True)
