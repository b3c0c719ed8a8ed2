"""What people do with a session, and what it promises."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from sam2_engine.errors import (
    FramesError,
    PromptError,
    SessionError,
    SessionFileError,
    UnknownObjectError,
)
from sam2_engine.frames import LiveFrames
from sam2_engine.memory import RecentFrames
from sam2_engine.outputs import FrameMasks
from sam2_engine.prompts import Box, Click, Prompts
from sam2_engine.session import Session
from sam2_engine.tracking import Tracker

FIRST = Prompts((Click(12, 10),))
SECOND = Prompts(box=Box(27, 21, 41, 35))


def snapshot(masks: FrameMasks) -> dict[Any, bytes]:
    return {obj: mask.tobytes() for obj, mask in masks.masks.items()}


def run(session: Session, way: str = "forward", **where: Any) -> dict[int, dict[Any, bytes]]:
    return {masks.frame: snapshot(masks) for masks in session.propagate(way, **where)}  # type: ignore[arg-type]


@pytest.fixture
def session(clip: NDArray[np.uint8], tracker: Tracker) -> Session:
    return Session(clip, tracker)


def test_a_prompt_answers_with_a_mask_at_image_size(session: Session) -> None:
    mask = session.prompt("cell", 0, FIRST)
    assert mask.shape == (40, 48)
    assert mask.dtype == np.bool_
    assert session.objects == ("cell",)
    np.testing.assert_array_equal(session.masks(0).masks["cell"], mask)


def test_propagation_covers_every_frame_from_the_anchor_on(session: Session) -> None:
    session.prompt(1, 2, FIRST)
    assert list(run(session)) == [2, 3, 4, 5, 6, 7]
    assert list(run(session, "backward")) == [2, 1, 0]
    assert list(run(session, "both")) == [2, 3, 4, 5, 6, 7, 1, 0]
    assert list(run(session, max_frames=2)) == [2, 3, 4]
    assert set(session.scores(1)) == set(range(8))


def test_each_object_starts_at_its_own_anchor(session: Session) -> None:
    session.prompt(1, 1, FIRST)
    session.prompt(2, 4, SECOND)
    forward = run(session)
    assert [set(objects) for objects in forward.values()] == [{1}] * 3 + [{1, 2}] * 4
    backward = run(session, "backward")
    assert [set(objects) for objects in backward.values()] == [{2}] * 3 + [{1, 2}] * 2


def test_going_both_ways_yields_every_object_on_every_frame(session: Session) -> None:
    session.prompt(1, 0, FIRST)
    session.prompt(2, 4, SECOND)
    pairs = [(m.frame, obj) for m in session.propagate("both") for obj in m.masks]
    assert set(pairs) == {(frame, obj) for frame in range(8) for obj in (1, 2)}


def test_closing_the_generator_keeps_what_was_done(session: Session) -> None:
    session.prompt(1, 0, FIRST)
    running = session.propagate()
    done = [next(running).frame for _ in range(3)]
    running.close()
    assert done == [0, 1, 2]
    assert set(session.scores(1)) == {0, 1, 2}
    session.prompt(1, 2, FIRST)  # editing is possible again


def test_a_correction_on_a_tracked_frame_stays(session: Session) -> None:
    session.prompt(1, 0, FIRST)
    run(session)
    corrected = session.prompt(1, 5, SECOND)
    assert session.anchors(1) == (0, 5)
    again = run(session)
    assert again[5][1] == corrected.tobytes()


def test_the_published_default_loses_the_correction(clip: NDArray[np.uint8], tracker: Tracker) -> None:
    session = Session(clip, tracker, corrections_stay=False)
    session.prompt(1, 0, FIRST)
    before = run(session)
    session.prompt(1, 5, SECOND)
    assert run(session)[5] == before[5]


def test_undo_equals_never_done_for_every_action(session: Session, clip: NDArray[np.uint8], tracker: Tracker) -> None:
    session.prompt(1, 0, FIRST)
    session.prompt(2, 3, SECOND)
    run(session, max_frames=4)
    actions = (
        lambda: session.prompt(1, 0, FIRST.plus(Click(30, 5, positive=False))),
        lambda: session.prompt(3, 1, SECOND),
        lambda: session.clear(2, 3),
        lambda: session.remove(1),
        lambda: run(session),
        session.reset,
    )
    for action in actions:
        action()
        assert session.undo()
    untouched = Session(clip, tracker)
    untouched.prompt(1, 0, FIRST)
    untouched.prompt(2, 3, SECOND)
    run(untouched, max_frames=4)
    assert [snapshot(session.masks(f)) for f in range(8)] == [snapshot(untouched.masks(f)) for f in range(8)]
    assert run(session) == run(untouched)


def test_redo_brings_back_what_was_undone(session: Session) -> None:
    session.prompt(1, 0, FIRST)
    session.prompt(2, 0, SECOND)
    both = snapshot(session.masks(0))
    assert session.undo()
    assert session.objects == (1,)
    assert session.redo()
    assert snapshot(session.masks(0)) == both
    assert not session.redo()


def test_undo_on_a_fresh_session_does_nothing(session: Session) -> None:
    assert not session.undo()
    assert not session.redo()


def test_removing_one_object_keeps_the_others(session: Session) -> None:
    session.prompt(1, 0, FIRST)
    session.prompt(2, 0, SECOND)
    before = run(session)
    session.remove(1)
    assert session.objects == (2,)
    assert {frame: objects[2] for frame, objects in before.items()} == {
        frame: objects[2] for frame, objects in run(session).items()
    }


def test_moving_a_click_forgets_the_earlier_answer(session: Session, clip: NDArray[np.uint8], tracker: Tracker) -> None:
    session.prompt(1, 0, Prompts((Click(40, 36),)))
    moved = session.prompt(1, 0, FIRST)
    np.testing.assert_array_equal(moved, Session(clip, tracker).prompt(1, 0, FIRST))


def test_adding_a_click_refines_the_earlier_answer(session: Session, clip: NDArray[np.uint8], tracker: Tracker) -> None:
    two = FIRST.plus(Click(14, 12))
    session.prompt(1, 0, FIRST)
    refined = session.prompt(1, 0, two)
    at_once = Session(clip, tracker).prompt(1, 0, two)
    assert not np.array_equal(refined, at_once)


def test_clearing_a_prompt_takes_its_mask_away(session: Session) -> None:
    session.prompt(1, 0, FIRST)
    session.prompt(1, 4, SECOND)
    session.clear(1, 4)
    assert set(session.prompts(1)) == {0}
    assert 1 not in session.masks(4).masks or session.masks(4).masks[1].any()
    assert session.anchors(1) == (0,)


def test_a_mask_prompt_is_what_is_shown(session: Session) -> None:
    given = np.zeros((40, 48), dtype=bool)
    given[8:24, 10:30] = True
    shown = session.prompt(1, 0, Prompts(mask=given))
    overlap = (given & shown).sum() / (given | shown).sum()
    assert overlap > 0.9  # the mask grid is a quarter of the model's 64 pixels wide


def test_exclusive_objects_share_no_pixel(clip: NDArray[np.uint8], tracker: Tracker) -> None:
    session = Session(clip, tracker, exclusive=True)
    session.prompt(1, 0, FIRST)
    session.prompt(2, 0, Prompts((Click(13, 11),)))
    for masks in session.propagate():
        assert not (masks.masks[1] & masks.masks[2]).any()


def test_live_frames_can_be_appended_and_tracked(clip: NDArray[np.uint8], tracker: Tracker) -> None:
    session = Session(LiveFrames(), tracker)
    for image in clip[:3]:
        session.append(image)
    session.prompt(1, 0, FIRST)
    assert list(run(session)) == [0, 1, 2]
    assert session.append(clip[3]) == 3
    assert list(run(session, start=3)) == [3]


def test_only_live_sequences_grow(session: Session, clip: NDArray[np.uint8]) -> None:
    with pytest.raises(SessionError, match="LiveFrames"):
        session.append(clip[0])


def test_the_bank_forgets_frames_that_no_plan_can_name(clip: NDArray[np.uint8], tracker: Tracker) -> None:
    long = np.concatenate([clip] * 6)

    def policy() -> RecentFrames:
        return RecentFrames(keep=0)

    session = Session(long, tracker, policy=policy)
    session.prompt(1, 0, FIRST)
    run(session)
    recent = session._tracks[1].bank.recent
    # Near the end and around the prompted frame, which a backward pass would need.
    assert set(recent) == set(range(1, 17)) | set(range(31, 48))
    assert len(session.scores(1)) == 48


def test_forgetting_frames_changes_no_mask(clip: NDArray[np.uint8], tracker: Tracker) -> None:
    long = np.concatenate([clip] * 5)

    def masks_with(keep: int) -> dict[int, dict[Any, bytes]]:
        session = Session(long, tracker, policy=lambda: RecentFrames(keep=keep))
        session.prompt(1, 3, FIRST)
        return run(session, "both")

    assert masks_with(0) == masks_with(1000)


def test_a_click_on_a_forgotten_frame_refines_its_mask(clip: NDArray[np.uint8], tracker: Tracker) -> None:
    long = np.concatenate([clip] * 6)
    session = Session(long, tracker, policy=lambda: RecentFrames(keep=0))
    session.prompt(1, 0, FIRST)
    run(session)
    assert 24 not in session._tracks[1].bank.recent
    session.prompt(1, 24, SECOND)
    assert session.anchors(1) == (0, 24)


class TestBadInput:
    def test_unknown_object(self, session: Session) -> None:
        with pytest.raises(UnknownObjectError, match="no object 'x'"):
            session.remove("x")
        with pytest.raises(UnknownObjectError):
            session.clear("x", 0)
        with pytest.raises(UnknownObjectError):
            list(session.propagate(objects=["x"]))

    def test_absent_frame(self, session: Session) -> None:
        for frame in (-1, 8):
            with pytest.raises(FramesError, match="frames are 0 to 7"):
                session.prompt(1, frame, FIRST)
        session.prompt(1, 0, FIRST)
        with pytest.raises(FramesError):
            list(session.propagate(start=8))

    @pytest.mark.parametrize(
        "prompts",
        [
            Prompts(),
            Prompts((Click(-1, 5),)),
            Prompts((Click(5, 41),)),
            Prompts(box=Box(60, 60, 70, 70)),
            Prompts(mask=np.ones((10, 10), dtype=bool)),
        ],
        ids=["nothing", "left of the image", "below the image", "box outside", "mask of another size"],
    )
    def test_prompts_that_cannot_be_used_change_nothing(self, session: Session, prompts: Prompts) -> None:
        session.prompt(1, 0, FIRST)
        before = snapshot(session.masks(0))
        with pytest.raises(PromptError):
            session.prompt(1, 0, prompts)
        assert snapshot(session.masks(0)) == before
        assert session.prompts(1)[0] is FIRST

    def test_propagating_before_any_prompt(self, session: Session) -> None:
        with pytest.raises(SessionError, match="prompt an object"):
            next(session.propagate())

    def test_propagating_while_another_runs(self, session: Session) -> None:
        session.prompt(1, 0, FIRST)
        running = session.propagate()
        next(running)
        with pytest.raises(SessionError, match="another propagation"):
            next(session.propagate())
        with pytest.raises(SessionError, match="close its generator"):
            session.prompt(1, 1, FIRST)
        assert [masks.frame for masks in running] == list(range(1, 8))

    def test_propagating_twice_gives_the_same(self, session: Session) -> None:
        session.prompt(1, 0, FIRST)
        assert run(session) == run(session)

    def test_an_object_whose_prompts_are_gone_is_left_out(self, session: Session) -> None:
        session.prompt(1, 0, FIRST)
        session.prompt(2, 0, SECOND)
        session.clear(1, 0)
        assert all(set(objects) == {2} for objects in run(session).values())
        session.clear(2, 0)
        with pytest.raises(SessionError):
            next(session.propagate())

    def test_a_frame_that_cannot_be_read_leaves_the_session_usable(
        self, clip: NDArray[np.uint8], tracker: Tracker
    ) -> None:
        broken = clip.astype(np.float32)
        broken[4, 0, 0] = np.nan
        session = Session(broken[[0, 1, 2, 3, 5, 6, 4]], tracker)
        with pytest.raises(ValueError, match="NaN"):
            session.prompt(1, 6, FIRST)


class TestSaving:
    def test_save_and_load_changes_nothing(
        self, session: Session, clip: NDArray[np.uint8], tracker: Tracker, tmp_path: Path
    ) -> None:
        session.prompt("a", 0, FIRST)
        run(session, max_frames=4)
        session.prompt("a", 3, SECOND)
        session.prompt(2, 1, Prompts(mask=session.masks(1).masks["a"]))
        path = tmp_path / "work.sam2"
        session.save(path)
        loaded = Session.load(path, clip, tracker)
        assert loaded.objects == session.objects
        assert all(loaded.prompts(o)[f].same_as(p) for o in session.objects for f, p in session.prompts(o).items())
        assert [snapshot(loaded.masks(f)) for f in range(8)] == [snapshot(session.masks(f)) for f in range(8)]
        assert run(loaded, "both") == run(session, "both")

    @pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
    def test_truncated_files_are_named_errors(
        self, session: Session, clip: NDArray[np.uint8], tracker: Tracker, tmp_path: Path, share: float
    ) -> None:
        session.prompt(1, 0, FIRST)
        path = tmp_path / "work.sam2"
        session.save(path)
        content = path.read_bytes()
        path.write_bytes(content[: int(len(content) * share)])
        with pytest.raises(SessionFileError, match="damaged"):
            Session.load(path, clip, tracker)

    def test_other_frames_and_other_models_are_refused(
        self, session: Session, clip: NDArray[np.uint8], tracker: Tracker, tmp_path: Path
    ) -> None:
        session.prompt(1, 0, FIRST)
        path = tmp_path / "work.sam2"
        session.save(path)
        with pytest.raises(SessionFileError, match="belongs to 8 frames"):
            Session.load(path, clip[:5], tracker)
        other = type(tracker.model)(tracker.config).eval()
        with pytest.raises(SessionFileError, match="made with the model"):
            Session.load(path, clip, Tracker(other))

    def test_a_missing_file_is_a_named_error(self, clip: NDArray[np.uint8], tracker: Tracker, tmp_path: Path) -> None:
        with pytest.raises(SessionFileError, match="there is no file"):
            Session.load(tmp_path / "nothing", clip, tracker)

    def test_ids_that_cannot_be_saved_are_refused_and_nothing_is_written(
        self, session: Session, tmp_path: Path
    ) -> None:
        session.prompt((1, 2), 0, FIRST)
        with pytest.raises(SessionFileError, match="integers or strings"):
            session.save(tmp_path / "work.sam2")
        assert not list(tmp_path.iterdir())
