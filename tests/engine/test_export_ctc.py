"""Result folders of the Cell Tracking Challenge."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from sam2_engine.errors import ExportError
from sam2_engine.export import ImageSpace, TrackRow, continuous_tracks, write_ctc
from sam2_engine.training.readers.base import CellTrack
from sam2_engine.training.readers.ctc import read_lineage

PARENTS = {8: 7, 9: 7}


def film() -> NDArray[np.uint16]:
    """Cell 7 on frames 0 to 2 divides into 8 and 9 on frame 3; cell 4 is there all the time but on frame 2."""
    labels = np.zeros((5, 20, 30), dtype=np.uint16)
    labels[:3, 2:8, 2:12] = 7
    labels[3:, 2:8, 2:6] = 8
    labels[3:, 2:8, 8:12] = 9
    labels[[0, 1, 3, 4], 12:18, 20:26] = 4
    return labels


EXPECTED = (TrackRow(4, 0, 1), TrackRow(7, 0, 2), TrackRow(8, 3, 4, 7), TrackRow(9, 3, 4, 7), TrackRow(10, 3, 4, 4))


def test_divisions_and_gaps_become_tracks(tmp_path: Path) -> None:
    rows = write_ctc(tmp_path / "01_RES", film(), ImageSpace("TYX"), PARENTS)
    assert rows == EXPECTED
    names = sorted(entry.name for entry in (tmp_path / "01_RES").iterdir())
    assert names == [*(f"mask{time:03d}.tif" for time in range(5)), "res_track.txt"]
    masks = np.stack([tifffile.imread(tmp_path / "01_RES" / name) for name in names[:-1]])
    expected = film()
    expected[3:][expected[3:] == 4] = 10
    assert masks.dtype == np.uint16
    np.testing.assert_array_equal(masks, expected)


def test_the_reader_of_the_challenge_takes_the_tracks(tmp_path: Path) -> None:
    write_ctc(tmp_path / "01_RES", film(), ImageSpace("TYX"), PARENTS)
    found = read_lineage(tmp_path / "01_RES" / "res_track.txt")
    assert found == tuple(CellTrack(row.label, row.first, row.last, row.parent) for row in EXPECTED)


def test_the_package_of_the_challenge_finds_it_valid_and_perfect(tmp_path: Path) -> None:
    metrics = pytest.importorskip("ctc_metrics", reason="the extra 'evaluation' is not installed")
    write_ctc(tmp_path / "01_RES", film(), ImageSpace("TYX"), PARENTS)
    gold = tmp_path / "01_GT"
    for kind, name in (("TRA", "man_track"), ("SEG", "man_seg")):
        (gold / kind).mkdir(parents=True)
        for file in sorted((tmp_path / "01_RES").glob("mask*.tif")):
            (gold / kind / file.name.replace("mask", name)).write_bytes(file.read_bytes())
    (gold / "TRA" / "man_track.txt").write_text((tmp_path / "01_RES" / "res_track.txt").read_text())
    scores = metrics.evaluate_sequence(str(tmp_path / "01_RES"), str(gold), ["Valid", "SEG", "TRA"], threads=1)
    assert (scores["Valid"], scores["SEG"], scores["TRA"]) == (1, 1.0, 1.0)


def test_stacks_over_time_are_volumes(tmp_path: Path) -> None:
    labels = np.zeros((2, 3, 8, 9), np.uint8)
    labels[:, 1, 2:4, 3:5] = 5
    write_ctc(tmp_path / "r", labels, ImageSpace("TZYX"))
    for time in range(2):
        np.testing.assert_array_equal(tifffile.imread(tmp_path / "r" / f"mask{time:03d}.tif"), labels[time])


def test_without_objects_the_table_is_empty(tmp_path: Path) -> None:
    assert write_ctc(tmp_path / "r", np.zeros((2, 8, 9), np.uint8), ImageSpace("TYX")) == ()
    assert (tmp_path / "r" / "res_track.txt").read_text() == ""


def test_parents_that_cannot_be_are_left_out_and_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = write_ctc(tmp_path / "r", film(), ImageSpace("TYX"), {8: 3, 9: 4})
    assert [row.parent for row in rows if row.label in (8, 9)] == [0, 0], "3 is not there, 4 does not end before"
    assert "label 8 is not after its parent 3" in caplog.text


def test_slices_are_no_time_points(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="about time-lapses, these labels have the axes ZYX"):
        write_ctc(tmp_path / "r", film(), ImageSpace("ZYX"))
    assert list(tmp_path.iterdir()) == []


def test_labels_beyond_16_bits_are_refused(tmp_path: Path) -> None:
    labels = np.zeros((2, 8, 9), np.uint32)
    labels[0, 0, 0] = 65_536
    with pytest.raises(ExportError, match="holds labels up to 65535, got 65536"):
        write_ctc(tmp_path / "r", labels, ImageSpace("TYX"))


def test_a_longer_earlier_result_leaves_nothing_behind(tmp_path: Path) -> None:
    write_ctc(tmp_path / "r", film(), ImageSpace("TYX"))
    write_ctc(tmp_path / "r", film()[:2], ImageSpace("TYX"))
    assert len(list((tmp_path / "r").glob("mask*.tif"))) == 2


def test_a_folder_of_pictures_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "01").mkdir()
    (tmp_path / "01" / "t000.tif").write_bytes(b"picture")
    with pytest.raises(ExportError, match=r"holds other things, such as 't000\.tif'"):
        write_ctc(tmp_path / "01", film(), ImageSpace("TYX"))
    assert (tmp_path / "01" / "t000.tif").read_bytes() == b"picture"


def test_progress_goes_over_both_readings(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    write_ctc(tmp_path / "r", film(), ImageSpace("TYX"), progress=lambda done, total: seen.append((done, total)))
    assert seen == [(done, 10) for done in range(1, 11)]


@given(
    st.dictionaries(st.integers(1, 9), st.sets(st.integers(0, 9), min_size=1).map(sorted), max_size=6),
    st.dictionaries(st.integers(1, 9), st.integers(1, 9), max_size=6),
)
def test_tracks_are_without_gaps_and_cover_what_was_seen(seen: dict[int, list[int]], parents: dict[int, int]) -> None:
    tracks = continuous_tracks(seen, parents)
    rows = {row.label: row for row in tracks.rows}
    assert len(rows) == len(tracks.rows)
    covered = {(label, time) for label, row in rows.items() for time in range(row.first, row.last + 1)}
    assert covered == {
        (tracks.renamed.get(time, {}).get(label, label), time) for label, times in seen.items() for time in times
    }
    assert all(rows[row.parent].last < row.first for row in tracks.rows if row.parent)
