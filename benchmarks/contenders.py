"""All contenders with the same weights: ours, PyPI ``sam2`` and transformers.

Frames of a film are read before the first one is computed by the two others, as both do; what is timed begins after.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from torch import Tensor

from sam2_engine.benchmarking.contender import Contender
from sam2_engine.benchmarking.variants import VARIANTS

NAMES = ("ours", "sam2", "transformers")

State = dict[str, Tensor]

SCORE_BIAS, VISIBLE = "sam_mask_decoder.pred_obj_score_head.layers.2.bias", 30.0
"""Objects are always visible: random weights would let rounding decide."""


def make_contenders(model: str, side: int, state: State, names: list[str], precisions: list[str]) -> list[Contender]:
    """Each of `names` in each of `precisions`; those of one name share their weights."""
    variants = [VARIANTS[name] for name in precisions]
    made: list[Contender] = []
    if "ours" in names:
        from sam2_engine.benchmarking.engine import Engine
        from tests.parity import ours

        mine = ours.build_our_model(model, image_size=side, state=state).requires_grad_(False)
        made += [Engine(mine, variant) for variant in variants]
    if "sam2" in names:
        from benchmarks.published import Sam2Published

        made += [Sam2Published(model, side, state, variant) for variant in variants]
    if "transformers" in names:
        from benchmarks.hugging_face import Transformers, build_transformers

        theirs = build_transformers(model, side, state)
        made += [Transformers(theirs, variant) for variant in variants]
    return made


def shared_weights(model: str) -> State:
    """Seeded random weights with which the published model behaves like a trained one, calibrated once a machine."""
    from tests.parity import weights

    folder = Path(tempfile.gettempdir()) / "sam2-tools-benchmark-weights"
    folder.mkdir(exist_ok=True)
    state = weights.random_state_dict(model, folder=folder)
    return state | {SCORE_BIAS: state[SCORE_BIAS] + VISIBLE}
