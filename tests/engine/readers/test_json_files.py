"""JSON files read member by member."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sam2_engine.errors import FramesError
from sam2_engine.training.readers.json_files import has_keys, read_members

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
documents = st.dictionaries(st.text(max_size=5), values, max_size=4)


def whole(path: Path) -> dict[str, Any]:
    """The members put together; an empty list has none."""
    found: dict[str, list[Any]] = {}
    for key, value in read_members(path):
        found.setdefault(key, []).append(value)
    return found


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(documents, st.sampled_from([None, 0, 2]), st.booleans(), st.booleans())
def test_members_are_those_of_the_whole(
    tmp_path: Path, document: dict[str, Any], indent: int | None, is_ascii: bool, has_mark: bool
) -> None:
    path = tmp_path / "a.json"
    text = json.dumps(document, indent=indent, ensure_ascii=is_ascii)
    path.write_text(text, encoding="utf-8-sig" if has_mark else "utf-8")
    listed = {key: value if isinstance(value, list) else [value] for key, value in document.items()}
    assert whole(path) == {key: value for key, value in listed.items() if value}


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"a"', '{"a":', '{"a": [1, 2', '{"a": [1 2]}', '{"a": 1 "b": 2}', "{1: 2}"]
)
def test_what_is_no_object_or_cut_short_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(FramesError, match=r"a\.json cannot be read as JSON"):
        whole(path)


def test_keys_are_found_anywhere_and_the_first_bracket_counts(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    for length in (0, 2**20 - 8, 2**20 - 4, 3 * 2**20):
        path.write_text('  {"x": "' + "y" * length + '", "images": [], "annotations": []}')
        assert has_keys(path, "{", ("images", "annotations"))
        assert not has_keys(path, "[", ("images", "annotations"))
        assert not has_keys(path, "{", ("images", "categories"))
    assert not has_keys(tmp_path / "gone.json", "{", ("images",))
