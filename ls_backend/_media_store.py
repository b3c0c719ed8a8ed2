"""What was fetched: in memory, or in a file that goes when it is no longer used."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import BinaryIO, Self

from .media_errors import MediaError

_DIGEST_BYTES = 20
_MAX_SUFFIX = 8


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Media:
    """One picture or video.

    Attributes
    ----------
    data : the content; empty where it lies in `path`
    digest : hash of the content in hexadecimal, equal for equal contents wherever they came from
    content_type : as the server said, such as ``image/png``; empty where it said nothing
    name : file name, of which the suffix tells the format; never a path
    size : bytes of the content
    path : the file that holds it, where it was too large for memory
    """

    data: bytes
    digest: str
    content_type: str
    name: str
    size: int
    path: Path | None = None

    def read(self) -> bytes:
        """The content, wherever it lies."""
        return self.data if self.path is None else self.path.read_bytes()

    @contextlib.contextmanager
    def as_file(self) -> Iterator[Path]:
        """A file with the content, for readers that want one; a temporary one is gone after the block."""
        if self.path is not None:
            yield self.path
            return
        path = _temporary_path(self.name)
        try:
            path.write_bytes(self.data)
            yield path
        finally:
            path.unlink(missing_ok=True)

    def close(self) -> None:
        """Delete the temporary file, if there is one. Done by itself when nobody holds the value any more."""
        finalizer = _FINALIZERS.get(self)
        if finalizer is not None:
            finalizer()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


# Kept beside the values, because these never change.
_FINALIZERS: weakref.WeakKeyDictionary[Media, weakref.finalize[[Path], Media]] = weakref.WeakKeyDictionary()


class MediaWriter:
    """Collects a content piece by piece; beyond a limit in a temporary file.

    Parameters
    ----------
    ram_bytes : how much is kept in memory
    """

    def __init__(self, ram_bytes: int) -> None:
        self._ram_bytes = ram_bytes
        self._kept = bytearray()
        self._hash = hashlib.blake2b(digest_size=_DIGEST_BYTES)
        self._path: Path | None = None
        self._file: BinaryIO | None = None
        self.size = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()
        if self._path is not None:
            self._path.unlink(missing_ok=True)

    def write(self, piece: bytes) -> None:
        """Add a piece.

        Raises
        ------
        MediaError
            The disk is full, or takes nothing.
        """
        self.size += len(piece)
        self._hash.update(piece)
        if self._file is None and self.size <= self._ram_bytes:
            self._kept += piece
            return
        try:
            if self._file is None:
                self._path = _temporary_path("")
                self._file = open(self._path, "wb")  # noqa: SIM115  closed in finish or __exit__
                self._file.write(self._kept)
                self._kept = bytearray()
            self._file.write(piece)
        except OSError as error:
            raise MediaError(
                f"no room for a temporary file in {tempfile.gettempdir()}: {error.strerror}; free some, or set TMPDIR"
            ) from error

    def finish(self, content_type: str, name: str) -> Media:
        """The whole content."""
        digest, path = self._hash.hexdigest(), None
        if self._file is not None and self._path is not None:
            self._file.close()
            path = self._path.with_suffix(_suffix(name))
            os.replace(self._path, path)
            self._path = None
        media = Media(bytes(self._kept), digest, content_type, name, self.size, path)
        if path is not None:
            _FINALIZERS[media] = weakref.finalize(media, _remove, path)
        return media


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)


def _temporary_path(name: str) -> Path:
    handle, path = tempfile.mkstemp(prefix="sam2-media-", suffix=_suffix(name))
    os.close(handle)
    return Path(path)


def _suffix(name: str) -> str:
    suffix = PurePosixPath(name).suffix.lower()
    return suffix if len(suffix) <= _MAX_SUFFIX and suffix[1:].isalnum() else ""
