"""``sam2 info WEIGHTS``: what a file of weights is."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from .console import Console, megabytes

if TYPE_CHECKING:
    from ..checkpoint import CheckpointInfo


def add_parser(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "info",
        parents=[common],
        help="tell what a file of weights is",
        description="Read a file of weights, check it, and tell what it is. Nothing in it is run.",
    )
    parser.add_argument("weights", metavar="WEIGHTS", help="a file, a folder or a name; default: the default model")
    parser.add_argument("--json", action="store_true", help="as JSON")
    parser.set_defaults(run=run, parser=parser)


def run(args: argparse.Namespace) -> int:
    """Print what was found; 1 where the weights fit no known model."""
    from ..checkpoint import inspect
    from ..weights import find_weights

    console = Console(quiet=args.quiet)
    found = inspect(find_weights(args.weights, progress=console.shows_bars))
    if args.json:
        import json

        print(json.dumps(_record(found), indent=1))
    else:
        for name, value in _lines(found):
            print(f"{name:14} {value}")
    if found.problem is None:
        return 0
    console.warn(f"error: {found.problem}")
    return 1


def _lines(found: CheckpointInfo) -> Iterator[tuple[str, str]]:
    dtypes = ", ".join(f"{count} × {dtype}" for dtype, count in found.dtypes.items())
    yield "file", str(found.path)
    yield "size", megabytes(found.size_bytes)
    yield "sha256", found.sha256
    yield "format", f"{found.format}, {found.names} names"
    yield "tensors", f"{found.tensors} ({dtypes}), {found.parameters:,} parameters"
    yield "model", found.model or "none that is known"
    if found.config is not None:
        yield "configuration", "stored with the weights" if found.config_stored else "of the recognised model"
        yield "input side", f"{found.config.image_side} px"
    yield from _flat(found.summary)


def _flat(summary: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, str]]:
    for name, value in summary.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{name}.")
        else:
            yield f"{before}{name}", str(value)


def _record(found: CheckpointInfo) -> dict[str, Any]:
    from ..config import describe

    return {
        "path": str(found.path),
        "size_bytes": found.size_bytes,
        "sha256": found.sha256,
        "format": found.format,
        "names": found.names,
        "model": found.model,
        "problem": found.problem,
        "tensors": found.tensors,
        "parameters": found.parameters,
        "dtypes": dict(found.dtypes),
        "config": None if found.config is None else describe(found.config),
        "config_stored": found.config_stored,
        "summary": dict(found.summary),
    }
