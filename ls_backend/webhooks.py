"""Events of Label Studio: answered at once, looked at later by one thread, never with their payload kept.

A payload holds the project's token and the password of its data, so that only numbers and names are taken out of it.
"""

from __future__ import annotations

import json
import logging
import queue
import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .incoming import RequestError

logger = logging.getLogger(__name__)

ACTIONS = (
    "ANNOTATION_CREATED",
    "ANNOTATION_UPDATED",
    "ANNOTATION_DELETED",
    "ANNOTATIONS_CREATED",
    "ANNOTATIONS_DELETED",
    "LABEL_LINK_CREATED",
    "LABEL_LINK_DELETED",
    "LABEL_LINK_UPDATED",
    "PROJECT_CREATED",
    "PROJECT_DELETED",
    "PROJECT_UPDATED",
    "START_TRAINING",
    "TASKS_CREATED",
    "TASKS_DELETED",
)
"""What Label Studio sends; anything else is counted as ``other``."""

NOTED = frozenset({"ANNOTATION_CREATED", "ANNOTATION_UPDATED", "ANNOTATION_DELETED"})
"""Changes of annotations, which are what a model can be tuned with."""

Number = int | str | None


@dataclass(frozen=True, slots=True)
class Event:
    """What is kept of one.

    Attributes
    ----------
    action : one of `ACTIONS`, or ``other``
    project, task, annotation : ids, None where the event has none
    at : seconds since 1970
    """

    action: str
    project: Number
    task: Number
    annotation: Number
    at: float


def read_event(body: Mapping[str, Any]) -> Event:
    """What is kept of a webhook's body.

    Raises
    ------
    RequestError
        No action.
    """
    action = body.get("action")
    if not isinstance(action, str):
        raise RequestError("a webhook's body names its action as text; send Label Studio's body unchanged")
    return Event(
        action if action in ACTIONS else "other",
        _id(body.get("project")),
        _id(body.get("task")),
        _id(body.get("annotation")),
        time.time(),
    )


class WebhookQueue:
    """Events that wait to be looked at.

    Parameters
    ----------
    size : how many may wait; further ones are counted and dropped
    note_in : file to which changes of annotations are added, one JSON object a line; None notes nothing
    """

    def __init__(self, size: int, note_in: Path | None = None) -> None:
        self.counts: Counter[str] = Counter()
        self.dropped = 0
        self.is_training_wanted = False
        self._note_in = note_in
        self._queue: queue.Queue[Event | None] = queue.Queue(size)
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    @property
    def waiting(self) -> int:
        """Events that wait."""
        return self._queue.qsize()

    def put(self, event: Event) -> bool:
        """Take an event; whether there was room for it. Returns at once."""
        try:
            self._queue.put_nowait(event)
        except queue.Full:
            with self._lock:
                self.dropped += 1
            return False
        self._start()
        return True

    def close(self, timeout_s: float = 5.0) -> None:
        """Look at what waits still, then end the thread."""
        thread = self._thread
        if thread is None:
            return
        self._queue.put(None, timeout=timeout_s)
        thread.join(timeout_s)
        self._thread = None

    def _start(self) -> None:
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._work, name="sam2-webhooks", daemon=True)
                self._thread.start()

    def _work(self) -> None:
        while (event := self._queue.get()) is not None:
            try:
                self._look_at(event)
            except OSError as error:
                logger.error("an event could not be noted in %s: %s", self._note_in, error)

    def _look_at(self, event: Event) -> None:
        with self._lock:
            self.counts[event.action] += 1
        if event.action == "START_TRAINING":
            self.is_training_wanted = True
            logger.warning(
                "Label Studio asks for training; this server does not train while it answers. Export the accepted "
                "annotations and run sam2 finetune, then start the server with the new weights"
            )
        if self._note_in is not None and event.action in NOTED:
            self._note_in.parent.mkdir(parents=True, exist_ok=True)
            with open(self._note_in, "a", encoding="utf-8") as file:
                file.write(json.dumps(asdict(event)) + "\n")


def _id(value: Any) -> Number:
    """An id, or the id of an object."""
    found = value.get("id") if isinstance(value, Mapping) else value
    if isinstance(found, bool) or not isinstance(found, (int, str)):
        return None
    return found[:64] if isinstance(found, str) else found
