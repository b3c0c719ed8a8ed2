"""PyPI ``sam2`` as a contender.

It is built as in the parity tests: without torchvision, which three transforms and box suppression stand in for, and
without random initialisation. bfloat16 is computed under ``torch.autocast``, as its authors do.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from benchmarks.computing import computing, frames_of, model_input
from sam2_engine.benchmarking.contender import Masks, Picture
from sam2_engine.benchmarking.scenes import Film
from sam2_engine.benchmarking.variants import Variant
from sam2_engine.config import find_config
from tests.parity import reference


class Sam2Published:
    """PyPI ``sam2`` in one precision; `vos_optimized` compiles its video predictor, as its authors do."""

    def __init__(
        self,
        model: str,
        side: int,
        state: dict[str, Tensor],
        variant: Variant,
        device: str = "cpu",
        *,
        vos_optimized: bool = False,
    ) -> None:
        self.name = f"{'sam2_vos' if vos_optimized else 'sam2'} {variant.name}"
        self.numbers = variant.numbers
        self.slots = find_config(model).num_slots
        self._variant = variant
        self._device, self._vos_optimized = device, vos_optimized
        self._parts = {"name": model, "image_size": side, "state": state, "device": device}

    @cached_property
    def image(self) -> Any:
        """The image predictor."""
        return reference.build_reference_image_predictor(**self._parts)

    @cached_property
    def video(self) -> Any:
        """The video predictor."""
        return reference.build_reference_video_predictor(**self._parts, vos_optimized=self._vos_optimized)

    def set_image(self, image: Picture) -> None:
        """As published."""
        with computing(self._variant, self._device):
            self.image.set_image(image)

    def predict(self, points_xy: Any, labels: Any, previous: Any | None = None) -> tuple[Any, Any, Any]:
        """As published."""
        with computing(self._variant, self._device):
            return self.image.predict(points_xy, labels, mask_input=previous, multimask_output=len(points_xy) == 1)

    def everything(self, image: Picture, points_per_side: int) -> int:
        """As published, with the published thresholds."""
        generator = reference.reference_mask_generator(self.image.model, points_per_side=points_per_side)
        with computing(self._variant, self._device):
            return len(generator.generate(image))

    def keep_single_masks(self) -> None:
        """Of the video predictor."""
        self.video.sam_mask_decoder.dynamic_multimask_via_stability = False

    def follow(self, film: Film) -> Iterator[Masks]:
        """As published: all frames are read first."""
        steps = None
        while True:
            with computing(self._variant, self._device):
                if steps is None:
                    with reference.silent():
                        steps = self._begin(film)
                        found = next(steps)
                else:
                    found = next(steps, None)
            if found is None:
                return
            yield (found[2][:, 0] > 0).cpu().numpy()

    def _begin(self, film: Film) -> Iterator[Any]:
        side = self.video.image_size
        # Filled frame by frame, as its own reader does.
        images = torch.empty(len(film), 3, side, side)
        for row, frame in zip(images, frames_of(film), strict=True):
            row.copy_(model_input(frame, side)[0])
        images = images.to(self._device)
        with reference.loading(lambda **_: (images, *film.size)):
            state = self.video.init_state("film")
        for obj, box in enumerate(film.boxes()):
            self.video.add_new_points_or_box(state, 0, obj, box=[box.x0, box.y0, box.x1, box.y1])
        return iter(self.video.propagate_in_video(state))
