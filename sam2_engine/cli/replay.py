"""``sam2 replay PROJECT``: what was done in a window, done again without one."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import options
from .console import INTERRUPTED, Console, count, stoppable
from .targets import JSON, LABEL_STACK, check_target, default_target

if TYPE_CHECKING:
    from ..export.spaces import Progress
    from ..replaying import Replayed
    from ..tracking import Tracker

ZARR = (".zarr",)
TABLE = (".csv",)


def add_parser(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "replay",
        parents=[common],
        help="do again what a saved napari project tells, without a window",
        description="Do again, in order, everything that a project saved by the napari plug-in tells, and compare the "
        "labels with those in the project. The project names its picture and its model.",
        epilog="example: sam2 replay embryo.sam2 --image embryo.ome.tif --out labels.ome.zarr --measure cells.csv",
    )
    parser.add_argument("project", metavar="PROJECT", help="a project file of the napari plug-in")
    parser.add_argument(
        "--image",
        metavar="FILE",
        action="append",
        default=[],
        help="the picture, where it is not where it was; several where each channel was a layer of its own",
    )
    results = parser.add_argument_group("results")
    results.add_argument(
        "--out", metavar="FILE", help="labels: .tif, .ome.tif or .ome.zarr (default: PROJECT_labels.ome.tif)"
    )
    results.add_argument("--ctc", metavar="FOLDER", help="a result folder of the Cell Tracking Challenge")
    results.add_argument("--tracks", metavar="FILE.csv", help="where every object is at every time point")
    results.add_argument("--measure", metavar="FILE.csv", help="sizes and intensities of every object")
    results.add_argument("--coco", metavar="FILE.json", help="masks as COCO run lengths")
    results.add_argument("--check", action="store_true", help="fail where labels differ from the project's")
    options.add_model(parser)
    options.add_budget(parser)
    parser.set_defaults(run=run, parser=parser)


def run(args: argparse.Namespace) -> int:
    """Replay, compare, write."""
    console = Console(quiet=args.quiet)
    project = Path(args.project)
    if not (args.out or args.ctc or args.tracks or args.measure or args.coco or args.check):
        args.out = default_target(args.project, "_labels", ".ome.tif")
    _check_targets(args)
    started = time.perf_counter()
    with stoppable("this step") as stop:
        replayed = _replayed(args, project, console, lambda: stop.is_made)
        if replayed is None:
            console.warn("interrupted; nothing was written")
            return INTERRUPTED
    seconds = time.perf_counter() - started
    console.say(
        f"{count(replayed.num_actions, 'action')} of {project.name} replayed in {seconds:.1f} s, "
        f"{count(replayed.num_objects, 'object')}, model {replayed.model}"
    )
    for note in replayed.notes:
        console.warn(note)
    is_same = _compare(replayed, console)
    _write(args, replayed, console)
    return 1 if args.check and not is_same else 0


def _check_targets(args: argparse.Namespace) -> None:
    inputs = (args.project, *args.image)
    check_target(args.out, (*LABEL_STACK, *ZARR), inputs)
    check_target(args.tracks, TABLE, inputs)
    check_target(args.measure, TABLE, inputs)
    check_target(args.coco, JSON, inputs)


def _replayed(
    args: argparse.Namespace, project: Path, console: Console, is_stopped: Callable[[], bool]
) -> Replayed | None:
    """What came out; None where it was stopped."""
    from ..replaying import find_replay
    from ..tracking import Tracker
    from .loading import budget_of, load

    def load_tracker(name: str) -> Tracker:
        args.model = name
        return Tracker(load(args, console))

    images = tuple(map(Path, args.image))
    steps = find_replay()(project, load_tracker, images=images, model=args.model, budget=budget_of(args))
    with console.bar(1, "replaying", "step") as bar:
        return _driven(steps, bar, is_stopped)


def _driven(steps: Generator[Any, None, Replayed], bar: Any, is_stopped: Callable[[], bool]) -> Replayed | None:
    while True:
        try:
            step = next(steps)
        except StopIteration as end:
            result: Replayed = end.value
            return result
        bar.total = max(step.total, step.done, 1)
        bar.set_description(step.what, refresh=False)
        bar.update(step.done - bar.n)
        if is_stopped():
            steps.close()
            return None


def _compare(replayed: Replayed, console: Console) -> bool:
    from ..replaying import difference

    found = difference(replayed.labels, replayed.saved, replayed.space, _bar_progress(console, "comparing"))
    if not found.pixels:
        console.say(f"identical to the labels in the project, on all {count(found.of_planes, 'plane')}")
        return True
    console.warn(
        f"different from the labels in the project on {found.planes} of {count(found.of_planes, 'plane')}, "
        f"{count(found.pixels, 'pixel')}; other weights, another device or another version of PyTorch can be the reason"
    )
    return False


def _write(args: argparse.Namespace, replayed: Replayed, console: Console) -> None:
    from .. import export

    labels, space, parents = replayed.labels, replayed.space, replayed.parents
    write_labels = export.write_ome_zarr if str(args.out).lower().endswith(ZARR) else export.write_label_tiff

    def measure(path: str, progress: Progress | None) -> None:
        measured = export.measure_labels(
            labels, space, replayed.image, channel_axis=replayed.channel_axis, progress=progress
        )
        export.write_measurements(path, measured)

    writers: Mapping[str, Callable[[str, Progress | None], Any]] = {
        "out": lambda path, progress: write_labels(path, labels, space, progress=progress),
        "ctc": lambda path, progress: export.write_ctc(path, labels, space, parents, progress=progress),
        "tracks": lambda path, progress: export.write_tracks_csv(path, labels, space, parents, progress=progress),
        "measure": measure,
        "coco": lambda path, progress: export.write_label_coco(path, labels, space, progress=progress),
    }
    for name, write in writers.items():
        path = getattr(args, name)
        if path:
            write(path, _bar_progress(console, "writing"))
            console.say(f"wrote {path}")


def _bar_progress(console: Console, what: str) -> Progress | None:
    """Progress for a person who is watching; None where nobody is."""
    if not console.shows_bars:
        return None
    from tqdm import tqdm

    bars: list[Any] = []

    def show(done: int, total: int) -> None:
        if not bars:
            bars.append(tqdm(total=total, desc=what, unit="plane", leave=False, dynamic_ncols=True))
        bars[0].update(done - bars[0].n)
        if done == total:
            bars[0].close()

    return show
