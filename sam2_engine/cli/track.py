"""``sam2 track STACK``: objects through a stack, a time-lapse or a video."""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from . import options
from .console import INTERRUPTED, Console, StopRequest, count, stoppable
from .targets import JSON, LABEL_STACK, OVERLAY_VIDEO, VIDEO, check_target, default_target, results

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ..export import LabelWriter, OverlayVideo
    from ..frames import Frames
    from ..pipeline import Behind
    from ..prompt_files import PromptedObject
    from ..prompts import ObjectId, Prompts
    from ..session import Session

Direction = Literal["forward", "backward"]


def add_parser(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "track",
        parents=[common],
        help="follow objects through a stack or video",
        description="Follow objects through a stack, a time-lapse or a video, from prompts on one or more frames.",
        epilog="example: sam2 track stack.tif --axis z --frame 16 --point 120,85 --both --out labels.tif",
    )
    parser.add_argument(
        "stack", metavar="STACK", help="TIFF, OME-Zarr, folder of pictures, mp4/avi/mov, or .npy; read frame by frame"
    )
    parser.add_argument(
        "--axis", type=options.axis, metavar="z|t|INT", help="axis to walk; needed only where several could be meant"
    )
    parser.add_argument(
        "--at",
        type=options.fixed_index,
        action="append",
        default=[],
        metavar="AXIS=INDEX",
        help="index to take on a further axis, such as t=0. Repeatable",
    )
    options.add_prompts(parser, frames=True)
    way = parser.add_argument_group("way").add_mutually_exclusive_group()
    way.add_argument("--both", action="store_true", help="go to the end and to the beginning (default: to the end)")
    way.add_argument("--backward", action="store_true", help="go to the beginning only")
    results_group = parser.add_argument_group("results")
    results_group.add_argument("--out", metavar="FILE.tif", help="label stack: the number of the object in each pixel")
    results_group.add_argument("--overlay", metavar="FILE.mp4", help="the frames with masks drawn on them")
    results_group.add_argument("--fps", type=options.positive_number, default=10.0, metavar="N", help="of the overlay")
    results_group.add_argument("--json", metavar="FILE.json", help="masks as COCO run lengths, with scores and prompts")
    results_group.add_argument(
        "--exclusive", action="store_true", help="let each pixel belong to the most certain object only"
    )
    options.add_model(parser)
    options.add_precision(parser)
    options.add_shortcuts(parser)
    options.add_window(parser)
    options.add_follow(parser)
    options.add_budget(parser)
    parser.set_defaults(run=run, parser=parser)


def run(args: argparse.Namespace) -> int:
    """Track and write."""
    from ..frames import open_frames
    from .prompting import check_frames, given_objects

    console = Console(quiet=args.quiet)
    objects = given_objects(args)
    if not objects:
        args.parser.error("say what to track: --point, --box or --mask with --frame, or --prompts")
    if not (args.out or args.overlay or args.json):
        args.out = default_target(args.stack, "_labels", ".tif")
    inputs = (args.stack, args.prompts)
    check_target(args.out, LABEL_STACK, inputs)
    check_target(args.overlay, OVERLAY_VIDEO, inputs)
    check_target(args.json, JSON, inputs)
    with open_frames(args.stack, axis=args.axis, at=dict(args.at)) as frames:
        check_frames(objects, len(frames), args.stack)
        return _Job(args, console, frames, objects).run()


class _Job:
    """One run of the command over opened frames."""

    def __init__(
        self, args: argparse.Namespace, console: Console, frames: Frames, objects: Sequence[PromptedObject]
    ) -> None:
        from ..export import label_values
        from .loading import budget_of

        self.args = args
        self.console = console
        self.frames = frames
        self.objects = objects
        self.budget = budget_of(args)
        self.values = label_values(one.obj for one in objects)
        self.done: set[int] = set()
        self.seen: dict[ObjectId, set[int]] = {one.obj: set() for one in objects}
        self.seconds = 0.0

    def run(self) -> int:
        """Open every result first, so that what cannot be written is known before the work; then track, then draw."""
        from ..export import LabelWriter, OverlayVideo

        args = self.args
        with ExitStack() as opened:
            writer = video = None
            if args.out:
                axes: Literal["TYX", "ZYX"] = "TYX" if _is_over_time(args) else "ZYX"
                writer = opened.enter_context(LabelWriter(args.out, len(self.frames), self.frames.size, axes=axes))
            if args.overlay:
                video = opened.enter_context(OverlayVideo(args.overlay, args.fps))
            session = opened.enter_context(self._prompted_session())
            stopped = self._track(session, writer)
            if video is not None and not stopped:
                stopped = self._draw(session, video)
            if video is not None and stopped:
                video.abort()
        self._finish(session, stopped)
        return INTERRUPTED if stopped else 0

    def _prompted_session(self) -> Session:
        from ..errors import PromptError
        from ..session import Session
        from .loading import load_tracker

        session = Session(
            self.frames,
            load_tracker(self.args, self.console, options.shortcuts_of(self.args)),
            exclusive=self.args.exclusive,
            window=self.args.window,
            follow=self.args.follow,
            budget=self.budget,
        )
        for one in self.objects:
            for frame, prompts in sorted(one.prompts.items()):
                try:
                    session.prompt(one.obj, frame, prompts)
                except PromptError as error:
                    raise PromptError(f"object {one.obj!r}, frame {frame}: {error}") from error
        return session

    def _track(self, session: Session, writer: LabelWriter | None) -> bool:
        """Propagate and, while it goes on, write labels frame by frame; gives whether it was stopped."""
        from ..pipeline import Behind

        prompted = [frame for one in self.objects for frame in one.prompts]
        ways: dict[Direction, int] = {"forward": len(self.frames) - min(prompted), "backward": max(prompted) + 1}
        if not self.args.both:
            del ways["forward" if self.args.backward else "backward"]
        started = time.perf_counter()
        with self.console.bar(sum(ways.values()), "tracking", "frame") as bar, stoppable("this frame") as stop:
            try:
                with Behind() as writing:
                    for way in ways:
                        self._go(session, way, writer, writing, bar, stop)
            except KeyboardInterrupt:
                stop.is_made = True
        self.seconds = time.perf_counter() - started
        return stop.is_made

    def _go(
        self,
        session: Session,
        way: Direction,
        writer: LabelWriter | None,
        writing: Behind,
        bar: Any,
        stop: StopRequest,
    ) -> None:
        if stop.is_made:
            return
        for found in session.propagate(way):
            # Objects that do not take part on this frame were there in the other direction.
            masks = found.masks if len(found.masks) == len(self.objects) else session.masks(found.frame).masks
            if writer is not None:
                writing.do(partial(self._write, writer, found.frame, masks))
            self.done.add(found.frame)
            for obj, mask in found.masks.items():
                (self.seen[obj].add if mask.any() else self.seen[obj].discard)(found.frame)
            bar.update(1)
            if stop.is_made:
                return

    def _write(self, writer: LabelWriter, frame: int, masks: Mapping[ObjectId, NDArray[np.bool_]]) -> None:
        from ..export import labels_from_masks

        writer.write(frame, labels_from_masks(masks, self.values, size=self.frames.size))

    def _draw(self, session: Session, video: OverlayVideo) -> bool:
        """All frames in order, read once more, with their masks; gives whether it was stopped."""
        from ..export import overlay
        from ..pixels import sequence_range

        said: dict[int, dict[ObjectId, Prompts]] = {}
        for one in self.objects:
            for frame, prompts in one.prompts.items():
                said.setdefault(frame, {})[one.obj] = prompts
        span = sequence_range(self.frames, session.tracker.config.contrast)
        with self.console.bar(len(self.frames), "drawing", "frame") as bar, stoppable("this frame") as stop:
            for frame in range(len(self.frames)):
                if stop.is_made:
                    break
                picture = overlay(self.frames[frame], session.masks(frame), prompts=said.get(frame), span=span)
                video.add(picture)
                bar.update(1)
        return stop.is_made

    def _finish(self, session: Session, stopped: bool) -> None:
        """Write the JSON and say what came out."""
        from ..atomic import write_json

        args, say, total = self.args, self.console.say, len(self.frames)
        if args.json:
            name = Path(args.stack).name
            masks = (session.masks(frame) for frame in sorted(self.done))
            model = session.tracker.config.name
            document = results(
                masks, self.frames.size, self.objects, self.values, model, lambda frame: f"{name}#{frame}"
            )
            write_json(args.json, document)
        speed = len(self.done) / max(self.seconds, 1e-9)
        say(f"{count(len(self.done), 'frame')} of {total} in {self.seconds:.1f} s ({speed:.1f} frames/s)")
        for one in self.objects:
            say(_summary(one, self.values[one.obj], self.seen[one.obj], session))
        for path in (args.out, None if stopped else args.overlay, args.json):
            if path:
                say(f"wrote {path}")
        if stopped:
            kept = " and ".join(path for path in (args.out, args.json) if path) or "nothing was asked to be kept"
            self.console.warn(f"interrupted: {len(self.done)} of {total} frames were tracked and are kept ({kept})")
            if args.overlay:
                self.console.warn(f"{args.overlay} was not written")


def _summary(one: PromptedObject, label: int, seen: set[int], session: Session) -> str:
    """One line about an object: where it is, and where to look first."""
    name = f" ({one.name})" if one.name else ""
    if not seen:
        return f"object {one.obj}{name}: found on no frame"
    text = f"object {one.obj}{name}, label {label}: on {count(len(seen), 'frame')}, {min(seen)} to {max(seen)}"
    scores = session.scores(one.obj)
    doubtful = min((frame for frame in seen if frame not in one.prompts), key=scores.__getitem__, default=None)
    if doubtful is None:
        return text
    return f"{text}; least certain on frame {doubtful} (score {scores[doubtful]:.2f}), look there first"


def _is_over_time(args: argparse.Namespace) -> bool:
    return args.axis == "t" or (args.axis is None and Path(args.stack).suffix.lower() in VIDEO)
