"""The model, loaded when it is first needed, and what was seen of the picture with it."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from sam2_engine.budget import LEAST_MB, Budget

if TYPE_CHECKING:
    from sam2_engine.stored_features import SharedFeatures
    from sam2_engine.tracking import Tracker
    from sam2_engine.walking import Walker

    from ._objects import ControllerSettings
    from ._picture import Picture

    MakeTracker = Callable[[], Tracker]

MAX_WALKERS = 2
"""Positions of the fixed axes whose features are kept."""


class Walkers:
    """One `Walker` for each position of the fixed axes, the last used ones.

    Parameters
    ----------
    tracker : the model, or a function that loads it, in the thread that first needs it
    budget : what features and memories may take

    Notes
    -----
    May be used from several threads. The engine, which takes seconds to come in, is imported with the first use.
    """

    def __init__(self, tracker: Tracker | MakeTracker, budget: Budget) -> None:
        self._budget = budget
        self._features: SharedFeatures | None = None
        self._lock = threading.RLock()
        self._walkers: OrderedDict[tuple[int, ...], Walker] = OrderedDict()
        self._tracker: Tracker | None = None
        self._load: MakeTracker | None = None
        self.use(tracker)

    def use(self, tracker: Tracker | MakeTracker) -> None:
        """Go on with another model."""
        with self._lock:
            self._tracker, self._load = (None, tracker) if callable(tracker) else (tracker, None)
            self.forget()

    @property
    def is_loaded(self) -> bool:
        """Whether the model is there."""
        return self._tracker is not None

    def tracker(self) -> Tracker:
        """The model, loaded where it was not yet."""
        loaded, load = self._tracker, self._load
        if loaded is not None:
            return loaded
        assert load is not None, "there is a model or a way to load it"
        loaded = load()
        with self._lock:
            if self._load is load:  # no other model was chosen meanwhile
                self._tracker = loaded
        return loaded

    def fingerprint(self) -> str | None:
        """A short name for the exact weights; None where they were never needed."""
        if self._tracker is None:
            return None
        from sam2_engine.session_file import fingerprint

        return fingerprint(self._tracker.model.state_dict())

    def at(self, position: tuple[int, ...], picture: Picture, settings: ControllerSettings) -> Walker:
        """Finds objects on the frames at a position."""
        from sam2_engine.deciding import Cleaning
        from sam2_engine.kept_features import open_features
        from sam2_engine.looking import rule_for
        from sam2_engine.walking import Walker

        tracker = self.tracker()
        with self._lock:
            if self._features is None:
                whole = rule_for(tracker.config, settings.window) is None
                self._features = open_features(tracker, self._budget, whole=whole)
            if position not in self._walkers:
                cleaning = Cleaning(settings.max_hole_area, settings.max_island_area, settings.exclusive)
                self._walkers[position] = Walker(
                    picture.frames(position),
                    tracker,
                    cleaning=cleaning,
                    budget=self._part,
                    features=self._features,
                    window=settings.window,
                    # Colours are channels here more often than those of a film.
                    follow="memory",
                )
            self._walkers.move_to_end(position)
            while len(self._walkers) > MAX_WALKERS:
                self._walkers.popitem(last=False)
            return self._walkers[position]

    def forget(self) -> None:
        """Encode anew from now on."""
        with self._lock:
            self._walkers.clear()
            # What waits to be stored is stored all the same.
            self._features = None

    @property
    def _part(self) -> Budget:
        """What each walker may take beside the features, which they share."""
        return replace(self._budget, memory_mb=max((self._budget.memory_mb or 0) / MAX_WALKERS, LEAST_MB))
