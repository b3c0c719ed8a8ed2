"""Where ours differs from the published code on purpose: what that does, and what ours does instead."""

from __future__ import annotations

from types import MethodType
from typing import Any

import numpy as np
import pytest
import torch

from sam2_engine.predictor import SAM2VideoPredictor

from . import compare, ours, reference, scenes, weights
from .conftest import StateOf
from .scenarios import BOX, LEFT, RIGHT, TOP, Recorder, Step

pytestmark = pytest.mark.parity

NAME, SIDE, CLOSE = "sam2.1_hiera_tiny", 256, 1e-4


@pytest.fixture(scope="module")
def state(state_of: StateOf) -> dict[str, torch.Tensor]:
    return state_of(NAME)


def published(state: dict[str, torch.Tensor], **settings: Any) -> Any:
    return reference.build_reference_video_predictor(NAME, image_size=SIDE, state=state, **settings)


def mine(state: dict[str, torch.Tensor], **settings: Any) -> SAM2VideoPredictor:
    return ours.build_our_video_predictor(NAME, image_size=SIDE, state=state, **settings)


def correct_frame_3(predictor: Any, clip: str) -> list[Step]:
    """Track, correct a tracked frame, track again from there."""
    with reference.silent():
        run = Recorder(predictor, predictor.init_state(clip))
        run.prompt(0, 1, points=[LEFT], labels=[1])
        run.propagate()
        run.prompt(3, 1, points=[RIGHT, TOP], labels=[1, 0])
        run.propagate(start_frame_idx=3, max_frame_num_to_track=1)
    return run.steps


def at(steps: list[Step], call: str, frame: int) -> list[torch.Tensor]:
    return [step.logits for step in steps if (step.call, step.frame) == (call, frame)]


def test_a_correction_stays(state: dict[str, torch.Tensor], clip_folder: str) -> None:
    """Published default: the frame is tracked anew at the next propagation, and the correction is gone."""
    steps = correct_frame_3(published(state, add_all_frames_to_correct_as_cond=False), clip_folder)
    (shown,), (before, after) = at(steps, "prompt", 3), at(steps, "propagate", 3)
    assert torch.equal(before, after)
    assert not torch.equal(after, shown)

    steps = correct_frame_3(mine(state), clip_folder)
    (shown,), (before, after) = at(steps, "prompt", 3), at(steps, "propagate", 3)
    assert torch.equal(after, shown)
    assert not torch.equal(before, after)


def test_memories_around_a_correction_are_forgotten(state: dict[str, torch.Tensor], clip_folder: str) -> None:
    """The published setting names a method that does not exist; with it put in place both agree."""
    theirs = published(state, clear_non_cond_mem_around_input=True)
    with pytest.raises(AttributeError, match="_clear_obj_non_cond_mem_around_input"):
        correct_frame_3(theirs, clip_folder)

    def clear(predictor: Any, state: dict[str, Any], frame: int, obj: int) -> None:
        tracked = state["output_dict_per_obj"][obj]["non_cond_frame_outputs"]
        for near in range(frame - predictor.num_maskmem, frame + predictor.num_maskmem + 1):
            tracked.pop(near, None)

    theirs._clear_obj_non_cond_mem_around_input = MethodType(clear, theirs)
    with reference.smooth_memories(), ours.smooth_memories():
        expected = correct_frame_3(theirs, clip_folder)
        given = correct_frame_3(mine(state, clear_non_cond_mem_around_input=True), clip_folder)
        kept = correct_frame_3(mine(state), clip_folder)
    compare.assert_same_steps(given, expected, CLOSE)
    assert not torch.equal(at(given, "propagate", 4)[-1], at(kept, "propagate", 4)[-1])


def test_a_single_frame_can_be_corrected(state: dict[str, torch.Tensor], tmp_path: Any) -> None:
    """Published: distances of pointers are divided by the frames in between, which are none."""
    clip = str(scenes.write_jpegs(scenes.clip(1, 180, 240, seed=weights.CLIP_SEED), tmp_path / "one"))

    def corrected(predictor: Any) -> torch.Tensor:
        with reference.silent():
            run = Recorder(predictor, predictor.init_state(clip))
            run.prompt(0, 1, points=[LEFT], labels=[1])
            run.propagate()
            run.prompt(0, 1, points=[RIGHT], labels=[0], clear_old_points=False)
        return run.steps[-1].logits

    broken = corrected(published(state))
    assert (broken.isnan() | (broken <= compare.ABSENT)).all()
    repaired = corrected(mine(state))
    assert torch.isfinite(repaired).all()
    assert 0 < (repaired > 0).float().mean() < 1


def test_frames_without_pointers_in_reach_are_tracked(state: dict[str, torch.Tensor], clip_folder: str) -> None:
    """Published: memories in bfloat16 meet weights in float32 unless a pointer lies between them."""

    def before_the_prompt(predictor: Any) -> list[Step]:
        with reference.silent():
            run = Recorder(predictor, predictor.init_state(clip_folder))
            run.prompt(2, 1, points=[LEFT, TOP], labels=[1, 0])
            run.propagate(start_frame_idx=0, max_frame_num_to_track=1)
        return run.steps

    theirs = published(state)
    theirs.memory_attention._forward_pre_hooks.clear()  # the tests' own cast
    theirs.memory_attention._forward_pre_hooks_with_kwargs.clear()
    with pytest.raises(RuntimeError, match="dtype"):
        before_the_prompt(theirs)
    assert [step.frame for step in before_the_prompt(mine(state))] == [2, 0, 1]


def test_filled_holes_do_not_enter_memories(state: dict[str, torch.Tensor], clip_folder: str) -> None:
    """Published: where the extension is compiled, the filled mask becomes the memory, elsewhere nothing is filled."""

    def track(predictor: Any) -> list[Step]:
        with reference.silent():
            run = Recorder(predictor, predictor.init_state(clip_folder))
            run.prompt(0, 1, box=BOX)
            run.propagate(max_frame_num_to_track=2)
        return run.steps

    with reference.smooth_memories(), ours.smooth_memories(), reference.compiled_components():
        theirs = track(published(state, fill_hole_area=40))
        filled, plain = track(mine(state, fill_hole_area=40)), track(mine(state))
    compare.assert_same_steps(filled[:2], theirs[:2], CLOSE)  # before any memory comes in
    assert not torch.equal(filled[0].logits, plain[0].logits), "the weights make no small holes"
    for with_holes, without in zip(plain, filled, strict=True):
        changed = with_holes.logits != without.logits
        assert 0 <= changed.float().mean() < 0.5
        assert ((without.logits > 0) | ~(with_holes.logits > 0)).all(), "filling only adds"


def test_an_object_without_prompts_does_not_stop_the_others(state: dict[str, torch.Tensor], clip_folder: str) -> None:
    """Published: one object whose prompts were cleared makes propagation fail for all."""

    def clear_one_of_two(predictor: Any) -> list[Step]:
        with reference.silent():
            run = Recorder(predictor, predictor.init_state(clip_folder))
            run.prompt(0, 1, points=[LEFT], labels=[1])
            run.prompt(0, 2, box=BOX)
            run.clear(0, 2)
            run.propagate(max_frame_num_to_track=1)
        return run.steps

    with pytest.raises(RuntimeError, match="No input points or masks are provided for object id 2"):
        clear_one_of_two(published(state))
    tracked = [step for step in clear_one_of_two(mine(state)) if step.call == "propagate"]
    assert [(step.frame, step.objects) for step in tracked] == [(0, [1]), (1, [1])]


def test_holes_are_filled_without_an_extension(state: dict[str, torch.Tensor]) -> None:
    """Published: the exception of the missing extension becomes a warning, and the holes stay."""
    logits = torch.full((1, 1, 8, 8), 1.0)
    logits[..., 3:5, 3:5] = -1.0
    with pytest.warns(UserWarning, match="Skipping the post-processing step"):
        left = reference.sam2().misc.fill_holes_in_mask_scores(logits, 8)
    assert torch.equal(left, logits)
    with reference.compiled_components():
        expected = reference.sam2().misc.fill_holes_in_mask_scores(logits, 8)
    from sam2_engine.cleanup import fill_holes

    assert torch.equal(fill_holes(logits, 8), expected)
    assert np.all(fill_holes(logits, 8).numpy() > 0)


def test_a_mask_of_another_size_is_stretched_to_the_video_first(
    state: dict[str, torch.Tensor], clip_folder: str
) -> None:
    """Published: to the model at once. Here a mask prompt always has the video's size: the borders differ a little."""
    given = scenes.disc(90, 120, x=0.35, y=0.5, radius=0.3)
    with reference.silent():
        theirs = published(state)
        _, _, expected = theirs.add_new_mask(theirs.init_state(clip_folder), 0, 1, given)
    predictor = mine(state)
    _, _, logits = predictor.add_new_mask(predictor.init_state(clip_folder), 0, 1, given)
    assert ((logits > 0) != (expected > 0)).float().mean() < 2e-3
