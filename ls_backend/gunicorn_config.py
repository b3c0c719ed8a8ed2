"""Configuration for gunicorn: ``gunicorn --config python:ls_backend.gunicorn_config``. Options given to it count more.

One worker, because every further one would load the model again and know nothing of the others' pictures; threads
instead. Not preloaded: a device cannot be used in a process that was forked after it was opened.
"""

from __future__ import annotations

from typing import Any

from .serving import SPARE_THREADS
from .settings import Settings

_settings = Settings.from_env()

wsgi_app = "ls_backend.app:create_app()"
bind = f"[{_settings.host}]:{_settings.port}" if ":" in _settings.host else f"{_settings.host}:{_settings.port}"
workers = 1
worker_class = "gthread"
threads = _settings.queue_size + SPARE_THREADS
preload_app = False
# Predictions take as long as they take, and Label Studio gives up by itself after 100 s.
timeout = 0
graceful_timeout = 30
loglevel = _settings.log_level.lower()


def post_worker_init(worker: Any) -> None:
    """Write our logs, and load the model before the first request."""
    from ._allocator import share_arenas
    from .logs import set_up

    share_arenas()
    service = worker.app.callable.extensions["sam2"]
    set_up(service.settings)
    service.start()


def worker_exit(server: Any, worker: Any) -> None:
    """Write what is to be kept."""
    worker.app.callable.extensions["sam2"].close()
