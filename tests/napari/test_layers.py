"""Layers to prompts and masks to labels, in any number of axes and any order of them."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from napari_sam2 import (
    Grid,
    PointMarks,
    ShapeMarks,
    Slicing,
    guess_frame_axis,
    layers_from_prompts,
    mask_prompts,
    prompts_from_layers,
    slice_along,
    write_masks,
)
from sam2_engine.errors import PromptError, ShapeError, UnknownObjectError
from sam2_engine.outputs import FrameMasks
from sam2_engine.prompts import Box, Click, Prompts

STACK = slice_along((7, 20, 30), 0)


@st.composite
def slicings(draw: st.DrawFn) -> Slicing:
    """Two to five axes, frames along any of them, other axes anywhere, rows and columns exchanged or not."""
    shape = draw(st.lists(st.integers(1, 9), min_size=2, max_size=5))
    axes = draw(st.permutations(range(len(shape))))
    position = tuple(draw(st.integers(0, length - 1)) for length in shape)
    frame_axis = axes[2] if len(shape) > 2 and draw(st.booleans()) else None
    return Slicing(tuple(shape), frame_axis, (axes[0], axes[1]), position)


@st.composite
def marked(draw: st.DrawFn) -> tuple[Slicing, dict[tuple[int, int], tuple[Prompts, ...]]]:
    """A slicing, and clicks and boxes of some objects on some of its frames."""
    slicing = draw(slicings())
    height, width = slicing.size
    xs, ys = st.floats(0, width - 0.5), st.floats(0, height - 0.5)
    prompts = {}
    for key in draw(st.sets(st.tuples(st.integers(1, 3), st.integers(0, slicing.num_frames - 1)), max_size=4)):
        clicks = tuple(Click(*one) for one in draw(st.lists(st.tuples(xs, ys, st.booleans()), max_size=4)))
        corner = (draw(xs), draw(ys))
        box = Box(*corner, corner[0] + 1, corner[1] + 2) if draw(st.booleans()) or not clicks else None
        prompts[key] = (Prompts(clicks, box),)
    return slicing, prompts


def points(positions: Any, grid: Grid | None = None, **features: Any) -> PointMarks:
    return PointMarks(np.array(positions, float), features, grid)


def shape(kind: str, vertices: Any, **features: Any) -> ShapeMarks:
    return ShapeMarks([np.array(vertices, float)], [kind], features)


def square(frame: float, top: float, left: float, bottom: float, right: float) -> list[tuple[float, float, float]]:
    return [(frame, top, left), (frame, top, right), (frame, bottom, right), (frame, bottom, left)]


class TestPrompts:
    def test_a_point_is_a_click_with_x_along_the_columns(self) -> None:
        found = prompts_from_layers(STACK, points([(3, 5, 11)], label=["negative"], object_id=[4]))
        ((key, (step,)),) = found.items()
        assert (key, step.clicks) == ((4, 3), (Click(11, 5, False),))

    def test_points_are_grouped_by_object_and_frame(self) -> None:
        marks = points([(1, 2, 3), (2, 2, 3), (1, 4, 5)], object_id=[1, 1, 1])
        found = prompts_from_layers(STACK, marks)
        assert {key: len(step.clicks) for key, (step,) in found.items()} == {(1, 1): 2, (1, 2): 1}

    def test_positions_between_frames_go_to_the_nearest(self) -> None:
        found = prompts_from_layers(STACK, points([(2.4, 0, 0), (2.6, 0, 0)]))
        assert set(found) == {(1, 2), (1, 3)}

    @pytest.mark.parametrize(
        ("labels", "expected"),
        [
            (["positive", "negative"], [True, False]),
            ([1, 0], [True, False]),
            ([1, -1], [True, False]),
            (np.array([True, False]), [True, False]),
            ([None, float("nan")], [True, True]),
        ],
    )
    def test_labels_are_words_numbers_or_missing(self, labels: Any, expected: list[bool]) -> None:
        ((_, (step,)),) = prompts_from_layers(STACK, points([(0, 1, 1), (0, 2, 2)], label=labels)).items()
        assert [click.positive for click in step.clicks] == expected

    def test_object_ids_of_a_table_with_gaps_are_numbers_again(self) -> None:
        marks = points([(0, 1, 1), (0, 2, 2)], object_id=np.array([2.0, np.nan]))
        assert [(obj, type(obj)) for obj, _ in prompts_from_layers(STACK, marks, default_object=9)] == [
            (2, int),
            (9, int),
        ]

    def test_a_rectangle_is_a_box_and_joins_the_clicks(self) -> None:
        found = prompts_from_layers(STACK, points([(1, 6, 6)]), shape("rectangle", square(1, 4, 5, 10, 12)))
        ((_, (step,)),) = found.items()
        assert (step.box, len(step.clicks)) == (Box(5, 4, 12, 10), 1)

    def test_a_polygon_is_a_mask_that_comes_before_clicks(self) -> None:
        found = prompts_from_layers(STACK, points([(1, 6, 6)]), shape("polygon", square(1, 3.5, 4.5, 9.5, 11.5)))
        ((_, (mask, clicks)),) = found.items()
        assert mask.mask is not None and len(clicks.clicks) == 1
        expected = np.zeros((20, 30), bool)
        expected[4:10, 5:12] = True
        np.testing.assert_array_equal(mask.mask, expected)

    def test_a_negative_polygon_is_taken_out(self) -> None:
        both = ShapeMarks(
            [np.array(square(0, 0.5, 0.5, 10.5, 10.5)), np.array(square(0, 3.5, 3.5, 6.5, 6.5))],
            ["polygon", "polygon"],
            {"label": ["positive", "negative"]},
        )
        ((_, (step,)),) = prompts_from_layers(STACK, None, both).items()
        assert step.mask is not None and step.mask.sum() == 100 - 9

    def test_an_ellipse_covers_its_area_also_when_turned(self) -> None:
        upright = np.array([(10, 15)]) + np.array([(-6, -9), (-6, 9), (6, 9), (6, -9)])
        turn = np.array([(0.8, 0.6), (-0.6, 0.8)])
        for corners in (upright, (upright - (10, 15)) @ turn + (10, 15)):
            vertices = np.column_stack((np.zeros(4), corners))
            ((_, (step,)),) = prompts_from_layers(STACK, None, shape("ellipse", vertices)).items()
            assert step.mask is not None
            assert step.mask.sum() == pytest.approx(np.pi * 6 * 9, rel=0.06)
            ends = np.round((corners + np.roll(corners, -1, axis=0)) / 2 * 0.9 + np.array([(10, 15)]) * 0.1).astype(int)
            assert step.mask[tuple(ends.T)].all()

    def test_a_path_becomes_clicks_spread_over_its_length(self) -> None:
        path = shape("path", [(2, 1, 0), (2, 1, 10), (2, 11, 10)], label=["negative"])
        (((_, frame), (step,)),) = prompts_from_layers(STACK, None, path).items()
        assert frame == 2
        assert [(click.x, click.y) for click in step.clicks] == [(2, 1), (6, 1), (10, 1), (10, 5), (10, 9)]
        assert not any(click.positive for click in step.clicks)

    def test_marks_at_another_time_point_are_passed_over(self) -> None:
        slicing = slice_along((4, 7, 20, 30), 1, position=(2, 0, 0, 0))
        found = prompts_from_layers(slicing, points([(2, 3, 5, 6), (1, 3, 5, 6)]))
        assert {key: len(step.clicks) for key, (step,) in found.items()} == {(1, 3): 1}

    def test_a_layer_on_another_grid_is_carried_over(self) -> None:
        picture = Grid((2.0, 0.5, 0.5), (10.0, 0.0, 1.0))
        marks = points([(14, 3, 4)], Grid((1.0, 1.0, 1.0), (0.0, 0.0, 0.0)))
        ((key, (step,)),) = prompts_from_layers(STACK, marks, grid=picture).items()
        assert (key, step.clicks) == ((1, 2), (Click(6, 6),))

    def test_the_outer_half_of_the_first_pixel_is_inside(self) -> None:
        ((_, (step,)),) = prompts_from_layers(STACK, points([(0, -0.5, -0.2)])).items()
        assert step.clicks == (Click(0, 0),)

    @pytest.mark.parametrize(
        "marks",
        [
            points([(0, 5, 30)]),
            points([(0, -1, 5)]),
            points([(7, 5, 5)]),
            points([(float("nan"), 5, 5)]),
            points([(0, 5, 5)], label=["maybe"]),
            shape("path", [(0, 1, 1), (1, 2, 2)]),
            shape("path", [(0, 1, 1), (0, 2, 99)]),
            shape("polygon", square(0, 30, 40, 35, 45)),
            shape("ellipse", square(0, 3, 3, 3, 3)),
            shape("ellipse", square(0, 3, 3, 3, 3)[:3]),
            shape("rectangle", square(0, 3, 3, 3, 8)),
            shape("blob", square(0, 3, 3, 6, 8)),
            ShapeMarks([np.array(square(0, 1, 1, 4, 4))] * 2, ["rectangle"] * 2),
        ],
    )
    def test_marks_that_cannot_be_used_are_named_errors(self, marks: PointMarks | ShapeMarks) -> None:
        layers = (marks, None) if isinstance(marks, PointMarks) else (None, marks)
        with pytest.raises(PromptError):
            prompts_from_layers(STACK, *layers)

    @pytest.mark.parametrize(
        "marks", [points([(5, 5)]), points([(0, 5, 5)], label=["positive", "negative"]), points([1, 2, 3])]
    )
    def test_layers_of_another_form_are_named_errors(self, marks: PointMarks) -> None:
        with pytest.raises(ShapeError):
            prompts_from_layers(STACK, marks)

    def test_empty_layers_say_nothing(self) -> None:
        assert prompts_from_layers(STACK, points(np.empty((0, 3)), label=[], object_id=[]), ShapeMarks([], [])) == {}

    @pytest.mark.property
    @given(marked())
    def test_prompts_come_back_from_the_layers_made_of_them(
        self, case: tuple[Slicing, dict[tuple[int, int], tuple[Prompts, ...]]]
    ) -> None:
        slicing, prompts = case
        back = prompts_from_layers(slicing, *layers_from_prompts(slicing, prompts))
        assert set(back) == set(prompts)
        for key, (step,) in prompts.items():
            assert back[key][0].same_as(step)


class TestSlicing:
    def test_rows_and_columns_are_the_last_two_of_the_other_axes(self) -> None:
        slicing = slice_along((4, 7, 20, 30), -4, position=(0, 3, 0, 0))
        assert (slicing.frame_axis, slicing.plane, slicing.size, slicing.num_frames) == (0, (2, 3), (20, 30), 4)
        assert slicing.index(2) == (2, 3, slice(None), slice(None))
        assert slice_along((20, 30, 7), 2).plane == (0, 1)
        assert slice_along((20, 30), None).num_frames == 1

    @pytest.mark.property
    @given(slicings(), st.data())
    def test_a_pixel_of_a_frame_is_where_its_position_says(self, slicing: Slicing, data: st.DataObject) -> None:
        picture = np.arange(np.prod(slicing.shape)).reshape(slicing.shape)
        frame = data.draw(st.integers(0, slicing.num_frames - 1))
        row, column = (data.draw(st.integers(0, length - 1)) for length in slicing.size)
        (position,) = slicing.place(frame, np.array([(column, row)], float)).astype(int).tolist()
        assert slicing.frame(picture, frame).shape == slicing.size
        assert slicing.frame(picture, frame)[row, column] == picture[tuple(position)]

    def test_a_frame_of_an_rgb_picture_keeps_its_colours(self) -> None:
        assert STACK.frame(np.zeros((7, 20, 30, 3)), 0).shape == (20, 30, 3)

    @pytest.mark.parametrize(
        "arguments",
        [
            ((20, 30), 0),
            ((7, 20, 30), 3),
            ((7, 20, 30), -4),
            ((4, 7, 20, 30), 1, (4, 0, 0, 0)),
            ((7, 20, 30), 0, (0, 0)),
        ],
    )
    def test_axes_and_positions_outside_are_refused(self, arguments: Any) -> None:
        with pytest.raises(ShapeError):
            slice_along(*arguments)

    def test_frames_outside_are_refused(self) -> None:
        with pytest.raises(PromptError, match="7 frames"):
            STACK.index(7)

    @pytest.mark.parametrize(
        ("labels", "shape", "expected"),
        [
            (("z", "y", "x"), None, 0),
            (("T", "Z", "Y", "X"), None, 1),
            (("t", "z", "y", "x"), (9, 1, 5, 5), 0),
            (("t", "c", "y", "x"), None, 0),
            (("y", "x", "z"), None, 2),
            (("Time", "row", "column"), None, 0),
            (("-3", "-2", "-1"), None, 0),
            (("-4", "-3", "-2", "-1"), None, None),
            (("-4", "-3", "-2", "-1"), (1, 8, 5, 5), 1),
            (("c", "y", "x"), None, None),
            (("y", "x"), None, None),
            ((), None, None),
        ],
    )
    def test_the_propagated_axis_is_guessed_from_names(self, labels: Any, shape: Any, expected: int | None) -> None:
        assert guess_frame_axis(labels, shape) == expected


class TestLabels:
    def masks(self, frame: int = 2, **masks: tuple[slice, slice]) -> FrameMasks:
        drawn = {}
        for obj, place in masks.items():
            drawn[obj] = np.zeros(STACK.size, bool)
            drawn[obj][place] = True
        return FrameMasks(frame, drawn, dict.fromkeys(drawn, 1.0))

    def test_a_mask_is_written_on_its_frame_only(self) -> None:
        labels = np.zeros(STACK.shape, np.uint16)
        assert write_masks(labels, self.masks(a=np.s_[2:4, 5:8]), STACK, {"a": 3}) == 6
        assert labels.sum() == 6 * 3 and (labels[2, 2:4, 5:8] == 3).all()

    def test_other_objects_keep_their_pixels_unless_told(self) -> None:
        labels = np.zeros(STACK.shape, np.uint8)
        labels[2, :5] = 9
        found = self.masks(a=np.s_[3:7, :])
        write_masks(labels, found, STACK, {"a": 1})
        assert (labels[2, :5] == 9).all() and (labels[2, 5:7] == 1).all()
        write_masks(labels, found, STACK, {"a": 1}, overwrite=True)
        assert (labels[2, :3] == 9).all() and (labels[2, 3:7] == 1).all()

    def test_earlier_pixels_of_the_object_are_cleared(self) -> None:
        labels = np.zeros(STACK.shape, np.uint8)
        write_masks(labels, self.masks(a=np.s_[:4, :]), STACK, {"a": 1})
        write_masks(labels, self.masks(a=np.s_[3:6, :]), STACK, {"a": 1})
        assert (labels[2].any(axis=1) == np.isin(np.arange(20), (3, 4, 5))).all()
        assert write_masks(labels, self.masks(a=np.s_[3:6, :]), STACK, {"a": 1}) == 0

    def test_of_overlapping_masks_the_earlier_has_the_pixel_unless_told(self) -> None:
        labels = np.zeros(STACK.shape, np.uint8)
        found = self.masks(a=np.s_[:3, :], b=np.s_[2:5, :])
        write_masks(labels, found, STACK, {"a": 1, "b": 2})
        assert labels[2, :6, 0].tolist() == [1, 1, 1, 2, 2, 0]
        write_masks(labels, found, STACK, {"a": 1, "b": 2}, overwrite=True)
        assert labels[2, :6, 0].tolist() == [1, 1, 2, 2, 2, 0]

    def test_zarr_labels_are_written_too(self) -> None:
        labels = zarr.create_array({}, shape=STACK.shape, chunks=(1, 20, 30), dtype="uint16")
        write_masks(labels, self.masks(a=np.s_[2:4, 5:8]), STACK, {"a": 300})
        assert int(np.asarray(labels[2]).sum()) == 1800 and not np.asarray(labels[3]).any()

    @pytest.mark.property
    @given(slicings(), st.data())
    def test_labels_written_on_any_axes_read_back_as_mask_prompts(self, slicing: Slicing, data: st.DataObject) -> None:
        labels = np.zeros(slicing.shape, np.uint8)
        frame = data.draw(st.integers(0, slicing.num_frames - 1))
        seed = data.draw(st.integers(0, 99))
        mask: NDArray[np.bool_] = np.random.default_rng(seed).random(slicing.size) < 0.5
        changed = write_masks(labels, FrameMasks(frame, {"a": mask}, {"a": 1.0}), slicing, {"a": 7})
        assert changed == mask.sum() == np.count_nonzero(labels)
        back = mask_prompts(labels, slicing, frame)
        assert set(back) == ({7} if mask.any() else set())
        for prompts in back.values():
            np.testing.assert_array_equal(prompts.mask, mask)

    @pytest.mark.parametrize(
        ("labels", "values", "error"),
        [
            (np.zeros((7, 20, 31), np.uint8), {"a": 1}, ShapeError),
            (np.zeros((7, 20, 30)), {"a": 1}, ShapeError),
            (np.zeros((7, 20, 30), np.uint8), {"a": 256}, ShapeError),
            (np.zeros((7, 20, 30), np.uint8), {"a": 0}, ShapeError),
            (np.zeros((7, 20, 30), np.uint8), {}, UnknownObjectError),
        ],
    )
    def test_labels_that_do_not_fit_are_refused_and_stay(
        self, labels: NDArray[Any], values: dict[str, int], error: type[Exception]
    ) -> None:
        with pytest.raises(error):
            write_masks(labels, self.masks(a=np.s_[:, :]), STACK, values)
        assert not labels.any()

    def test_two_objects_with_one_label_and_masks_of_another_size_are_refused(self) -> None:
        labels = np.zeros(STACK.shape, np.uint8)
        with pytest.raises(ShapeError, match="different"):
            write_masks(labels, self.masks(a=np.s_[:1], b=np.s_[1:2]), STACK, {"a": 1, "b": 1})
        with pytest.raises(ShapeError, match="frame"):
            write_masks(labels, FrameMasks(0, {"a": np.ones((3, 3), bool)}, {}), STACK, {"a": 1})


def test_importing_it_brings_neither_napari_nor_qt_nor_torch() -> None:
    code = "import sys, napari_sam2; print([m for m in ('napari', 'qtpy', 'magicgui', 'torch') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
