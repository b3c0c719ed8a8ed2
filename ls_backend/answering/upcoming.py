"""The tasks that an annotator will open next, as far as can be told: Label Studio is asked, with the token, for those
that follow and that nobody has annotated."""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Protocol

from sam2_engine.errors import EngineError

from ..regions import Json
from ..settings import Settings
from .asking import Ask

logger = logging.getLogger(__name__)

ASKING_S = 5.0
"""Label Studio has so long to say which tasks come next."""

RETRY_S = 60.0
"""After an answer that was none it is left alone for so long."""

KNOWN_S, MAX_KNOWN = 600.0, 1000
"""A task is not looked at ahead a second time for so long."""


class Api(Protocol):
    """What is asked of Label Studio; see `ls_backend.api.LabelStudioApi`."""

    def next_tasks(self, project: int, after: int, count: int) -> list[Json]: ...


class Upcoming:
    """Tells which tasks come next. Threads can share it.

    Parameters
    ----------
    api : Label Studio
    count : how many tasks; 0 tells none
    clock : tells seconds
    """

    def __init__(self, api: Api, count: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._api, self._count, self._clock = api, count, clock
        self._known: OrderedDict[tuple[str, str], float] = OrderedDict()
        self._quiet_until = 0.0
        self._lock = threading.Lock()

    @classmethod
    def from_settings(cls, settings: Settings) -> Upcoming | None:
        """The Label Studio that is set; None where there is no token to ask it with, or nothing to be asked."""
        from ..api import LabelStudioApi

        media = settings.media
        if settings.prewarm_tasks == 0 or media.label_studio_url is None or media.api_key is None:
            return None
        return cls(LabelStudioApi.from_settings(media, timeout_s=ASKING_S), settings.prewarm_tasks)

    def opened(self, ask: Ask) -> None:
        """Take note of a task that somebody has opened, which need not be looked at ahead any more."""
        self._is_new(ask)

    def after(self, ask: Ask) -> Iterator[Ask]:
        """The tasks behind one in the same project, without those that were named in the last minutes.

        Gives none where Label Studio cannot tell: nobody asked for it.
        """
        project, task = ask.task_key
        if self._count == 0 or not (project.isdecimal() and task.isdecimal()) or self._clock() < self._quiet_until:
            return
        try:
            found = self._api.next_tasks(int(project), int(task), self._count)
        except EngineError as error:
            self._quiet_until = self._clock() + RETRY_S
            logger.info("which tasks come after task %s is not known: %s", task, error)
            return
        for one in found[: self._count]:
            if isinstance(one.get("id"), int) and isinstance(one.get("data"), Mapping):
                upcoming = _asking_for(one, ask)
                if self._is_new(upcoming):
                    yield upcoming

    def _is_new(self, ask: Ask) -> bool:
        now = self._clock()
        with self._lock:
            last = self._known.pop(ask.task_key, None)
            is_new = last is None or now - last > KNOWN_S
            self._known[ask.task_key] = now if last is None or is_new else last
            while len(self._known) > MAX_KNOWN:
                self._known.popitem(last=False)
        return is_new


def _asking_for(task: Mapping[str, Any], ask: Ask) -> Ask:
    """What would be asked if another task of the project were opened."""
    return replace(ask, task=task, access=replace(ask.access, task_id=task["id"]))
