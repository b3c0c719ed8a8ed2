"""All contenders with the same weights: ours, PyPI ``sam2`` and transformers; on a GPU also their quicker ways.

Frames of a film are read before the first one is computed by the two others, as both do; what is timed begins after.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from torch import Tensor

from sam2_engine.benchmarking.contender import Contender
from sam2_engine.benchmarking.variants import VARIANTS

NAMES = ("ours", "sam2", "transformers")

ON_A_GPU = ("ours_graphs", "sam2_vos")
"""Ours played back from CUDA graphs, and ``sam2`` with ``vos_optimized``, which PyTorch compiles."""

State = dict[str, Tensor]

SCORE_BIAS, VISIBLE = "sam_mask_decoder.pred_obj_score_head.layers.2.bias", 30.0
"""Objects are always visible: random weights would let rounding decide."""


def make_contenders(
    model: str, side: int, state: State, names: list[str], precisions: list[str], device: str = "cpu"
) -> list[Contender]:
    """Each of `names` in each of `precisions`; those of one name share their weights."""
    variants = [VARIANTS[name] for name in precisions]
    made: list[Contender] = []
    mine = [name for name in ("ours", "ours_graphs") if name in names]
    if mine:
        from sam2_engine.benchmarking.engine import Engine
        from tests.parity import ours

        network = ours.build_our_model(model, image_size=side, state=state).requires_grad_(False).to(device)
        made += [Engine(network, variant, graphs=name == "ours_graphs") for name in mine for variant in variants]
    published = [name for name in ("sam2", "sam2_vos") if name in names]
    if published:
        from benchmarks.published import Sam2Published

        made += [
            Sam2Published(model, side, state, variant, device, vos_optimized=name == "sam2_vos")
            for name in published
            for variant in variants
        ]
    if "transformers" in names:
        from benchmarks.hugging_face import Transformers, build_transformers

        theirs = build_transformers(model, side, state)
        made += [Transformers(theirs, variant, device) for variant in variants]
    return made


def shared_weights(model: str) -> State:
    """Seeded random weights with which the published model behaves like a trained one, calibrated once a machine."""
    from tests.parity import weights

    folder = Path(tempfile.gettempdir()) / "sam2-tools-benchmark-weights"
    folder.mkdir(exist_ok=True)
    state = weights.random_state_dict(model, folder=folder)
    return state | {SCORE_BIAS: state[SCORE_BIAS] + VISIBLE}
