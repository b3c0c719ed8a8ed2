"""Who computes next: order, bounds, requests that were overtaken."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar

import pytest

from ls_backend.answering.ahead import MAX_WAITING, Ahead
from ls_backend.answering.belonging import MAX_REGIONS, MAX_TASKS, MAX_THREADS, Memory, Newest
from ls_backend.turns import BusyError, SupersededError, Turns, Urgency
from tests.label_studio.answering_parts import SIZE, box, click

TASK = ("1", "7")


def waiting(turns: Turns, count: int) -> None:
    """Wait until so many wait."""
    until = time.monotonic() + 20
    while turns.waiting != count:
        assert time.monotonic() < until, f"{turns.waiting} wait, not {count}"
        time.sleep(0.001)


def started(work: list[threading.Thread]) -> None:
    for thread in work:
        thread.start()


def test_one_at_a_time() -> None:
    turns, inside, most = Turns(100), [0], [0]

    def work() -> None:
        with turns.turn(Urgency.CLICK):
            inside[0] += 1
            most[0] = max(most[0], inside[0])
            time.sleep(0.001)
            inside[0] -= 1

    threads = [threading.Thread(target=work) for _ in range(20)]
    started(threads)
    for thread in threads:
        thread.join()
    assert most[0] == 1 and turns.waiting == 0


def test_the_urgent_go_first_and_equals_in_the_order_they_came() -> None:
    turns, order = Turns(100), []

    def work(urgency: Urgency, name: str) -> None:
        with turns.turn(urgency):
            order.append(name)

    threads = []
    with turns.turn(Urgency.CLICK):
        for urgency, name in ((4, "idle"), (3, "ahead"), (1, "step"), (0, "first"), (2, "batch"), (0, "second")):
            threads.append(threading.Thread(target=work, args=(Urgency(urgency), name)))
            threads[-1].start()
            waiting(turns, len(threads))
    for thread in threads:
        thread.join()
    assert order == ["first", "second", "step", "batch", "ahead", "idle"]


def test_one_click_too_many_is_refused_and_steps_are_not() -> None:
    turns = Turns(1)
    clicker = threading.Thread(target=lambda: turns.turn(Urgency.CLICK).__enter__())
    with turns.turn(Urgency.CLICK):
        clicker.start()
        waiting(turns, 1)
        with pytest.raises(BusyError, match="try again"), turns.turn(Urgency.CLICK):
            pass
        with pytest.raises(BusyError):
            turns.check_room()
        stepper = threading.Thread(target=lambda: turns.turn(Urgency.STEP).__enter__(), daemon=True)
        stepper.start()
        waiting(turns, 2)
    clicker.join()


def test_who_has_the_device_lets_the_urgent_pass_only() -> None:
    turns, order = Turns(10), []

    def work(urgency: Urgency, name: str) -> None:
        with turns.turn(urgency):
            order.append(name)

    threads = [threading.Thread(target=work, args=(Urgency.CLICK, "click"))]
    threads.append(threading.Thread(target=work, args=(Urgency.AHEAD, "ahead")))
    with turns.turn(Urgency.BATCH):
        turns.let_pass(Urgency.BATCH)
        started(threads)
        waiting(turns, 2)
        turns.let_pass(Urgency.BATCH)
        order.append("batch")
    for thread in threads:
        thread.join()
    assert order == ["click", "batch", "ahead"]


def test_all_work_is_done_in_one_thread_and_knows_whose_it_is() -> None:
    turns, whose = Turns(100), ContextVar("whose", default=0)

    def work(number: int) -> tuple[int, int, int]:
        whose.set(number)
        return number, *turns.run(lambda: (whose.get(), threading.get_ident()), Urgency.CLICK)

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(work, range(40)))
    assert all(asked == known for asked, known, _ in found)
    assert len({thread for _, _, thread in found}) == 1
    turns.close()


def test_work_raises_what_it_raises_and_is_not_begun_where_it_is_stale() -> None:
    turns = Turns(1)
    with pytest.raises(ZeroDivisionError):
        turns.run(lambda: 1 // 0, Urgency.CLICK)
    with pytest.raises(SupersededError):
        turns.run(lambda: pytest.fail("begun"), Urgency.CLICK, lambda: True)
    assert turns.run(lambda: 1, Urgency.CLICK) == 1
    turns.close()
    assert turns.run(lambda: 2, Urgency.CLICK) == 2
    turns.close()


def test_an_error_gives_the_device_back() -> None:
    turns = Turns(1)
    with pytest.raises(ZeroDivisionError), turns.turn(Urgency.CLICK):
        raise ZeroDivisionError
    with turns.turn(Urgency.CLICK):
        pass


def test_who_was_overtaken_while_waiting_leaves_at_once() -> None:
    turns, newest, outcome = Turns(10), Newest(), []
    first, second = click(1, 1), click(2, 2)
    is_stale = newest.enter(TASK, [first])

    def work() -> None:
        try:
            with turns.turn(Urgency.CLICK, is_stale):
                outcome.append("answered")
        except SupersededError:
            outcome.append("left")

    thread = threading.Thread(target=work)
    with turns.turn(Urgency.CLICK):
        thread.start()
        waiting(turns, 1)
        newest.enter(TASK, [first, second])
        turns.look_again()
        thread.join(20)
        assert outcome == ["left"]


class TestNewest:
    def test_only_requests_about_the_same_regions_of_the_same_task_overtake(self) -> None:
        newest = Newest()
        first, second = click(1, 1), click(2, 2)
        is_stale = newest.enter(TASK, [first])
        newest.enter(TASK, [second])
        newest.enter(("1", "8"), [first])
        newest.enter(TASK, [{"type": "keypointlabels"}])
        assert not is_stale()
        newer = newest.enter(TASK, [first, second])
        assert is_stale() and not newer()

    def test_what_is_remembered_is_bounded(self) -> None:
        newest = Newest()
        for number in range(MAX_REGIONS + 100):
            newest.enter(TASK, [{"id": str(number)}])
        assert len(newest) == MAX_REGIONS


class TestMemory:
    def test_prompts_are_forgotten_after_a_while(self) -> None:
        now = [0.0]
        memory = Memory(60, lambda: now[0])
        memory.join(TASK, [box(10, 10, 100, 100)], SIZE)
        now[0] = 61
        assert memory.join(TASK, [click(50, 50)], SIZE) == []

    def test_what_was_joined_once_stays_joined(self) -> None:
        memory = Memory()
        drawn, first = box(10, 10, 100, 100), click(50, 50)
        memory.join(TASK, [drawn], SIZE)
        assert memory.join(TASK, [first], SIZE) == [drawn]
        memory.join(TASK, [click(300, 300, "Dog")], SIZE)
        assert memory.join(TASK, [first, click(60, 60)], SIZE) == [drawn]

    def test_clicks_are_joined_to_a_box_drawn_after_them(self) -> None:
        memory = Memory()
        clicks = [click(50, 50), click(60, 60, positive=False)]
        memory.join(TASK, clicks, SIZE)
        assert memory.join(TASK, [box(10, 10, 100, 100)], SIZE) == clicks

    def test_what_was_accepted_is_joined_no_more(self) -> None:
        memory, drawn = Memory(), box(10, 10, 100, 100)
        memory.join(TASK, [drawn], SIZE)
        memory.answered(TASK, [drawn], {"answer"})
        assert memory.join(TASK, [click(50, 50)], SIZE, accepted={"answer"}) == []

    def test_other_labels_and_pages_are_not_joined(self) -> None:
        for other in (click(50, 50, "Dog"), click(50, 50, item_index=1), click(50, 50, to_name="other")):
            memory = Memory()
            memory.join(TASK, [box(10, 10, 100, 100)], SIZE)
            assert memory.join(TASK, [other], SIZE) == []

    def test_regions_without_names_are_not_remembered(self) -> None:
        memory = Memory()
        drawn = box(10, 10, 100, 100)
        del drawn["id"]
        memory.join(TASK, [drawn], SIZE)
        assert memory.join(TASK, [click(50, 50)], SIZE) == []

    def test_tasks_that_are_remembered_are_bounded(self) -> None:
        memory = Memory()
        for number in range(MAX_TASKS + 200):
            memory.join(("1", str(number)), [click(5, 5)], SIZE)
        assert len(memory) == MAX_TASKS

    def test_what_is_remembered_of_a_task_is_bounded_and_nothing_is_joined_then(self) -> None:
        memory = Memory()
        memory.join(TASK, [box(10, 10, 100, 100)], SIZE)
        for number in range(3 * MAX_THREADS):
            assert memory.join(TASK, [click(50, 50, id=str(number))], SIZE) == [] or number == 0
        assert len(memory._tasks[TASK]) == MAX_THREADS

    def test_tasks_that_nobody_is_at_any_more_are_forgotten(self) -> None:
        now = [0.0]
        memory = Memory(60, lambda: now[0])
        for number in range(10):
            memory.join(("1", str(number)), [click(5, 5)], SIZE)
            now[0] += 10
        # Those asked about in the last minute.
        assert len(memory) == 7


class TestAhead:
    def test_the_newest_comes_first_and_the_oldest_go_where_too_many_wait(self) -> None:
        ahead, done, begun, go = Ahead(), [], threading.Event(), threading.Event()

        def first() -> None:
            begun.set()
            go.wait(20)

        ahead.put(first)
        assert begun.wait(20)
        for number in range(MAX_WAITING + 3):
            ahead.put(lambda number=number: done.append(number))  # type: ignore[misc]
        go.set()
        assert ahead.wait(20)
        assert done == [*range(MAX_WAITING + 2, 2, -1)]
        ahead.close()

    def test_what_fails_does_not_end_it(self, caplog: pytest.LogCaptureFixture) -> None:
        ahead, done = Ahead(), []

        def fail() -> None:
            raise ZeroDivisionError

        ahead.put(fail)
        assert ahead.wait(20)
        ahead.put(lambda: done.append(1))
        assert ahead.wait(20) and done == [1] and "looked at ahead" in caplog.text
        ahead.close()

    def test_nothing_is_done_after_it_was_closed(self) -> None:
        ahead, done = Ahead(), []
        ahead.close()
        ahead.put(lambda: done.append(1))
        assert ahead.wait(1) and not done
