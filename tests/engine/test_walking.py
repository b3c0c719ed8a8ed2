"""Prompts answered and objects tracked from masks alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sam2_engine.carrying import carry_plane, largest_plane
from sam2_engine.deciding import Cleaning
from sam2_engine.errors import PromptError, ShapeError
from sam2_engine.evaluation.metrics import iou
from sam2_engine.geometry import Resize
from sam2_engine.legs import Leg, gaps, plan_legs
from sam2_engine.looking import EDGE_LIMIT, EDGE_SLOPE, Looker
from sam2_engine.model import Sam2
from sam2_engine.patches import EMPTY_PATCH, MaskPatch
from sam2_engine.prompts import Box, Click, Prompts
from sam2_engine.session import Session
from sam2_engine.tracking import Tracker
from sam2_engine.walking import Surroundings, Walker, nearest
from sam2_engine.windows import WindowRule

SIZE = (40, 48)


def disc(row, column, radius=6):
    rows, columns = np.indices(SIZE)
    return (rows - row) ** 2 + (columns - column) ** 2 < radius**2


@pytest.fixture(scope="module")
def published_like(tiny_model):
    """A tracker like the published ones, which looks back at memories when it is corrected."""
    model = Sam2(replace(tiny_model.config, refines_mask=False)).eval().requires_grad_(False)
    model.load_state_dict(tiny_model.state_dict())
    return Tracker(model)


@pytest.fixture(params=["whole", "auto"])
def walker(clip, tracker, request):
    return Walker(clip, tracker, window=request.param)


# Which frames


@pytest.mark.property
@given(
    st.dictionaries(st.integers(0, 20), st.booleans(), max_size=5),
    st.sets(st.integers(0, 20)),
    st.sets(st.integers(0, 20)),
    st.sampled_from(["forward", "backward", "both"]),
)
def test_legs_reach_each_wanted_frame_once_and_set_out_from_something_known(anchors, wanted, known, way):
    known = known - anchors.keys()
    legs = plan_legs(1, anchors, 21, wanted=wanted, known=known, way=way)
    walked = [frame for leg in legs for frame in leg.frames]
    assert len(walked) == len(set(walked)) and not set(walked) & anchors.keys()
    for leg in legs:
        before = leg.first - leg.direction
        assert before in known or anchors.get(before)
        assert leg.last in wanted
    if way == "both" and any(anchors.values()):
        lonely = set()
        for gap in gaps(anchors, 21):
            if not (anchors.get(gap.before) or anchors.get(gap.after)):
                lonely |= set(range(gap.first, gap.last + 1))
        assert set(walked) >= wanted - anchors.keys() - lonely


def test_frames_between_two_anchors_are_tracked_from_the_nearer_one():
    legs = plan_legs("a", {2: True, 9: True}, 12, wanted=range(12))
    assert set(legs) == {Leg("a", -1, 1, 0), Leg("a", 1, 3, 5), Leg("a", -1, 8, 6), Leg("a", 1, 10, 11)}


def test_an_object_that_ended_is_not_tracked_on():
    assert plan_legs("a", {2: True, 6: False}, 9, wanted=range(9)) == [Leg("a", -1, 1, 0), Leg("a", 1, 3, 5)]


# Answers


def test_one_click_is_answered_as_in_a_session(clip, tracker):
    mask = Session(clip, tracker).prompt("a", 2, Prompts((Click(12, 12),)))
    answer = Walker(clip, tracker).answer(2, [Prompts((Click(12, 12),))])
    assert np.array_equal(answer.patch.unpack(SIZE), mask)
    assert 0 <= answer.iou <= 1 and 0 <= answer.object_score <= 1


def test_clicks_are_answered_one_at_a_time_as_in_a_session(clip, tracker):
    clicks = (Click(12, 12), Click(16, 13), Click(30, 30, False))
    session = Session(clip, tracker)
    for count in (1, 2, 3):
        mask = session.prompt("a", 2, Prompts(clicks[:count]))
    answer = Walker(clip, tracker).answer(2, [Prompts(clicks)])
    assert np.array_equal(answer.patch.unpack(SIZE), mask)


def test_a_mask_is_taken_nearly_as_it_is(walker):
    answer = walker.answer(0, [Prompts(mask=disc(10, 12))])
    found = answer.patch.unpack(SIZE)
    assert (found & disc(10, 12)).sum() / (found | disc(10, 12)).sum() > 0.8


def test_an_answer_depends_on_the_mask_before(walker):
    said = [Prompts((Click(12, 12),))]
    alone = walker.answer(2, said)
    refined = walker.answer(2, said, MaskPatch.pack(disc(12, 12, 10)))
    assert not alone.patch.same_as(refined.patch)
    assert alone.patch.same_as(walker.answer(2, said, EMPTY_PATCH).patch)


def test_asking_again_gives_the_same_at_once(walker, monkeypatch):
    said = [Prompts((Click(12, 12),), Box(4, 4, 20, 20))]
    first = walker.answer(2, said)
    monkeypatch.setattr(walker._decider, "answer", None)
    assert walker.answer(2, said) == first


def test_prompts_outside_are_refused(walker):
    with pytest.raises(PromptError):
        walker.answer(2, [Prompts((Click(200, 12),))])
    with pytest.raises(PromptError):
        walker.answer(2, [Prompts(mask=np.ones((3, 3), bool))])


# Walks


def go(walker, masks, **settings):
    """Track objects from masks {(obj, frame): mask} to everywhere; masks by object and frame."""
    patches = {key: MaskPatch.pack(mask) for key, mask in masks.items()}
    objects = list(dict.fromkeys(obj for obj, _ in masks))
    anchors = {obj: [frame for one, frame in masks if one == obj] for obj in objects}
    legs = [
        leg
        for obj in objects
        for leg in plan_legs(obj, dict.fromkeys(anchors[obj], True), len(walker.frames), wanted=range(8))
    ]
    found = {}
    for stride in walker.walk(legs, anchors, lambda obj, frame: patches.get((obj, frame)), **settings):
        found.update({(obj, stride.frame): answer for obj, answer in stride.found.items()})
    return found


def test_a_walk_reaches_every_frame(walker):
    found = go(walker, {("a", 3): disc(13, 12)})
    assert {frame for _, frame in found} == set(range(8)) - {3}


def test_a_walk_forward_from_one_mask_is_that_of_a_session(clip, tracker):
    session = Session(clip, tracker)
    session.prompt("a", 0, Prompts(mask=disc(10, 12)))
    masks = {found.frame: found.masks["a"] for found in session.propagate()}
    walked = go(Walker(clip, tracker), {("a", 0): disc(10, 12)})
    for (_, frame), answer in walked.items():
        assert np.array_equal(answer.patch.unpack(SIZE), masks[frame])


def test_the_same_walk_finds_the_same(walker):
    whole = go(walker, {("a", 0): disc(10, 12)})
    again = go(walker, {("a", 0): disc(10, 12)})
    assert whole == again


def test_many_objects_are_tracked_in_batches(clip, tracker):
    walker = Walker(clip, tracker)
    masks = {(number, 0): disc(8 + number % 5, 10 + number, 4) for number in range(20)}
    found = go(walker, masks)
    assert len(found) == 20 * 7
    alone = go(walker, {(3, 0): masks[3, 0]})
    for frame in range(1, 8):
        one, other = found[3, frame].patch.unpack(SIZE), alone[3, frame].patch.unpack(SIZE)
        assert (one != other).sum() <= 2


def test_exclusive_masks_share_no_pixel_and_cover_the_same(clip, tracker):
    masks = {("a", 3): disc(13, 12), ("b", 3): disc(15, 15)}
    shared = go(Walker(clip, tracker), masks)
    apart = go(Walker(clip, tracker, cleaning=Cleaning(exclusive=True)), masks)
    for frame in (0, 4, 7):
        one, other = (apart[obj, frame].patch.unpack(SIZE) for obj in "ab")
        assert not (one & other).any()
        assert np.array_equal(one | other, np.logical_or(*(shared[o, frame].patch.unpack(SIZE) for o in "ab")))


# Volumes over time


def test_the_largest_plane_is_found():
    patch = {frame: MaskPatch.pack(disc(20, 20, radius)) for frame, radius in enumerate((0, 3, 6, 6, 6, 2))}
    assert largest_plane(patch) == 3
    assert largest_plane({0: EMPTY_PATCH}) is None and largest_plane({}) is None


def test_objects_are_carried_to_another_volume(clip, tracker):
    patches = {"a": MaskPatch.pack(disc(10, 12)), "b": MaskPatch.pack(disc(28, 34))}
    found = carry_plane(clip[0], clip[1], patches, tracker)
    session = Session(clip[:2], tracker)
    for obj, patch in patches.items():
        session.prompt(obj, 0, Prompts(mask=patch.unpack(SIZE)))
    *_, last = session.propagate()
    for obj, answer in found.items():
        assert (answer.patch.unpack(SIZE) != last.masks[obj]).sum() <= 1
    assert found.keys() == {"a", "b"}


def test_planes_of_different_sizes_are_refused(clip, tracker):
    with pytest.raises(ShapeError, match="one shape"):
        carry_plane(clip[0], clip[1, :20], {"a": MaskPatch.pack(disc(10, 12))}, tracker)


# Corrections

SAID = [Prompts((Click(12, 15),))]
BASE = MaskPatch.pack(disc(14, 12, 9))
AROUND = Surroundings(((0, MaskPatch.pack(disc(10, 12))),), 3, MaskPatch.pack(disc(13, 12)), 1)


def test_a_correction_looks_back_at_what_is_around(clip, published_like):
    walker = Walker(clip, published_like)
    alone = walker.answer(4, SAID, BASE)
    seen = walker.answer(4, SAID, BASE, AROUND)
    assert seen.patch != alone.patch or seen.iou != alone.iou
    assert seen == walker.answer(4, SAID, BASE, AROUND)


def test_models_that_refine_masks_correct_from_picture_mask_and_prompts_alone(walker):
    assert walker.answer(4, SAID, BASE) == walker.answer(4, SAID, BASE, AROUND)


def test_a_correction_is_that_of_a_session_whose_logits_are_forgotten(clip, tracker):
    session = Session(clip, tracker)
    session.prompt("a", 0, Prompts(mask=disc(10, 12)))
    for _ in session.propagate():
        pass
    session._tracks["a"].bank.recent.clear()
    base = MaskPatch.pack(session.masks(4).masks["a"])
    mask = session.prompt("a", 4, SAID[0])
    assert np.array_equal(Walker(clip, tracker).answer(4, SAID, base).patch.unpack(SIZE), mask)


@pytest.mark.property
@given(
    st.integers(4, SIZE[0] - 5),
    st.integers(4, SIZE[1] - 5),
    st.integers(4, 9),
    st.sampled_from([None, WindowRule()]),
)
def test_a_recalled_mask_is_where_it_was_and_surer_the_farther_from_its_edge(tiny_model, row, column, radius, rule):
    mask = disc(row, column, radius)
    known = _recalled(tiny_model, mask, rule)
    cells = known.logits[0, 0].numpy()
    assert np.abs(cells).max() <= EDGE_LIMIT
    back = Resize(SIZE, 64, known.window).logits_to_image(known.logits)[0, 0].numpy() > 0
    assert iou(back, mask) > (0.6 if rule else 0.3)
    steps = np.abs(np.diff(cells, axis=0)), np.abs(np.diff(cells, axis=1))
    assert max(step.max() for step in steps) <= 2 * EDGE_SLOPE + 1e-6


@pytest.mark.parametrize("filled", [False, True])
def test_masks_without_an_edge_are_recalled_as_sure(tiny_model, filled):
    logits = _recalled(tiny_model, np.full(SIZE, filled), None).logits
    assert (logits == (EDGE_LIMIT if filled else -EDGE_LIMIT)).all()


def _recalled(model, mask, rule):
    def unused(_):
        raise AssertionError("masks are recalled without the model")

    return Looker(Tracker(model), SIZE, unused, rule).recall(mask)


def test_nearest_frames_come_nearest_first():
    assert nearest([9, 1, 4, 6], 5, 3) == [4, 6, 1]
