"""What the commands say, and how they are interrupted."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells give it."""


class Console:
    """Results go to standard output, everything about the way there to standard error.

    Parameters
    ----------
    quiet : say nothing but errors, and what was asked for by name
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self.quiet = quiet

    @property
    def shows_bars(self) -> bool:
        """Whether progress bars make sense: a person is watching standard error."""
        return not self.quiet and sys.stderr.isatty()

    def say(self, text: str = "") -> None:
        """One line of results."""
        if not self.quiet:
            print(text, flush=True)

    def warn(self, text: str) -> None:
        """One line about something that went otherwise than asked; shown also when quiet."""
        print(f"sam2: {text}", file=sys.stderr, flush=True)

    @contextmanager
    def bar(self, total: int, what: str, unit: str, *, done: int = 0) -> Iterator[Any]:
        """A progress bar with ``update(n)``, drawn only where a person is watching.

        `done` of `total` was done earlier and says nothing about the speed.
        """
        from tqdm import tqdm

        with tqdm(
            total=total,
            initial=done,
            desc=what,
            unit=unit,
            disable=not self.shows_bars,
            leave=False,
            dynamic_ncols=True,
            file=sys.stderr,
        ) as bar:
            yield bar


class StopRequest:
    """Whether Ctrl-C was pressed."""

    def __init__(self) -> None:
        self.is_made = False


@contextmanager
def stoppable(after: str) -> Iterator[StopRequest]:
    """In the block the first Ctrl-C only asks to stop, so that nothing is cut in the middle; the second stops at once.

    Parameters
    ----------
    after : what is finished before stopping, for the message
    """
    request, owner = StopRequest(), os.getpid()

    def handle(number: int, frame: FrameType | None) -> None:
        if os.getpid() != owner:
            return  # a worker process; the one that started it tells it when to end
        if request.is_made:
            raise KeyboardInterrupt
        request.is_made = True
        # print() may be in the middle of another print() here.
        os.write(2, f"\nsam2: stopping after {after}; press Ctrl-C again to stop at once\n".encode())

    if threading.current_thread() is not threading.main_thread():
        yield request  # only the main thread may set handlers
        return
    before = signal.signal(signal.SIGINT, handle)
    try:
        yield request
    finally:
        signal.signal(signal.SIGINT, before)


def count(number: int, noun: str) -> str:
    """``1 frame``, ``2 frames``, ``1,234 frames``."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def duration(seconds: float) -> str:
    """``40 s``, ``12 min``, ``3 h 05 min``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def megabytes(size_bytes: int) -> str:
    """``11.9 MB``."""
    return f"{size_bytes / 1e6:.1f} MB"
