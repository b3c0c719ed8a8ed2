"""The one object that both ways of running share: what each request of Label Studio is answered with.

Knows no web framework. Nothing heavy is imported before `Service.start`, and then in a thread of its own.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from .http_errors import detail_of, kind_of
from .incoming import check_label_config, check_predict, check_setup
from .label_config import parse_label_config
from .loading import BackgroundModel, ModelState, ModelStatus
from .logs import Redactor, current_request_id
from .monitoring import Latency, Monitor, SeenError
from .settings import Settings
from .turns import BusyError
from .webhooks import WebhookQueue, read_event

logger = logging.getLogger(__name__)

Answer = dict[str, Any]

SETUP_WAIT_S = 2.0
"""Label Studio waits 3 s for ``/setup``."""

PREDICT_WAIT_S = 90.0
"""Label Studio waits 100 s for ``/predict``."""

KEPT_PROJECTS = 50


class Answering(Protocol):
    """Answers ``/predict``; see `ls_backend.answering.Answerer`."""

    def predict(self, request: Mapping[str, Any]) -> list[dict[str, Any]]: ...


class Engine(Protocol):
    """The model; see `ls_backend.store.Engine`."""

    @property
    def version(self) -> str: ...

    @property
    def tracker(self) -> Any: ...

    def close(self) -> None: ...


Report = Callable[[str, Exception], None]
"""Is told of a task that could not be answered beside others that could, and why."""

MakeEngine = Callable[[Settings], Engine]
MakeAnswerer = Callable[[Any, Settings, Report], Answering]


@dataclass(frozen=True, slots=True)
class Project:
    """A project that asked.

    Attributes
    ----------
    name : as Label Studio names it
    host : where Label Studio says that it is, empty where it did not
    asked_at : last time, seconds since 1970
    """

    name: str
    host: str
    asked_at: float


@dataclass(frozen=True, slots=True)
class Status:
    """What the status page shows.

    Attributes
    ----------
    model : how it stands
    model_name : as set
    device : as set, and the one that it came to once the model is loaded
    uptime_s : since the service was made
    at_work, queue_size : predictions that are at work or wait, and how many may
    refused : predictions that found the queue full
    webhooks : events by action
    webhooks_waiting, webhooks_dropped : events
    is_training_wanted : somebody pressed the button
    caches : numbers of the answerer, by name
    latencies, errors : of the last requests
    projects : that asked, the last one first
    hints : what a person should change, and how
    """

    model: ModelStatus
    model_name: str
    device: str
    uptime_s: float
    at_work: int
    queue_size: int
    refused: int
    webhooks: Mapping[str, int]
    webhooks_waiting: int
    webhooks_dropped: int
    is_training_wanted: bool
    caches: Mapping[str, float]
    latencies: tuple[Latency, ...]
    errors: tuple[SeenError, ...]
    projects: tuple[Project, ...]
    hints: tuple[str, ...]


class Service:
    """Answers Label Studio.

    Parameters
    ----------
    settings : everything that can be set
    make_engine, make_answerer : the real ones when not given; both are called in the background thread

    Raises
    ------
    MissingDependencyError
        prometheus_client is not installed.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        make_engine: MakeEngine | None = None,
        make_answerer: MakeAnswerer | None = None,
    ) -> None:
        self.settings = settings
        self.redact = Redactor(settings)
        self.webhooks = WebhookQueue(settings.webhook_queue_size, settings.webhook_log)
        self.model: BackgroundModel[Answering] = BackgroundModel(self._find_version, self._load)
        self.monitor = Monitor(self._gauges)
        self._make_engine = make_engine or _real_engine
        self._make_answerer = make_answerer or _real_answerer
        self._engine: Engine | None = None
        self._device = settings.device
        self._at_work = 0
        self._refused = 0
        self._projects: OrderedDict[str, Project] = OrderedDict()
        self._lock = threading.Lock()

    # ------------------------------------------------------------------------------------------------- requests

    def start(self) -> None:
        """Load the model in the background, if nobody asked for it yet. Never waits."""
        self.model.start()

    def health(self) -> Answer:
        """Whether the server is up, which it is also while the model is not there. Never waits."""
        self.start()
        return {"status": "UP", "model_class": "Sam2Backend", "model": self.model.status.state.name.lower()}

    def setup(self, body: Mapping[str, Any]) -> Answer:
        """The version of the model, the same as in predictions.

        Raises
        ------
        RequestError
            The request is not as Label Studio sends it.
        ModelUnavailableError
            The version cannot be told, or not yet.
        """
        checked = check_setup(body)
        self._saw(checked["project"], str(checked.get("hostname") or ""))
        return {"model_version": self.model.version(SETUP_WAIT_S)}

    def versions(self) -> Answer:
        """The versions there are: one.

        Raises
        ------
        ModelUnavailableError
            It cannot be told, or not yet.
        """
        return {"versions": [self.model.version(SETUP_WAIT_S)]}

    def validate(self, body: Mapping[str, Any]) -> Answer:
        """Whether a label config can be used.

        Raises
        ------
        RequestError, LabelConfigError
            It cannot; the message says why.
        """
        parse_label_config(check_label_config(body, "config" if "config" in body else "label_config"))
        return {"status": "ok"}

    def predict(self, body: Mapping[str, Any]) -> Answer:
        """Predictions for the tasks of a request, in their order.

        Raises
        ------
        RequestError
            The request is not as Label Studio sends it.
        BusyError
            `Settings.queue_size` predictions are at work or wait already.
        ModelUnavailableError
            The model is not there.
        EngineError
            What was asked for cannot be done; the message says why.
        """
        request = check_predict(body, self.settings.max_tasks)
        self._saw(request["project"], "")
        with self._place():
            answerer = self.model.get(PREDICT_WAIT_S)
            version = self.model.version(0)
            predictions = answerer.predict(request)
        return {"results": [{**one, "model_version": version} for one in predictions], "model_version": version}

    def webhook(self, body: Mapping[str, Any]) -> Answer:
        """Take an event; nothing is done about it before the answer.

        Raises
        ------
        RequestError
            The request names no action.
        """
        was_taken = self.webhooks.put(read_event(body))
        return {"status": "queued" if was_taken else "dropped: too many events wait"}

    def close(self) -> None:
        """Finish what waits and write what is to be kept."""
        self.webhooks.close()
        end = getattr(self.model.loaded, "close", None)
        if callable(end):
            end()
        if self._engine is not None:
            self._engine.close()

    # --------------------------------------------------------------------------------------------------- status

    def status(self) -> Status:
        """What the status page shows. Never waits for the model."""
        with self._lock:
            projects = tuple(reversed(self._projects.values()))
        return Status(
            model=self.model.status,
            model_name=self.settings.model,
            device=self._device,
            uptime_s=time.time() - self.monitor.started_at,
            at_work=self._at_work,
            queue_size=self.settings.queue_size,
            refused=self._refused,
            webhooks=dict(self.webhooks.counts),
            webhooks_waiting=self.webhooks.waiting,
            webhooks_dropped=self.webhooks.dropped,
            is_training_wanted=self.webhooks.is_training_wanted,
            caches=self._caches(),
            latencies=tuple(self.monitor.latencies()),
            errors=tuple(self.monitor.last_errors),
            projects=projects,
            hints=tuple(_hints(self.settings, projects)),
        )

    def _gauges(self) -> Mapping[str, float]:
        state = self.model.status.state
        return {
            "up": 1,
            "model_ready": float(state is ModelState.READY),
            "model_failed": float(state is ModelState.FAILED),
            "predictions_at_work": self._at_work,
            "predictions_refused": self._refused,
            "webhooks_waiting": self.webhooks.waiting,
            "webhooks_dropped": self.webhooks.dropped,
            "projects": len(self._projects),
            **{f"cache_{name}": value for name, value in self._caches().items()},
        }

    def _caches(self) -> Mapping[str, float]:
        """Numbers of the answerer, where it tells any."""
        tell = getattr(self.model.loaded, "numbers", None)
        return dict(tell()) if callable(tell) else {}

    # ------------------------------------------------------------------------------------------------- privately

    def _find_version(self) -> str:
        from sam2_engine.weights import find_weights

        # Fetches weights that are named and not here; the version is made from their content.
        find_weights(self.settings.model)
        self._engine = self._make_engine(self.settings)
        return self._engine.version

    def _load(self) -> Answering:
        engine = self._engine
        assert engine is not None, "the version is found first"
        answerer = self._make_answerer(engine, self.settings, self._could_not)
        placement = getattr(engine.tracker, "placement", None)  # loads the model
        if placement is not None and str(placement.device) != self.settings.device:
            self._device = f"{self.settings.device}: {placement.device}"
        return answerer

    def _could_not(self, what: str, error: Exception) -> None:
        """Show on the status page what an answer with other tasks in it cannot tell."""
        detail = self.redact(f"{what}: {detail_of(error)}")
        self.monitor.failed(current_request_id(), "predict", kind_of(error), detail)

    @contextmanager
    def _place(self) -> Iterator[None]:
        """One of the places for predictions, or none."""
        with self._lock:
            if self._at_work >= self.settings.queue_size:
                self._refused += 1
                raise BusyError(f"{self._at_work} predictions are at work or wait already; try again in a moment")
            self._at_work += 1
        try:
            yield
        finally:
            with self._lock:
                self._at_work -= 1

    def _saw(self, name: str, host: str) -> None:
        with self._lock:
            before = self._projects.pop(name, None)
            self._projects[name] = Project(name[:64], host[:200] or (before.host if before else ""), time.time())
            while len(self._projects) > KEPT_PROJECTS:
                self._projects.popitem(last=False)


def _hints(settings: Settings, projects: tuple[Project, ...]) -> Iterator[str]:
    """What a person should change, and how."""
    media = settings.media
    hosts = sorted({project.host for project in projects if project.host})
    if media.label_studio_url is None:
        seen = f" It says that it is at {', '.join(hosts)}." if hosts else ""
        yield (
            "LABEL_STUDIO_URL is not set, so that no uploaded picture can be fetched from Label Studio."
            f"{seen} Set LABEL_STUDIO_URL and LABEL_STUDIO_API_KEY."
        )
    elif media.api_key is None:
        yield "LABEL_STUDIO_API_KEY is not set: Label Studio gives uploaded pictures to nobody without a token."
    if not settings.needs_auth and settings.host not in ("127.0.0.1", "::1", "localhost"):
        yield (
            f"The server listens on {settings.host} and asks nobody for a password: everybody who reaches it can use "
            "it. Set SAM2_TOKEN, or BASIC_AUTH_USER and BASIC_AUTH_PASS."
        )


def _real_engine(settings: Settings) -> Engine:
    from .store import Engine as StoreEngine

    return StoreEngine(settings)


def _real_answerer(engine: Any, settings: Settings, report: Report) -> Answering:
    from sam2_engine.torch_libraries import load_torch_libraries

    for name in load_torch_libraries():
        logger.debug("loading %s", name)
    from .answering import Answerer
    from .answering.upcoming import Upcoming
    from .media import MediaFetcher

    upcoming = Upcoming.from_settings(settings)
    return Answerer(engine, MediaFetcher(settings.media), settings, report=report, upcoming=upcoming)
