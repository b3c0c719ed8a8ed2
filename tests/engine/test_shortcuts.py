"""What is quicker and not exact: it changes what it says it changes, and nothing where it is off."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from sam2_engine import attention
from sam2_engine.build import build_sam2_video_predictor
from sam2_engine.errors import SettingError
from sam2_engine.memory import MemoryBank, MemoryEntry, MemoryPlan, RecentFrames, fewer
from sam2_engine.model import Memory, Sam2
from sam2_engine.model.memory_attention import RotaryAttention
from sam2_engine.model.position import rotary_table
from sam2_engine.opening import load_tracker, open_session
from sam2_engine.prompts import Click, Prompts
from sam2_engine.session import Session
from sam2_engine.shortcuts import EXACT, Shortcuts
from sam2_engine.tracking import Tracker

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
        layer = RotaryAttention(64, key_dim=16)
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


def a_bank(seed: int, prompted: set[int], recent: set[int]) -> MemoryBank:
    noise = torch.Generator().manual_seed(seed)
    bank = MemoryBank()
    for frame in sorted(prompted | recent):
        tokens = torch.randn(1, 4, 2, 2, generator=noise)
        nothing = torch.zeros(1, 1)
        bank.put(MemoryEntry(frame, frame in prompted, 1, nothing, nothing, nothing, 1.0, tokens))
    return bank


def plan_at(frame: int, bank: MemoryBank) -> MemoryPlan:
    return RecentFrames().plan(frame, bank, num_frames=None, direction=1)


class TestFewerMemories:
    @given(
        seed=st.integers(0, 99),
        prompted=st.sets(st.integers(0, 9), min_size=1, max_size=4),
        most=st.integers(1, 8),
    )
    def test_what_must_stay_stays_and_the_rest_is_as_many_as_asked_for(
        self, seed: int, prompted: set[int], most: int
    ) -> None:
        bank = a_bank(seed, prompted, set(range(10)) - prompted)
        whole = plan_at(10, bank)
        short = fewer(whole, bank, most)
        nearest = min((slot for _, slot in whole.spatial if slot > 0), default=0)
        must_stay = [one for one in whole.spatial if one[1] <= nearest]  # prompted frames, the nearest tracked one
        assert len(short.spatial) == min(len(whole.spatial), max(most, len(must_stay)))
        assert set(must_stay) <= set(short.spatial)
        assert [one for one in whole.spatial if one in short.spatial] == list(short.spatial)
        assert (short.pointers, short.span) == (whole.pointers, whole.span)
        assert fewer(short, bank, most) == short

    def test_a_memory_that_says_nothing_new_goes_first(self) -> None:
        bank = a_bank(0, {0}, set(range(1, 8)))
        like = bank.recent[4].tokens
        assert like is not None
        bank.recent[3] = replace(bank.recent[3], tokens=like + 0.01)
        gone = set(plan_at(8, bank).spatial) - set(fewer(plan_at(8, bank), bank, 6).spatial)
        assert {frame for frame, _ in gone} <= {3, 4}
        assert len(gone) == 1

    def test_a_session_looks_at_so_many_at_most(
        self, clip: NDArray[np.uint8], tiny_model: Sam2, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        seen: list[int] = []
        condition = tiny_model.condition

        def counted(embedding: Tensor, memory: Memory | None) -> Tensor:
            seen.append(0 if memory is None else len(memory.spatial))
            return condition(embedding, memory)

        monkeypatch.setattr(tiny_model, "condition", counted)
        for shortcuts in (EXACT, Shortcuts(fewer_memories=3)):
            session = Session(clip, Tracker(tiny_model, shortcuts=shortcuts))
            session.prompt(1, 0, Prompts((Click(12, 10),)))
            list(session.propagate())
        exact, short = seen[: len(seen) // 2], seen[len(seen) // 2 :]
        assert short == [min(count, 3) for count in exact]
        assert max(exact) > 3

    def test_none_is_no_number_of_memories(self) -> None:
        with pytest.raises(SettingError, match="at least 1"):
            Shortcuts(fewer_memories=0)


BOTH = Shortcuts(fewer_memories=2, pool_memories=True)


class TestByName:
    def test_they_say_what_they_are(self) -> None:
        assert str(BOTH) == "fewer-memories 2, pool-memories"
        assert str(EXACT) == "exact"
        assert EXACT.is_exact and not BOTH.is_exact

    def test_short_ways_in_take_them(self, clip: NDArray[np.uint8]) -> None:
        assert load_tracker("default", device="cpu", shortcuts=BOTH).shortcuts == BOTH
        session = open_session(clip, "default", device="cpu", image_side=64, shortcuts=BOTH)
        assert session.tracker.shortcuts == BOTH
        assert session.tracker.config.image_side == 64
        assert open_session(clip, "default", device="cpu").tracker.shortcuts.is_exact

    def test_the_published_predictor_takes_them(self, clip: NDArray[np.uint8]) -> None:
        predictor = build_sam2_video_predictor("default", device="cpu", shortcuts=BOTH)
        assert predictor.init_state(clip).session.tracker.shortcuts == BOTH

    def test_without_them_nothing_changes(self, clip: NDArray[np.uint8], tiny_model: Sam2) -> None:
        def masks(**said: Shortcuts) -> list[bytes]:
            session = Session(clip, Tracker(tiny_model, **said))
            session.prompt(1, 0, Prompts((Click(12, 10),)))
            return [found.masks[1].tobytes() for found in session.propagate()]

        assert masks() == masks(shortcuts=EXACT) == masks(shortcuts=Shortcuts(fewer_memories=99))
        assert masks() != masks(shortcuts=BOTH)
