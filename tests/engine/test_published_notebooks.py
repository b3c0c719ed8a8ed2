"""What the three example notebooks of facebookresearch/sam2 call, in their order, after changing the import lines.

Shortened, with small pictures and a small model of random weights; what the notebooks draw is checked for its shape.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from sam2_engine.checkpoint import save_model
from sam2_engine.config import MODELS
from sam2_engine.model import Sam2

HEIGHT, WIDTH = 90, 120
NUM_FRAMES = 5
device = torch.device("cpu")
model_cfg = "nano"


def picture(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    small = np.random.default_rng(seed).integers(0, 255, (7, 9, 3), np.uint8)
    return np.array(Image.fromarray(small).resize((width, height)))


@pytest.fixture(scope="module")
def sam2_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> str:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("checkpoints") / "model.safetensors"
    save_model(Sam2(replace(MODELS["nano"].at_side(64), object_windows=False)), path)
    return str(path)


@pytest.fixture(scope="module")
def video_dir(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("bedroom")
    for frame in range(NUM_FRAMES):
        Image.fromarray(np.roll(picture(HEIGHT, WIDTH), 3 * frame, axis=1)).save(folder / f"{frame:05d}.jpg")
    return str(folder)


class TestImagePredictorExample:
    @pytest.fixture
    def predictor(self, sam2_checkpoint: str) -> Any:
        from sam2_engine.predictor import SAM2ImagePredictor, build_sam2

        sam2_model = build_sam2(model_cfg, sam2_checkpoint, device=device)
        predictor = SAM2ImagePredictor(sam2_model)
        image = Image.fromarray(picture(HEIGHT, WIDTH))
        predictor.set_image(np.array(image.convert("RGB")))
        return predictor

    def test_embedding_is_shown(self, predictor: Any) -> None:
        assert predictor._features["image_embed"].shape == (1, 128, 4, 4)
        assert predictor._features["image_embed"][-1].shape == (128, 4, 4)
        assert predictor.model.image_size == 64
        assert predictor.device == predictor.model.device == device

    def test_click_then_refine_with_the_best_mask(self, predictor: Any) -> None:
        input_point, input_label = np.array([[50, 37]]), np.array([1])
        masks, scores, logits = predictor.predict(
            point_coords=input_point,
            point_labels=input_label,
            multimask_output=True,
        )
        sorted_ind = np.argsort(scores)[::-1]
        masks, scores, logits = masks[sorted_ind], scores[sorted_ind], logits[sorted_ind]
        assert masks.shape == (3, HEIGHT, WIDTH)
        assert masks[0].astype(np.uint8).reshape(HEIGHT, WIDTH, 1).max() <= 1

        mask_input = logits[np.argmax(scores), :, :]
        masks, scores, _ = predictor.predict(
            point_coords=np.array([[50, 37], [112, 62]]),
            point_labels=np.array([1, 0]),
            mask_input=mask_input[None, :, :],
            multimask_output=False,
        )
        assert masks.shape == (1, HEIGHT, WIDTH)
        assert scores.shape == (1,)

    def test_box_alone_and_with_a_click(self, predictor: Any) -> None:
        input_box = np.array([42, 40, 70, 87])
        masks, scores, _ = predictor.predict(
            point_coords=None,
            point_labels=None,
            box=input_box[None, :],
            multimask_output=False,
        )
        assert masks.shape == (1, HEIGHT, WIDTH)
        masks, scores, logits = predictor.predict(
            point_coords=np.array([[57, 75]]),
            point_labels=np.array([0]),
            box=input_box,
            multimask_output=False,
        )
        assert (masks.shape, scores.shape, logits.shape) == ((1, HEIGHT, WIDTH), (1,), (1, 32, 32))

    def test_many_boxes_at_once(self, predictor: Any) -> None:
        input_boxes = np.array([[7, 27, 112, 85], [42, 40, 70, 87], [90, 55, 110, 80], [1, 2, 30, 40]])
        masks, scores, _ = predictor.predict(
            point_coords=None,
            point_labels=None,
            box=input_boxes,
            multimask_output=False,
        )
        assert masks.shape == (4, 1, HEIGHT, WIDTH)
        assert scores.shape == (4, 1)
        assert [mask.squeeze(0).shape for mask in masks] == [(HEIGHT, WIDTH)] * 4

    def test_many_images_at_once(self, predictor: Any) -> None:
        img_batch = [picture(HEIGHT, WIDTH), picture(70, 64, seed=1)]
        boxes_batch = [np.array([[7, 27, 112, 85], [42, 40, 70, 87]]), np.array([[5, 17, 52, 35], [35, 19, 45, 35]])]
        predictor.set_image_batch(img_batch)
        masks_batch, scores_batch, _ = predictor.predict_batch(
            None,
            None,
            box_batch=boxes_batch,
            multimask_output=False,
        )
        assert [masks.shape for masks in masks_batch] == [(2, 1, HEIGHT, WIDTH), (2, 1, 70, 64)]

        pts_batch = [np.array([[[50, 37]], [[65, 75]]]), np.array([[[40, 30]], [[63, 30]]])]
        labels_batch = [np.array([[1], [1]]), np.array([[1], [1]])]
        masks_batch, scores_batch, _ = predictor.predict_batch(
            pts_batch, labels_batch, box_batch=None, multimask_output=True
        )
        best_masks = [
            masks[range(len(masks)), np.argmax(scores, axis=-1)]
            for masks, scores in zip(masks_batch, scores_batch, strict=True)
        ]
        assert [masks.shape for masks in best_masks] == [(2, HEIGHT, WIDTH), (2, 70, 64)]


class TestAutomaticMaskGeneratorExample:
    def test_default_and_denser_generator(self, sam2_checkpoint: str) -> None:
        from sam2_engine.predictor import SAM2AutomaticMaskGenerator, build_sam2

        image = np.array(Image.fromarray(picture(HEIGHT, WIDTH)).convert("RGB"))
        sam2 = build_sam2(model_cfg, sam2_checkpoint, device=device, apply_postprocessing=False)
        mask_generator = SAM2AutomaticMaskGenerator(sam2)
        assert mask_generator.generate(image) == []  # random weights never are sure of a mask

        mask_generator_2 = SAM2AutomaticMaskGenerator(
            model=sam2,
            points_per_side=4,
            points_per_batch=128,
            pred_iou_thresh=0.4,
            stability_score_thresh=0.0,
            stability_score_offset=0.7,
            crop_n_layers=1,
            box_nms_thresh=0.7,
            crop_n_points_downscale_factor=2,
            min_mask_region_area=25.0,
            use_m2m=True,
        )
        masks2 = mask_generator_2.generate(image)
        assert list(masks2[0].keys()) == [
            "segmentation",
            "area",
            "bbox",
            "predicted_iou",
            "point_coords",
            "stability_score",
            "crop_box",
        ]
        for ann in sorted(masks2, key=lambda x: x["area"], reverse=True):
            overlay = np.ones((HEIGHT, WIDTH, 4))
            overlay[ann["segmentation"]] = [0.1, 0.2, 0.3, 0.5]
            assert ann["segmentation"].astype(np.uint8).sum() == ann["area"]


class TestVideoPredictorExample:
    @pytest.fixture
    def predictor(self, sam2_checkpoint: str) -> Any:
        from sam2_engine.predictor import build_sam2_video_predictor

        return build_sam2_video_predictor(model_cfg, sam2_checkpoint, device=device)

    @pytest.fixture
    def inference_state(self, predictor: Any, video_dir: str) -> Iterator[Any]:
        yield predictor.init_state(video_path=video_dir)

    def test_one_object_from_a_click_and_corrected_later(self, predictor: Any, inference_state: Any) -> None:
        predictor.reset_state(inference_state)
        for points, labels in (([[21, 35]], [1]), ([[21, 35], [25, 22]], [1, 1])):
            _, out_obj_ids, out_mask_logits = predictor.add_new_points_or_box(
                inference_state=inference_state,
                frame_idx=0,
                obj_id=1,
                points=np.array(points, dtype=np.float32),
                labels=np.array(labels, np.int32),
            )
            assert out_obj_ids == [1]
            assert (out_mask_logits[0] > 0.0).cpu().numpy().shape == (1, HEIGHT, WIDTH)
        assert self.segments(predictor, inference_state) == {frame: [1] for frame in range(NUM_FRAMES)}

        predictor.add_new_points_or_box(
            inference_state=inference_state,
            frame_idx=3,
            obj_id=1,
            points=np.array([[82, 41]], dtype=np.float32),
            labels=np.array([0], np.int32),
        )
        assert self.segments(predictor, inference_state) == {frame: [1] for frame in range(NUM_FRAMES)}

    def test_one_object_from_a_box_then_a_click(self, predictor: Any, inference_state: Any) -> None:
        predictor.reset_state(inference_state)
        box = np.array([30, 0, 50, 40], dtype=np.float32)
        predictor.add_new_points_or_box(inference_state=inference_state, frame_idx=0, obj_id=4, box=box)
        _, out_obj_ids, out_mask_logits = predictor.add_new_points_or_box(
            inference_state=inference_state,
            frame_idx=0,
            obj_id=4,
            points=np.array([[46, 6]], dtype=np.float32),
            labels=np.array([1], np.int32),
            box=box,
        )
        assert (out_obj_ids, tuple(out_mask_logits.shape)) == ([4], (1, 1, HEIGHT, WIDTH))
        assert self.segments(predictor, inference_state) == {frame: [4] for frame in range(NUM_FRAMES)}

    def test_two_objects(self, predictor: Any, inference_state: Any) -> None:
        predictor.reset_state(inference_state)
        prompts = {}
        for ann_obj_id, points, labels in (
            (2, [[20, 30]], [1]),
            (2, [[20, 30], [27, 17]], [1, 0]),
            (3, [[40, 15]], [1]),
        ):
            prompts[ann_obj_id] = np.array(points, dtype=np.float32), np.array(labels, np.int32)
            _, out_obj_ids, out_mask_logits = predictor.add_new_points_or_box(
                inference_state=inference_state,
                frame_idx=0,
                obj_id=ann_obj_id,
                points=prompts[ann_obj_id][0],
                labels=prompts[ann_obj_id][1],
            )
        assert out_obj_ids == [2, 3]
        for i, out_obj_id in enumerate(out_obj_ids):
            assert (out_mask_logits[i] > 0.0).cpu().numpy().shape == (1, HEIGHT, WIDTH)
            assert len(prompts[out_obj_id][0]) in (1, 2)
        assert self.segments(predictor, inference_state) == {frame: [2, 3] for frame in range(NUM_FRAMES)}

    @staticmethod
    def segments(predictor: Any, inference_state: Any) -> dict[int, list[int]]:
        """Frame → objects with a mask on it, as the notebooks collect them."""
        video_segments = {}
        for out_frame_idx, out_obj_ids, out_mask_logits in predictor.propagate_in_video(inference_state):
            video_segments[out_frame_idx] = {
                out_obj_id: (out_mask_logits[i] > 0.0).cpu().numpy() for i, out_obj_id in enumerate(out_obj_ids)
            }
        assert all(
            mask.shape == (1, HEIGHT, WIDTH) and mask.dtype == bool
            for masks in video_segments.values()
            for mask in masks.values()
        )
        return {frame: list(masks) for frame, masks in video_segments.items()}


def test_pretrained_models_by_name(sam2_checkpoint: str, video_dir: str) -> None:
    """The README's other way in: ``from_pretrained`` inside ``inference_mode``."""
    from sam2_engine.predictor import SAM2ImagePredictor, SAM2VideoPredictor

    folder = str(Path(sam2_checkpoint).parent)
    image_predictor = SAM2ImagePredictor.from_pretrained(folder)
    video_predictor = SAM2VideoPredictor.from_pretrained(folder)
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        image_predictor.set_image(picture(HEIGHT, WIDTH))
        masks, _, _ = image_predictor.predict(box=[10, 10, 60, 60])
        state = video_predictor.init_state(video_dir)
        frame_idx, object_ids, mask_logits = video_predictor.add_new_points_or_box(
            state, frame_idx=0, obj_id=1, points=[[20, 30]], labels=[1]
        )
        frames = [frame_idx for frame_idx, object_ids, mask_logits in video_predictor.propagate_in_video(state)]
    assert masks.shape == (3, HEIGHT, WIDTH)
    assert (frame_idx, object_ids, tuple(mask_logits.shape)) == (0, [1], (1, 1, HEIGHT, WIDTH))
    assert frames == list(range(NUM_FRAMES))
