"""Following by boxes: whom it is for, and that memory still says what is there."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from sam2_engine.checkpoint import load_model
from sam2_engine.config import MODELS
from sam2_engine.deciding import FrameDecider
from sam2_engine.errors import SessionError
from sam2_engine.frames import open_frames
from sam2_engine.looking import Known
from sam2_engine.outputs import FrameMasks
from sam2_engine.prompts import Box, Prompts
from sam2_engine.reprompting import asked_anew, is_coloured
from sam2_engine.session import Session
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


def test_the_small_model_follows_films_by_boxes_and_grey_frames_by_memory(
    small: Tracker, film: NDArray[np.uint8]
) -> None:
    assert small.config.colour_follow == "box"
    by_memory, by_box = (followed(film, small, follow=follow) for follow in ("memory", "box"))
    assert are_equal(followed(film, small), by_box)
    assert not are_equal(by_memory, by_box)
    grey = film[..., 0]
    assert are_equal(followed(grey, small), followed(grey, small, follow="memory"))


def test_a_box_keeps_hold_of_a_wandering_disc(small: Tracker, film: NDArray[np.uint8]) -> None:
    for found, frame in zip(followed(film, small, follow="box"), film, strict=True):
        disc = frame[..., 0] > 200
        mask = found.masks[1]
        assert (mask & disc).sum() / (mask | disc).sum() > 0.6


def test_published_models_follow_by_memory_whatever_the_colours() -> None:
    assert {config.colour_follow for name, config in MODELS.items() if name != "nano"} == {"memory"}


def test_what_memory_says_is_gone_is_gone(
    small: Tracker, film: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    offered = Tracker.offered

    def absent_where_tracked(self: Tracker, everything: Any, *, ambiguous: bool) -> Any:
        found = offered(self, everything, ambiguous=ambiguous)
        return replace(found, object_score=torch.full_like(found.object_score, -3.0))

    session = Session(film, small, follow="box")
    session.prompt(1, 0, BOX)
    monkeypatch.setattr(Tracker, "offered", absent_where_tracked)
    _, *tracked = session.propagate()
    assert not any(found.masks[1].any() for found in tracked)


def test_without_a_mask_before_there_is_nothing_to_ask(small: Tracker, film: NDArray[np.uint8]) -> None:
    looker = FrameDecider(open_frames(film), small).looker(1)
    side = small.config.mask_side
    assert asked_anew(looker, Known(torch.full((1, 1, side, side), -8.0), None)) is None


def test_an_unknown_way_to_follow_is_an_error(small: Tracker, film: NDArray[np.uint8]) -> None:
    with pytest.raises(SessionError, match="'memory' or 'box', got 'hope'"):
        Session(film, small, follow="hope")  # type: ignore[arg-type]
