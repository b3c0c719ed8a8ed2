"""What a ``/predict`` request asks: read and checked once, before anything is fetched."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sam2_engine.errors import PromptError

from ..label_config import ImageTag, LabelConfig, VideoTag, parse_label_config
from ..regions import Json
from ..sources import Access
from ..translate import context_results

parsed_config = lru_cache(maxsize=64)(parse_label_config)


@dataclass(frozen=True, slots=True, eq=False)
class Ask:
    """One task of a request.

    Attributes
    ----------
    project : names the project, whatever it looks like
    task : as Label Studio sent it
    config : of the request
    access : for fetching the task's data
    """

    project: str
    task: Json
    config: LabelConfig
    access: Access

    @property
    def task_key(self) -> tuple[str, str]:
        """Tells tasks apart."""
        return self.project.split(".")[0], str(self.task.get("id"))

    def urls(self, tag: ImageTag) -> list[str]:
        """The addresses of a picture tag's pages; one for a single picture.

        Raises
        ------
        PromptError
            The task's data has none there.
        """
        found = self.datum(tag.data_key)
        urls = found if isinstance(found, list) else [found]
        if not urls or not all(isinstance(url, str) and url for url in urls):
            raise PromptError(
                f"the task's data must hold the address of a picture, or a list of them, at {tag.data_key!r}; "
                f"it holds {type(found).__name__}"
            )
        return urls

    def url(self, tag: VideoTag) -> str:
        """The address of a video.

        Raises
        ------
        PromptError
            The task's data has none there.
        """
        found = self.datum(tag.data_key)
        if not isinstance(found, str) or not found:
            raise PromptError(
                f"the task's data must hold the address of a video at {tag.data_key!r}; it holds {type(found).__name__}"
            )
        return found

    def datum(self, key: str) -> Any:
        """What the task's data holds at a key, which may lead into objects (``a.b``)."""
        data: Any = self.task.get("data")
        if isinstance(data, Mapping) and key in data:
            return data[key]
        for part in key.split("."):
            data = data.get(part) if isinstance(data, Mapping) else None
        return data


def read_asks(request: Json) -> tuple[list[Ask], list[Any] | None]:
    """The tasks of a request, and the regions of its context, None where it has none.

    Raises
    ------
    PromptError, LabelConfigError
        The request is not as Label Studio sends it.
    """
    if not isinstance(request, Mapping):
        raise PromptError(f"the request is a JSON object, got {type(request).__name__}")
    context = context_results(request)
    tasks = request.get("tasks")
    if not isinstance(tasks, list) or not all(isinstance(task, Mapping) for task in tasks):
        raise PromptError("the request has no list of tasks; send Label Studio's body unchanged")
    xml = request.get("label_config")
    if not isinstance(xml, str):
        raise PromptError(f"the request's label_config is text, got {type(xml).__name__}")
    config = parsed_config(xml)
    params = request.get("params") or {}
    login, password = (value if isinstance(value := params.get(key), str) else None for key in ("login", "password"))
    project = str(request.get("project") or "")
    return [Ask(project, task, config, Access(login, password, _task_id(task))) for task in tasks], context


def _task_id(task: Json) -> int | str | None:
    found = task.get("id")
    return found if isinstance(found, (int, str)) else None
