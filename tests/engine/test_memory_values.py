"""Memories averaged before or after their projection: equal results, and which one a device is asked for."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor

from sam2_engine import attention
from sam2_engine.model.memory_attention import RotaryAttention
from sam2_engine.model.memory_values import CudaKernels, WidthChooser, choice_by_ability


@dataclass
class MadeUpKernels:
    """A device that says what it can do, and how long it takes."""

    can_flash: bool = False
    can_efficient: bool = False
    taken: list[float | None] = field(default_factory=list)
    asked: int = 0

    def flash(self, q: Tensor, k: Tensor, v: Tensor) -> bool:
        return self.can_flash and q.shape[-1] == k.shape[-1] == v.shape[-1]

    def efficient(self, q: Tensor, k: Tensor, v: Tensor) -> bool:
        return self.can_efficient

    def seconds(self, run: Callable[[], object]) -> float | None:
        run()
        self.asked += 1
        return self.taken.pop(0) if self.taken else None


def tokens(objects: int = 2, queries: int = 40, keys: int = 90) -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(0)
    return torch.randn(objects, queries, 32), torch.randn(objects, keys, 8), torch.randn(objects, keys, 8)


@pytest.fixture
def looking(monkeypatch: pytest.MonkeyPatch) -> RotaryAttention:
    monkeypatch.setattr(attention, "is_quick", lambda *_: False)
    torch.manual_seed(1)
    return RotaryAttention(32, key_dim=8).eval()


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@torch.inference_mode()
def test_both_ways_give_the_same(looking: RotaryAttention, precision: torch.dtype) -> None:
    queries, keys, values = tokens()
    found = []
    for kernels in (MadeUpKernels(can_efficient=True), MadeUpKernels()):
        looking._chooser = WidthChooser(kernels)
        with torch.autocast("cpu", precision, enabled=precision != torch.float32):
            q, k = looking.q_proj(queries), looking.k_proj(keys)
            found.append(looking._in_better_width(q, k, values))
    tolerance = 1e-5 if precision == torch.float32 else 2e-2
    torch.testing.assert_close(*found, rtol=tolerance, atol=tolerance)
    assert not torch.equal(*found)  # two ways, indeed


@pytest.mark.parametrize(
    ("kernels", "width", "is_sure"),
    [
        (MadeUpKernels(can_flash=True, can_efficient=True), "wide", False),
        (MadeUpKernels(can_efficient=True), "narrow", True),
        (MadeUpKernels(can_flash=True), "wide", True),
        (MadeUpKernels(), "wide", True),
    ],
)
def test_what_the_kernels_can_do_decides(kernels: MadeUpKernels, width: str, is_sure: bool) -> None:
    q, k, narrow = torch.zeros(1, 1, 4, 32), torch.zeros(1, 1, 9, 32), torch.zeros(1, 1, 9, 8)
    choice = choice_by_ability(kernels, q, k, narrow)
    assert (choice.width, choice.is_sure) == (width, is_sure)
    assert choice.reason


def sides(count: int) -> tuple[Tensor, Tensor, Tensor]:
    return torch.zeros(1, 1, count, 32), torch.zeros(1, 1, 2 * count, 32), torch.zeros(1, 1, 2 * count, 8)


def test_what_is_not_clear_is_timed_once_for_shapes_of_one_class() -> None:
    kernels = MadeUpKernels(True, True, taken=[0.2, 0.1, 0.1, 0.3])
    chooser = WidthChooser(kernels)
    ways = {"narrow": lambda: None, "wide": lambda: None}
    # The likely way is timed first, and the quicker one is taken.
    assert [chooser.width(*sides(count), ways) for count in (600, 700, 1000)] == ["narrow"] * 3
    assert kernels.asked == 2
    assert chooser.width(*sides(5000), ways) == "wide"
    assert kernels.asked == 4


def test_where_nothing_may_be_timed_the_likely_way_is_taken_and_asked_for_again() -> None:
    kernels = MadeUpKernels(True, True)
    chooser = WidthChooser(kernels)
    ways = {"narrow": lambda: None, "wide": lambda: None}
    assert chooser.width(*sides(600), ways) == "wide"
    kernels.taken = [0.2, 0.1]
    assert chooser.width(*sides(600), ways) == "narrow"


def test_clocks_decide_nothing_unless_pytorch_was_told_to_try_its_algorithms(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", False)
    ran = []
    assert CudaKernels().seconds(lambda: ran.append(1)) is None
    assert ran == []


def test_choices_are_neither_copied_nor_saved(looking: RotaryAttention) -> None:
    looking._chooser = WidthChooser(MadeUpKernels())
    for other in (copy.deepcopy(looking), pickle.loads(pickle.dumps(looking))):
        assert isinstance(other._chooser.kernels, CudaKernels)
    assert not any("chooser" in name for name in looking.state_dict())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@torch.inference_mode()
def test_both_ways_give_the_same_on_a_gpu(precision: torch.dtype) -> None:
    looking = RotaryAttention(256, key_dim=64).eval().cuda()
    with torch.autocast("cuda", precision, enabled=precision != torch.float32):
        queries, keys, values = (
            torch.randn(2, count, channels, device="cuda") for count, channels in ((1024, 256), (4100, 64), (4100, 64))
        )
        q, k = looking.q_proj(queries), looking.k_proj(keys)
        narrow, wide = looking._narrow(q, k, values.to(q.dtype)), looking._wide(q, k, values)
        chosen = looking._attended(q, k, values)
    tolerance = 1e-3 if precision == torch.float32 else 3e-2
    torch.testing.assert_close(narrow, wide, rtol=tolerance, atol=tolerance)
    assert torch.equal(chosen, narrow) or torch.equal(chosen, wide)
