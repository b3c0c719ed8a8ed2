"""transformers as a contender; bfloat16 is computed under ``torch.autocast``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.computing import computing, frames_of, model_input
from sam2_engine.benchmarking.contender import Masks, Picture
from sam2_engine.benchmarking.scenes import Film
from sam2_engine.benchmarking.variants import Variant


class Transformers:
    """``transformers.Sam2VideoModel`` in one precision; pictures are resized by PyTorch, as its processor does."""

    everything = None
    """It has none of its own without torchvision."""

    def __init__(self, model: Any, variant: Variant, device: str = "cpu") -> None:
        self.name = f"transformers {variant.name}"
        self.numbers = variant.numbers
        self.slots = int(model.config.num_maskmem)
        self._model, self._device = model.to(device), device
        self._side = int(model.config.image_size)
        self._variant = variant
        self._set: tuple[Any, tuple[int, int]] | None = None

    def set_image(self, image: Picture) -> None:
        """Levels of features."""
        with computing(self._variant, self._device):
            self._set = (
                self._model.get_image_embeddings(model_input(image, self._side).to(self._device)),
                image.shape[:2],
            )

    def predict(self, points_xy: Any, labels: Any, previous: Any | None = None) -> tuple[Any, Any, Any]:
        """Prompt encoder and mask decoder, masks brought to the picture's size."""
        assert self._set is not None, "set_image comes first"
        levels, (height, width) = self._set
        points = (
            torch.from_numpy(np.asarray(points_xy) * (self._side / width, self._side / height)).float().to(self._device)
        )
        with computing(self._variant, self._device):
            sparse, dense = self._model.prompt_encoder(
                input_points=points[None, None],
                input_labels=torch.from_numpy(np.asarray(labels)).int()[None, None].to(self._device),
                input_boxes=None,
                input_masks=None if previous is None else torch.as_tensor(previous)[None].to(self._device),
            )
            logits, iou, _, _ = self._model.mask_decoder(
                image_embeddings=levels[-1],
                image_positional_embeddings=self._model.get_image_wide_positional_embeddings(),
                sparse_prompt_embeddings=sparse,
                dense_prompt_embeddings=dense,
                multimask_output=len(points) == 1,
                high_resolution_features=levels[:-1],
            )
            logits = logits[:, 0].float()
            masks = F.interpolate(logits, (height, width), mode="bilinear", align_corners=False)[0] > 0
        return masks.cpu().numpy(), iou[0, 0].float().cpu().numpy(), logits[0].clamp(-32, 32).cpu().numpy()

    def keep_single_masks(self) -> None:
        """Of the model, and so of every precision."""
        self._model.mask_decoder.dynamic_multimask_via_stability = False

    def follow(self, film: Film) -> Iterator[Masks]:
        """Its propagation, masks brought to the film's size."""
        session = self._session(film)
        # Made outside of the block: its first frame is computed when it is asked for.
        steps = self._model.propagate_in_video_iterator(session, start_frame_idx=0)
        while True:
            with computing(self._variant, self._device):
                found = next(steps, None)
                if found is None:
                    return
                at_size = F.interpolate(found.pred_masks.float(), film.size, mode="bilinear", align_corners=False)
            yield (at_size[:, 0] > 0).cpu().numpy()

    def _session(self, film: Film) -> Any:
        from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoInferenceSession

        height, width = film.size
        pixels = torch.cat([model_input(frame, self._side) for frame in frames_of(film)])
        places = dict.fromkeys(("inference_device", "inference_state_device", "video_storage_device"), self._device)
        session = Sam2VideoInferenceSession(
            pixels, video_height=height, video_width=width, dtype=torch.float32, **places
        )
        scale = torch.tensor([self._side / width, self._side / height])
        for obj, box in enumerate(film.boxes()):
            corners = torch.tensor([[box.x0, box.y0], [box.x1, box.y1]]) * scale
            labels = torch.tensor([[[2, 3]]]).int()
            said = {"point_coords": corners[None, None].to(self._device), "point_labels": labels.to(self._device)}
            session.add_point_inputs(session.obj_id_to_idx(obj), 0, said)
        session.obj_with_new_inputs = list(range(film.objects))
        return session


def build_transformers(model: str, side: int, state: dict[str, Tensor]) -> Any:
    """Their video model with the published weights."""
    from transformers import Sam2VideoModel
    from transformers.utils.logging import disable_progress_bar

    from tests.parity.test_hugging_face import configuration, fill

    disable_progress_bar()
    theirs = Sam2VideoModel(configuration(model, side)).eval()
    with torch.no_grad():
        fill(theirs, state)
    return theirs
