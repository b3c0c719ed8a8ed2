"""The command line: ``sam2 demo``, ``segment``, ``track``, ``replay``, ``models``, ``info``, ``train``,
``finetune``, ``evaluate``, ``export`` and ``bench``; further ones come from other packages (`found`).

Results go to files and to standard output, the way there to standard error. Exit codes: 0 done, 1 it could not be done
(one line says why), 2 wrong use, 130 stopped by Ctrl-C (what was done so far is kept).
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from .._version import __version__
from ..errors import EngineError
from . import bench, demo, evaluate, export, finetune, info, models, options, replay, segment, track, train
from .console import INTERRUPTED
from .found import add_found, first_word

__all__ = ["build_parser", "main"]

_COMMANDS = (demo, segment, track, replay, models, info, train, finetune, evaluate, export, bench)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Parameters
    ----------
    argv : the arguments, those of the process when not given

    Returns
    -------
    Exit code.
    """
    _never_fail_to_print()
    argv = sys.argv[1:] if argv is None else argv
    try:
        args = build_parser(argv).parse_args(argv)
        return _run(args)
    except SystemExit as leave:
        # argparse has said why.
        return leave.code if isinstance(leave.code, int) else 0 if leave.code is None else 2
    except EngineError as error:
        print(f"sam2: error: {error}", file=sys.stderr)
        return 1


def build_parser(argv: Sequence[str] = ()) -> argparse.ArgumentParser:
    """The parser of all commands; building it imports nothing heavy.

    Parameters
    ----------
    argv : what was typed. Other packages are looked for only where it names none of our commands

    Raises
    ------
    EngineError
        `argv` names a command of another package that cannot be imported.
    """
    parser = argparse.ArgumentParser(
        prog="sam2",
        description="Segment images, stacks and videos with SAM 2. Start with: sam2 demo",
        epilog="sam2 COMMAND --help tells more about a command.",
    )
    parser.add_argument("--version", action="version", version=f"sam2-tools {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for command in _COMMANDS:
        command.add_parser(commands, options.common())
    if first_word(argv) not in commands.choices:
        add_found(commands, options.common(), argv)
    return parser


def _run(args: argparse.Namespace) -> int:
    try:
        code: int = args.run(args)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        print("sam2: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # Who read our output has heard enough, such as `head`; flushing at exit must not complain again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (EngineError, MemoryError, RuntimeError) as error:
        message = _explain(error)
        if message is None:
            raise
        if args.debug:
            import traceback

            traceback.print_exc()
        print(f"sam2: error: {message}", file=sys.stderr)
        return 1


def _explain(error: BaseException) -> str | None:
    """What to tell a person; None for our own mistakes, whose traceback is wanted."""
    if isinstance(error, EngineError):
        return str(error)
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return "out of memory; use a smaller --side or model, crop the picture, or use another --device"
    return None


def _never_fail_to_print() -> None:
    """Characters that a console cannot show become question marks, instead of an error at the end of the work."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
