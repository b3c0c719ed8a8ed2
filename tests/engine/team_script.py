"""What two processes do in `test_training_team`, started by ``torchrun``: ``team_script.py FOLDER``."""

from __future__ import annotations

import math
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sam2_engine.config import ModelConfig
from sam2_engine.errors import EngineError, FramesError
from sam2_engine.training import loop
from sam2_engine.training.batches import Step, Steps
from sam2_engine.training.config import TrainConfig
from sam2_engine.training.loop import Run, resume, start, train
from sam2_engine.training.scenes import Clip
from sam2_engine.training.team import Team, join

Found = dict[str, Any]


class RandomDisc:
    """A source of another disc every time."""

    def sample_clip(self, rng: np.random.Generator, side: int, num_frames: int) -> Clip:
        rows, columns = np.indices((side, side))
        row, column, radius = rng.uniform(0.3, 0.7, 3) * (side, side, side / 3)
        disc = (rows - row) ** 2 + (columns - column) ** 2 < radius**2
        labels = np.repeat(disc[None].astype(np.int32), num_frames, axis=0)
        return Clip((60 + 120 * labels + rng.normal(0, 5, labels.shape)).astype(np.uint8), labels)


def gradients(run: Run) -> list[torch.Tensor | None]:
    return [None if p.grad is None else p.grad.clone() for p in (*run.model.parameters(), *run.dense.parameters())]


def average_once(team: Team, model: ModelConfig, config: TrainConfig) -> Found:
    """Gradients of this process's share of a step, then those of the team."""
    run = start(model, config)
    step = Steps(RandomDisc(), config, model, rank=team.rank)[0]
    loss, _ = loop._step_loss(run, step, config, team.rank)
    loss.backward()
    if team.rank:
        run.model.no_mem_embed.grad = None  # took part in the other process only
    own = gradients(run)
    team.average_gradients((*run.model.parameters(), *run.dense.parameters()))
    return {"own": own, "mean": gradients(run), "pixels": step.batch.pixels, "script": repr(step.script)}


def train_whole_and_in_parts(team: Team, model: ModelConfig, config: TrainConfig, folder: Path) -> Found:
    whole = start(model, config)
    reports = [(report.step, report.loss) for report in train(whole, RandomDisc(), config, team=team)]
    parts = train(resume(folder, model, config), RandomDisc(), config, folder=folder, team=team)
    for _ in range(3):
        next(parts)
    parts.close()
    team.wait()
    resumed = resume(folder, model, config)
    began = resumed.step
    team.wait()
    list(train(resumed, RandomDisc(), config, folder=folder, team=team))
    return {
        "whole": whole.model.state_dict(),
        "resumed": resumed.model.state_dict(),
        "average": whole.average.state_dict(),
        "reports": reports,
        "began": began,
    }


def lose_numbers_in_one(team: Team, model: ModelConfig, config: TrainConfig) -> Found:
    """In one process the second step's loss is no number."""
    clip_loss = loop._step_loss

    def broken(run: Run, step: Step, *rest: Any) -> Any:
        loss, iou = clip_loss(run, step, *rest)
        return (loss * math.nan if team.rank == 1 and step.index == 1 else loss), iou

    loop._step_loss = broken
    run = start(model, config)
    losses = [report.loss for report in train(run, RandomDisc(), replace(config, steps=2), team=team)]
    loop._step_loss = clip_loss
    return {"losses": losses, "bad_steps": run.bad_steps, "weights": run.model.state_dict()}


class Unreadable:
    """A source whose files are broken."""

    def sample_clip(self, *_: Any) -> Any:
        raise FramesError("a.tif cannot be read")


def lose_data_in_one(team: Team, model: ModelConfig, config: TrainConfig) -> Found:
    source: Any = Unreadable() if team.rank == 1 else RandomDisc()
    try:
        list(train(start(model, config), source, config, team=team))
    except EngineError as error:
        return {"error": str(error)}
    return {"error": None}


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    model = ModelConfig.from_json((folder / "model.json").read_text())
    config = TrainConfig.from_json((folder / "config.json").read_text())
    with join(torch.device("cpu")) as team:
        found = {
            "size": team.size,
            "gradients": average_once(team, model, config),
            "training": train_whole_and_in_parts(team, model, config, folder / "run"),
            "numbers": lose_numbers_in_one(team, model, config),
            "data": lose_data_in_one(team, model, config),
            "any": team.any(team.rank == 1),
        }
    torch.save(found, folder / f"rank{team.rank}.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
