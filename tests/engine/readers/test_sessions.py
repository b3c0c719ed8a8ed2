"""Saved sessions beside the frames they were made on."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from sam2_engine.errors import FramesError, SessionFileError
from sam2_engine.model import Sam2
from sam2_engine.prompts import Box, Prompts
from sam2_engine.saved_masks import read_saved_masks
from sam2_engine.session import Session
from sam2_engine.tracking import Tracker
from sam2_engine.training.readers import open_labelled_data

Array = NDArray[Any]
Save = Callable[[Path, Any], Path]


@pytest.fixture
def session(tiny_model: Sam2, pictures: Array, truth: Array) -> Session:
    """Two objects given by masks on frame 1, the second one again on frame 3, carried to frames 1 to 3."""
    session = Session(pictures, Tracker(tiny_model))
    session.prompt(1, 1, Prompts(mask=truth[1] == 1))
    session.prompt("second", 1, Prompts(mask=truth[1] == 2))
    session.prompt("second", 3, Prompts(mask=truth[3] == 2))
    for masks in session.propagate("forward"):
        if masks.frame == 3:
            break
    return session


def expected(session: Session, frame: int) -> Array:
    """Labels of the masks that the session handed out."""
    labels = np.zeros(session.size, int)
    masks = session.masks(frame).masks
    for obj in sorted(masks, key=lambda obj: -masks[obj].sum()):
        labels[masks[obj]] = {1: 1, "second": 2}[obj]
    return labels


def test_masks_of_a_session_become_labels(session: Session, tmp_path: Path, pictures: Array, save: Save) -> None:
    session.save(tmp_path / "cells.sam2")
    save(tmp_path / "cells.tif", pictures)
    for path in (tmp_path, tmp_path / "cells.sam2"):
        found = open_labelled_data(path)
        (item,) = found.items
        assert (item.name, item.num_frames, item.is_tracked) == ("cells", 3, True)
        clip = found.read(item)
        np.testing.assert_array_equal(clip.images, pictures[1:4])
        for place, frame in enumerate((1, 2, 3)):
            np.testing.assert_array_equal(clip.labels[place], expected(session, frame))


def test_only_frames_that_a_person_looked_at_can_be_chosen(
    session: Session, tmp_path: Path, pictures: Array, save: Save
) -> None:
    session.save(tmp_path / "cells.sam2")
    for frame in range(5):
        save(tmp_path / "cells" / f"{frame}.png", pictures[frame])
    found = open_labelled_data(tmp_path, subset="prompted")
    (item,) = found.items
    assert (item.num_frames, item.is_tracked) == (2, False)
    np.testing.assert_array_equal(found.read(item).images, pictures[[1, 3]])
    with pytest.raises(FramesError, match="'prompted', got 'train'"):
        open_labelled_data(tmp_path, subset="train")


def test_sessions_without_masks_hold_nothing(tiny_model: Sam2, tmp_path: Path, pictures: Array) -> None:
    Session(pictures, Tracker(tiny_model)).save(tmp_path / "cells.sam2")
    with pytest.raises(FramesError, match="holds nothing labelled"):
        open_labelled_data(tmp_path)


def test_frames_that_are_missing_ambiguous_or_others_are_named(
    session: Session, tmp_path: Path, pictures: Array, save: Save
) -> None:
    session.save(tmp_path / "cells.sam2")
    with pytest.raises(FramesError, match="no frames called so"):
        open_labelled_data(tmp_path)
    save(tmp_path / "cells.tif", pictures[:4])
    found = open_labelled_data(tmp_path)
    with pytest.raises(FramesError, match="has 4 frames, its labels 5"):
        found.read(found.items[0])
    (tmp_path / "cells").mkdir()
    with pytest.raises(FramesError, match=r"both cells and cells\.tif"):
        open_labelled_data(tmp_path)


def test_masks_of_a_file_are_those_of_the_session(session: Session, tmp_path: Path) -> None:
    session.prompt(1, 0, Prompts(box=Box(1, 2, 6, 7)))
    session.save(tmp_path / "cells.sam2")
    saved = read_saved_masks(tmp_path / "cells.sam2")
    assert (saved.num_frames, saved.size, saved.prompted) == (5, (12, 16), {0, 1, 3})
    for obj, masks in saved.masks.items():
        for frame, mask in masks.items():
            np.testing.assert_array_equal(mask.unpack(), session.masks(frame).masks[obj])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 99}, "newer version"),
        ({"objects": [{"id": 1}]}, "damaged"),
        ({"frames": {}}, "damaged"),
        ({"objects": 3}, "damaged"),
    ],
)
def test_broken_session_files_are_named(session: Session, tmp_path: Path, change: dict[str, Any], message: str) -> None:
    session.save(tmp_path / "good.sam2")
    with zipfile.ZipFile(tmp_path / "good.sam2") as archive:
        document = json.loads(archive.read("session.json"))
    with zipfile.ZipFile(tmp_path / "bad.sam2", "w") as archive:
        archive.writestr("session.json", json.dumps(document | change))
    with pytest.raises(SessionFileError, match=message):
        read_saved_masks(tmp_path / "bad.sam2")
    with pytest.raises(FramesError, match=message):
        open_labelled_data(tmp_path / "bad.sam2")
    with pytest.raises(SessionFileError, match="damaged or is no session"):
        read_saved_masks(tmp_path / "gone.sam2")
