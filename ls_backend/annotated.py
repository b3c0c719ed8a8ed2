"""What tasks hold after people, or models, have worked on them: masks by picture and page. Pure: nothing is fetched."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Literal
from urllib.parse import parse_qs, unquote, urlsplit

import numpy as np
from numpy.typing import NDArray

from sam2_engine.errors import EngineError, PromptError

from .label_config import LabelConfig
from .regions import Canvas, Json, original_size, read_geometry

Source = Literal["annotations", "predictions"]
Report = Callable[[str], object]
"""Is told, in one line, what is left out and why."""

UNLABELLED = "object"
"""Category of masks without a label."""

_ADDRESS = re.compile(r"(?i)^(https?://|/data/|/storage|s3s?://|gs://|azure-blob://|data:image/)")
_PICTURE = re.compile(r"(?i)\.(png|jpe?g|tiff?|webp|bmp|gif)$")
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


@dataclass(frozen=True, slots=True, eq=False)
class Shape:
    """One object on one page.

    Attributes
    ----------
    label : its first label, `UNLABELLED` where it has none
    mask : [H, W]
    region : its id
    score : of a prediction, or of a mask that a model made and a person accepted; None for drawn ones
    """

    label: str
    mask: NDArray[np.bool_]
    region: str
    score: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class AnnotatedPage:
    """One picture and the objects on it.

    Attributes
    ----------
    task : its number
    to_name : the picture's name in the label config; empty where nobody told
    page : ``item_index``, 0 where there is one page
    url : as in the task's data
    size : (height, width); None where no region tells it
    shapes : in the order in which they were drawn
    """

    task: int | str
    to_name: str
    page: int
    url: str
    size: tuple[int, int] | None
    shapes: tuple[Shape, ...]


def annotated_pages(
    tasks: Iterable[Json], source: Source = "annotations", config: LabelConfig | None = None, *, report: Report
) -> Iterator[AnnotatedPage]:
    """The pages of all tasks that somebody has worked on, also those on which nothing was found.

    Of several annotations of a task the one marked as ground truth counts, otherwise the newest; skipped ones do not.

    Parameters
    ----------
    tasks : as Label Studio exports them (format JSON) or lists them
    source : annotations of people, or predictions of models
    config : tells which pictures there are; without it, regions and addresses in the task's data do
    report : told about tasks and regions that cannot be read, which are left out
    """
    for task in tasks:
        try:
            yield from _pages(task, source, config, report)
        except EngineError as error:
            report(f"task {_shown_id(task)}: {error}")


def chosen_results(task: Json, source: Source) -> list[Json] | None:
    """The regions that count; None where nobody has worked on the task.

    Raises
    ------
    PromptError
        The task is not as Label Studio writes it.
    """
    entries = _listed(task.get(source) or [], source)
    done = [entry for entry in entries if not entry.get("was_cancelled")]
    if not done:
        return None
    best = max(
        done, key=lambda one: (bool(one.get("ground_truth")), str(one.get("updated_at") or one.get("created_at")))
    )
    return _listed(best.get("result") or [], f"{source}.result")


def page_stem(page: AnnotatedPage, taken: set[str]) -> str:
    """A file name without suffix, made of the picture's own, and never given twice; added to `taken`."""
    own = PurePosixPath(_file_name(page.url)).stem
    stem = _UNSAFE.sub("_", own)[-100:].strip("._") or _UNSAFE.sub("_", f"task_{page.task}")
    if stem.lower() in taken:
        stem = f"{stem}_task_{page.task}" + (f"_{page.to_name}" if page.to_name else "") + f"_{page.page}"
        stem = _UNSAFE.sub("_", stem)
    number, unique = 2, stem
    while unique.lower() in taken:
        number, unique = number + 1, f"{stem}_{number}"
    taken.add(unique.lower())
    return unique


def page_suffix(page: AnnotatedPage) -> str:
    """Of the picture's file, ``.png`` where its address tells none."""
    suffix = PurePosixPath(_file_name(page.url)).suffix.lower()
    return suffix if _PICTURE.search(suffix) else ".png"


def _file_name(url: str) -> str:
    """Last part of an address's path, or of the path that it asks for."""
    if url.startswith("data:"):
        return ""
    parts = urlsplit(url)
    path = parse_qs(parts.query).get("d", [unquote(parts.path)])[0]
    return path.replace("\\", "/").rstrip("/").rpartition("/")[2]


def _pages(task: Json, source: Source, config: LabelConfig | None, report: Report) -> Iterator[AnnotatedPage]:
    if not isinstance(task, Mapping) or not isinstance(task.get("data"), Mapping):
        raise PromptError("a task is an object with data; export the project in the format JSON")
    results = chosen_results(task, source)
    if results is None:
        return
    shapes = _shapes(task, results, report)
    for to_name, urls in _pictures(task["data"], config, results).items():
        for page, url in enumerate(urls):
            found = shapes.pop((to_name, page), [])
            size = (found[0].mask.shape[0], found[0].mask.shape[1]) if found else None
            same = [shape for shape in found if shape.mask.shape == size]
            if len(same) < len(found):
                report(f"task {task.get('id')}, page {page}: regions of another original size are left out")
            yield AnnotatedPage(task.get("id", 0), to_name, page, url, size, tuple(same))
    for to_name, page in shapes:
        report(f"task {task.get('id')}: its data has no page {page} for {to_name!r}; its regions are left out")


def _shapes(task: Json, results: Sequence[Json], report: Report) -> dict[tuple[str, int], list[Shape]]:
    """Masks by picture and page. Results of one id are one region; one draws it, another may name its label."""
    named: dict[str, list[Json]] = {}
    for number, result in enumerate(results):
        named.setdefault(str(result.get("id") or f"#{number}"), []).append(result)
    found: dict[tuple[str, int], list[Shape]] = {}
    for name, parts in named.items():
        label = next((label for part in parts if (label := _label(part))), UNLABELLED)
        for part in parts:
            try:
                mask = _mask(part)
            except EngineError as error:
                report(f"task {task.get('id')}, region {name!r}: {error}")
                break
            if mask is not None:
                place = (str(part.get("to_name") or ""), _page(part))
                found.setdefault(place, []).append(Shape(label, mask, name, _score(part)))
                break
    return found


def _mask(result: Json) -> NDArray[np.bool_] | None:
    """The mask of a region; None for clicks, boxes and whatever has no shape."""
    size = original_size(result)
    if size is None:
        return None
    geometry = read_geometry(result, Canvas(size))
    value = result.get("value")
    if geometry is None and isinstance(value, Mapping) and "radiusX" in value:
        return _ellipse(result, size)
    return geometry if isinstance(geometry, np.ndarray) else None


def _ellipse(result: Json, size: tuple[int, int]) -> NDArray[np.bool_]:
    """As training reads it."""
    from sam2_engine.training.readers.label_studio import region_of

    try:
        region = region_of(result)
    except (KeyError, TypeError, ValueError, ArithmeticError) as error:
        raise PromptError(f"the ellipse cannot be read ({type(error).__name__}: {error}); draw it again") from error
    assert region is not None
    mask = np.zeros(size, np.bool_)
    mask[region.where(size)] = True
    if not mask.any():
        raise PromptError("the ellipse covers no pixel; delete it or draw it again")
    return mask


def _pictures(data: Json, config: LabelConfig | None, results: Sequence[Json]) -> dict[str, list[str]]:
    """Addresses of the pages of each picture, by its name."""
    if config is not None:
        found = {tag.name: _addresses(_at(data, tag.data_key)) for tag in config.images}
        return {name: urls for name, urls in found.items() if urls}
    names = list(dict.fromkeys(str(result["to_name"]) for result in results if result.get("to_name"))) or [""]
    by_key = {key: urls for key, value in data.items() if (urls := _addresses(value))}
    if not by_key:
        raise PromptError(f"none of its data is the address of a picture: {', '.join(map(str, data))}")
    if len(names) == 1 and len(by_key) > 1 and names[0] not in by_key:
        # Which one is meant is not told without a label config; pictures are more likely than other addresses.
        by_key = {key: urls for key, urls in by_key.items() if _PICTURE.search(_file_name(urls[0]))} or by_key
    return {name: by_key.get(name, next(iter(by_key.values()))) for name in names}


def _addresses(value: Any) -> list[str]:
    values = value if isinstance(value, list) else [value]
    is_one = bool(values) and all(
        isinstance(one, str) and (_ADDRESS.match(one) or _PICTURE.search(one)) for one in values
    )
    return [str(one) for one in values] if is_one else []


def _at(data: Json, key: str) -> Any:
    """What the data holds at a key, which may lead into objects (``a.b``)."""
    if key in data:
        return data[key]
    found: Any = data
    for part in key.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def _label(result: Json) -> str | None:
    value = result.get("value")
    labels = (value.get(str(result.get("type"))) or value.get("labels")) if isinstance(value, Mapping) else None
    return str(labels[0]) if isinstance(labels, list) and labels else None


def _page(result: Json) -> int:
    page = result.get("item_index")
    return page if isinstance(page, int) and not isinstance(page, bool) else 0


def _score(result: Json) -> float | None:
    score = result.get("score")
    return float(score) if isinstance(score, (int, float)) and not isinstance(score, bool) else None


def _listed(given: Any, where: str) -> list[Json]:
    if not isinstance(given, list) or not all(isinstance(one, Mapping) for one in given):
        raise PromptError(f"{where} is a list of objects; export the project in the format JSON")
    return given


def _shown_id(task: Any) -> Any:
    return task.get("id", "without number") if isinstance(task, Mapping) else "that is no object"
