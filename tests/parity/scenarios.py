"""What people do with a video predictor, written once against the published interface and run on both.

Each scenario takes a predictor, an inference state over `NUM_FRAMES` frames and gives everything the calls returned.
Coordinates are in pixels of the `HEIGHT` × `WIDTH` frames.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from . import scenes

NUM_FRAMES, HEIGHT, WIDTH = 6, 180, 240


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """One return value: of a prompt call, of one frame of a propagation, or of a removal."""

    call: str
    frame: int
    objects: list[Any]
    logits: Tensor  # [N, 1, H, W]


Scenario = Callable[[Any, Any], list[Step]]
SCENARIOS: dict[str, Scenario] = {}


def scenario(function: Scenario) -> Scenario:
    """Enter `function` into `SCENARIOS` under its name."""
    SCENARIOS[function.__name__] = function
    return function


class Recorder:
    """Calls a predictor and keeps what it returns."""

    def __init__(self, predictor: Any, state: Any) -> None:
        self.predictor, self.state = predictor, state
        self.steps: list[Step] = []

    def prompt(self, frame: int, obj: Any, **prompts: Any) -> None:
        self._keep("prompt", self.predictor.add_new_points_or_box(self.state, frame, obj, **prompts))

    def mask(self, frame: int, obj: Any, mask: Any) -> None:
        self._keep("mask", self.predictor.add_new_mask(self.state, frame, obj, mask))

    def propagate(self, **where: Any) -> None:
        for returned in self.predictor.propagate_in_video(self.state, **where):
            self._keep("propagate", returned)

    def clear(self, frame: int, obj: Any) -> None:
        self._keep("clear", self.predictor.clear_all_prompts_in_frame(self.state, frame, obj))

    def remove(self, obj: Any) -> None:
        objects, updated = self.predictor.remove_object(self.state, obj)
        for frame, logits in sorted(updated, key=lambda pair: pair[0]):
            self._keep("remove", (frame, objects, logits))

    def reset(self) -> None:
        self.predictor.reset_state(self.state)

    def _keep(self, call: str, returned: tuple[int, Iterable[Any], Tensor]) -> None:
        frame, objects, logits = returned
        self.steps.append(Step(call, frame, list(objects), torch.as_tensor(logits).detach().clone().float()))


LEFT, RIGHT, TOP = (70.0, 95.0), (165.0, 80.0), (120.0, 40.0)
BOX = (40.0, 30.0, 150.0, 140.0)


@scenario
def one_click(predictor: Any, state: Any) -> list[Step]:
    run = Recorder(predictor, state)
    run.prompt(0, 1, points=[LEFT], labels=[1])
    run.propagate()
    return run.steps


@scenario
def clicks_one_after_another(predictor: Any, state: Any) -> list[Step]:
    run = Recorder(predictor, state)
    run.prompt(0, 1, points=np.array([LEFT], np.float32), labels=np.array([1], np.int32))
    run.prompt(0, 1, points=[RIGHT], labels=[0], clear_old_points=False)
    run.prompt(0, 1, points=[TOP], labels=[1], clear_old_points=False)
    run.propagate()
    return run.steps


@scenario
def new_clicks_replace_old_ones(predictor: Any, state: Any) -> list[Step]:
    run = Recorder(predictor, state)
    run.prompt(0, 1, points=[LEFT, TOP], labels=[1, 0])
    run.prompt(0, 1, points=[RIGHT], labels=[1])
    run.propagate(max_frame_num_to_track=2)
    return run.steps


@scenario
def normalised_coordinates(predictor: Any, state: Any) -> list[Step]:
    run = Recorder(predictor, state)
    run.prompt(0, 1, points=[(0.3, 0.5)], labels=[1], normalize_coords=False)
    return run.steps


@scenario
def box_alone(predictor: Any, state: Any) -> list[Step]:
    run = Recorder(predictor, state)
    run.prompt(0, 1, box=np.array(BOX, np.float32))
    run.propagate()
    return run.steps


@scenario
def box_with_clicks(predictor: Any, state: Any) -> list[Step]:
    run = Recorder(predictor, state)
    run.prompt(1, 1, box=BOX, points=[LEFT, RIGHT], labels=[1, 0])
    run.prompt(1, 1, points=[TOP], labels=[0], clear_old_points=False)
    run.propagate()
    return run.steps


@scenario
def mask_prompt(predictor: Any, state: Any) -> list[Step]:
    run = Recorder(predictor, state)
    run.mask(0, 1, scenes.disc(HEIGHT, WIDTH, x=0.35, y=0.5, radius=0.3))
    run.propagate()
    return run.steps


@scenario
def clicks_after_a_mask(predictor: Any, state: Any) -> list[Step]:
    run = Recorder(predictor, state)
    run.mask(0, 1, scenes.disc(HEIGHT, WIDTH, x=0.35, y=0.5, radius=0.3))
    run.prompt(0, 1, points=[RIGHT], labels=[1])
    run.propagate(max_frame_num_to_track=3)
    return run.steps


@scenario
def correction_on_a_tracked_frame(predictor: Any, state: Any) -> list[Step]:
    run = Recorder(predictor, state)
    run.prompt(0, 1, points=[LEFT], labels=[1])
    run.propagate()
    run.prompt(3, 1, points=[RIGHT, TOP], labels=[1, 0])
    run.propagate()
    run.prompt(4, 1, points=[TOP], labels=[1])
    run.prompt(4, 1, points=[LEFT], labels=[0], clear_old_points=False)
    run.propagate(start_frame_idx=3, max_frame_num_to_track=2)
    return run.steps


@scenario
def mask_correction_on_a_tracked_frame(predictor: Any, state: Any) -> list[Step]:
    run = Recorder(predictor, state)
    run.prompt(0, 1, box=BOX)
    run.propagate()
    run.mask(2, 1, scenes.disc(HEIGHT, WIDTH, x=0.6, y=0.4, radius=0.25))
    run.propagate()
    return run.steps


@scenario
def two_objects(predictor: Any, state: Any) -> list[Step]:
    run = Recorder(predictor, state)
    run.prompt(0, 7, points=[LEFT], labels=[1])
    run.prompt(0, 3, points=[RIGHT, TOP], labels=[1, 0])
    run.propagate()
    return run.steps


@scenario
def two_objects_of_different_frames(predictor: Any, state: Any) -> list[Step]:
    run = Recorder(predictor, state)
    run.prompt(0, 1, points=[LEFT], labels=[1])
    run.mask(0, 2, scenes.disc(HEIGHT, WIDTH, x=0.7, y=0.4, radius=0.2))
    run.prompt(2, 2, points=[RIGHT], labels=[1])
    run.propagate()
    return run.steps


@scenario
def reverse(predictor: Any, state: Any) -> list[Step]:
    run = Recorder(predictor, state)
    run.prompt(NUM_FRAMES - 1, 1, points=[LEFT], labels=[1])
    run.propagate(reverse=True)
    return run.steps


@scenario
def both_ways_from_the_middle(predictor: Any, state: Any) -> list[Step]:
    run = Recorder(predictor, state)
    run.prompt(2, 1, points=[LEFT, RIGHT], labels=[1, 0])
    run.propagate()
    run.propagate(reverse=True)
    run.prompt(1, 1, points=[TOP], labels=[1])  # corrected against the direction it was passed in
    run.propagate(start_frame_idx=3, reverse=True)
    return run.steps


@scenario
def object_added_later(predictor: Any, state: Any) -> list[Step]:
    run = Recorder(predictor, state)
    run.prompt(0, 1, points=[LEFT], labels=[1])
    run.propagate()
    run.prompt(3, 2, points=[RIGHT], labels=[1])
    run.propagate(start_frame_idx=3)
    return run.steps


@scenario
def object_removed(predictor: Any, state: Any) -> list[Step]:
    run = Recorder(predictor, state)
    run.prompt(0, 1, points=[LEFT], labels=[1])
    run.prompt(0, 2, points=[RIGHT], labels=[1])
    run.prompt(0, 3, box=BOX)
    run.propagate(max_frame_num_to_track=3)
    run.remove(2)
    run.propagate()
    return run.steps


@scenario
def prompts_cleared(predictor: Any, state: Any) -> list[Step]:
    run = Recorder(predictor, state)
    run.prompt(0, 1, points=[LEFT], labels=[1])
    run.prompt(3, 1, points=[RIGHT], labels=[1])
    run.clear(3, 1)
    run.propagate()
    return run.steps


@scenario
def prompts_cleared_after_tracking(predictor: Any, state: Any) -> list[Step]:
    run = Recorder(predictor, state)
    run.prompt(0, 1, points=[LEFT], labels=[1])
    run.prompt(3, 1, points=[RIGHT], labels=[1])
    run.prompt(3, 2, box=BOX)
    run.propagate()
    run.clear(3, 1)
    run.propagate()
    run.prompt(3, 1, points=[TOP], labels=[1])
    return run.steps


@scenario
def tensors_and_named_objects(predictor: Any, state: Any) -> list[Step]:
    run = Recorder(predictor, state)
    run.prompt(0, "cell", points=torch.tensor([LEFT]), labels=torch.tensor([1], dtype=torch.int32))
    run.prompt(0, "ground", box=torch.tensor(BOX))
    run.mask(1, "ground", torch.from_numpy(scenes.disc(HEIGHT, WIDTH, x=0.6, y=0.4, radius=0.25)))
    run.propagate(max_frame_num_to_track=2)
    return run.steps


@scenario
def state_reset(predictor: Any, state: Any) -> list[Step]:
    run = Recorder(predictor, state)
    run.prompt(0, 1, points=[RIGHT], labels=[1])
    run.propagate(max_frame_num_to_track=2)
    run.reset()
    run.prompt(1, 5, points=[LEFT], labels=[1])
    run.propagate(max_frame_num_to_track=2)
    return run.steps
