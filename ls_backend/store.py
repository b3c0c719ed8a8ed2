"""One model for the process, and the pictures it works on: fetched, decoded and encoded once.

Pictures are known by their content, so that the same picture under two addresses, or in two projects, is one.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from sam2_engine.errors import FramesError, WeightsUnavailableError

from .settings import Settings
from .turns import Turns

if TYPE_CHECKING:
    from sam2_engine.pixels import Range
    from sam2_engine.stored_features import SharedFeatures
    from sam2_engine.tracking import Tracker
    from sam2_engine.walking import Walker

logger = logging.getLogger(__name__)

ADDRESS_S = 300.0
"""So long an address is taken to show the same picture; then it is fetched again."""

KEPT_ANSWERS = 16
"""Answers to prompts that are kept for each picture, so that a further click costs one step only."""

MAX_WORKS = 256
SAMPLED_PAGES = 3
"""Pages that tell what is black and white in a list of pages."""

KeyT = TypeVar("KeyT", bound=Hashable)
ValueT = TypeVar("ValueT")


class FetchedMedia(Protocol):
    """What a fetcher gives; see `ls_backend.media.Media`."""

    @property
    def data(self) -> bytes: ...

    @property
    def digest(self) -> str: ...

    @property
    def path(self) -> Path | None: ...


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


class Engine:
    """One model on one device, loaded when it is first needed.

    Parameters
    ----------
    settings : which model, where, and how much is kept
    load : makes the tracker; `sam2_engine.load_tracker` when not given
    """

    def __init__(self, settings: Settings, *, load: Callable[[], Tracker] | None = None) -> None:
        self.settings = settings
        self.turns = Turns(settings.queue_size)
        self._load = load or self._load_by_name
        self._tracker: Tracker | None = None
        self._features: SharedFeatures | None = None
        self._digest: str | None = None
        self._lock = threading.RLock()

    @property
    def is_loaded(self) -> bool:
        """Whether the model is in memory."""
        return self._tracker is not None

    @property
    def tracker(self) -> Tracker:
        """The model, loaded now if it was not.

        Raises
        ------
        CheckpointError, WeightsUnavailableError
            See `sam2_engine.load_tracker`.
        """
        with self._lock:
            if self._tracker is None:
                started = time.monotonic()
                self._tracker = self._load()
                logger.info("model %s loaded in %.1f s", self.version, time.monotonic() - started)
            return self._tracker

    @property
    def version(self) -> str:
        """Name of the model and digest of its weights: other weights are another version.

        Ends with ``pending`` while the weights are not on this machine. Nothing is loaded or fetched for it.
        """
        name = Path(self.settings.model).stem or "model"
        return f"sam2-{name}-{self._weights_digest() or 'pending'}"

    @property
    def features(self) -> SharedFeatures:
        """Encoded pictures of all requests."""
        from sam2_engine.stored_features import FeatureFolder, SharedFeatures

        tracker = self.tracker
        with self._lock:
            if self._features is None:
                cache = self.settings.cache
                folder = None
                if cache.disk_dir is not None and cache.disk_bytes > 0:
                    model = f"{self._weights_digest()}|{tracker.config.to_json()}|{tracker.placement.compute}"
                    folder = FeatureFolder(cache.disk_dir / "features", cache.disk_bytes, model)
                self._features = SharedFeatures(cache.ram_bytes // 2, folder, tracker.placement.device)
            return self._features

    def close(self) -> None:
        """Write encoded pictures that wait to be written."""
        if self._features is not None:
            self._features.close()

    def _load_by_name(self) -> Tracker:
        import torch

        from sam2_engine.opening import load_tracker

        settings = self.settings
        if settings.compute_threads is not None:
            torch.set_num_threads(settings.compute_threads)
        return load_tracker(settings.model, device=None if settings.device == "auto" else settings.device)

    def _weights_digest(self) -> str | None:
        from sam2_engine.weights import file_sha256, find_weights

        with self._lock:
            if self._digest is None:
                try:
                    self._digest = file_sha256(find_weights(self.settings.model, offline=True))[:12]
                except WeightsUnavailableError:
                    return None
            return self._digest


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


class Recent(Generic[KeyT, ValueT]):
    """Values that were used last, up to a number of bytes; the newest stays even where it alone is larger."""

    def __init__(self, max_bytes: int, nbytes: Callable[[ValueT], int], max_entries: int | None = None) -> None:
        self.max_bytes = max_bytes
        self.max_entries = max_entries
        self._nbytes = nbytes
        self._entries: OrderedDict[KeyT, ValueT] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: KeyT) -> ValueT | None:
        """The value of a key, None where it is not here."""
        with self._lock:
            if key in self._entries:
                self._entries.move_to_end(key)
            return self._entries.get(key)

    def put(self, key: KeyT, value: ValueT) -> ValueT:
        """Keep a value; gives the one that is kept, which is an earlier one where there is one."""
        with self._lock:
            kept = self._entries.setdefault(key, value)
            self._entries.move_to_end(key)
            self._shrink()
            return kept

    def drop(self, key: KeyT) -> None:
        """Forget a value."""
        with self._lock:
            self._entries.pop(key, None)

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        with self._lock:
            return sum(map(self._nbytes, self._entries.values()))

    def __len__(self) -> int:
        return len(self._entries)

    def _shrink(self) -> None:
        held = sum(map(self._nbytes, self._entries.values()))
        most = self.max_entries or len(self._entries)
        while len(self._entries) > 1 and (held > self.max_bytes or len(self._entries) > most):
            _, dropped = self._entries.popitem(last=False)
            held -= self._nbytes(dropped)


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
        self._known: OrderedDict[str, tuple[str, float]] = OrderedDict()
        self._flights = Flights()

    def get(self, url: str, access: Access) -> Picture:
        """The picture at an address.

        Raises
        ------
        MediaError, ImageError
            It cannot be fetched or decoded.
        """
        with self._flights.of(url):
            digest, until = self._known.get(url, ("", 0.0))
            if time.monotonic() < until and (picture := self.recent.get(digest)) is not None:
                return picture
            media = fetch(self._fetcher, url, access)
            picture = self.recent.get(media.digest)
            if picture is None:
                picture = self.recent.put(media.digest, Picture(self._open(media), media.digest))
            self._known[url] = (media.digest, time.monotonic() + ADDRESS_S)
            while len(self._known) > 10_000:
                self._known.popitem(last=False)
            return picture


class Flights:
    """One at a time for each key."""

    def __init__(self) -> None:
        self._locks: dict[Hashable, tuple[threading.Lock, int]] = {}
        self._lock = threading.Lock()

    @contextmanager
    def of(self, key: Hashable) -> Iterator[None]:
        """Wait for others with this key."""
        with self._lock:
            lock, users = self._locks.get(key, (threading.Lock(), 0))
            self._locks[key] = (lock, users + 1)
        try:
            with lock:
                yield
        finally:
            with self._lock:
                lock, users = self._locks.pop(key)
                if users > 1:
                    self._locks[key] = (lock, users - 1)


class Pages:
    """Pages of one task as frames of a sequence; each is fetched when it is asked for.

    Parameters
    ----------
    load : gives the picture of a page
    count : number of pages
    contrast : of the model

    Raises
    ------
    FramesError
        On reading: a page has another size than the page that was read first.
    """

    def __init__(self, load: Callable[[int], Picture], count: int, contrast: Any) -> None:
        self._load = load
        self._count = count
        self._contrast = contrast
        self._size: tuple[int, int] | None = None
        self._span: Range | None = None
        self.digests: dict[int, str] = {}
        self.is_outdated = False

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of every page."""
        if self._size is None:
            raise FramesError("no page was read yet; read the one that is prompted first")
        return self._size

    @property
    def span(self) -> Range:
        """What is black and white, the same on all pages: the median of the first, the middle and the last one."""
        from sam2_engine.pixels import Range, as_picture, intensity_range

        if self._span is None:
            chosen = sorted({round(index) for index in np.linspace(0, self._count - 1, SAMPLED_PAGES)})
            spans = [intensity_range(as_picture(self._load(page).pixels), self._contrast) for page in chosen]
            self._span = Range(
                float(np.median([one.low for one in spans])), float(np.median([one.high for one in spans]))
            )
        return self._span

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, page: int) -> NDArray[Any]:
        picture = self._load(page)
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
        """The content of a page, as the model is shown it."""
        if page not in self.digests:
            self[page]
        return f"{self.digests[page]}|{self.span.low!r}|{self.span.high!r}"


@dataclass(frozen=True, slots=True, eq=False)
class Work:
    """A picture, or pages, and what finds objects on them."""

    pages: Pages
    walker: Walker

    @property
    def nbytes(self) -> int:
        """Bytes held, roughly: the pixels of a few pages, and answers."""
        height, width = self.pages.size
        cells = self.walker.tracker.config.mask_side**2
        return min(len(self.pages), 4) * height * width * 3 + 2 * KEPT_ANSWERS * cells * 4


class Store:
    """Opens the pictures of requests.

    Parameters
    ----------
    engine : the model
    fetcher : gets files
    open_picture : decodes them; `ls_backend.pictures.open_picture` when not given
    """

    def __init__(self, engine: Engine, fetcher: Fetcher, open_picture: OpenPicture | None = None) -> None:
        settings = engine.settings
        self.engine = engine
        self.fetcher = fetcher
        self.pictures = PictureStore(fetcher, open_picture or self._decoded, settings.cache.ram_bytes // 4)
        self.works: Recent[Hashable, Work] = Recent(settings.cache.ram_bytes // 4, lambda work: work.nbytes, MAX_WORKS)
        self._flights = Flights()

    def open(self, urls: Sequence[str], page: int, access: Access) -> Work:
        """The picture at an address, or the pages at several, of which `page` is read now.

        Raises
        ------
        FramesError
            There is no such page.
        MediaError, ImageError
            It cannot be fetched or decoded.
        """
        if not 0 <= page < len(urls):
            raise FramesError(f"page {page} does not exist; the task has pages 0 to {len(urls) - 1}")
        picture = self.pictures.get(urls[page], access)
        key: Hashable = picture.digest if len(urls) == 1 else tuple(urls)
        with self._flights.of(("work", key)):
            work = self.works.get(key)
            if work is not None:
                work.pages[page]
                if not work.pages.is_outdated:
                    return work
                self.works.drop(key)
            return self.works.put(key, self._work(urls, page, picture, access))

    def _work(self, urls: Sequence[str], page: int, picture: Picture, access: Access) -> Work:
        from sam2_engine.deciding import Cleaning
        from sam2_engine.walking import Walker

        def load(number: int) -> Picture:
            # A single picture stays the one it was, whatever its address shows later.
            if len(urls) == 1:
                return picture
            return self.pictures.get(urls[number], access)

        tracker = self.engine.tracker
        pages = Pages(load, len(urls), tracker.config.contrast)
        pages[page]
        cleaning = Cleaning(exclusive=self.engine.settings.non_overlapping)
        features = self.engine.features.of(pages.name)
        return Work(pages, Walker(pages, tracker, cleaning=cleaning, features=features, kept_entries=KEPT_ANSWERS))

    def _decoded(self, media: Any) -> NDArray[Any]:
        from .pictures import open_picture

        pixels: NDArray[Any] = open_picture(media, max_pixels=self.engine.settings.media.max_pixels)
        return pixels
