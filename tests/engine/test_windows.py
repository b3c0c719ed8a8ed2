"""Object-centred windows: where they lie, what is seen through them, and that nothing moves on the way."""

from __future__ import annotations

from dataclasses import replace
from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sam2_engine.config import ModelConfig
from sam2_engine.errors import PromptError
from sam2_engine.geometry import MOVED_LOGIT_LIMIT, OUTSIDE_LOGIT, Resize, Window, move_logits
from sam2_engine.image_predictor import SAM2ImagePredictor
from sam2_engine.looking import rule_for
from sam2_engine.model import Sam2
from sam2_engine.pixels import Range, window_input
from sam2_engine.prompts import Box, Click, Prompts
from sam2_engine.proposals import tiles
from sam2_engine.session import Session
from sam2_engine.tracking import Tracker
from sam2_engine.windowed_images import WindowLogits
from sam2_engine.windows import WindowRule, place_of, touches_border

windows = st.builds(Window, st.integers(-40, 60), st.integers(-40, 60), st.integers(1, 90), st.integers(1, 90))


def disc(size: tuple[int, int], x: float, y: float, radius: float) -> np.ndarray:
    rows, columns = np.indices(size)
    found: np.ndarray = (columns + 0.5 - x) ** 2 + (rows + 0.5 - y) ** 2 <= radius**2
    return found


# ------------------------------------------------------------------------------------------------------- geometry


@given(windows, st.lists(st.tuples(st.floats(-50, 100), st.floats(-50, 100)), min_size=1, max_size=5))
def test_points_come_back_from_a_window(window: Window, points: list[tuple[float, float]]) -> None:
    resize = Resize((50, 70), 64, window)
    xy = np.array(points)
    np.testing.assert_allclose(resize.to_image(resize.to_model(xy)), xy, atol=1e-9)


def test_the_corners_of_a_window_are_the_corners_of_the_model_input() -> None:
    resize = Resize((50, 70), 64, Window(10, -5, 20, 40))
    np.testing.assert_allclose(resize.to_model(np.array([(10.0, -5.0), (30.0, 35.0)])), [(0, 0), (64, 64)])


def test_the_whole_window_is_the_same_as_none() -> None:
    logits = torch.randn(2, 1, 16, 16)
    whole = Resize((50, 70), 64, Window.whole((50, 70)))
    assert torch.equal(whole.logits_to_image(logits), Resize((50, 70), 64).logits_to_image(logits))


def test_pixels_beyond_the_border_repeat_the_outermost_one() -> None:
    picture = np.arange(12).reshape(3, 4)
    assert Window(-1, 1, 3, 4).cut(picture).tolist() == [[4, 4, 5], [8, 8, 9], [8, 8, 9], [8, 8, 9]]


def test_a_window_that_misses_the_picture_is_refused() -> None:
    with pytest.raises(ValueError, match="does not touch"):
        Window(10, 10, 5, 5).cut(np.zeros((4, 4)))


def test_a_window_without_area_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one pixel"):
        Window(0, 0, 0, 5)


def test_a_mask_comes_back_through_its_window() -> None:
    mask = disc((60, 80), 50.0, 20.0, 9.0)
    resize = Resize(mask.shape, 64, WindowRule().around_mask(mask))  # type: ignore[arg-type]
    logits = resize.mask_to_model(mask) * 20 - 10
    assert np.array_equal((resize.logits_to_image(logits)[0, 0] > 0).numpy(), mask)


def test_nothing_is_known_outside_the_window() -> None:
    shown = Resize((40, 40), 32, Window(10, 10, 8, 8)).logits_to_image(torch.ones(1, 1, 8, 8))[0, 0]
    assert (shown[10:18, 10:18] == 1).all()
    assert (shown == OUTSIDE_LOGIT).sum() == 40 * 40 - 64


def test_logits_moved_to_the_same_window_are_only_clamped() -> None:
    logits = torch.tensor([[[[-100.0, 3.0], [2.0, 90.0]]]])
    moved = move_logits(logits, Window(0, 0, 9, 9), Window(0, 0, 9, 9))
    assert moved.tolist() == [[[[-MOVED_LOGIT_LIMIT, 3.0], [2.0, MOVED_LOGIT_LIMIT]]]]


def test_logits_moved_by_whole_cells_are_the_same_cells() -> None:
    logits = torch.randn(1, 1, 8, 8)
    moved = move_logits(logits, Window(0, 0, 16, 16), Window(4, 2, 16, 16))
    torch.testing.assert_close(moved[..., :7, :6], logits[..., 1:, 2:])
    assert (moved[..., 7, :] == -MOVED_LOGIT_LIMIT).all()


def test_moving_logits_there_and_back_keeps_the_mask() -> None:
    mask = disc((32, 32), 16, 16, 7)
    logits = torch.from_numpy(np.where(mask, 10.0, -10.0)).float()[None, None]
    small, large = Window(10, 10, 40, 40), Window(0, 0, 64, 64)
    back = move_logits(move_logits(logits, small, large), large, small)[0, 0] > 0
    assert (back.numpy() != mask).mean() < 0.02


# --------------------------------------------------------------------------------------------------------- rules


def test_a_window_is_wider_than_the_box() -> None:
    assert WindowRule(width=2).around_box(Box(40, 50, 80, 70)) == Window(20, 20, 80, 80)


def test_a_tiny_object_still_has_surroundings() -> None:
    window = WindowRule(smallest=20).around_box(Box(10, 10, 11, 11))
    assert (window.width, window.height) == (20, 20)
    assert window.holds(Box(10, 10, 11, 11))


def test_windows_around_a_click_double_until_they_are_about_as_wide_as_the_image() -> None:
    found = WindowRule().around_clicks([Click(100, 50)], (200, 300))
    assert [window.width for window in found] == [32, 64, 128, 256]
    for window in found:
        assert window.middle == pytest.approx((100.5, 50.5), abs=0.51)


def test_windows_hold_all_positive_clicks() -> None:
    clicks = [Click(20, 20), Click(120, 20), Click(5, 190, positive=False)]
    for window in WindowRule().around_clicks(clicks, (200, 200)):
        assert window.holds(Box(20, 20, 121, 21))


def test_a_window_follows_its_object_and_changes_size_slowly() -> None:
    rule, cells = WindowRule(change=1.25), np.zeros((32, 32), np.bool_)
    cells[0:4, 24:28] = True  # small and in the upper right corner
    following = rule.follow(Window(100, 100, 64, 64), cells, (300, 300))
    assert following.width == round(64 / 1.25)
    assert following.middle == pytest.approx((100 + 52, 100 + 4), abs=1)


def test_a_window_stays_where_its_object_is_gone() -> None:
    assert WindowRule().follow(Window(3, 4, 50, 50), np.zeros((8, 8), np.bool_), (60, 60)) == Window(3, 4, 50, 50)


def test_a_window_that_is_always_filled_does_not_grow_or_wander_for_ever() -> None:
    rule, window = WindowRule(), Window(0, 0, 40, 40)
    cells = np.ones((16, 16), np.bool_)
    cells[:, :4] = False  # its middle lies to the right of the window's
    for _ in range(40):
        window = rule.follow(window, cells, (60, 80))
    assert window.width == round(rule.width * 80)
    assert window.middle[0] <= 80


def test_an_empty_mask_has_no_place_and_no_window() -> None:
    assert place_of(np.zeros((4, 4), np.bool_)) is None
    assert WindowRule().around_mask(np.zeros((4, 4), np.bool_)) is None


def test_how_much_of_the_border_an_object_crosses() -> None:
    cells = np.zeros((4, 4), np.bool_)
    cells[0, :2] = True
    assert touches_border(cells) == pytest.approx(2 / 12)
    assert touches_border(np.ones((4, 4), np.bool_)) == 1.0


def test_windows_are_off_for_published_models_and_on_where_asked_for() -> None:
    published = ModelConfig("x", 32, 1, (1, 1, 1, 1), (2,))
    assert rule_for(published, None) is None
    assert rule_for(published, "auto") == WindowRule()
    assert rule_for(replace(published, object_windows=True), None) == WindowRule()
    assert rule_for(replace(published, object_windows=True), "whole") is None
    assert rule_for(published, WindowRule(width=3)) == WindowRule(width=3)


@given(st.integers(1, 200), st.integers(1, 200), st.integers(8, 128), st.floats(0.0, 0.4))
def test_the_cores_of_tiles_cover_an_image_once(height: int, width: int, side: int, halo: float) -> None:
    covered = np.zeros((height, width), int)
    for (x0, y0, x1, y1), (a, b, c, d) in tiles((height, width), side, halo):
        assert x0 <= a and y0 <= b and c <= x1 and d <= y1
        assert x1 - x0 <= side + 1 and y1 - y0 <= side + 1
        covered[b:d, a:c] += 1
    assert (covered == 1).all()


# -------------------------------------------------------------------------------------------------- what is seen


def test_what_lies_beyond_the_border_is_zero() -> None:
    picture = np.random.default_rng(0).random((20, 20)).astype(np.float32)
    seen = window_input(picture, 32, Range(0, 1), Window(-10, 0, 20, 20))
    assert (seen[:, :, :16] == 0).all()
    assert (seen[:, :, 16:] != 0).any()


def test_a_dim_object_is_stretched_but_noise_is_not() -> None:
    picture = np.zeros((64, 64), np.float32)
    picture[30:40, 30:40] = 20.0
    dim = window_input(picture, 32, Range(0, 50), Window(24, 24, 20, 20))
    flat = window_input(picture, 32, Range(0, 1e6), Window(24, 24, 20, 20))
    assert float(dim[0].max() - dim[0].min()) > 4
    assert float(flat[0].max() - flat[0].min()) < 0.01


# ------------------------------------------------------------------------------------------ sessions, predictor


@pytest.fixture
def windowed(tiny_model: Sam2) -> Sam2:
    model = Sam2(replace(tiny_model.config, object_windows=True)).eval()
    model.load_state_dict(tiny_model.state_dict())
    return model.requires_grad_(False)


def test_a_session_sees_objects_through_windows_and_remembers_which(windowed: Sam2, clip: np.ndarray) -> None:
    session = Session(clip, Tracker(windowed))
    mask = session.prompt("cell", 2, Prompts(box=Box(6, 6, 20, 20)))
    assert mask.shape == session.size
    entry = session._tracks["cell"].drafts[2]
    assert entry.window is not None and entry.window.holds(Box(6, 6, 20, 20))
    assert sorted(found.frame for found in session.propagate("both")) == list(range(8))
    assert all(entry.window is not None for entry in session._tracks["cell"].bank)


def test_objects_together_are_as_objects_alone(windowed: Sam2, clip: np.ndarray) -> None:
    boxes = {"a": Box(6, 6, 20, 20), "b": Box(24, 20, 42, 36)}

    def run(names: tuple[str, ...]) -> dict[tuple[int, object], np.ndarray]:
        session = Session(clip, Tracker(windowed))
        for name in names:
            session.prompt(name, 0, Prompts(box=boxes[name]))
        return {(found.frame, name): mask for found in session.propagate() for name, mask in found.masks.items()}

    together = run(("a", "b"))
    for (frame, name), mask in {**run(("a",)), **run(("b",))}.items():
        assert (together[frame, name] != mask).mean() < 0.001


def test_a_saved_session_goes_on_with_the_same_windows(windowed: Sam2, clip: np.ndarray, tmp_path) -> None:  # type: ignore[no-untyped-def]
    tracker = Tracker(windowed)
    session = Session(clip, tracker)
    session.prompt(1, 3, Prompts(clicks=(Click(12, 13),)))
    list(session.propagate(max_frames=2))
    session.save(tmp_path / "s.zip")
    opened = Session.load(tmp_path / "s.zip", clip, tracker)
    assert [entry.window for entry in opened._tracks[1].bank] == [entry.window for entry in session._tracks[1].bank]
    for ours, theirs in zip(session.propagate(start=5), opened.propagate(start=5), strict=True):
        assert np.array_equal(ours.masks[1], theirs.masks[1])


def test_a_given_mask_is_kept_to_the_pixel(windowed: Sam2, clip: np.ndarray) -> None:
    mask = disc(clip.shape[1:], 30, 20, 8)
    session = Session(clip, Tracker(windowed))
    assert np.array_equal(session.prompt(1, 0, Prompts(mask=mask)), mask)


def test_clicks_boxes_and_logits_go_through_the_predictor(windowed: Sam2, clip: np.ndarray) -> None:
    predictor = SAM2ImagePredictor(windowed)
    predictor.set_image(clip[0])
    masks, ious, logits = predictor.predict(point_coords=[[12, 10]], point_labels=[1])
    assert masks.shape == (3, *clip.shape[1:]) and ious.shape == (3,)
    assert ious.argmax() == 0
    assert isinstance(logits, WindowLogits) and logits[:1].windows == logits.windows
    again, _, same = predictor.predict(
        point_coords=[[12, 10]], point_labels=[1], mask_input=logits[:1], multimask_output=False
    )
    assert again.shape == (1, *clip.shape[1:])
    assert same.windows  # type: ignore[attr-defined]
    boxed, _, _ = predictor.predict(box=[[6, 4, 20, 18], [20, 18, 44, 38]], multimask_output=False)
    assert boxed.shape == (2, 1, *clip.shape[1:])


def test_logits_know_the_windows_of_their_objects() -> None:
    one, two = Window(0, 0, 4, 4), Window(1, 1, 5, 5)
    logits = WindowLogits(np.zeros((2, 3, 8, 8), np.float32), [one, two])
    assert logits[1].windows == (two,)
    assert logits[1:].windows == (two,)
    assert logits[:, :1].windows == (one, two)
    assert logits[1][0:1].windows == (two,)
    assert logits[np.array([1, 0])].windows == (two, one)


def test_small_objects_in_a_large_image_are_seen_large(windowed: Sam2) -> None:
    """Through a window the answer does not depend on how large the rest of the image is."""
    small = np.random.default_rng(1).integers(0, 255, (96, 96), np.uint8)
    large = np.tile(small, (5, 5))
    answers = []
    for picture in (small, large):
        predictor = SAM2ImagePredictor(windowed)
        predictor.set_image(picture)
        masks, _, _ = predictor.predict(box=[40, 40, 56, 56], multimask_output=False)
        answers.append(masks[0][:96, :96])
    assert np.array_equal(*answers)


def test_an_object_without_any_prompt_is_named(windowed: Sam2, clip: np.ndarray) -> None:
    predictor = SAM2ImagePredictor(windowed)
    predictor.set_image(clip[0])
    with pytest.raises(PromptError, match="object 0 has neither a click nor a box nor a mask"):
        predictor.predict(point_coords=[[0, 0]], point_labels=[-1])


def test_a_bad_prompt_names_its_image_before_anything_is_encoded(windowed: Sam2, clip: np.ndarray) -> None:
    predictor = SAM2ImagePredictor(windowed)
    predictor.set_image_batch([clip[0], clip[1]])
    with (
        mock.patch.object(type(windowed), "encode_image", side_effect=AssertionError("encoded")),
        pytest.raises(PromptError, match="image 1: "),
    ):
        predictor.predict_batch([[[5, 5]], [[500, 5]]], [[1], [1]])
