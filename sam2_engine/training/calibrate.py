"""After training: set where "the object is visible" begins.

Training clips rarely lose their object, so a freshly trained model is too sure of seeing it, and the tracker goes on
where there is nothing left. Choose the shift on sequences that the model was trained on, never on those that judge it.
"""

from __future__ import annotations

import torch

from ..model import Sam2


@torch.no_grad()
def shift_object_score(model: Sam2, shift: float) -> None:
    """Subtract `shift`, in logits, from every object score the model will give; changes the model."""
    model.sam_mask_decoder.pred_obj_score_head.layers[-1].get_parameter("bias").sub_(shift)
