"""Files that appear whole or not at all.

Everything is written to a hidden sibling first, flushed to the disk, and then moved over the target in one step. Who
reads the target sees the old content or the new one, never a part; an error on the way leaves the old one.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

from .errors import ExportError

_ADVICE = {
    errno.ENOSPC: "the disk is full: free some space or choose another folder",
    errno.EDQUOT: "the disk quota is used up: free some space or choose another folder",
    errno.EFBIG: "the file would be larger than allowed here: choose another folder or write less",
    errno.EACCES: "writing is not permitted there: choose another folder or change its permissions",
    errno.EPERM: "writing is not permitted there: choose another folder or change its permissions",
    errno.EROFS: "the disk is read-only: choose another folder",
    errno.ENOENT: "the folder does not exist: create it first",
    errno.ENOTDIR: "a part of the path is a file: choose another folder",
    errno.EISDIR: "this is a folder: add a file name",
    errno.ENAMETOOLONG: "the file name is too long: choose a shorter one",
}


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary path to write to; it becomes `path` when the block ends without an error.

    The temporary file lies in the same folder and has the same suffix. A symbolic link is written through, and the
    permissions of a file that is replaced are kept.

    Parameters
    ----------
    path : where the file shall be; its folder must exist.

    Raises
    ------
    ExportError
        The system refused, e.g. the disk is full. The message names the path and what to do. The temporary file is
        gone, and what stood at `path` is untouched, as after any other exception in the block.
    """
    with export_errors(path):
        target = Path(os.path.realpath(path))
        if target.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        temporary = target.with_name(f".{uuid4().hex}.part{target.suffix}")
        try:
            # The permissions of new files here; some writers, safetensors among them, make theirs private.
            temporary.touch()
            mode = stat.S_IMODE(temporary.stat().st_mode)
            yield temporary
            _flush_to_disk(temporary)
            temporary.chmod(stat.S_IMODE(target.stat().st_mode) if target.exists() else mode)
            os.replace(temporary, target)
        finally:
            with contextlib.suppress(FileNotFoundError):
                temporary.unlink()
        _flush_folder(target.parent)


@contextlib.contextmanager
def atomic_folder(path: str | os.PathLike[str], is_ours: Callable[[Path], bool]) -> Iterator[Path]:
    """A temporary folder to fill; it becomes `path` when the block ends without an error.

    An earlier result is replaced as a whole, so that no file of it is left among the new ones.

    Parameters
    ----------
    path : where the folder shall be; the folder it lies in must exist
    is_ours : whether an entry of an earlier folder at `path` may be deleted

    Raises
    ------
    ExportError
        The system refused, or `path` is a file, or a folder with entries that are not ours; it is untouched then.
    """
    with export_errors(path):
        target = Path(os.path.realpath(path))
        _check_replaceable(target, is_ours)
        temporary = target.with_name(f".{uuid4().hex}.part")
        try:
            temporary.mkdir()
            yield temporary
            for file in temporary.rglob("*"):
                if file.is_file():
                    _flush_to_disk(file)
            _swap(temporary, target)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        _flush_folder(target.parent)


def _check_replaceable(target: Path, is_ours: Callable[[Path], bool]) -> None:
    if not target.exists():
        return
    if not target.is_dir():
        raise ExportError(f"{target} is a file; choose another name for the folder")
    foreign = next((entry.name for entry in sorted(target.iterdir()) if not is_ours(entry)), None)
    if foreign is not None:
        raise ExportError(f"{target} holds other things, such as {foreign!r}; choose a new name or an empty folder")


def _swap(temporary: Path, target: Path) -> None:
    """Put a folder in the place of another; folders cannot be replaced in one step, so the old one steps aside."""
    if not target.exists():
        os.replace(temporary, target)
        return
    old = target.with_name(f".{uuid4().hex}.old")
    os.replace(target, old)
    try:
        os.replace(temporary, target)
    except OSError:
        os.replace(old, target)
        raise
    shutil.rmtree(old, ignore_errors=True)


@contextlib.contextmanager
def export_errors(path: str | os.PathLike[str]) -> Iterator[None]:
    """Turn an `OSError` of the block into an `ExportError` that names `path` and what to do."""
    try:
        yield
    except ExportError:
        raise
    except OSError as error:
        reason = error.strerror or str(error) or type(error).__name__
        advice = _ADVICE.get(error.errno or 0, "check the path and the disk, and try again")
        raise ExportError(f"cannot write {os.fspath(path)!r}: {reason}; {advice}. Nothing there was changed") from error


def write_json(path: str | os.PathLike[str], value: Any, *, indent: int | None = None) -> None:
    """Write `value` as JSON in UTF-8, whole or not at all.

    Raises
    ------
    ExportError
        See `atomic_path`.
    TypeError, ValueError
        `value` holds something that JSON cannot express, NaN and infinity included; nothing is written.
    """
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, indent=indent)
    with atomic_path(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def _flush_to_disk(path: Path) -> None:
    # Opened for writing, because Windows flushes only such handles.
    with open(path, "r+b") as file:
        os.fsync(file.fileno())


def _flush_folder(folder: Path) -> None:
    """Make the new name itself durable, where the system can open folders."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
