"""Many annotators at once, restarts, caches: the answer is always the one that a request has by itself."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ls_backend.answering import Answerer
from ls_backend.keeping import Addresses
from ls_backend.settings import CacheSettings
from ls_backend.turns import BusyError, Urgency
from sam2_engine.tracking import Tracker
from tests.label_studio.answering_parts import (
    PAGES,
    FakeFetcher,
    answerer_for,
    box,
    click,
    masks_of,
    regions_of,
    request,
)


def clicks(task: int, seed: int, count: int) -> dict[str, Any]:
    """A request of its own kind: some clicks, on one of a few pictures."""
    rng = np.random.default_rng(seed)
    points = rng.uniform((60, 60), (580, 420), (count, 2))
    marked = [click(x, y, positive=index % 3 != 2, id=f"{task}-{seed}-{index}") for index, (x, y) in enumerate(points)]
    return request(*marked, task={"id": task, "data": {"image": f"/f{task % 4}.png"}})


def same(one: list[dict[str, Any]], other: list[dict[str, Any]]) -> bool:
    """Whether both have the same masks and scores; ids differ."""
    first, second = masks_of(one), masks_of(other)
    return (
        first.keys() == second.keys()
        and all(np.array_equal(a, b) for page in first for a, b in zip(first[page], second[page], strict=True))
        and one[0]["score"] == other[0]["score"]
    )


@pytest.mark.parametrize("ram_bytes", [64 << 20, 0], ids=["everything kept", "nothing kept"])
def test_twenty_annotators_at_once_get_what_each_would_get_alone(tracker: Tracker, ram_bytes: int) -> None:
    asked = [clicks(task, seed, 1 + seed % 3) for task in range(4) for seed in range(5)]
    alone = [answerer_for(tracker).predict(one) for one in asked[:3]]
    serial = answerer_for(tracker)
    expected = [serial.predict(one) for one in asked]
    assert all(same(one, other) for one, other in zip(alone, expected, strict=False))
    together = answerer_for(tracker, cache=CacheSettings(ram_bytes=ram_bytes), queue_size=100)
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(together.predict, asked))
    assert all(same(one, other) for one, other in zip(answers, expected, strict=True))


def test_a_picture_that_many_ask_for_at_once_is_fetched_and_encoded_once(tracker: Tracker) -> None:
    fetcher = FakeFetcher(delay_s=0.05)
    answerer = answerer_for(tracker, fetcher)
    asked = [clicks(4 * number, 7, 1) for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(answerer.predict, asked))
    assert fetcher.fetched == ["/f0.png"]
    assert answerer.numbers()["misses"] == 1


def test_an_overtaken_click_is_answered_with_nothing_and_the_newest_as_if_alone(tracker: Tracker) -> None:
    answerer = answerer_for(tracker)
    expected = answerer_for(tracker).predict(clicks(1, 3, 3))
    answerer.predict(clicks(1, 99, 1))
    with ThreadPoolExecutor(3) as pool:
        with answerer.engine.turns.turn(Urgency.CLICK):
            answers = []
            for count in (1, 2, 3):
                answers.append(pool.submit(answerer.predict, clicks(1, 3, count)))
                while answerer.newest._count < 1 + count:
                    threading.Event().wait(0.001)
            assert regions_of(answers[0].result(20)) == [] == regions_of(answers[1].result(20))
        assert same(answers[2].result(20), expected)


def test_too_many_clicks_are_refused_and_the_others_answered(tracker: Tracker) -> None:
    answerer = answerer_for(tracker, queue_size=1)
    answerer.predict(clicks(1, 50, 1))
    with ThreadPoolExecutor(1) as pool:
        with answerer.engine.turns.turn(Urgency.CLICK):
            waiting = pool.submit(answerer.predict, clicks(1, 51, 1))
            while not answerer.engine.turns.waiting:
                threading.Event().wait(0.001)
            with pytest.raises(BusyError):
                answerer.predict(clicks(1, 52, 1))
        assert waiting.result(20)


def test_carrying_masks_over_pages_lets_clicks_pass(tracker: Tracker) -> None:
    answerer, order = answerer_for(tracker), []
    turns, take = answerer.engine.turns, answerer.engine.turns._take

    def noted(urgency: Urgency, *args: Any, **kwargs: Any) -> None:
        take(urgency, *args, **kwargs)
        order.append(urgency)

    turns._take = noted  # type: ignore[method-assign]
    answers = masks_of(answerer.predict(request(box(100, 100, 180, 180), config=PAGES)))
    assert sorted(answers) == list(range(6))
    assert order == [Urgency.CLICK] + [Urgency.STEP] * 5


class TestRestarts:
    def test_the_next_click_works_in_a_new_process(self, tracker: Tracker) -> None:
        first, second = clicks(1, 5, 1), clicks(1, 5, 2)
        before = answerer_for(tracker)
        before.predict(first)
        expected = before.predict(second)
        assert same(answerer_for(tracker).predict(second), expected)

    def restarted(self, tracker: Tracker, folder: Path) -> Answerer:
        return answerer_for(tracker, cache=CacheSettings(64 << 20, folder))

    def test_what_was_encoded_is_found_on_disk_and_gives_the_same_mask(self, tracker: Tracker, tmp_path: Path) -> None:
        before = self.restarted(tracker, tmp_path)
        expected = before.predict(clicks(1, 5, 2))
        before.engine.close()
        after = self.restarted(tracker, tmp_path)
        assert same(after.predict(clicks(1, 5, 2)), expected)
        assert (after.numbers()["misses"], after.numbers()["hits_on_disk"]) == (0, 1)
        after.engine.close()

    def test_files_cut_short_are_made_again(self, tracker: Tracker, tmp_path: Path) -> None:
        before = self.restarted(tracker, tmp_path)
        expected = before.predict(clicks(1, 5, 2))
        before.engine.close()
        (stored,) = tmp_path.rglob("*.safetensors")
        stored.write_bytes(stored.read_bytes()[:-100])
        after = self.restarted(tracker, tmp_path)
        assert same(after.predict(clicks(1, 5, 2)), expected)
        assert after.numbers()["misses"] == 1
        after.engine.close()
        again = self.restarted(tracker, tmp_path)
        assert same(again.predict(clicks(1, 5, 2)), expected) and again.numbers()["misses"] == 0
        again.engine.close()

    def test_a_place_where_nothing_can_be_written_does_no_harm(self, tracker: Tracker, tmp_path: Path) -> None:
        blocked = tmp_path / "file"
        blocked.write_text("no folder")
        answerer = self.restarted(tracker, blocked)
        expected = self.restarted(tracker, tmp_path / "good")
        assert same(answerer.predict(clicks(1, 5, 2)), expected.predict(clicks(1, 5, 2)))
        answerer.engine.close()
        expected.engine.close()


@pytest.mark.property
@settings(max_examples=8)
@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 2), st.integers(1, 3)), min_size=1, max_size=4),
    st.integers(0, 1 << 22),
)
def test_an_answer_never_depends_on_what_was_asked_before(
    tiny_model: Any, asked: list[tuple[int, int, int]], ram_bytes: int
) -> None:
    answerer = answerer_for(Tracker(tiny_model), cache=CacheSettings(ram_bytes=ram_bytes))
    for task, seed, count in asked:
        # Another label, so that nothing belongs together.
        answerer.predict(clicks(task, seed, count))
    last = clicks(*asked[0])
    assert same(answerer.predict(last), answerer_for(Tracker(tiny_model)).predict(last))


def test_a_picture_that_changes_at_its_address_is_seen_as_it_is_now(tracker: Tracker) -> None:
    fetcher = FakeFetcher()
    answerer = answerer_for(tracker, fetcher)
    answerer.predict(clicks(0, 1, 1))
    fetcher.files["/f0.png"] = fetcher._scene("/f3.png")
    # Its time is up.
    answerer.store.pictures._addresses = Addresses()
    moved = clicks(0, 1, 1)
    elsewhere = clicks(0, 1, 1)
    elsewhere["tasks"][0]["data"]["image"] = "/f3.png"
    assert same(answerer.predict(moved), answerer_for(tracker).predict(elsewhere))


def test_memory_is_bounded(tracker: Tracker) -> None:
    answerer = answerer_for(tracker, cache=CacheSettings(ram_bytes=4 << 20))
    for task in range(8):
        for seed in range(3):
            asked = clicks(task, seed, 1)
            asked["tasks"][0]["data"]["image"] = f"/f{task}.png"
            answerer.predict(asked)
    numbers = answerer.numbers()
    assert numbers["window_bytes"] <= 2 << 20
    assert numbers["picture_bytes"] <= max(1 << 20, 480 * 640 * 3)
    assert numbers["works"] <= 8
