"""Seconds of a training step of the default model, in each number format, on the machine at hand.

    python benchmarks/training_step.py --machine "2 cores AMD EPYC Zen 5" --out benchmarks/results/training-step.json

Formats take turns on the same batches of synthetic scenes, so that a busy machine slows all of them alike.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from sam2_engine.config import MODELS
from sam2_engine.training.batches import Step, Steps
from sam2_engine.training.config import Precision, TrainConfig, recipe
from sam2_engine.training.data import default_mixture
from sam2_engine.training.loop import train_step
from sam2_engine.training.run_state import Run, start
from sam2_engine.training.team import Team

FORMATS: tuple[Precision, ...] = ("fp32", "bf16")


def seconds_of_step(run: Run, step: Step, config: TrainConfig) -> float:
    begun = time.perf_counter()
    train_step(run, step, config, begun, Team(device=run.model.device))
    return time.perf_counter() - begun


def _spread(values: list[float]) -> dict[str, float]:
    low, median, high = np.percentile(values, (25, 50, 75)).round(3).tolist()
    return {"median": median, "quarter": low, "three_quarters": high}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--machine", default="")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    config = recipe("small", MODELS["nano"])
    run = start(MODELS["nano"], config)
    steps = Steps(default_mixture(None), config, run.model.config)
    batches = [steps[config.steps // 2 + number] for number in range(12)]
    seconds: dict[str, dict[str, list[float]]] = {name: {"still": [], "clip": []} for name in FORMATS}
    for turn in range(given.rounds + 1):
        for batch in batches:
            kind = "still" if batch.batch.pixels.shape[0] == 1 else "clip"
            for name in FORMATS:
                spent = seconds_of_step(run, batch, replace(config, precision=name))
                if turn:  # the first round warms up
                    seconds[name][kind].append(spent)
    result = {
        "machine": given.machine,
        "threads": given.threads,
        "torch": torch.__version__,
        "seconds": {name: {kind: _spread(values) for kind, values in kinds.items()} for name, kinds in seconds.items()},
    }
    print(json.dumps(result, indent=1))
    if given.out is not None:
        given.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
