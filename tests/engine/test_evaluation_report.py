"""What an evaluation looks like in the end: tables, curves, pictures, one page, one file of numbers."""

from __future__ import annotations

import base64
import io
import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from sam2_engine.errors import ExportError
from sam2_engine.evaluation.charts import Line, line_chart, ticks
from sam2_engine.evaluation.curves import iou_over_clicks, quality_over_corrections, quality_over_distance
from sam2_engine.evaluation.following import SequenceTrial
from sam2_engine.evaluation.gallery import FOUND_RGB, PROMPT_RGB, TRUTH_RGB, Gallery, draw_case
from sam2_engine.evaluation.interactive import InteractiveScore
from sam2_engine.evaluation.lineage import LineageScore
from sam2_engine.evaluation.measure import Results
from sam2_engine.evaluation.page import Evaluation, html_page
from sam2_engine.evaluation.report import markdown, record, tables, write_report
from sam2_engine.evaluation.robot import FrameScore, ImageScore, ImageTrial, SequenceScore
from sam2_engine.evaluation.tables import (
    best_methods,
    image_rows,
    interactive_rows,
    lineage_rows,
    markdown_table,
    paired_rows,
    presence_rows,
    sequence_rows,
    volume_rows,
)
from sam2_engine.evaluation.volumes import VolumeScore
from sam2_engine.prompts import Box, Click, Prompts
from sam2_engine.track import PackedMask


def image_scores() -> list[ImageScore]:
    return [
        ImageScore("a", "nuclei", 1, "model", 100, (0.5, 0.7), 0.9),
        ImageScore("a", "nuclei", 2, "model", 100, (0.7, 0.9), 0.7),
        ImageScore("b", "em", 1, "model", 100, (0.2, 0.4, 0.9), 0.3),
        ImageScore("b", "em", 1, "ellipse", 100, (), 0.5),
    ]


def followed(obj: int, method: str, jaccard: float, seen: bool, prompt: str = "click") -> SequenceScore:
    """The prompted frame, one more where truth has the object, two where it has not."""
    frames = (
        FrameScore(0, 0.9, 0.7, True, True, 0.9),
        FrameScore(1, jaccard, jaccard - 0.2, True, seen, 0.8),
        FrameScore(2, 1, 1, False, False, 0.1),
        FrameScore(3, 0, 0, False, True, 0.85),
    )
    return SequenceScore("s", "stack", obj, method, prompt, 0, frames)  # type: ignore[arg-type]


def sequence_scores() -> list[SequenceScore]:
    return [followed(1, "model", 0.8, True), followed(2, "model", 0.2, False), followed(1, "copy", 0.4, True)]


# --------------------------------------------------------------------------------------------------------- tables


def test_picture_tables_have_means_by_category_and_method_and_over_all() -> None:
    em, ellipse, nuclei, everything, _ = image_rows(image_scores())
    assert [row["category"] for row in (em, ellipse, nuclei, everything)] == ["em", "em", "nuclei", "all"]
    assert nuclei["1 click"] == pytest.approx(0.6)
    assert nuclei["2 clicks"] == pytest.approx(0.8)
    assert "3 clicks" not in nuclei, "not every object has so many"
    assert nuclei["AUC"] == pytest.approx(0.7)
    assert nuclei["NoC@85"] == 2
    assert em["NoC@85"] == 3
    assert everything["box"] == pytest.approx(1.9 / 3)
    assert ellipse["box"] == 0.5
    assert math.isnan(ellipse["1 click"]) and math.isnan(ellipse["NoC@85"])  # type: ignore[arg-type]
    assert "2 clicks" not in image_rows(image_scores(), num_clicks=1)[0]


def test_a_single_category_has_no_row_for_all() -> None:
    assert [row["category"] for row in sequence_rows(sequence_scores())] == ["stack", "stack"]
    nameless = [ImageScore("a", "", 1, "model", 9, (0.5,), 0.5)]
    assert [row["category"] for row in image_rows(nameless)] == ["all"]
    assert "other" in {row["category"] for row in image_rows([*nameless, *image_scores()])}


def test_sequence_tables_tell_visible_frames_from_all() -> None:
    model, copied = sequence_rows(sequence_scores())
    assert model["J"] == pytest.approx(((0.8 + 1 + 0) / 3 + (0.2 + 1 + 0) / 3) / 2)
    assert model["J&F"] == pytest.approx(((0.7 + 1 + 0) / 3 + (0.1 + 1 + 0) / 3) / 2)
    assert model["J&F visible"] == pytest.approx((0.7 + 0.1) / 2)
    assert model["J&F prompted"] == pytest.approx(0.8)
    assert model["absent"] == pytest.approx(2 / 3)
    assert (copied["method"], copied["objects"], copied["frames"]) == ("copy", 1, 3)


def test_presence_is_counted_over_all_followed_frames() -> None:
    model, _ = presence_rows(sequence_scores())
    # Six frames: seen and there, not seen but there, twice rightly gone, twice wrongly seen.
    assert model["frames"] == 6
    assert model["accuracy"] == pytest.approx(3 / 6)
    assert model["recall"] == pytest.approx(1 / 2)
    assert model["specificity"] == pytest.approx(2 / 4)
    assert model["AUROC"] == pytest.approx(4 / 8), "0.8 twice above 0.1 and below 0.85"


def test_differences_are_between_the_same_objects() -> None:
    (row,) = paired_rows(sequence_scores(), "model")
    assert (row["method"], row["objects"]) == ("model − copy", 1)
    assert row["difference"] == pytest.approx(0.7 - 0.3)
    assert row["better on"] == 1
    assert math.isnan(row["±"])  # type: ignore[arg-type]
    more = [*sequence_scores(), followed(2, "copy", 0.2, True)]
    (row,) = paired_rows(more, "model")
    assert row["difference"] == pytest.approx(0.2)
    assert row["±"] == pytest.approx(1.96 * np.std([0.4, 0.0], ddof=1) / math.sqrt(2))
    assert row["better on"] == 0.5
    assert paired_rows(more, "nobody") == []


def test_the_best_tracker_of_each_category_is_known() -> None:
    scores = [*sequence_scores(), followed(1, "copy", 0.9, True, "mask")]
    assert best_methods(scores, ["model", "copy"]) == {"stack": "copy"}
    assert best_methods(scores) == {"stack": "copy"}
    assert best_methods(scores, ["model"]) == {"stack": "model"}
    assert best_methods([followed(1, "box only", 1.0, True, "box"), *sequence_scores()]) == {}
    assert best_methods(sequence_scores()) == {"stack": "model"}
    assert best_methods(scores, ["nobody"]) == {}


def test_further_tables_have_their_means() -> None:
    volumes = [VolumeScore("s", "stack", obj, "model", "box", iou, 0.5) for obj, iou in ((1, 0.2), (2, 0.6))]
    assert volume_rows(volumes)[0]["volume IoU"] == pytest.approx(0.4)
    (row,) = lineage_rows([LineageScore("s", "film", "model", "box", 5, 0.5, 0.6, 0.7)])
    assert (row["objects"], row["SEG"], row["DET"], row["TRA"]) == (5, 0.5, 0.6, 0.7)
    offline, online = interactive_rows(corrections())
    assert (offline["J&F first"], offline["J&F last"]) == (0.5, 0.7)
    assert (online["J&F last"], online["clicks"]) == (0.6, 9)
    assert math.isnan(online["J&F first"])  # type: ignore[arg-type]


def corrections() -> list[InteractiveScore]:
    return [
        InteractiveScore("s", "film", 1, "model", "offline", (0.5, 0.7), 2, 6),
        InteractiveScore("s", "film", 1, "model", "online", (0.6,), 3, 9),
    ]


def test_tables_are_markdown_with_a_dash_for_nothing() -> None:
    table = markdown_table([{"what": "x", "objects": 3, "J": 0.12345, "F": math.nan}])
    assert table.splitlines() == ["| what | objects | J | F |", "| --- | --- | --- | --- |", "| x | 3 | 0.123 | – |"]
    assert markdown_table([]) == "*nothing measured*\n"


# --------------------------------------------------------------------------------------------------------- curves


def test_curves_over_clicks_go_as_far_as_all_do() -> None:
    model, ellipse = iou_over_clicks(image_scores(), 5, {"ellipse"})
    assert [x for x, _ in model.points] == [1, 2]
    assert model.points[0][1] == pytest.approx(1.4 / 3)
    assert (ellipse.points, ellipse.is_dashed, model.is_dashed) == ((), True, False)


def test_curves_over_distance_leave_out_where_the_object_is_gone() -> None:
    model, _ = quality_over_distance(sequence_scores())
    assert np.array(model.points) == pytest.approx(np.array([(0, 0.8), (1, 0.4)]))


def test_long_distances_share_points_but_the_prompted_frame_stands_alone() -> None:
    frames = tuple(FrameScore(frame, 1 - frame / 100, 1 - frame / 100, True, True, 1.0) for frame in range(100))
    (line,) = quality_over_distance([SequenceScore("s", "c", 1, "it", "box", 0, frames)], most_points=10)
    assert len(line.points) <= 11
    assert line.points[0] == (0, 1.0)
    assert line.points[1] == pytest.approx((5.5, 1 - 5.5 / 100))


def test_curves_over_corrections_are_offline_only() -> None:
    (line,) = quality_over_corrections(corrections())
    assert line.points == ((1, 0.5), (2, 0.7))


def test_charts_are_well_formed_and_leave_out_what_is_not_known() -> None:
    chart = line_chart(
        "a < b", [Line("x & y", ((1, 0.5), (2, math.nan), (3, 0.75))), Line("none", (), True)], "clicks", "IoU"
    )
    figure = ElementTree.fromstring(chart)
    assert len(figure.findall(".//circle")) == 2
    assert [title.text for title in figure.findall(".//title")] == ["x & y: 0.500 at 1", "x & y: 0.750 at 3"]
    assert "none" not in chart
    low, high = (float(point.split(",")[1]) for point in figure.find(".//polyline").attrib["points"].split())  # type: ignore[union-attr]
    assert low > high, "more is further up"
    assert line_chart("empty", [Line("none", ())], "x", "y") == ""


def test_ticks_are_whole_and_few() -> None:
    assert ticks(1, 5) == [1, 2, 3, 4, 5]
    assert ticks(0, 36) == [0, 5, 10, 15, 20, 25, 30, 35]
    assert ticks(0.5, 20) == [5, 10, 15, 20]
    assert ticks(3, 3) == [3]


# ------------------------------------------------------------------------------------------------------- pictures


def square(side: int, top: int, left: int, size: int) -> NDArray[np.bool_]:
    mask = np.zeros((side, side), dtype=bool)
    mask[top : top + size, left : left + size] = True
    return mask


def has(picture: NDArray[np.uint8], colour: tuple[int, int, int]) -> bool:
    return bool((picture == colour).all(axis=2).any())


@pytest.mark.parametrize("shape", [(100, 100), (100, 100, 3)])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_cases_show_truth_what_was_found_and_the_prompt(shape: tuple[int, ...], dtype: str) -> None:
    image = np.random.default_rng(0).integers(0, 200, shape).astype(dtype)
    truth, found = square(100, 40, 40, 20), square(100, 45, 45, 20)
    for said in (Prompts(clicks=(Click(49, 49),)), Prompts(box=Box(40, 40, 60, 60))):
        picture = draw_case(image, truth, found, said)
        assert picture.dtype == np.uint8 and max(picture.shape) == 220
        assert has(picture, TRUTH_RGB) and has(picture, FOUND_RGB) and has(picture, PROMPT_RGB)
    bare = draw_case(image, truth, np.zeros_like(truth))
    assert not has(bare, FOUND_RGB) and not has(bare, PROMPT_RGB)


def test_cases_show_the_surroundings_of_the_object_and_no_more_than_needed() -> None:
    image = np.zeros((400, 400), dtype=np.uint8)
    image[200, 200] = 255
    near = draw_case(image, square(400, 190, 190, 30), np.zeros((400, 400), dtype=bool))
    far = draw_case(image, square(400, 190, 190, 30), square(400, 150, 190, 30))
    bright = [int((picture.min(axis=2) > 128).sum()) for picture in (near, far)]
    assert bright[0] > bright[1] > 0, "the further off, the wider the view"
    nothing = np.zeros((400, 400), dtype=bool)
    assert draw_case(image, nothing, nothing).shape == (220, 220, 3), "the whole image"


def image_trial(obj: int, fit: float, category: str = "c", method: str = "model") -> ImageTrial:
    truth = square(60, 20, 20, 10)
    score = ImageScore("name", category, obj, method, 100, (fit, fit), fit)
    clicks = (Click(24, 24), Click(40, 40, positive=False))
    return ImageTrial(score, np.zeros((60, 60), dtype=np.uint8), truth, clicks, (truth, truth), truth)


def test_the_gallery_keeps_the_worst_of_each_kind_and_category() -> None:
    gallery = Gallery(per_group=2, methods=("model",))
    for obj, fit in enumerate((0.9, 0.3, 0.7, 0.1, 0.5)):
        gallery.add_image(image_trial(obj, fit), 2)
    gallery.add_image(image_trial(9, 0.99, category="b"), 2)
    gallery.add_image(image_trial(7, 0.0, method="ellipse"), 2)
    assert gallery.parts == ["1 click", "2 clicks", "box"]
    assert [(case.category, case.obj) for case in gallery.cases("box")] == [("b", 9), ("c", 3), ("c", 1)]
    assert gallery.cases("1 click")[1].caption == "IoU 0.10"
    none = Gallery(per_group=0)
    none.add_image(image_trial(1, 0.1), 2)
    assert none.parts == []


def sequence_trial() -> SequenceTrial:
    labels = np.stack([square(60, 20, 20 + 2 * frame, 12) for frame in range(4)]).astype(np.int32) * 5
    found = {5: {frame: PackedMask.pack(labels[frame] == 5, 0.9) for frame in (0, 1, 3)}}
    frames = tuple(FrameScore(7 + frame, fit, fit, True, fit > 0, 0.9) for frame, fit in enumerate((1, 1, 0, 1)))
    score = SequenceScore("s", "c", 5, "model", "box", 7, frames)
    return SequenceTrial("model", "box", np.zeros((4, 60, 60), np.uint8), labels, 7, found, (score,))


def test_sequences_show_the_prompted_and_the_worst_frame() -> None:
    gallery = Gallery()
    gallery.add_sequence(sequence_trial())
    (case,) = gallery.cases("sequence, box")
    assert case.caption == "J&F 0.67; frame 7 → 9: 0.00"
    left, right = case.picture[:, :220], case.picture[:, 224:]
    assert has(left, PROMPT_RGB) and not has(right, PROMPT_RGB)
    assert has(right, TRUTH_RGB) and not has(right, FOUND_RGB)
    encoded = case.data_uri().removeprefix("data:image/jpeg;base64,")
    assert Image.open(io.BytesIO(base64.b64decode(encoded))).size == case.picture.shape[1::-1]


def test_masks_that_were_not_told_are_empty() -> None:
    trial = sequence_trial()
    assert not trial.mask(5, 2).any()
    assert [int(plane.sum()) for plane in trial.volume(5)] == [144, 144, 0, 144]


# ------------------------------------------------------------------------------------------------- page and record


def evaluation() -> Evaluation:
    gallery = Gallery()
    gallery.add_image(image_trial(1, 0.2), 2)
    gallery.add_sequence(sequence_trial())
    results = Results(
        image_scores(),
        sequence_scores(),
        [VolumeScore("s", "stack", 1, "model", "click", 0.5, 0.6)],
        [LineageScore("s", "stack", "model", "click", 2, 0.5, 0.6, 0.7)],
        corrections(),
    )
    return Evaluation({"weights": "<default>", "made_by": "us"}, results, gallery, ("model",), 2)


class Checker(HTMLParser):
    """Collects what is open, what is linked, and whether everything is closed in order."""

    VOID = frozenset({"meta", "img", "br"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.sources: list[str] = []
        self.titles: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.sources += [value or "" for name, value in attributes if name in ("src", "href")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "h2":
            self.titles.append(data)


def test_the_page_is_whole_and_needs_nothing_beside_it() -> None:
    page = html_page(evaluation())
    checker = Checker()
    checker.feed(page)
    assert checker.open == []
    assert checker.titles == ["Pictures", "Sequences", "Presence", "Volumes", "Lineages", "Corrections"]
    assert all(source.startswith(("#", "data:image/jpeg;base64,")) for source in checker.sources)
    assert not re.search(r"https?://|<script|@import|url\(", page)
    assert "&lt;default&gt;" in page and "<default>" not in page
    assert "made by" in page
    assert "Best where the object is there: stack: model." in page
    assert page.count("<svg") == 5, "over clicks by category and all, over distance, over corrections"
    assert "nan" not in re.sub(r"base64,[^\"]*", "", page).lower()


def test_an_empty_page_says_so() -> None:
    page = html_page(Evaluation({}, Results()))
    assert "Nothing was measured" in page


def test_parts_that_were_not_measured_are_left_out() -> None:
    results = Results(images=image_scores())
    page = html_page(Evaluation({}, results, main=("model",)))
    assert "<h2>Pictures</h2>" in page
    assert page.count("<h2>") == 1


def test_the_record_has_tables_and_every_score_and_no_nan() -> None:
    document = json.loads(json.dumps(record(evaluation()), allow_nan=False))
    assert document["about"]["weights"] == "<default>"
    assert set(document["tables"]) == set(tables(evaluation()))
    assert len(document["pictures"]) == 4
    assert document["sequences"][0]["frames"]["jaccard"] == [0.9, 0.8, 1, 0]
    assert document["sequences"][0]["frames"]["seen"] == [True, True, False, True]
    assert document["sequences"][0]["J&F visible"] == pytest.approx(0.7)
    assert document["corrections"][0]["means"] == [0.5, 0.7]
    assert document["best"] == {"stack": "model"}
    ellipse = next(row for row in document["tables"]["pictures"] if row["method"] == "ellipse")
    assert ellipse["1 click"] is None


def test_markdown_has_the_tables_that_are_asked_for() -> None:
    text = markdown(evaluation(), ("pictures", "volumes"))
    assert text.count("| category |") == 2
    assert "| nuclei | model | 2 | 0.600 | 0.800 |" in text


def test_reports_are_written_whole_into_a_new_folder(tmp_path: Path) -> None:
    page = write_report(tmp_path / "new" / "report", evaluation())
    assert page == tmp_path / "new" / "report" / "report.html"
    assert page.read_text(encoding="utf-8") == html_page(evaluation())
    assert json.loads(page.with_name("report.json").read_text(encoding="utf-8")) == record(evaluation())
    write_report(tmp_path / "new" / "report", Evaluation({}, Results()))
    assert "Nothing was measured" in page.read_text(encoding="utf-8")


def test_a_report_that_cannot_be_written_says_where(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ExportError, match="choose another folder"):
        write_report(tmp_path / "file" / "report", evaluation())
