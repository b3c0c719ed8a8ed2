"""The second implementation, `transformers`: its names of the weights are understood, and its numbers are ours.

Weights go the way of a download: `save_pretrained` writes the folder that `load_model` reads.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from sam2_engine._hf_keys import from_hugging_face, is_hugging_face
from sam2_engine.checkpoint import load_model
from sam2_engine.config import find_config
from sam2_engine.model import Sam2
from sam2_engine.predictor import SAM2VideoPredictor

from . import compare, reference, scenarios, scenes, weights
from .conftest import StateOf

pytestmark = pytest.mark.parity

NAME, SIDE, TOLERANCE = "sam2.1_hiera_tiny", 256, 1e-4
SECOND_POSITIONS = "prompt_encoder.shared_embedding.positional_embedding"


def configuration(name: str, side: int = SIDE) -> Any:
    """What transformers calls the published model `name`."""
    from transformers import Sam2HieraDetConfig, Sam2VideoConfig, Sam2VisionConfig
    from transformers.models.sam2_video.configuration_sam2_video import Sam2VideoPromptEncoderConfig

    config = find_config(name)
    heads = [config.num_heads << stage for stage in range(4)]
    backbone = Sam2HieraDetConfig(
        hidden_size=config.embed_dim,
        num_attention_heads=config.num_heads,
        image_size=[side, side],
        blocks_per_stage=list(config.stages),
        embed_dim_per_stage=list(config.stage_dims),
        num_attention_heads_per_stage=heads,
        window_size_per_stage=list(config.windows),
        global_attention_blocks=list(config.global_blocks),
        window_positional_embedding_background_size=[config.pos_embed_side] * 2,
    )
    vision = Sam2VisionConfig(
        backbone_config=backbone,
        backbone_channel_list=list(config.stage_dims[::-1]),
        backbone_feature_sizes=[[side // stride] * 2 for stride in (4, 8, 16)],
    )
    return Sam2VideoConfig(
        vision_config=vision,
        prompt_encoder_config=Sam2VideoPromptEncoderConfig(image_size=side),
        image_size=side,
        memory_attention_rope_feat_sizes=[side // 16] * 2,
        enable_occlusion_spatial_embedding=config.spatial_no_object,
        enable_temporal_pos_encoding_for_object_pointers=config.pointer_times,
    )


@pytest.mark.parametrize("name", reference.CONFIGS)
def test_the_names_of_every_model_become_the_published_ones(name: str) -> None:
    from transformers import Sam2VideoModel

    with torch.device("meta"):
        there = Sam2VideoModel(configuration(name)).state_dict()
    assert is_hugging_face(there)
    assert not is_hugging_face(weights.shapes_of(name))
    assert {entry: value.shape for entry, value in from_hugging_face(there).items()} == weights.shapes_of(name)


def test_unknown_names_stay_as_they_are() -> None:
    unknown = ["vision_encoder.extra.weight", "mask_decoder.conv_s0.scale", "memory_fuser.0.weight", "lora.a"]
    state = {entry: torch.zeros(1) for entry in unknown}
    assert list(from_hugging_face(state)) == unknown


def test_a_second_position_matrix_that_differs_is_not_swallowed() -> None:
    state = {"shared_image_embedding.positional_embedding": torch.zeros(2, 4), SECOND_POSITIONS: torch.ones(2, 4)}
    assert SECOND_POSITIONS in from_hugging_face(state)
    state[SECOND_POSITIONS] = torch.zeros(2, 4)
    assert list(from_hugging_face(state)) == ["sam_prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"]


@pytest.fixture(scope="module", params=["sam2.1_hiera_tiny", "sam2_hiera_tiny"])
def both(request: pytest.FixtureRequest, state_of: StateOf, tmp_path_factory: Any) -> Iterator[tuple[Any, Sam2]]:
    """The video model of transformers, and ours loaded from the folder it was saved to."""
    from transformers import Sam2VideoModel

    theirs = Sam2VideoModel(configuration(request.param)).eval()
    with torch.no_grad():
        fill(theirs, state_of(request.param))
    folder: Path = tmp_path_factory.mktemp("hugging_face")
    theirs.save_pretrained(folder)
    yield theirs, load_model(folder, image_side=SIDE)


def fill(model: Any, state: dict[str, Tensor]) -> None:
    """Put published weights into a model of transformers."""
    for entry, tensor in from_hugging_face(model.state_dict()).items():
        tensor.copy_(state.get(entry, tensor))
    model.prompt_encoder.shared_embedding.positional_embedding.copy_(model.shared_image_embedding.positional_embedding)


def test_a_saved_folder_loads_as_the_same_weights(both: tuple[Any, Sam2], state_of: StateOf) -> None:
    mine = both[1]
    expected = state_of(mine.config.name)
    for entry, tensor in mine.state_dict().items():
        assert torch.equal(tensor, expected[entry]), entry


def model_input(frames: list[np.ndarray[Any, Any]]) -> Tensor:
    """[T, 3, S, S] normalised frames that have the model's size already."""
    mean, std = np.reshape([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]], (2, 3, 1, 1))
    return torch.from_numpy((np.stack(frames).transpose(0, 3, 1, 2) / 255 - mean) / std).float()


def test_masks_on_an_image_are_equal(both: tuple[Any, Sam2]) -> None:
    from sam2_engine.predictor import SAM2ImagePredictor

    theirs, mine = both
    picture = scenes.picture(SIDE, SIDE, seed=6)
    predictor = SAM2ImagePredictor(mine)
    predictor.set_image(picture)
    for points, labels, multimask in (([[70, 95]], [1], True), ([[70, 95], [165, 80]], [1, 0], False)):
        with torch.inference_mode():
            decoded = decode(theirs, model_input([picture]), points, labels, multimask)
        _, iou, low_res = predictor.predict(np.array(points), np.array(labels), multimask_output=multimask)
        compare.assert_same_iou(torch.from_numpy(iou), decoded[1][0, 0])
        clamped = decoded[0][0, 0].clamp(-32, 32)
        compare.assert_equal_tensors(torch.from_numpy(low_res), clamped, TOLERANCE, "logits")


def decode(model: Any, pixels: Tensor, points: Any, labels: Any, multimask: bool) -> tuple[Tensor, Tensor]:
    """Logits and predicted IoU straight from the mask decoder of transformers."""
    embeddings = model.get_image_embeddings(pixels)
    sparse, dense = model.prompt_encoder(
        input_points=torch.tensor([[points]], dtype=torch.float32),
        input_labels=torch.tensor([[labels]], dtype=torch.int32),
        input_boxes=None,
        input_masks=None,
    )
    logits, iou, _, _ = model.mask_decoder(
        image_embeddings=embeddings[-1],
        image_positional_embeddings=model.get_image_wide_positional_embeddings(),
        sparse_prompt_embeddings=sparse,
        dense_prompt_embeddings=dense,
        multimask_output=multimask,
        high_resolution_features=embeddings[:-1],
    )
    return logits, iou


def test_tracked_masks_are_equal(both: tuple[Any, Sam2]) -> None:
    """Clicks on one object, a box for another; transformers rounds memories to bfloat16, so does ours.

    Mask prompts are left out: transformers takes the pointer of another mask token for them, and remembers the mask at
    full resolution, unlike the published code.
    """
    theirs, mine = both
    frames = scenes.clip(4, SIDE, SIDE, seed=weights.CLIP_SEED)
    expected = track_there(theirs, model_input(frames))
    predictor = SAM2VideoPredictor(mine)
    state = predictor.init_state(np.stack(frames))
    run = scenarios.Recorder(predictor, state)
    run.prompt(0, 1, points=[(70, 95), (165, 80)], labels=[1, 0])
    run.prompt(0, 2, box=(60, 50, 190, 200))
    run.propagate()
    steps = [step for step in run.steps if step.call == "propagate"]
    assert [step.frame for step in steps] == [frame for frame, _ in expected]
    for step, (frame, logits) in zip(steps, expected, strict=True):
        at_image_size = torch.nn.functional.interpolate(logits, (SIDE, SIDE), mode="bilinear", align_corners=False)
        for obj in (0, 1):
            compare.assert_same_masks(step.logits[obj], at_image_size[obj], 5e-3, f"frame {frame}, object {obj + 1}")


def track_there(model: Any, images: Tensor) -> list[tuple[int, Tensor]]:
    """Frames and low-resolution logits [2, 1, S/4, S/4] from transformers."""
    from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoInferenceSession

    session = Sam2VideoInferenceSession(video=images, video_height=SIDE, video_width=SIDE, dtype=torch.float32)
    prompts = {1: ([[70.0, 95.0], [165.0, 80.0]], [1, 0]), 2: ([[60.0, 50.0], [190.0, 200.0]], [2, 3])}
    for obj, (points, labels) in prompts.items():
        clicks = {"point_coords": torch.tensor([[points]]), "point_labels": torch.tensor([[labels]]).int()}
        session.add_point_inputs(session.obj_id_to_idx(obj), 0, clicks)
    session.obj_with_new_inputs = [1, 2]
    with torch.inference_mode():
        return [
            (output.frame_idx, output.pred_masks)
            for output in model.propagate_in_video_iterator(session, start_frame_idx=0)
        ]
