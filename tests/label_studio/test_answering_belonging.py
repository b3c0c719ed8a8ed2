"""What belongs to a request though it is not in it: boxes of a moment ago, masks that were accepted."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from sam2_engine.prompts import Box, Prompts
from sam2_engine.tracking import Tracker
from tests.label_studio.answering_parts import (
    SIZE,
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
    regions_of,
    request,
)


class TestWhatBelongsTogether:
    left = Box(111, 121, 269, 279)

    def test_clicks_in_a_box_drawn_a_moment_ago_correct_its_object(self, trained: Tracker) -> None:
        answerer = answerer_for(trained)
        answerer.predict(request(box(111, 121, 158, 158)))
        later = only_mask(answerer.predict(request(click(190.3, 200.3), click(240.3, 200.3, positive=False))))
        expected = engine_mask(trained, Prompts((clicked(190.3, 200.3), clicked(240.3, 200.3, False)), self.left))
        np.testing.assert_array_equal(later, expected)

    def test_other_boxes_of_the_same_request_keep_their_masks(self, trained: Tracker) -> None:
        answerer = answerer_for(trained)
        truth = objects_at()
        answerer.predict(request(box(111, 121, 158, 158), around(truth["right"])))
        masks = masks_of(answerer.predict(request(click(190.3, 200.3))))[0]
        assert len(masks) == 2 and overlap(masks[1], truth["right"]) > 0.75

    @pytest.mark.parametrize(
        "between",
        [[], [box(300, 300, 20, 20, "Dog")]],
        ids=["the click lies elsewhere", "somebody else marked something"],
    )
    def test_in_doubt_nothing_is_merged(self, tracker: Tracker, between: list[dict[str, Any]]) -> None:
        with_memory, without = answerer_for(tracker), answerer_for(tracker)
        marked = click(190.3, 200.3) if between else click(445, 276)
        with_memory.predict(request(box(111, 121, 158, 158)))
        for other in between:
            with_memory.predict(request(other))
        np.testing.assert_array_equal(
            masks_of(with_memory.predict(request(marked)))[0], masks_of(without.predict(request(marked)))[0]
        )

    def test_another_task_is_another_matter(self, tracker: Tracker) -> None:
        with_memory, without = answerer_for(tracker), answerer_for(tracker)
        with_memory.predict(request(box(111, 121, 158, 158), task={"id": 2}))
        np.testing.assert_array_equal(
            masks_of(with_memory.predict(request(click(190.3, 200.3))))[0],
            masks_of(without.predict(request(click(190.3, 200.3))))[0],
        )

    def test_the_box_is_found_in_the_draft_after_a_restart(self, trained: Tracker) -> None:
        marked = click(190.3, 200.3)
        task = {"drafts": [draft(box(111, 121, 158, 158), marked)]}
        found = only_mask(answerer_for(trained).predict(request(marked, task=task)))
        np.testing.assert_array_equal(found, engine_mask(trained, Prompts((clicked(190.3, 200.3),), self.left)))

    def test_a_box_that_was_deleted_is_not_merged(self, tracker: Tracker) -> None:
        answerer = answerer_for(tracker)
        first, second = click(190.3, 200.3), click(200, 210)
        answerer.predict(request(box(111, 121, 158, 158)))
        answerer.predict(request(first))
        task = {"drafts": [draft(first)]}
        found = masks_of(answerer.predict(request(first, second, task=task)))[0]
        alone = masks_of(answerer_for(tracker).predict(request(first, second)))[0]
        np.testing.assert_array_equal(found, alone)

    def test_a_negative_click_in_an_accepted_mask_corrects_it(self, trained: Tracker) -> None:
        truth = objects_at()
        accepted = truth["left"] | disc(300, 200, 60, 30)
        marked = click(320.3, 200.3, positive=False)
        task = {"drafts": [draft(brush(accepted), brush(truth["right"], "Dog"))]}
        found = only_mask(answerer_for(trained).predict(request(marked, task=task)))
        np.testing.assert_array_equal(
            found, engine_mask(trained, Prompts((clicked(320.3, 200.3, False),)), base=accepted)
        )
        assert not found[200, 320] and overlap(found, accepted) > 0.6

    def test_what_is_corrected_takes_the_place_of_what_was_accepted(self, trained: Tracker) -> None:
        accepted = brush(objects_at()["left"] | disc(300, 200, 60, 30))
        marked = click(320.3, 200.3, positive=False)
        task = {"drafts": [draft(accepted)]}
        (found,) = regions_of(answerer_for(trained).predict(request(marked, task=task)))
        assert found["id"] == accepted["id"] and found["type"] == accepted["type"]
        # A second click goes on from what was accepted, not from the suggestion.
        again = request(marked, click(330.3, 210.3, positive=False), task=task)
        assert [one["id"] for one in regions_of(answerer_for(trained).predict(again))] == [accepted["id"]]

    def test_what_was_drawn_in_another_way_is_not_replaced(self, trained: Tracker) -> None:
        outline = {"points": [[20, 20], [50, 20], [50, 70], [20, 70]], "polygonlabels": ["Cat"]}
        drawn = click(320.3, 200.3) | {"id": "drawn", "type": "polygonlabels", "value": outline}
        marked = click(300.3, 300.3, positive=False)
        (found,) = regions_of(answerer_for(trained).predict(request(marked, task={"drafts": [draft(drawn)]})))
        assert found["type"] == "brushlabels" and found["id"] != "drawn"

    def test_a_click_beside_a_mask_that_lacks_a_part_completes_it(self, trained: Tracker) -> None:
        truth = objects_at()["left"]
        accepted = truth & (np.indices(SIZE)[1] < 205)
        marked, task = click(235.3, 200.3), {"drafts": [draft(brush(accepted))]}
        answers = answerer_for(trained).predict(request(marked, task=task))
        assert regions_of(answers)[0]["id"] == brush(accepted)["id"]
        np.testing.assert_array_equal(
            only_mask(answers), engine_mask(trained, Prompts((clicked(235.3, 200.3),)), base=accepted)
        )
        assert overlap(only_mask(answers), truth) > overlap(accepted, truth) + 0.15

    def test_a_click_on_what_lies_beside_a_mask_means_another_object(self, trained: Tracker) -> None:
        truth = objects_at()
        marked, task = click(128.3, 92.3), {"drafts": [draft(brush(truth["left"]))]}
        off = click(150.3, 180.3, positive=False)
        for clicks in ((marked,), (marked, off)):
            answers = answerer_for(trained).predict(request(*clicks, task=task))
            np.testing.assert_array_equal(
                only_mask(answers), only_mask(answerer_for(trained).predict(request(*clicks)))
            )
            assert regions_of(answers)[0]["id"] != brush(truth["left"])["id"]

    @pytest.mark.parametrize("change", [{"label": "Dog"}, {"item_index": 1}], ids=["label", "page"])
    def test_masks_of_other_labels_and_pages_are_not_completed(self, trained: Tracker, change: dict[str, Any]) -> None:
        accepted = objects_at()["left"] & (np.indices(SIZE)[1] < 205)
        task = {"drafts": [draft(brush(accepted, **change))]}
        (found,) = regions_of(answerer_for(trained).predict(request(click(235.3, 200.3), task=task)))
        assert found["id"] != brush(accepted, **change)["id"]

    def test_a_mask_that_was_submitted_is_corrected_before_there_is_a_draft(self, trained: Tracker) -> None:
        accepted = brush(objects_at()["left"] | disc(300, 200, 60, 30))
        task = {"annotations": [{"id": 5, "result": [accepted], "was_cancelled": False}]}
        marked = click(320.3, 200.3, positive=False)
        (found,) = regions_of(answerer_for(trained).predict(request(marked, task=task)))
        assert found["id"] == accepted["id"]

    @pytest.mark.parametrize("ages_s", [(4000.0,), (1.0, 2.0)], ids=["old", "two"])
    def test_drafts_that_may_be_anybodys_are_passed_over(self, tracker: Tracker, ages_s: tuple[float, ...]) -> None:
        drafts = [draft(box(111 + index, 121, 158, 158), age_s=age) for index, age in enumerate(ages_s)]
        np.testing.assert_array_equal(
            masks_of(answerer_for(tracker).predict(request(click(190.3, 200.3), task={"drafts": drafts})))[0],
            masks_of(answerer_for(tracker).predict(request(click(190.3, 200.3))))[0],
        )

    def test_a_damaged_region_of_a_draft_does_not_matter(self, tracker: Tracker) -> None:
        damaged = brush(objects_at()["left"])
        damaged["value"]["rle"] = damaged["value"]["rle"][:9]
        task = {"drafts": [draft(damaged)]}
        assert len(regions_of(answerer_for(tracker).predict(request(click(190.3, 200.3), task=task)))) <= 1
