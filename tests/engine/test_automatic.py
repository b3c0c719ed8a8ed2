from __future__ import annotations

import inspect
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from sam2_engine import encoded_images
from sam2_engine.automatic import SAM2AutomaticMaskGenerator
from sam2_engine.checkpoint import save_model
from sam2_engine.config import MODELS
from sam2_engine.encoded_images import Finish
from sam2_engine.errors import ImageError, PromptError
from sam2_engine.export.rle import decode_rle
from sam2_engine.image_predictor import SAM2ImagePredictor
from sam2_engine.model import Sam2

SIDE, HEIGHT, WIDTH = 128, 90, 120
LOOSE: dict[str, Any] = {
    "points_per_side": 4,
    "pred_iou_thresh": 0.45,
    "stability_score_thresh": 0.6,
    "box_nms_thresh": 0.9,
    "crop_nms_thresh": 0.9,
}
KEYS = ["segmentation", "area", "bbox", "predicted_iou", "point_coords", "stability_score", "crop_box"]


@pytest.fixture(scope="module")
def model() -> Sam2:
    """Random weights with wide mask logits and opinions, so that masks, scores and boxes differ between clicks."""
    torch.manual_seed(5)
    model = Sam2(replace(MODELS["nano"].at_side(SIDE), contrast="dtype", object_windows=False, edge_channels=0)).eval()
    decoder = model.sam_mask_decoder
    with torch.no_grad():
        for mixer in decoder.output_hypernetworks_mlps:
            mixer.layers[-1].weight *= 300
        decoder.iou_prediction_head.layers[-1].weight *= 8
        model.sam_prompt_encoder.point_embeddings[1].weight *= 0.1
    return model


def picture(height: int, width: int) -> NDArray[np.uint8]:
    small = np.random.default_rng(1).integers(0, 255, (7, 9, 3), np.uint8)
    return np.array(Image.fromarray(small).resize((width, height)))


@pytest.fixture(scope="module")
def image() -> NDArray[np.uint8]:
    return picture(HEIGHT, WIDTH)


def by_single_clicks(model: Sam2, image: NDArray[np.uint8], *, points_per_side: int) -> list[dict[str, Any]]:
    """Every candidate of every click on the whole image, by the image predictor alone, measured as in a record."""
    predictor = SAM2ImagePredictor(model)
    predictor.set_image(image)
    centres = (np.arange(points_per_side) + 0.5) / points_per_side
    found = []
    for x, y in [(x * WIDTH, y * HEIGHT) for y in centres for x in centres]:
        logits, ious, _ = predictor.predict([[x, y]], [1], return_logits=True)
        for plane, iou in zip(logits, ious, strict=True):
            rows, columns = np.nonzero(plane > 0)
            corners = [0, 0, 0, 0] if len(rows) == 0 else [columns.min(), rows.min(), columns.max(), rows.max()]
            found.append(
                {
                    "segmentation": plane > 0,
                    "bbox": [*corners[:2], corners[2] - corners[0], corners[3] - corners[1]],
                    "predicted_iou": iou,
                    "stability_score": (plane > 1).sum() / max((plane > -1).sum(), 1),
                    "point_coords": [[x, y]],
                }
            )
    return found


def test_interface_is_the_published_one() -> None:
    parameters = list(inspect.signature(SAM2AutomaticMaskGenerator).parameters.values())
    assert [(p.name, p.default) for p in parameters[1:]] == [
        ("points_per_side", 32),
        ("points_per_batch", 64),
        ("pred_iou_thresh", 0.8),
        ("stability_score_thresh", 0.95),
        ("stability_score_offset", 1.0),
        ("mask_threshold", 0.0),
        ("box_nms_thresh", 0.7),
        ("crop_n_layers", 0),
        ("crop_nms_thresh", 0.7),
        ("crop_overlap_ratio", 512 / 1500),
        ("crop_n_points_downscale_factor", 1),
        ("point_grids", None),
        ("min_mask_region_area", 0),
        ("output_mode", "binary_mask"),
        ("use_m2m", False),
        ("multimask_output", True),
        ("tile_sides", None),  # ours
        ("window", None),  # ours
    ]
    assert parameters[0].name == "model"


@pytest.fixture(scope="module")
def records(model: Sam2) -> list[dict[str, Any]]:
    """Small masks in crops: of random weights only the highest peaks are not spread all over the image."""
    settings = {"points_per_side": 4, "pred_iou_thresh": 0, "stability_score_thresh": 0.01, "mask_threshold": 40}
    generator = SAM2AutomaticMaskGenerator(model, **settings, crop_n_layers=1, box_nms_thresh=1, crop_nms_thresh=1)
    return generator.generate(picture(2 * HEIGHT, 2 * WIDTH))


class TestRecords:
    def test_keys_and_types(self, records: list[dict[str, Any]]) -> None:
        assert len(records) > 10
        for record in records:
            assert list(record) == KEYS
            assert record["segmentation"].shape == (2 * HEIGHT, 2 * WIDTH)
            assert record["segmentation"].dtype == bool
            assert isinstance(record["area"], int)
            assert isinstance(record["predicted_iou"], float)
            assert isinstance(record["stability_score"], float)
            numbers = [*record["bbox"], *record["crop_box"], *record["point_coords"][0]]
            assert len(numbers) == 10
            assert all(isinstance(number, float) for number in numbers)

    def test_a_record_describes_its_mask(self, records: list[dict[str, Any]]) -> None:
        for record in records:
            rows, columns = np.nonzero(record["segmentation"])
            assert record["area"] == len(rows)
            x, y, width, height = record["bbox"]
            assert (x, y, x + width, y + height) == (columns.min(), rows.min(), columns.max(), rows.max())

    def test_masks_and_clicks_lie_in_their_crop(self, records: list[dict[str, Any]]) -> None:
        assert len({tuple(record["crop_box"]) for record in records}) > 1
        for record in records:
            x, y, width, height = map(int, record["crop_box"])
            outside = record["segmentation"].copy()
            outside[y : y + height, x : x + width] = False
            assert not outside.any()
            click_x, click_y = record["point_coords"][0]
            assert x <= click_x <= x + width
            assert y <= click_y <= y + height


class TestSearch:
    def test_everything_equals_single_clicks(self, model: Sam2, image: NDArray[np.uint8]) -> None:
        generator = SAM2AutomaticMaskGenerator(
            model, points_per_side=3, pred_iou_thresh=0, stability_score_thresh=0, box_nms_thresh=1
        )
        records = generator.generate(image)
        expected = sorted(by_single_clicks(model, image, points_per_side=3), key=lambda one: -one["predicted_iou"])
        assert len(records) == len(expected) == 27
        for record, wanted in zip(records, expected, strict=True):
            assert record["predicted_iou"] == pytest.approx(wanted["predicted_iou"], abs=1e-5)
            assert record["stability_score"] == pytest.approx(wanted["stability_score"], abs=2e-3)
            assert record["point_coords"] == wanted["point_coords"]
            assert (record["segmentation"] != wanted["segmentation"]).mean() < 1e-3
            assert record["bbox"] == pytest.approx(wanted["bbox"], abs=1)

    def test_masks_below_the_limits_are_dropped(self, model: Sam2, image: NDArray[np.uint8]) -> None:
        candidates = by_single_clicks(model, image, points_per_side=4)
        good = [
            one
            for one in candidates
            if one["predicted_iou"] > LOOSE["pred_iou_thresh"]
            and one["stability_score"] >= LOOSE["stability_score_thresh"]
        ]
        assert 3 < len(good) < len(candidates) - 3
        records = SAM2AutomaticMaskGenerator(model, **{**LOOSE, "box_nms_thresh": 1.0}).generate(image)
        assert len(records) == len(good)

    def test_each_object_is_found_once(self, model: Sam2, image: NDArray[np.uint8]) -> None:
        every = SAM2AutomaticMaskGenerator(model, **{**LOOSE, "box_nms_thresh": 1.0}).generate(image)
        once = SAM2AutomaticMaskGenerator(model, **{**LOOSE, "box_nms_thresh": 0.5}).generate(image)
        assert 0 < len(once) < len(every)
        assert once[0]["predicted_iou"] == every[0]["predicted_iou"]

    @pytest.mark.parametrize("batch", [1, 5, 1000])
    def test_the_size_of_batches_does_not_matter(self, model: Sam2, image: NDArray[np.uint8], batch: int) -> None:
        assert_same_masks(
            SAM2AutomaticMaskGenerator(model, **LOOSE, points_per_batch=batch).generate(image),
            SAM2AutomaticMaskGenerator(model, **LOOSE).generate(image),
        )

    def test_no_more_masks_at_image_size_than_allowed(
        self, model: Sam2, image: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        generator = SAM2AutomaticMaskGenerator(model, **LOOSE)
        expected = generator.generate(image)
        monkeypatch.setattr(encoded_images, "PIXELS_AT_ONCE", 2 * HEIGHT * WIDTH)
        with mock.patch.object(Finish, "at_image_size", autospec=True, side_effect=Finish.at_image_size) as resized:
            assert_same_masks(generator.generate(image), expected)
        assert resized.call_count > 3
        assert max(len(call.args[1]) for call in resized.call_args_list) == 2

    def test_refinement_gives_every_mask_back_to_the_model(self, model: Sam2, image: NDArray[np.uint8]) -> None:
        settings = {"points_per_side": 2, "pred_iou_thresh": 0, "stability_score_thresh": 0, "box_nms_thresh": 1}
        refined = SAM2AutomaticMaskGenerator(model, **settings, use_m2m=True, points_per_batch=3).generate(image)
        predictor = SAM2ImagePredictor(model)
        predictor.set_image(image)
        expected = []
        for point in [(x * WIDTH, y * HEIGHT) for y in (0.25, 0.75) for x in (0.25, 0.75)]:
            for low_res in predictor.predict([point], [1])[2]:
                answer = predictor.predict([point], [1], mask_input=low_res[None], multimask_output=False)
                expected.append((float(answer[1][0]), answer[0][0]))
        expected.sort(key=lambda pair: -pair[0])
        assert [record["predicted_iou"] for record in refined] == pytest.approx([iou for iou, _ in expected], abs=1e-5)
        for record, (_, mask) in zip(refined, expected, strict=True):
            assert (record["segmentation"] != mask).mean() < 1e-3

    def test_one_mask_for_each_click(self, model: Sam2, image: NDArray[np.uint8]) -> None:
        settings = {"points_per_side": 3, "pred_iou_thresh": 0, "stability_score_thresh": 0, "box_nms_thresh": 1}
        assert len(SAM2AutomaticMaskGenerator(model, **settings, multimask_output=False).generate(image)) == 9

    def test_given_points_are_clicked(self, model: Sam2, image: NDArray[np.uint8]) -> None:
        generator = SAM2AutomaticMaskGenerator(
            model,
            points_per_side=None,
            point_grids=[[[0.5, 0.25]], [[0.1, 0.1]]],
            pred_iou_thresh=0,
            stability_score_thresh=0,
        )
        points = [record["point_coords"] for record in generator.generate(image)]
        assert points
        assert all(point == [[WIDTH * 0.5, HEIGHT * 0.25]] for point in points)

    def test_limits_that_nothing_reaches_give_no_masks(self, model: Sam2, image: NDArray[np.uint8]) -> None:
        assert SAM2AutomaticMaskGenerator(model, points_per_side=2, pred_iou_thresh=1.0).generate(image) == []
        strict = {"points_per_side": 2, "pred_iou_thresh": 0, "stability_score_thresh": 1.01, "crop_n_layers": 1}
        assert SAM2AutomaticMaskGenerator(model, **strict).generate(image) == []

    def test_an_empty_mask_is_not_stable(self, model: Sam2, image: NDArray[np.uint8]) -> None:
        settings = {"points_per_side": 2, "pred_iou_thresh": 0, "mask_threshold": 1e6}
        assert SAM2AutomaticMaskGenerator(model, **settings, stability_score_thresh=0.01).generate(image) == []

    def test_small_regions_are_removed_as_in_the_image_predictor(self, model: Sam2, image: NDArray[np.uint8]) -> None:
        settings = {"points_per_side": 2, "pred_iou_thresh": 0, "stability_score_thresh": 0, "box_nms_thresh": 1}
        rough = SAM2AutomaticMaskGenerator(model, **settings).generate(image)
        tidy = SAM2AutomaticMaskGenerator(model, **settings, min_mask_region_area=12).generate(image)
        predictor = SAM2ImagePredictor(model, max_hole_area=12, max_sprinkle_area=12)
        predictor.set_image(image)
        for before, after in zip(rough, tidy, strict=True):
            masks, ious, _ = predictor.predict(after["point_coords"], [1])
            same = masks[np.abs(ious - after["predicted_iou"]).argmin()]
            assert (after["segmentation"] != same).mean() < 1e-3
            assert (after["segmentation"] != before["segmentation"]).mean() > 1e-2


def assert_same_masks(found: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert one["predicted_iou"] == pytest.approx(other["predicted_iou"], abs=1e-5)
        assert one["point_coords"] == other["point_coords"]
        assert (one["segmentation"] != other["segmentation"]).mean() < 1e-3


class TestOutput:
    def test_all_forms_tell_the_same(self, model: Sam2, image: NDArray[np.uint8]) -> None:
        binary, runs, text = (
            SAM2AutomaticMaskGenerator(model, **LOOSE, output_mode=mode).generate(image)
            for mode in ("binary_mask", "uncompressed_rle", "coco_rle")
        )
        assert len(binary) == len(runs) == len(text) > 0
        for mask, rle, coco in zip(binary, runs, text, strict=True):
            assert rle["segmentation"]["size"] == coco["segmentation"]["size"] == [HEIGHT, WIDTH]
            assert isinstance(rle["segmentation"]["counts"], list)
            assert isinstance(coco["segmentation"]["counts"], str)
            np.testing.assert_array_equal(decode_rle(rle["segmentation"]), mask["segmentation"])
            np.testing.assert_array_equal(decode_rle(coco["segmentation"]), mask["segmentation"])

    def test_progress_counts_the_points_of_all_crops(self, model: Sam2, image: NDArray[np.uint8]) -> None:
        told: list[tuple[int, int]] = []
        generator = SAM2AutomaticMaskGenerator(
            model, points_per_side=4, points_per_batch=10, crop_n_layers=1, crop_n_points_downscale_factor=2
        )
        generator.generate(image, progress=lambda done, total: told.append((done, total)))
        assert [done for done, _ in told] == [10, 16, 20, 24, 28, 32]
        assert {total for _, total in told} == {32}

    def test_a_search_that_is_stopped_gives_what_it_found(self, model: Sam2, image: NDArray[np.uint8]) -> None:
        generator = SAM2AutomaticMaskGenerator(model, **LOOSE, points_per_batch=8, crop_n_layers=1)
        told: list[int] = []

        def stop_at_half(done: int, total: int) -> bool:
            told.append(done)
            return done < 8

        some = generator.generate(image, progress=stop_at_half)
        assert told == [8]
        assert some
        assert all(record["point_coords"][0][1] < HEIGHT / 2 for record in some)


class TestImages:
    def test_grey_equals_three_equal_channels(self, model: Sam2, image: NDArray[np.uint8]) -> None:
        generator = SAM2AutomaticMaskGenerator(model, **LOOSE, crop_n_layers=1)
        grey = image[..., 0]
        assert_same_masks(generator.generate(grey), generator.generate(np.dstack([grey] * 3)))

    def test_pil_and_wide_integers_are_taken(self, model: Sam2, image: NDArray[np.uint8]) -> None:
        generator = SAM2AutomaticMaskGenerator(model, **LOOSE)
        assert_same_masks(generator.generate(Image.fromarray(image)), generator.generate(image))
        assert isinstance(generator.generate(image.astype(np.uint16) * 200), list)

    @pytest.mark.parametrize("shape", [(1, 50), (50, 1), (2, 2, 3)])
    def test_thin_images_work(self, model: Sam2, shape: tuple[int, ...]) -> None:
        generator = SAM2AutomaticMaskGenerator(
            model, points_per_side=2, pred_iou_thresh=0, stability_score_thresh=0, crop_n_layers=2
        )
        pixels = np.random.default_rng(0).integers(0, 255, shape, np.uint8)
        assert all(record["segmentation"].shape == shape[:2] for record in generator.generate(pixels))

    def test_black_and_white_of_a_crop_are_those_of_the_whole_picture(self, model: Sam2) -> None:
        pixels = np.zeros((HEIGHT, WIDTH), np.uint16)
        pixels[:20, :30] = 4000
        pixels[70:, 80:] = 1
        generator = SAM2AutomaticMaskGenerator(model, points_per_side=2, crop_n_layers=1)
        with mock.patch.object(model, "encode_image", wraps=model.encode_image) as encode:
            generator.generate(pixels)
        last_crop = encode.call_args.args[0]
        assert last_crop.std(dim=(2, 3)).max() < 0.05

    def test_a_bad_image_is_a_named_error(self, model: Sam2) -> None:
        with pytest.raises(ImageError, match="at least one pixel"):
            SAM2AutomaticMaskGenerator(model).generate(np.zeros((0, 4), np.uint8))


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"points_per_side": None}, ValueError, "give points_per_side or point_grids"),
        ({"point_grids": [[[0.5, 0.5]]]}, ValueError, "not both"),
        (
            {"points_per_side": None, "point_grids": [[[0.5, 0.5]]], "crop_n_layers": 1},
            PromptError,
            "need 2 point_grids",
        ),
        ({"points_per_side": None, "point_grids": [[[5, 5]]]}, PromptError, "in fractions of width and height"),
        ({"points_per_side": None, "point_grids": [[0.5, 0.5]]}, PromptError, r"each of point_grids is \[P, 2\]"),
        ({"points_per_side": 0}, ValueError, "raise points_per_side"),
        ({"points_per_batch": 0}, ValueError, "points_per_batch must be at least 1"),
        ({"crop_n_layers": -1}, ValueError, "crop_n_layers at least 0"),
        ({"output_mode": "png"}, ValueError, "output_mode must be one of binary_mask, uncompressed_rle, coco_rle"),
    ],
)
def test_an_impossible_setting_is_an_error(
    model: Sam2, settings: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        SAM2AutomaticMaskGenerator(model, **settings)


def test_from_pretrained_takes_settings_of_both(model: Sam2, image: NDArray[np.uint8], tmp_path: Path) -> None:
    save_model(model, tmp_path / "model.safetensors")
    generator = SAM2AutomaticMaskGenerator.from_pretrained(tmp_path, device="cpu", **LOOSE)
    assert_same_masks(generator.generate(image), SAM2AutomaticMaskGenerator(model, **LOOSE).generate(image))
    with pytest.raises(TypeError, match="unknown keyword arguments points_per_row"):
        SAM2AutomaticMaskGenerator.from_pretrained(tmp_path, points_per_row=3)
