"""``sam2 label-studio export``: masks of a project, or of its JSON export, in formats that Label Studio lacks."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sam2_engine.cli.console import Console, count

from . import shared

if TYPE_CHECKING:
    from ..annotated import AnnotatedPage, Report
    from ..exporting import Exported, Fetch
    from ..label_config import LabelConfig
    from ..media import Media
    from ..regions import Json
    from ..settings import Settings

FORMATS = ("coco", "yolo", "png", "training")


def add_parser(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "export",
        parents=[common],
        help="masks to COCO run lengths, YOLO outlines, PNG pages, or training data",
        description="Write the masks of a project, brushes included, which Label Studio's own COCO and YOLO exports "
        "leave out. Pages of a task are pictures of their own. 'training' writes a folder for sam2 finetune.",
        epilog="example: sam2 label-studio export --project 3 --format coco --out cells_coco --images",
    )
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--project", metavar="N", type=shared.number, help="number of the project")
    which.add_argument("--tasks", metavar="FILE.json", help="an export of Label Studio in its format JSON")
    parser.add_argument("--format", choices=FORMATS, required=True, help="what to write")
    parser.add_argument(
        "--out", metavar="FOLDER", required=True, help="folder to make, or an earlier export to replace"
    )
    parser.add_argument(
        "--source",
        choices=("annotations", "predictions"),
        default="annotations",
        help="what people accepted, or what models found (default: annotations)",
    )
    parser.add_argument("--images", action="store_true", help="fetch the pictures too; training data always have them")
    parser.add_argument(
        "--values", choices=("instances", "classes"), default="instances", help="of png (default: instances)"
    )
    parser.add_argument(
        "--since", metavar="DATE", type=_moment, help="only annotations changed since then, such as 2026-05-01"
    )
    parser.add_argument("--label-config", metavar="FILE.xml", help="of the project, to go with --tasks; rarely needed")
    shared.add_label_studio(parser)
    parser.set_defaults(run=run, parser=parser)


def run(args: argparse.Namespace) -> int:
    """Export; 0 where nothing had to be left out."""
    shared.set_up_logs(args)
    console = Console(quiet=args.quiet)
    settings = shared.read_settings(args)
    left_out: list[str] = []

    def report(line: str) -> None:
        left_out.append(line)
        console.warn(line)

    tasks, config, login = _tasks(args, settings)
    with console.bar(len(tasks) if isinstance(tasks, list) else 0, "exporting", "task") as bar:
        pages = _pages(args, _counted(tasks, bar), config, report)
        fetch = _fetch(settings, *login) if args.images or args.format == "training" else None
        done = _write(args, pages, report, fetch)
    labels = ", ".join(map(repr, done.labels)) or "none"
    console.say(
        f"wrote {count(done.objects, 'mask')} on {count(done.pictures, 'picture')} to {args.out}; labels: {labels}"
    )
    if left_out:
        console.warn(f"{count(len(left_out), 'thing')} left out, see above")
    return 1 if left_out else 0


def _tasks(args: argparse.Namespace, settings: Settings) -> tuple[Iterable[Json], LabelConfig | None, tuple[Any, Any]]:
    """Tasks, the label config where there is one, and the login of the task data."""
    from ..label_config import parse_label_config

    config = parse_label_config(_read_text(args.label_config)) if args.label_config else None
    if args.tasks is not None:
        return _read_tasks(args.tasks), config, (None, None)
    from ..api import LabelStudioApi

    api = LabelStudioApi.from_settings(settings.media)
    project = api.project(args.project)
    config = config or parse_label_config(str(project.get("label_config") or ""))
    return api.tasks(args.project), config, (project.get("task_data_login"), project.get("task_data_password"))


def _read_tasks(path: str) -> list[Json]:
    import json

    from sam2_engine.errors import FramesError

    try:
        tasks = json.loads(_read_text(path))
    except ValueError as error:
        raise FramesError(f"{path} is no JSON ({error}); export the project again in the format JSON") from error
    if not isinstance(tasks, list):
        raise FramesError(f"{path} holds no list of tasks; export the project in the format JSON")
    return tasks


def _read_text(path: str) -> str:
    from sam2_engine.errors import FramesError

    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise FramesError(f"{path} cannot be read ({error}); check the path") from error


def _pages(
    args: argparse.Namespace, tasks: Iterable[Json], config: LabelConfig | None, report: Report
) -> Iterator[AnnotatedPage]:
    from ..annotated import annotated_pages
    from ..corrections import changed_since

    chosen = tasks if args.since is None else changed_since(tasks, args.since)
    return annotated_pages(chosen, args.source, config, report=report)


def _fetch(settings: Settings, login: str | None, password: str | None) -> Fetch:
    from ..media import MediaFetcher

    fetcher = MediaFetcher(settings.media)

    def fetch(url: str, task: int | str) -> AbstractContextManager[Media]:
        return fetcher.fetch(url, login=login, password=password, task_id=task)

    return fetch


def _write(args: argparse.Namespace, pages: Iterator[AnnotatedPage], report: Report, fetch: Fetch | None) -> Exported:
    from ..corrections import write_training_data
    from ..exporting import export_coco, export_png, export_yolo

    if args.format == "training":
        assert fetch is not None
        return write_training_data(pages, args.out, report=report, fetch=fetch)
    if args.format == "png":
        return export_png(pages, args.out, report=report, fetch=fetch, values=args.values)
    write = export_coco if args.format == "coco" else export_yolo
    return write(pages, args.out, report=report, fetch=fetch)


def _counted(tasks: Iterable[Json], bar: Any) -> Iterator[Json]:
    for task in tasks:
        yield task
        bar.update()


def _moment(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"expected a date such as 2026-05-01 or 2026-05-01T12:00, got {text!r}"
        ) from None
