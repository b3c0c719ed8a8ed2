"""``sam2 evaluate DATA``: a robot clicks, and the masks are compared with the truth."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import options
from .console import INTERRUPTED, Console, StopRequest, count, stoppable
from .labelled import add_data, open_labelled
from .targets import JSON, about, check_target

if TYPE_CHECKING:
    import numpy as np

    from ..evaluation.choosing import RobotSettings
    from ..evaluation.robot import ImageScore, SequenceScore
    from ..model import Sam2
    from ..training.folders import Item, LabelledFolder


def add_parser(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "evaluate",
        parents=[common],
        help="measure a model on labelled data",
        description="Click on labelled objects as a careful person would, and compare the masks with the truth. "
        "On sequences the first true mask is given and the rest must be found.",
    )
    add_data(parser, subset="dev")
    parser.add_argument("--clicks", type=options.positive, default=3, metavar="N", help="per object (default: 3)")
    parser.add_argument("--objects", type=options.positive, default=8, metavar="N", help="per item (default: 8)")
    parser.add_argument("--items", type=options.positive, metavar="N", help="measure only N items, evenly picked")
    parser.add_argument("--seed", type=options.whole_number, default=0, metavar="N", help="of the choice of objects")
    parser.add_argument("--json", metavar="FILE.json", help="every single score")
    parser.add_argument("--report", metavar="FILE.md", help="the tables, and every score beside them as .json")
    options.add_model(parser)
    parser.set_defaults(run=run, parser=parser)


def run(args: argparse.Namespace) -> int:
    """Measure, print the tables, write what was asked for."""
    from ..evaluation.choosing import RobotSettings
    from ..evaluation.report import image_rows, markdown_table, sequence_rows, write_report
    from .loading import load

    console = Console(quiet=args.quiet)
    check_target(args.json, JSON)
    check_target(args.report, (".md",))
    if args.report and args.json and Path(args.report).with_suffix(".json") == Path(args.json):
        args.parser.error("--report writes a .json of the same name; choose another name for --json")
    folder = open_labelled(args)
    model = load(args, console)
    settings = RobotSettings(num_clicks=args.clicks, max_objects=args.objects)
    images, sequences, stopped = _measure(console, model, folder, _chosen(folder, args.items), settings, args.seed)
    facts = {**about(model.config.name), "weights": args.model or "default", "side": str(model.config.image_side)}
    facts |= {"data": Path(args.data).name, "subset": args.subset or "all"}
    if stopped:
        facts["stopped"] = "early, by Ctrl-C"
    if images:
        console.say(f"Pictures\n\n{markdown_table(image_rows(images))}")
    if sequences:
        console.say(f"Sequences\n\n{markdown_table(sequence_rows(sequences))}")
    if args.report:
        write_report(args.report, images, sequences, facts)
        console.say(f"wrote {args.report}")
    if args.json:
        _write_json(args.json, images, sequences, facts)
        console.say(f"wrote {args.json}")
    if stopped:
        console.warn("interrupted: the tables are of what was measured so far")
    return INTERRUPTED if stopped else 0


def _chosen(folder: LabelledFolder, limit: int | None) -> list[Item]:
    """All items, or `limit` of them, evenly picked so that every category has its share."""
    items = list(folder.items)
    if limit is None or limit >= len(items):
        return items
    return [items[index * len(items) // limit] for index in range(limit)]


def _measure(
    console: Console, model: Sam2, folder: LabelledFolder, items: list[Item], settings: RobotSettings, seed: int
) -> tuple[list[ImageScore], list[SequenceScore], bool]:
    """Scores of all items, and whether it was stopped early."""
    import numpy as np

    robot = _Robot(model, folder, settings)
    images: list[ImageScore] = []
    sequences: list[SequenceScore] = []
    with console.bar(len(items), "measuring", "item") as bar, stoppable("this item") as stop:
        for index, item in _until(stop, items):
            # Each item has its own generator, so that its objects do not depend on the items before it.
            rng = np.random.default_rng((seed, index))
            if item.is_tracked:
                sequences += robot.on_sequence(item, rng)
            else:
                images += robot.on_picture(item, rng)
            bar.update(1)
    console.say(f"{count(len(images), 'object')} on pictures, {count(len(sequences), 'object')} in sequences\n")
    return images, sequences, stop.is_made


def _until(stop: StopRequest, items: list[Item]) -> Iterator[tuple[int, Item]]:
    for index, item in enumerate(items):
        if stop.is_made:
            return
        yield index, item


class _Robot:
    """The robot clicker on items of a folder."""

    def __init__(self, model: Sam2, folder: LabelledFolder, settings: RobotSettings) -> None:
        from ..evaluation.trackers import copying, remembering, reprompting
        from ..image_predictor import SAM2ImagePredictor
        from ..tracking import Tracker

        predictor = SAM2ImagePredictor(model)
        self._predictors = {"model": predictor}
        self._trackers = {
            "model": remembering(Tracker(model)),
            "reprompt": reprompting(predictor),
            "copy": copying(predictor),
        }
        self._folder = folder
        self._settings = settings

    def on_picture(self, item: Item, rng: np.random.Generator) -> list[ImageScore]:
        """Of several planes that do not belong together, the middle one."""
        from ..evaluation.robot import score_image

        scene = self._folder.read(item, [item.num_frames // 2]).scene(0)
        return score_image(self._predictors, scene.image, scene.labels, rng, self._settings, item.name, item.category)

    def on_sequence(self, item: Item, rng: np.random.Generator) -> list[SequenceScore]:
        from ..evaluation.robot import score_sequence

        clip = self._folder.read(item)
        return score_sequence(self._trackers, clip.images, clip.labels, rng, self._settings, item.name, item.category)


def _write_json(path: str, images: list[ImageScore], sequences: list[SequenceScore], facts: dict[str, str]) -> None:
    from ..atomic import write_json
    from ..evaluation.report import image_rows, sequence_rows

    document = {
        "about": facts,
        "tables": {"pictures": image_rows(images), "sequences": sequence_rows(sequences)},
        "pictures": [asdict(score) for score in images],
        "sequences": [asdict(score) for score in sequences],
    }
    write_json(path, _finite(document), indent=1)


def _finite(value: Any) -> Any:
    """The same with null for what could not be measured, since JSON has no NaN."""
    if isinstance(value, float) and value != value:
        return None
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(one) for one in value]
    return value
