"""``sam2 models``: what ``--model`` can name."""

from __future__ import annotations

import argparse
from typing import Any

from .console import Console, megabytes


def add_parser(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "models",
        parents=[common],
        help="list the models that can be named",
        description="List the models that --model can name, and whether their weights are on this machine.",
    )
    parser.add_argument("--json", action="store_true", help="as JSON")
    parser.set_defaults(run=run, parser=parser)


def run(args: argparse.Namespace) -> int:
    """Print the table."""
    from ..weights import list_models

    entries = list_models()
    if args.json:
        import json

        rows = [
            {
                "name": entry.name,
                "parameters": entry.parameters,
                "origin": entry.origin,
                "path": None if entry.path is None else str(entry.path),
            }
            for entry in entries
        ]
        print(json.dumps(rows, indent=1))
        return 0
    print(f"{'NAME':24}{'PARAMETERS':>12}  WEIGHTS")
    for entry in entries:
        here = "not here; fetched at first use" if entry.path is None else _place(entry.path)
        if entry.path is None and "://" not in entry.origin:
            here = "missing from this installation"
        print(f"{entry.name:24}{entry.parameters / 1e6:10.1f} M  {here}")
    Console(quiet=args.quiet).say("\n--model also takes a file, a folder, or a name on Hugging Face")
    return 0


def _place(path: Any) -> str:
    return f"{path} ({megabytes(path.stat().st_size)})"
