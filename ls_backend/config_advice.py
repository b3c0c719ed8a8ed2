"""What is missing in a label config, or will surprise people. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from xml.etree import ElementTree

from .findings import Finding, State
from .label_config import OUTPUT_KINDS, ControlTag, ImageTag, LabelConfig, LabelConfigError, parse_label_config

_CHECK = "label config"
_CLICKS = ("keypointlabels", "keypoint")
_BOXES = ("rectanglelabels", "rectangle")
_PROMPTS = (*_CLICKS, *_BOXES)
_MASKS = tuple(kind for kind in OUTPUT_KINDS if not kind.startswith("rectangle"))


def config_findings(xml: str) -> list[Finding]:
    """What to say about a label config; one finding that all is well where there is nothing."""
    try:
        config = parse_label_config(xml)
    except LabelConfigError as error:
        return [Finding(_CHECK, "problem", str(error))]
    found = [*_on_everything(config), *_tags_without_smart_only(xml, config)]
    for image in config.images:
        found += _on_picture(config, image)
    for video in config.videos:
        found += _on_video(config, video.name)
    if any(one.state in ("problem", "warning") for one in found):
        return found
    pictures = ", ".join(f"{one.name} ({'pages' if one.is_list else 'one picture'})" for one in config.images)
    videos = ", ".join(one.name for one in config.videos)
    return [Finding(_CHECK, "ok", "; ".join(part for part in (pictures, videos and f"videos: {videos}") if part))]


def _on_everything(config: LabelConfig) -> Iterator[Finding]:
    if not config.images and not config.videos:
        yield _say("problem", "it has no picture and no video", 'add <Image name="image" value="$image"/>')


def _on_picture(config: LabelConfig, image: ImageTag) -> Iterator[Finding]:
    here = [control for control in config.controls if image.name in control.to_names]
    masks = [control for control in here if control.kind in _MASKS]
    prompts = [control for control in here if control.kind in _PROMPTS and control.is_smart]
    if not any(control.kind in OUTPUT_KINDS for control in here):
        fix = f'add <BrushLabels name="mask" toName="{image.name}" smart="false"> with the labels'
        yield _say("problem", f"nothing on {image.name!r} can hold a mask", fix)
    elif not masks:
        fix = f'add <BrushLabels name="mask" toName="{image.name}" smart="false"> if you want masks'
        yield _say("warning", f"masks on {image.name!r} can only become boxes", fix)
    if not prompts:
        fix = f'add <KeyPointLabels name="click" toName="{image.name}" smart="true" smartOnly="true"> with the labels'
        yield _say("problem", f"{image.name!r} has no smart tool: no click or box ever reaches the model", fix)
    yield from _labels_nobody_offers(masks, prompts)
    kinds = {control.kind for control in here}
    if image.is_list and "keypointlabels" in kinds and "rectanglelabels" not in kinds:
        yield _say(
            "problem",
            f"{image.name!r} is a list of pages with KeyPointLabels but without RectangleLabels, for which every "
            "export of Label Studio 1.23 fails (HTTP 500)",
            f'add <RectangleLabels name="box" toName="{image.name}" smart="true" smartOnly="true"> with the labels',
        )


def _labels_nobody_offers(masks: list[ControlTag], prompts: list[ControlTag]) -> Iterator[Finding]:
    named = [control for control in masks if control.labels or control.takes_any_label]
    if not named:
        return
    for prompt in prompts:
        lost = [label for label in prompt.labels if not any(control.offers(label) for control in named)]
        if lost:
            yield _say(
                "warning",
                f"{prompt.name!r} offers {', '.join(map(repr, lost))}, which no tag for masks does: such masks come "
                "without a label",
                f"give {named[0].name!r} the same labels",
            )


def _tags_without_smart_only(xml: str, config: LabelConfig) -> Iterator[Finding]:
    """A click on a label can switch a smart tool to its plain twin, which asks no model and says nothing."""
    pictures = {image.name for image in config.images}
    for tag in ElementTree.fromstring(xml).iter():
        kind, name = tag.tag.lower(), tag.get("name", "")
        is_here = bool(pictures & {one.strip() for one in tag.get("toName", "").split(",")})
        if not is_here or kind not in _PROMPTS or tag.get("smart", "true").lower() == "false":
            continue
        if tag.get("smartOnly", tag.get("smartonly", "false")).lower() != "true":
            yield _say(
                "warning",
                f"{name!r} exists as a smart and as a plain tool; after a label is chosen the plain one may be active, "
                "which asks no model",
                f'write smart="true" smartOnly="true" into <{tag.tag} name="{name}">',
            )


def _on_video(config: LabelConfig, video: str) -> Iterator[Finding]:
    here = [control for control in config.controls if video in control.to_names]
    if not any(control.kind == "videorectangle" for control in here):
        fix = (
            f'add <VideoRectangle name="box" toName="{video}" smart="true"/> and <Labels name="label" toName="{video}">'
        )
        yield _say("problem", f"nothing on the video {video!r} can hold a track", fix)
    elif not any(control.kind == "labels" for control in here):
        fix = f'add <Labels name="label" toName="{video}"> with the labels'
        yield _say("problem", f"the video {video!r} has no labels, and choosing one is what asks the model", fix)


def _say(state: State, found: str, fix: str) -> Finding:
    return Finding(_CHECK, state, found, fix)
