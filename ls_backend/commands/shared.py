"""Options that these commands share. Imports nothing heavy: help must come at once."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..settings import Settings


def add_label_studio(parser: argparse.ArgumentParser) -> None:
    """``--label-studio-url --api-key --allow-host``."""
    group = parser.add_argument_group("Label Studio")
    group.add_argument("--label-studio-url", metavar="URL", help="where it is, as seen from here (LABEL_STUDIO_URL)")
    group.add_argument(
        "--api-key", metavar="KEY", help="its token; better in LABEL_STUDIO_API_KEY, where others do not see it"
    )
    group.add_argument(
        "--allow-host",
        metavar="HOST",
        action="append",
        help="a further host, or network, to fetch pictures from (SAM2_ALLOWED_HOSTS); repeatable",
    )


def read_settings(args: argparse.Namespace, **more: Any) -> Settings:
    """Settings of the environment, and of the command line where it says something.

    Raises
    ------
    SettingsError
        One of them cannot be used.
    """
    from ..settings import Settings

    url = args.label_studio_url
    return Settings.from_env(
        media_label_studio_url=None if url is None else url.rstrip("/"),
        media_api_key=args.api_key,
        media_allowed_hosts=None if args.allow_host is None else tuple(args.allow_host),
        **more,
    )


def set_up_logs(args: argparse.Namespace) -> None:
    """What goes wrong is told by the command itself; with ``--debug`` the log is shown too."""
    import logging

    if args.debug:
        logging.basicConfig(level=logging.DEBUG, format="%(levelname)s %(name)s: %(message)s")
        # Which shows headers, tokens among them.
        logging.getLogger("httpcore2").setLevel(logging.WARNING)
    else:
        logging.getLogger("ls_backend").addHandler(logging.NullHandler())


def number(text: str) -> int:
    """A number from 1 on, as projects and tasks have."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a number from 1 on, got {text!r}")
    return int(text)
