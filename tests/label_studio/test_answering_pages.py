"""Pages that follow each other: one click, a mask on each; corrections, several objects, pages that fail."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from ls_backend import encode_brush_rle
from ls_backend.answering import Answerer
from ls_backend.answering.pages import Limits, PagesAnswer
from ls_backend.sources import Access
from ls_backend.translate import read_prompts
from ls_backend.turns import SupersededError, Urgency
from sam2_engine.errors import FramesError
from sam2_engine.tracking import Tracker
from tests.label_studio.answering_parts import (
    PAGES,
    SIZE,
    FakeFetcher,
    answerer_for,
    around,
    click,
    disc,
    masks_of,
    objects_at,
    overlap,
    png,
    region,
    regions_of,
    request,
    scene,
)


def ask(answerer: Answerer, *marked: dict[str, Any]) -> list[dict[str, Any]]:
    return answerer.predict(request(*marked, config=PAGES))


def test_a_click_in_the_middle_is_carried_both_ways(trained: Tracker) -> None:
    masks = masks_of(ask(answerer_for(trained), click(198, 204, item_index=2)))
    assert sorted(masks) == [0, 1, 2, 3, 4, 5]
    for page, (mask,) in masks.items():
        assert overlap(mask, objects_at(page)["left"]) > 0.65


def test_several_objects_keep_their_labels_on_every_page(trained: Tracker) -> None:
    marked = [click(190, 200, item_index=0), around(objects_at(5)["right"], label="Dog", item_index=5)]
    found = regions_of(ask(answerer_for(trained), *marked))
    assert {(one["item_index"], one["value"]["brushlabels"][0]) for one in found} == {
        (page, label) for page in range(6) for label in ("Cat", "Dog")
    }
    assert len({one["id"] for one in found}) == len(found)


def test_two_boxes_of_a_label_are_two_objects_on_all_pages(trained: Tracker) -> None:
    truth = objects_at(0)
    masks = masks_of(
        ask(answerer_for(trained), around(truth["left"], item_index=0), around(truth["right"], item_index=0))
    )
    assert [len(masks[page]) for page in range(6)] == [2] * 6
    for page in range(6):
        assert overlap(masks[page][0], objects_at(page)["left"]) > 0.65
        assert overlap(masks[page][1], objects_at(page)["right"]) > 0.65


def test_an_accepted_mask_is_corrected_on_its_own_page_only(trained: Tracker) -> None:
    value = {"format": "rle", "rle": encode_brush_rle(objects_at(2)["left"] & (np.indices(SIZE)[1] < 210))}
    accepted = region("brushlabels", value, item_index=2)
    saved = {"id": 1, "result": [accepted], "updated_at": datetime.now(UTC).isoformat()}
    marked = click(245, 204, item_index=2)
    (found,) = regions_of(answerer_for(trained).predict(request(marked, config=PAGES, task={"drafts": [saved]})))
    assert (found["id"], found["item_index"]) == (accepted["id"], 2)


@pytest.mark.parametrize(("reach", "pages"), [(0, [2]), (1, [1, 2, 3]), (50, [0, 1, 2, 3, 4, 5])])
def test_masks_reach_as_far_as_they_may(trained: Tracker, reach: int, pages: list[int]) -> None:
    answerer = answerer_for(trained, frames_range=reach)
    assert sorted(masks_of(ask(answerer, around(objects_at(2)["right"], item_index=2)))) == pages


def test_a_correction_on_another_page_holds_there_and_is_carried_on(trained: Tracker) -> None:
    # Two discs that are one object on the first page; on the third, one of them is taken away.
    def joined(step: int) -> Any:
        picture = scene(step, only=("right",))
        picture[disc(190, 200, 60, 60) | disc(280, 200, 45, 45)] = (235, 200, 190)
        return picture

    files = {f"/f{step}.png": png(joined(step)) for step in range(6)}
    first = around(disc(190, 200, 60, 60) | disc(280, 200, 45, 45), item_index=0)
    away = click(300, 200, positive=False, item_index=3)
    answerer = answerer_for(trained, FakeFetcher(files))
    before = masks_of(ask(answerer, first))
    after = masks_of(ask(answerer, first, away))
    assert before[3][0][200, 300] and not after[3][0][200, 300]
    assert overlap(after[3][0], before[3][0]) > 0.3
    np.testing.assert_array_equal(after[0][0], before[0][0])
    assert after[5][0].sum() < before[5][0].sum()


def test_a_negative_click_far_from_everything_known_changes_nothing(trained: Tracker) -> None:
    answerer = answerer_for(trained, frames_range=1)
    first = click(190, 200, item_index=0)
    away = click(30, 30, positive=False, item_index=5)
    assert sorted(masks_of(ask(answerer, first, away))) == [0, 1]


def test_a_page_that_cannot_be_fetched_ends_one_direction_only(trained: Tracker) -> None:
    answerer = answerer_for(trained, FakeFetcher({"/f4.png": FramesError("gone")}))
    masks = masks_of(ask(answerer, around(objects_at(2)["right"], item_index=2)))
    assert 2 in masks and 0 in masks and not {4, 5} & set(masks)


def test_the_first_page_may_be_missing(tracker: Tracker) -> None:
    answerer = answerer_for(tracker, FakeFetcher({f"/f{page}.png": FramesError("gone") for page in (0, 2, 3, 5)}))
    assert 1 in masks_of(ask(answerer, around(objects_at(1)["right"], item_index=1)))


def test_pages_of_another_size_are_answered_by_themselves(trained: Tracker) -> None:
    files = {"/f3.png": png(scene(3)[:400, :600])}
    answerer = answerer_for(trained, FakeFetcher(files))
    masks = masks_of(ask(answerer, around(objects_at(2)["right"], item_index=2)))
    assert sorted(masks) == [0, 1, 2]
    alone = {"original_width": 600, "original_height": 400}
    value = around(objects_at(3)["left"], item_index=3)["value"]
    scaled = value | {"x": value["x"] * 640 / 600, "y": value["y"] * 480 / 400}
    scaled |= {"width": value["width"] * 640 / 600, "height": value["height"] * 480 / 400}
    masks = masks_of(ask(answerer, around(objects_at(3)["left"], item_index=3) | alone | {"value": scaled}))
    assert sorted(masks) == [3]
    assert overlap(masks[3][0], objects_at(3)["left"][:400, :600]) > 0.8


def test_an_object_that_is_gone_is_not_looked_for_any_longer(trained: Tracker) -> None:
    only = {step: ("left", "right") if step < 2 else ("right",) for step in range(6)}
    files = {f"/f{step}.png": png(scene(step, only[step])) for step in range(6)}
    masks = masks_of(ask(answerer_for(trained, FakeFetcher(files)), around(objects_at(0)["left"], item_index=0)))
    assert {0, 1} <= set(masks) and 5 not in masks


def test_who_was_overtaken_stops_between_two_pages(tracker: Tracker) -> None:
    answerer = answerer_for(tracker)
    urls = [f"/f{step}.png" for step in range(6)]
    work = answerer.store.open(urls, 0, Access())
    asked = iter([False] * 3)
    objects = read_prompts([around(objects_at(0)["left"], item_index=0)], size=work.pages.size)
    with pytest.raises(SupersededError):
        PagesAnswer(work, answerer.engine.turns, is_stale=lambda: next(asked, None) is not False).find(
            objects, Limits(50)
        )
    with answerer.engine.turns.turn(Urgency.CLICK):
        assert answerer.engine.turns.waiting == 0


def test_the_time_for_carrying_masks_ends(tracker: Tracker, caplog: pytest.LogCaptureFixture) -> None:
    answerer = answerer_for(tracker)
    work = answerer.store.open([f"/f{step}.png" for step in range(6)], 0, Access())
    objects = read_prompts([around(objects_at(0)["left"], item_index=0)], size=work.pages.size)
    found = PagesAnswer(work, answerer.engine.turns).find(objects, Limits(50, until=0.0))
    assert sorted(found) == [0] and "time was up" in caplog.text
