from __future__ import annotations

import inspect
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from sam2_engine import cleanup, encoded_images
from sam2_engine.checkpoint import save_model
from sam2_engine.config import MODELS
from sam2_engine.errors import ImageError, PromptError, SessionError
from sam2_engine.image_predictor import SAM2ImagePredictor
from sam2_engine.model import Sam2

SIDE, HEIGHT, WIDTH = 128, 90, 120
CLICK = {"point_coords": [[40.0, 30.0]], "point_labels": [1]}
BOXES = np.array([[10.0, 12.0, 60.0, 70.0], [30.0, 5.0, 119.0, 88.0], [0.0, 0.0, 20.0, 20.0]])
POINTS = np.array([[[40.0, 30.0], [80.0, 60.0]], [[5.0, 5.0], [110.0, 80.0]], [[60.0, 45.0], [61.0, 46.0]]])
LABELS = np.array([[1, 0], [1, 1], [0, 1]])


def nano(side: int = SIDE, seed: int = 0) -> Sam2:
    """A small model that looks at whole images, as the published ones do."""
    torch.manual_seed(seed)
    return Sam2(replace(MODELS["nano"].at_side(side), object_windows=False, edge_channels=0)).eval()


def picture(height: int = HEIGHT, width: int = WIDTH, seed: int = 0) -> NDArray[np.uint8]:
    """Coarse coloured noise: neighbouring prompts give different masks."""
    small = np.random.default_rng(seed).integers(0, 255, (7, 9, 3), np.uint8)
    return np.array(Image.fromarray(small).resize((width, height)))


@pytest.fixture(scope="module")
def model() -> Sam2:
    return nano()


@pytest.fixture
def predictor(model: Sam2) -> SAM2ImagePredictor:
    predictor = SAM2ImagePredictor(model)
    predictor.set_image(picture())
    return predictor


@pytest.fixture(scope="module")
def tiny() -> SAM2ImagePredictor:
    predictor = SAM2ImagePredictor(nano(64))
    predictor.set_image(picture())
    return predictor


def assert_close(first: tuple[NDArray[Any], ...], second: tuple[NDArray[Any], ...]) -> None:
    for a, b in zip(first, second, strict=True):
        np.testing.assert_allclose(a, b, atol=2e-6, rtol=1e-4)


class TestInterface:
    """Names, order and defaults are those of the published class."""

    def test_constructor(self) -> None:
        assert published(SAM2ImagePredictor) == [
            ("sam_model", None),
            ("mask_threshold", 0.0),
            ("max_hole_area", 0.0),
            ("max_sprinkle_area", 0.0),
            ("window", None),
            ("graphs", False),
            ("features", None),
        ]

    @pytest.mark.parametrize("suffix", ["", "_batch"])
    def test_predict(self, suffix: str) -> None:
        method = getattr(SAM2ImagePredictor, f"predict{suffix}")
        prompts = [f"{name}{suffix}" for name in ("point_coords", "point_labels", "box", "mask_input")]
        expected = [("self", None), *((name, None) for name in prompts)]
        expected += [("multimask_output", True), ("return_logits", False), ("normalize_coords", True)]
        assert published(method) == expected

    def test_image_setters(self) -> None:
        assert published(SAM2ImagePredictor.set_image) == [("self", None), ("image", None)]
        assert published(SAM2ImagePredictor.set_image_batch) == [("self", None), ("image_list", None)]

    def test_model_and_device_are_readable(self, predictor: SAM2ImagePredictor, model: Sam2) -> None:
        assert predictor.model is model
        assert predictor.device == torch.device("cpu")


def published(function: Any) -> list[tuple[str, Any]]:
    parameters = inspect.signature(function).parameters.values()
    return [(p.name, None if p.default is p.empty else p.default) for p in parameters]


class TestResults:
    @pytest.mark.parametrize(
        ("prompts", "leading"),
        [
            (CLICK, ()),
            ({"box": BOXES[0]}, ()),
            ({"box": BOXES[:1]}, ()),
            ({"box": BOXES}, (3,)),
            ({"point_coords": POINTS, "point_labels": LABELS}, (3,)),
            ({"point_coords": POINTS, "point_labels": LABELS, "box": BOXES}, (3,)),
            ({**CLICK, "box": BOXES[0]}, ()),
            ({"mask_input": np.ones((1, 32, 32))}, ()),
            ({"mask_input": np.ones((2, 1, 32, 32))}, (2,)),
            ({"mask_input": np.ones((1, 32, 32)), "box": BOXES}, (3,)),
        ],
    )
    @pytest.mark.parametrize(("multimask", "masks"), [(True, 3), (False, 1)])
    def test_shapes_and_types(
        self,
        predictor: SAM2ImagePredictor,
        prompts: dict[str, Any],
        leading: tuple[int, ...],
        multimask: bool,
        masks: int,
    ) -> None:
        found, ious, low_res = predictor.predict(**prompts, multimask_output=multimask)
        assert found.shape == (*leading, masks, HEIGHT, WIDTH)
        assert ious.shape == (*leading, masks)
        assert low_res.shape == (*leading, masks, SIDE // 4, SIDE // 4)
        assert {array.dtype for array in (found, ious, low_res)} == {np.dtype(np.float32)}
        assert set(np.unique(found)) <= {0.0, 1.0}
        assert ((ious >= 0) & (ious <= 1)).all()

    def test_masks_are_the_logits_above_the_threshold(self, model: Sam2) -> None:
        predictor = SAM2ImagePredictor(model, mask_threshold=0.03)
        predictor.set_image(picture())
        logits, _, low_res = predictor.predict(**CLICK, return_logits=True)
        masks, _, _ = predictor.predict(**CLICK)
        np.testing.assert_array_equal(masks, logits > 0.03)
        assert 0 < masks.mean() < 1
        enlarged = F.interpolate(torch.from_numpy(low_res)[None], size=(HEIGHT, WIDTH), mode="bilinear")
        np.testing.assert_allclose(logits, enlarged[0].numpy(), atol=1e-6)

    def test_mask_logits_stay_within_32(self) -> None:
        model = nano()
        with torch.no_grad():
            for mixer in model.sam_mask_decoder.output_hypernetworks_mlps:
                mixer.layers[-1].weight *= 1e4
        predictor = SAM2ImagePredictor(model)
        predictor.set_image(picture())
        logits, _, low_res = predictor.predict(**CLICK, return_logits=True)
        assert np.abs(logits).max() > 100
        assert np.abs(low_res).max() == 32

    def test_one_mask_that_is_unstable_gives_way_to_the_best_alternative(self, predictor: SAM2ImagePredictor) -> None:
        # Logits of random weights lie around ±0.1: a threshold of ±0.05 changes every area by more than 2 %.
        alternatives = predictor.predict(**CLICK)
        single = predictor.predict(**CLICK, multimask_output=False)
        best = alternatives[1].argmax()
        assert single[1][0] == alternatives[1][best]
        np.testing.assert_array_equal(single[2][0], alternatives[2][best])

    @pytest.mark.parametrize("side", [64, 256])
    def test_any_side_of_the_model_works(self, side: int) -> None:
        predictor = SAM2ImagePredictor(nano(side))
        predictor.set_image(picture())
        masks, _, low_res = predictor.predict(**CLICK)
        assert masks.shape == (3, HEIGHT, WIDTH)
        assert low_res.shape == (3, side // 4, side // 4)

    def test_holes_and_islands_are_cleaned_in_the_mask_logits(self, model: Sam2) -> None:
        plain = SAM2ImagePredictor(model)
        tidy = SAM2ImagePredictor(model, max_hole_area=20, max_sprinkle_area=30)
        for predictor in (plain, tidy):
            predictor.set_image(picture())
        raw, _, low_res = plain.predict(box=BOXES, return_logits=True)
        cleaned, _, tidy_low_res = tidy.predict(box=BOXES, return_logits=True)
        expected = cleanup.clean(torch.from_numpy(low_res), max_hole_area_px=20, max_island_area_px=30)
        assert not torch.equal(expected, torch.from_numpy(low_res))
        enlarged = F.interpolate(expected, size=(HEIGHT, WIDTH), mode="bilinear").numpy()
        np.testing.assert_allclose(cleaned, enlarged, atol=1e-5)
        np.testing.assert_array_equal(low_res, tidy_low_res)
        assert not np.array_equal(raw, cleaned)

    def test_groups_of_objects_do_not_change_the_result(
        self, predictor: SAM2ImagePredictor, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        whole = predictor.predict(box=BOXES, return_logits=True)
        monkeypatch.setattr(encoded_images, "PIXELS_AT_ONCE", HEIGHT * WIDTH * 4)
        assert_close(predictor.predict(box=BOXES, return_logits=True), whole)

    def test_autocast_around_a_call_decides_its_numbers(self, predictor: SAM2ImagePredictor) -> None:
        exact = predictor.predict(**CLICK, return_logits=True)[0]
        with torch.autocast("cpu", dtype=torch.bfloat16):
            predictor.set_image(picture())
            reduced = predictor.predict(**CLICK, return_logits=True)[0]
        # The median: of random weights, single regions may come and go.
        error = np.median(np.abs(reduced - exact)) / exact.std()
        assert reduced.dtype == np.float32
        assert 1e-5 < error < 0.01


class TestEquivalentPrompts:
    def test_objects_together_equal_one_by_one(self, predictor: SAM2ImagePredictor) -> None:
        together = predictor.predict(POINTS, LABELS, box=BOXES, return_logits=True)
        for index in range(3):
            alone = predictor.predict(POINTS[index], LABELS[index], box=BOXES[index], return_logits=True)
            assert_close(tuple(array[index] for array in together), alone)

    def test_one_mask_serves_all_objects(self, predictor: SAM2ImagePredictor) -> None:
        mask = np.linspace(-5, 5, 32 * 32).reshape(1, 32, 32)
        once = predictor.predict(box=BOXES, mask_input=mask, return_logits=True)
        each = predictor.predict(box=BOXES, mask_input=np.stack([mask] * 3), return_logits=True)
        assert_close(once, each)

    def test_a_box_is_its_corners_as_points(self, predictor: SAM2ImagePredictor) -> None:
        corners = predictor.predict(BOXES[0].reshape(2, 2), [2, 3])
        assert_close(predictor.predict(box=BOXES[0]), corners)

    def test_points_that_are_none_may_lie_anywhere(self, predictor: SAM2ImagePredictor) -> None:
        first = predictor.predict([[40, 30], [0, 0]], [1, -1])
        assert_close(predictor.predict([[40, 30], [np.nan, 1e9]], [1, -1]), first)

    def test_fractions_equal_pixels(self, predictor: SAM2ImagePredictor) -> None:
        in_pixels = predictor.predict(POINTS, LABELS, box=BOXES, return_logits=True)
        fractions = predictor.predict(
            POINTS / (WIDTH, HEIGHT),
            LABELS,
            box=BOXES / (WIDTH, HEIGHT, WIDTH, HEIGHT),
            return_logits=True,
            normalize_coords=False,
        )
        assert_close(fractions, in_pixels)

    def test_lists_arrays_and_tensors_are_the_same(self, predictor: SAM2ImagePredictor) -> None:
        arrays = predictor.predict(POINTS.astype(np.float32), LABELS.astype(np.int32))
        assert_close(predictor.predict(POINTS.tolist(), LABELS.tolist()), arrays)
        assert_close(predictor.predict(torch.from_numpy(POINTS), torch.from_numpy(LABELS)), arrays)

    def test_the_given_arrays_stay_as_they_are(self, predictor: SAM2ImagePredictor) -> None:
        points, labels, box = POINTS.copy(), LABELS.copy(), BOXES.copy()
        labels[0, 1] = -1
        predictor.predict(points, labels, box=box)
        np.testing.assert_array_equal(points, POINTS)
        np.testing.assert_array_equal(box, BOXES)

    def test_a_mask_of_another_side_is_resized(self, predictor: SAM2ImagePredictor) -> None:
        mask = np.random.default_rng(3).normal(size=(1, 20, 28)).astype(np.float32)
        resized = F.interpolate(torch.from_numpy(mask)[None], size=(32, 32), mode="bilinear")[0]
        assert_close(predictor.predict(mask_input=mask), predictor.predict(mask_input=resized))

    def test_an_answer_can_go_in_again(self, predictor: SAM2ImagePredictor) -> None:
        _, ious, low_res = predictor.predict(**CLICK)
        again, _, _ = predictor.predict(
            **CLICK, mask_input=low_res[ious.argmax()][None], multimask_output=False, return_logits=True
        )
        without, _, _ = predictor.predict(**CLICK, multimask_output=False, return_logits=True)
        assert not np.allclose(again, without)

    @given(x=st.floats(0, WIDTH), y=st.floats(0, HEIGHT))
    def test_every_point_of_the_image_can_be_clicked(self, tiny: SAM2ImagePredictor, x: float, y: float) -> None:
        ious = tiny.predict([[x, y]], [1])[1]
        assert np.isfinite(ious).all()

    def test_a_box_may_reach_over_the_border(self, predictor: SAM2ImagePredictor) -> None:
        masks = predictor.predict(box=[-5, -8, 60, HEIGHT + 20], return_logits=True)[0]
        clipped = predictor.predict(box=[0, 0, 60, HEIGHT], return_logits=True)[0]
        assert not np.allclose(masks, clipped)


class TestImages:
    @pytest.mark.parametrize(
        "image",
        [
            np.asfortranarray(picture()),
            picture()[::-1, ::-1].copy()[::-1, ::-1],
            picture().astype(">u2"),
            picture().astype(np.int64),
            picture().astype(np.float32) / 255,
            picture().astype(np.float64) * 7 - 3,
            np.dstack([picture(), np.full((HEIGHT, WIDTH), 9, np.uint8)]),
            Image.fromarray(picture()),
            Image.fromarray(picture()).convert("RGBA"),
            picture().tolist(),
        ],
        ids=["fortran", "reversed", "big-endian", "int64", "0 to 1", "stretched", "rgba", "pil", "pil rgba", "list"],
    )
    def test_the_form_does_not_matter(self, predictor: SAM2ImagePredictor, image: Any) -> None:
        expected = predictor.predict(**CLICK, return_logits=True)
        predictor.set_image(image)
        for found, wanted in zip(predictor.predict(**CLICK, return_logits=True), expected, strict=True):
            np.testing.assert_allclose(found, wanted, atol=2e-5)

    @pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
    def test_grey_equals_three_equal_channels(self, predictor: SAM2ImagePredictor, dtype: type) -> None:
        grey = picture()[..., 0].astype(dtype)
        predictor.set_image(grey)
        expected = predictor.predict(**CLICK, return_logits=True)
        for image in (grey[..., None], np.dstack([grey] * 3)):
            predictor.set_image(image)
            assert_close(predictor.predict(**CLICK, return_logits=True), expected)

    @pytest.mark.parametrize("shape", [(1, 200), (200, 1), (1, 1), (3, 3, 3), (600, 401, 3)])
    def test_any_size_works(self, predictor: SAM2ImagePredictor, shape: tuple[int, ...]) -> None:
        predictor.set_image(np.random.default_rng(0).integers(0, 255, shape, np.uint8))
        masks = predictor.predict([[0, 0]], [1])[0]
        assert masks.shape == (3, *shape[:2])

    def test_a_constant_image_gives_finite_results(self, predictor: SAM2ImagePredictor) -> None:
        predictor.set_image(np.full((HEIGHT, WIDTH), 7, np.uint16))
        assert all(np.isfinite(array).all() for array in predictor.predict(**CLICK, return_logits=True))

    def test_the_image_is_encoded_once_and_its_features_are_not_copied(self, model: Sam2) -> None:
        predictor = SAM2ImagePredictor(model)
        with (
            mock.patch.object(model, "encode_image", wraps=model.encode_image) as encode,
            mock.patch.object(model, "decode", wraps=model.decode) as decode,
        ):
            predictor.set_image(picture())
            predictor.predict(**CLICK)
            predictor.predict(box=BOXES)
        assert encode.call_count == 1
        view, skips, prompts, sight = decode.call_args.args
        assert prompts.kinds.shape[0] == 3
        assert [level.shape[0] for level in (view, *skips, *sight.look, *sight.skips)] == [1] * 9
        assert decode.call_args_list[0].args[3] is sight

    @pytest.mark.parametrize("first", [True, False])
    def test_calls_may_ask_for_other_numbers_than_the_image_was_encoded_in(self, model: Sam2, first: bool) -> None:
        predictor, expected = SAM2ImagePredictor(model), SAM2ImagePredictor(model)
        expected.set_image(picture())
        with torch.autocast("cpu", torch.bfloat16, enabled=first):
            predictor.set_image(picture())
        with torch.autocast("cpu", torch.bfloat16, enabled=not first):
            found = predictor.predict(**CLICK)
        wanted = expected.predict(**CLICK)
        # Most logits are near 0 here; single ones are on the other side of it, and hence filled or not.
        assert np.median(np.abs(found[2] - wanted[2])) < 0.05 * np.median(np.abs(wanted[2]))

    def test_embedding_is_that_of_a_frame_that_stands_alone(self, predictor: SAM2ImagePredictor, model: Sam2) -> None:
        embedding = predictor.get_image_embedding()
        with torch.no_grad():
            features = encoded_images.tracker_for(model).encode([picture()])
        expected = features.embedding + model.no_mem_embed.reshape(1, -1, 1, 1)
        assert embedding.shape == (1, 128, SIDE // 16, SIDE // 16)
        torch.testing.assert_close(embedding, expected.detach())

    def test_embedding_belongs_to_the_caller(self, predictor: SAM2ImagePredictor) -> None:
        before = predictor.predict(**CLICK)
        embedding = predictor.get_image_embedding()
        embedding.mul_(0)
        torch.nn.Linear(SIDE // 16, 1)(embedding).sum().backward()  # also fit for autograd
        assert_close(predictor.predict(**CLICK), before)


class TestBatches:
    def test_images_of_different_sizes_equal_each_alone(self, predictor: SAM2ImagePredictor) -> None:
        images = [picture(), picture(50, 40, seed=1)]
        boxes = [BOXES, np.array([5.0, 6.0, 30.0, 40.0])]
        predictor.set_image_batch(images)
        together = predictor.predict_batch(box_batch=boxes, multimask_output=False, return_logits=True)
        assert [type(column) for column in together] == [list] * 3
        for index, (image, box) in enumerate(zip(images, boxes, strict=True)):
            predictor.set_image(image)
            alone = predictor.predict(box=box, multimask_output=False, return_logits=True)
            for column, wanted in zip(together, alone, strict=True):
                np.testing.assert_allclose(column[index], wanted, atol=1e-5)

    def test_prompts_may_differ_in_kind_between_images(self, predictor: SAM2ImagePredictor) -> None:
        predictor.set_image_batch([picture(), picture(seed=1), picture(seed=2)])
        masks, ious, low_res = predictor.predict_batch(
            [POINTS, None, [[40, 30]]], [LABELS, None, [1]], [None, BOXES[0], None], [None, None, np.zeros((1, 32, 32))]
        )
        assert [mask.shape for mask in masks] == [(3, 3, HEIGHT, WIDTH), (3, HEIGHT, WIDTH), (3, HEIGHT, WIDTH)]
        assert len(ious) == len(low_res) == 3

    def test_embedding_of_a_batch(self, predictor: SAM2ImagePredictor) -> None:
        predictor.set_image_batch([picture(), picture(seed=1)])
        assert predictor.get_image_embedding().shape == (2, 128, SIDE // 16, SIDE // 16)

    def test_one_list_too_short_is_named(self, predictor: SAM2ImagePredictor) -> None:
        predictor.set_image_batch([picture(), picture()])
        with pytest.raises(PromptError, match="box_batch must have one entry for each of the 2 images, got 1"):
            predictor.predict_batch(box_batch=[BOXES])

    def test_a_bad_prompt_names_its_image_before_anything_is_decoded(self, predictor: SAM2ImagePredictor) -> None:
        predictor.set_image_batch([picture(), picture()])
        with (
            mock.patch.object(predictor.model, "decode", wraps=predictor.model.decode) as decode,
            pytest.raises(PromptError, match="image 1: a box is"),
        ):
            predictor.predict_batch(box_batch=[BOXES, [50, 50, 10, 60]])
        assert decode.call_count == 0


class TestState:
    def test_nothing_can_be_asked_before_an_image_is_set(self, model: Sam2) -> None:
        predictor = SAM2ImagePredictor(model)
        for call in (lambda: predictor.predict(**CLICK), predictor.get_image_embedding, predictor.predict_batch):
            with pytest.raises(SessionError, match="no image is set; call set_image"):
                call()

    def test_reset_forgets_the_image(self, predictor: SAM2ImagePredictor) -> None:
        predictor.reset_predictor()
        with pytest.raises(SessionError, match="no image is set"):
            predictor.predict(**CLICK)

    def test_one_image_and_a_batch_are_not_mixed_up(self, predictor: SAM2ImagePredictor) -> None:
        with pytest.raises(SessionError, match="was set by set_image; call predict for it"):
            predictor.predict_batch(box_batch=[BOXES])
        predictor.set_image_batch([picture()])
        with pytest.raises(SessionError, match="was set by set_image_batch; call predict_batch for it"):
            predictor.predict(**CLICK)

    @pytest.mark.parametrize(
        "image",
        [
            np.zeros((0, 5), np.uint8),
            np.zeros((4, 4, 7), np.uint8),
            np.full((4, 4), np.nan),
            np.array([["a"]]),
            np.zeros(9),
        ],
        ids=["no pixels", "seven channels", "nan", "text", "one axis"],
    )
    def test_a_bad_image_leaves_the_one_before(self, predictor: SAM2ImagePredictor, image: Any) -> None:
        before = predictor.predict(**CLICK)
        with pytest.raises(ImageError):
            predictor.set_image(image)
        with pytest.raises(ImageError):
            predictor.set_image_batch([picture(), image])
        assert_close(predictor.predict(**CLICK), before)

    @pytest.mark.parametrize("images", [[], picture(), None])
    def test_a_batch_is_a_list(self, predictor: SAM2ImagePredictor, images: Any) -> None:
        with pytest.raises(ImageError, match="takes a list of at least one image, got"):
            predictor.set_image_batch(images)

    def test_no_mode_of_torch_is_left_open(self, predictor: SAM2ImagePredictor) -> None:
        with pytest.raises(PromptError):
            predictor.predict()
        predictor.predict(**CLICK)
        assert torch.is_grad_enabled()
        assert not torch.is_inference_mode_enabled()
        assert not torch.is_autocast_enabled("cpu")


@pytest.mark.parametrize(
    ("prompts", "message"),
    [
        ({}, "nothing to segment was given"),
        ({"point_coords": [[1, 2]]}, "point_coords need point_labels"),
        ({"point_labels": [1]}, "point_labels came without point_coords"),
        ({"point_coords": np.zeros((0, 2)), "point_labels": []}, "at least one point, got"),
        ({"point_coords": [1, 2], "point_labels": [1]}, r"must be \[N, 2\]"),
        ({"point_coords": [[1, 2, 3]], "point_labels": [1]}, r"must be \[N, 2\]"),
        ({"point_coords": [[1, 2]], "point_labels": [1, 0]}, r"point_labels must be \(1,\)"),
        ({"point_coords": POINTS, "point_labels": [1, 0]}, r"point_labels must be \(3, 2\)"),
        ({"point_coords": [[1, 2]], "point_labels": [4]}, "point labels are 1"),
        ({"point_coords": [[1, 2]], "point_labels": [0.5]}, "point labels are 1"),
        ({"point_coords": [[1, 2]], "point_labels": [np.nan]}, "point labels are 1"),
        ({"point_coords": [[np.nan, 2]], "point_labels": [1]}, "finite x and y"),
        ({"point_coords": [[1, np.inf]], "point_labels": [1]}, "finite x and y"),
        ({"point_coords": [[WIDTH + 1, 2]], "point_labels": [1]}, "inside the image"),
        ({"point_coords": [[2, HEIGHT + 1]], "point_labels": [0]}, "x counts columns"),
        ({"point_coords": [[-1, 2]], "point_labels": [1]}, "inside the image"),
        ({"point_coords": [[40, 30]], "point_labels": [1], "normalize_coords": False}, "inside the image"),
        ({"point_coords": [["a", "b"]], "point_labels": [1]}, "must be an array of numbers"),
        ({"point_coords": [[1, 2], [3]], "point_labels": [1, 1]}, "must be an array of numbers"),
        ({"box": [60, 10, 20, 50]}, "swap the reversed corners"),
        ({"box": [20, 50, 60, 10]}, "swap the reversed corners"),
        ({"box": [20, 10, 20, 50]}, "x0 < x1"),
        ({"box": [20, 10, np.nan, 50]}, "four finite numbers"),
        ({"box": [WIDTH + 5, 10, WIDTH + 50, 50]}, "outside the image"),
        ({"box": [1, 2, 3]}, r"box must be \[4\]"),
        ({"box": np.zeros((0, 4))}, r"box must be \[4\]"),
        ({"box": BOXES, **CLICK}, "box is for 3 objects and point_coords for 1"),
        ({"mask_input": np.zeros((32, 32))}, r"must be mask logits \[1, 32, 32\]"),
        ({"mask_input": np.zeros((3, 32, 32))}, "choose one of several candidates"),
        ({"mask_input": np.zeros((1, 0, 32))}, "must be mask logits"),
        ({"mask_input": np.full((1, 32, 32), np.nan)}, "NaN or infinite"),
        ({"mask_input": np.zeros((2, 1, 32, 32)), "box": BOXES}, "mask_input is for 2 objects"),
    ],
)
def test_a_bad_prompt_is_a_named_error_and_the_image_stays(
    predictor: SAM2ImagePredictor, prompts: dict[str, Any], message: str
) -> None:
    with pytest.raises(PromptError, match=message):
        predictor.predict(**prompts)
    assert predictor.predict(**CLICK)[0].shape == (3, HEIGHT, WIDTH)


class TestPretrained:
    @pytest.fixture
    def weights(self, model: Sam2, tmp_path: Path) -> Path:
        save_model(model, tmp_path / "nano.safetensors")
        return tmp_path / "nano.safetensors"

    def test_a_file_and_its_folder_give_the_same_predictor(self, predictor: SAM2ImagePredictor, weights: Path) -> None:
        expected = predictor.predict(**CLICK, return_logits=True)
        for source in (weights, str(weights.parent)):
            loaded = SAM2ImagePredictor.from_pretrained(source, device="cpu")
            loaded.set_image(picture())
            assert_close(loaded.predict(**CLICK, return_logits=True), expected)

    def test_settings_reach_the_predictor_and_the_model(self, weights: Path) -> None:
        loaded = SAM2ImagePredictor.from_pretrained(
            str(weights), device="cpu", mask_threshold=0.5, max_hole_area=3, apply_postprocessing=False
        )
        assert (loaded.mask_threshold, loaded.max_hole_area) == (0.5, 3)
        loaded.set_image(picture())
        single, alternatives = loaded.predict(**CLICK, multimask_output=False), loaded.predict(**CLICK)
        assert not any(np.array_equal(single[2][0], other) for other in alternatives[2])

    def test_an_unknown_setting_is_named(self, weights: Path) -> None:
        with pytest.raises(TypeError, match="unknown keyword arguments mask_treshold; SAM2ImagePredictor takes"):
            SAM2ImagePredictor.from_pretrained(str(weights), mask_treshold=0.5)
