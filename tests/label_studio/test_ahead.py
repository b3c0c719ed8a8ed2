"""What is made ready before anybody asks for it: the opened task, and the tasks that come next."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from ls_backend.answering import Answerer, answerer
from ls_backend.answering.ahead import Present
from ls_backend.answering.asking import read_asks
from ls_backend.answering.upcoming import KNOWN_S, RETRY_S, Upcoming
from ls_backend.media_errors import MediaUnavailableError
from ls_backend.settings import MediaSettings, Settings
from ls_backend.turns import Urgency
from sam2_engine.errors import FramesError
from sam2_engine.tracking import Tracker
from tests.label_studio.answering_parts import PAGES, FakeFetcher, answerer_for, click, request

PATIENCE_S = 20.0


class Tasks:
    """A Label Studio with tasks 1 to 9, whose pictures are the scenes f1 to f9."""

    def __init__(self, *found: Any, error: Exception | None = None) -> None:
        self.asked: list[tuple[int, int, int]] = []
        self.found, self.error = found, error

    def next_tasks(self, project: int, after: int, count: int) -> list[Any]:
        self.asked.append((project, after, count))
        if self.error is not None:
            raise self.error
        numbers = range(after + 1, min(after + 1 + count, 10))
        return list(self.found) or [task(number) for number in numbers]


def task(number: int) -> dict[str, Any]:
    return {"id": number, "data": {"image": f"/f{number}.png"}}


def opened(number: int = 1, **more: Any) -> dict[str, Any]:
    """What Label Studio sends when a task is opened."""
    return request(task=task(number), **more) | {"params": {"context": None}}


def until(is_so: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.002)


def done(answers: Answerer) -> bool:
    return answers.ahead.wait(PATIENCE_S) and answers.idle.wait(PATIENCE_S)


class TestOpenedTasks:
    def test_the_picture_is_there_before_the_first_click(self, tracker: Tracker) -> None:
        fetcher = FakeFetcher()
        answers = answerer_for(tracker, fetcher)
        assert answers.predict(opened(0)) == []
        assert done(answers) and fetcher.fetched == ["/f0.png"]
        assert answers.numbers()["misses"] == 1
        answers.predict(request(click(190.3, 200.3)))
        assert fetcher.fetched == ["/f0.png"] and answers.numbers()["misses"] == 1
        answers.close()

    def test_the_first_pages_of_many_are(self, tracker: Tracker) -> None:
        answers = answerer_for(tracker)
        answers.predict(request(config=PAGES) | {"params": {"context": None}})
        assert done(answers) and answers.numbers()["misses"] == answerer.PAGES_AHEAD
        answers.close()

    def test_a_picture_that_cannot_be_fetched_does_no_harm(self, tracker: Tracker) -> None:
        answers = answerer_for(tracker, FakeFetcher({"/f0.png": FramesError("gone")}))
        assert answers.predict(opened(0)) == []
        assert done(answers)
        answers.close()


class TestNextTasks:
    def test_they_are_there_before_they_are_opened(self, tracker: Tracker) -> None:
        fetcher, tasks = FakeFetcher(), Tasks()
        answers = answerer_for(tracker, fetcher, Upcoming(tasks, 2))
        assert answers.predict(opened(1)) == []
        assert done(answers)
        assert tasks.asked == [(1, 1, 2)] and fetcher.fetched == ["/f1.png", "/f2.png", "/f3.png"]
        assert answers.numbers()["misses"] == 3
        answers.predict(request(click(190.3, 200.3), task=task(3)))
        assert len(fetcher.fetched) == 3 and answers.numbers()["misses"] == 3
        answers.close()

    def test_each_is_looked_at_once(self, tracker: Tracker) -> None:
        fetcher = FakeFetcher()
        answers = answerer_for(tracker, fetcher, Upcoming(Tasks(), 2))
        for number in (1, 2, 1, 2):
            answers.predict(opened(number))
            assert done(answers)
        assert sorted(set(fetcher.fetched)) == sorted(fetcher.fetched) == [f"/f{one}.png" for one in (1, 2, 3, 4)]
        answers.close()

    def test_after_a_while_they_are_looked_at_again(self) -> None:
        now = [0.0]
        upcoming = Upcoming(Tasks(), 2, lambda: now[0])
        (ask,) = read_asks(opened(1))[0]
        assert [one.task["id"] for one in upcoming.after(ask)] == [2, 3]
        assert list(upcoming.after(ask)) == []
        now[0] += KNOWN_S + 1
        assert [one.task["id"] for one in upcoming.after(ask)] == [2, 3]

    def test_the_login_of_the_task_data_and_the_tasks_own_number_go_along(self) -> None:
        asked = opened(1) | {"params": {"login": "me", "password": "secret", "context": None}}
        (ask,) = read_asks(asked)[0]
        (upcoming,) = Upcoming(Tasks(), 1).after(ask)
        assert (upcoming.access.login, upcoming.access.password, upcoming.access.task_id) == ("me", "secret", 2)
        assert upcoming.urls(upcoming.config.images[0]) == ["/f2.png"]

    def test_without_label_studios_list_only_the_opened_one_is_looked_at(self, tracker: Tracker) -> None:
        fetcher = FakeFetcher()
        answers = answerer_for(tracker, fetcher)
        answers.predict(opened(1))
        assert done(answers) and fetcher.fetched == ["/f1.png"]
        answers.close()

    @pytest.mark.parametrize(
        ("prewarm", "media"),
        [
            (0, MediaSettings("http://localhost:8080", "0" * 40)),
            (2, MediaSettings("http://localhost:8080")),
            (2, MediaSettings()),
        ],
        ids=["switched off", "no token", "no Label Studio"],
    )
    def test_nobody_is_asked_without_number_address_or_token(self, prewarm: int, media: MediaSettings) -> None:
        assert Upcoming.from_settings(Settings(prewarm_tasks=prewarm, media=media)) is None

    def test_with_a_token_they_are_asked_for(self) -> None:
        media = MediaSettings("http://localhost:8080", "0" * 40)
        assert Upcoming.from_settings(Settings(media=media)) is not None

    def test_label_studio_that_does_not_tell_is_left_alone_for_a_while(self, caplog: pytest.LogCaptureFixture) -> None:
        now, tasks = [0.0], Tasks(error=MediaUnavailableError("it is not there"))
        upcoming = Upcoming(tasks, 2, lambda: now[0])
        (ask,) = read_asks(opened(1))[0]
        with caplog.at_level(logging.WARNING):
            assert list(upcoming.after(ask)) == [] == list(upcoming.after(ask))
        assert len(tasks.asked) == 1 and not caplog.records
        now[0] += RETRY_S + 1
        assert list(upcoming.after(ask)) == [] and len(tasks.asked) == 2

    @pytest.mark.parametrize("found", [{}, {"id": "2", "data": {}}, {"id": 2, "data": None}, {"id": 2}])
    def test_what_is_no_task_is_passed_over(self, found: dict[str, Any]) -> None:
        (ask,) = read_asks(opened(1))[0]
        assert [one.task["id"] for one in Upcoming(Tasks(found, task(3)), 2).after(ask)] == [3]

    @pytest.mark.parametrize("change", [{"project": "one.2"}, {"tasks": [{"data": {}}]}])
    def test_a_task_without_a_number_has_none_after_it(self, change: dict[str, Any]) -> None:
        (ask,) = read_asks(opened(1) | change)[0]
        assert list(Upcoming(Tasks(), 2).after(ask)) == []

    def test_one_that_cannot_be_fetched_does_not_stop_the_others(
        self, tracker: Tracker, caplog: pytest.LogCaptureFixture
    ) -> None:
        fetcher = FakeFetcher({"/f2.png": MediaUnavailableError("gone")})
        answers = answerer_for(tracker, fetcher, Upcoming(Tasks(task(2), {"id": 4, "data": {}}, task(3)), 3))
        with caplog.at_level(logging.WARNING):
            answers.predict(opened(1))
            assert done(answers)
        assert fetcher.fetched == ["/f1.png", "/f2.png", "/f3.png"] and not caplog.records
        answers.close()


class TestPeopleComeFirst:
    def test_nothing_is_fetched_for_later_while_somebody_waits(self, tracker: Tracker) -> None:
        fetcher, tasks = FakeFetcher(), Tasks()
        answers = answerer_for(tracker, fetcher, Upcoming(tasks, 2))
        with answers.present.one_more():
            answers.predict(opened(1))
            assert answers.ahead.wait(PATIENCE_S) and not answers.idle.wait(0.05)
            assert fetcher.fetched == ["/f1.png"] and tasks.asked == []
        assert done(answers) and len(fetcher.fetched) == 3
        answers.close()

    def test_it_is_given_up_where_somebody_always_waits(
        self, tracker: Tracker, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(answerer, "IDLE_PATIENCE_S", 0.05)
        fetcher = FakeFetcher()
        answers = answerer_for(tracker, fetcher, Upcoming(Tasks(), 2))
        with answers.present.one_more():
            answers.predict(opened(1))
            assert done(answers)
        assert done(answers) and fetcher.fetched == ["/f1.png"]
        answers.close()

    def test_a_click_that_comes_in_between_goes_first(self, tracker: Tracker) -> None:
        answers = answerer_for(tracker, FakeFetcher(), Upcoming(Tasks(), 2))
        turns, order = answers.engine.turns, []
        take = turns._take

        def noted(urgency: Urgency, *args: Any, **kwargs: Any) -> None:
            take(urgency, *args, **kwargs)
            order.append(urgency)

        turns._take = noted  # type: ignore[method-assign]
        with turns.turn(Urgency.STEP):
            answers.predict(opened(1))
            until(lambda: turns.waiting == 1)
            clicker = threading.Thread(target=answers.predict, args=(request(click(190.3, 200.3), task=task(5)),))
            clicker.start()
            until(lambda: turns.waiting == 2)
        clicker.join(PATIENCE_S)
        assert done(answers)
        assert order == [Urgency.STEP, Urgency.CLICK, Urgency.AHEAD, Urgency.IDLE, Urgency.IDLE]
        answers.close()

    def test_of_many_opened_tasks_few_are_gone_on_from(self, tracker: Tracker) -> None:
        tasks = Tasks()
        answers = answerer_for(tracker, FakeFetcher(), Upcoming(tasks, 1))
        with answers.present.one_more():
            for number in range(1, 9):
                answers.predict(opened(number))
                assert answers.ahead.wait(PATIENCE_S)
        assert done(answers)
        # One was waiting already when the others came.
        assert len(tasks.asked) <= answerer.MAX_IDLE + 1
        assert max(after for _, after, _ in tasks.asked) == 8
        answers.close()

    def test_closing_does_not_wait_for_it(self, tracker: Tracker) -> None:
        answers = answerer_for(tracker, FakeFetcher(), Upcoming(Tasks(), 2))
        started = time.monotonic()
        with answers.present.one_more():
            answers.predict(opened(1))
            assert answers.ahead.wait(PATIENCE_S)
            answers.close()
        assert time.monotonic() - started < answerer.IDLE_PATIENCE_S / 2

    def test_nobody_waits_only_when_all_have_their_answer(self) -> None:
        present = Present()
        with present.one_more():
            with present.one_more():
                pass
            assert not present.wait_for_nobody(0.01)
        assert present.wait_for_nobody(0.01)
        present.close()
        assert not present.wait_for_nobody(0.01)
