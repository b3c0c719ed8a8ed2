"""Pictures, pages and videos of tasks: fetched and decoded once, read when they are asked for."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from sam2_engine.errors import EngineError, FramesError

from .keeping import Addresses, Flights, Recent

if TYPE_CHECKING:
    from sam2_engine.frames import Frames
    from sam2_engine.pixels import Range

logger = logging.getLogger(__name__)

SAMPLED_PAGES = 3
"""Pages that tell what is black and white in a list of pages."""


class Fetcher(Protocol):
    """Gets pictures and videos from their addresses."""

    def fetch(
        self, url: str, *, login: str | None = None, password: str | None = None, task_id: int | str | None = None
    ) -> Any: ...


@dataclass(frozen=True, slots=True)
class Access:
    """On whose behalf something is fetched.

    Attributes
    ----------
    login, password : of the project's task data
    task_id : in Label Studio
    """

    login: str | None = None
    password: str | None = field(default=None, repr=False)
    task_id: int | str | None = None


def fetch(fetcher: Fetcher, url: str, access: Access) -> Any:
    """The media at an address."""
    return fetcher.fetch(url, login=access.login, password=access.password, task_id=access.task_id)


OpenPicture = Callable[[Any], NDArray[Any]]


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """A decoded picture.

    Attributes
    ----------
    pixels : [H, W] or [H, W, 3]
    digest : of the file's content
    """

    pixels: NDArray[Any]
    digest: str

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)"""
        return self.pixels.shape[0], self.pixels.shape[1]


class PictureStore:
    """Pictures by address, fetched and decoded once; requests for the same one wait for each other.

    Parameters
    ----------
    fetcher : gets files
    open_picture : decodes them
    max_bytes : of decoded pictures
    """

    def __init__(self, fetcher: Fetcher, open_picture: OpenPicture, max_bytes: int) -> None:
        self._fetcher = fetcher
        self._open = open_picture
        self.recent: Recent[str, Picture] = Recent(max_bytes, lambda picture: picture.pixels.nbytes)
        self._addresses = Addresses()
        self._flights = Flights()

    def get(self, url: str, access: Access) -> Picture:
        """The picture at an address.

        Raises
        ------
        MediaError, ImageError
            It cannot be fetched or decoded.
        """
        with self._flights.of(url):
            digest = self._addresses.digest(url)
            if digest is not None and (picture := self.recent.get(digest)) is not None:
                return picture
            media = fetch(self._fetcher, url, access)
            picture = self.recent.get(media.digest)
            if picture is None:
                picture = self.recent.put(media.digest, Picture(self._open(media), media.digest))
            self._addresses.note(url, media.digest)
            return picture


class Pages:
    """Pages of one task as frames of a sequence; each is fetched when it is asked for.

    Parameters
    ----------
    load : gives the picture of a page; may be replaced by one that has a newer password
    count : number of pages
    contrast : of the model

    Raises
    ------
    FramesError
        On reading: a page has another size than the page that was read first.
    """

    def __init__(self, load: Callable[[int], Picture], count: int, contrast: Any) -> None:
        self.load = load
        self._count = count
        self._contrast = contrast
        self._size: tuple[int, int] | None = None
        self._span: Range | None = None
        self.digests: dict[int, str] = {}
        self._names: dict[int, str] = {}
        self.is_outdated = False

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of every page."""
        if self._size is None:
            raise FramesError("no page was read yet; read the one that is prompted first")
        return self._size

    @property
    def span(self) -> Range:
        """What is black and white, the same on all pages: the median of the first, the middle and the last one.

        Pages that cannot be read do not count.
        """
        from sam2_engine.pixels import Range

        if self._span is None:
            chosen = sorted({round(index) for index in np.linspace(0, self._count - 1, SAMPLED_PAGES)})
            spans = [one for page in chosen if (one := self._span_of(page)) is not None]
            spans = spans or [one for page in self.digests if (one := self._span_of(page)) is not None]
            if not spans:
                raise FramesError("no page can be read; check the addresses in the task's data")
            self._span = Range(*(float(np.median([getattr(one, end) for one in spans])) for end in ("low", "high")))
        return self._span

    def _span_of(self, page: int) -> Range | None:
        from sam2_engine.pixels import as_picture, intensity_range

        try:
            return intensity_range(as_picture(self.load(page).pixels), self._contrast)
        except EngineError as error:
            logger.info("page %d does not count for what is black and white: %s", page, error)
            return None

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, page: int) -> NDArray[Any]:
        picture = self.load(page)
        self._size = self._size or picture.size
        if picture.size != self._size:
            raise FramesError(
                f"page {page} has {picture.size} pixels (height, width), the prompted one has {self._size}; "
                "masks are carried between pages of one size only"
            )
        if self.digests.setdefault(page, picture.digest) != picture.digest:
            self.is_outdated = True
        return picture.pixels

    def name(self, page: int) -> str:
        """The content of a page, as the model is shown it; the same as that of a frame of a stack."""
        from sam2_engine.kept_features import content_name

        if page not in self._names:
            self._names[page] = content_name(self[page], self.span)
        return self._names[page]


class Film:
    """A video file, opened: its frames are numbered, and the first one was decoded.

    Parameters
    ----------
    media : the file
    max_pixels : of a frame
    """

    def __init__(self, media: Any, max_pixels: int) -> None:
        from sam2_engine.frames import open_frames

        # A video in memory becomes a file for as long as it is read.
        self._files = ExitStack()
        with ExitStack() as opening:
            path = opening.enter_context(media.as_file())
            frames = opening.enter_context(open_frames(path, max_pixels=max_pixels))
            self._files = opening.pop_all()
        self.frames: Frames = frames
        self.digest: str = media.digest
        self._finalizer = weakref.finalize(self, self._files.close)


class OpenVideo:
    """A video as pages: the frames that Label Studio counts, whatever the file's frame rate is.

    Parameters
    ----------
    film : the file
    count : frames that Label Studio counts, as many for each second as its label config says
    """

    def __init__(self, film: Film, count: int) -> None:
        self.film = film
        self.count = count

    def number(self, page: int) -> int:
        """The file's frame that the browser shows as a frame of Label Studio, both counted from 0."""
        length = len(self.film.frames)
        # Durations are rounded, and with them Label Studio's count of frames.
        share = 1.0 if abs(length - self.count) <= 1 else length / self.count
        return min(int(page * share + 1e-6), length - 1)

    def __call__(self, page: int) -> Picture:
        number = self.number(page)
        return Picture(self.film.frames[number], f"{self.film.digest}#{number}")
