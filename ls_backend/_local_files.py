"""Files of this machine that tasks name, below one folder and nowhere else."""

from __future__ import annotations

import os
import stat
from pathlib import Path, PurePosixPath

from ._media_store import Media, MediaWriter
from .media_errors import MediaRefusedError, MediaTooLargeError, MediaUnavailableError
from .settings import MediaSettings

_PIECE_BYTES = 1 << 20


def read_local_file(root: Path, relative: str, settings: MediaSettings, *, needs_it: bool) -> Media | None:
    """The content of a file below a folder, after following every link.

    Parameters
    ----------
    root : the folder
    relative : path below it, as ``?d=`` gives it
    settings : limits
    needs_it : whether a missing file is an error; otherwise None is returned for one

    Raises
    ------
    MediaRefusedError
        The path leads out of the folder, to something that is no file, or the folder is the root of the disk.
    MediaTooLargeError, MediaUnavailableError
        See there.
    """
    handle = _opened(_inside(root, relative), relative, needs_it=needs_it)
    if handle is None:
        return None
    with os.fdopen(handle, "rb") as file, MediaWriter(settings.ram_bytes) as writer:
        _check_size(os.fstat(handle).st_size, relative, settings.max_bytes)
        while piece := file.read(_PIECE_BYTES):
            writer.write(piece)
            _check_size(writer.size, relative, settings.max_bytes)
        if writer.size == 0:
            raise MediaUnavailableError(f"{relative!r:.200} is empty; copy it again")
        return writer.finish("", PurePosixPath(relative.replace("\\", "/")).name)


def _opened(path: Path, relative: str, *, needs_it: bool) -> int | None:
    """A handle of a file, not of anything else; None where it is missing and not needed."""
    try:
        # Not to wait for a pipe that nobody writes to; not to follow a link put there since it was looked at.
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0))
    except (FileNotFoundError, NotADirectoryError):
        if not needs_it:
            return None
        raise MediaUnavailableError(
            f"there is no file {relative!r:.200} in the folder of local files; check LOCAL_FILES_DOCUMENT_ROOT"
        ) from None
    except OSError as error:
        reason = f"{relative!r:.200} cannot be read: {error.strerror}"
        raise MediaUnavailableError(f"{reason}; check its permissions") from None
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise MediaRefusedError(f"{relative!r:.200} is a folder or a device; name a file")
    return handle


def _check_size(size: int, relative: str, max_bytes: int) -> None:
    if size > max_bytes:
        raise MediaTooLargeError(
            f"{relative!r:.200} has {size:,} bytes or more, the limit is {max_bytes:,}; make it smaller, or raise "
            "SAM2_MAX_MEDIA_BYTES if you trust it"
        )


def _inside(root: Path, relative: str) -> Path:
    """The file meant, which lies below `root` after all links are followed."""
    refused = MediaRefusedError(
        f"{relative!r:.200} does not lie in the folder of local files; move it there, or serve it by Label Studio"
    )
    try:
        folder = root.resolve(strict=True)
        path = Path(os.path.realpath(folder / relative.lstrip("/\\")))
    except (OSError, ValueError, RuntimeError):
        raise refused from None
    if folder == Path(folder.anchor):
        raise MediaRefusedError(
            "LOCAL_FILES_DOCUMENT_ROOT is the root of the disk, which would give away every file; choose a folder"
        )
    if not relative or folder not in path.parents:
        raise refused
    return path
