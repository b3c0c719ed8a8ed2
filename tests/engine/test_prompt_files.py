from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from sam2_engine.errors import ExportError, PromptError
from sam2_engine.prompt_files import (
    PromptedObject,
    prompts_from_json,
    prompts_to_json,
    read_mask,
    read_prompts,
    write_prompts,
)
from sam2_engine.prompts import Box, Click, Prompts

numbers = st.floats(-1e6, 1e6)
clicks = st.builds(Click, numbers, numbers, st.booleans())
boxes = st.tuples(numbers, numbers, st.floats(0.5, 100), st.floats(0.5, 100)).map(
    lambda v: Box(v[0], v[1], v[0] + v[2], v[1] + v[3])
)
masks = st.integers(0, 2**12 - 1).map(
    lambda bits: np.array([bits >> place & 1 for place in range(12)], dtype=bool).reshape(3, 4)
)
said = st.one_of(
    st.builds(Prompts, st.lists(clicks, min_size=1, max_size=3).map(tuple), st.one_of(st.none(), boxes)),
    boxes.map(lambda box: Prompts(box=box)),
    masks.map(lambda mask: Prompts(mask=mask)),
)
ids = st.one_of(st.integers(1, 10**6), st.text(min_size=1, max_size=5))
objects = st.lists(
    st.builds(
        PromptedObject, ids, st.text(max_size=5), st.dictionaries(st.integers(0, 10**5), said, min_size=1, max_size=3)
    ),
    min_size=1,
    max_size=3,
    unique_by=lambda one: one.obj,
)


def document(**changes: Any) -> dict[str, Any]:
    """A good document; `changes` replace keys of its only prompt entry."""
    entry = {"frame": 12, "points": [[1.5, 2, 1], [3, 4, 0]], "box": [0, 0, 5, 6], **changes}
    return {"version": 1, "objects": [{"id": 1, "name": "cell", "prompts": [entry]}]}


def same(one: PromptedObject, other: PromptedObject) -> bool:
    return (
        (one.obj, one.name, sorted(one.prompts)) == (other.obj, other.name, sorted(other.prompts))
        and type(one.obj) is type(other.obj)
        and all(one.prompts[frame].same_as(other.prompts[frame]) for frame in one.prompts)
    )


@pytest.mark.property
@given(objects)
def test_what_is_written_is_read_back(given_objects: list[PromptedObject]) -> None:
    text = json.dumps(prompts_to_json(given_objects), allow_nan=False)
    read = prompts_from_json(json.loads(text))
    assert len(read) == len(given_objects)
    assert all(map(same, read, given_objects))


def test_the_documented_example_is_read(tmp_path: Path) -> None:
    mask = np.zeros((6, 8), np.uint8)
    mask[2:4, 3:7] = 255
    Image.fromarray(mask).save(tmp_path / "file.png")
    entries = [{"frame": 12, "points": [[10, 20, 1], [12, 22, 0]], "box": [1, 2, 30, 40]}, {"mask": "file.png"}]
    written = {"version": 1, "objects": [{"id": 1, "name": "cell", "prompts": entries}]}
    (tmp_path / "prompts.json").write_text(json.dumps(written), encoding="utf-8")
    (one,) = read_prompts(tmp_path / "prompts.json")
    assert (one.obj, one.name, list(one.prompts)) == (1, "cell", [12, 0])
    assert one.prompts[12].clicks == (Click(10, 20), Click(12, 22, positive=False))
    assert one.prompts[12].box == Box(1, 2, 30, 40)
    read = one.prompts[0].mask
    assert read is not None
    assert np.array_equal(read, mask > 0)


def test_a_file_written_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    (tmp_path / "p.json").write_text(json.dumps(document()), encoding="utf-8-sig")
    assert read_prompts(tmp_path / "p.json")[0].obj == 1


def test_writing_makes_one_file_that_holds_masks_too(tmp_path: Path) -> None:
    mask = np.eye(5, dtype=bool)
    write_prompts(tmp_path / "p.json", [PromptedObject("a", "", {3: Prompts(mask=mask)})])
    assert [path.name for path in tmp_path.iterdir()] == ["p.json"]
    (one,) = read_prompts(tmp_path / "p.json")
    assert one.prompts[3].same_as(Prompts(mask=mask))


def test_writing_into_a_missing_folder_says_so(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="folder does not exist"):
        write_prompts(tmp_path / "no" / "p.json", [])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"frame": -1}, r"objects\[0\].prompts\[0\].frame: expected a frame number from 0 on, got -1"),
        ({"frame": 1.5}, r"prompts\[0\].frame: expected a frame number"),
        ({"frame": True}, r"prompts\[0\].frame: expected a frame number"),
        ({"points": [1, 2, 1]}, r"prompts\[0\].points\[0\]: expected \[x, y, kind\].*got 1"),
        ({"points": [[1, 2, 1], [3, 4]]}, r"prompts\[0\].points\[1\]: expected \[x, y, kind\].*got \[3, 4\]"),
        ({"points": [[1, 2, 2]]}, r"points\[0\]\[2\]: expected 1 .* or 0 .*, got 2"),
        ({"points": [[1, "2", 1]]}, r"points\[0\]: expected"),
        ({"points": [[1, float("nan"), 1]]}, r"points\[0\]: expected finite numbers"),
        ({"points": [[10**400, 1, 1]]}, r"points\[0\]: expected finite numbers"),
        ({"points": {"x": 1}}, r"points: expected a list"),
        ({"box": [1, 2, 3]}, r"prompts\[0\].box: expected \[x0, y0, x1, y1\], got \[1, 2, 3\]"),
        ({"box": [5, 2, 3, 9]}, r"prompts\[0\]: a box is .*swap"),
        ({"point": [[1, 2, 1]]}, r"unknown key 'point'; known are box, frame, mask, points"),
        ({"mask": 3, "box": None, "points": None}, r"mask: expected the name of a picture, or run lengths"),
        ({"mask": {"size": [2, 2]}}, r"mask: expected the name of a picture"),
        ({"mask": {"size": [2, 2], "counts": [1, 1]}}, r"mask: run lengths must .* add up"),
        ({"mask": {"size": [2, "2"], "counts": []}}, r"mask.size: expected \[height, width\]"),
        ({"mask": {"size": [2, 2], "counts": 4}}, r"mask.counts: expected"),
        ({"mask": {"size": [2, 2], "counts": [1, 3]}}, r"a mask prompt stands alone"),
        ({"mask": "m.png"}, r"mask: masks in files cannot be used here"),
        ({"points": [], "box": None}, r"prompts\[0\]: says nothing"),
    ],
)
def test_an_error_says_where_it_is_and_what_was_expected(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(PromptError, match=message):
        prompts_from_json(document(**changes), source="p.json")


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ([], r"expected an object with version and objects, got \[\]"),
        ({"objects": []}, r"version: expected 1, got nothing"),
        ({"version": True, "objects": []}, r"version: expected 1"),
        ({"version": 2, "objects": []}, r"newer version"),
        ({"version": 1}, r"objects: expected a list with at least one object"),
        ({"version": 1, "objects": []}, r"objects: expected a list with at least one object"),
        ({"version": 1, "objects": [3]}, r"objects\[0\]: expected an object with id and prompts, got 3"),
        ({"version": 1, "objects": [{"id": 0, "prompts": [{}]}]}, r"objects\[0\].id: expected an integer from 1 on"),
        ({"version": 1, "objects": [{"prompts": [{}]}]}, r"objects\[0\].id: expected .*, got nothing"),
        ({"version": 1, "objects": [{"id": 1, "name": 4, "prompts": [{}]}]}, r"objects\[0\].name: expected a text"),
        ({"version": 1, "objects": [{"id": 1, "prompts": []}]}, r"objects\[0\].prompts: expected a list"),
        ({"version": 1, "objects": [{"id": 1, "prompts": [7]}]}, r"objects\[0\].prompts\[0\]: expected an object"),
        ({"version": 1, "objects": [{"id": 1, "frames": []}]}, r"objects\[0\]: unknown key 'frames'"),
        ({"version": 1, "objects": [], "extra": 1}, r"unknown key 'extra'"),
    ],
)
def test_a_document_of_another_form_is_refused(written: Any, message: str) -> None:
    with pytest.raises(PromptError, match=message):
        prompts_from_json(written)


def test_an_id_or_frame_that_occurs_twice_is_refused() -> None:
    entry = {"frame": 3, "box": [0, 0, 1, 1]}
    one = {"id": 1, "prompts": [entry]}
    with pytest.raises(PromptError, match=r"objects\[1\].id: 1 occurs twice"):
        prompts_from_json({"version": 1, "objects": [one, one]})
    with pytest.raises(PromptError, match=r"prompts\[1\].frame: 3 occurs twice"):
        prompts_from_json({"version": 1, "objects": [{"id": 1, "prompts": [entry, entry]}]})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"version": 1,\n "objects": [}', r"p.json is no JSON: line 2, column 14"),
        (b"\xff\xfe\x00", r"no text in UTF-8"),
        (b"", r"no JSON: line 1"),
        (b"[" * 100_000, r"p.json"),
        (b'{"version": ' + b"9" * 5000 + b"}", r"p.json"),
    ],
)
def test_a_damaged_file_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "p.json").write_bytes(content)
    with pytest.raises(PromptError, match=message):
        read_prompts(tmp_path / "p.json")


def test_a_missing_file_or_folder_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "no.json", tmp_path):
        with pytest.raises(PromptError, match="cannot be read"):
            read_prompts(path)


def test_a_missing_mask_file_is_named_with_its_place(tmp_path: Path) -> None:
    (tmp_path / "p.json").write_text(json.dumps(document(mask="gone.png", points=None, box=None)), encoding="utf-8")
    with pytest.raises(PromptError, match=r"prompts\[0\].mask: .*gone.png does not exist"):
        read_prompts(tmp_path / "p.json")


@pytest.mark.parametrize("mode", ["L", "1", "RGB", "RGBA", "LA", "P", "I;16"])
def test_a_mask_is_what_is_not_black_in_any_kind_of_picture(tmp_path: Path, mode: str) -> None:
    expected = np.zeros((5, 7), bool)
    expected[1:3, 2:6] = True
    if mode == "I;16":
        picture = Image.fromarray(expected.astype(np.uint16) * 300)
    else:
        paint = np.array([255, 255, 255] if mode == "1" else [255, 0, 0])  # converting to black and white dithers
        picture = Image.fromarray((expected[:, :, None] * paint).astype(np.uint8)).convert(mode)
    picture.save(tmp_path / "mask.png")
    assert np.array_equal(read_mask(tmp_path / "mask.png"), expected)


def test_transparent_parts_are_not_of_the_mask(tmp_path: Path) -> None:
    pixels = np.full((4, 4, 4), 200, np.uint8)
    pixels[:2, :, 3] = 0
    Image.fromarray(pixels).save(tmp_path / "mask.png")
    assert read_mask(tmp_path / "mask.png").sum() == 8


def test_an_empty_mask_is_refused(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "mask.png")
    with pytest.raises(PromptError, match=r"mask.png is empty"):
        read_mask(tmp_path / "mask.png")
