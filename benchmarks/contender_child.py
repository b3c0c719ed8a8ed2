"""A process of its own of any contender: ``python benchmarks/contender_child.py cold|memory --contender sam2 …``."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

BEGUN = time.time()
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from sam2_engine.benchmarking.child import answer, parser  # noqa: E402
from sam2_engine.benchmarking.variants import VARIANTS  # noqa: E402


def main() -> None:
    """Answer one question about a contender; `--weights` is a file of published names, or a folder of transformers."""
    questions = parser()
    questions.add_argument("--contender", choices=("sam2", "transformers"), required=True)
    questions.add_argument("--model", required=True)
    args = questions.parse_args()
    libraries, load = {"sam2": (_import_sam2, _load_sam2), "transformers": (_import_transformers, _load_transformers)}[
        args.contender
    ]
    answer(args, BEGUN, libraries, load)


def _import_sam2(threads: int) -> None:
    import torch

    from tests.parity import reference

    torch.set_num_threads(threads)
    reference.sam2()


def _load_sam2(args: Any) -> Any:
    import torch

    from benchmarks.published import Sam2Published

    state = torch.load(args.weights, weights_only=True)["model"]
    contender = Sam2Published(args.model, args.side, state, VARIANTS[args.precision])
    # Built now, and only what the question is about.
    _ = contender.image if args.question == "cold" else contender.video
    return contender


def _import_transformers(threads: int) -> None:
    import torch
    from transformers import Sam2VideoModel  # noqa: F401

    torch.set_num_threads(threads)


def _load_transformers(args: Any) -> Any:
    from transformers import Sam2VideoModel

    from benchmarks.hugging_face import Transformers

    return Transformers(Sam2VideoModel.from_pretrained(args.weights).eval(), VARIANTS[args.precision])


if __name__ == "__main__":
    main()
