"""What synthetic scenes are made of: lives of objects, colonies, foam, optics, cameras, figures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sam2_engine.training.scenes import Clip
from sam2_engine.training.synthetic import make_clip
from sam2_engine.training.synthetic.actors import STILL, Actor, Motion, Pose, cast, place
from sam2_engine.training.synthetic.camera import random_camera
from sam2_engine.training.synthetic.colonies import bacteria, yeast
from sam2_engine.training.synthetic.foam import Foam, cut, joined, random_bends, slab
from sam2_engine.training.synthetic.optics import PhaseContrast, Relief, random_stains
from sam2_engine.training.synthetic.painters import PAINTERS, paint
from sam2_engine.training.synthetic.painting import Look, random_grains
from sam2_engine.training.synthetic.puppets import FIGURES, Part, posed
from sam2_engine.training.synthetic.scenery import _enlarged
from sam2_engine.training.synthetic.shapes import GrowingRod, blob, crawler, rod, tube
from sam2_engine.training.synthetic.volumes import BESIDE, _scattered, _solid

SEEDS = st.integers(0, 2**32 - 1)
WANDER = replace(STILL, wander=0.1, turn=0.05)


def troupe(seed: int, motion: Motion, frames: int = 6, count: int = 5) -> list[Actor]:
    rng = np.random.default_rng(seed)
    outlines = [blob(rng, 6.0, 0.1) for _ in range(count)]
    centres = place(rng, np.full(count, 6.0, np.float32), 96, 1.0, 0.0)
    return cast(rng, list(outlines), centres, motion, frames, lambda: 1.0)


def frames_of(actor: Actor) -> set[int]:
    return {frame for frame, pose in enumerate(actor.poses) if pose is not None and pose.visible}


def look(style: str) -> Look:
    return Look(style, "flat", 0.8, random_grains(np.random.default_rng(0)), 0.05, 0.5)


def canvas(style: str) -> np.ndarray:
    return np.zeros((64, 64, 2) if style == "stain" else (64, 64), np.float32)


@settings(deadline=None, max_examples=25)
@given(SEEDS)
def test_a_mother_ends_where_her_two_daughters_begin(seed: int) -> None:
    actors = troupe(seed, replace(WANDER, dividing=1.0))
    assert [actor.obj for actor in actors] == list(range(1, len(actors) + 1))
    for mother, one, other in zip(actors[::3], actors[1::3], actors[2::3], strict=True):
        born = min(frames_of(one))
        assert frames_of(mother) == set(range(born))
        assert frames_of(one) == frames_of(other) == set(range(born, 6))


def test_daughters_together_are_about_as_large_as_their_mother() -> None:
    mother, one, other = troupe(5, replace(WANDER, dividing=1.0), count=1)
    painted = [paint(canvas("light"), [mother, one, other], frame, look("light")) for frame in range(6)]
    born = min(frames_of(one))
    before, after = (painted[born - 1] > 0).sum(), (painted[born] > 0).sum()
    assert 0.7 < after / before < 1.5
    assert set(np.unique(painted[born])) == {0, one.obj, other.obj}


@settings(deadline=None, max_examples=25)
@given(SEEDS)
def test_what_comes_back_is_the_same_object(seed: int) -> None:
    actors = troupe(seed, replace(WANDER, blinking=1.0))
    assert len(actors) == 5
    for actor in actors:
        assert 0 in frames_of(actor)
        assert len(frames_of(actor)) in (4, 5)


def test_some_objects_come_in_later_but_never_all() -> None:
    actors = troupe(3, replace(WANDER, appearing=1.0))
    assert 0 in frames_of(actors[0])
    assert all(0 not in frames_of(actor) for actor in actors[1:])
    assert all(5 in frames_of(actor) for actor in actors)


@settings(deadline=None, max_examples=25)
@given(SEEDS)
def test_solid_objects_are_cut_in_planes_that_follow_each_other(seed: int) -> None:
    motion = replace(STILL, kind="depth", thick=3.0)
    for actor in troupe(seed, motion, frames=12):
        planes = sorted(frames_of(actor))
        assert planes == list(range(planes[0], planes[-1] + 1)) if planes else True
        sizes = [pose.scale for pose in actor.poses if pose is not None and pose.visible]
        rising = np.diff(sizes) > 0
        assert not (np.diff(rising.astype(int)) > 0).any()  # once it shrinks it does not swell again


def test_the_first_object_of_a_stack_is_there_on_the_first_plane() -> None:
    for seed in range(20):
        assert 0 in frames_of(troupe(seed, replace(STILL, kind="depth", thick=1.2))[0])


@pytest.mark.parametrize("seed", range(6))
def test_stacks_cut_every_object_on_planes_that_follow_each_other(seed: int) -> None:
    actors = _solid(np.random.default_rng(seed), 64, radius=8.0, step=2.0, planes=10)
    assert BESIDE in frames_of(actors[0])
    for actor in actors:
        planes = sorted(frames_of(actor))
        assert planes == list(range(planes[0], planes[-1] + 1)) if planes else True
        assert len(planes) <= 1 + 2 * 1.4 * 1.6 * 8.0 / 2.0


def test_solid_objects_keep_apart_in_space() -> None:
    centres = _scattered(np.random.default_rng(0), np.array([60.0, 60.0, 40.0]), 5.0, 1.0, 80)
    distances = np.linalg.norm(centres[:, None] - centres, axis=-1) + 100 * np.eye(len(centres))
    assert len(centres) > 20
    assert distances.min() >= 1.6 * 5.0


def test_the_whole_sample_turns_together() -> None:
    still, turned = (troupe(1, replace(STILL, spin=spin)) for spin in (0.0, 0.2))
    places = np.array([[(actor.poses[f].x, actor.poses[f].y) for actor in turned] for f in (0, 5)])  # type: ignore[union-attr]
    apart = np.linalg.norm(places[:, :, None] - places[:, None], axis=-1)
    np.testing.assert_allclose(apart[0], apart[1], rtol=1e-5)
    first, last = turned[0].poses[0], turned[0].poses[5]
    assert first is not None and last is not None and still[0].poses[5] is not None
    assert last.angle - first.angle == pytest.approx(1.0)


@pytest.mark.parametrize("style", list(PAINTERS))
def test_an_object_that_is_not_there_has_no_label(style: str) -> None:
    outline = blob(np.random.default_rng(0), 8.0, 0.05)
    here = Pose(32.0, 32.0, 0.3)
    poses = (here, None, replace(here, visible=False), replace(here, x=-500.0))
    actor = Actor(4, outline, 1.0, 9, poses)
    present = [np.unique(paint(canvas(style), [actor], frame, look(style))).tolist() for frame in range(4)]
    assert present == [[0, 4], [0], [0], [0]]


@pytest.mark.parametrize("style", list(PAINTERS))
def test_later_objects_cover_earlier_ones(style: str) -> None:
    outline = blob(np.random.default_rng(0), 8.0, 0.05)
    actors = [Actor(obj, outline, 1.0, 9, (Pose(30.0 + 2 * obj, 32.0, 0.0),)) for obj in (1, 2)]
    labels = paint(canvas(style), actors, 0, look(style))
    alone = paint(canvas(style), actors[1:], 0, look(style))
    np.testing.assert_array_equal(labels == 2, alone == 2)
    assert (labels == 1).any()


def test_crawling_cells_have_arms_beyond_their_bodies() -> None:
    cell = crawler(np.random.default_rng(2), 10.0, 5.0, 1.5)
    ticks = np.arange(-80, 81, dtype=np.float32)
    inside = cell.depth(*np.broadcast_arrays(ticks, ticks[:, None]), 0.0) > 0
    body = cell.body.depth(*np.broadcast_arrays(ticks, ticks[:, None]), 0.0) > 0
    assert len(cell.arms) > 0
    assert (inside & ~body).sum() > 0.1 * body.sum()


@settings(deadline=None, max_examples=40)
@given(SEEDS, st.sampled_from(["blob", "crawler", "rod", "growing rod", "tube"]), st.integers(0, 3))
def test_an_outline_knows_where_its_inside_ends(seed: int, kind: str, time: int) -> None:
    rng = np.random.default_rng(seed)
    outline = {
        "blob": lambda: blob(rng, 9.0, 0.3, 2.0),
        "crawler": lambda: crawler(rng, 9.0, 4.0, 2.5),
        "rod": lambda: rod(rng, 5.0),
        "growing rod": lambda: GrowingRod(5.0, np.array([8, 9, 11, 14], np.float32), np.zeros(4, np.float32), 0.01),
        "tube": lambda: tube(rng, 3.0),
    }[kind]()
    ticks = np.arange(-160, 161, dtype=np.float32)
    inside = outline.depth(*np.broadcast_arrays(ticks, ticks[:, None]), float(time)) > 0
    points, angle = outline.edge(float(time)), rng.uniform(0, 3.2)
    direction = np.array([np.cos(angle), np.sin(angle)])
    rows, columns = np.nonzero(inside)
    reached = np.stack((ticks[columns], ticks[rows]), axis=1) @ direction
    assert reached.max() <= (points @ direction).max() + outline.girth
    assert reached.max() >= (points @ direction).max() - outline.girth - 3


def test_a_rod_narrows_before_it_divides() -> None:
    halves, waists = np.array([10, 10], np.float32), np.array([0, 1], np.float32)
    rod = GrowingRod(4.0, halves, waists, 0.0)
    middle = np.zeros(1, np.float32), np.array([3.0], np.float32)
    assert rod.depth(*middle, 0.0)[0] > 0 > rod.depth(*middle, 1.0)[0]


def test_bacteria_leave_their_number_to_none_of_their_daughters() -> None:
    divided = 0
    for seed in range(8):
        actors = bacteria(np.random.default_rng(seed), 96, 6, 2.0).actors
        assert sorted(actor.obj for actor in actors) == list(range(1, len(actors) + 1))
        for actor in actors:
            seen = sorted(frames_of(actor))
            assert seen == list(range(seen[0], seen[-1] + 1))
            divided += seen[-1] < 5
    assert divided > 0


def test_yeast_mothers_go_on_beside_their_buds() -> None:
    actors = [actor for seed in range(8) for actor in yeast(np.random.default_rng(seed), 96, 6, 2.0).actors]
    assert all(5 in frames_of(actor) for actor in actors)
    assert any(0 not in frames_of(actor) for actor in actors)


def share_of_overlap(actors: Sequence[Actor]) -> float:
    planes = [paint(np.zeros((128, 128), np.float32), [actor], 0, look("light")) > 0 for actor in actors]
    total = np.sum(planes, axis=0)
    return float((total > 1).sum() / (total > 0).sum())


def test_rods_hardly_overlap() -> None:
    shares = [share_of_overlap(bacteria(np.random.default_rng(seed), 128, 1, 1.0).actors) for seed in range(8)]
    assert np.median(shares) < 0.06
    assert max(shares) < 0.25


@pytest.fixture(scope="module")
def foam() -> Foam:
    rng = np.random.default_rng(6)
    seeds = slab(rng, 80, 20.0, 16.0, jitter=0.5)
    cells = joined(rng, seeds, 0.5, most=4)
    bends = random_bends(rng, 80, 2.0)
    return Foam(seeds.astype(np.float32), cells, np.zeros_like(seeds, dtype=np.float32), 16.0, bends)


def test_a_cut_finds_the_nearest_seed_of_each_pixel(foam: Foam) -> None:
    section = cut(foam, 0.0, 9.0, 0.0)
    rows, columns = np.indices((80, 80))
    spots = np.stack((columns + foam.bends[0, 0], rows + foam.bends[0, 1], np.full((80, 80), 9.0)), axis=-1)
    distances = np.linalg.norm(spots[:, :, None] - foam.seeds, axis=-1)
    truth = foam.cells[distances.argmin(axis=-1)]
    assert (truth == section.cells).mean() > 0.995


def test_borders_between_cells_have_no_gap(foam: Foam) -> None:
    section = cut(foam, 0.0, 4.0, 0.3)
    changes = section.cells[:, 1:] != section.cells[:, :-1]
    assert changes.any()
    assert np.percentile(np.minimum(section.gap[:, 1:], section.gap[:, :-1])[changes], 95) < 2.0
    assert section.gap.max() > 4.0
    assert (section.rival != section.cells)[section.gap < 1].all()


def test_near_planes_look_alike_and_far_ones_do_not(foam: Foam) -> None:
    first, near, far = (cut(foam, 0.0, plane, plane / 20).cells for plane in (0.0, 1.0, 20.0))
    assert (first == near).mean() > 0.85 > (first == far).mean() + 0.2


def test_joined_cells_are_not_larger_than_asked_for() -> None:
    rng = np.random.default_rng(0)
    seeds = slab(rng, 100, 0.0, 10.0, jitter=0.5)
    sizes = np.bincount(joined(rng, seeds, 0.9, most=3))
    assert sizes[0] == 0
    assert sizes.max() == 3
    assert sizes[1:].min() >= 1


def test_phase_contrast_shows_a_dark_body_in_a_bright_halo() -> None:
    rows, columns = np.indices((64, 64))
    away = np.hypot(rows - 32, columns - 32)
    light = PhaseContrast(ring=4, gain=0.5, level=0.5, shade_off=0.9)((away < 10).astype(np.float32))
    assert light[away < 8].max() < 0.5 < light[(away > 11) & (away < 13)].min()
    assert np.abs(light[away > 28] - 0.5).max() < 0.02


def test_relief_is_bright_on_one_side_and_dark_on_the_other() -> None:
    rows, columns = np.indices((64, 64))
    bump = np.exp(-((rows - 32) ** 2 + (columns - 32) ** 2) / 50).astype(np.float32)
    light = Relief(angle=0.0, gain=2.0, level=0.5)(bump)
    assert light[32, 26] > 0.55
    assert light[32, 38] < 0.45
    assert light[2, 2] == pytest.approx(0.5)


@pytest.mark.parametrize("grey", [False, True])
def test_more_stain_is_darker_and_none_is_the_lamp(grey: bool) -> None:
    stains = random_stains(np.random.default_rng(1), grey)
    amounts = np.zeros((4, 4, 2), np.float32)
    amounts[2:, :, 0] = 1.0
    light = stains(amounts)
    assert light.shape == ((4, 4) if grey else (4, 4, 3))
    np.testing.assert_allclose(light[0, 0], np.squeeze(stains.lamp), rtol=1e-6)
    assert (light[3] < light[0]).all()


def test_dyes_fade_and_never_recover() -> None:
    cameras = [random_camera(np.random.default_rng(seed), 48, 8, True, False, 10.0) for seed in range(40)]
    fading = [camera for camera in cameras if camera.gains[-1] < 0.8]
    assert 3 < len(fading) < 30
    light = np.full((48, 48), 0.6, np.float32)
    camera = replace(fading[0], inverted=False)
    means = [camera.record(light, np.random.default_rng(0), frame).mean() for frame in (0, 7)]
    assert means[1] < means[0]


def test_a_camera_counts_in_its_own_bits() -> None:
    light = np.full((32, 32), 5.0, np.float32)
    for seed in range(20):
        camera = random_camera(np.random.default_rng(seed), 32, 1, True, False, 10.0)
        counts = camera.record(light, np.random.default_rng(0))
        assert counts.dtype == (np.uint8 if camera.bits == 8 else np.uint16)


@pytest.mark.parametrize("build", list(dict.fromkeys(FIGURES)))
def test_figures_hang_together(build: Callable[..., list[Part]]) -> None:
    rng = np.random.default_rng(3)
    for _ in range(10):
        parts = build(rng, [(1, 2, 3)] * 4)
        assert parts[0].parent == -1
        assert all(part.parent < index for index, part in enumerate(parts))
        groups = {part.group for part in parts}
        assert groups == set(range(max(groups) + 1))
        placed = posed(parts, 1.0)
        assert len(placed) == len(parts)
        assert all(np.abs(one.shape).max() < 3 for one in placed)


def test_figures_in_parts_have_more_labels() -> None:
    counts = [len(np.unique(make_clip(np.random.default_rng(s), 96, 1, style="video").labels)) - 1 for s in range(30)]
    assert max(counts) > 4
    assert min(counts) == 1


def test_enlarging_keeps_every_object_and_its_number() -> None:
    labels = np.zeros((2, 50, 50), np.int32)
    labels[:, 10:20, 5:9], labels[1, 40:, 40:] = 3, 7
    images = np.where(labels > 0, 60000, 100).astype(np.uint16)
    clip = _enlarged(Clip(images, labels), 96)
    assert clip.images.shape == clip.labels.shape == (2, 96, 96)
    assert clip.images.dtype == np.uint16
    assert set(np.unique(clip.labels)) == {0, 3, 7}
    assert np.median(clip.images[clip.labels > 0]) == 60000
