"""``sam2 segment IMAGE``: objects of a picture, from prompts or all of them."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import options
from .console import Console, count
from .targets import JSON, LABEL_PICTURE, PICTURE, check_target, default_target, results

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ..image_predictor import SAM2ImagePredictor
    from ..model import Sam2
    from ..outputs import FrameMasks
    from ..prompt_files import PromptedObject
    from ..prompts import ObjectId, Prompts

MASK_LOGIT = 10.0
"""How sure a mask that a person gave is, as mask logits."""


def add_parser(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "segment",
        parents=[common],
        help="segment objects of a picture",
        description="Segment objects of a picture from clicks, boxes or rough masks, or everything on it.",
        epilog="example: sam2 segment cells.png --point 120,85 --out cell.png --overlay look.png",
    )
    parser.add_argument("image", metavar="IMAGE", help="PNG, JPEG, TIFF, …; any dtype, grey or colour")
    options.add_prompts(parser, frames=False)
    every = parser.add_argument_group("everything")
    every.add_argument("--everything", action="store_true", help="find all objects; needs no prompts")
    every.add_argument("--points-per-side", type=options.positive, default=32, metavar="N", help="clicks (default: 32)")
    every.add_argument("--min-iou", type=options.share, metavar="Q", help="predicted (default: by the model)")
    every.add_argument("--min-stability", type=options.share, metavar="Q", help="(default: by the model)")
    results_group = parser.add_argument_group("results")
    results_group.add_argument(
        "--out", metavar="FILE", help=".png: the mask, of several objects their labels; .tif: labels"
    )
    results_group.add_argument("--overlay", metavar="FILE.png", help="the picture with masks and prompts drawn on it")
    results_group.add_argument("--json", metavar="FILE.json", help="masks as COCO run lengths, with scores and prompts")
    options.add_model(parser)
    options.add_precision(parser)
    options.add_window(parser)
    options.add_feature_cache(parser)
    parser.set_defaults(run=run, parser=parser)


def run(args: argparse.Namespace) -> int:
    """Segment and write."""
    from ..frames import read_image
    from ..pixels import as_picture
    from .loading import in_precision, load
    from .prompting import check_frames, given_objects

    console = Console(quiet=args.quiet)
    objects = given_objects(args)
    if args.everything == bool(objects):
        args.parser.error(
            "--everything needs no prompts; leave one of them out"
            if objects
            else "say what to segment: --point, --box, --mask, --prompts, or --everything"
        )
    _check_targets(args)
    check_frames(objects, 1, args.image)
    picture = as_picture(read_image(args.image))
    model = load(args, console)
    with in_precision(args, model):
        if args.everything:
            from .everything import segment_everything

            return segment_everything(args, console, model, picture)
        return _segment_objects(args, console, model, picture, objects)


def _check_targets(args: argparse.Namespace) -> None:
    if not (args.out or args.overlay or args.json):
        args.out = default_target(args.image, "_labels" if args.everything else "_mask", ".png")
    inputs = (args.image, args.prompts)
    check_target(args.out, LABEL_PICTURE, inputs)
    check_target(args.overlay, PICTURE, inputs)
    check_target(args.json, JSON, inputs)


def _segment_objects(
    args: argparse.Namespace,
    console: Console,
    model: Sam2,
    picture: NDArray[Any],
    objects: tuple[PromptedObject, ...],
) -> int:
    from ..atomic import write_json
    from ..encoded_images import tracker_for
    from ..export import label_values, labels_from_masks, write_label_image, write_overlay_png
    from ..image_predictor import SAM2ImagePredictor
    from ..kept_features import open_features
    from ..looking import rule_for
    from .loading import budget_of

    features = open_features(tracker_for(model), budget_of(args), whole=rule_for(model.config, args.window) is None)
    predictor = SAM2ImagePredictor(model, window=args.window, features=features)
    predictor.set_image(picture)
    features.close()
    found = segment_objects(predictor, (picture.shape[0], picture.shape[1]), objects)
    for one in objects:
        area = count(int(found.masks[one.obj].sum()), "pixel")
        name = f" ({one.name})" if one.name else ""
        console.say(f"object {one.obj}{name}: {area}, predicted IoU {found.scores[one.obj]:.2f}")
    values = label_values(found.masks)
    if args.out:
        is_mask = args.out.lower().endswith(".png") and len(objects) == 1
        labels = found.masks[objects[0].obj] if is_mask else labels_from_masks(found.masks, values)
        write_label_image(args.out, labels)
        console.say(f"wrote {args.out}")
    if args.overlay:
        write_overlay_png(args.overlay, picture, found, prompts={one.obj: one.prompts[0] for one in objects})
        console.say(f"wrote {args.overlay}")
    if args.json:
        size = (picture.shape[0], picture.shape[1])
        name_of = [Path(args.image).name]
        write_json(args.json, results([found], size, objects, values, model.config.name, name_of))
        console.say(f"wrote {args.json}")
    return 0


def segment_objects(
    predictor: SAM2ImagePredictor, size: tuple[int, int], objects: tuple[PromptedObject, ...]
) -> FrameMasks:
    """Masks of the objects on the image that is set, each for itself; the prompts are those of frame 0.

    Raises
    ------
    PromptError
        A prompt cannot be used; the message names the object.
    """
    from ..errors import PromptError
    from ..outputs import FrameMasks

    masks: dict[ObjectId, NDArray[np.bool_]] = {}
    scores: dict[ObjectId, float] = {}
    for one in objects:
        try:
            masks[one.obj], scores[one.obj] = _predict(predictor, size, one.prompts[0])
        except PromptError as error:
            raise PromptError(f"object {one.obj!r}: {error}") from error
    return FrameMasks(0, masks, scores)


def _predict(predictor: SAM2ImagePredictor, size: tuple[int, int], prompts: Prompts) -> tuple[NDArray[np.bool_], float]:
    """The best mask and its predicted IoU. A single click may mean several things, so it has candidates."""
    import numpy as np

    clicks, box, logits = prompts.clicks, prompts.box, None
    if prompts.mask is not None:
        box, logits = _rough(predictor, size, prompts.mask)
    masks, ious, _ = predictor.predict(
        point_coords=[(click.x, click.y) for click in clicks] if clicks else None,
        point_labels=[int(click.positive) for click in clicks] if clicks else None,
        box=None if box is None else [box.x0, box.y0, box.x1, box.y1],
        mask_input=logits,
        multimask_output=len(clicks) == 1 and box is None,
    )
    best = int(np.argmax(ious))
    return masks[best] > 0, float(ious[best])


def _rough(predictor: SAM2ImagePredictor, size: tuple[int, int], mask: NDArray[np.bool_]) -> Any:
    """A mask to be improved goes in as its box and as mask logits ``[1, s, s]``."""
    import torch.nn.functional as F

    from ..geometry import Resize
    from ..looking import rule_for
    from ..training.clicks import tight_box
    from ..windowed_images import WindowLogits

    config = predictor.model.config
    Resize(size, config.image_side).check_mask(mask)
    rule = rule_for(config, predictor.window)
    window = None if rule is None else rule.around_mask(mask)
    covered = F.avg_pool2d(Resize(size, config.image_side, window).mask_to_model(mask), 4)[0]  # [1, s, s], 0 to 1
    return tight_box(mask), WindowLogits(((2 * covered - 1) * MASK_LOGIT).numpy(), [window])
