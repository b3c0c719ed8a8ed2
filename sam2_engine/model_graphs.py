"""The four functions of the model, each played back from graphs where that is possible; see `graphs`.

Letters as in `model.sam2`.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import fields, replace

from torch import Tensor

from .graphs import Graphs, Outputs, Recorder
from .model import FirstSight, Memory, PromptTensors, Sam2
from .outputs import Candidates, ImageFeatures

TENSORS_OF_MEMORY = ("spatial", "pointers", "times")


class GraphedSteps:
    """`Sam2.encode_image`, `condition`, `decode` and `remember` for a `Tracker`, with the same results.

    Parameters
    ----------
    model : weights that change cost all recordings; other weights, put in their place, too
    recorder : of a device; CUDA's when not given

    Notes
    -----
    Each number of objects, memories and pointers is a shape of its own, recorded when it comes for the third time.
    """

    def __init__(self, model: Sam2, recorder: Recorder | None = None) -> None:
        self.model = model
        self._recorder = recorder
        self._one_weight = model.no_mem_embed
        self._graphs = self._new_graphs()

    @property
    def graphs(self) -> Graphs:
        """The recordings of the weights that the model has now."""
        if self.model.no_mem_embed is not self._one_weight:
            self._graphs.forget()
            self._one_weight, self._graphs = self.model.no_mem_embed, self._new_graphs()
        return self._graphs

    def _new_graphs(self) -> Graphs:
        return Graphs((*self.model.parameters(), *self.model.buffers()), self._recorder)

    def encode_image(self, pixels: Tensor) -> ImageFeatures:
        """As `Sam2.encode_image`."""
        model = self.model
        if model.training:
            return model.encode_image(pixels)

        def compute(pixels: Tensor) -> Outputs:
            return model.encode_image(pixels).levels

        return ImageFeatures.of_levels(self.graphs.run("encode_image", compute, (pixels,)))

    def condition(self, embedding: Tensor, memory: Memory | None) -> Tensor:
        """As `Sam2.condition`."""
        model = self.model
        if memory is None or model.training:
            return model.condition(embedding, memory)
        told, count = memory, len(memory.spatial)

        def compute(embedding: Tensor, *rest: Tensor) -> Outputs:
            pointers, times = rest[count:] or (None, None)
            return (model.condition(embedding, replace(told, spatial=rest[:count], pointers=pointers, times=times)),)

        pointing = () if memory.pointers is None or memory.times is None else (memory.pointers, memory.times)
        tensors = (embedding, *memory.spatial, *pointing)
        return self.graphs.run("condition", compute, tensors, (bool(pointing), *_constants(memory)))[0]

    def decode(
        self, view: Tensor, skips: tuple[Tensor, Tensor], prompts: PromptTensors, sight: FirstSight | None = None
    ) -> Candidates:
        """As `Sam2.decode`, all of it anew; plainly for small models, which look at prompts first, as no graph can."""
        model = self.model
        if model.training or model.config.drawn_prompts or model.config.edge_channels:
            return model.decode(view, skips, prompts, sight)

        def compute(
            view: Tensor, fine: Tensor, middle: Tensor, points: Tensor, kinds: Tensor, mask: Tensor | None = None
        ) -> Outputs:
            found = model.decode(view, (fine, middle), PromptTensors(points, kinds, mask))
            return found.logits, found.iou, found.pointers, found.object_score

        mask = () if prompts.mask is None else (prompts.mask,)
        return Candidates(*self.graphs.run("decode", compute, (view, *skips, prompts.points_xy, prompts.kinds, *mask)))

    def remember(self, embedding: Tensor, mask: Tensor, object_score: Tensor) -> Tensor:
        """As `Sam2.remember`."""
        model = self.model
        if model.training:
            return model.remember(embedding, mask, object_score)

        def compute(embedding: Tensor, mask: Tensor, object_score: Tensor) -> Outputs:
            return (model.remember(embedding, mask, object_score),)

        return self.graphs.run("remember", compute, (embedding, mask, object_score))[0]


def _constants(memory: Memory) -> tuple[Hashable, ...]:
    """All that a memory says besides its tensors."""
    return tuple(getattr(memory, field.name) for field in fields(memory) if field.name not in TENSORS_OF_MEMORY)
