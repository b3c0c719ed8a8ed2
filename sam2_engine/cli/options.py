"""Options that several commands share, and the values they take. Imports nothing heavy: help must come at once."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from ..shortcuts import Shortcuts

Numbers = tuple[float, ...]


class Said(NamedTuple):
    """One of ``--object --frame --point --box --mask`` in the order of the command line."""

    option: str
    value: Any


class Point(NamedTuple):
    """A click as it was written."""

    x: float
    y: float
    is_positive: bool


class _Remember(argparse.Action):
    """Collects the options of one command in their order, since ``--object`` and ``--frame`` are about what follows."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        namespace.said = (*namespace.said, Said(self.dest, values))


def add_prompts(parser: argparse.ArgumentParser, *, frames: bool) -> None:
    """``--point --box --mask --object --prompts``, and ``--frame`` for sequences."""
    parser.set_defaults(said=())
    group = parser.add_argument_group("prompts")

    def remember(flag: str, **settings: Any) -> None:
        group.add_argument(flag, action=_Remember, default=argparse.SUPPRESS, **settings)

    remember(
        "--point",
        type=point,
        metavar="X,Y[,-]",
        help="a click on the object; ',-' makes it one beside the object. Repeatable",
    )
    remember("--box", type=box, metavar="X0,Y0,X1,Y1", help="a box around the object, top left to bottom right")
    remember("--mask", metavar="FILE", help="a picture of the image's size; what is not black is the object")
    remember("--object", type=object_id, metavar="ID", help="the prompts after this are about object ID (default: 1)")
    if frames:
        remember(
            "--frame",
            type=whole_number,
            metavar="K",
            help="frame of the prompts, from 0 on (default: 0); given several times, of those that follow",
        )
    group.add_argument("--prompts", metavar="FILE.json", help="prompts for several objects; format: docs/cli.md")


def add_model(parser: argparse.ArgumentParser) -> None:
    """``--model --side --device --threads``."""
    group = parser.add_argument_group("model")
    group.add_argument(
        "--model",
        metavar="NAME|FILE",
        help="weights: a file, a folder or a name (see: sam2 models); default: the model that comes with the package",
    )
    group.add_argument("--side", type=model_side, metavar="N", help="side of the model's input, a multiple of 32")
    add_device(group)


def add_precision(parser: argparse.ArgumentParser) -> None:
    """``--precision``, for what only looks at pictures."""
    parser.add_argument(
        "--precision",
        choices=("fp32", "bf16", "int8"),
        default="fp32",
        help="bf16 is about twice as quick on processors that know it, and differs in single pixels; int8 is bf16 with "
        "large layers of the encoder in 8 bits, for CPUs with AVX512-VNNI (default: fp32)",
    )


def add_shortcuts(parser: Any) -> None:
    """``--fewer-memories --pool-memories``."""
    parser.add_argument(
        "--fewer-memories",
        type=positive,
        metavar="N",
        help="quicker, not exact: look at N memories at most, leaving out those most like their neighbours in time",
    )
    parser.add_argument(
        "--pool-memories", action="store_true", help="quicker, not exact: look at means of 2 × 2 positions of memories"
    )


def shortcuts_of(args: argparse.Namespace) -> Shortcuts:
    """What these allow to leave out."""
    return Shortcuts(args.fewer_memories, args.pool_memories)


def add_window(parser: argparse.ArgumentParser) -> None:
    """``--window``."""
    parser.add_argument(
        "--window",
        choices=("auto", "whole"),
        help="look at each object through a window around it, or at whole images (default: as the model was made for)",
    )


def add_follow(parser: argparse.ArgumentParser) -> None:
    """``--follow``."""
    parser.add_argument(
        "--follow",
        choices=("memory", "match"),
        help="follow objects by memory, or by what looks like them on the frames before (default: what was found "
        "better for the model, see docs/model_card.md)",
    )


def add_budget(parser: argparse.ArgumentParser) -> None:
    """``--memory-mb --feature-cache --no-feature-cache --disk-mb --feature-format``."""
    group = parser.add_argument_group("memory and disk")
    group.add_argument(
        "--memory-mb",
        type=positive_number,
        metavar="N",
        help="MiB to keep features, memories and masks in, beside the model (default: a quarter of what is free)",
    )
    _add_feature_cache(group)


def add_feature_cache(parser: argparse.ArgumentParser) -> None:
    """The same without ``--memory-mb``."""
    _add_feature_cache(parser.add_argument_group("disk"))
    parser.set_defaults(memory_mb=None)


def _add_feature_cache(group: Any) -> None:
    place = group.add_mutually_exclusive_group()
    place.add_argument(
        "--feature-cache",
        metavar="DIR",
        help="where encoded pictures are kept for the next run, for models that look at whole pictures (default: the "
        "user's cache folder)",
    )
    place.add_argument("--no-feature-cache", action="store_true", help="keep no encoded pictures for the next run")
    group.add_argument(
        "--disk-mb",
        type=positive_number,
        metavar="N",
        help="MiB to keep there; those used longest ago go (default: a tenth of the disk's free space, at most 16 GiB)",
    )
    group.add_argument(
        "--feature-format",
        choices=("exact", "bfloat16"),
        default="exact",
        help="bfloat16 takes half the disk and changes the last digits of results (default: exact)",
    )


def add_device(group: Any) -> None:
    """``--device --threads``."""
    group.add_argument(
        "--device", choices=("auto", "cpu", "cuda", "mps"), default="auto", help="where to compute (default: auto)"
    )
    group.add_argument("--threads", type=positive, metavar="N", help="CPU threads to use")


def common() -> argparse.ArgumentParser:
    """Options of every command, to be a parent of its parser."""
    parser = argparse.ArgumentParser(add_help=False)
    group = parser.add_argument_group("general")
    group.add_argument("--quiet", "-q", action="store_true", help="say nothing but errors")
    group.add_argument("--debug", action="store_true", help="show where in the code an error came from")
    return parser


# --------------------------------------------------------------------------------------------------------- values


def point(text: str) -> Point:
    """``X,Y`` with an optional ``+``, ``-``, ``1`` or ``0``."""
    parts = [part.strip() for part in text.split(",")]
    kinds = {"+": True, "1": True, "-": False, "0": False}
    kind = parts.pop() if len(parts) == 3 else "+"
    numbers = _numbers(parts)
    if numbers is None or len(numbers) != 2 or kind not in kinds:
        raise argparse.ArgumentTypeError(f"expected X,Y or X,Y,- in image pixels, such as 120,85, got {text!r}")
    return Point(numbers[0], numbers[1], kinds[kind])


def box(text: str) -> Numbers:
    """``X0,Y0,X1,Y1``."""
    numbers = _numbers(text.split(","))
    if numbers is None or len(numbers) != 4:
        raise argparse.ArgumentTypeError(f"expected X0,Y0,X1,Y1 in image pixels, such as 100,60,180,140, got {text!r}")
    if numbers[2] <= numbers[0] or numbers[3] <= numbers[1]:
        raise argparse.ArgumentTypeError(f"expected X0 < X1 and Y0 < Y1, got {text!r}; swap the reversed corners")
    return numbers


def object_id(text: str) -> int | str:
    """An integer from 1 on, else a text."""
    text = text.strip()
    if not text or (text.lstrip("-").isdigit() and int(text) < 1):
        raise argparse.ArgumentTypeError(f"expected an integer from 1 on or a text, got {text!r}")
    return int(text) if text.isdigit() else text


def axis(text: str) -> int | str:
    """A name such as ``z``, or a position."""
    try:
        return int(text)
    except ValueError:
        return text.strip().lower()


def fixed_index(text: str) -> tuple[int | str, int]:
    """``t=3``: take index 3 on axis t."""
    name, equals, index = text.partition("=")
    if not equals or not name.strip() or not index.strip().isdigit():
        raise argparse.ArgumentTypeError(f"expected AXIS=INDEX such as t=0, got {text!r}")
    return axis(name), int(index)


def whole_number(text: str) -> int:
    """An integer from 0 on."""
    return _integer(text, 0)


def positive(text: str) -> int:
    """An integer from 1 on."""
    return _integer(text, 1)


def positive_number(text: str) -> float:
    """A finite number above 0."""
    numbers = _numbers([text])
    if numbers is None or numbers[0] <= 0:
        raise argparse.ArgumentTypeError(f"expected a number above 0, got {text!r}")
    return numbers[0]


def share(text: str) -> float:
    """A number from 0 to 1."""
    numbers = _numbers([text])
    if numbers is None or not 0 <= numbers[0] <= 1:
        raise argparse.ArgumentTypeError(f"expected a number from 0 to 1, got {text!r}")
    return numbers[0]


def model_side(text: str) -> int:
    """A positive multiple of 32."""
    side = _integer(text, 32)
    if side % 32:
        raise argparse.ArgumentTypeError(f"expected a multiple of 32, such as {32 * round(side / 32)}, got {side}")
    return side


def _integer(text: str, lowest: int) -> int:
    try:
        number = int(text)
    except ValueError:
        number = lowest - 1
    if number < lowest:
        raise argparse.ArgumentTypeError(f"expected an integer from {lowest} on, got {text!r}")
    return number


def _numbers(parts: Sequence[str]) -> Numbers | None:
    """Finite numbers, or None where one is none."""
    try:
        numbers = tuple(float(part) for part in parts)
    except ValueError:
        return None
    return numbers if all(map(math.isfinite, numbers)) else None
