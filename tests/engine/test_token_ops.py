"""Sums with layer norms, maxima of neighbours, mixing to masks: the kernels give what their twins give."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from sam2_engine import attention, token_ops

FORMATS = {torch.float32: 1e-5, torch.bfloat16: 0.02}

formats = pytest.mark.parametrize("dtype", FORMATS)
needs_kernel = pytest.mark.skipif(
    attention.instructions(torch.float32) == attention.NONE,
    reason="needs the compiled kernels, and a processor for them",
)


def random(*shape: int, dtype: torch.dtype, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def layer_of(channels: int) -> nn.LayerNorm:
    layer = nn.LayerNorm(channels, eps=1e-6)
    nn.init.normal_(layer.weight)
    nn.init.normal_(layer.bias)
    return layer


@formats
@settings(max_examples=40)
@given(
    rows=st.integers(0, 7), channels=st.integers(1, 70), seed=st.integers(0, 2**31), scale=st.sampled_from([1.0, 100.0])
)
def test_sum_and_norm_are_as_of_the_twin(dtype: torch.dtype, rows: int, channels: int, seed: int, scale: float) -> None:
    a, b = (random(2, rows, channels, dtype=dtype, seed=seed + i) * scale + 3 for i in range(2))
    layer = layer_of(channels)
    with torch.inference_mode():
        (total, normed), (twin, twin_normed) = token_ops.add_norm(a, b, layer), token_ops.add_norm_twin(a, b, layer)
        torch.testing.assert_close(token_ops.norm(a, layer), layer(a), rtol=FORMATS[dtype], atol=5 * FORMATS[dtype])
    assert torch.equal(total, twin)
    assert normed.dtype == twin_normed.dtype and normed.shape == twin_normed.shape
    torch.testing.assert_close(normed, twin_normed, rtol=FORMATS[dtype], atol=5 * FORMATS[dtype])


@formats
def test_many_rows_in_threads_are_as_of_the_twin(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = (random(5001, 96, dtype=dtype, seed=i) for i in range(2))
    layer = layer_of(96)
    with torch.inference_mode():
        expected = token_ops.add_norm_twin(a, b, layer)
        for pool in (token_ops.thread_pool(), None):
            monkeypatch.setattr(token_ops, "thread_pool", lambda pool=pool: pool)
            monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
            for found, twin in zip(token_ops.add_norm(a, b, layer), expected, strict=True):
                torch.testing.assert_close(found, twin, rtol=FORMATS[dtype], atol=FORMATS[dtype])


@formats
@settings(max_examples=40)
@given(sizes=st.tuples(*[st.integers(0, 7)] * 3), channels=st.integers(1, 40), seed=st.integers(0, 2**31))
def test_halves_are_the_bits_of_the_twin(
    dtype: torch.dtype, sizes: tuple[int, int, int], channels: int, seed: int
) -> None:
    batch, height, width = sizes[0], sizes[1] + 2, sizes[2] + 2
    grid = random(batch, height, width, 3 * channels, dtype=dtype, seed=seed)
    grid[:, :1, :1, :1] = torch.nan
    for part in (grid, *grid.chunk(3, dim=-1)):
        with torch.inference_mode():
            torch.testing.assert_close(
                token_ops.halve(part), token_ops.halve_twin(part), rtol=0, atol=0, equal_nan=True
            )


@formats
@settings(max_examples=40)
@given(
    sizes=st.tuples(*[st.integers(0, 4)] * 3),
    channels=st.integers(1, 40),
    shares=st.booleans(),
    seed=st.integers(0, 2**31),
    scale=st.sampled_from([0.1, 1.0, 10.0]),
)
def test_masks_are_mixed_as_by_the_twin(
    dtype: torch.dtype, sizes: tuple[int, int, int], channels: int, shares: bool, seed: int, scale: float
) -> None:
    batch, height, width = sizes
    cells = random(batch, height * width * 16, channels, dtype=dtype, seed=seed) * scale
    skip = random(1 if shares else batch, height * width * 16, channels, dtype=dtype, seed=seed + 1)
    mixers = random(batch, 4, channels, dtype=torch.float32, seed=seed + 2)
    with torch.inference_mode():
        found = token_ops.mix(cells, skip, mixers, (height, width))
        twin = token_ops.mix_twin(cells.float(), skip.float(), mixers, (height, width))
    assert found.dtype == torch.float32 and found.shape == (batch, 4, 4 * height, 4 * width)
    # The kernel rounds nothing on the way, whatever the features are stored in.
    torch.testing.assert_close(found, twin, rtol=1e-5, atol=2e-5 * max(scale, 1.0))


def test_each_part_of_a_cell_is_mixed_into_its_place() -> None:
    """A cell's parts are lower or upper, left or right, and each of them once more."""
    sizes, cells = (3, 2), torch.zeros(1, 3 * 2 * 16, 1)
    place = 16 * (2 * 2 + 1) + int("1001", 2)  # the last cell: lower, left, then upper, right
    cells[0, place] = 30.0  # a GELU leaves it as it is
    with torch.inference_mode():
        for way in (token_ops.mix, token_ops.mix_twin):
            mixed = way(cells, torch.zeros_like(cells), torch.tensor([1.0, 2.0, 3.0, 4.0]).reshape(1, 4, 1), sizes)
            expected = torch.zeros(1, 4, 12, 8)
            expected[0, :, 2 * 4 + 2, 4 + 1] = torch.tensor([30.0, 60.0, 90.0, 120.0])
            torch.testing.assert_close(mixed, expected, rtol=1e-6, atol=1e-6)


@formats
def test_what_is_no_number_stays_none(dtype: torch.dtype) -> None:
    a = torch.full((1, 20), torch.nan, dtype=dtype)
    with torch.inference_mode():
        total, normed = token_ops.add_norm(a, torch.zeros_like(a), layer_of(20))
    assert total.isnan().all() and normed.isnan().all()


@needs_kernel
def test_the_kernels_are_used_without_gradients_only(monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[str] = []
    monkeypatch.setattr(token_ops, "_run", lambda function, problem: used.append(function))
    x, layer = torch.randn(2, 4, 4, 8), layer_of(8)
    token_ops.add_norm(x, x, layer), token_ops.norm(x, layer), token_ops.halve(x)
    assert used == []
    with torch.inference_mode():
        token_ops.add_norm(x, x, layer), token_ops.norm(x, layer), token_ops.halve(x)
    assert used == ["sam2_add_norm_cpu", "sam2_add_norm_cpu", "sam2_halve_cpu"]


@needs_kernel
@pytest.mark.parametrize(
    "change",
    [
        lambda x, layer: (x.double(), layer.double()),
        lambda x, layer: (x.transpose(1, 2), layer),
        lambda x, layer: (x.bfloat16(), layer.bfloat16()),
    ],
)
def test_what_the_kernel_cannot_do_pytorch_does(monkeypatch: pytest.MonkeyPatch, change: object) -> None:
    x, layer = change(torch.randn(2, 4, 4, 8), layer_of(8))  # type: ignore[operator]
    monkeypatch.delattr(token_ops, "_run")
    with torch.inference_mode():
        assert torch.equal(token_ops.norm(x, layer), layer(x))
        assert torch.equal(token_ops.add_norm(x, x, layer)[1], layer(x + x))


def test_gradients_flow() -> None:
    x, layer = torch.randn(2, 4, 4, 8, requires_grad=True), layer_of(8)
    total, normed = token_ops.add_norm(x, x, layer)
    (total.sum() + normed.square().sum() + token_ops.halve(x).sum()).backward()  # type: ignore[no-untyped-call]
    assert x.grad is not None and x.grad.isfinite().all()
