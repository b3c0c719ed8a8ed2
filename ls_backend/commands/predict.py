"""``sam2 label-studio predict``: predictions for a whole project."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import closing
from typing import TYPE_CHECKING, Any

from sam2_engine.cli.console import INTERRUPTED, Console, count, stoppable
from sam2_engine.cli.options import add_device

from . import shared

if TYPE_CHECKING:
    from ..api import LabelStudioApi
    from ..predicting import Choice, ProjectPredictor, TaskDone
    from ..settings import Settings


def add_parser(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "predict",
        parents=[common],
        help="predict the tasks of a project, and store the predictions in it",
        description="Predict every task of a project that has no prediction of this model yet, and store each as soon "
        "as it is made. Boxes and clicks that a task holds already, in annotations, drafts or predictions of other "
        "models, become masks; tasks without any get everything that is found. May be interrupted: run it again to go "
        "on.",
        epilog="example: sam2 label-studio predict --project 3 --label-studio-url http://localhost:8080",
    )
    parser.add_argument("--project", metavar="N", type=shared.number, required=True, help="number of the project")
    which = parser.add_argument_group("tasks")
    which.add_argument("--task", metavar="N", type=shared.number, action="append", help="only this one; repeatable")
    which.add_argument("--limit", metavar="N", type=shared.number, help="at most so many, in their order")
    which.add_argument("--again", action="store_true", help="also those that are predicted; replaces their predictions")
    which.add_argument("--skip-annotated", action="store_true", help="not those that somebody has annotated")
    which.add_argument("--only-marked", action="store_true", help="find nothing in tasks that hold no boxes or clicks")
    shared.add_label_studio(parser)
    model = parser.add_argument_group("model")
    model.add_argument("--model", metavar="NAME|FILE", help="weights: a file, a folder or a name (see: sam2 models)")
    add_device(model)
    model.add_argument(
        "--precision", choices=("fp32", "bf16"), help="as the server's, whose version it is part of (SAM2_PRECISION)"
    )
    parser.set_defaults(run=run, parser=parser)


def run(args: argparse.Namespace) -> int:
    """Predict; 0 where all tasks went well, 1 where some failed."""
    from ..api import LabelStudioApi
    from ..predicting import Choice, tally

    shared.set_up_logs(args)

    settings = shared.read_settings(
        args,
        model=args.model,
        device=None if args.device == "auto" else args.device,
        precision=args.precision,
        compute_threads=args.threads,
        automatic=False if args.only_marked else None,
    )
    console = Console(quiet=args.quiet)
    api = LabelStudioApi.from_settings(settings.media)
    total = int(api.project(args.project).get("task_number") or 0)
    only = None if args.task is None else frozenset(args.task)
    choice = Choice(only, args.limit, args.again, args.skip_annotated)
    with stoppable("this task") as stop:
        predictor = _predictor(api, settings, console)
        done: list[TaskDone] = []
        for one in _watched(predictor, args.project, choice, total, console):
            done.append(one)
            if stop.is_made:
                break
    counts = tally(done)
    stored = counts["predicted"] + counts["empty"]
    nothing = f", {counts['empty']} of them with nothing found" if counts["empty"] else ""
    console.say(
        f"{count(stored, 'task')} predicted by {predictor.version}{nothing}; {counts['skipped']} skipped, "
        f"{counts['failed']} failed"
    )
    if stop.is_made:
        console.warn("interrupted; run it again to go on")
        return INTERRUPTED
    return 1 if counts["failed"] else 0


def _predictor(api: LabelStudioApi, settings: Settings, console: Console) -> ProjectPredictor:
    """With the model that is set, loaded."""
    from sam2_engine.weights import find_weights

    from ..answering import Answerer
    from ..media import MediaFetcher
    from ..predicting import Failures, ProjectPredictor
    from ..store import Engine

    # Fetches weights that are named and not here; the version is made from their content.
    find_weights(settings.model)
    engine = Engine(settings)
    failures = Failures()
    answerer = Answerer(engine, MediaFetcher(settings.media), settings, report=failures)
    _ = engine.tracker
    return ProjectPredictor(api, answerer, engine.version, failures)


def _watched(
    predictor: ProjectPredictor, project: int, choice: Choice, total: int, console: Console
) -> Iterator[TaskDone]:
    """The same, with a bar and a line for every failure."""
    from tqdm import tqdm

    with console.bar(total, "predicting", "task") as bar, closing(predictor.run(project, choice)) as outcomes:
        for one in outcomes:
            if one.outcome == "failed":
                tqdm.write(f"sam2: task {one.task} failed: {one.message}", file=sys.stderr)
            bar.update()
            yield one
