"""The model comes in the background: who asks whether the server is up must never wait for it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Generic, TypeVar

from sam2_engine.errors import EngineError

from .logs import request_scope

logger = logging.getLogger(__name__)

RETRY_S = 10.0
"""A model that could not be loaded is tried again after so long, when somebody needs it: its file may have come."""

T = TypeVar("T")


class ModelUnavailableError(EngineError, RuntimeError):
    """The model is not there: not yet, or not at all; the message says which."""


class ModelState(Enum):
    """How far it is."""

    IDLE = "not asked for yet"
    LOADING = "loading"
    READY = "ready"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """What can be told about the model.

    Attributes
    ----------
    state : how far it is
    version : once it is known, which is before the model is loaded
    error : why it could not be loaded
    seconds : that loading took, None before
    """

    state: ModelState
    version: str | None = None
    error: str | None = None
    seconds: float | None = None


class BackgroundModel(Generic[T]):
    """Finds out the version of the model, then loads it, in a thread of its own.

    Parameters
    ----------
    find_version : quick, and without anything heavy; may fetch weights
    load : everything that predictions need
    clock : seconds, for tests
    """

    def __init__(
        self, find_version: Callable[[], str], load: Callable[[], T], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._find_version = find_version
        self._load = load
        self._clock = clock
        self._changed = threading.Condition()
        self._status = ModelStatus(ModelState.IDLE)
        self._loaded: T | None = None
        self._failed_at = 0.0

    @property
    def status(self) -> ModelStatus:
        """How it stands. Never waits."""
        return self._status

    @property
    def loaded(self) -> T | None:
        """What was loaded, None before."""
        return self._loaded

    def start(self) -> None:
        """Begin, if nobody has, or again some time after it failed. Never waits."""
        with self._changed:
            state = self._status.state
            if state is ModelState.FAILED and self._clock() - self._failed_at >= RETRY_S:
                state = ModelState.IDLE
            if state is not ModelState.IDLE:
                return
            self._status = ModelStatus(ModelState.LOADING, self._status.version)
        threading.Thread(target=self._work, name="sam2-model", daemon=True).start()

    def version(self, timeout_s: float) -> str:
        """Name of the model and digest of its weights; waits for it if it must.

        Raises
        ------
        ModelUnavailableError
            It is not known in time, or the weights cannot be had.
        """
        self.start()
        with self._changed:
            self._changed.wait_for(lambda: self._status.version or self._is_settled(), timeout_s)
            if self._status.version is None or self._status.state is ModelState.FAILED:
                raise ModelUnavailableError(self._reason())
            return self._status.version

    def get(self, timeout_s: float) -> T:
        """What was loaded; waits for it if it must.

        Raises
        ------
        ModelUnavailableError
            It is not there in time, or cannot be loaded.
        """
        self.start()
        with self._changed:
            self._changed.wait_for(self._is_settled, timeout_s)
            if self._loaded is None:
                raise ModelUnavailableError(self._reason())
            return self._loaded

    def _is_settled(self) -> bool:
        return self._status.state in (ModelState.READY, ModelState.FAILED)

    def _reason(self) -> str:
        if self._status.state is ModelState.FAILED:
            return f"the model cannot be loaded: {self._status.error}"
        return "the model is being loaded; try again in a moment"

    def _work(self) -> None:
        with request_scope("model"):
            started = self._clock()
            try:
                version = self._find_version()
                self._set(ModelStatus(ModelState.LOADING, version))
                loaded = self._load()
            except EngineError as error:
                logger.error("the model cannot be loaded: %s", error)
                self._fail(str(error))
            except Exception as error:  # a thread has nobody to raise to; the status page and every answer tell it
                logger.exception("the model cannot be loaded")
                self._fail(f"{type(error).__name__}; the log has more")
            else:
                self._loaded = loaded
                self._set(ModelStatus(ModelState.READY, version, None, self._clock() - started))
                logger.info("model %s is ready after %.1f s", version, self._clock() - started)

    def _fail(self, reason: str) -> None:
        self._failed_at = self._clock()
        self._set(ModelStatus(ModelState.FAILED, None, reason))

    def _set(self, status: ModelStatus) -> None:
        with self._changed:
            self._status = status
            self._changed.notify_all()
