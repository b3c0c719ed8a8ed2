"""Laws that hold whatever is prompted; cases drawn by hypothesis."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from sam2_engine.geometry import Resize
from sam2_engine.memory import MemoryBank, MemoryEntry, RecentFrames
from sam2_engine.prompts import Box, Click, Prompts
from sam2_engine.session import Session
from sam2_engine.track import PackedMask
from sam2_engine.tracking import Tracker

HEIGHT, WIDTH, FRAMES = 40, 48, 8

# Sums run in another order in another batch; of random weights only.
TOLERANCE = 2e-4

xs = st.floats(0, WIDTH, allow_nan=False)
ys = st.floats(0, HEIGHT, allow_nan=False)
clicks = st.builds(Click, xs, ys, st.booleans())
boxes = st.builds(
    lambda x, y, w, h: Box(x, y, x + w, y + h), st.floats(0, 30), st.floats(0, 25), st.floats(2, 18), st.floats(2, 15)
)
said = st.one_of(
    st.builds(Prompts, st.lists(clicks, min_size=1, max_size=3).map(tuple)),
    st.builds(Prompts, st.just(()), boxes),
    st.builds(Prompts, st.lists(clicks, min_size=1, max_size=2).map(tuple), boxes),
)
frames = st.integers(0, FRAMES - 1)
scripts = st.lists(st.tuples(st.sampled_from("abc"), frames, said), min_size=1, max_size=4)

slow = settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


def played(clip: NDArray[Any], tracker: Tracker, script: list[tuple[str, int, Prompts]]) -> Session:
    session = Session(clip, tracker)
    for obj, frame, prompts in script:
        session.prompt(obj, frame, prompts)
    return session


def logits(session: Session, direction: int = 1, **where: Any) -> dict[int, dict[Any, torch.Tensor]]:
    steps = session.steps(direction, **where)  # type: ignore[arg-type]
    return {frame: {obj: entry.logits for obj, entry in entries.items()} for frame, entries in steps}


def assert_same(first: dict[int, dict[Any, torch.Tensor]], second: dict[int, dict[Any, torch.Tensor]]) -> None:
    assert {f: set(o) for f, o in first.items()} == {f: set(o) for f, o in second.items()}
    for frame, objects in first.items():
        for obj, plane in objects.items():
            other = second[frame][obj]
            assert torch.equal(plane <= -1000, other <= -1000), f"object {obj} comes and goes on frame {frame}"
            torch.testing.assert_close(plane, other, rtol=0, atol=TOLERANCE * max(1.0, float(other.std())))


@given(
    x=st.floats(0, 1, allow_nan=False),
    y=st.floats(0, 1, allow_nan=False),
    height=st.integers(1, 5000),
    width=st.integers(1, 5000),
    side=st.integers(1, 40).map(lambda n: 32 * n),
)
def test_points_return_from_the_model(x: float, y: float, height: int, width: int, side: int) -> None:
    resize = Resize((height, width), side)
    points = np.array([[x * width, y * height]])
    np.testing.assert_allclose(resize.to_image(resize.to_model(points)), points, rtol=1e-12, atol=1e-9)
    assert (resize.to_model(points) <= side * (1 + 1e-12)).all()


@given(
    st.integers(1, 60).flatmap(
        lambda h: st.integers(1, 60).flatmap(
            lambda w: st.lists(st.booleans(), min_size=h * w, max_size=h * w).map(
                lambda bits: np.array(bits).reshape(h, w)
            )
        )
    )
)
@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
def test_packed_masks_unpack_to_themselves(mask: NDArray[np.bool_]) -> None:
    np.testing.assert_array_equal(PackedMask.pack(mask, 0.5).unpack(), mask)


@slow
@given(script=scripts)
def test_object_order_does_not_matter(script: list[Any], clip: NDArray[np.uint8], tracker: Tracker) -> None:
    # Prompts of one object keep their order, objects change theirs.
    by_object = sorted(script, key=lambda item: item[0])
    reverse = sorted(script, key=lambda item: item[0], reverse=True)
    assert_same(logits(played(clip, tracker, by_object)), logits(played(clip, tracker, reverse)))


@slow
@given(script=scripts)
def test_batched_objects_equal_single_ones(script: list[Any], clip: NDArray[np.uint8], tracker: Tracker) -> None:
    together = logits(played(clip, tracker, script), start=0, anchored=False)
    for obj in {item[0] for item in script}:
        alone = played(clip, tracker, [item for item in script if item[0] == obj])
        assert_same(
            {frame: {obj: objects[obj]} for frame, objects in together.items()},
            logits(alone, start=0, anchored=False),
        )


@slow
@given(script=scripts, cut=frames)
def test_two_halves_of_a_propagation_equal_one_run(
    script: list[Any], cut: int, clip: NDArray[np.uint8], tracker: Tracker
) -> None:
    whole = logits(played(clip, tracker, script), start=0, anchored=False)
    halves = played(clip, tracker, script)
    first = logits(halves, start=0, max_frames=cut, anchored=False)
    rest = logits(halves, start=cut, anchored=False)
    assert_same(whole, {**first, **rest})


@slow
@given(script=scripts)
def test_reverse_on_a_mirrored_clip_equals_forward(
    script: list[Any], clip: NDArray[np.uint8], tracker: Tracker
) -> None:
    forward = logits(played(clip, tracker, script))
    mirrored = [(obj, FRAMES - 1 - frame, prompts) for obj, frame, prompts in script]
    backward = logits(played(clip[::-1], tracker, mirrored), -1)
    assert_same(forward, {FRAMES - 1 - frame: objects for frame, objects in backward.items()})


@slow
@given(script=scripts, extra=st.tuples(st.sampled_from("abcd"), frames, said))
def test_undo_equals_never_done(
    script: list[Any], extra: tuple[str, int, Prompts], clip: NDArray[np.uint8], tracker: Tracker
) -> None:
    session = played(clip, tracker, script)
    session.prompt(*extra)
    assert session.undo()
    assert_same(logits(session), logits(played(clip, tracker, script)))


@given(
    prompted=st.sets(st.integers(0, 60), min_size=1, max_size=6),
    tracked=st.sets(st.integers(0, 60), max_size=40),
    frame=st.integers(0, 60),
    direction=st.sampled_from((1, -1)),
    stride=st.integers(1, 4),
    max_prompted=st.one_of(st.none(), st.integers(2, 4)),
    num_frames=st.one_of(st.none(), st.integers(61, 100)),
)
def test_plans_name_known_frames_once_and_within_bounds(
    prompted: set[int],
    tracked: set[int],
    frame: int,
    direction: Any,
    stride: int,
    max_prompted: int | None,
    num_frames: int | None,
) -> None:
    bank = MemoryBank()
    nothing = torch.zeros(0)
    for past in prompted | tracked:
        bank.put(MemoryEntry(past, past in prompted, 1, nothing, nothing, nothing, 1.0, nothing))
    policy = RecentFrames(stride=stride, max_prompted=max_prompted)
    plan = policy.plan(frame, bank, num_frames=num_frames, direction=direction)
    named = [past for past, _ in plan.spatial]
    assert len(set(named)) == len(named)
    assert set(named) <= prompted | tracked
    slots = [slot for _, slot in plan.spatial if slot]
    assert len(set(slots)) == len(slots)
    assert all(1 <= slot < policy.num_slots for slot in slots)
    assert all((frame - past) * direction > 0 for past, slot in plan.spatial if slot)
    assert all((frame - past) * direction >= 0 for past, _ in plan.pointers)
    assert len(plan.pointers) <= len(named) + policy.max_pointers
    assert plan.span >= 1


def test_a_one_frame_video_can_be_clicked_propagated_and_clicked_again(
    clip: NDArray[np.uint8], tracker: Tracker
) -> None:
    session = Session(clip[:1], tracker)
    session.prompt(1, 0, Prompts((Click(12, 10),)))
    assert [masks.frame for masks in session.propagate()] == [0]
    again = session.prompt(1, 0, Prompts((Click(12, 10), Click(14, 10))))
    assert again.any()
    assert torch.isfinite(session.known_logits(0)).all()


@pytest.mark.parametrize("count", [2])
def test_masks_do_not_depend_on_the_number_of_threads(count: int, clip: NDArray[np.uint8], tracker: Tracker) -> None:
    before = torch.get_num_threads()
    script = [("a", 0, Prompts((Click(12, 10),))), ("b", 2, Prompts(box=Box(27, 21, 41, 35)))]
    reference = logits(played(clip, tracker, script))
    try:
        torch.set_num_threads(count)
        assert_same(reference, logits(played(clip, tracker, script)))
    finally:
        torch.set_num_threads(before)
