"""Threads beside the work: same results in the same order, errors reach the caller, nothing is left running."""

from __future__ import annotations

import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sam2_engine.pipeline import Behind, made_ahead


def threads() -> int:
    return sum(thread.name in ("made-ahead", "behind") for thread in threading.enumerate())


@pytest.fixture(autouse=True)
def nothing_is_left_running():
    yield
    assert threads() == 0


class TestMadeAhead:
    @pytest.mark.property
    @given(st.lists(st.integers(), max_size=12), st.integers(0, 3))
    def test_it_gives_what_a_loop_would(self, keys, depth):
        assert list(made_ahead(keys, str, depth)) == [(key, str(key)) for key in keys]

    def test_the_next_value_is_made_while_the_caller_works(self):
        def slow(key: int) -> int:
            time.sleep(0.05)
            return key

        started = time.perf_counter()
        for _ in made_ahead(range(8), slow):
            time.sleep(0.05)
        assert time.perf_counter() - started < 0.65  # one after the other they take 0.8 s

    def test_no_more_is_made_than_may_wait(self):
        made: list[int] = []
        line = made_ahead(range(100), made.append, depth=2)
        next(line)
        time.sleep(0.2)
        # One was taken, two wait, one is in the thread's hands.
        assert len(made) == 4
        line.close()

    def test_an_error_comes_at_its_place(self):
        def fails_at_three(key: int) -> int:
            if key == 3:
                raise OSError("the disk is gone")
            return key

        seen = []
        with pytest.raises(OSError, match="disk is gone"):
            for key, _ in made_ahead(range(9), fails_at_three):
                seen.append(key)
        assert seen == [0, 1, 2]

    def test_an_error_in_the_keys_comes_too(self):
        def keys():
            yield 1
            raise ValueError("no further key")

        with pytest.raises(ValueError, match="no further"):
            list(made_ahead(keys(), str))

    def test_closing_early_ends_the_thread_though_it_waits_for_room(self):
        line = made_ahead(range(100), str, depth=1)
        next(line)
        time.sleep(0.05)
        line.close()
        assert threads() == 0

    def test_a_caller_that_fails_ends_the_thread(self):
        with pytest.raises(ZeroDivisionError):
            for _ in made_ahead(range(100), str):
                1 / 0  # noqa: B018


class TestBehind:
    def test_jobs_are_done_in_order_while_the_caller_works(self):
        done: list[int] = []

        def job(number: int) -> None:
            time.sleep(0.05)
            done.append(number)

        started = time.perf_counter()
        with Behind() as behind:
            for number in range(8):
                behind.do(lambda number=number: job(number))
                time.sleep(0.05)
        assert done == list(range(8)) and time.perf_counter() - started < 0.65

    def test_waiting_means_that_everything_is_done(self):
        done: list[int] = []
        with Behind(depth=5) as behind:
            for number in range(5):
                behind.do(lambda number=number: (time.sleep(0.01), done.append(number)))
            behind.wait()
            assert len(done) == 5

    def test_who_brings_too_much_waits(self):
        gate = threading.Event()
        with Behind(depth=1) as behind:
            behind.do(gate.wait)
            behind.do(lambda: None)
            late = threading.Thread(target=behind.do, args=(lambda: None,))
            late.start()
            late.join(0.1)
            assert late.is_alive()
            gate.set()
            late.join(5)
            assert not late.is_alive()

    def test_an_error_is_raised_once_and_the_rest_is_left_undone(self):
        done: list[int] = []
        behind = Behind(depth=4)
        behind.do(lambda: 1 / 0)
        behind.do(lambda: done.append(1))
        with pytest.raises(ZeroDivisionError):
            behind.close()
        behind.do(lambda: done.append(2))
        behind.close()
        assert done == [2]

    def test_an_error_of_the_caller_is_what_is_raised(self):
        with pytest.raises(KeyError) as caught, Behind() as behind:
            behind.do(lambda: 1 / 0)
            time.sleep(0.05)
            raise KeyError("mine")
        assert "division" in caught.value.__notes__[0]
