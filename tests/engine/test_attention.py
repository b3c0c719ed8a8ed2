"""The Python side of the attention kernel: what it accepts, when it is chosen, and its twin."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from sam2_engine import attention
from sam2_engine.errors import SettingError, ShapeError

needs_kernel = pytest.mark.skipif(
    attention.instructions(torch.float32) == attention.NONE, reason="needs the compiled kernel, and a processor for it"
)


@pytest.fixture(autouse=True)
def no_limit(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As without the environment variable; what was found out is forgotten before and after."""
    monkeypatch.delenv(attention.LIMIT, raising=False)
    attention.instructions.cache_clear()
    yield
    attention.instructions.cache_clear()


def parts(queries: int = 20, keys: int = 30, channels: int = 8, width: int = 6, heads: int = 2) -> list[Tensor]:
    numbers = torch.Generator().manual_seed(queries)
    shapes = [(queries, channels), (keys, channels), (keys, width)]
    return [torch.randn(3, heads, *shape, generator=numbers) for shape in shapes]


@needs_kernel
def test_it_gives_what_its_twin_gives() -> None:
    counts = torch.tensor([30, 0, 7])
    for key_counts in (None, counts):
        attended = attention.attend(*parts(), key_counts)
        torch.testing.assert_close(attended, attention.attend_twin(*parts(), key_counts), rtol=1e-4, atol=1e-4)


@needs_kernel
def test_heads_of_the_result_lie_side_by_side() -> None:
    attended = attention.attend(*parts(queries=20, width=6, heads=2))
    assert attended.transpose(1, 2).is_contiguous()


@needs_kernel
def test_counts_may_be_of_any_whole_numbers() -> None:
    counts = torch.tensor([30, 0, 7])
    attended = attention.attend(*parts(), counts)
    assert torch.equal(attention.attend(*parts(), counts.to(torch.int32)), attended)
    assert torch.equal(attention.attend(*parts(), counts.repeat_interleave(2)[::2]), attended)


def test_the_twin_is_attention_of_pytorch() -> None:
    queries, keys, values = parts()
    expected = F.scaled_dot_product_attention(queries, keys, values)
    assert torch.equal(attention.attend_twin(queries, keys, values), expected)
    all_count = attention.attend_twin(queries, keys, values, torch.full((3,), 30))
    torch.testing.assert_close(all_count, expected, rtol=1e-5, atol=1e-6)


def test_the_twin_leaves_out_keys_beyond_the_count() -> None:
    queries, keys, values = parts()
    attended = attention.attend_twin(queries, keys, values, torch.tensor([0, 7, 30]))
    assert torch.equal(attended[0], torch.zeros(2, 20, 6))
    few = F.scaled_dot_product_attention(queries[1:2], keys[1:2, :, :7], values[1:2, :, :7])
    torch.testing.assert_close(attended[1:2], few, rtol=1e-5, atol=1e-6)
    assert torch.equal(attention.attend_twin(queries, keys[:, :, :0], values[:, :, :0]), torch.zeros(3, 2, 20, 6))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda q, k, v: (q[0], k[0], v[0]), r"wants \[B, heads, N, C\].*got queries \(2, 20, 8\)"),
        (lambda q, k, v: (q, k[:2], v), "equal B, heads"),
        (lambda q, k, v: (q, k[:, :1], v), "equal B, heads"),
        (lambda q, k, v: (q, k, v[:, :, 1:]), "one value for each key"),
        (lambda q, k, v: (q[..., :4], k, v), "even C of queries and keys"),
        (lambda q, k, v: (q[..., :5], k[..., :5], v), "even C of queries and keys"),
        (lambda q, k, v: (q, k.bfloat16(), v), r"all in float32 or all in bfloat16; got torch.float32, torch.bfloat16"),
        (lambda q, k, v: (q.half(), k.half(), v.half()), r"got torch.float16"),
    ],
)
def test_what_does_not_go_together_is_refused(change: object, message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        attention.attend(*change(*parts()))  # type: ignore[operator]


def test_counts_of_another_number_of_problems_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"one number for each of 3 problems; got \(2,\)"):
        attention.attend(*parts(), torch.tensor([1, 2]))


def test_without_the_library_pytorch_is_to_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, "library", lambda device: None)
    assert attention.instructions(torch.float32) == attention.NONE
    with torch.no_grad():
        assert not attention.is_quick(*parts())
    with pytest.raises(RuntimeError, match=r"not built; ask is_quick\(...\) first"):
        attention.attend(*parts())


@needs_kernel
def test_it_is_quick_for_enough_queries_without_gradients() -> None:
    with torch.no_grad():
        assert attention.is_quick(*parts(queries=attention.FEWEST_QUERIES))
        assert not attention.is_quick(*parts(queries=attention.FEWEST_QUERIES - 1))
        assert not attention.is_quick(*parts(channels=7))
        queries, keys, values = parts()
        assert not attention.is_quick(queries, keys, values.double())
        assert not attention.is_quick(queries.double(), keys.double(), values.double())
        assert not attention.is_quick(queries.to("meta"), keys.to("meta"), values.to("meta"))
    assert not attention.is_quick(*parts())
    with torch.inference_mode():
        assert attention.is_quick(*parts())


def grids(height: int = 6, width: int = 5, halve: bool = False) -> list[Tensor]:
    """Queries, keys, values on a grid, and a key and a value for what lies beyond it."""
    numbers = torch.Generator().manual_seed(height)
    qkv = torch.randn(2, height, width, 3, 2, 8, generator=numbers)
    queries, keys, values = qkv.unbind(3)
    beyond = torch.randn(2, 2, 8, generator=numbers)
    return [queries[:, ::2, ::2] if halve else queries, keys, values, *beyond]


@needs_kernel
@pytest.mark.parametrize(("height", "width", "side", "halve"), [(6, 5, 4, False), (8, 6, 4, True), (3, 3, 7, False)])
def test_windows_are_as_of_the_twin(height: int, width: int, side: int, halve: bool) -> None:
    queries, keys, values, key, value = grids(height, width, halve)
    attended = attention.attend_windows(queries, keys, values, side, (key, value))
    expected = attention.attend_windows_twin(queries, keys, values, side, (key, value))
    torch.testing.assert_close(attended, expected, rtol=1e-4, atol=1e-4)


def test_one_window_over_all_is_attention_to_all() -> None:
    queries, keys, values, key, value = grids(6, 6)
    attended = attention.attend_windows_twin(queries, keys, values, 6, (key, value))
    plain = attention.attend_twin(*(part.flatten(1, 2).transpose(1, 2) for part in (queries, keys, values)))
    torch.testing.assert_close(attended.flatten(1, 2).transpose(1, 2), plain)


def test_keys_beyond_the_grid_take_part() -> None:
    queries, keys, values, key, value = grids(3, 3)
    attended = attention.attend_windows_twin(queries, keys, values, 4, (key, value))
    rows = [part.flatten(1, 2).transpose(1, 2) for part in (queries, keys, values)]
    all_keys, all_values = (
        torch.cat((part, one[None, :, None].expand(2, -1, 7, -1)), dim=2)
        for part, one in zip(rows[1:], (key, value), strict=True)
    )
    expected = attention.attend_twin(rows[0], all_keys, all_values)
    torch.testing.assert_close(attended.flatten(1, 2).transpose(1, 2), expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda q, k, v, a, b: (q[0], k, v, 4, (a, b)), r"windows want \[B, h, w, heads, C\]"),
        (lambda q, k, v, a, b: (q, k, v[:, 1:], 4, (a, b)), "twice"),
        (lambda q, k, v, a, b: (q[:, :2], k, v, 4, (a, b)), "queries on the whole or half the grid"),
        (lambda q, k, v, a, b: (q[:, ::2, ::2][:, :3, :2], k, v, 4, (a, b)), "want an even grid and an even side"),
        (lambda q, k, v, a, b: (q, k, v, 4, (a[:1], b)), r"padding is a key and a value \(2, 8\)"),
        (lambda q, k, v, a, b: (q, k, v, 4, (a.half(), b)), "all in float32 or all in bfloat16"),
    ],
)
def test_windows_that_do_not_go_together_are_refused(change: object, message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        attention.attend_windows(*change(*grids(6, 5)))  # type: ignore[operator]


@needs_kernel
def test_windows_are_quick_without_gradients() -> None:
    grid = torch.zeros(1, 6, 5, 8)
    with torch.inference_mode():
        assert attention.is_quick_in_windows(grid, 3)
        assert not attention.is_quick_in_windows(grid, 2, halve=True)
        assert attention.is_quick_in_windows(grid[:, :, :4], 2, halve=True)
        assert not attention.is_quick_in_windows(grid.half(), 3)
        assert not attention.is_quick_in_windows(grid.to("meta"), 3)
    assert not attention.is_quick_in_windows(grid, 3)


class Library:
    """Can do the most that there is."""

    def sam2_attention_instructions_cpu(self, number_format: int) -> int:
        return attention.AMX_BF16 if number_format else attention.AMX_SPLIT


@pytest.mark.parametrize(
    ("word", "float32", "bfloat16"),
    [
        ("", attention.AMX_SPLIT, attention.AMX_BF16),
        ("avx512_bf16", attention.AVX512_BF16, attention.AVX512_BF16),
        (" AVX512 ", attention.AVX512, attention.NONE),
        ("avx2", attention.AVX2, attention.NONE),
        ("none", attention.NONE, attention.NONE),
    ],
)
def test_the_environment_limits_instructions(
    monkeypatch: pytest.MonkeyPatch, word: str, float32: int, bfloat16: int
) -> None:
    monkeypatch.setattr(attention, "library", lambda device: Library())
    monkeypatch.setenv(attention.LIMIT, word)
    assert attention.instructions(torch.float32) == float32
    assert attention.instructions(torch.bfloat16) == bfloat16
    assert attention.instructions(torch.float16) == attention.NONE


def test_an_unknown_limit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, "library", lambda device: Library())
    monkeypatch.setenv(attention.LIMIT, "sse2")
    with pytest.raises(SettingError, match=r"SAM2_INSTRUCTIONS must be none, avx2, avx512 or avx512_bf16.*got 'sse2'"):
        attention.instructions(torch.float32)
