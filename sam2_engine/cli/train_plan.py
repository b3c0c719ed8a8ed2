"""What ``sam2 train`` is going to do, from its options or from the settings of the run that goes on."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..config import ModelConfig
    from ..training.config import TrainConfig

SETTINGS = "settings.json"

DATA_OPTIONS = ("data", "layout", "masks", "subset", "category", "synthetic", "validate")

_BEGINNING = ("recipe", "model", "start_from", "side", "windows", "optimiser", "learning_rate", "seed", "synthetic")
"""Options that a run is begun with and that it keeps."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What ``settings.json`` keeps, so that a run goes on as it began.

    Attributes
    ----------
    model : its final input side included
    training : settings of the loop
    start_from : name of the weights it began with, or None
    data : the options that choose data
    recipe : name of the recipe that `training` was made from
    """

    model: ModelConfig
    training: TrainConfig
    start_from: str | None
    data: dict[str, Any]
    recipe: str = "small"


def new_plan(args: argparse.Namespace) -> Plan:
    """The plan that the options say.

    Raises
    ------
    ExportError
        There is a run in the folder already.
    CheckpointError
        No such model, or no such weights.
    """
    from ..errors import ExportError
    from ..training.config import default_recipe, from_trained, recipe

    if (Path(args.out) / SETTINGS).exists():
        raise ExportError(f"there is a run in {args.out} already; add --resume to go on, or choose another --out")
    model = _model(args)
    name = args.recipe or default_recipe(model)
    training = recipe(name, model)
    if args.start_from is not None:
        training = from_trained(training, model.image_side)
    wanted = {key: getattr(args, key) for key in ("steps", "seed", "optimiser", "learning_rate", "precision")}
    training = replace(training, **{key: value for key, value in wanted.items() if value is not None})
    training = replace(training, warmup=min(training.warmup, max(training.steps // 10, 1)))
    if args.synthetic is None:
        args.synthetic = 0.35
    return Plan(model, training, args.start_from, {key: getattr(args, key) for key in DATA_OPTIONS}, name)


def _model(args: argparse.Namespace) -> ModelConfig:
    """The architecture, with the side and the view that were asked for."""
    from ..checkpoint import inspect
    from ..config import find_config
    from ..errors import CheckpointError
    from ..weights import find_weights

    if args.start_from is None:
        model = find_config(args.model or "nano")
    else:
        found = inspect(find_weights(args.start_from))
        if found.problem is not None or found.config is None:
            raise CheckpointError(found.problem or f"{args.start_from} is of no known model")
        model = found.config
    if args.windows is not None:
        model = replace(model, object_windows=args.windows)
    return model.at_side(args.side)


def saved_plan(args: argparse.Namespace, folder: Path) -> Plan:
    """The plan of the run in the folder.

    ``--steps`` may lengthen it, ``--precision`` may follow it to another machine, DATA may have been moved.

    Raises
    ------
    FramesError
        There is no run, it cannot be read, or an option contradicts it.
    """
    from ..config import ModelConfig
    from ..errors import FramesError
    from ..training.config import TrainConfig

    path = folder / SETTINGS
    try:
        saved = json.loads(path.read_text(encoding="utf-8"))
        training = TrainConfig.from_json(json.dumps(saved["training"]))
        model = ModelConfig.from_json(json.dumps(saved["model"]))
        plan = Plan(model, training, saved["start_from"], dict(saved["data"]), saved.get("recipe", "small"))
    except FileNotFoundError as error:
        raise FramesError(f"there is no run in {folder} to go on with; leave out --resume to begin one") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FramesError(f"{path} is damaged ({error}); begin another run with another --out") from error
    fixed = [f"--{name.replace('_', '-')}" for name in _BEGINNING if getattr(args, name) is not None]
    if fixed:
        raise FramesError(
            f"{', '.join(fixed)} cannot change while a run goes on; leave out, or begin a run with another --out"
        )
    if args.data:
        plan.data["data"] = args.data
    if args.validate:
        plan.data["validate"] = args.validate
    for name, value in plan.data.items():
        setattr(args, name, value)
    steps, precision = args.steps or training.steps, args.precision or training.precision
    return replace(plan, training=replace(training, steps=steps, precision=precision))


def write_settings(folder: Path, plan: Plan) -> None:
    """Keep a plan in its run's folder.

    Raises
    ------
    ExportError
        The system refused.
    """
    from ..atomic import export_errors, write_json

    with export_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    settings = {
        "model": json.loads(plan.model.to_json()),
        "training": asdict(plan.training),
        "start_from": plan.start_from,
        "data": plan.data,
        "recipe": plan.recipe,
    }
    write_json(folder / SETTINGS, settings, indent=1)
