"""Masks of tasks to COCO, YOLO, PNG and training data, and back."""

from __future__ import annotations

import contextlib
import csv
import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from ls_backend.annotated import AnnotatedPage, annotated_pages, page_stem
from ls_backend.corrections import changed_since, write_training_data
from ls_backend.exporting import Fetch, export_coco, export_png, export_yolo
from ls_backend.label_config import parse_label_config
from ls_backend.media import Media, MediaUnavailableError, MediaWriter
from sam2_engine.errors import ExportError
from sam2_engine.export import decode_rle, encode_brush_rle, mask_from_polygon
from sam2_engine.training.readers.opening import open_labelled_data
from tests.label_studio.media_cases import picture_bytes

SIZE = (40, 60)
CONFIG = parse_label_config(
    '<View><Image name="image" value="$image"/><BrushLabels name="brush" toName="image">'
    '<Label value="Cat"/><Label value="Dog"/></BrushLabels></View>'
)
PAGES_CONFIG = parse_label_config(
    '<View><Image name="stack" valueList="$slices"/><BrushLabels name="brush" toName="stack">'
    '<Label value="Cat"/></BrushLabels></View>'
)


def disc(x: int, y: int, radius: int = 8, size: tuple[int, int] = SIZE) -> NDArray[np.bool_]:
    rows, columns = np.indices(size)
    found: NDArray[np.bool_] = (rows - y) ** 2 + (columns - x) ** 2 < radius**2
    return found


def brush(mask: NDArray[np.bool_], label: str | None = "Cat", **more: Any) -> dict[str, Any]:
    height, width = mask.shape
    value: dict[str, Any] = {"format": "rle", "rle": encode_brush_rle(mask)}
    if label is not None:
        value["brushlabels"] = [label]
    region = {"from_name": "brush", "to_name": "image", "type": "brushlabels", "original_width": width}
    return {"id": f"r{np.flatnonzero(mask)[0]}", **region, "original_height": height, "value": value, **more}


def polygon() -> dict[str, Any]:
    value = {"points": [[10, 10], [50, 10], [50, 60], [10, 60]], "polygonlabels": ["Dog"]}
    return {"id": "poly", "type": "polygonlabels", "to_name": "image", "original_width": 60, "original_height": 40} | {
        "value": value
    }


def box() -> dict[str, Any]:
    value = {"x": 1, "y": 1, "width": 5, "height": 5, "rotation": 0, "rectanglelabels": ["Cat"]}
    return {"id": "b", "type": "rectanglelabels", "to_name": "image", "original_width": 60, "original_height": 40} | {
        "value": value
    }


def task(number: int, *results: dict[str, Any], url: str | None = None, **more: Any) -> dict[str, Any]:
    annotation = {"id": number, "result": list(results), "was_cancelled": False, "updated_at": "2026-01-02T00:00:00Z"}
    data = {"image": url or f"/data/upload/1/0a1b2c3d-cells{number}.png"}
    return {"id": number, "data": data, "annotations": [annotation], "predictions": [], **more}


def pages(*tasks: dict[str, Any], **options: Any) -> list[AnnotatedPage]:
    return list(annotated_pages(tasks, report=_never, **options))


def _never(line: str) -> None:
    raise AssertionError(line)


@contextlib.contextmanager
def fetch(url: str, task: int | str) -> Iterator[Media]:
    with MediaWriter(1 << 20) as writer:
        writer.write(picture_bytes("JPEG" if "jpg" in url else "PNG", SIZE))
        yield writer.finish("", url)


@contextlib.contextmanager
def broken_for_two(url: str, task: int | str) -> Iterator[Media]:
    if task == 2:
        raise MediaUnavailableError("it is gone; check the storage")
    with fetch(url, task) as media:
        yield media


# ------------------------------------------------------------------------------------------------ reading tasks


def test_masks_come_with_their_labels_and_boxes_are_left_out() -> None:
    (page,) = pages(task(1, brush(disc(20, 20)), polygon(), box()))
    assert [shape.label for shape in page.shapes] == ["Cat", "Dog"]
    np.testing.assert_array_equal(page.shapes[0].mask, disc(20, 20))
    assert page.size == SIZE and page.url.endswith("cells1.png")


def test_ellipses_are_masks_too() -> None:
    value = {"x": 50, "y": 50, "radiusX": 20, "radiusY": 20, "rotation": 0, "ellipselabels": ["Cat"]}
    region = {"id": "e", "type": "ellipselabels", "to_name": "image", "original_width": 60, "original_height": 40}
    (page,) = pages(task(1, region | {"value": value}))
    rows, columns = np.indices(SIZE) + 0.5
    expected = ((columns - 30) / 12) ** 2 + ((rows - 20) / 8) ** 2 < 1
    assert (page.shapes[0].mask ^ expected).sum() < 12 and page.shapes[0].label == "Cat"
    told: list[str] = []
    broken = region | {"value": {**value, "radiusY": "wide"}}
    list(annotated_pages([task(1, broken)], report=told.append))
    assert len(told) == 1 and "ellipse" in told[0]


def test_a_region_that_an_accepted_suggestion_wrote_twice_is_one() -> None:
    first = brush(disc(20, 20))
    second = {**first, "type": "rectanglelabels", "value": {**first["value"], "rectanglelabels": ["Cat"]}}
    assert len(pages(task(1, first, second))[0].shapes) == 1


def test_the_label_may_stand_in_a_result_of_its_own() -> None:
    drawn = brush(disc(20, 20), None, type="brush", id="x")
    named = {"id": "x", "type": "labels", "to_name": "image", "value": {"labels": ["Dog"]}}
    assert [shape.label for shape in pages(task(1, drawn, named))[0].shapes] == ["Dog"]


def test_ground_truth_counts_before_newer_and_skipped_ones_never_do() -> None:
    old, new, skipped = (task(1, brush(disc(x, 20)))["annotations"][0] for x in (10, 20, 30))
    old |= {"ground_truth": True, "updated_at": "2026-01-01"}
    new |= {"updated_at": "2026-01-05"}
    skipped |= {"was_cancelled": True, "updated_at": "2026-01-09"}
    one = task(1) | {"annotations": [old, new, skipped]}
    assert pages(one)[0].shapes[0].mask[20, 3]
    one["annotations"] = [{**old, "ground_truth": False}, new, skipped]
    assert pages(one)[0].shapes[0].mask[20, 27] and not pages(one)[0].shapes[0].mask[20, 3]
    assert pages(task(1) | {"annotations": [skipped]}) == []


def test_predictions_are_read_where_they_are_asked_for() -> None:
    predicted = {"result": [brush(disc(20, 20), score=0.75)], "model_version": "v1"}
    (page,) = pages(task(1) | {"annotations": [], "predictions": [predicted]}, source="predictions")
    assert page.shapes[0].score == 0.75
    assert pages(task(1) | {"annotations": [], "predictions": [predicted]}) == []


def stack_task(**more: Any) -> dict[str, Any]:
    results = [brush(disc(20 + 5 * page, 20), item_index=page, to_name="stack", id=f"p{page}") for page in (0, 2)]
    return task(5, *results) | {"data": {"title": "a stack", "slices": [f"/data/upload/1/s{k}.png" for k in range(4)]}}


@pytest.mark.parametrize("config", [PAGES_CONFIG, None])
def test_pages_of_a_task_are_kept_apart(config: Any) -> None:
    found = pages(stack_task(), config=config)
    assert [(page.page, page.url[-6:], len(page.shapes)) for page in found] == [
        *((0, "s0.png", 1), (1, "s1.png", 0), (2, "s2.png", 1), (3, "s3.png", 0))
    ]


def test_a_page_that_the_data_do_not_have_is_told() -> None:
    told: list[str] = []
    odd = stack_task()
    odd["annotations"][0]["result"][1]["item_index"] = 9
    list(annotated_pages([odd], config=PAGES_CONFIG, report=told.append))
    assert told == ["task 5: its data has no page 9 for 'stack'; its regions are left out"]


def test_what_cannot_be_read_is_told_and_the_rest_goes_on() -> None:
    told: list[str] = []
    damaged = brush(disc(20, 20)) | {"id": "bad", "value": {"rle": [1, 2, 3], "brushlabels": ["Cat"]}}
    odd: Any = [{"id": 7}, "no object", task(8) | {"annotations": [{"result": "x"}]}]
    found = list(annotated_pages([task(1, damaged, brush(disc(9, 9))), *odd], report=told.append))
    assert [len(page.shapes) for page in found] == [1]
    assert len(told) == 4 and "region 'bad'" in told[0]


def test_the_picture_is_found_among_other_addresses() -> None:
    data = {"report": "https://a.org/report", "picture": "https://a.org/x.png", "n": 3}
    assert pages(task(1, brush(disc(9, 9))) | {"data": data})[0].url == "https://a.org/x.png"
    assert pages(task(1, brush(disc(9, 9), to_name="report")) | {"data": data})[0].url == "https://a.org/report"


def test_file_names_are_the_pictures_own_and_never_given_twice() -> None:
    taken: set[str] = set()
    urls = [
        "/data/upload/1/a b.png",
        "/data/local-files/?d=plate 1/a%20b.png",
        "s3://x/A b.jpg",
        "data:image/png;base64,x",
    ]
    stems = [page_stem(AnnotatedPage(3, "image", 0, url, None, ()), taken) for url in urls]
    assert stems == ["a_b", "a_b_task_3_image_0", "A_b_task_3_image_0_2", "task_3"]
    assert page_stem(AnnotatedPage("../../x", "", 0, "/data/upload/..", None, ()), taken) == "task_.._.._x"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats(allow_nan=True) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
KEYS = ("id", "value", "type", "to_name", "original_width", "original_height", "item_index", "score")


@pytest.mark.property
@given(st.sampled_from([*KEYS, "data", "annotations", "result", "was_cancelled", "updated_at"]), json_values)
def test_whatever_stands_in_a_task_is_read_or_told(key: str, value: Any) -> None:
    told: list[str] = []
    for drawn in (brush(disc(20, 20)), polygon(), box()):
        one = task(1, drawn)
        for holder in (one, one["annotations"][0], drawn):
            if key in holder:
                holder[key] = value
        for found in annotated_pages([one], config=CONFIG, report=told.append):
            assert all(shape.mask.any() for shape in found.shapes)


@pytest.mark.property
@given(json_values)
def test_whatever_stands_in_place_of_a_task_is_told(value: Any) -> None:
    told: list[str] = []
    assert list(annotated_pages([value], report=told.append)) == []
    assert len(told) == 1


# ------------------------------------------------------------------------------------------------ COCO


def test_coco_holds_the_masks_bit_for_bit(tmp_path: Path) -> None:
    done = export_coco(
        pages(task(1, brush(disc(20, 20)), polygon()), task(2, brush(disc(9, 9)))), tmp_path / "x", report=_never
    )
    content = json.loads((tmp_path / "x" / "annotations.json").read_text())
    assert (done.pictures, done.objects, done.labels) == (2, 3, {"Cat": 1, "Dog": 2})
    first = content["annotations"][0]
    np.testing.assert_array_equal(decode_rle(first["segmentation"]), disc(20, 20))
    assert first["area"] == disc(20, 20).sum() and first["bbox"] == [13, 13, 15, 15]
    assert content["images"][1] == {
        **{"id": 2, "file_name": "0a1b2c3d-cells2.png", "height": 40, "width": 60, "task": 2, "to_name": "image"},
        **{"item_index": 0, "url": "/data/upload/1/0a1b2c3d-cells2.png"},
    }


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_coco_is_read_by_the_tools_of_its_authors(tmp_path: Path) -> None:
    coco = pytest.importorskip("pycocotools.coco")
    export_coco(pages(stack_task(), config=PAGES_CONFIG), tmp_path / "x", report=lambda line: None)
    read = coco.COCO(tmp_path / "x" / "annotations.json")
    masks = {read.imgs[one["image_id"]]["item_index"]: read.annToMask(one) for one in read.loadAnns(read.getAnnIds())}
    np.testing.assert_array_equal(masks[0], disc(20, 20))
    np.testing.assert_array_equal(masks[2], disc(30, 20))


def test_pictures_are_fetched_unchanged_where_that_is_wanted(tmp_path: Path) -> None:
    found = pages(task(1, brush(disc(20, 20)), url="https://a.org/x.jpg?sig=1"), task(3, brush(disc(9, 9))))
    export_coco(found, tmp_path / "x", report=_never, fetch=fetch)
    names = [one["file_name"] for one in json.loads((tmp_path / "x" / "annotations.json").read_text())["images"]]
    assert names == ["x.jpg", "0a1b2c3d-cells3.png"]
    assert (tmp_path / "x" / "images" / "x.jpg").read_bytes() == picture_bytes("JPEG", SIZE)


def test_a_picture_that_cannot_be_fetched_is_told_and_left_out(tmp_path: Path) -> None:
    told: list[str] = []
    found = pages(task(1, brush(disc(20, 20))), task(2, brush(disc(9, 9))))
    assert export_coco(found, tmp_path / "x", report=told.append, fetch=broken_for_two).pictures == 1
    assert told == ["task 2, page 0: it is gone; check the storage; left out"]


def test_signatures_of_addresses_are_not_kept(tmp_path: Path) -> None:
    found = pages(task(1, brush(disc(20, 20)), url="https://a.org/x.png?X-Amz-Signature=secret&v=2"))
    export_coco(found, tmp_path / "x", report=_never)
    text = (tmp_path / "x" / "annotations.json").read_text()
    assert "secret" not in text and "v=2" in text


def test_nothing_to_write_is_an_error_and_leaves_no_folder(tmp_path: Path) -> None:
    for write in (export_coco, export_yolo, export_png):
        with pytest.raises(ExportError, match="nothing to write"):
            write([], tmp_path / "x", report=_never)
    assert list(tmp_path.iterdir()) == []


def test_an_earlier_export_is_replaced_as_a_whole_and_nothing_else_is(tmp_path: Path) -> None:
    export_yolo(pages(task(1, brush(disc(20, 20)))), tmp_path / "x", report=_never)
    export_coco(pages(task(1, brush(disc(20, 20)))), tmp_path / "x", report=_never)
    assert [path.name for path in (tmp_path / "x").iterdir()] == ["annotations.json"]
    (tmp_path / "x" / "thesis.docx").touch()
    with pytest.raises(ExportError, match=r"thesis\.docx"):
        export_coco(pages(task(1, brush(disc(20, 20)))), tmp_path / "x", report=_never)


# ------------------------------------------------------------------------------------------------ YOLO


def filled(line: str, size: tuple[int, int] = SIZE) -> NDArray[np.bool_]:
    numbers = np.array(line.split()[1:], float).reshape(-1, 2) * (size[1], size[0])
    return mask_from_polygon(numbers, size)


def test_yolo_outlines_fill_to_the_masks(tmp_path: Path) -> None:
    two_parts = disc(12, 20) | disc(45, 20)
    ring = disc(30, 20, 15) & ~disc(30, 20, 6)
    found = pages(task(1, brush(disc(20, 20)), polygon(), brush(two_parts), brush(ring, "Ring")))
    done = export_yolo(found, tmp_path / "x", report=_never)
    lines = (tmp_path / "x" / "labels" / "0a1b2c3d-cells1.txt").read_text().splitlines()
    assert [line.split()[0] for line in lines] == ["0", "1", "0", "2"]
    for line, mask in zip(lines, (disc(20, 20), found[0].shapes[1].mask, two_parts, ring), strict=True):
        overlap = (filled(line) & mask).sum() / (filled(line) | mask).sum()
        assert overlap > 0.9
    assert done.labels == {"Cat": 0, "Dog": 1, "Ring": 2}
    assert (tmp_path / "x" / "data.yaml").read_text().endswith('names:\n  0: "Cat"\n  1: "Dog"\n  2: "Ring"\n')


def test_yolo_has_an_empty_file_for_a_page_with_nothing_on_it(tmp_path: Path) -> None:
    export_yolo(pages(stack_task(), config=PAGES_CONFIG), tmp_path / "x", report=_never)
    sizes = {path.name: path.stat().st_size > 0 for path in (tmp_path / "x" / "labels").iterdir()}
    assert sizes == {"s0.txt": True, "s1.txt": False, "s2.txt": True, "s3.txt": False}


# ------------------------------------------------------------------------------------------------ PNG


def test_png_numbers_the_objects_of_a_page_and_the_table_names_them(tmp_path: Path) -> None:
    export_png(pages(task(1, brush(disc(20, 20)), polygon(), brush(disc(50, 30)))), tmp_path / "x", report=_never)
    labels = np.asarray(Image.open(tmp_path / "x" / "masks" / "0a1b2c3d-cells1.png"))
    assert labels[20, 14] == 2 and labels[30, 50] == 3 and labels[39, 0] == 0
    with open(tmp_path / "x" / "objects.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["value"], row["label"], row["region"]) for row in rows][1] == ("2", "Dog", "poly")


def test_png_of_classes_gives_each_label_one_value(tmp_path: Path) -> None:
    found = pages(task(1, brush(disc(10, 20)), brush(disc(50, 30))), task(2, brush(disc(9, 9), "Dog")))
    export_png(found, tmp_path / "x", report=_never, values="classes")
    one, two = (np.asarray(Image.open(tmp_path / "x" / "masks" / f"0a1b2c3d-cells{n}.png")) for n in (1, 2))
    assert one[20, 10] == one[30, 50] == 1 and two[9, 9] == 2


def test_each_page_has_its_own_png(tmp_path: Path) -> None:
    told: list[str] = []
    export_png(pages(stack_task(), config=PAGES_CONFIG), tmp_path / "x", report=told.append)
    assert sorted(path.name for path in (tmp_path / "x" / "masks").iterdir()) == ["s0.png", "s2.png"]
    assert len(told) == 2 and "its size is not known" in told[0]


# ------------------------------------------------------------------------------------------------ training data


def test_accepted_masks_come_back_as_training_data(tmp_path: Path) -> None:
    tasks = [task(1, brush(disc(50, 30)), polygon(), box()), task(2), stack_task()]
    done = write_training_data(pages(*tasks), tmp_path / "x", report=_never, fetch=fetch)
    assert (done.pictures, done.objects) == (3, 4)
    read = open_labelled_data(tmp_path / "x")
    clips = {item.name: read.read(item) for item in read.items}
    assert sorted(clips) == ["0a1b2c3d-cells1", "s0", "s2"]
    labels = np.asarray(clips["0a1b2c3d-cells1"].labels[0])
    values = [value for value in np.unique(labels) if value]
    assert len(values) == 2
    polygon_mask = pages(tasks[0])[0].shapes[1].mask
    assert any(((labels == value) == polygon_mask).all() for value in values)
    np.testing.assert_array_equal(np.asarray(clips["s2"].labels[0]) > 0, disc(30, 20))


def test_training_data_need_masks_and_pictures(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="nothing to learn from"):
        write_training_data(pages(task(1, box())), tmp_path / "x", report=_never, fetch=fetch)
    told: list[str] = []
    with pytest.raises(ExportError, match="nothing to learn from"):
        found = pages(task(2, brush(disc(9, 9))))
        write_training_data(found, tmp_path / "x", report=told.append, fetch=broken_for_two)
    assert len(told) == 1 and list(tmp_path.iterdir()) == []


def test_only_what_changed_since_is_taken() -> None:
    old, new = task(1, brush(disc(9, 9))), task(2, brush(disc(9, 9)))
    new["annotations"][0]["updated_at"] = "2026-03-01T10:00:00.123456Z"
    assert [one["id"] for one in changed_since([old, new], datetime(2026, 2, 1))] == [2]
    assert [one["id"] for one in changed_since([old, new], datetime(2026, 1, 2))] == [1, 2]


def test_a_fetch_is_what_the_fetcher_offers() -> None:
    _: Fetch = fetch
