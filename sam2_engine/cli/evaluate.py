"""``sam2 evaluate DATA``: a robot prompts, and the masks are compared with the truth."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ExportError
from . import options
from .console import INTERRUPTED, Console, duration, stoppable
from .labelled import add_data, open_labelled
from .targets import JSON, about, check_target

if TYPE_CHECKING:
    from ..evaluation.gallery import Gallery
    from ..evaluation.interactive import Mode
    from ..evaluation.measure import Contestants, Plan, Results
    from ..evaluation.volumes import Spacing
    from ..model import Sam2
    from ..training.readers import Item, LabelledFolder

_PROMPTS = ("click", "box", "mask")
_MODES: dict[str, tuple[Mode, ...]] = {
    "offline": ("offline",),
    "online": ("online",),
    "both": ("offline", "online"),
}
LINE_EVERY_S = 60.0
"""Between lines about progress, where no bar is drawn."""
_SAID = ("pictures", "sequences", "volumes", "lineages", "corrections")
"""Tables that are printed; the report has more."""


def add_parser(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "evaluate",
        parents=[common],
        help="measure a model on labelled data",
        description="Prompt labelled objects as a careful person would, and compare the masks with the truth, beside "
        "what is trivial: an ellipse in the box, a watershed, a copied mask, prompting each frame anew. In sequences "
        "an object is prompted once, where it is largest, and followed both ways.",
    )
    add_data(parser, subset="dev")
    _add_measures(parser)
    parser.add_argument("--report", metavar="DIR", help="write report.html, one page, and report.json, every score")
    parser.add_argument("--json", metavar="FILE.json", help="write every score to this file")
    parser.add_argument(
        "--worst",
        type=options.whole_number,
        default=4,
        metavar="N",
        help="pictures of each kind on the page (default: 4)",
    )
    _add_models(parser)
    parser.set_defaults(run=run, parser=parser)


def _add_measures(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("what is measured")

    def add(flag: str, help: str, **settings: Any) -> None:
        group.add_argument(flag, help=help, **settings)

    whole: dict[str, Any] = {"type": options.positive, "metavar": "N"}
    add("--clicks", "on each object of a picture (default: 5)", default=5, **whole)
    add("--noc-clicks", "go on to N clicks where an IoU of 0.9 is not reached (default: 20)", default=20, **whole)
    add("--objects", "per item, drawn at random (default: 8)", default=8, **whole)
    add("--frames", "follow through N consecutive frames at most", **whole)
    add("--items", "measure only N items, evenly picked", **whole)
    add("--seed", "of the choice of objects", type=options.whole_number, default=0, metavar="N")
    add("--prompt", "start sequences so; repeatable (default: each)", action="append", choices=_PROMPTS)
    add("--no-baselines", "leave out what is trivial", action="store_true")
    add("--interactive", "correct sequences by clicks too; slow", choices=tuple(_MODES))
    add("--lineage", "SEG, DET and TRA of time-lapses, extra 'evaluation'", action="store_true")
    add(
        "--spacing",
        "sequences are stacks with voxels of this size, such as 0.5,0.2,0.2; default: from index.json",
        type=spacing,
        metavar="Z,Y,X",
    )
    add(
        "--tolerance",
        "of surfaces of stacks, in the unit of the spacing; default: the longest side of a voxel",
        type=options.positive_number,
        metavar="D",
    )


def _add_models(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("model")
    group.add_argument(
        "--weights",
        "--model",
        action="append",
        metavar="NAME|FILE",
        help="weights: a file, a folder or a name (see: sam2 models); several are compared on the same objects; "
        "default: the model that comes with the package",
    )
    group.add_argument(
        "--window",
        choices=("auto", "whole"),
        help="look at each object through a window around it, or at whole images (default: as the model was made for)",
    )
    group.add_argument("--side", type=options.model_side, metavar="N", help="side of the model's input")
    options.add_device(group)


def spacing(text: str) -> Spacing:
    """``Z,Y,X``: three numbers above 0."""
    try:
        depth, height, width = (options.positive_number(part) for part in text.split(","))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"expected Z,Y,X such as 0.5,0.2,0.2, got {text!r}") from error
    return depth, height, width


def run(args: argparse.Namespace) -> int:
    """Measure, print the tables, write what was asked for."""
    from ..evaluation.gallery import Gallery
    from ..evaluation.measure import Results, usual_contestants
    from ..evaluation.page import Evaluation
    from ..evaluation.report import markdown, record, write_report

    console = Console(quiet=args.quiet)
    _check_first(args)
    folder = open_labelled(args)
    items = _chosen(folder, args.items)
    models = _models(args, console)
    results, gallery = Results(), Gallery(args.worst if args.report else 0, tuple(models))
    contestants = usual_contestants(models, baselines=not args.no_baselines, window=args.window)
    stopped = _measure(console, folder, items, contestants, _plan(args, items), results, gallery)
    evaluation = Evaluation(_facts(args, models, items, stopped), results, gallery, tuple(models), args.clicks)
    console.say(f"\n{markdown(evaluation, _SAID)}")
    if args.report:
        console.say(f"wrote {write_report(args.report, evaluation)}")
    if args.json:
        from ..atomic import write_json

        write_json(args.json, record(evaluation))
        console.say(f"wrote {args.json}")
    if stopped:
        console.warn("interrupted: the tables are of what was measured so far")
    return INTERRUPTED if stopped else 0


def _check_first(args: argparse.Namespace) -> None:
    """What would fail after the work is found before it.

    Raises
    ------
    ExportError
        The report's folder is a file, or its parent is missing.
    MissingDependencyError
        ``--lineage`` without the package that measures it.
    """
    if args.lineage:
        from ..evaluation.lineage import require_package

        require_package()
    check_target(args.json, JSON)
    if args.report is None:
        return
    target = Path(args.report)
    if target.exists() and not target.is_dir():
        raise ExportError(f"--report {target} is a file; give a folder, it is made where it is missing")
    if not target.parent.is_dir():
        raise ExportError(f"cannot write {target}: there is no folder {target.parent}; create it first")


def _models(args: argparse.Namespace, console: Console) -> dict[str, Sam2]:
    """By names that tell them apart."""
    from .loading import load

    asked: Sequence[str | None] = args.weights or [None]
    models: dict[str, Sam2] = {}
    for one in asked:
        model = load(argparse.Namespace(**{**vars(args), "model": one}), console)
        name = "model" if len(asked) == 1 else Path(one or "default").stem
        while name in models:
            name += "'"
        models[name] = model
    return models


def _chosen(folder: LabelledFolder, limit: int | None) -> list[Item]:
    """All items, or `limit` of them: of each category equally many as far as it goes, evenly picked."""
    items = list(folder.items)
    if limit is None or limit >= len(items):
        return items
    places: dict[str, list[int]] = {}
    for place, item in enumerate(items):
        places.setdefault(item.category, []).append(place)
    quotas = dict.fromkeys(places, 0)
    for _ in range(limit):
        open_ones = [category for category in places if quotas[category] < len(places[category])]
        quotas[min(open_ones, key=lambda category: quotas[category])] += 1
    picked = [
        places[category][index * len(places[category]) // quota]
        for category, quota in quotas.items()
        for index in range(quota)
    ]
    return [items[place] for place in sorted(picked)]


def _plan(args: argparse.Namespace, items: Sequence[Item]) -> Plan:
    from ..evaluation.choosing import PROMPT_KINDS, RobotSettings
    from ..evaluation.interactive import InteractiveSettings
    from ..evaluation.measure import Plan
    from ..evaluation.spacing import spacings_of_index

    prompts = tuple(kind for kind in PROMPT_KINDS if args.prompt is None or kind in args.prompt)
    robot = RobotSettings(
        num_clicks=args.clicks,
        max_clicks=max(args.noc_clicks, args.clicks),
        max_objects=args.objects,
        max_frames=args.frames,
        prompts=prompts,
    )
    stacks = spacings_of_index(args.data) if args.spacing is None else {item.name: args.spacing for item in items}
    return Plan(
        robot,
        seed=args.seed,
        spacings=stacks,
        tolerance=args.tolerance,
        with_lineage=args.lineage,
        interactive=InteractiveSettings(modes=_MODES[args.interactive]) if args.interactive else None,
    )


def _measure(
    console: Console,
    folder: LabelledFolder,
    items: Sequence[Item],
    contestants: Contestants,
    plan: Plan,
    results: Results,
    gallery: Gallery,
) -> bool:
    """Fills `results` and `gallery`; gives whether it was stopped early."""
    from ..evaluation.measure import measure

    def effort(item: Item) -> int:
        frames = min(item.num_frames, plan.robot.max_frames or item.num_frames)
        return len(plan.robot.prompts) * frames if item.is_tracked else 1

    progress = _Progress(console, sum(map(effort, items)))
    with progress.bar() as bar, stoppable("this item") as stop:
        try:
            for item in measure(folder, contestants, plan, items=items, results=results, gallery=gallery):
                bar.update(effort(item))
                progress.tell(effort(item))
                if stop.is_made:
                    break
        except KeyboardInterrupt:  # the second one: the item at hand is given up
            return True
    return stop.is_made


class _Progress:
    """A bar where a person is watching, else a line now and then."""

    def __init__(self, console: Console, total: int) -> None:
        self._console = console
        self._total = total
        self._done = 0
        self._begun = self._told = time.monotonic()

    def bar(self) -> Any:
        return self._console.bar(self._total, "measuring", "frame")

    def tell(self, done: int) -> None:
        self._done += done
        now = time.monotonic()
        if self._console.quiet or self._console.shows_bars or now - self._told < LINE_EVERY_S:
            return
        self._told = now
        left = duration((now - self._begun) * (self._total - self._done) / self._done)
        self._console.warn(f"{100 * self._done // self._total} % measured, about {left} left")


def _facts(args: argparse.Namespace, models: dict[str, Sam2], items: Sequence[Item], stopped: bool) -> dict[str, str]:
    names = [Path(one).name for one in args.weights or ["default"]]
    facts = {**about(", ".join(model.config.name for model in models.values())), "weights": ", ".join(names)}
    facts["side"] = ", ".join(str(model.config.image_side) for model in models.values())
    facts |= {"data": Path(args.data).name, "subset": args.subset or "all", "items": str(len(items))}
    facts |= {"objects": f"up to {args.objects} of each item, seed {args.seed}"}
    if args.window:
        facts["window"] = args.window
    if args.frames:
        facts["frames"] = f"up to {args.frames} of each sequence"
    if stopped:
        facts["stopped"] = "early, by Ctrl-C"
    return facts
