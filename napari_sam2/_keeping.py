"""A person's work in files: saved, opened, copied while it goes on, and held against other windows."""

from __future__ import annotations

import shutil
import threading
import time
from pathlib import Path
from typing import Self

from filelock import FileLock

from sam2_engine.errors import SessionFileError
from sam2_engine.session_file import fingerprint
from sam2_engine.tracking import Tracker

from ._autosave import Autosave, hold_file
from ._desk import MakeTracker
from ._editor import Editor
from ._objects import ControllerSettings
from ._picture import Picture
from ._project import Project, check_picture, picture_facts, read_project, write_project
from ._state import State


class Keeper(Editor):
    """The half of `Controller` that reads and writes files."""

    def __init__(
        self,
        picture: Picture,
        tracker: Tracker | MakeTracker,
        *,
        settings: ControllerSettings | None = None,
        model_name: str = "default",
    ) -> None:
        super().__init__(picture, tracker, settings=settings, model_name=model_name)
        self._file: Path | None = None
        self._hold: FileLock | None = None
        self._recovered: Path | None = None
        self._autosave: Autosave | None = None
        self._autosaved: State | None = self._state
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
        path, state = Path(path), self._state
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
        self._saved = state
        self.status_changed.emit(self.status)

    @classmethod
    def open(
        cls,
        path: str | Path,
        picture: Picture,
        tracker: Tracker | MakeTracker,
        *,
        settings: ControllerSettings | None = None,
        model_name: str | None = None,
    ) -> Self:
        """Open a project file, or what `autosave` left, on the picture it was made on.

        Parameters
        ----------
        settings, model_name : those of the project when not given

        Raises
        ------
        SessionFileError
            Damaged, newer, of another picture, or open in another window.
        """
        path = Path(path)
        if not path.exists():
            raise SessionFileError(f"there is no project {path}; check the path")
        held = hold_file(path)
        try:
            project = read_project(path)
            check_picture(project, picture, path)
            chosen = settings or project.settings
            opened = cls(picture, tracker, settings=chosen, model_name=model_name or project.model_name)
        except BaseException:
            held.release()
            raise
        opened._take_up(project, path, held)
        return opened

    def _take_up(self, project: Project, path: Path, held: FileLock) -> None:
        state = self._with_choices(project.state)
        self._state, self._position, self._hold = state, project.position, held
        if path.is_dir():
            self._recovered = path
        else:
            self._file, self._saved = path.resolve(), state

    def autosave(self, folder: str | Path) -> bool:
        """Bring a copy in `folder` up to date; False where it was so already. Any thread may do it.

        Raises
        ------
        ExportError
            It cannot be written.
        """
        with self._autosave_lock:
            state = self._state
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
        weights = fingerprint(self._tracker.model.state_dict()) if isinstance(self._tracker, Tracker) else None
        facts = picture_facts(self.picture)
        return Project(state, facts, self.settings, self._model_name, weights, self._position, time.time())

    def _let_go(self) -> None:
        if self._hold is not None:
            self._hold.release()
        self._hold = None
