"""Finding out the layout, and saying what is wrong."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sam2_engine.cli.labelled import LAYOUT_NAMES, weighted_path
from sam2_engine.errors import FramesError
from sam2_engine.training.readers import AUTO, LAYOUTS, open_labelled_data, subsets_of

Save = Callable[[Path, Any], Path]
BLACK = np.zeros((12, 16), np.uint8)


def test_the_command_line_knows_every_layout() -> None:
    assert (AUTO, *LAYOUTS) == LAYOUT_NAMES


def test_the_documentation_tells_every_layout() -> None:
    text = (Path(__file__).parents[3] / "docs" / "data.md").read_text(encoding="utf-8")
    assert set(LAYOUTS) <= set(re.findall(r"^\| `([a-z-]+)` ", text, re.MULTILINE))


def test_a_folder_of_no_layout_is_told_what_is_expected(tmp_path: Path, save: Save) -> None:
    save(tmp_path / "one.png", BLACK)
    with pytest.raises(FramesError, match=r"no known layout; expected one of: index\.json.*images/ and masks/"):
        open_labelled_data(tmp_path)
    with pytest.raises(FramesError, match="does not exist"):
        open_labelled_data(tmp_path / "gone")
    with pytest.raises(FramesError, match="no layout 'zip'; choose one of auto, indexed"):
        open_labelled_data(tmp_path, layout="zip")


def test_a_folder_of_two_layouts_asks_which(tmp_path: Path, save: Save) -> None:
    save(tmp_path / "images" / "one.png", BLACK)
    save(tmp_path / "masks" / "one.png", BLACK + 1)
    outline = {"image_id": 0, "category_id": 1, "segmentation": [[1, 1, 5, 1, 5, 5]]}
    entry = {"id": 0, "file_name": "one.png", "height": 12, "width": 16}
    save(tmp_path / "cells.json", {"images": [entry], "annotations": [outline]})
    with pytest.raises(
        FramesError, match=r"fits several layouts: folders .* and coco .*; choose one, layout='folders'"
    ):
        open_labelled_data(tmp_path)
    assert open_labelled_data(tmp_path, layout="coco").items[0].labels.name == "cells.json"
    assert open_labelled_data(tmp_path, layout="folders").items[0].labels.name == "one.png"


def test_an_index_decides(tmp_path: Path, save: Save) -> None:
    save(tmp_path / "images" / "one.png", BLACK)
    save(tmp_path / "masks" / "one.png", BLACK + 1)
    item = {"image": "images/one.png", "labels": "masks/one.png", "dims": "YX", "shape": [12, 16], "subset": "dev"}
    save(tmp_path / "index.json", {"items": [item]})
    assert subsets_of(tmp_path) == ("dev",)
    assert [one.name for one in open_labelled_data(tmp_path, subset="dev").items] == ["images/one.png"]
    with pytest.raises(FramesError, match=r"no items of subset 'train'.*subsets there are: dev"):
        open_labelled_data(tmp_path, subset="train")


def test_masks_in_a_folder_elsewhere_are_paired(tmp_path: Path, save: Save) -> None:
    save(tmp_path / "pictures" / "one.png", BLACK)
    save(tmp_path / "elsewhere" / "one_seg.png", BLACK + 1)
    found = open_labelled_data(tmp_path / "pictures", masks=tmp_path / "elsewhere")
    assert found.read(found.items[0]).labels.min() == 1


@pytest.mark.parametrize("layout", [name for name in LAYOUTS if name not in ("label-studio", "session", "coco")])
def test_a_file_is_no_folder(tmp_path: Path, save: Save, layout: str) -> None:
    path = save(tmp_path / "one.png", BLACK)
    with pytest.raises(FramesError, match="is a file"):
        open_labelled_data(path, layout=layout)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_empty_folder_holds_nothing_of_any_layout(tmp_path: Path, layout: str) -> None:
    with pytest.raises(FramesError, match=re.escape(str(tmp_path))):
        open_labelled_data(tmp_path, layout=layout)


@pytest.mark.parametrize(
    ("text", "path", "weight"), [("cells", "cells", 1.0), ("cells=2.5", "cells", 2.5), ("a=b=3", "a=b", 3.0)]
)
def test_a_weight_stands_behind_the_path(text: str, path: str, weight: float) -> None:
    assert weighted_path(text) == (Path(path), weight)


def test_a_path_with_an_equals_sign_that_exists_is_a_path(tmp_path: Path) -> None:
    (tmp_path / "run=2").mkdir()
    assert weighted_path(str(tmp_path / "run=2")) == (tmp_path / "run=2", 1.0)


@pytest.mark.parametrize("text", ["cells=", "cells=two", "cells=0", "cells=-1", "cells=inf", "=3"])
def test_what_is_neither_path_nor_weight_is_named(text: str) -> None:
    with pytest.raises(FramesError, match="DATA=WEIGHT"):
        weighted_path(text)
