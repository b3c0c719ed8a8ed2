"""Masks to Label Studio's JSON: results, outlines, and laws of percents and pixels."""

from __future__ import annotations

import json
import logging

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from ls_backend import (
    ObjectLabel,
    Outline,
    decode_brush_rle,
    mask_from_polygon,
    parse_label_config,
    polygons_from_mask,
    prediction,
    read_prompts,
    results_from_masks,
)
from ls_backend.regions import Canvas
from sam2_engine.errors import ShapeError, UnknownObjectError
from sam2_engine.outputs import FrameMasks
from tests.label_studio.translate_cases import CONFIG, PAGES, Mask, disc, one_object, percents, sizes


class TestResults:
    config = parse_label_config(CONFIG)
    cat = {"a": ObjectLabel("image", "Cat")}  # noqa: RUF012

    @pytest.mark.property
    @given(arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, max_side=19)))
    def test_a_brush_region_reads_back_as_the_mask(self, mask: Mask) -> None:
        results = results_from_masks(one_object(mask), self.cat, self.config)
        assert len(results) == mask.any()
        for found in read_prompts(results):
            assert found.steps[0].mask is not None
            np.testing.assert_array_equal(found.steps[0].mask, mask)

    @pytest.mark.property
    @given(arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, max_side=19)))
    def test_exact_polygons_read_back_as_the_mask_with_its_holes_and_parts(self, mask: Mask) -> None:
        outline = Outline(tolerance_px=0, min_area_px=0)
        results = results_from_masks(one_object(mask), self.cat, self.config, kind="polygonlabels", outline=outline)
        back = np.zeros_like(mask)
        for found in read_prompts(results):
            assert found.steps[0].mask is not None
            assert not (back & found.steps[0].mask).any()
            back |= found.steps[0].mask
        np.testing.assert_array_equal(back, mask)

    @pytest.mark.property
    @given(arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, max_side=19)))
    def test_a_rectangle_holds_the_mask_tightly(self, mask: Mask) -> None:
        results = results_from_masks(one_object(mask), self.cat, self.config, kind="rectanglelabels")
        assert len(results) == mask.any()
        for found in read_prompts(results):
            box = found.steps[0].box
            assert box is not None
            rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
            expected = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
            assert (box.x0, box.y0, box.x1, box.y1) == pytest.approx(expected, abs=1e-9)

    def test_one_page_has_no_item_index_and_several_have_the_frame(self) -> None:
        found = one_object(disc(), frame=2)
        assert "item_index" not in results_from_masks(found, self.cat, self.config)[0]
        assert results_from_masks(found, self.cat, parse_label_config(PAGES))[0]["item_index"] == 2

    def test_ids_are_never_used_twice(self) -> None:
        ids = {results_from_masks(one_object(disc()), self.cat, self.config)[0]["id"] for _ in range(50)}
        assert len(ids) == 50 and all(len(name) >= 8 for name in ids)

    @pytest.mark.parametrize("score", [float("nan"), float("inf")])
    def test_a_score_that_is_not_finite_is_left_out(self, score: float) -> None:
        (region,) = results_from_masks(one_object(disc(), score), self.cat, self.config)
        assert "score" not in region

    def test_scores_become_plain_floats_and_the_whole_goes_through_json(self) -> None:
        found = FrameMasks(0, {"a": disc(), "b": disc()}, {"a": np.float32(0.5), "b": 0.75})
        results = results_from_masks(found, {**self.cat, "b": ObjectLabel("image", "Dog")}, self.config)
        answer = json.loads(json.dumps(prediction(results, "v1"), allow_nan=False))
        assert (answer["score"], answer["model_version"]) == (0.625, "v1")
        assert [region["value"][region["type"]] for region in answer["result"]] == [["Cat"], ["Dog"]]
        assert prediction([], "v1")["score"] == 0.0

    def test_an_unoffered_label_is_left_out_with_a_warning(self, caplog: pytest.LogCaptureFixture) -> None:
        with caplog.at_level(logging.WARNING):
            (region,) = results_from_masks(one_object(disc()), {"a": ObjectLabel("image", "Emu")}, self.config)
        assert set(region["value"]) == {"format", "rle"} and "Emu" in caplog.text

    def test_a_brush_mask_has_the_size_that_the_browser_knows(self) -> None:
        (region,) = results_from_masks(one_object(disc()), self.cat, self.config, original_size=(94, 122))
        assert (region["original_height"], region["original_width"]) == (94, 122)
        assert decode_brush_rle(region["value"]["rle"], (94, 122)).sum() == 4 * disc().sum()

    def test_the_turn_of_the_view_is_sent_back(self) -> None:
        assert (
            results_from_masks(one_object(disc()), self.cat, self.config, image_rotation=90)[0]["image_rotation"] == 90
        )

    def test_objects_and_masks_of_another_form_are_named_errors(self) -> None:
        with pytest.raises(UnknownObjectError):
            results_from_masks(one_object(disc()), {}, self.config)
        with pytest.raises(ShapeError):
            results_from_masks(one_object(disc()[None]), self.cat, self.config)


class TestOutlines:
    def ring(self) -> Mask:
        return disc(radius=18) & ~disc(radius=8)

    def drawn(self, mask: Mask, outline: Outline) -> Mask:
        parts = [mask_from_polygon(polygon, mask.shape) for polygon in polygons_from_mask(mask, outline)]
        return np.logical_or.reduce([np.zeros_like(mask), *parts])

    def test_tolerance_saves_points_and_keeps_the_form(self) -> None:
        exact, loose = (polygons_from_mask(disc(radius=20), Outline(tolerance_px=px))[0] for px in (0, 1))
        assert len(loose) < len(exact) / 3
        difference = self.drawn(disc(radius=20), Outline(tolerance_px=1)) ^ disc(radius=20)
        assert difference.mean() < 0.02

    def test_holes_are_cut_or_filled(self) -> None:
        np.testing.assert_array_equal(self.drawn(self.ring(), Outline(0, holes="cut")), self.ring())
        np.testing.assert_array_equal(self.drawn(self.ring(), Outline(0, holes="fill")), disc(radius=18))

    @pytest.mark.parametrize(("min_area_px", "is_kept"), [(4, True), (5, False)])
    def test_small_parts_and_holes_are_left_out(self, min_area_px: int, is_kept: bool) -> None:
        mask = disc(radius=15)
        mask[22:24, 29:31] = False
        mask[1:3, 1:3] = True
        drawn = self.drawn(mask, Outline(0, min_area_px=min_area_px))
        assert bool(drawn[1, 1]) == is_kept
        assert bool(drawn[22, 29]) == (not is_kept)

    def test_the_largest_part_comes_first(self) -> None:
        mask = np.zeros((30, 30), bool)
        mask[:5, :5] = mask[10:, 10:] = True
        first, second = polygons_from_mask(mask)
        assert first.min() >= 10 > second.max()

    def test_a_part_smaller_than_the_tolerance_stays_a_polygon(self) -> None:
        mask = np.zeros((9, 9), bool)
        mask[4, 4] = True
        (polygon,) = polygons_from_mask(mask, Outline(tolerance_px=5, min_area_px=0))
        assert len(polygon) >= 3

    def test_settings_without_sense_are_refused(self) -> None:
        for wrong in ({"tolerance_px": -1.0}, {"tolerance_px": float("nan")}, {"min_area_px": -1}, {"holes": "no"}):
            with pytest.raises(ValueError, match="expected"):
                Outline(**wrong)  # type: ignore[arg-type]


@pytest.mark.property
@given(percents, percents, sizes)
def test_percents_come_back_from_pixels(x: float, y: float, size: tuple[int, int]) -> None:
    canvas = Canvas(size)
    pixels = canvas.to_pixels(x, y)
    assert 0 <= pixels[0] <= size[1] and 0 <= pixels[1] <= size[0]
    assert canvas.to_percent(*pixels) == pytest.approx((x, y), rel=1e-12, abs=1e-6)


@pytest.mark.property
@given(sizes, st.data())
def test_pixels_come_back_from_percents(size: tuple[int, int], data: st.DataObject) -> None:
    x, y = (data.draw(st.integers(0, extent)) for extent in size[::-1])
    assert Canvas(size).to_pixels(*Canvas(size).to_percent(x, y)) == pytest.approx((x, y), rel=1e-12)


def test_a_rounding_error_at_the_border_does_not_lead_out_of_the_picture() -> None:
    assert Canvas((480, 640)).to_pixels(100.00000000000001, -1e-14) == (640, 0)
    assert Canvas((480, 640)).to_pixels(101, -1) == pytest.approx((646.4, -4.8))
