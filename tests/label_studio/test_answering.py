"""Pictures: what annotators mark on them becomes the right region, on the right pixels, of the right kind."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ls_backend import mask_from_polygon
from ls_backend.answering import Answerer
from ls_backend.bitmaps import decode_bitmap
from sam2_engine.errors import EngineError, FramesError, PromptError
from sam2_engine.prompts import Box, Prompts
from sam2_engine.tracking import Tracker
from tests.label_studio.answering_parts import (
    CONFIG,
    LABELS,
    SIZE,
    FakeFetcher,
    Mask,
    answerer_for,
    around,
    box,
    brush,
    click,
    clicked,
    disc,
    draft,
    engine_mask,
    masks_of,
    objects_at,
    only_mask,
    overlap,
    png,
    recorded,
    regions_of,
    request,
    scene,
)


@pytest.fixture(scope="module")
def answerer(trained: Tracker) -> Answerer:
    return answerer_for(trained)


@pytest.fixture
def little(tracker: Tracker) -> Answerer:
    """With random weights, where it does not matter what is found."""
    return answerer_for(tracker)


class TestRecordedRequests:
    @pytest.mark.parametrize(
        ("name", "shown"),
        [
            ("clicks", "left"),
            ("clicks_and_drafts", "left"),
            ("from_the_web", "left"),
            ("from_a_bucket", "left"),
            ("from_a_folder", "small"),
            ("turned_view", "small"),
            ("box", "right"),
        ],
    )
    def test_the_marked_object_is_found_on_its_pixels(self, answerer: Answerer, name: str, shown: str) -> None:
        answers = answerer.predict(recorded(name))
        assert overlap(only_mask(answers), objects_at()[shown]) > 0.75
        (found,) = regions_of(answers)
        marked = recorded(name)["params"]["context"]["result"]
        kind = "bitmasklabels" if name == "from_a_folder" else "brushlabels"
        assert (found["to_name"], found["type"], found["value"][kind]) == ("image", kind, ["Cat"])
        assert found["image_rotation"] == marked[0]["image_rotation"]
        assert found["id"] not in {one["id"] for one in marked} and "item_index" not in found
        assert math.isfinite(found["score"]) and 0 < found["score"] <= 1

    @pytest.mark.parametrize("name", ["clicks", "box", "click_and_box", "turned_box", "turned_view"])
    def test_masks_are_the_engines_own(self, answerer: Answerer, trained: Tracker, name: str) -> None:
        x_scale, y_scale = SIZE[1] / 100, SIZE[0] / 100
        clicks, frame = [], None
        for one in recorded(name)["params"]["context"]["result"]:
            value = one["value"]
            x, y = value["x"] * x_scale, value["y"] * y_scale
            if one["type"] == "keypointlabels":
                clicks.append(clicked(x, y, one["is_positive"]))
            else:
                frame = Box(x, y, x + value["width"] * x_scale, y + value["height"] * y_scale)
        expected = engine_mask(trained, Prompts(tuple(clicks), frame))
        np.testing.assert_array_equal(only_mask(answerer.predict(recorded(name))), expected)

    def test_pages_have_the_object_each_at_its_place(self, answerer: Answerer) -> None:
        masks = masks_of(answerer.predict(recorded("pages")))
        assert sorted(masks) == [0, 1, 2, 3]
        for page, (mask,) in masks.items():
            assert overlap(mask, objects_at(page)["left"]) > 0.65

    def test_an_emptied_context_gives_an_empty_prediction(self, little: Answerer) -> None:
        (answer,) = little.predict(recorded("nothing_marked"))
        assert (answer["result"], answer["score"]) == ([], 0.0)
        assert answer["model_version"] == little.engine.version

    @pytest.mark.parametrize("name", ["task_opened", "video_opened"])
    def test_an_opened_task_is_answered_with_nothing_at_once(self, little: Answerer, name: str) -> None:
        assert little.predict(recorded(name)) == []

    def test_a_brush_cut_short_is_an_error_that_says_so(self, little: Answerer) -> None:
        with pytest.raises(PromptError, match="cut short"):
            little.predict(recorded("brush_cut_short_and_history"))


class TestPrompts:
    def test_every_box_has_a_mask_of_its_own(self, answerer: Answerer) -> None:
        truth = objects_at()
        answers = answerer.predict(request(around(truth["left"]), around(truth["right"])))
        first, second = masks_of(answers)[0]
        assert overlap(first, truth["left"]) > 0.75 and overlap(second, truth["right"]) > 0.75
        assert len({found["id"] for found in regions_of(answers)}) == 2

    def test_a_turned_box_means_what_lies_in_it(self, answerer: Answerer) -> None:
        # A square on its corner around the small disc.
        marked = box(128, 92 - 44, 62, 62, rotation=45)
        assert overlap(only_mask(answerer.predict(request(marked))), objects_at()["small"]) > 0.7

    def test_a_flag_within_the_value_counts_and_without_one_clicks_are_positive(
        self, answerer: Answerer, trained: Tracker
    ) -> None:
        plain = click(190.3, 200.3)
        del plain["is_positive"]
        negative = click(250.3, 200.3)
        del negative["is_positive"]
        negative["value"]["positive"] = False
        expected = engine_mask(trained, Prompts((clicked(190.3, 200.3), clicked(250.3, 200.3, False))))
        np.testing.assert_array_equal(only_mask(answerer.predict(request(plain, negative))), expected)

    def test_negative_clicks_alone_show_nothing(self, little: Answerer) -> None:
        assert regions_of(little.predict(request(click(190.3, 200.3, positive=False)))) == []

    def test_labels_are_objects_of_their_own(self, answerer: Answerer) -> None:
        answers = answerer.predict(request(click(190.3, 200.3), click(445, 276, "Dog")))
        assert [found["value"]["brushlabels"] for found in regions_of(answers)] == [["Cat"], ["Dog"]]

    def test_what_lies_outside_is_an_error_that_says_so(self, little: Answerer) -> None:
        with pytest.raises(PromptError, match="inside the image"):
            little.predict(request(click(700, 200)))

    def test_a_picture_read_without_its_orientation_is_noticed(self, little: Answerer) -> None:
        marked = click(190.3, 200.3, original_width=SIZE[0], original_height=SIZE[1])
        with pytest.raises(PromptError, match="EXIF"):
            little.predict(request(marked))

    def test_a_picture_of_another_size_than_the_browser_knows_is_marked_in_its_own(self, answerer: Answerer) -> None:
        half = {"original_width": SIZE[1] // 2, "original_height": SIZE[0] // 2}
        mask = only_mask(answerer.predict(request(click(190.3, 200.3) | half)))
        assert mask.shape == (240, 320)
        assert overlap(mask, objects_at()["left"][::2, ::2]) > 0.75

    def test_regions_of_other_tags_are_passed_over(self, little: Answerer) -> None:
        assert regions_of(little.predict(request(click(1, 1) | {"to_name": "text"}))) == []

    def test_errors_of_the_fetcher_are_handed_on(self, tracker: Tracker) -> None:
        answerer = answerer_for(tracker, FakeFetcher({"/f0.png": FramesError("gone")}))
        with pytest.raises(FramesError, match="gone"):
            answerer.predict(request(click(1, 1)))

    @pytest.mark.parametrize(
        "broken",
        [
            {"tasks": None},
            {"tasks": []},
            {"tasks": [7]},
            {"tasks": [{"data": {}}]},
            {"tasks": [{"data": {"image": 7}}]},
            {"label_config": None},
            {"label_config": "<View>"},
            {"params": [7]},
            {"params": {"context": {"result": [7]}}},
            {"params": {"context": {"result": [{"to_name": "image", "item_index": "x"}]}}},
            {"params": {"context": {"result": [{"to_name": "image", "item_index": 3}]}}},
        ],
    )
    def test_what_is_no_request_is_a_named_error(self, little: Answerer, broken: dict[str, Any]) -> None:
        with pytest.raises(EngineError):
            little.predict(request(click(10, 10)) | broken)


class TestOutput:
    def answers(self, trained: Tracker, tags: str, **settings: Any) -> list[dict[str, Any]]:
        config = CONFIG.replace(f'<BrushLabels name="brush" toName="image">{LABELS}</BrushLabels>', tags)
        return regions_of(answerer_for(trained, **settings).predict(request(click(190.3, 200.3), config=config)))

    def expected(self, trained: Tracker) -> Mask:
        return engine_mask(trained, Prompts((clicked(190.3, 200.3),)))

    def test_bitmasks(self, trained: Tracker) -> None:
        (found,) = self.answers(trained, f'<BitmaskLabels name="bm" toName="image">{LABELS}</BitmaskLabels>')
        assert (found["type"], found["from_name"]) == ("bitmasklabels", "bm")
        assert found["value"]["bitmasklabels"] == ["Cat"]
        np.testing.assert_array_equal(decode_bitmap(found["value"]["imageDataURL"], SIZE), self.expected(trained))

    def test_polygons(self, trained: Tracker) -> None:
        found = self.answers(trained, f'<PolygonLabels name="poly" toName="image">{LABELS}</PolygonLabels>')
        assert found[0]["type"] == "polygonlabels"
        points = np.array(found[0]["value"]["points"]) * [SIZE[1] / 100, SIZE[0] / 100]
        assert overlap(mask_from_polygon(points, SIZE), self.expected(trained)) > 0.95

    def test_rectangles(self, trained: Tracker) -> None:
        (found,) = self.answers(trained, "")
        expected = self.expected(trained)
        columns = np.flatnonzero(expected.any(axis=0))
        assert found["type"] == "rectanglelabels"
        assert found["value"]["x"] == pytest.approx(columns[0] / SIZE[1] * 100)
        assert found["value"]["width"] == pytest.approx((columns[-1] + 1 - columns[0]) / SIZE[1] * 100)

    def test_a_brush_and_labels_beside_it_are_two_results_of_one_region(self, trained: Tracker) -> None:
        tags = f'<Brush name="b" toName="image"/><Labels name="l" toName="image">{LABELS}</Labels>'
        drawn, named = self.answers(trained, tags)
        assert drawn["id"] == named["id"]
        assert (drawn["type"], drawn["from_name"], set(drawn["value"])) == ("brush", "b", {"format", "rle"})
        assert (named["type"], named["from_name"], named["value"]["labels"]) == ("labels", "l", ["Cat"])
        assert drawn["value"]["rle"] == named["value"]["rle"]

    def test_masks_leave_out_what_others_have_where_that_is_wanted(self, trained: Tracker) -> None:
        accepted = disc(150, 200, 50, 50)
        marked = click(220.3, 200.3)
        task = {"drafts": [draft(brush(accepted, "Dog"), marked)]}
        free = only_mask(answerer_for(trained, non_overlapping=True).predict(request(marked, task=task)))
        whole = only_mask(answerer_for(trained).predict(request(marked, task=task)))
        np.testing.assert_array_equal(free, whole & ~accepted)
        assert (whole & accepted).any()

    def test_objects_of_one_request_do_not_overlap_where_that_is_wanted(self, trained: Tracker) -> None:
        marked = [box(111, 121, 158, 158), box(130, 121, 200, 158)]
        first, second = masks_of(answerer_for(trained, non_overlapping=True).predict(request(*marked)))[0]
        assert not (first & second).any()

    def test_a_mask_that_is_corrected_takes_no_pixels_from_itself(self, trained: Tracker) -> None:
        accepted = objects_at()["left"] | disc(300, 200, 60, 30)
        task = {"drafts": [draft(brush(accepted))]}
        marked = click(320.3, 200.3, positive=False)
        found = only_mask(answerer_for(trained, non_overlapping=True).predict(request(marked, task=task)))
        assert overlap(found, accepted) > 0.6

    def test_ids_are_fresh_each_time(self, little: Answerer) -> None:
        ids = {found["id"] for _ in range(3) for found in regions_of(little.predict(request(box(100, 100, 90, 90))))}
        assert len(ids) == 3


def test_sixteen_bits_and_grey_pictures_are_answered(trained: Tracker) -> None:
    grey = (scene().mean(axis=2) * 200).astype(np.uint16)
    answerer = answerer_for(trained, FakeFetcher({"/f0.png": png(grey)}))
    assert overlap(only_mask(answerer.predict(request(around(objects_at()["right"])))), objects_at()["right"]) > 0.8


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 700) | st.floats(-10, 110) | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["x", "id", "result"]), inner, max_size=3)
    ),
    max_leaves=6,
)


@pytest.mark.property
@settings(max_examples=120)
@given(
    st.sampled_from(["tasks", "params", "label_config", "project", "drafts", "annotations", "data", "region", "value"]),
    st.dictionaries(
        st.sampled_from(["x", "y", "width", "rotation", "rle", "points", "imageDataURL", "item_index", "id", "type"]),
        json_values,
        max_size=3,
    ),
    json_values,
)
def test_any_json_is_answered_or_a_named_error(
    tiny_model: Any, where: str, more: dict[str, Any], anything: Any
) -> None:
    answerer = answerer_for(Tracker(tiny_model), automatic=False)
    asked = request(click(190, 200), box(100, 100, 180, 180, "Dog"))
    (task,) = asked["tasks"]
    marked = asked["params"]["context"]["result"][0]
    holders = {"region": (marked, more), "value": (marked["value"], more), "drafts": (task, {"drafts": anything})}
    holders |= {name: (task, {name: [{"result": [more | {"id": marked["id"]}]}]}) for name in ("annotations",)}
    holders |= {"data": (task, {"data": anything})}
    holder, change = holders.get(where, (asked, {where: anything}))
    holder.update(change)
    try:
        answers = answerer.predict(asked)
    except EngineError as error:
        assert str(error)
    else:
        json.dumps(answers, allow_nan=False)
    answerer.close()
