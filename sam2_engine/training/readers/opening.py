"""One door to labelled data of every layout."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...errors import FramesError
from .base import CACHE_BYTES, Item, LabelledFolder
from .coco import coco_items, coco_subsets, is_coco
from .ctc import ctc_items, ctc_subsets, is_ctc
from .davis import davis_items, davis_subsets, is_davis
from .indexed import indexed_items, indexed_subsets, is_indexed
from .label_studio import is_label_studio, label_studio_items
from .objects import has_object_folders, object_items
from .paired import beside_items, image_and_mask_folders, is_beside, is_paired, paired_items
from .sav import is_sav, sav_items, sav_subsets
from .session import is_session, session_items, session_subsets

AUTO = "auto"


@dataclass(frozen=True, slots=True)
class Layout:
    """One way in which labelled data lie on disk.

    Attributes
    ----------
    looks_like : what one sees in the folder, for messages
    fits : whether a folder is of this layout; looks at names, and at the beginning of JSON files
    items : of a folder and a subset
    subsets : names to choose from; None where there are none
    takes_files : whether a single file can be opened
    """

    looks_like: str
    fits: Callable[[Path], bool]
    items: Callable[[Path, str | None], list[Item]]
    subsets: Callable[[Path], tuple[str, ...]] | None = None
    takes_files: bool = False


def _paired(path: Path, subset: str | None) -> list[Item]:
    folders = image_and_mask_folders(path)
    if folders is None:
        raise FramesError(f"{path} does not hold the folders images and masks")
    return paired_items(*folders)


LAYOUTS: dict[str, Layout] = {
    "indexed": Layout("index.json", is_indexed, indexed_items, indexed_subsets),
    "folders": Layout("images/ and masks/ with files of the same names", is_paired, _paired),
    "beside": Layout("a.png and a_masks.png", is_beside, lambda path, _: beside_items(path)),
    "objects": Layout("a mask file for each object", has_object_folders, lambda path, _: object_items(path)),
    "ctc": Layout("01/ and 01_GT/ (Cell Tracking Challenge)", is_ctc, ctc_items, ctc_subsets),
    "coco": Layout("a COCO JSON file", is_coco, coco_items, coco_subsets, takes_files=True),
    "davis": Layout("JPEGImages/ and Annotations/", is_davis, davis_items, davis_subsets),
    "sav": Layout("*.mp4 with *_manual.json, or JPEGImages_24fps/ (SA-V)", is_sav, sav_items, sav_subsets),
    "label-studio": Layout(
        "an export of Label Studio, format JSON",
        is_label_studio,
        lambda path, _: label_studio_items(path),
        takes_files=True,
    ),
    "session": Layout(
        "a saved session beside its frames", is_session, session_items, session_subsets, takes_files=True
    ),
}
"""Layouts by name."""


def open_labelled_data(
    path: str | Path,
    layout: str = AUTO,
    subset: str | None = None,
    category: str | Sequence[str] | None = None,
    *,
    masks: str | Path | None = None,
    cache_bytes: int = CACHE_BYTES,
) -> LabelledFolder:
    """Labelled pictures and sequences of any known layout; see ``docs/data.md``.

    Nothing is decoded before it is read.

    Parameters
    ----------
    path : a folder; of COCO, Label Studio and sessions also the file itself
    layout : a name of `LAYOUTS`; ``auto`` finds out
    subset : only this part, where the layout has parts
    category : only items of this category, or of these
    masks : folder of label pictures, where `path` holds the pictures only
    cache_bytes : of decoded arrays kept in memory

    Raises
    ------
    FramesError
        Nothing there, of no known layout or of several, broken, or nothing was chosen.
    """
    path = Path(path).expanduser()
    name = "folders" if masks is not None else find_layout(path, layout)
    chosen = LAYOUTS[name]
    if subset is not None and chosen.subsets is None:
        raise FramesError(f"{path} has no subsets (layout {name}: {chosen.looks_like}); leave the subset out")
    items = paired_items(path, Path(masks).expanduser()) if masks is not None else chosen.items(path, subset)
    categories = None if category is None else [category] if isinstance(category, str) else list(category)
    kept = [item for item in items if categories is None or item.category in categories]
    if not kept:
        raise FramesError(_nothing(path, name, subset, categories, items))
    return LabelledFolder(kept, cache_bytes)


def find_layout(path: Path, layout: str = AUTO) -> str:
    """The name of a folder's layout. An ``index.json`` decides; otherwise there must be one that fits.

    Raises
    ------
    FramesError
        Nothing there, an unknown name, or of no known layout or of several.
    """
    if layout != AUTO and layout not in LAYOUTS:
        raise FramesError(f"there is no layout {layout!r}; choose one of {', '.join((AUTO, *LAYOUTS))}")
    if not path.exists():
        raise FramesError(f"{path} does not exist; check the path")
    candidates = {
        name: kind for name, kind in LAYOUTS.items() if layout in (AUTO, name) and (path.is_dir() or kind.takes_files)
    }
    if layout != AUTO:
        if not candidates:
            raise FramesError(f"{path} is a file; data of the layout {layout} are a folder")
        return layout
    try:
        found = [name for name, kind in candidates.items() if kind.fits(path)]
    except OSError as error:
        raise FramesError(f"{path} cannot be looked through: {error}; check its permissions") from error
    if len(found) == 1 or found[:1] == ["indexed"]:
        return found[0]
    if not found:
        known = "; ".join(f"{kind.looks_like} ({name})" for name, kind in candidates.items())
        raise FramesError(
            f"{path} is of no known layout; expected one of: {known}. Where it holds pictures only, name the folder of "
            "their masks"
        )
    which = " and ".join(f"{name} ({LAYOUTS[name].looks_like})" for name in found)
    raise FramesError(f"{path} fits several layouts: {which}; choose one, layout={found[0]!r} for example")


def subsets_of(path: str | Path, layout: str = AUTO) -> tuple[str, ...]:
    """Names of the parts of labelled data, none where the layout has no parts.

    Raises
    ------
    FramesError
        As in `find_layout`.
    """
    path = Path(path).expanduser()
    subsets = LAYOUTS[find_layout(path, layout)].subsets
    return () if subsets is None else subsets(path)


def _nothing(path: Path, layout: str, subset: str | None, categories: list[str] | None, items: list[Item]) -> str:
    """What to say where nothing is left."""
    kind = LAYOUTS[layout]
    if items:
        there = ", ".join(sorted({item.category for item in items if item.category})) or "none"
        return f"{path} has no items of categories {categories}; there are: {there}"
    if subset is not None and kind.subsets is not None:
        there = ", ".join(kind.subsets(path)) or "none"
        return f"{path} has no items of subset {subset!r} and categories {categories}; subsets there are: {there}"
    return f"{path} holds nothing labelled that the layout {layout} knows; it expects {kind.looks_like}, with masks"
