"""The class for ``label-studio-ml start``, of label-studio-ml 1.0.9 (PyPI) and 2.x (GitHub).

::

    # model.py
    from ls_backend.backend import Sam2Backend

Both servers make a new instance of the class whenever they like, so that it holds nothing: everything is in one
`Service` for the process, which is made when it is first needed.

Importing this module does one thing more than importing, because label-studio-ml leaves no other moment to it: the
library's server hands its requests to ours (`TakeOver`) as soon as it serves `Sam2Backend` or a subclass. Its own doors
answer errors with tracebacks, ask nobody for a password, read the label config of whichever project was set up last,
start a process for every webhook (1.0.9), and say another model version than the predictions do.
"""

from __future__ import annotations

import inspect
import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar
from dataclasses import fields
from typing import Any

from sam2_engine.errors import EngineError, MissingDependencyError

from .app import create_app
from .incoming import check_predict
from .label_config import LabelConfigError
from .loading import ModelUnavailableError
from .service import PREDICT_WAIT_S, SETUP_WAIT_S, Service
from .settings import VARIABLES, Settings

try:
    import label_studio_ml.api as library
    from label_studio_ml.model import LabelStudioMLBase
except ImportError as error:
    raise MissingDependencyError(
        f"ls_backend.backend runs inside label-studio-ml, which cannot be imported ({error}): "
        "pip install 'sam2-tools[label-studio-ml]', or use 'sam2 serve label-studio', which does not need it"
    ) from error

logger = logging.getLogger(__name__)

Json = dict[str, Any]
StartResponse = Callable[..., Any]

_request: ContextVar[Json | None] = ContextVar("predict_request", default=None)


class Sam2Backend(LabelStudioMLBase):  # type: ignore[misc]
    """Masks for clicks and boxes.

    Parameters
    ----------
    project_id : of Label Studio
    label_config : of the project; that of each request counts more
    **kwargs : whatever else a version of label-studio-ml gives; passed on to it where it takes it
    """

    def __init__(self, project_id: str | None = None, label_config: str | None = None, **kwargs: Any) -> None:
        given = {"project_id": project_id, "label_config": label_config, **kwargs}
        super().__init__(**_taken(LabelStudioMLBase.__init__, given))

    def setup(self) -> None:
        """Called by 2.x for each instance: its version is that of the weights."""
        try:
            self.set("model_version", shared().service.model.version(SETUP_WAIT_S))
        except ModelUnavailableError as error:
            logger.warning("the version is not known yet: %s", error)

    def predict(self, tasks: list[Json], context: Json | None = None, **kwargs: Any) -> list[Json]:
        """One prediction for each task, in their order.

        Parameters
        ----------
        tasks : as Label Studio sends them
        context : the regions marked as prompts, None where there are none
        **kwargs : ``login`` and ``password`` of the tasks' data

        Raises
        ------
        EngineError
            What was asked for cannot be done; the message says why.
        """
        request = _request.get() or _request_of_library()
        body = {
            "tasks": tasks,
            "project": request.get("project") or getattr(self, "project_id", None),
            "label_config": request.get("label_config") or getattr(self, "label_config", None),
            "params": {**kwargs, "context": context},
        }
        results: list[Json] = shared().service.predict(body)["results"]
        return results

    def fit(self, *args: Any, event: str | None = None, data: Json | None = None, **kwargs: Any) -> Json:
        """Take note of an event; nothing is trained here.

        1.0.9 calls ``fit((), event=…, data=…)``, 2.x ``fit(event, data)``.
        """
        if args and isinstance(args[0], str):
            event, data = args[0], args[1] if len(args) > 1 else data
        if event is not None:
            shared().service.webhook({**(data or {}), "action": event})
        return {}


class TakeOver:
    """A WSGI application that stands in for that of label-studio-ml's server.

    Parameters
    ----------
    library : module ``label_studio_ml.api``
    theirs : its application; answers where another class than ours is served

    Attributes
    ----------
    service : made when it is first needed
    """

    def __init__(self, library: Any, theirs: Callable[..., Iterable[bytes]]) -> None:
        self._library = library
        self._theirs = theirs
        self._app: Any = None
        self._service: Service | None = None
        self._lock = threading.Lock()

    def __call__(self, environ: Mapping[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        served = self._served_class()
        if not (isinstance(served, type) and issubclass(served, Sam2Backend)):
            return self._theirs(environ, start_response)
        with self._lock:
            if self._app is None:
                service = self._make_service(str(environ.get("SERVER_NAME") or "127.0.0.1"))
                self._app = create_app(service=service, predict=self._predict)
        answer: Iterable[bytes] = self._app(environ, start_response)
        return answer

    @property
    def service(self) -> Service:
        """The one service of the process."""
        with self._lock:
            return self._make_service()

    def _make_service(self, host: str | None = None) -> Service:
        if self._service is None:
            self._service = Service(Settings.from_env(host=host, **self._overrides()))
        return self._service

    def _served_class(self) -> Any:
        """What ``init_app`` was given: kept by the manager in 1.0.9, by the module in 2.x."""
        manager = getattr(self._library, "_manager", None)
        return manager.model_class if manager is not None else getattr(self._library, "MODEL_CLASS", None)

    def _class_arguments(self) -> Json:
        """``label-studio-ml start --with key=value`` of 1.0.9."""
        manager = getattr(self._library, "_manager", None)
        return dict(getattr(manager, "init_kwargs", None) or {})

    def _overrides(self) -> Json:
        """Settings among the arguments of the library's command line."""
        known = {one.name for one in fields(Settings)} | set(VARIABLES)
        found = {name: value for name, value in self._class_arguments().items() if name in known}
        login = getattr(self._library, "BASIC_AUTH", None)
        if login:
            found["user"], found["password"] = login
        return found

    def _predict(self, body: Json) -> Json:
        """``/predict`` through an instance of the class that is served, which may be a subclass of ours."""
        checked = check_predict(body, self.service.settings.max_tasks)
        instance = self._instance(checked)
        token = _request.set(checked)
        try:
            params = checked["params"]
            found = instance.predict(
                checked["tasks"],
                context=params.get("context"),
                login=params.get("login"),
                password=params.get("password"),
            )
        finally:
            _request.reset(token)
        return {"results": _results(found), "model_version": self.service.model.version(PREDICT_WAIT_S)}

    def _instance(self, body: Json) -> Sam2Backend:
        arguments = self._class_arguments()
        project = body["project"].split(".")[0]
        try:
            instance: Sam2Backend = self._served_class()(
                project_id=project, label_config=body["label_config"], **arguments
            )
        except EngineError:
            raise
        except Exception as error:
            # The library reads the label config on its own, with any error it likes.
            raise LabelConfigError(
                f"label-studio-ml cannot read the project's label config ({type(error).__name__}); check it under "
                "Settings > Labeling Interface"
            ) from error
        return instance


def shared() -> TakeOver:
    """What stands in for the library's server; holds the one service of the process."""
    current = library._server.wsgi_app
    if not isinstance(current, TakeOver):
        current = library._server.wsgi_app = TakeOver(library, current)
    return current


def _taken(function: Callable[..., Any], given: Json) -> Json:
    """Those keyword arguments that a function takes."""
    parameters = inspect.signature(function).parameters.values()
    if any(one.kind is one.VAR_KEYWORD for one in parameters):
        return given
    names = {one.name for one in parameters}
    return {name: value for name, value in given.items() if name in names}


def _request_of_library() -> Json:
    """The body of the request that the library's own door answers; empty outside of one."""
    from flask import has_request_context, request

    body = request.get_json(silent=True) if has_request_context() else None
    return body if isinstance(body, dict) else {}


def _results(found: Any) -> list[Json]:
    """Predictions as a list, whichever way a subclass gives them: a list, an object, or 2.x's own response."""
    if hasattr(found, "model_dump"):
        found = found.model_dump()
    if isinstance(found, dict):
        found = found.get("predictions")
    return list(found or [])


shared()
