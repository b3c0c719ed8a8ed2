"""Memories keep to their bytes: the least needed are forgotten, those that tracking looks at never."""

from __future__ import annotations

import logging

import torch

from sam2_engine.history import History
from sam2_engine.memory import MemoryEntry, RecentFrames
from sam2_engine.memory_room import MemoryRoom
from sam2_engine.prompts import Click, Prompts
from sam2_engine.session import Session
from sam2_engine.track import Track


def entry(frame: int, *, prompted: bool = False) -> MemoryEntry:
    plane = torch.zeros(1, 1, 4, 4)
    return MemoryEntry(frame, prompted, 1, plane, plane, plane, 0.5, plane)


SIZE = entry(0).nbytes


def track(frames: range, *prompted: int, keep: int = 48) -> Track:
    made = Track(RecentFrames(keep=keep))
    for frame in frames:
        made.bank.put(entry(frame, prompted=frame in prompted))
    return made


def test_nothing_is_forgotten_while_there_is_room():
    made = track(range(100), 0)
    MemoryRoom(100 * SIZE).make([made], 99)
    assert len(made.bank) == 100


def test_what_lies_behind_goes_before_what_tracking_looks_at():
    made = track(range(100), 0, 50)
    MemoryRoom(60 * SIZE).make([made], 99)
    assert len(made.bank) <= 60
    assert set(made.bank.prompted) == {0, 50} and set(range(83, 100)) <= set(made.bank.recent)


def test_what_cannot_be_spared_stays_and_is_told_of_once(caplog):
    made = track(range(100), 0, 50)
    room = MemoryRoom(SIZE)
    with caplog.at_level(logging.WARNING):
        room.make([made], 99)
        room.make([made], 99)
    assert set(made.bank.recent) == set(range(83, 100)) and set(made.bank.prompted) == {0, 50}
    assert len(caplog.records) == 1 and "give it more memory" in caplog.text


def test_a_tight_session_tracks_as_a_wide_one(clip, tracker):
    found = []
    for room in (1 << 30, 0):
        session = Session(clip, tracker)
        session._room = MemoryRoom(room)
        session.prompt("a", 0, Prompts((Click(12, 10),)))
        found.append([masks.masks["a"] for masks in session.propagate()])
    assert all((one == other).all() for one, other in zip(*found, strict=True))


class TestHistory:
    def states(self, history: History, count: int) -> dict[str, Track]:
        """So many steps, each of which makes ten memories of its own."""
        present: dict[str, Track] = {}
        for number in range(count):
            history.remember(present)
            present = {"a": track(range(10 * number, 10 * number + 10), 10 * number)}
        return present

    def test_memories_that_only_undo_needs_are_bounded(self):
        history = History(max_bytes=25 * SIZE)
        present = self.states(history, 10)
        history.shrink(present)
        # Nine of ten memories of a step are of frames that were only tracked; prompted ones stay.
        assert history.nbytes(present) <= 25 * SIZE + 10 * SIZE
        undone = [history.undo(present) for _ in range(9)]
        assert all(state is not None and list(state["a"].bank.prompted) for state in undone)
        assert len(undone[0]["a"].bank) == 10 and len(undone[-1]["a"].bank) == 1  # type: ignore[index]

    def test_what_the_present_holds_too_costs_nothing(self):
        history = History(max_bytes=0)
        shared = {"a": track(range(10), 0)}
        for _ in range(5):
            history.remember(shared)
        history.shrink(shared)
        assert history.nbytes(shared) == 0
        assert history.undo(shared) == shared

    def test_later_states_are_bounded_too(self):
        history = History(max_bytes=25 * SIZE)
        present = self.states(history, 10)
        while (before := history.undo(present)) is not None:
            present = before
            history.shrink(present)
        assert history.nbytes(present) <= 25 * SIZE + 10 * SIZE
        assert history.redo(present) is not None
