"""What is quicker and not exact: it changes what it says it changes, and nothing where it is off."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from sam2_engine import attention
from sam2_engine.model import Memory, Sam2
from sam2_engine.model.memory_attention import RotaryAttention
from sam2_engine.model.position import rotary_table

CPU = torch.device("cpu")


def some_memory(pool: int = 1) -> Memory:
    torch.manual_seed(0)
    planes = tuple(torch.randn(2, 32, 4, 4) for _ in range(3))
    return Memory(planes, (0, 2, 1), torch.randn(2, 5, 128), torch.linspace(0, 1, 5), pool)


class TestPooledMemories:
    @pytest.mark.parametrize("has_kernel", [True, False])
    def test_a_mean_counts_as_often_as_what_it_is_the_mean_of(
        self, has_kernel: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        if not has_kernel:
            monkeypatch.setattr(attention, "instructions", lambda dtype: attention.NONE)
        torch.manual_seed(0)
        layer = RotaryAttention(64, 1, key_dim=16)
        queries, keys, values = torch.randn(2, 64, 64), torch.randn(2, 40, 64), torch.randn(2, 40, 16)
        bias = F.pad(torch.full((32,), math.log(4)), (0, 8))
        with torch.inference_mode():
            expected = layer.v_proj((queries @ keys.transpose(1, 2) / 8 + bias).softmax(-1) @ values)
            found = layer._weighed(queries, keys, values, 32, 2)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)

    def test_keys_lie_in_the_middle_of_their_square(self) -> None:
        fine, coarse = rotary_table(4, 6, 16, CPU), rotary_table(4, 6, 16, CPU, 2)
        angles = torch.atan2(fine[1], fine[0])[:, 3]  # of the slowest pair that tells x: less than half a turn
        middle = torch.atan2(coarse[1], coarse[0])[:, 3]
        squares = F.avg_pool2d(angles.reshape(1, 1, 4, 6), 2).flatten()
        assert coarse[0].shape == (6, 8)
        torch.testing.assert_close(middle, squares)

    def test_with_and_without_gradients_it_is_the_same(self, tiny_model: Sam2) -> None:
        embedding = torch.randn(1, 128, 4, 4)
        with torch.inference_mode():
            quick = tiny_model.condition(embedding, some_memory(2))
        plain = tiny_model.condition(embedding, some_memory(2)).detach()
        torch.testing.assert_close(quick, plain, rtol=1e-4, atol=1e-5)

    def test_it_is_near_what_it_stands_for_and_not_the_same(self, tiny_model: Sam2) -> None:
        embedding = torch.randn(1, 128, 4, 4)
        with torch.inference_mode():
            exact = tiny_model.condition(embedding, some_memory())
            pooled = tiny_model.condition(embedding, some_memory(2))
        assert not torch.equal(exact, pooled)
        assert F.cosine_similarity(exact.flatten(), pooled.flatten(), dim=0) > 0.95
