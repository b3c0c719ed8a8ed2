"""The attention kernel, built here from its sources, against PyTorch in double precision.

AMX is carried out by plain code (amx_on_host.h), so that every kind that AVX-512 can stand in for is tested.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from sam2_engine import attention
from sam2_engine import kernels as libraries
from tests.csrc.compiling import COMPILER, CSRC, HERE, compile_all, run_carefully

ON_HOST = ["-include", str(HERE / "amx_on_host.h")]
UNSUPPORTED = 3

pytestmark = pytest.mark.skipif(
    COMPILER is None or sys.platform == "win32", reason="needs a C++ compiler with the options of GCC"
)


@dataclass(frozen=True)
class Kind:
    """One set of instructions, the numbers it works on, and how far off it may be for values of about 1."""

    name: str
    most: int
    dtype: torch.dtype
    tolerance: float

    def attend(self, queries: Tensor, keys: Tensor, values: Tensor, counts: Tensor | None = None, **how: int) -> Tensor:
        return attention.attend(queries, keys, values, counts, most=self.most, **how)

    def random(self, *shape: int, seed: int = 0) -> Tensor:
        return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(self.dtype)


KINDS = [
    Kind("avx2", attention.AVX2, torch.float32, 1e-5),
    Kind("avx512", attention.AVX512, torch.float32, 1e-5),
    Kind("avx512_bf16", attention.AVX512_BF16, torch.bfloat16, 0.02),
    Kind("amx_bf16", attention.AMX_BF16, torch.bfloat16, 0.02),
    Kind("amx_split", attention.AMX_SPLIT, torch.float32, 1e-4),
]


def sources() -> list[Path]:
    return [CSRC / "cpu" / "kernels.cpp", *sorted((CSRC / "cpu").glob("attention*.cpp"))]


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All kinds, with plain code for AMX."""
    assert COMPILER is not None
    folder = tmp_path_factory.mktemp("attention")
    path = folder / "library.so"
    subprocess.run(
        [COMPILER, "-shared", "-pthread", "-o", path, *compile_all(folder, sources(), "-O2", *ON_HOST)], check=True
    )
    return path


@pytest.fixture(scope="module")
def kernels(library: Path) -> Iterator[ctypes.CDLL]:
    opened = ctypes.CDLL(str(library))
    opened.sam2_attention_cpu.argtypes = [ctypes.c_void_p]
    opened.sam2_kernels_message.restype = ctypes.c_char_p
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(attention, "library", lambda device: opened)
        yield opened


@pytest.fixture(params=KINDS, ids=lambda kind: kind.name, scope="module")
def kind(kernels: ctypes.CDLL, request: pytest.FixtureRequest) -> Kind:
    kind: Kind = request.param
    if kernels.sam2_attention_instructions_cpu(attention._FORMATS[kind.dtype]) < kind.most:
        pytest.skip(f"this processor has no {kind.name}, or cannot stand in for it")
    return kind


def exact(queries: Tensor, keys: Tensor, values: Tensor, counts: Tensor | None = None) -> Tensor:
    return attention.attend_twin(queries.double(), keys.double(), values.double(), counts)


def assert_right(kind: Kind, parts: Sequence[Tensor], counts: Tensor | None = None) -> None:
    queries, keys, values = parts
    attended = kind.attend(queries, keys, values, counts)
    assert attended.shape == (*queries.shape[:3], values.shape[3])
    assert attended.dtype == kind.dtype
    wrong = (attended.double() - exact(queries, keys, values, counts)).abs()
    largest = max([1.0, *values.double().abs().flatten().tolist()])
    assert not (wrong > kind.tolerance * largest).any() and not wrong.isnan().any()


SIZES = st.one_of(st.integers(0, 3), st.integers(14, 70))
WIDTHS = st.one_of(st.integers(1, 8), st.sampled_from([16, 17, 20, 32, 33, 48, 64, 70]))


@st.composite
def problems(draw: st.DrawFn) -> tuple[tuple[int, ...], tuple[int, ...], int]:
    batch, heads = draw(st.integers(0, 3)), draw(st.integers(1, 3))
    channels = 2 * draw(st.one_of(st.integers(1, 9), st.sampled_from([16, 17, 28, 48])))
    return (batch, heads), (draw(SIZES), draw(SIZES), channels, draw(WIDTHS)), draw(st.integers(0, 2**31))


@pytest.mark.property
@settings(max_examples=40)
@given(problem=problems())
def test_it_gives_what_pytorch_gives(kind: Kind, problem: tuple[tuple[int, ...], tuple[int, ...], int]) -> None:
    outer, (queries, keys, channels, width), seed = problem
    shapes = [(queries, channels), (keys, channels), (keys, width)]
    assert_right(kind, [kind.random(*outer, *shape, seed=seed + i) for i, shape in enumerate(shapes)])


@pytest.mark.property
@settings(max_examples=40)
@given(problem=problems(), data=st.data())
def test_keys_beyond_the_count_have_no_part(
    kind: Kind, problem: tuple[tuple[int, ...], tuple[int, ...], int], data: st.DataObject
) -> None:
    outer, (queries, keys, channels, width), seed = problem
    counts = torch.tensor([data.draw(st.integers(0, keys)) for _ in range(outer[0])], dtype=torch.int64)
    shapes = [(queries, channels), (keys, channels), (keys, width)]
    parts = [kind.random(*outer, *shape, seed=seed + i) for i, shape in enumerate(shapes)]
    assert_right(kind, parts, counts)
    attended = kind.attend(*parts, counts)
    for part in parts[1:]:
        for values, count in zip(part, counts, strict=True):
            values[:, count:] = torch.nan
    assert torch.equal(kind.attend(*parts, counts), attended)


@pytest.mark.property
@settings(max_examples=40)
@given(data=st.data(), halves=st.booleans(), seed=st.integers(0, 2**31))
def test_windows_are_read_and_written_where_they_lie(kind: Kind, data: st.DataObject, halves: bool, seed: int) -> None:
    step = 2 if halves else 1
    batch, heads, channels = (
        data.draw(st.integers(1, 2)),
        data.draw(st.integers(1, 3)),
        2 * data.draw(st.integers(1, 20)),
    )
    height, width, side = (step * data.draw(st.integers(1, 10)) for _ in range(3))
    qkv = kind.random(batch, height, width, 3, heads, channels, seed=seed)
    queries, keys, values = qkv.unbind(3)
    queries = queries[:, ::step, ::step]
    padding = (kind.random(heads, channels, seed=seed + 1), kind.random(heads, channels, seed=seed + 2))
    attended = attention.attend_windows(queries, keys, values, side, padding, most=kind.most)
    parts = [part.double() for part in (queries, keys, values, *padding)]
    expected = attention.attend_windows_twin(*parts[:3], side, (parts[3], parts[4]))
    assert attended.shape == expected.shape and attended.dtype == kind.dtype
    assert (attended.double() - expected).abs().max() <= kind.tolerance * max(1.0, values.double().abs().max().item())


LAYOUTS: dict[str, Callable[[Kind, int, int, int], Tensor]] = {
    "heads inside": lambda kind, seed, rows, width: kind.random(2, rows, 3, width, seed=seed).transpose(1, 2),
    "cut from a wider one": lambda kind, seed, rows, width: kind.random(2, 3, rows, 2 * width + 1, seed=seed)[
        ..., :width
    ],
    "one of three": lambda kind, seed, rows, width: kind.random(2, rows, 3, 3, width, seed=seed)[:, :, 1].transpose(
        1, 2
    ),
    "every other row": lambda kind, seed, rows, width: kind.random(2, 3, 2 * rows, width, seed=seed)[:, :, ::2],
    "one batch for all": lambda kind, seed, rows, width: kind.random(1, 3, rows, width, seed=seed).expand(
        2, -1, -1, -1
    ),
    "one head for all": lambda kind, seed, rows, width: kind.random(2, 1, rows, width, seed=seed).expand(-1, 3, -1, -1),
    "one row for all": lambda kind, seed, rows, width: kind.random(2, 3, 1, width, seed=seed).expand(-1, -1, rows, -1),
    "columns": lambda kind, seed, rows, width: kind.random(2, 3, width, rows, seed=seed).transpose(2, 3),
}


@pytest.mark.property
@settings(max_examples=15)
@given(names=st.tuples(*[st.sampled_from(sorted(LAYOUTS))] * 3), seed=st.integers(0, 2**31))
def test_tensors_are_taken_as_they_lie(kind: Kind, names: tuple[str, ...], seed: int) -> None:
    sizes = [(35, 18), (41, 18), (41, 20)]
    parts = [LAYOUTS[name](kind, seed + i, *size) for i, (name, size) in enumerate(zip(names, sizes, strict=True))]
    assert_right(kind, parts)


@pytest.mark.parametrize(("width", "channels"), [(1, 256), (20, 64), (64, 256), (64, 300), (257, 16)])
def test_values_may_be_of_another_width(kind: Kind, width: int, channels: int) -> None:
    assert_right(
        kind, [kind.random(1, 1, 33, channels), kind.random(1, 1, 500, channels), kind.random(1, 1, 500, width)]
    )


def test_many_keys(kind: Kind) -> None:
    assert_right(kind, [kind.random(1, 1, 20, 16), kind.random(1, 1, 30_000, 16), kind.random(1, 1, 30_000, 8)])


def test_one_key_gives_its_value(kind: Kind) -> None:
    value = kind.random(2, 2, 1, 20)
    attended = kind.attend(kind.random(2, 2, 40, 8), kind.random(2, 2, 1, 8), value)
    torch.testing.assert_close(attended, value.expand(-1, -1, 40, -1).clone(), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("keys", [0, 40])
def test_without_any_key_that_counts_it_is_0(kind: Kind, keys: int) -> None:
    parts = [kind.random(2, 1, rows, 10) for rows in (36, keys, keys)]
    assert torch.equal(
        kind.attend(*parts, torch.zeros(2, dtype=torch.int64)), torch.zeros(2, 1, 36, 10, dtype=kind.dtype)
    )


@pytest.mark.property
@settings(max_examples=15)
@given(seed=st.integers(0, 2**31), sign=st.sampled_from([-1, 1, 0]))
def test_scores_of_ten_thousands_do_not_overflow(kind: Kind, seed: int, sign: int) -> None:
    numbers = torch.Generator().manual_seed(seed)
    queries, keys = (torch.randint(-100, 101, (1, 1, rows, 4), generator=numbers) for rows in (33, 300))
    if sign:
        queries, keys = queries.abs(), sign * keys.abs()
    queries, keys, values = queries.to(kind.dtype), keys.to(kind.dtype), kind.random(1, 1, 300, 20, seed=seed)
    attended = kind.attend(queries, keys, values).double()
    # Scores are whole or half numbers, exact in every format; times log2(e) they are rounded to about 0.001.
    assert (attended - exact(queries, keys, values)).abs().max() <= 0.01 + kind.tolerance


@pytest.mark.property
@settings(max_examples=8)
@given(seed=st.integers(0, 2**31))
def test_the_order_of_keys_changes_rounding_only(kind: Kind, seed: int) -> None:
    queries, keys, values = (kind.random(1, 2, rows, 24, seed=seed + rows) for rows in (40, 450, 450))
    order = torch.randperm(450, generator=torch.Generator().manual_seed(seed))
    attended, again = kind.attend(queries, keys, values), kind.attend(queries, keys[:, :, order], values[:, :, order])
    assert (attended.double() - again.double()).abs().max() <= kind.tolerance


@pytest.mark.parametrize("pool", ["PyTorch's", "none"])
def test_every_number_of_threads_gives_the_same_bits(kind: Kind, monkeypatch: pytest.MonkeyPatch, pool: str) -> None:
    if pool == "none":
        monkeypatch.setattr(attention, "thread_pool", lambda: None)
    queries, keys, values = (kind.random(3, 2, rows, 64) for rows in (150, 400, 400))
    one = kind.attend(queries, keys, values, threads=1)
    for threads in (2, 3, 7):
        assert torch.equal(kind.attend(queries, keys, values, threads=threads), one)


@pytest.mark.parametrize("given_threads", [1, 2, 5])
def test_a_pool_may_give_any_number_of_threads(kind: Kind, monkeypatch: pytest.MonkeyPatch, given_threads: int) -> None:
    Work = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
    asked: list[int] = []

    def in_threads(work: int, data: int, threads: int, flags: int) -> None:
        asked.append(threads)
        everyone = [threading.Thread(target=Work(work), args=(data,)) for _ in range(given_threads)]
        for one in everyone:
            one.start()
        for one in everyone:
            one.join()

    parallel = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint)(in_threads)
    queries, keys, values = (kind.random(3, 2, rows, 64) for rows in (150, 400, 400))
    one = kind.attend(queries, keys, values, threads=1)
    monkeypatch.setattr(attention, "thread_pool", lambda: ctypes.cast(parallel, ctypes.c_void_p).value)
    assert torch.equal(kind.attend(queries, keys, values, threads=3), one)
    assert asked == [3]


def test_a_small_problem_starts_no_threads(kind: Kind, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: int) -> None:
        raise AssertionError("threads were asked for")

    parallel = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint)(fail)
    monkeypatch.setattr(attention, "thread_pool", lambda: ctypes.cast(parallel, ctypes.c_void_p).value)
    assert_right(kind, [kind.random(1, 1, 32, 16)] * 3)  # would be 0 if it had asked


@pytest.mark.parametrize(
    ("dtype", "most"), [(torch.float32, attention.NONE), (torch.bfloat16, attention.AVX512), (torch.bfloat16, -1)]
)
def test_too_few_instructions_are_an_error(kernels: ctypes.CDLL, dtype: torch.dtype, most: int) -> None:
    part = torch.zeros(1, 1, 32, 16, dtype=dtype)
    with pytest.raises(RuntimeError, match=r"sam2_attention_cpu failed: .*has no instructions for it"):
        attention.attend(part, part, part, most=most)


def test_bfloat16_of_an_odd_width_is_an_error(kernels: ctypes.CDLL) -> None:
    numbers = torch.zeros(32 * 15, dtype=torch.bfloat16)
    rows = attention._Rows(numbers.data_ptr(), 0, 0, 15, 0)
    sizes = (1, 1, 32, 32, 15, 15)
    problem = attention._Problem(
        *[rows] * 4,
        *sizes,
        attention._Windows(),
        attention._Windows(),
        *[None] * 3,
        1.0,
        1,
        1,
        attention.AMX_SPLIT,
        None,
    )
    assert kernels.sam2_attention_cpu(ctypes.byref(problem)) == UNSUPPORTED


REPORT = "import ctypes, sys; k = ctypes.CDLL(sys.argv[1]); print(*map(k.sam2_attention_instructions_cpu, (0, 1)))"


def test_amx_that_goes_wrong_is_not_used(library: Path, kernels: ctypes.CDLL) -> None:
    if kernels.sam2_attention_instructions_cpu(0) < attention.AMX_SPLIT:
        pytest.skip("this processor cannot stand in for AMX")
    found = [
        subprocess.run(
            [sys.executable, "-c", REPORT, library], env=os.environ | more, check=True, capture_output=True, text=True
        ).stdout.split()
        for more in ({}, {"AMX_ON_HOST_IS_WRONG": "1"})
    ]
    assert found == [
        [str(attention.AMX_SPLIT), str(attention.AMX_BF16)],
        [str(attention.AVX512), str(attention.AVX512_BF16)],
    ]


def test_the_real_instructions_compile_without_warnings(tmp_path: Path) -> None:
    for path in compile_all(tmp_path, sorted((CSRC / "cpu").glob("attention_amx*.cpp")), "-O2"):
        assert Path(path).stat().st_size > 0


def test_it_stays_within_its_memory(tmp_path: Path) -> None:
    run_carefully(tmp_path, [HERE / "attention_driver.cpp", *sources()], "80", flags=ON_HOST)


def test_the_python_side_declares_what_the_library_has(kernels: ctypes.CDLL) -> None:
    for name in libraries._ARGUMENTS:
        if "attention" in name:
            assert getattr(kernels, name)
