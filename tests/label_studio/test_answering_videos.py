"""Tracks on videos: rectangles on frames around those that were drawn, and where they end."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ls_backend.answering.videos import TRACKED, read_tracks
from ls_backend.sources import Film, OpenVideo
from sam2_engine.errors import PromptError
from sam2_engine.tracking import Tracker
from tests.label_studio.answering_parts import (
    SIZE,
    FakeFetcher,
    answerer_for,
    objects_at,
    recorded,
    regions_of,
    scene,
)

LENGTH = 12
GONE = 8


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Twelve frames at 25 a second; the left disc is gone after eight."""
    av = pytest.importorskip("av")
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = SIZE[1], SIZE[0], "yuv420p", 6_000_000
        for step in range(LENGTH):
            only = ("left", "right") if step < GONE else ("right",)
            frame = av.VideoFrame.from_ndarray(scene(step, only), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path.read_bytes()


@pytest.fixture
def fetcher(film: bytes) -> FakeFetcher:
    return FakeFetcher({recorded("video")["tasks"][0]["data"]["video"]: film})


def edges(step: int, name: str) -> dict[str, float]:
    """The rectangle around an object, in percent."""
    mask = objects_at(step)[name]
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return {
        "x": columns[0] / SIZE[1] * 100,
        "y": rows[0] / SIZE[0] * 100,
        "width": (columns[-1] + 1 - columns[0]) / SIZE[1] * 100,
        "height": (rows[-1] + 1 - rows[0]) / SIZE[0] * 100,
    }


def item(step: int, name: str, *, enabled: bool = True) -> dict[str, Any]:
    shown = edges(step, name)
    return {"frame": step + 1, "enabled": enabled, "rotation": 0, "time": (step + 1) / 25, **shown}


def track(name: str, *items: dict[str, Any], count: int = LENGTH) -> dict[str, Any]:
    (marked,) = copy.deepcopy(recorded("video")["params"]["context"]["result"])
    marked["id"] = name
    marked["value"] |= {"framesCount": count, "duration": LENGTH / 25, "sequence": list(items)}
    return marked


def ask(*tracks: dict[str, Any]) -> dict[str, Any]:
    found = recorded("video")
    found["params"]["context"]["result"] = list(tracks)
    return found


def error_px(found: dict[str, Any], step: int, name: str) -> float:
    """Largest distance of an edge from where it should be, in pixels."""
    truth, scale = edges(step, name), {"x": 6.4, "y": 4.8, "width": 6.4, "height": 4.8}
    return max(abs(found[edge] - truth[edge]) * scale[edge] for edge in truth)


def sequence(region: dict[str, Any]) -> dict[int, dict[str, Any]]:
    frames = [one["frame"] for one in region["value"]["sequence"]]
    assert frames == sorted(set(frames))
    return {one["frame"]: one for one in region["value"]["sequence"]}


def test_the_recorded_request_becomes_a_longer_track_of_the_same_region(trained: Tracker, fetcher: FakeFetcher) -> None:
    asked = recorded("video")
    (marked,) = asked["params"]["context"]["result"]
    (found,) = regions_of(answerer_for(trained, fetcher, frames_range=3).predict(asked))
    assert {key: found[key] for key in marked if key != "value"} == {k: marked[k] for k in marked if k != "value"}
    assert found["value"]["labels"] == marked["value"]["labels"]
    assert found["value"]["sequence"][0] == marked["value"]["sequence"][0]
    assert [one["frame"] for one in found["value"]["sequence"]][:1] == [1]
    assert all(one["time"] == pytest.approx(one["frame"] / 25) for one in found["value"]["sequence"])


def test_objects_are_followed_both_ways_each_by_itself(trained: Tracker, fetcher: FakeFetcher) -> None:
    answers = answerer_for(trained, fetcher).predict(ask(track("a", item(3, "left")), track("b", item(5, "right"))))
    left, right = regions_of(answers)
    assert (left["id"], right["id"]) == ("a", "b")
    for frame, one in sequence(left).items():
        assert error_px(one, frame - 1, "left") < 20
    shown = sequence(right)
    assert sorted(shown) == list(range(1, LENGTH + 1))
    assert all(error_px(one, frame - 1, "right") < 20 for frame, one in shown.items())
    assert all(one["enabled"] for one in shown.values())


def test_a_track_ends_where_the_object_is_gone(trained: Tracker, fetcher: FakeFetcher) -> None:
    (found,) = regions_of(answerer_for(trained, fetcher).predict(ask(track("a", item(0, "left")))))
    shown = sequence(found)
    assert max(shown) in (GONE, GONE + 1) and not shown[max(shown)]["enabled"]
    assert all(one["enabled"] for frame, one in shown.items() if frame < max(shown))


def test_what_a_person_drew_stays_and_is_looked_from(trained: Tracker, fetcher: FakeFetcher) -> None:
    first, second = item(0, "right"), item(9, "right")
    (found,) = regions_of(answerer_for(trained, fetcher).predict(ask(track("a", first, second))))
    shown = sequence(found)
    assert (shown[1], shown[10]) == (first, second)
    assert sorted(shown) == list(range(1, LENGTH + 1))


def test_a_track_that_a_person_ended_is_not_continued(trained: Tracker, fetcher: FakeFetcher) -> None:
    ended = track("a", item(0, "right"), item(4, "right", enabled=False))
    (found,) = regions_of(answerer_for(trained, fetcher).predict(ask(ended)))
    assert max(sequence(found)) == 5


def test_a_corrected_frame_counts_and_what_was_found_is_found_anew(trained: Tracker, fetcher: FakeFetcher) -> None:
    answerer = answerer_for(trained, fetcher, frames_range=4)
    (once,) = regions_of(answerer.predict(ask(track("a", item(0, "right")))))
    assert [one.get(TRACKED) is None for one in once["value"]["sequence"]] == [True] + [False] * 4
    corrected = json.loads(json.dumps(once))
    # As the editor does: numbers change, what else is there stays.
    corrected["value"]["sequence"][3] |= edges(3, "right")
    (tracks,) = read_tracks([corrected])
    assert sorted(tracks.drawn) == [0, 3]
    (twice,) = regions_of(answerer.predict(ask(corrected)))
    shown = sequence(twice)
    assert {edge: shown[4][edge] for edge in edges(3, "right")} == edges(3, "right")
    assert max(shown) == 9


def test_asking_again_goes_on_where_it_ended(trained: Tracker, fetcher: FakeFetcher) -> None:
    answerer = answerer_for(trained, fetcher, frames_range=3)
    (once,) = regions_of(answerer.predict(ask(track("a", item(0, "right")))))
    (twice,) = regions_of(answerer.predict(ask(json.loads(json.dumps(once)))))
    assert (max(sequence(once)), max(sequence(twice))) == (4, 7)


def test_the_video_is_fetched_once(trained: Tracker, fetcher: FakeFetcher) -> None:
    answerer = answerer_for(trained, fetcher, frames_range=1)
    for _ in range(2):
        answerer.predict(ask(track("a", item(0, "right"))))
    assert len(fetcher.fetched) == 1


def test_a_video_that_is_opened_is_there_before_the_first_rectangle(trained: Tracker, fetcher: FakeFetcher) -> None:
    answerer = answerer_for(trained, fetcher, frames_range=1)
    assert answerer.predict(recorded("video") | {"params": {"context": None}}) == []
    assert answerer.ahead.wait(20) and len(fetcher.fetched) == 1
    assert len(regions_of(answerer.predict(ask(track("a", item(0, "right")))))) == 1
    assert len(fetcher.fetched) == 1
    answerer.close()


@pytest.mark.parametrize(("count", "last"), [(LENGTH, 11), (LENGTH + 1, 11), (LENGTH * 2, 11), (LENGTH // 2, 10)])
def test_frames_are_those_that_the_browser_shows(fetcher: FakeFetcher, count: int, last: int) -> None:
    media = fetcher.fetch(recorded("video")["tasks"][0]["data"]["video"])
    video = OpenVideo(Film(media, 1 << 30), count)
    assert video.number(0) == 0 and video.number(count - 1) == last
    if count == LENGTH:
        assert [video.number(page) for page in range(count)] == list(range(count))
    np.testing.assert_array_equal(video(0).pixels.shape, (*SIZE, 3))


def test_a_temporary_file_goes_with_the_video(fetcher: FakeFetcher, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    film = Film(fetcher.fetch(recorded("video")["tasks"][0]["data"]["video"]), 1 << 30)
    video = OpenVideo(film, LENGTH)
    del film
    assert len(list(tmp_path.iterdir())) == 1
    del video
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "wrong",
    [
        {"sequence": None},
        {"sequence": [{"frame": 0}]},
        {"sequence": [{"frame": 1, "x": "a"}]},
        {"framesCount": 0},
        {"framesCount": 1e12},
        {"duration": float("nan")},
        {"duration": "4"},
    ],
)
def test_what_is_no_track_is_a_named_error(tracker: Tracker, fetcher: FakeFetcher, wrong: dict[str, Any]) -> None:
    marked = track("a", item(0, "right"))
    marked["value"] |= wrong
    with pytest.raises(PromptError):
        answerer_for(tracker, fetcher).predict(ask(marked))


def test_a_track_without_rectangles_is_passed_over(tracker: Tracker, fetcher: FakeFetcher) -> None:
    assert regions_of(answerer_for(tracker, fetcher).predict(ask(track("a")))) == []
