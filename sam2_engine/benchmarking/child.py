"""What runs in a process of its own: ``python -m sam2_engine.benchmarking.child cold|memory …``; prints a line of JSON.

Imports nothing heavy before it is asked to: when PyTorch is there is one of the questions.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from .processes import peak_mb
from .variants import OWN_VARIANTS

if TYPE_CHECKING:
    from .contender import Contender

Load = Callable[[argparse.Namespace], "Contender"]


def main() -> None:
    """Answer one question about this package."""
    begun = time.time()
    answer(parser().parse_args(), begun, _import_torch, _load)


def parser() -> argparse.ArgumentParser:
    """The question; the project's benchmarks ask other implementations in the same way."""
    made = argparse.ArgumentParser(description=__doc__)
    made.add_argument("question", choices=("cold", "memory"))
    made.add_argument("--weights", default="default")
    made.add_argument("--side", type=int)
    made.add_argument("--threads", type=int, default=1)
    made.add_argument("--device", default="cpu")
    made.add_argument("--precision", choices=tuple(OWN_VARIANTS), default="fp32")
    made.add_argument("--spawned", type=float, default=0.0, help="when this process was started, by time.time()")
    made.add_argument("--frames", type=int, default=8)
    made.add_argument("--objects", type=int, default=1)
    return made


def answer(args: argparse.Namespace, begun: float, import_libraries: Callable[[int], None], load: Load) -> None:
    """Print what was asked for.

    Parameters
    ----------
    begun : when the first line of the process ran
    import_libraries : imports PyTorch and what the contender needs beside it, and sets the threads
    load : makes the contender, from a file of weights
    """
    import_libraries(args.threads)
    imported = time.time()
    contender = load(args)
    loaded = time.time()
    if args.question == "cold":
        print(json.dumps(_cold(contender, args.spawned or begun, begun, imported, loaded)))
    else:
        print(json.dumps(_memory(contender, args.frames, args.objects)))


def _cold(contender: Contender, spawned: float, begun: float, imported: float, loaded: float) -> dict[str, float]:
    from .cases import clicks_on
    from .scenes import picture

    image = picture()
    ready = time.time()
    contender.set_image(image)
    contender.predict(*clicks_on(image, 1))
    masked = time.time()
    stages = {
        "python_s": begun - spawned,
        "import_s": imported - begun,
        "model_s": loaded - imported,
        "first_mask_s": masked - ready,
    }
    return {**stages, "total_s": sum(stages.values())}


def _memory(contender: Contender, frames: int, objects: int) -> dict[str, Any]:
    from .scenes import Film

    with_model = peak_mb()
    count = sum(1 for _ in _all(contender.follow(Film(frames, objects))))
    return {"frames": count, "objects": objects, "model_mb": with_model, "peak_mb": peak_mb()}


def _all(steps: Iterator[Any]) -> Iterator[Any]:
    """Each in turn, none kept."""
    yield from steps


def _import_torch(threads: int) -> None:
    import torch

    torch.set_num_threads(threads)


def _load(args: argparse.Namespace) -> Contender:
    import torch

    from ..checkpoint import load_model
    from .engine import Engine

    model = load_model(args.weights, device=torch.device(args.device), image_side=args.side).eval()
    return Engine(model, OWN_VARIANTS[args.precision])


if __name__ == "__main__":
    main()
