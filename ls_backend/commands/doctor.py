"""``sam2 label-studio doctor``: why no mask is seen, and what to do."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from sam2_engine.cli.console import Console, count

from . import shared

if TYPE_CHECKING:
    from ..findings import Finding
    from ..settings import Settings

_MARKS = {"ok": "ok", "warning": "!!", "problem": "XX", "skipped": "--"}
_COLOURS = {"ok": 32, "warning": 33, "problem": 31, "skipped": 2}


def add_parser(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "doctor",
        parents=[common],
        help="find out why no mask is seen in Label Studio, and what to do",
        description="Check the model, the server, Label Studio, its token, and a project's label config, pictures, "
        "connection and webhook. Label Studio itself shows none of what goes wrong there. Exit code 1 where there is a "
        "problem.",
        epilog="example: sam2 label-studio doctor --project 3 --label-studio-url http://localhost:8080",
    )
    parser.add_argument("--project", metavar="N", type=shared.number, help="number of the project to look at")
    parser.add_argument(
        "--backend-url",
        metavar="URL",
        help="where the server is (default: http://localhost and the port that is set, 9090)",
    )
    parser.add_argument("--connect", action="store_true", help="connect the server to the project where none is")
    parser.add_argument("--json", action="store_true", help="findings as JSON")
    shared.add_label_studio(parser)
    parser.add_argument("--model", metavar="NAME|FILE", help="weights: a file, a folder or a name (see: sam2 models)")
    parser.set_defaults(run=run, parser=parser)


def run(args: argparse.Namespace) -> int:
    """Check; 0 where nothing is a problem."""
    from ..doctor import Doctor

    shared.set_up_logs(args)

    settings = shared.read_settings(args, model=args.model)
    doctor = Doctor(
        settings,
        (args.backend_url or f"http://localhost:{settings.port}").rstrip("/"),
        args.project,
        args.connect,
        lambda: _model_version(settings),
    )
    console = Console(quiet=args.quiet)
    findings: list[Finding] = []
    for finding in doctor.examine():
        findings.append(finding)
        if not args.json:
            _show(finding, console)
    problems = sum(one.state == "problem" for one in findings)
    if args.json:
        print(json.dumps({"is_well": not problems, "findings": [asdict(one) for one in findings]}, indent=2))
    else:
        console.say(_summary(findings, problems))
    return 1 if problems else 0


def _model_version(settings: Settings) -> str:
    """Without loading or fetching the model."""
    from ..store import Engine

    return Engine(settings).version


def _show(finding: Finding, console: Console) -> None:
    mark = f"[{_MARKS[finding.state]}]"
    if sys.stdout.isatty():
        mark = f"\x1b[{_COLOURS[finding.state]}m{mark}\x1b[0m"
    console.say(f"{mark} {finding.check}: {finding.found}")
    if finding.fix:
        console.say(f"     fix: {finding.fix}")


def _summary(findings: Iterable[Finding], problems: int) -> str:
    warnings = sum(one.state == "warning" for one in findings)
    if problems or warnings:
        return f"{count(problems, 'problem')}, {count(warnings, 'warning')}"
    return "all is well"
