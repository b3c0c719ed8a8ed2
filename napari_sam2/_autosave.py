"""A copy of a person's work on disk that is never far behind, and what is left of it after a crash.

Each piece of work has a folder of its own, which its process holds by a lock; the system lets go of the lock when the
process ends, however it ends. Only what changed is written anew, under new names; the document that names all parts is
replaced last, in one step, so that a copy is whole at any time.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from filelock import FileLock, Timeout

from sam2_engine.atomic import atomic_path, export_errors
from sam2_engine.errors import SessionFileError

from ._encoding import PatchPool, planes_bytes, pool_bytes
from ._project import DOCUMENT, Project, document, read_project
from ._store import Planes

logger = logging.getLogger(__name__)

LOCK = "lock"


@dataclass(frozen=True, slots=True)
class Recoverable:
    """A copy whose process is gone.

    Attributes
    ----------
    path : what `Controller.open` takes
    picture : name of the picture
    picture_path : file of the picture, where there was one
    shape : of the picture
    saved_at : seconds since 1970
    num_objects : objects in it
    """

    path: Path
    picture: str
    picture_path: str | None
    shape: tuple[int, ...]
    saved_at: float
    num_objects: int

    def discard(self) -> None:
        """Remove the copy."""
        shutil.rmtree(self.path, ignore_errors=True)


class Autosave:
    """The copy of one piece of work.

    Parameters
    ----------
    root : folder of all copies; it is made where there is none

    Raises
    ------
    ExportError
        Nothing can be written there.
    """

    def __init__(self, root: Path) -> None:
        self.path = root / f"{time.strftime('%Y%m%d-%H%M%S')}-{uuid4().hex[:8]}"
        with export_errors(root):
            (self.path / "masks").mkdir(parents=True)
        self._hold = _lock(self.path / LOCK)
        self._hold.acquire(timeout=0)
        self._masks: dict[int, tuple[Planes, str]] = {}
        self._marks: tuple[tuple[int, ...], str] | None = None
        self._count = 0
        self._lock = threading.Lock()

    def write(self, project: Project) -> None:
        """Bring the copy up to date.

        Raises
        ------
        ExportError
            It cannot be written; the copy is as it was.
        """
        with self._lock:
            store = project.state.masks
            masks = {obj: self._member(obj, store.of(obj)) for obj in store.objects}
            pool = PatchPool()
            content = document(project, {obj: member for obj, (_, member) in masks.items()}, pool)
            marks = self._write("marks", pool_bytes(pool.patches))
            content = content.replace(b'{\n "format"', b'{\n "marks": "' + marks.encode() + b'",\n "format"', 1)
            with atomic_path(self.path / DOCUMENT) as unfinished:
                unfinished.write_bytes(content)
            self._masks = masks
            self._sweep({marks, *(member for _, member in masks.values())})

    def release(self, *, discard: bool) -> None:
        """Let go of the copy, or remove it."""
        self._hold.release()
        if discard:
            shutil.rmtree(self.path, ignore_errors=True)

    def _member(self, obj: int, planes: Planes) -> tuple[Planes, str]:
        kept = self._masks.get(obj)
        if kept is not None and kept[0] is planes:
            return kept
        return planes, self._write(f"masks/{obj}", planes_bytes(planes))

    def _write(self, name: str, content: bytes) -> str:
        self._count += 1
        member = f"{name}-{self._count}.bin"
        with atomic_path(self.path / member) as unfinished:
            unfinished.write_bytes(content)
        return member

    def _sweep(self, named: set[str]) -> None:
        """Remove parts that the document no longer names."""
        for path in (*self.path.glob("*.bin"), *self.path.glob("masks/*.bin")):
            if path.relative_to(self.path).as_posix() not in named:
                path.unlink(missing_ok=True)


def recoverable(root: str | os.PathLike[str]) -> tuple[Recoverable, ...]:
    """Copies in a folder that no running process holds, the newest first. Damaged ones are passed over, and logged."""
    found = []
    for path in sorted(Path(root).iterdir()) if Path(root).is_dir() else ():
        if not (path / DOCUMENT).exists() or is_held(path):
            continue
        try:
            found.append(_recoverable(path, read_project(path)))
        except SessionFileError as error:
            logger.warning("an autosaved copy cannot be offered: %s", error)
    return tuple(sorted(found, key=lambda one: -one.saved_at))


def _recoverable(path: Path, project: Project) -> Recoverable:
    facts: Any = project.picture
    return Recoverable(
        path, facts["name"], facts["path"], tuple(facts["shape"]), project.saved_at, len(project.state.things)
    )


def is_held(path: Path) -> bool:
    """Whether a running process holds a copy."""
    hold = _lock(path / LOCK)
    try:
        hold.acquire(timeout=0)
    except Timeout:
        return True
    hold.release()
    return False


def hold_file(path: Path) -> FileLock:
    """Keep other windows from working on a project file or an autosaved copy.

    Raises
    ------
    SessionFileError
        Another window has it open.
    """
    hold = _lock(path / LOCK if path.is_dir() else _path_of_lock(path))
    try:
        hold.acquire(timeout=0)
    except Timeout:
        raise SessionFileError(
            f"{path} is open in another window; close it there, or save it there under another name"
        ) from None
    return hold


def _lock(path: Path) -> FileLock:
    # Taken by the thread that writes, let go by the window's: by default a lock heeds only the thread that took it.
    return FileLock(path, thread_local=False)


def _path_of_lock(path: Path) -> Path:
    """A lock of a file, apart from it, so that nothing is left lying beside the person's files."""
    import platformdirs

    name = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:24]
    folder = Path(platformdirs.user_state_dir("sam2-tools", appauthor=False)) / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{name}.lock"
