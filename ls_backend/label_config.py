"""What a project's label config says: its pictures, and the tags that make regions on them.

A tag is named by ``from_name`` in results, its picture by ``to_name``, its kind by ``type``: the tag in lower case.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args
from xml.etree import ElementTree

from sam2_engine.errors import EngineError

OutputKind = Literal[
    "brushlabels", "bitmasklabels", "brush", "bitmask", "polygonlabels", "polygon", "rectanglelabels", "rectangle"
]
"""Kinds of regions that masks can be turned into, the most faithful first. Those without ``labels`` in their name are
drawn by one tag and named by another, a ``<Labels>`` beside it."""

OUTPUT_KINDS: tuple[OutputKind, ...] = get_args(OutputKind)


class LabelConfigError(EngineError, ValueError):
    """A label config cannot be read, or has no tag for what is to be written."""


@dataclass(frozen=True, slots=True)
class ImageTag:
    """A picture, or a list of pictures, that regions are drawn on.

    Attributes
    ----------
    name : what regions call ``to_name``
    data_key : where in a task's data its address stands, or the list of addresses
    is_list : several pages, told apart by ``item_index``
    """

    name: str
    data_key: str
    is_list: bool


@dataclass(frozen=True, slots=True)
class VideoTag:
    """A video that tracks are drawn on.

    Attributes
    ----------
    name, data_key : as in `ImageTag`
    """

    name: str
    data_key: str


@dataclass(frozen=True, slots=True)
class ControlTag:
    """A tag that makes regions.

    Attributes
    ----------
    name : what regions call ``from_name``
    kind : the tag in lower case, what regions call ``type``
    to_names : pictures it draws on
    labels : values it offers, in order; their alias where they have one, as regions do
    takes_any_label : labels come from the task's data, so that `labels` does not list them
    is_smart : offered as a smart tool, whose regions are sent as prompts
    """

    name: str
    kind: str
    to_names: tuple[str, ...]
    labels: tuple[str, ...]
    takes_any_label: bool = False
    is_smart: bool = True

    def offers(self, label: str | None) -> bool:
        """Whether a region of this tag can have a label."""
        return label is not None and (self.takes_any_label or label in self.labels)


@dataclass(frozen=True, slots=True)
class LabelConfig:
    """The pictures, tags and videos of a project, in the order of its config."""

    images: tuple[ImageTag, ...]
    controls: tuple[ControlTag, ...]
    videos: tuple[VideoTag, ...] = ()

    def image(self, to_name: str) -> ImageTag:
        """The picture of a name; LabelConfigError where there is none."""
        for image in self.images:
            if image.name == to_name:
                return image
        raise LabelConfigError(
            f"no <Image name={to_name!r}> in the label config; it has {[image.name for image in self.images]}"
        )

    def output(self, to_name: str, label: str | None, kind: OutputKind | None = None) -> ControlTag:
        """The tag that regions made from masks belong to.

        Of the tags on this picture those that offer the label come first, among them those of the most faithful kind.

        Parameters
        ----------
        kind : take this kind of tag only

        Raises
        ------
        LabelConfigError
            No such picture, or no tag on it that holds masks, outlines or boxes.
        """
        self.image(to_name)
        kinds = OUTPUT_KINDS if kind is None else (kind,)
        fitting = [control for control in self.controls if to_name in control.to_names and control.kind in kinds]
        if not fitting:
            raise LabelConfigError(
                f"the label config has none of {', '.join(kinds)} for the picture {to_name!r}; "
                f'add for example <BrushLabels name="brush" toName="{to_name}"> with the labels of the prompts'
            )
        # list.index instead of OUTPUT_KINDS.index, because a kind is any text to the type checker.
        return min(fitting, key=lambda one: (self.namer(one, to_name, label) is None, list[str](kinds).index(one.kind)))

    def namer(self, control: ControlTag, to_name: str, label: str | None) -> ControlTag | None:
        """The tag that gives regions of `control` a label: itself, a ``<Labels>`` beside it, or None."""
        beside = [one for one in self.controls if one.kind == "labels" and to_name in one.to_names]
        candidates = [control] if control.kind.endswith("labels") else beside
        return next((one for one in candidates if one.offers(label)), None)

    def labels(self, to_name: str) -> tuple[str, ...]:
        """All labels that regions on a picture can have, in order."""
        there = [one for one in self.controls if to_name in one.to_names]
        return tuple(dict.fromkeys(label for one in there for label in one.labels))


def parse_label_config(xml: str) -> LabelConfig:
    """Read a label config as it comes with every request.

    Raises
    ------
    LabelConfigError
        Not XML, or with a document type, which no label config needs and which can make entities explode.
    """
    if "<!DOCTYPE" in xml or "<!ENTITY" in xml:
        raise LabelConfigError("the label config declares a document type; remove <!DOCTYPE …> from it")
    try:
        root = ElementTree.fromstring(xml)
    except ElementTree.ParseError as error:
        raise LabelConfigError(f"the label config is no XML: {error}; correct it in the project's settings") from error
    tags = list(root.iter())
    videos = [tag for tag in tags if tag.tag.lower() == "video" and tag.get("name") and tag.get("value")]
    return LabelConfig(
        tuple(_images(tags)),
        tuple(_controls(tags)),
        tuple(VideoTag(tag.attrib["name"], tag.attrib["value"].lstrip("$")) for tag in videos),
    )


def _images(tags: list[ElementTree.Element]) -> Iterator[ImageTag]:
    for tag in tags:
        source = tag.get("valueList") or tag.get("value")
        if tag.tag.lower() == "image" and tag.get("name") and source:
            yield ImageTag(tag.attrib["name"], source.lstrip("$"), is_list=tag.get("valueList") is not None)


def _controls(tags: list[ElementTree.Element]) -> Iterator[ControlTag]:
    for tag in tags:
        if not (tag.get("name") and tag.get("toName")):
            continue
        labels = [child for child in tag.iter() if child.tag.lower() == "label"]
        yield ControlTag(
            name=tag.attrib["name"],
            kind=tag.tag.lower(),
            to_names=tuple(name.strip() for name in tag.attrib["toName"].split(",")),
            labels=tuple(value for label in labels if (value := label.get("alias") or label.get("value"))),
            takes_any_label=tag.get("value", "").startswith("$"),
            is_smart=tag.get("smart", "true").lower() != "false",
        )
