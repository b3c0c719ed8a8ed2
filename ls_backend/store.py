"""One model for the process, and the pictures it works on: fetched, decoded and encoded once.

Pictures are known by their content, so that the same picture under two addresses, or in two projects, is one.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sam2_engine.errors import FramesError, WeightsUnavailableError

from .keeping import Addresses, Flights, Recent
from .settings import Settings
from .sources import Access, Fetcher, Film, OpenPicture, OpenVideo, Pages, Picture, PictureStore, fetch
from .turns import Turns, Urgency

if TYPE_CHECKING:
    from sam2_engine.stored_features import SharedFeatures
    from sam2_engine.tracking import Tracker
    from sam2_engine.walking import Walker

logger = logging.getLogger(__name__)

KEPT_ANSWERS = 16
"""Answers to prompts that are kept for each picture, so that a further click costs one step only."""

MAX_WORKS, MAX_VIDEOS = 256, 4


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
        """Name of the model and digest of its weights: other weights are another version, and so are other numbers.

        Ends with ``pending`` while the weights are not on this machine. Nothing is loaded or fetched for it.
        """
        # Not everything behind a dot is a suffix: sam2.1_hiera_tiny.
        name = re.sub(r"\.(safetensors|pth?|bin|ckpt|pkl)$", "", Path(self.settings.model).name) or "model"
        name = name if name.startswith("sam2") else f"sam2-{name}"
        numbers = "" if self.settings.precision == "fp32" else f"-{self.settings.precision}"
        return f"{name}{numbers}-{self._weights_digest() or 'pending'}"

    @property
    def features(self) -> SharedFeatures:
        """Encoded pictures of all requests; on the disk those of `sam2 track`, napari and this are the same files."""
        from sam2_engine.kept_features import feature_folder
        from sam2_engine.stored_features import SharedFeatures

        tracker = self.tracker
        with self._lock:
            if self._features is None:
                cache = self.settings.cache
                folder = None
                if cache.disk_dir is not None and cache.disk_bytes > 0:
                    folder = feature_folder(tracker, cache.disk_dir / "features", cache.disk_bytes, cache.stored)
                self._features = SharedFeatures(cache.ram_bytes // 2, folder, tracker.placement.device)
            return self._features

    def close(self) -> None:
        """Write encoded pictures that wait to be written, and end the thread that computes."""
        self.turns.close()
        if self._features is not None:
            self._features.close()

    def _load_by_name(self) -> Tracker:
        import torch

        from sam2_engine.opening import load_tracker

        settings = self.settings
        if settings.compute_threads is not None:
            torch.set_num_threads(settings.compute_threads)
        device = None if settings.device == "auto" else settings.device
        tracker = load_tracker(settings.model, device=device, precision=settings.precision)
        self.turns.run(lambda: _warm_up(tracker), Urgency.STEP)
        return tracker

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
class Work:
    """A picture, or pages, and what finds objects on them."""

    pages: Pages
    walker: Walker

    @property
    def nbytes(self) -> int:
        """Bytes held, roughly: the pixels of a few pages, and answers."""
        height, width = self.pages.size
        cells = self.walker.tracker.config.mask_side**2
        return min(len(self.pages), 4) * height * width * 3 + 4 * KEPT_ANSWERS * cells * 4


class Store:
    """Opens the pictures and videos of requests.

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
        self.videos: Recent[tuple[str, int], Work] = Recent(
            settings.cache.ram_bytes // 4, lambda work: work.nbytes, MAX_VIDEOS
        )
        # Open files: what they hold in memory does not depend on how many bytes there are to keep.
        self._films: Recent[str, Film] = Recent(0, lambda film: 0, MAX_VIDEOS)
        self._addresses = Addresses()
        self._flights = Flights()

    def open(self, urls: Sequence[str], page: int, access: Access) -> Work:
        """The picture at an address, or the pages at several, of which `page` is read now and gives the size.

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
        # Pages of another size are another sequence.
        key: Hashable = picture.digest if len(urls) == 1 else (picture.size, *urls)

        def load(number: int) -> Picture:
            # A single picture stays the one it was, whatever its address shows later.
            return picture if len(urls) == 1 else self.pictures.get(urls[number], access)

        with self._flights.of(("work", key)):
            work = self.works.get(key)
            if work is not None:
                work.pages.load = load
                work.pages[page]
                if not work.pages.is_outdated:
                    return work
                self.works.drop(key)
            return self.works.put(key, self._walked(load, len(urls), page))

    def open_video(self, url: str, count: int, access: Access) -> Work:
        """A video as `count` pages.

        Raises
        ------
        FramesError
            No video, or damaged.
        MediaError
            It cannot be fetched.
        MissingDependencyError
            PyAV is not installed.
        """
        film = self.film(url, access)
        with self._flights.of(("video", film.digest, count)):
            work = self.videos.get((film.digest, count))
            if work is None:
                video = OpenVideo(film, count)
                work = self.videos.put((film.digest, count), self._walked(video, count, 0))
            return work

    def film(self, url: str, access: Access) -> Film:
        """A video file, fetched and opened; raises as `open_video` does."""
        with self._flights.of(("film", url)):
            digest = self._addresses.digest(url)
            film = None if digest is None else self._films.get(digest)
            if film is not None:
                return film
            media = fetch(self.fetcher, url, access)
            self._addresses.note(url, media.digest)
            film = self._films.get(media.digest)
            if film is None:
                film = self._films.put(media.digest, Film(media, self.engine.settings.media.max_pixels))
            return film

    def _walked(self, load: Callable[[int], Picture], count: int, page: int) -> Work:
        from sam2_engine.deciding import Cleaning
        from sam2_engine.walking import Walker

        tracker = self.engine.tracker
        pages = Pages(load, count, tracker.config.contrast)
        # Its size is that of all pages.
        pages[page]
        cleaning = Cleaning(exclusive=self.engine.settings.non_overlapping)
        features = self.engine.features.of(pages.name)
        return Work(pages, Walker(pages, tracker, cleaning=cleaning, features=features, kept_entries=KEPT_ANSWERS))

    def _decoded(self, media: Any) -> NDArray[Any]:
        from .pictures import open_picture

        pixels: NDArray[Any] = open_picture(media, max_pixels=self.engine.settings.media.max_pixels)
        return pixels


def _warm_up(tracker: Tracker) -> None:
    """Answer a click on nothing: what libraries load and prepare at their first use takes seconds."""
    from sam2_engine.prompts import Click, Prompts
    from sam2_engine.walking import Walker

    Walker(np.zeros((1, 64, 64), np.uint8), tracker).answer(0, [Prompts((Click(32, 32),))])
