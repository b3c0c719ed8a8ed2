"""Predictions for a whole project, stored through the API: no limit of 100 seconds, and safe to interrupt.

What is stored is the only state. A task that has a prediction of this model's version is done, so a run that was
killed goes on where it was, and one that is done does nothing.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from sam2_engine.errors import EngineError

from .api import ApiError
from .media_errors import MediaTimeoutError, MediaUnavailableError
from .regions import Json

logger = logging.getLogger(__name__)

Outcome = Literal["predicted", "empty", "skipped", "failed"]

_STORING_TRIES = 5
_FIRST_WAIT_S = 1.0
_PASSING = frozenset({429, 502, 503, 504})


class Api(Protocol):
    """What is asked of Label Studio; see `ls_backend.api.LabelStudioApi`."""

    def project(self, project: int) -> Json: ...

    def tasks(self, project: int) -> Iterator[Json]: ...

    def task(self, task: int) -> Json: ...

    def create_prediction(self, task: int, prediction: Json) -> Json: ...

    def delete_prediction(self, prediction: int) -> None: ...


class Predictor(Protocol):
    """Makes predictions; see `ls_backend.answering.Answerer`."""

    def predict(self, request: Json, *, is_batch: bool | None = None) -> list[dict[str, Any]]: ...


class Failures:
    """What the predictor reports of a task that it could not answer, until it is taken."""

    def __init__(self) -> None:
        self._messages: list[str] = []

    def __call__(self, task: str, error: Exception) -> None:
        self._messages.append(str(error) if isinstance(error, EngineError) else f"{type(error).__name__}: {error}")

    def take(self) -> str | None:
        """What was reported since the last time; None for nothing."""
        messages, self._messages = self._messages, []
        return "; ".join(messages) if messages else None


@dataclass(frozen=True, slots=True)
class Choice:
    """Which tasks.

    Attributes
    ----------
    only : these; None for all
    limit : at most so many that are not done yet
    again : also those that are done; their older predictions of this version are replaced
    skip_annotated : not those that somebody has annotated
    """

    only: frozenset[int] | None = None
    limit: int | None = None
    again: bool = False
    skip_annotated: bool = False


@dataclass(frozen=True, slots=True)
class TaskDone:
    """What became of a task.

    Attributes
    ----------
    task : its number
    outcome : ``empty`` means stored, with nothing found; ``failed`` that nothing was stored
    message : why it was skipped or failed
    regions : how many were stored
    seconds : that it took
    """

    task: int
    outcome: Outcome
    message: str = ""
    regions: int = 0
    seconds: float = 0.0


@dataclass(slots=True)
class ProjectPredictor:
    """Predicts the tasks of a project, one after the other, in their order.

    Attributes
    ----------
    api, predictor : see there
    version : of the model
    failures : which `predictor` reports to
    sleep : waits between tries
    """

    api: Api
    predictor: Predictor
    version: str
    failures: Failures
    sleep: Callable[[float], object] = time.sleep
    _config: Json = field(default_factory=dict, init=False, repr=False)

    def run(self, project: int, choice: Choice | None = None) -> Generator[TaskDone, None, None]:
        """What becomes of each task; closing the iterator stops after the task at hand.

        Raises
        ------
        MediaError
            Label Studio does not answer, or refuses: nothing could be stored for any task.
        """
        choice = choice or Choice()
        self._config = self.api.project(project)
        made = 0
        missing = set(choice.only or ())
        for task in self.api.tasks(project):
            number = int(task.get("id", 0))
            missing.discard(number)
            if choice.only is not None and number not in choice.only:
                continue
            reason = self._skipped(task, choice)
            if reason is not None:
                yield TaskDone(number, "skipped", reason)
                continue
            if choice.limit is not None and made >= choice.limit:
                return
            made += 1
            yield self._predict(project, number, task)
        for number in sorted(missing):
            yield TaskDone(number, "failed", f"project {project} has no such task; check the number")

    def _skipped(self, task: Json, choice: Choice) -> str | None:
        if choice.skip_annotated and any(not one.get("was_cancelled") for one in _objects(task.get("annotations"))):
            return "annotated already"
        if not choice.again and _of_version(task, self.version):
            return "predicted already"
        return None

    def _predict(self, project: int, number: int, task: Json) -> TaskDone:
        started = time.monotonic()
        try:
            found = self.predictor.predict(self._request(project, task), is_batch=True)
        except EngineError as error:
            return TaskDone(number, "failed", str(error), seconds=time.monotonic() - started)
        message = self.failures.take()
        if message is None and len(found) != 1:
            message = f"the model gave {len(found)} predictions for one task"
        if message is not None:
            return TaskDone(number, "failed", message, seconds=time.monotonic() - started)
        prediction = {**found[0], "model_version": self.version}
        try:
            self._store(number, task, prediction)
        except ApiError as error:
            if error.status in _PASSING or error.status in (401, 403):
                raise
            return TaskDone(number, "failed", str(error), seconds=time.monotonic() - started)
        for old in _of_version(task, self.version):
            self.api.delete_prediction(int(old["id"]))
        regions = len(prediction.get("result") or ())
        return TaskDone(number, "predicted" if regions else "empty", "", regions, time.monotonic() - started)

    def _request(self, project: int, task: Json) -> dict[str, Any]:
        """As Label Studio asks when predictions are retrieved."""
        config = self._config
        login = {"login": config.get("task_data_login"), "password": config.get("task_data_password")}
        return {
            "tasks": [task],
            "project": str(project),
            "label_config": config.get("label_config"),
            "params": {**login, "context": None},
        }

    def _store(self, number: int, task: Json, prediction: Json) -> None:
        """Store once, although it may take several tries: an answer that was lost is looked for before the next."""
        before = {int(one["id"]) for one in _of_version(task, self.version)}
        wait = _FIRST_WAIT_S
        for tried in range(1, _STORING_TRIES + 1):
            try:
                self.api.create_prediction(number, prediction)
                return
            except (MediaUnavailableError, MediaTimeoutError, ApiError) as error:
                is_passing = not isinstance(error, ApiError) or error.status in _PASSING
                if not is_passing or tried == _STORING_TRIES:
                    raise
                logger.warning("task %s: %s (try %d of %d)", number, error, tried, _STORING_TRIES)
            self.sleep(wait)
            wait *= 2
            now = {int(one["id"]) for one in _of_version(self.api.task(number), self.version)}
            if now - before:
                return


def _of_version(task: Json, version: str) -> list[Json]:
    """The predictions of a task that this model made."""
    return [one for one in _objects(task.get("predictions")) if one.get("model_version") == version and "id" in one]


def _objects(given: Any) -> list[Json]:
    listed: Sequence[Any] = given if isinstance(given, list) else ()
    return [one for one in listed if isinstance(one, Mapping)]


def tally(outcomes: Iterable[TaskDone]) -> dict[Outcome, int]:
    """How many tasks came to each outcome."""
    counts: dict[Outcome, int] = {"predicted": 0, "empty": 0, "skipped": 0, "failed": 0}
    for one in outcomes:
        counts[one.outcome] += 1
    return counts
