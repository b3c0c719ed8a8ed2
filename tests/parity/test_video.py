"""Videos: everything people do, on both implementations with the same weights and frames.

Two measures. With smooth memories on both sides (see `reference.smooth_memories`) only the arithmetic differs: logits
within 1e-4 of their standard deviation. As published, roundings grow while tracking, so logits within 5e-3, at most
0.05 % of the mask pixels different and none whose logit is beyond 1e-2 of the standard deviation.

The weights are of SAM 2.1 tiny at side 256 unless a test says otherwise; the reference is built with
`add_all_frames_to_correct_as_cond`, so that corrections stay, as they do here by default.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from sam2_engine.predictor import SAM2VideoPredictor

from . import compare, ours, reference, scenarios, scenes, weights
from .conftest import StateOf
from .scenarios import SCENARIOS, Recorder, Scenario, Step

pytestmark = pytest.mark.parity

CLOSE, AS_PUBLISHED = 1e-4, 5e-3

Build = Callable[..., tuple[Any, SAM2VideoPredictor]]


@pytest.fixture(scope="module")
def build(state_of: StateOf) -> Build:
    """Both predictors over the same weights; `settings` are given to both."""
    states: dict[tuple[str, float], dict[str, torch.Tensor]] = {}

    def pair(
        name: str = "sam2.1_hiera_tiny", *, side: int = 256, visible_share: float = 1.0, **settings: Any
    ) -> tuple[Any, SAM2VideoPredictor]:
        key = name, visible_share
        if key not in states:
            states[key] = state_of(name, visible_share=visible_share)
        return (
            reference.build_reference_video_predictor(name, image_size=side, state=states[key], **settings),
            ours.build_our_video_predictor(name, image_size=side, state=states[key], **settings),
        )

    return pair


def run_both(pair: tuple[Any, SAM2VideoPredictor], scenario: Scenario, clip: str) -> tuple[list[Step], list[Step]]:
    """What a scenario gives on ours and on the reference, with memories as published."""
    theirs, mine = pair
    with reference.silent():
        expected = scenario(theirs, theirs.init_state(clip))
    return scenario(mine, mine.init_state(clip)), expected


def run_both_smoothly(
    pair: tuple[Any, SAM2VideoPredictor], scenario: Scenario, clip: str
) -> tuple[list[Step], list[Step]]:
    with reference.smooth_memories(), ours.smooth_memories():
        return run_both(pair, scenario, clip)


@pytest.mark.parametrize("name", SCENARIOS)
def test_scenarios_are_equal(build: Build, clip_folder: str, name: str) -> None:
    given, expected = run_both_smoothly(build(), SCENARIOS[name], clip_folder)
    compare.assert_same_steps(given, expected, CLOSE)


@pytest.mark.parametrize("name", ["correction_on_a_tracked_frame", "both_ways_from_the_middle", "object_removed"])
@pytest.mark.parametrize("model", ["sam2.1_hiera_tiny", "sam2_hiera_tiny"])
def test_scenarios_are_equal_with_memories_as_published(build: Build, clip_folder: str, model: str, name: str) -> None:
    given, expected = run_both(build(model), SCENARIOS[name], clip_folder)
    compare.assert_same_steps(given, expected, AS_PUBLISHED)


def test_the_published_measure_notices_another_memory(build: Build, clip_folder: str) -> None:
    """Probabilities instead of thresholded masks are a much larger change than it allows."""
    theirs, _ = build()
    with reference.silent():
        expected = SCENARIOS["one_click"](theirs, theirs.init_state(clip_folder))
        theirs.binarize_mask_from_pts_for_mem_enc = False
        changed = SCENARIOS["one_click"](theirs, theirs.init_state(clip_folder))
    assert compare.relative_error(changed[-1].logits, expected[-1].logits) > 4 * AS_PUBLISHED


@pytest.mark.parametrize("name", ["one_click", "two_objects", "correction_on_a_tracked_frame", "mask_prompt"])
@pytest.mark.parametrize("model", ["sam2.1_hiera_tiny", "sam2_hiera_tiny"])
def test_absent_objects_are_equal(build: Build, clip_folder: str, model: str, name: str) -> None:
    given, expected = run_both_smoothly(build(model, visible_share=0.5), SCENARIOS[name], clip_folder)
    compare.assert_same_steps(given, expected, CLOSE)
    tracked = [mask for step in expected if step.call == "propagate" for mask in step.logits]
    assert any((mask <= compare.ABSENT).all() for mask in tracked), "the weights show the object on every frame"


@pytest.mark.parametrize("name", ["two_objects", "object_added_later", "object_removed"])
def test_exclusive_masks_are_equal(build: Build, clip_folder: str, name: str) -> None:
    given, expected = run_both_smoothly(build(non_overlap_masks=True), SCENARIOS[name], clip_folder)
    assert [(step.frame, step.objects) for step in given] == [(step.frame, step.objects) for step in expected]
    for mine, theirs in zip(given, expected, strict=True):
        # Where two objects tie, the loser's logit jumps by more than rounding: compare the masks.
        differing = ((mine.logits > 0) != (theirs.logits > 0)).float().mean().item()
        assert differing <= compare.DIFFERENT_MASK_SHARE
        assert ((mine.logits > 0).sum(dim=0) <= 1).all()


def test_a_long_clip_is_equal(build: Build, tmp_path: Any) -> None:
    """More frames than spatial memories (7) and object pointers (16)."""
    clip = str(scenes.write_jpegs(scenes.clip(19, 128, 128, seed=weights.CLIP_SEED), tmp_path / "long"))

    def scenario(predictor: Any, state: Any) -> list[Step]:
        run = Recorder(predictor, state)
        run.prompt(0, 1, points=[(40, 60)], labels=[1])
        run.prompt(0, 2, box=(50, 30, 110, 100))
        run.propagate()
        return run.steps

    given, expected = run_both_smoothly(build(), scenario, clip)
    compare.assert_same_steps(given, expected, CLOSE)


def test_frames_before_the_first_prompt_are_equal(build: Build, clip_folder: str) -> None:
    """Only memories of the future and no pointers: the published code meets bfloat16 memories unconverted here."""

    def scenario(predictor: Any, state: Any) -> list[Step]:
        run = Recorder(predictor, state)
        run.prompt(3, 1, points=[scenarios.LEFT, scenarios.TOP], labels=[1, 0])
        run.propagate(start_frame_idx=0)
        return run.steps

    given, expected = run_both(build(), scenario, clip_folder)
    compare.assert_same_steps(given, expected, AS_PUBLISHED)


@pytest.mark.parametrize("settings", [{"memory_temporal_stride_for_eval": 2}, {"max_cond_frames_in_attn": 2}])
def test_memory_settings_are_equal(build: Build, clip_folder: str, settings: dict[str, int]) -> None:
    def scenario(predictor: Any, state: Any) -> list[Step]:
        run = Recorder(predictor, state)
        for frame, point in ((0, scenarios.LEFT), (2, scenarios.RIGHT), (3, scenarios.TOP)):
            run.prompt(frame, 1, points=[point], labels=[1])
        run.propagate()
        run.propagate(start_frame_idx=4, reverse=True)
        return run.steps

    given, expected = run_both_smoothly(build(**settings), scenario, clip_folder)
    compare.assert_same_steps(given, expected, CLOSE)


def test_corrections_that_do_not_stay_are_equal_on_request(build: Build, clip_folder: str) -> None:
    """The published default, which ours follows where it is asked to."""
    pair = build(add_all_frames_to_correct_as_cond=False)
    given, expected = run_both_smoothly(pair, SCENARIOS["correction_on_a_tracked_frame"], clip_folder)
    compare.assert_same_steps(given, expected, CLOSE)


@pytest.mark.parametrize(("model", "side"), [("sam2.1_hiera_small", 512), ("sam2.1_hiera_tiny", 1024)])
def test_larger_inputs_are_equal(build: Build, tmp_path: Any, model: str, side: int) -> None:
    clip = str(scenes.write_jpegs(scenes.clip(3, 300, 400, seed=weights.CLIP_SEED), tmp_path / "large"))

    def scenario(predictor: Any, state: Any) -> list[Step]:
        run = Recorder(predictor, state)
        run.prompt(0, 1, points=[(120, 150)], labels=[1])
        run.propagate()
        run.prompt(2, 1, points=[(300, 90)], labels=[0])
        return run.steps

    given, expected = run_both(build(model, side=side), scenario, clip)
    compare.assert_same_steps(given, expected, AS_PUBLISHED)


def test_frames_from_an_array_are_equal(build: Build) -> None:
    """Frames of the model's own size need no resizing: the same pixels go in whatever they come from."""
    frames = np.stack(scenes.clip(3, 256, 256, seed=weights.CLIP_SEED))
    mean, std = np.reshape([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]], (2, 3, 1, 1))
    images = torch.from_numpy((frames.transpose(0, 3, 1, 2) / 255 - mean) / std).float()
    theirs, mine = build()
    with reference.silent(), reference.smooth_memories(), reference.loading(lambda **_: (images, 256, 256)):
        expected = SCENARIOS["one_click"](theirs, theirs.init_state("frames"))
    with ours.smooth_memories():
        for source in (frames, list(frames)):
            given = SCENARIOS["one_click"](mine, mine.init_state(source))
            compare.assert_same_steps(given, expected, CLOSE)
