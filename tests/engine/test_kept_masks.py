"""Masks of many frames: in memory or in a file they stay what they were; copies do not see each other change."""

from __future__ import annotations

import gc
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sam2_engine.kept_masks import OVERHEAD_BYTES, PAGE_FRAMES, KeptMasks, MaskShelf, PackedMask
from sam2_engine.passed import Passed

FRAMES = st.sampled_from([0, 1, PAGE_FRAMES - 1, PAGE_FRAMES, 3 * PAGE_FRAMES + 5, 20_000])


def mask(number: int) -> PackedMask:
    plane = np.zeros((6, 9), bool)
    plane.flat[: number % 54] = True
    return PackedMask.pack(plane, number / 7)


@pytest.mark.property
@given(
    st.lists(st.tuples(st.sampled_from(["put", "drop", "copy"]), st.integers(0, 3), FRAMES, st.integers(0, 99))),
    st.sampled_from([0, 600, 1 << 20]),
)
def test_it_does_what_dictionaries_do(steps, max_bytes):
    shelf = MaskShelf(max_bytes)
    ours: list[KeptMasks] = [shelf.masks()]
    plain: list[dict[int, PackedMask]] = [{}]
    for what, which, frame, number in steps:
        which %= len(ours)
        if what == "put":
            ours[which][frame] = plain[which][frame] = mask(number)
        elif what == "drop":
            assert ours[which].pop(frame, None) == plain[which].pop(frame, None)
        elif len(ours) < 4:
            ours.append(ours[which].copy())
            plain.append(dict(plain[which]))
        for kept, known in zip(ours, plain, strict=True):
            assert dict(kept) == known and len(kept) == len(known) and list(kept) == sorted(known)


def test_memory_is_bounded_and_nothing_is_lost():
    shelf = MaskShelf(100_000)
    masks = shelf.masks()
    for frame in range(5000):
        masks[frame] = mask(frame)
        assert shelf.nbytes <= 100_000 + PAGE_FRAMES * (OVERHEAD_BYTES + 60)
    assert all(masks[frame] == mask(frame) for frame in range(0, 5000, 37))


def test_a_copy_holds_no_masks_of_its_own():
    shelf = MaskShelf(1 << 20)
    masks = shelf.masks()
    for frame in range(10 * PAGE_FRAMES):
        masks[frame] = mask(frame)
    held = shelf.nbytes
    copies = [masks.copy() for _ in range(100)]
    assert shelf.nbytes == held
    copies[0][3] = mask(4)
    assert masks[3] == mask(3) and copies[1][3] == mask(3)
    assert shelf.nbytes <= held + PAGE_FRAMES * (OVERHEAD_BYTES + 60)


def test_what_nobody_has_any_more_is_forgotten():
    shelf = MaskShelf(1000)
    for number in range(3):
        masks = shelf.masks()
        for frame in range(5 * PAGE_FRAMES):
            masks[frame] = mask(frame + number)
    gc.collect()
    masks[0] = mask(1)
    assert shelf._file is not None
    ((stored,),) = shelf._file.execute("SELECT count(*) FROM page")
    assert stored <= 5


def test_several_threads_find_what_is_theirs():
    shelf, wrong = MaskShelf(2000), []

    def work(number: int) -> None:
        masks = shelf.masks()
        for frame in range(0, 2000, 17):
            masks[frame] = mask(frame * number)
        wrong.extend(frame for frame in masks if masks[frame] != mask(frame * number))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.property
@given(st.lists(st.tuples(st.integers(0, 30), st.sampled_from([1, -1, None]))))
def test_directions_are_kept_as_in_a_dictionary(steps):
    passed, known = Passed(), {}
    for frame, direction in steps:
        if direction is None:
            assert passed.pop(frame, None) == known.pop(frame, None)
        else:
            passed[frame] = known[frame] = direction
        assert dict(passed) == known and len(passed) == len(known)
    assert dict(passed.copy()) == known and (30 in passed) == (30 in known)
