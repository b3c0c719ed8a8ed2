"""SEG, DET and TRA of the Cell Tracking Challenge, by the package py-ctcmetrics.

Labels are [T, H, W] with 0 as background and one number for each cell from its birth to its division or end.
"""

from __future__ import annotations

import contextlib
import io
import math
import tempfile
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import MissingDependencyError, ShapeError
from ..export.ctc import TrackRow, continuous_tracks

Labels = NDArray[np.integer]


@dataclass(frozen=True, slots=True)
class LineageScore:
    """The objects of one sequence together, as one tracker found them from one prompt each.

    Attributes
    ----------
    name, category, method, prompt : which
    objects : how many were followed
    seg, det, tra : of the Cell Tracking Challenge; only the objects that were followed are truth
    """

    name: str
    category: str
    method: str
    prompt: str
    objects: int
    seg: float
    det: float
    tra: float


@dataclass(frozen=True, slots=True)
class Accuracy:
    """SEG, DET and TRA, 0 to 1; NaN where truth is empty."""

    seg: float
    det: float
    tra: float


def tracking_accuracy(truth: Labels, found: Labels, parents: Mapping[int, int] | None = None) -> Accuracy:
    """How well cells were found and followed.

    Parameters
    ----------
    truth, found : [T, H, W]
    parents : label in truth → label of the cell it came from

    Raises
    ------
    ShapeError
        Not two label images [T, H, W] of one shape.
    MissingDependencyError
        py-ctcmetrics is not installed.

    Notes
    -----
    Matula et al. 2015 (AOGM). A cell that is not seen on some frames in between is given a new number after them, with
    itself as parent, as the format of the challenge asks.
    """
    if truth.shape != found.shape or truth.ndim != 3:
        raise ShapeError(f"two label images [T, H, W] of one shape are compared, got {truth.shape} and {found.shape}")
    evaluate_sequence = require_package()
    if not truth.any():
        return Accuracy(math.nan, math.nan, math.nan)
    if not found.any():
        return Accuracy(0.0, 0.0, 0.0)
    with tempfile.TemporaryDirectory() as folder:
        gold, result = Path(folder, "01_GT"), Path(folder, "01_RES")
        _write(gold / "TRA", "man_track", truth, parents or {})
        _write(gold / "SEG", "man_seg", truth, {})
        _write(result, "mask", found, {}, tracks="res_track.txt")
        # It prints its progress, and warns of frames without cells.
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            scores = evaluate_sequence(str(result), str(gold), ["Valid", "SEG", "DET", "TRA"], threads=1)
    return Accuracy(float(scores["SEG"]), float(scores["DET"]), float(scores["TRA"]))


def require_package() -> Callable[..., dict[str, Any]]:
    """The function of py-ctcmetrics that measures; long work asks for it before it begins.

    Raises
    ------
    MissingDependencyError
        py-ctcmetrics is not installed.
    """
    try:
        from ctc_metrics import evaluate_sequence
    except ImportError as error:
        raise MissingDependencyError(
            "SEG, DET and TRA need the package py-ctcmetrics: pip install 'sam2-tools[evaluation]'"
        ) from error
    measure: Callable[..., dict[str, Any]] = evaluate_sequence
    return measure


def without_gaps(labels: Labels, parents: Mapping[int, int]) -> tuple[NDArray[np.uint16], tuple[TrackRow, ...]]:
    """Numbers from 1 on that are there on every frame from their first to their last, and the table of them.

    Parameters
    ----------
    parents : label → label it came from; parents that are not there, or do not end before, are left out
    """
    given = [int(one) for one in np.unique(labels) if one]
    number = {label: count for count, label in enumerate(given, start=1)}
    seen = {number[one]: np.flatnonzero((labels == one).any(axis=(1, 2))).tolist() for one in given}
    came = {number[one]: number[parent] for one, parent in parents.items() if one in number and parent in number}
    tracks = continuous_tracks(seen, came)
    renamed = np.zeros(labels.shape, dtype=np.uint16)
    for frame, plane in enumerate(labels):
        again = tracks.renamed.get(frame, {})
        for label in (int(one) for one in np.unique(plane) if one):
            renamed[frame][plane == label] = again.get(number[label], number[label])
    return renamed, tracks.rows


def _write(folder: Path, name: str, labels: Labels, parents: Mapping[int, int], tracks: str = "man_track.txt") -> None:
    import tifffile

    folder.mkdir(parents=True)
    renamed, rows = without_gaps(labels, parents)
    for frame, plane in enumerate(renamed):
        tifffile.imwrite(folder / f"{name}{frame:04d}.tif", plane)
    text = "".join(f"{row.label} {row.first} {row.last} {row.parent}\n" for row in rows)
    (folder / tracks).write_text(text, encoding="utf-8")
