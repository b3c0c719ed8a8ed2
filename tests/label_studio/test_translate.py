"""Label Studio's JSON to prompts: label configs, recorded requests, and what must not crash a server."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ls_backend import (
    LabelConfigError,
    ObjectLabel,
    context_results,
    decode_brush_rle,
    parse_label_config,
    read_prompts,
    results_from_masks,
    task_results,
)
from sam2_engine.errors import EngineError, ImageTooLargeError, PromptError
from sam2_engine.outputs import FrameMasks
from sam2_engine.prompts import Box, Click
from tests.label_studio.translate_cases import CONFIG, SIZE, brush, disc, marked, point, recorded, rectangle, stroke


class TestLabelConfig:
    def test_names_kinds_labels_and_pictures_are_read(self) -> None:
        config = parse_label_config(recorded("clicks")["request"]["label_config"])
        assert [(image.name, image.data_key, image.is_list) for image in config.images] == [("image", "image", False)]
        assert [(control.name, control.kind) for control in config.controls] == [
            ("brush", "brushlabels"),
            ("kp", "keypointlabels"),
            ("rect", "rectanglelabels"),
            ("poly", "polygonlabels"),
        ]
        assert all(control.labels == ("Cat", "Dog") and control.to_names == ("image",) for control in config.controls)

    def test_a_list_of_pictures_is_told_from_one(self) -> None:
        (image,) = parse_label_config(recorded("pages")["request"]["label_config"]).images
        assert (image.data_key, image.is_list) == ("images", True)

    def test_smart_is_the_default_and_can_be_switched_off(self) -> None:
        smart = {control.name: control.is_smart for control in parse_label_config(CONFIG).controls}
        assert smart == {"kp": True, "brush": False, "poly": True, "rect": True}

    def test_an_alias_stands_for_the_value(self) -> None:
        config = parse_label_config(CONFIG.replace('value="Dog"', 'value="Hund" alias="Dog"'))
        assert config.controls[0].labels == ("Cat", "Dog")

    def test_labels_from_the_task_accept_any(self) -> None:
        config = parse_label_config(
            '<View><Image name="i" value="$i"/><BrushLabels name="b" toName="i" value="$options"/></View>'
        )
        assert config.output("i", "whatever").offers("whatever")

    @pytest.mark.parametrize(
        ("label", "kind", "name"),
        [("Cat", None, "brush"), ("Dog", None, "poly"), (None, None, "brush"), ("Cat", "rectanglelabels", "rect")],
    )
    def test_the_tag_for_masks_offers_the_label_and_is_the_most_faithful(
        self, label: str | None, kind: Any, name: str
    ) -> None:
        assert parse_label_config(CONFIG).output("image", label, kind).name == name

    def test_a_config_without_a_tag_for_masks_says_what_to_add(self) -> None:
        config = parse_label_config(
            '<View><Image name="image" value="$i"/><KeyPointLabels name="k" toName="image"/></View>'
        )
        with pytest.raises(LabelConfigError, match="BrushLabels"):
            config.output("image", "Cat")

    def test_an_unknown_picture_is_an_error(self) -> None:
        with pytest.raises(LabelConfigError, match="scan"):
            parse_label_config(CONFIG).output("scan", "Cat")

    @pytest.mark.parametrize("xml", ["", "<View>", "no", '<!DOCTYPE a [<!ENTITY b "c">]><View>&b;</View>'])
    def test_what_is_no_config_is_refused(self, xml: str) -> None:
        with pytest.raises(LabelConfigError):
            parse_label_config(xml)


class TestRecordedRequests:
    def read(self, name: str) -> Any:
        results = context_results(recorded(name)["request"])
        assert results is not None
        return read_prompts(results)

    def test_clicks_of_a_label_are_one_object_in_fractions_of_pixels(self) -> None:
        (found,) = self.read("clicks")
        (step,) = found.steps
        assert [click.positive for click in step.clicks] == [True, True, False]
        assert (step.clicks[0].x, step.clicks[0].y) == pytest.approx(
            (28.10098792535675 * 6.4 - 0.5, 40.486644712769845 * 4.8 - 0.5)
        )
        assert (found.target, found.size, found.frame) == (ObjectLabel("image", "Cat"), (480, 640), 0)
        assert found.region_ids == ("mK3thcay2S", "wTHUqylseJ", "Fu5m1xJa96")

    def test_a_rectangle_is_a_box(self) -> None:
        (found,) = self.read("box")
        (step,) = found.steps
        box = step.box
        assert box is not None and not step.clicks
        assert (box.x0, box.y0) == pytest.approx((344.2371, 162.0198), abs=1e-4)
        assert (box.x1 - box.x0, box.y1 - box.y0) == pytest.approx((201.6246, 229.0231), abs=1e-4)

    def test_a_click_and_a_rectangle_are_one_object(self) -> None:
        (found,) = self.read("click_and_box")
        assert found.steps[0].clicks == (Click(127.5, 95.5),)
        assert found.steps[0].box == Box(64, 48, 256, 240)

    def test_a_turned_view_changes_no_coordinate(self) -> None:
        (found,) = self.read("turned_view")
        assert found.image_rotation == 90
        (click,) = found.steps[0].clicks
        assert (click.x, click.y) == pytest.approx((20.746432491767305 * 6.4 - 0.5, 19.319429198682755 * 4.8 - 0.5))

    def test_the_page_is_the_frame(self) -> None:
        request = recorded("pages")["request"]
        results = context_results(request)
        assert results is not None
        moved = [{**result, "id": "other", "item_index": 3} for result in results]
        assert [found.frame for found in read_prompts(results + moved)] == [0, 3]
        assert len({found.obj for found in read_prompts(results + moved)}) == 1

    def test_an_emptied_context_has_no_regions_and_an_opened_task_no_context(self) -> None:
        assert context_results(recorded("nothing_marked")["request"]) == []
        assert context_results(recorded("task_opened")["request"]) is None

    def test_regions_on_a_video_are_passed_over(self) -> None:
        assert self.read("video") == ()

    def test_a_brush_cut_short_is_refused(self) -> None:
        with pytest.raises(PromptError, match="cut short"):
            self.read("brush_cut_short_and_history")

    def test_the_newest_draft_and_annotation_are_read(self) -> None:
        (task,) = recorded("brush_cut_short_and_history")["request"]["tasks"]
        (annotated,) = read_prompts(task_results(task, "annotations"))
        assert annotated.region_ids == ("m535845",)
        assert [found.region_ids for found in read_prompts(task_results(task, "drafts"))] == [
            ("m526612",),
            ("m526656",),
        ]
        assert task_results(task, "predictions") == []

    def test_an_accepted_mask_with_two_results_is_one_object_and_strokes_are_drawn(self) -> None:
        (task,) = recorded("brush_cut_short_and_history")["request"]["tasks"]
        found = read_prompts(task["drafts"][2]["result"])
        assert [(one.obj, one.region_ids) for one in found] == [
            ("image/Dog/1", ("m524519",)),
            ("image/Cat/1", ("m524726",)),
            ("image/Cat/2", ("V8Zli8qyBs",)),
        ]
        strokes = found[2].steps[0].mask
        assert strokes is not None
        # Two legs, 11.05 pixels wide, with round ends.
        points = np.array([(137.0, 330.7), (197.4, 343.2), (258.5, 354.2)])
        area = 11.05 * np.linalg.norm(np.diff(points, axis=0), axis=1).sum() + math.pi * 11.05**2 / 4
        assert strokes.sum() == pytest.approx(area, rel=0.03)
        assert strokes[343, 197] and not strokes[300, 197]

    def test_masks_that_were_accepted_as_answers_are_written_byte_for_byte(self) -> None:
        answer = recorded("pages")["response"]["results"][0]["result"]
        config = parse_label_config(recorded("pages")["request"]["label_config"])
        for region in answer:
            mask = decode_brush_rle(region["value"]["rle"], (480, 640))
            found = FrameMasks(region["item_index"], {7: mask}, {7: region["score"]})
            (ours,) = results_from_masks(found, {7: ObjectLabel("image", "Cat")}, config)
            assert {**ours, "id": region["id"]} == region


class TestPrompts:
    def test_every_rectangle_is_an_object_and_clicks_go_where_they_lie(self) -> None:
        found = read_prompts(
            [
                rectangle(0, 0, 40, 40),
                rectangle(60, 60, 20, 20),
                point(70, 70),
                point(10, 10, is_positive=False),
                point(95, 95),
            ]
        )
        assert [len(one.steps[0].clicks) for one in found] == [1, 2]
        assert [one.obj for one in found] == ["image/Cat/1", "image/Cat/2"]

    def test_a_click_in_two_rectangles_belongs_to_the_smaller(self) -> None:
        large, small = read_prompts([rectangle(0, 0, 90, 90), rectangle(20, 20, 10, 10), point(25, 25)])
        assert (len(large.steps[0].clicks), len(small.steps[0].clicks)) == (0, 1)

    def test_labels_are_kept_apart(self) -> None:
        found = read_prompts([point(1, 1), point(2, 2, "Dog"), point(3, 3)])
        assert [(one.target.label, len(one.steps[0].clicks)) for one in found] == [("Cat", 2), ("Dog", 1)]

    def test_a_mask_comes_first_and_clicks_correct_it(self) -> None:
        (found,) = read_prompts([point(50, 50, is_positive=False), brush(disc())])
        mask, clicks = found.steps
        assert mask.mask is not None and clicks.clicks[0].positive is False
        np.testing.assert_array_equal(mask.mask, disc())

    def test_a_click_that_does_not_say_is_positive_and_a_flag_in_the_value_counts(self) -> None:
        flagged = point(2, 2)
        flagged["value"]["positive"] = False
        (found,) = read_prompts([point(1, 1), flagged])
        assert [click.positive for click in found.steps[0].clicks] == [True, False]

    @pytest.mark.parametrize("rotation", [90, -270])
    def test_a_quarter_turn_is_clockwise_about_the_first_corner(self, rotation: float) -> None:
        # 20 percent of 61 columns lie along the rows then, 10 percent of 47 rows to the left.
        (found,) = read_prompts([rectangle(50, 20, 20, 10, rotation)])
        box = found.steps[0].box
        assert box is not None
        assert (box.x0, box.y0, box.x1, box.y1) == pytest.approx((30.5 - 4.7, 9.4, 30.5, 9.4 + 12.2))

    @pytest.mark.property
    @given(st.floats(-360, 360), st.floats(5, 40), st.floats(5, 40))
    def test_the_box_of_a_turned_rectangle_lies_half_way_between_it_and_its_ellipse(
        self, rotation: float, width: float, height: float
    ) -> None:
        (found,) = read_prompts([rectangle(40, 40, width, height, rotation)])
        box = found.steps[0].box
        assert box is not None
        w, h, angle = width * 0.61, height * 0.47, math.radians(rotation)
        sines, cosines = (
            np.abs([w * math.sin(angle), h * math.sin(angle)]),
            np.abs([w * math.cos(angle), h * math.cos(angle)]),
        )
        across, down = np.array([cosines[0], sines[1]]), np.array([sines[0], cosines[1]])
        expected = [(sides.sum() + np.hypot(*sides)) / 2 for sides in (across, down)]
        assert (box.x1 - box.x0, box.y1 - box.y0) == pytest.approx(expected)

    def test_strokes_add_and_erase_after_the_run_lengths(self) -> None:
        region = brush(disc())
        region["value"]["touches"] = [stroke(0, 0, 0, 100), stroke(50, 50, kind="eraser", width=8)]
        (found,) = read_prompts([region])
        mask = found.steps[0].mask
        assert mask is not None
        assert mask[:, 0].all() and not mask[23, 30] and mask[23, 36]

    def test_a_polygon_is_a_mask(self) -> None:
        (found,) = read_prompts([marked("polygonlabels", {"points": [[0, 0], [49, 0], [49, 100], [0, 100]]})])
        mask = found.steps[0].mask
        assert mask is not None
        np.testing.assert_array_equal(mask.all(axis=0), np.arange(61) + 0.5 < 0.49 * 61)

    def test_the_label_may_stand_in_a_second_result_of_the_same_id(self) -> None:
        drawn = rectangle(0, 0, 10, 10, id="r", type="rectangle")
        del drawn["value"]["rectanglelabels"]
        named = {**drawn, "type": "labels", "value": {**drawn["value"], "labels": ["Dog"]}}
        for results in ([drawn, named], [named, drawn]):
            (found,) = read_prompts(results)
            assert (found.target.label, found.region_ids) == ("Dog", ("r",))

    def test_clicks_count_from_the_middle_of_the_first_pixel(self) -> None:
        middles = [point(100 * (column + 0.5) / 61, 100 * (row + 0.5) / 47) for row, column in ((0, 0), (46, 60))]
        (found,) = read_prompts([*middles, point(0, 0), point(100, 100)])
        places = [(click.x, click.y) for click in found.steps[0].clicks]
        np.testing.assert_allclose(places, [(0, 0), (60, 46), (0, 0), (60.5, 46.5)], atol=1e-9)

    def test_percents_and_masks_are_carried_to_a_picture_loaded_at_another_size(self) -> None:
        (found,) = read_prompts([point(50, 50), brush(disc(), id="b")], size=(94, 122))
        assert found.size == (94, 122)
        mask, clicks = found.steps
        assert clicks.clicks == (Click(60.5, 46.5),)
        assert mask.mask is not None
        np.testing.assert_array_equal(mask.mask, disc().repeat(2, axis=0).repeat(2, axis=1))

    def test_a_picture_loaded_without_its_exif_orientation_is_refused(self) -> None:
        with pytest.raises(PromptError, match="EXIF"):
            read_prompts([point(1, 1)], size=SIZE[::-1])

    def test_a_picture_without_a_size_is_refused_unless_it_is_given(self) -> None:
        bare = {key: item for key, item in point(50, 50).items() if not key.startswith("original")}
        with pytest.raises(PromptError, match="original_width"):
            read_prompts([bare])
        assert read_prompts([bare], size=(10, 20))[0].steps[0].clicks == (Click(9.5, 4.5),)

    def test_other_kinds_of_results_are_passed_over(self) -> None:
        choice = {"type": "choices", "from_name": "c", "to_name": "image", "value": {"choices": ["good"]}}
        assert read_prompts([choice, {"type": "rating", "value": {"rating": 3}}, {"type": "labels"}]) == ()

    @pytest.mark.parametrize(
        "region",
        [
            point(float("nan"), 1),
            point("1", 1),  # type: ignore[arg-type]
            point(10**400, 1),
            point(True, 1),
            rectangle(10, 10, 0, 5),
            rectangle(10, 10, -5, 5),
            rectangle(10, 10, 5, 5, "a lot"),  # type: ignore[arg-type]
            brush(np.zeros(SIZE, bool)),
            marked("brushlabels", {"format": "rle", "rle": "…"}),
            marked("brushlabels", {"touches": "…"}),
            marked("brushlabels", {"touches": [stroke(1, 2, 3)]}),
            marked("brushlabels", {"touches": [stroke(1, 1, width=1e300)]}),
            marked("polygonlabels", {"points": [[0, 0], [1, 1]]}),
            marked("polygonlabels", {"points": [[0, 0], [1, "x"], [2, 2]]}),
            marked("polygonlabels", {"points": [[0, 0], [1, 10**400], [2, 2]]}),
            marked("polygonlabels", {"points": [[200, 200], [300, 200], [300, 300]]}),
            {**point(1, 1), "item_index": -1},
            {**point(1, 1), "item_index": "0"},
            {**point(1, 1), "original_width": 0},
            {**point(1, 1), "original_width": None},
            ["no", "region"],
        ],
    )
    def test_what_cannot_be_used_is_a_named_error(self, region: Any) -> None:
        with pytest.raises(PromptError):
            read_prompts([region])

    def test_a_picture_beyond_the_pixel_limit_is_refused(self) -> None:
        with pytest.raises(ImageTooLargeError):
            read_prompts([{**brush(disc()), "original_width": 10**6, "original_height": 10**6}])

    @pytest.mark.parametrize("request_", [None, [], {"params": 3}, {"params": {"context": {"result": {}}}}])
    def test_requests_of_another_form_are_refused(self, request_: Any) -> None:
        with pytest.raises(PromptError):
            context_results(request_)

    @pytest.mark.parametrize(
        "request_", [{}, {"params": None}, {"params": {"context": None}}, {"params": {"context": {}}}]
    )
    def test_a_missing_context_is_none(self, request_: Any) -> None:
        assert context_results(request_) is None

    def test_cancelled_annotations_are_passed_over(self) -> None:
        kept = {"result": [point(1, 1)], "created_at": "2026-01-01T00:00:00Z"}
        cancelled = {"result": [], "created_at": "2026-01-02T00:00:00Z", "was_cancelled": True}
        assert task_results({"annotations": [cancelled, kept]}, "annotations") == kept["result"]
        assert task_results({}, "drafts") == []

    json_values = st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
        lambda inner: st.lists(inner, max_size=4),
        max_leaves=6,
    )

    @pytest.mark.property
    @given(
        st.sampled_from(["keypointlabels", "rectanglelabels", "brushlabels", "polygonlabels"]),
        st.dictionaries(
            st.sampled_from(["x", "y", "width", "height", "rotation", "rle", "points", "touches"]), json_values
        ),
        st.dictionaries(
            st.sampled_from(
                ["id", "type", "to_name", "item_index", "original_width", "image_rotation", "is_positive", "value"]
            ),
            json_values,
        ),
    )
    def test_any_json_gives_prompts_or_a_named_error(
        self, kind: str, value: dict[str, Any], more: dict[str, Any]
    ) -> None:
        region = {**marked(kind, {"x": 1, "y": 2, "width": 3, "height": 4, **value}), **more}
        try:
            assert len(read_prompts([region])) <= 1
        except EngineError as error:
            assert str(error)
