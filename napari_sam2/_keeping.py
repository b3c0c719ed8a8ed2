"""A person's work in files: saved, copied while it goes on, and held against other windows."""

from __future__ import annotations

import shutil
import threading
import time
from pathlib import Path

from filelock import FileLock

from ._autosave import Autosave, hold_file
from ._desk import Desk
from ._project import Project, picture_facts, write_project
from ._state import State


class Keeper:
    """Writes a work into files."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._file: Path | None = None
        self._hold: FileLock | None = None
        self._recovered: Path | None = None
        self._autosave: Autosave | None = None
        self._autosaved: State | None = desk.state
        self._autosave_lock = threading.Lock()

    def save(self, path: str | Path) -> None:
        """Write a project file, whole or not at all; from now on other windows cannot open it.

        Raises
        ------
        SessionFileError
            The file is open in another window.
        ExportError
            It cannot be written.
        """
        path, state = Path(path), self._desk.state
        held = None if self._file == path.resolve() else hold_file(path)
        try:
            write_project(self._project(state), path)
        except BaseException:
            if held is not None:
                held.release()
            raise
        if held is not None:
            self._let_go()
            self._file, self._hold = path.resolve(), held
        self._desk.mark_saved(state)

    def take_up(self, project: Project, path: Path, held: FileLock) -> None:
        """Go on from a file that was read, which nobody else may open meanwhile."""
        self._desk.take_over(project.state, project.position, is_saved=path.is_file())
        self._hold = held
        if path.is_dir():
            self._recovered = path
        else:
            self._file = path.resolve()

    def autosave(self, folder: str | Path) -> bool:
        """Bring a copy in `folder` up to date; False where it was so already. Any thread may do it.

        Raises
        ------
        ExportError
            It cannot be written.
        """
        with self._autosave_lock:
            state = self._desk.state
            if state is self._autosaved:
                return False
            if self._autosave is None:
                self._autosave = Autosave(Path(folder))
            self._autosave.write(self._project(state))
            self._autosaved = state
            if self._recovered is not None:  # the new copy holds all that the old one did
                self._let_go()
                shutil.rmtree(self._recovered, ignore_errors=True)
                self._recovered = None
            return True

    def close(self, *, discard_autosave: bool = True) -> None:
        """Let go of files and locks; the copy of `autosave` is removed unless told otherwise."""
        with self._autosave_lock:
            if self._autosave is not None:
                self._autosave.release(discard=discard_autosave)
            self._autosave = None
            self._let_go()
            if self._recovered is not None and discard_autosave:
                shutil.rmtree(self._recovered, ignore_errors=True)
                self._recovered = None

    def _project(self, state: State) -> Project:
        desk = self._desk
        facts = picture_facts(desk.picture)
        weights = desk.walkers.fingerprint()
        return Project(state, facts, desk.settings, desk.model_name, weights, desk.position, time.time())

    def _let_go(self) -> None:
        if self._hold is not None:
            self._hold.release()
        self._hold = None
