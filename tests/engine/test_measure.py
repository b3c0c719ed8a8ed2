"""Measuring labelled data item by item."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from sam2_engine.evaluation import measure as measuring
from sam2_engine.evaluation.baselines import Ellipse, flooding
from sam2_engine.evaluation.choosing import RobotSettings
from sam2_engine.evaluation.following import SequenceScore, SequenceTrial
from sam2_engine.evaluation.gallery import Gallery
from sam2_engine.evaluation.interactive import InteractiveSettings
from sam2_engine.evaluation.lineage import Accuracy
from sam2_engine.evaluation.measure import Contestants, Plan, Results, measure, merged_labels, usual_contestants
from sam2_engine.evaluation.spacing import spacings_of_index
from sam2_engine.evaluation.trackers import copying
from sam2_engine.model import Sam2
from sam2_engine.track import PackedMask
from sam2_engine.training.readers import CellTrack, Item, LabelledFolder
from sam2_engine.training.scenes import Clip


class Shelf(LabelledFolder):
    """Items that are made, not read."""

    def __init__(self) -> None:
        nowhere = Path("nowhere")
        lineage = (CellTrack(1, 0, 5), CellTrack(2, 0, 5, parent=1))
        super().__init__(
            [
                Item("loose", nowhere, nowhere, 3, False, "pictures"),
                Item("film", nowhere, nowhere, 6, True, "films", lineage=lineage),
                Item("stack", nowhere, nowhere, 6, True, "stacks"),
            ]
        )
        self.reads: list[tuple[str, Any]] = []

    def read(self, item: Item, frames: Sequence[int] | None = None) -> Clip:
        self.reads.append((item.name, frames))
        labels = np.zeros((item.num_frames, 50, 60), dtype=np.int32)
        for frame in range(item.num_frames):
            labels[frame, 5:20, 5 + frame : 20 + frame] = 1
            labels[frame, 30:45, 30 - frame : 45 - frame] = 2
        chosen = list(range(item.num_frames)) if frames is None else list(frames)
        return Clip((labels[chosen] > 0).astype(np.uint8) * 200, labels[chosen])


CONTESTANTS = Contestants({"ellipse": Ellipse()}, {"flood": flooding(), "copy": copying()}, {"copy": flooding()})


def run(plan: Plan | None = None, items: Sequence[int] = (0, 1, 2)) -> tuple[Results, Shelf]:
    shelf, results = Shelf(), Results()
    chosen = [shelf.items[index] for index in items]
    done = list(measure(shelf, CONTESTANTS, plan, items=chosen, results=results))
    assert done == chosen
    return results, shelf


def test_each_item_is_measured_as_what_it_is() -> None:
    results, shelf = run(Plan(spacings={"stack": (2.0, 1.0, 1.0)}))
    assert shelf.reads == [("loose", [1]), ("film", None), ("stack", None)], "of loose planes the middle one"
    assert {(score.name, score.method) for score in results.images} == {("loose", "ellipse")}
    kinds = {(score.name, score.method, score.prompt) for score in results.sequences}
    assert kinds == {
        (name, method, prompt)
        for name in ("film", "stack")
        for method, prompt in (("flood", "click"), ("flood", "box"), ("flood", "mask"), ("copy", "mask"))
    }
    assert {score.name for score in results.volumes} == {"stack"}
    assert len(results.volumes) == 2 * 4
    assert results.lineages == results.corrections == []


def test_volumes_are_measured_with_their_spacing() -> None:
    def nsd_of(spacing: tuple[float, float, float], tolerance: float) -> float:
        plan = Plan(RobotSettings(prompts=("mask",)), spacings={"stack": spacing}, tolerance=tolerance)
        results, _ = run(plan, [2])
        return float(np.mean([score.nsd for score in results.volumes if score.method == "copy"]))

    assert nsd_of((1.0, 1.0, 1.0), 1.0) == pytest.approx(nsd_of((2.0, 2.0, 2.0), 2.0))
    assert nsd_of((1.0, 1.0, 1.0), 1.0) < nsd_of((1.0, 1.0, 1.0), 3.0)


def test_an_item_does_not_depend_on_those_before_it() -> None:
    plan = Plan(RobotSettings(max_objects=1))
    everything, _ = run(plan)
    alone, _ = run(plan, [2])
    assert alone.sequences == [score for score in everything.sequences if score.name == "stack"]
    chosen = {
        score.obj for seed in range(8) for score in run(Plan(RobotSettings(max_objects=1), seed=seed), [2])[0].sequences
    }
    assert chosen == {1, 2}


def test_sequences_are_corrected_where_asked() -> None:
    plan = Plan(
        RobotSettings(prompts=("mask",)),
        interactive=InteractiveSettings(num_frames=2, num_clicks=1, modes=("online",)),
    )
    results, _ = run(plan, [1])
    assert [(score.name, score.obj, score.mode) for score in results.corrections] == [
        ("film", 1, "online"),
        ("film", 2, "online"),
    ]


def test_lineages_are_those_of_films_with_their_parents(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[dict[int, int]] = []

    def accuracy(truth: NDArray[Any], found: NDArray[Any], parents: dict[int, int]) -> Accuracy:
        assert truth.shape == found.shape == (6, 50, 60)
        seen.append(parents)
        return Accuracy(0.1, 0.2, 0.3)

    monkeypatch.setattr(measuring, "tracking_accuracy", accuracy)
    plan = Plan(RobotSettings(prompts=("mask",)), spacings={"stack": (1.0, 1.0, 1.0)}, with_lineage=True)
    results, _ = run(plan)
    assert seen == [{2: 1}, {2: 1}]
    assert [(score.name, score.method, score.objects, score.tra) for score in results.lineages] == [
        ("film", "flood", 2, 0.3),
        ("film", "copy", 2, 0.3),
    ]


def test_where_masks_overlap_the_surer_one_wins() -> None:
    masks = np.zeros((2, 10, 10), dtype=bool)
    masks[0, :6], masks[1, 4:] = True, True
    found = {obj: {0: PackedMask.pack(mask, score)} for obj, mask, score in zip((3, 4), masks, (0.6, 0.7), strict=True)}
    labels = np.zeros((2, 10, 10), dtype=np.int32)
    scores: tuple[SequenceScore, ...] = ()
    trial = SequenceTrial("it", "box", labels, labels, 0, found, scores)
    merged = merged_labels(trial)
    assert merged[0, :, 0].tolist() == [3] * 4 + [4] * 6
    assert not merged[1].any()


def test_the_worst_cases_are_collected_on_the_way() -> None:
    gallery, shelf = Gallery(1), Shelf()
    assert len(list(measure(shelf, CONTESTANTS, gallery=gallery))) == 3
    assert gallery.parts == ["box", "sequence, click", "sequence, box", "sequence, mask"]
    assert [case.category for case in gallery.cases("sequence, mask")] == ["films", "stacks"]


def test_models_compete_with_each_other_and_with_what_is_trivial(tiny_model: Sam2) -> None:
    one = usual_contestants({"model": tiny_model})
    assert list(one.images) == ["model", "ellipse", "watershed"]
    assert list(one.trackers) == ["model", "reprompt", "copy", "watershed"]
    assert list(one.corrected) == ["model"]
    two = usual_contestants({"a": tiny_model, "b": tiny_model}, baselines=False, window="whole")
    assert list(two.images) == list(two.trackers) == ["a", "b"]
    results = Results()
    list(measure(Shelf(), two, Plan(RobotSettings(num_clicks=1, max_clicks=1, max_objects=1)), results=results))
    ours, theirs = ([score.clicks for score in results.images if score.method == name] for name in ("a", "b"))
    assert ours == theirs != []


def test_spacings_are_read_from_the_index(tmp_path: Path) -> None:
    def entry(name: str, dims: str = "ZYX", **more: Any) -> dict[str, Any]:
        return {"name": name, "dims": dims, **more}

    items = [
        entry("numbers", pixel_size_um=[0.2, 0.3], plane_step=0.5),
        entry("words", pixel_size_um=0.25, plane_step="1.5 um (from the paper)"),
        entry("half", pixel_size_um=[0.2, 0.3], plane_step="unknown"),
        entry("none", pixel_size_um=None, plane_step=None),
        entry("film", "TYX", pixel_size_um=[0.2, 0.3]),
        entry("odd", pixel_size_um=[0.2, 0.3, 0.4], plane_step=True),
    ]
    (tmp_path / "index.json").write_text(json.dumps({"items": items}))
    assert spacings_of_index(tmp_path) == {
        "numbers": (0.5, 0.2, 0.3),
        "words": (1.5, 0.25, 0.25),
        "half": (1.0, 1.0, 1.0),
        "none": (1.0, 1.0, 1.0),
        "odd": (1.0, 1.0, 1.0),
    }
    assert spacings_of_index(tmp_path / "gone") == {}
    (tmp_path / "index.json").write_text('{"items": 7}')
    assert spacings_of_index(tmp_path) == {}
