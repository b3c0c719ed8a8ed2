"""From the prompts of a command line to those of the engine."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn, Protocol

from ..errors import PromptError
from ..prompt_files import PromptedObject, read_mask, read_prompts
from ..prompts import Box, Click, Prompts
from .options import Numbers, Point, Said


class _Parser(Protocol):
    def error(self, message: str) -> NoReturn: ...


@dataclass(slots=True)
class _Draft:
    """What was said about one object on one frame so far."""

    points: list[Point] = field(default_factory=list)
    boxes: list[Numbers] = field(default_factory=list)
    masks: list[str] = field(default_factory=list)

    def add(self, option: str, value: Any) -> None:
        lists: dict[str, list[Any]] = {"point": self.points, "box": self.boxes, "mask": self.masks}
        lists[option].append(value)

    def prompts(self) -> Prompts:
        clicks = tuple(Click(*point) for point in self.points)
        box = Box(*self.boxes[0]) if self.boxes else None
        return Prompts(clicks, box, read_mask(self.masks[0]) if self.masks else None)


def given_objects(args: argparse.Namespace) -> tuple[PromptedObject, ...]:
    """The objects of ``--prompts``, or of the other prompt options; empty where there are none.

    Leaves with a usage error where the options contradict each other.

    Raises
    ------
    PromptError, ImageError
        The file of prompts or a mask cannot be used.
    """
    said: Sequence[Said] = args.said
    if args.prompts is None:
        return _objects(_drafts(said, args.parser))
    if said:
        args.parser.error(f"give prompts by --prompts or by --{said[0].option}, not both")
    return read_prompts(args.prompts)


def check_frames(objects: Sequence[PromptedObject], num_frames: int, name: str) -> None:
    """Refuse prompts on frames that do not exist.

    Raises
    ------
    PromptError
    """
    for one in objects:
        for frame in one.prompts:
            if frame >= num_frames:
                last = f"its frames are 0 to {num_frames - 1}" if num_frames > 1 else "it has frame 0 only"
                raise PromptError(f"object {one.obj!r} has a prompt on frame {frame}, but {name} ends earlier: {last}")


def _drafts(said: Sequence[Said], parser: _Parser) -> Mapping[int | str, dict[int, _Draft]]:
    """Object → frame → what was said, in the order of the command line."""
    frames = [value for option, value in said if option == "frame"]
    obj: int | str = 1
    # A single --frame is about all prompts, wherever it stands.
    frame: int | None = frames[0] if len(frames) == 1 else None if frames else 0
    drafts: dict[int | str, dict[int, _Draft]] = {}
    for option, value in said:
        if option == "object":
            obj = value
        elif option == "frame":
            frame = value
        elif frame is None:
            parser.error(f"--frame is given several times, but --{option} comes before the first of them")
        else:
            draft = drafts.setdefault(obj, {}).setdefault(frame, _Draft())
            draft.add(option, value)
            _check(draft, obj, parser)
    if said and not drafts:
        parser.error(f"--{said[0].option} alone says nothing; add --point, --box or --mask")
    return drafts


def _check(draft: _Draft, obj: int | str, parser: _Parser) -> None:
    if len(draft.boxes) > 1 or len(draft.masks) > 1:
        kind = "box" if len(draft.boxes) > 1 else "mask"
        parser.error(f"object {obj!r} has two --{kind} on one frame; put --object ID before that of another object")
    if draft.masks and (draft.points or draft.boxes):
        parser.error(f"object {obj!r} has --mask and other prompts on one frame; a mask stands alone")


def _objects(drafts: Mapping[int | str, Mapping[int, _Draft]]) -> tuple[PromptedObject, ...]:
    return tuple(
        PromptedObject(obj, "", {frame: draft.prompts() for frame, draft in frames.items()})
        for obj, frames in drafts.items()
    )
