"""Following by likeness: whom it is for, what it finds, and that memory still says what is there."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from sam2_engine.checkpoint import load_model
from sam2_engine.config import MODELS
from sam2_engine.errors import SessionError
from sam2_engine.frames import LiveFrames
from sam2_engine.geometry import Window
from sam2_engine.matching import KnownFrame, frames_to_match, is_coloured, matched
from sam2_engine.memory import MemoryBank, MemoryEntry, MemoryPlan
from sam2_engine.outputs import FrameMasks, ImageFeatures
from sam2_engine.prompts import Box, Prompts
from sam2_engine.session import Session
from sam2_engine.stored_features import SharedFeatures
from sam2_engine.tracking import Tracker
from sam2_engine.weights import find_weights

SIDE = 64
BOX = Prompts(box=Box(8, 20, 24, 36))


@pytest.fixture(scope="module")
def small() -> Tracker:
    model = load_model(find_weights("default"))
    return Tracker(model)


@pytest.fixture(scope="module")
def film() -> NDArray[np.uint8]:
    """An orange disc that wanders over blue, ``[T, H, W, 3]``."""
    rows, columns = np.indices((SIDE, SIDE))
    frames = np.zeros((5, SIDE, SIDE, 3), np.uint8)
    frames[...] = (20, 40, 90)
    for number, frame in enumerate(frames):
        frame[(columns - 16 - number) ** 2 + (rows - 28) ** 2 <= 64] = (230, 140, 30)
    return frames


def followed(frames: Any, tracker: Tracker, **settings: Any) -> list[FrameMasks]:
    session = Session(frames, tracker, **settings)
    session.prompt(1, 0, BOX)
    return list(session.propagate())


def are_equal(one: list[FrameMasks], other: list[FrameMasks]) -> bool:
    return all(np.array_equal(a.masks[1], b.masks[1]) and a.scores == b.scores for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_three_equal_channels_are_grey_and_different_ones_are_colour(film: NDArray[np.uint8], dtype: type) -> None:
    coloured = film[0].astype(dtype)
    assert is_coloured(coloured)
    assert not is_coloured(coloured[..., 0])
    assert not is_coloured(np.repeat(coloured[..., :1], 3, axis=2))
    assert not is_coloured(np.zeros_like(coloured))


def test_the_small_model_follows_films_by_likeness_and_grey_frames_by_memory(
    small: Tracker, film: NDArray[np.uint8]
) -> None:
    assert small.config.colour_follow == "match"
    by_memory, by_likeness = (followed(film, small, follow=follow) for follow in ("memory", "match"))
    assert are_equal(followed(film, small), by_likeness)
    assert not are_equal(by_memory, by_likeness)
    grey = film[..., 0]
    assert are_equal(followed(grey, small), followed(grey, small, follow="memory"))


def test_likeness_keeps_hold_of_a_wandering_disc(small: Tracker, film: NDArray[np.uint8]) -> None:
    for found, frame in zip(followed(film, small, follow="match"), film, strict=True):
        disc = frame[..., 0] > 200
        mask = found.masks[1]
        assert (mask & disc).sum() / (mask | disc).sum() > 0.6


def test_all_objects_are_matched_by_themselves(small: Tracker, film: NDArray[np.uint8]) -> None:
    """Together as alone, whatever the order."""
    both = Session(film, small)
    other = Prompts(box=Box(30, 4, 44, 18))
    both.prompt(2, 0, other)
    both.prompt(1, 0, BOX)
    alone = followed(film, small)
    for together, one in zip(both.propagate(), alone, strict=True):
        agree = together.masks[1] == one.masks[1]
        assert agree.mean() > 0.999


def test_published_models_follow_by_memory_whatever_the_colours() -> None:
    assert {config.colour_follow for name, config in MODELS.items() if name != "nano"} == {"memory"}


def test_what_memory_says_is_gone_is_gone(
    small: Tracker, film: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    offered = Tracker.offered

    def absent_where_tracked(self: Tracker, everything: Any, *, ambiguous: bool) -> Any:
        found = offered(self, everything, ambiguous=ambiguous)
        return replace(found, object_score=torch.full_like(found.object_score, -3.0))

    session = Session(film, small, follow="match")
    session.prompt(1, 0, BOX)
    monkeypatch.setattr(Tracker, "offered", absent_where_tracked)
    _, *tracked = session.propagate()
    assert not any(found.masks[1].any() for found in tracked)


def textured(seed: int = 0) -> ImageFeatures:
    """Features whose places all look different."""
    made = torch.Generator().manual_seed(seed)
    planes = [torch.randn(1, channels, side, side, generator=made) for channels, side in ((32, 6), (8, 24), (16, 12))]
    return ImageFeatures(planes[0], (planes[1], planes[2]))


def block(side: int = 24) -> torch.Tensor:
    logits = torch.full((1, 1, side, side), -6.0)
    logits[..., 8:15, 6:16] = 6.0
    return logits


@pytest.mark.parametrize("window", [None, Window.square(40, 30, 24)])
@pytest.mark.parametrize("is_recent", [True, False])
def test_what_looks_and_lies_the_same_is_the_same(window: Window | None, is_recent: bool) -> None:
    features = textured()
    found = matched(features, window, (48, 48), [KnownFrame(features, window, block(), is_recent)])
    assert found.shape == (1, 1, 24, 24)
    assert torch.equal(found > 0, block() > 0)


def test_a_mask_moves_with_what_it_lies_on() -> None:
    """The picture has moved by three places to the right, in the same window."""
    wide = torch.randn(1, 16, 24, 30, generator=torch.Generator().manual_seed(1))
    nothing = (torch.zeros(1, 32, 6, 6), torch.zeros(1, 8, 12, 12))
    before, now = (ImageFeatures(nothing[0], (wide[..., at : at + 24], nothing[1])) for at in (3, 0))
    found = matched(now, None, (48, 48), [KnownFrame(before, None, block(), True)]) > 0
    wrong = found ^ (block().roll(3, -1) > 0)
    assert wrong.sum() < 8, "but for places at the side where the picture is new"


def test_of_two_that_look_the_same_the_near_one_counts() -> None:
    """Without any texture the mask stays where it was, seen through another window as well."""
    flat = ImageFeatures(torch.zeros(1, 32, 6, 6), (torch.zeros(1, 8, 24, 24), torch.zeros(1, 16, 12, 12)))
    before, now = Window.square(24, 24, 24), Window.square(28, 24, 24)
    found = matched(flat, now, (48, 48), [KnownFrame(flat, before, block(), True)]) > 0
    rows, columns = np.nonzero(found[0, 0].numpy())
    assert abs(rows.mean() - 11) < 0.6 and abs(columns.mean() - (10.5 - 4)) < 0.6


def test_frames_just_before_and_the_nearest_prompted_ones_are_compared_with() -> None:
    def entry(frame: int, *, prompted: bool) -> MemoryEntry:
        blank = torch.zeros(1, 1, 4, 4)
        return MemoryEntry(frame, prompted, 1, blank, torch.zeros(1, 4), torch.ones(1, 1), 0.9)

    bank = MemoryBank()
    for frame in (0, 5, 30):
        bank.put(entry(frame, prompted=True))
    for frame in range(6, 12):
        bank.put(entry(frame, prompted=False))
    plan = MemoryPlan(((0, 0), (5, 0), (30, 0), *((12 - slot, slot) for slot in range(6, 0, -1))), (), 1)
    assert frames_to_match(plan, bank, 12) == [(5, False), (0, False), (11, True), (10, True)]
    assert frames_to_match(MemoryPlan(((5, 0),), (), 1), bank, 6) == [(5, False)]


def test_live_frames_that_are_let_go_are_not_missed(small: Tracker, film: NDArray[np.uint8]) -> None:
    """Where no features are kept, a frame that is gone cannot be compared with; the object is followed all the same."""
    session = Session(LiveFrames(max_frames=2), small, features=SharedFeatures(0))
    session.append(film[0])
    session.prompt(1, 0, BOX)
    list(session.propagate())
    for number, frame in enumerate(film[1:], start=1):
        session.append(frame)
        (found,) = session.propagate(start=number, max_frames=0)
        disc = frame[..., 0] > 200
        assert (found.masks[1] & disc).sum() / (found.masks[1] | disc).sum() > 0.5


def test_an_unknown_way_to_follow_is_an_error(small: Tracker, film: NDArray[np.uint8]) -> None:
    with pytest.raises(SessionError, match="'memory' or 'match', got 'hope'"):
        Session(film, small, follow="hope")  # type: ignore[arg-type]
