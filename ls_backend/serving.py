"""``sam2 serve label-studio``: the server, behind waitress."""

from __future__ import annotations

import argparse
import logging
import signal
import socket
import threading
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

from sam2_engine.errors import EngineError, MissingDependencyError

if TYPE_CHECKING:
    from flask import Flask

    from .service import Service
    from .settings import Settings

logger = logging.getLogger(__name__)

SPARE_THREADS = 4
"""Threads beyond those of predictions, so that ``/health`` and ``/setup`` are answered while the queue is full."""

_BACKLOG = 1024
LOCAL = ("127.0.0.1", "::1", "localhost")


class ServingError(EngineError, OSError):
    """The server cannot listen."""


def add_parser(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "label-studio",
        parents=[common],
        help="a backend for Label Studio: masks for clicks and boxes, tasks and whole projects",
        description="Answer Label Studio. Connect it in a project under Settings > Model, and switch on interactive "
        "preannotations. Environment variables set everything too (docs/label_studio_server.md); options count more.",
        epilog="example: LABEL_STUDIO_URL=http://localhost:8080 LABEL_STUDIO_API_KEY=… sam2 serve label-studio",
    )
    where = parser.add_argument_group("server")
    where.add_argument("--host", help="address to listen on (default: 127.0.0.1, this machine only)")
    where.add_argument("--port", type=_port, help="port to listen on (default: 9090); 0 takes any free one")
    where.add_argument("--token", help="a secret that requests must carry; better in SAM2_TOKEN, unseen by others")
    where.add_argument("--queue-size", type=_positive, metavar="N", help="predictions at work or waiting (default: 32)")
    studio = parser.add_argument_group("Label Studio")
    studio.add_argument("--label-studio-url", metavar="URL", help="where it is, as seen from here")
    studio.add_argument("--api-key", metavar="KEY", help="its token; better in LABEL_STUDIO_API_KEY, unseen by others")
    model = parser.add_argument_group("model")
    model.add_argument("--model", metavar="NAME|FILE", help="weights: a file, a folder or a name (see: sam2 models)")
    model.add_argument("--device", metavar="DEVICE", help="auto, cpu, cuda, cuda:1 or mps (default: auto)")
    model.add_argument(
        "--precision",
        choices=("fp32", "bf16", "int8"),
        help="bf16 is quicker on devices that know it, and differs in single pixels; int8, for CPUs, rounds the "
        "encoder further (default: fp32)",
    )
    model.add_argument("--threads", type=_positive, metavar="N", help="CPU threads to compute with")
    parser.add_argument("--log-json", action="store_true", default=None, help="logs as one JSON object a line")
    parser.set_defaults(run=run, parser=parser)


def run(args: argparse.Namespace) -> int:
    """Serve until Ctrl-C or SIGTERM; gives 0."""
    from ._allocator import share_arenas
    from .logs import set_up
    from .service import Service

    settings = _settings(args)
    set_up(settings)
    share_arenas()
    service = Service(settings)
    try:
        serve(service, quiet=args.quiet)
    finally:
        service.close()
    return 0


def serve(service: Service, *, quiet: bool = False) -> None:
    """Listen and answer until interrupted.

    Parameters
    ----------
    service : what answers; its settings say where to listen
    quiet : do not print the address

    Raises
    ------
    ServingError
        The address or port cannot be listened on.
    MissingDependencyError
        waitress or Flask is not installed.
    """
    server = _listening(service)
    _end_on_sigterm()
    host = service.settings.host
    if not quiet:
        shown = f"[{host}]" if ":" in host else host
        print(f"SAM 2 for Label Studio at http://{shown}:{server.effective_port}  (Ctrl-C ends it)", flush=True)
    for hint in service.status().hints:
        logger.warning(hint)
    service.start()
    try:
        # Ends by itself, and quietly, on KeyboardInterrupt and SystemExit.
        server.run()
    finally:
        server.close()


def _listening(service: Service) -> Any:
    """A server of waitress that listens already."""
    try:
        from waitress.server import create_server
    except ImportError as error:
        raise MissingDependencyError(
            "the Label Studio server needs waitress: pip install 'sam2-tools[label-studio]'"
        ) from error
    settings = service.settings
    app = _app(service)
    try:
        family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
        # Made here, because waitress leaves its own open where it cannot bind it.
        listening = socket.create_server((settings.host, settings.port), family=family, backlog=_BACKLOG)
    except (OSError, OverflowError) as error:
        raise ServingError(
            f"cannot listen on {settings.host} port {settings.port} ({error}); choose another --host or --port"
        ) from error
    return create_server(
        app,
        sockets=[listening],
        threads=settings.queue_size + SPARE_THREADS,
        # waitress refuses by itself what announces more; one byte more lets our own message come first.
        max_request_body_size=settings.max_body_bytes + 1,
        connection_limit=4 * settings.queue_size + 100,
        clear_untrusted_proxy_headers=True,
        ident=None,
    )


def _app(service: Service) -> Flask:
    from .app import create_app

    return create_app(service=service, only_local_names=service.settings.host in LOCAL)


def _settings(args: argparse.Namespace) -> Settings:
    from .settings import Settings

    return Settings.from_env(
        host=args.host,
        port=args.port,
        token=args.token,
        queue_size=args.queue_size,
        media_label_studio_url=args.label_studio_url,
        media_api_key=args.api_key,
        model=args.model,
        device=args.device,
        precision=args.precision,
        compute_threads=args.threads,
        log_json=args.log_json,
        log_level="DEBUG" if args.debug else "ERROR" if args.quiet else None,
    )


def _end_on_sigterm() -> None:
    """Make SIGTERM, which containers are stopped with, end the server as Ctrl-C does."""
    if threading.current_thread() is not threading.main_thread():
        return  # only the main thread may set handlers

    def end(number: int, frame: FrameType | None) -> NoReturn:
        raise SystemExit(0)

    signal.signal(signal.SIGTERM, end)


def _port(text: str) -> int:
    if not text.isdigit() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"expected a port from 0 to 65535, got {text!r}")
    return int(text)


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected an integer from 1 on, got {text!r}")
    return int(text)
