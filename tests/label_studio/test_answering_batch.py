"""Predictions for many tasks: what they carry becomes masks, else everything is found; one bad task spoils no other."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ls_backend import encode_brush_rle
from ls_backend.answering.batch import marked_in
from sam2_engine.errors import FramesError
from sam2_engine.tracking import Tracker
from tests.label_studio.answering_parts import (
    CONFIG,
    FakeFetcher,
    answerer_for,
    around,
    box,
    click,
    masks_of,
    objects_at,
    overlap,
    png,
    recorded,
    region,
    request,
    scene,
)

BROKEN = "/f9.png"


@pytest.fixture(scope="module")
def found(trained: Tracker) -> list[dict[str, Any]]:
    """Everything on a small picture."""
    small = FakeFetcher({"/f0.png": png(scene()[::4, ::4])})
    return answerer_for(trained, small).predict(batch({}), is_batch=True)


def batch(*tasks: dict[str, Any], config: str = CONFIG) -> dict[str, Any]:
    """A request for predictions."""
    listed = [{"id": number, "data": {"image": "/f0.png"}} | task for number, task in enumerate(tasks)]
    return {"tasks": listed, "project": "1.2", "label_config": config, "params": {"context": None}}


def annotated(*regions: dict[str, Any], source: str = "annotations", **more: Any) -> dict[str, Any]:
    return {source: [{"id": 1, "result": list(regions), "updated_at": "2026-01-01"} | more]}


def test_boxes_and_points_of_each_task_become_masks_in_order(trained: Tracker) -> None:
    truth = objects_at()
    answers = answerer_for(trained).predict(
        batch(
            annotated(around(truth["right"])),
            annotated(click(190.3, 200.3), click(128.3, 92.3), source="predictions", model_version="detector-3"),
            annotated(around(truth["left"], label="Dog"), around(truth["right"])),
        )
    )
    assert [len(answer["result"]) for answer in answers] == [1, 2, 2]
    assert overlap(masks_of(answers[:1])[0][0], truth["right"]) > 0.75
    # Points are objects each.
    left, small = masks_of(answers[1:2])[0]
    assert overlap(left, truth["left"]) > 0.75 and overlap(small, truth["small"]) > 0.75
    assert [one["value"]["brushlabels"] for one in answers[2]["result"]] == [["Dog"], ["Cat"]]


def test_one_bad_task_has_an_empty_prediction_and_is_reported(tracker: Tracker, caplog: Any) -> None:
    reported: list[str] = []
    answerer = answerer_for(tracker, FakeFetcher({BROKEN: FramesError("gone"), "/f8.png": b"no picture"}))
    answerer._report = lambda task, error: reported.append(f"{task}: {type(error).__name__}")
    marked = annotated(box(100, 100, 180, 180))
    good = answerer.predict(batch(marked, marked))
    answers = answerer.predict(
        batch(
            marked,
            marked | {"data": {"image": BROKEN}},
            marked | {"data": {"image": "/f8.png"}},
            marked | {"data": None},
            annotated(box(100, 100, -1, 5)),
            marked | {"annotations": 7},
            marked,
        )
    )
    assert len(answers) == 7
    assert [bool(answer["result"]) for answer in answers] == [True, False, False, False, False, False, True]
    for index in (0, 6):
        np.testing.assert_array_equal(masks_of(answers[index : index + 1])[0], masks_of(good[:1])[0])
    assert len(reported) == 5 and "task 1" in reported[0] and "gone" in caplog.text


def test_the_recorded_batch_has_a_prediction_for_each_task(tracker: Tracker) -> None:
    answers = answerer_for(tracker, automatic=False).predict(recorded("batch"))
    assert [answer["result"] for answer in answers] == [[]] * 5


def test_a_single_task_can_be_asked_for(tracker: Tracker) -> None:
    asked = batch(annotated(box(100, 100, 180, 180)))
    answerer = answerer_for(tracker)
    assert answerer.predict(asked) == []
    assert len(answerer.predict(asked, is_batch=True)[0]["result"]) == 1
    assert answerer.ahead.wait(20)


class TestOneTask:
    """Label Studio sends the same when one is opened and when predictions for it alone are retrieved."""

    @pytest.mark.parametrize("source", ["annotations", "drafts"])
    def test_it_is_taken_as_opened(self, tracker: Tracker, source: str) -> None:
        answerer = answerer_for(tracker)
        assert answerer.predict(batch(annotated(box(100, 100, 90, 90), source=source))) == []
        answerer.close()

    def test_with_the_setting_it_is_predicted(self, tracker: Tracker) -> None:
        answerer = answerer_for(tracker, predict_opened=True)
        (answer,) = answerer.predict(batch(annotated(box(100, 100, 90, 90))))
        assert len(answer["result"]) == 1
        assert answerer.predict(batch()) == []

    def test_prompts_of_another_model_are_answered_since_such_a_task_is_not_asked_about_when_opened(
        self, tracker: Tracker
    ) -> None:
        answerer = answerer_for(tracker)
        boxes = {"source": "predictions", "model_version": "detector-3"}
        (answer,) = answerer.predict(batch(annotated(box(100, 100, 90, 90), **boxes)))
        assert len(answer["result"]) == 1
        own = boxes | {"model_version": answerer.engine.version}
        assert answerer.predict(batch(annotated(box(100, 100, 90, 90), **own))) == []
        assert answerer.predict(batch({"predictions": 5})) == []
        answerer.close()


class TestEverything:
    def test_everything_is_found_where_a_task_carries_nothing(self, found: list[dict[str, Any]]) -> None:
        masks = masks_of(found)[0]
        for name in ("left", "small"):
            assert max(overlap(mask, objects_at()[name][::4, ::4]) for mask in masks) > 0.75
        scores = [one["score"] for one in found[0]["result"]]
        assert scores == sorted(scores, reverse=True)

    def test_a_label_is_given_only_where_there_is_but_one(self, trained: Tracker, found: list[dict[str, Any]]) -> None:
        assert all("brushlabels" not in one["value"] for one in found[0]["result"])
        small = FakeFetcher({"/f0.png": png(scene()[::4, ::4])})
        config = CONFIG.replace('<Label value="Dog"/>', "")
        (answer,) = answerer_for(trained, small).predict(batch({}, config=config), is_batch=True)
        assert answer["result"]
        assert all(one["value"]["brushlabels"] == ["Cat"] for one in answer["result"])

    def test_it_can_be_switched_off(self, tracker: Tracker) -> None:
        answers = answerer_for(tracker, automatic=False).predict(batch({}, {}))
        assert [answer["result"] for answer in answers] == [[], []]


class TestWhatATaskCarries:
    mine = "sam2-default-0"

    def brush(self) -> dict[str, Any]:
        return region("brushlabels", {"format": "rle", "rle": encode_brush_rle(objects_at()["left"])})

    def test_annotations_come_before_predictions_and_the_newest_first(self) -> None:
        old, new = box(1, 1, 9, 9), box(2, 2, 9, 9)
        task = {
            "annotations": [
                {"result": [old], "updated_at": "2026-01-01"},
                {"result": [new], "updated_at": "2026-02-01"},
                {"result": [box(3, 3, 9, 9)], "updated_at": "2026-03-01", "was_cancelled": True},
            ],
            "predictions": [{"result": [box(4, 4, 9, 9)], "model_version": "other"}],
        }
        assert marked_in(task, self.mine) == [new]

    def test_our_own_predictions_are_no_prompts(self) -> None:
        assert marked_in(annotated(box(1, 1, 9, 9), source="predictions", model_version=self.mine), self.mine) is None

    def test_a_task_with_masks_is_done(self) -> None:
        assert marked_in(annotated(self.brush()), self.mine) == []

    def test_labels_that_another_tag_gives_come_along(self) -> None:
        drawn = box(1, 1, 9, 9) | {"type": "rectangle", "id": "a"}
        named, other = {"id": "a", "type": "labels", "value": {}}, {"id": "b", "type": "labels", "value": {}}
        assert marked_in(annotated(drawn, named, other), self.mine) == [drawn, named]

    def test_a_task_with_nothing_carries_nothing(self) -> None:
        assert marked_in({"annotations": [], "predictions": []}, self.mine) is None


def test_negative_points_join_the_object_they_are_nearest_to(trained: Tracker) -> None:
    marked = annotated(click(190.3, 200.3), click(445.3, 276.3), click(300.3, 200.3, positive=False))
    (answer,) = answerer_for(trained).predict(batch(marked), is_batch=True)
    assert len(answer["result"]) == 2


def test_interactive_requests_stay_interactive(tracker: Tracker) -> None:
    asked = request(box(100, 100, 180, 180))
    assert len(answerer_for(tracker).predict(asked, is_batch=True)) == 1
