"""``sam2 demo``: one click on a picture, one click in a stack, and what comes of it."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import options
from .console import INTERRUPTED, Console, count, stoppable
from .loading import load
from .targets import about

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ..evaluation.metrics import JF
    from ..model import Sam2
    from ..prompts import Click

    Mask = NDArray[np.bool_]

SEED = 3
SHAPE_ZYX = (32, 256, 256)
BAR = 30
"""Characters of an IoU of 1."""


def add_parser(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "demo",
        parents=[common],
        help="see it work: one click on a picture, one in a stack",
        description="Segment a microscopy picture by one click, and follow a nucleus through a stack from one click in "
        "its middle slice. Needs no files and no network. Says how well it went and writes pictures.",
    )
    parser.add_argument("--out", default="sam2_demo", metavar="DIR", help="folder for the results (default: sam2_demo)")
    options.add_model(parser)
    parser.set_defaults(run=run, parser=parser)


@dataclass(frozen=True, slots=True, eq=False)
class PictureResult:
    """What the click on the picture gave."""

    click: Click
    iou: float
    predicted_iou: float
    seconds: float


@dataclass(frozen=True, slots=True, eq=False)
class StackResult:
    """What the click in the stack gave.

    Attributes
    ----------
    frame : the slice that was clicked
    truth, found : [Z, Y, X]; slices that were not reached are empty
    scores, copied : of every slice, tracked and with the clicked slice's mask left where it was
    """

    click: Click
    frame: int
    volume: NDArray[np.uint16]
    truth: Mask
    found: Mask
    scores: tuple[JF, ...]
    copied: tuple[JF, ...]
    seconds: float
    stopped: bool

    def mean(self, scores: Sequence[JF]) -> float:
        """Mean J&F of all slices but the clicked one."""
        others = [score.mean for frame, score in enumerate(scores) if frame != self.frame]
        return sum(others) / len(others)

    @property
    def shown(self) -> list[int]:
        """Slices on which there is something, in truth or in the result."""
        return [frame for frame in range(len(self.truth)) if self.truth[frame].any() or self.found[frame].any()]

    @property
    def mean_iou(self) -> float:
        """Mean IoU of the slices that show something."""
        return sum(self.scores[frame].jaccard for frame in self.shown) / len(self.shown)


def run(args: argparse.Namespace) -> int:
    """Both parts, then what to do next."""
    from ..atomic import export_errors, write_json

    console = Console(quiet=args.quiet)
    out = Path(args.out)
    with export_errors(out):
        out.mkdir(parents=True, exist_ok=True)
    started = time.perf_counter()
    model = load(args, console)
    parameters = sum(parameter.numel() for parameter in model.parameters()) / 1e6
    seconds = time.perf_counter() - started
    console.say(f"model {model.config.name}, {parameters:.1f} M parameters, loaded in {seconds:.1f} s")
    picture = _picture(console, model, out)
    stack = _stack(console, model, out)
    write_json(out / "results.json", _record(model, picture, stack), indent=1)
    _say_next(console, args, picture, stack)
    if stack.stopped:
        console.warn("interrupted: the stack was followed in part only; what was found is written")
        return INTERRUPTED
    return 0


# ---------------------------------------------------------------------------------------------------- the picture


def _picture(console: Console, model: Sam2, out: Path) -> PictureResult:
    """The cell of scikit-image's phase picture, by one click."""
    from ..evaluation.metrics import iou
    from ..export import write_overlay_png, write_png
    from ..image_predictor import SAM2ImagePredictor
    from ..prompt_files import PromptedObject
    from ..prompts import Prompts
    from ..training.clicks import centre_click
    from .segment import segment_objects

    image = _cell()
    outline = _brightest_region(image)
    prompts = Prompts(clicks=(centre_click(outline),))
    started = time.perf_counter()
    predictor = SAM2ImagePredictor(model)
    predictor.set_image(image)
    found = segment_objects(predictor, image.shape[:2], (PromptedObject(1, "cell", {0: prompts}),))
    seconds = time.perf_counter() - started
    result = PictureResult(prompts.clicks[0], iou(outline, found.masks[1]), found.scores[1], seconds)
    _write_tiff(out / "cell.tif", image)
    write_png(out / "cell_mask.png", found.masks[1])
    write_overlay_png(out / "cell_overlay.png", image, found, prompts={1: prompts})
    console.say("\n1. A picture: a cell in saline, quantitative phase (skimage.data.cell)")
    console.say(f"   one click at ({result.click.x:.0f}, {result.click.y:.0f}), {seconds:.2f} s")
    console.say(
        f"   IoU {result.iou:.3f} with the outline that Otsu's threshold gives here "
        f"(the model expects {result.predicted_iou:.2f})"
    )
    return result


def _cell() -> NDArray[np.uint8]:
    """A picture inside the scikit-image package; nothing is downloaded.

    Raises
    ------
    EngineError
        This build of scikit-image lacks it.
    """
    import numpy as np
    from skimage import data

    from ..errors import EngineError

    try:
        return np.asarray(data.cell())  # type: ignore[no-untyped-call]
    except (OSError, KeyError, ImportError) as error:
        raise EngineError(
            f"scikit-image has lost its picture of a cell ({error}); install scikit-image again"
        ) from error


def _brightest_region(image: NDArray[Any]) -> Mask:
    """The largest region above Otsu's threshold, without holes: a reference made without the model."""
    import numpy as np
    from scipy import ndimage
    from skimage.filters import threshold_otsu

    bright = image > threshold_otsu(image)  # type: ignore[no-untyped-call]
    regions, number = ndimage.label(bright)
    areas = np.bincount(regions.ravel(), minlength=number + 1)
    areas[0] = 0
    return np.asarray(ndimage.binary_fill_holes(regions == areas.argmax()), dtype=np.bool_)


# ------------------------------------------------------------------------------------------------------ the stack


def _stack(console: Console, model: Sam2, out: Path) -> StackResult:
    """A nucleus of a made stack, by one click in its middle slice."""
    import numpy as np

    from ..training.synthetic import make_stack

    volume, labels = make_stack(np.random.default_rng(SEED), SHAPE_ZYX)
    obj, frame = _choose(labels)
    truth = labels == obj
    console.say(f"\n2. A stack made by the package: {' × '.join(map(str, SHAPE_ZYX))} voxels, {labels.max()} nuclei")
    result = _followed(console, model, volume, truth, frame)
    console.say(f"   one click at ({result.click.x:.0f}, {result.click.y:.0f}) in slice {frame}, followed both ways")
    slices = count(len(volume), "slice")
    console.say(f"   {slices} in {result.seconds:.1f} s ({len(volume) / result.seconds:.1f} a second)")
    for line in _table(result):
        console.say(f"   {line}")
    console.say(f"   IoU, mean of the {len(result.shown)} slices above: {result.mean_iou:.3f}")
    console.say(
        f"   J&F, mean of all slices but the clicked one: {result.mean(result.scores):.3f} "
        f"(copying the clicked slice's mask: {result.mean(result.copied):.3f})"
    )
    _write_stack(console, out, result)
    return result


def _choose(labels: NDArray[np.int32]) -> tuple[int, int]:
    """The largest nucleus that lies whole inside the stack, and its middle slice."""
    import numpy as np

    volumes = np.bincount(labels.ravel())
    for plane in (labels[[0, -1]], labels[:, [0, -1]], labels[:, :, [0, -1]]):
        volumes[np.unique(plane)] = 0
    volumes[0] = 0
    obj = int(volumes.argmax())
    slices = np.flatnonzero((labels == obj).any(axis=(1, 2)))
    return obj, int(slices[len(slices) // 2])


def _followed(console: Console, model: Sam2, volume: NDArray[np.uint16], truth: Mask, frame: int) -> StackResult:
    import numpy as np

    from ..evaluation.metrics import jaccard_and_boundary
    from ..prompts import Prompts
    from ..session import Session
    from ..tracking import Tracker
    from ..training.clicks import centre_click

    click = centre_click(truth[frame])
    found = np.zeros_like(truth)
    started = time.perf_counter()
    session = Session(volume, Tracker(model))
    given = session.prompt(1, frame, Prompts(clicks=(click,)))
    with console.bar(len(volume), "following", "slice") as bar, stoppable("this slice") as stop:
        for masks in session.propagate("both"):
            found[masks.frame] = masks.masks[1]
            bar.update(1)
            if stop.is_made:
                break
    seconds = time.perf_counter() - started
    scores = tuple(jaccard_and_boundary(*pair) for pair in zip(truth, found, strict=True))
    copied = tuple(jaccard_and_boundary(plane, given) for plane in truth)
    return StackResult(click, frame, volume, truth, found, scores, copied, seconds, stop.is_made)


def _table(result: StackResult) -> list[str]:
    lines = ["slice    IoU"]
    for frame in result.shown:
        score = result.scores[frame].jaccard
        mark = "  <- click" if frame == result.frame else ""
        lines.append(f"{frame:5}  {score:.3f}  {'#' * round(score * BAR):{BAR}}{mark}".rstrip())
    return lines


def _write_stack(console: Console, out: Path, result: StackResult) -> None:
    from ..export import LabelWriter
    from ..prompt_files import PromptedObject, write_prompts
    from ..prompts import Prompts
    from .contact_sheet import write_contact_sheet

    _write_tiff(out / "stack.tif", result.volume, axes="ZYX")
    for name, masks in (("stack_labels.tif", result.found), ("stack_truth.tif", result.truth)):
        with LabelWriter(out / name, len(masks), (masks.shape[1], masks.shape[2])) as writer:
            for frame, mask in enumerate(masks):
                writer.write(frame, mask)
    prompts = Prompts(clicks=(result.click,))
    write_prompts(out / "stack_prompts.json", [PromptedObject(1, "nucleus", {result.frame: prompts})])
    write_contact_sheet(
        out / "stack_sheet.png",
        result.volume,
        result.truth,
        result.found,
        [score.jaccard for score in result.scores],
        {result.frame: prompts},
    )
    _write_video(console, out / "stack_overlay.mp4", result)


def _write_video(console: Console, path: Path, result: StackResult) -> None:
    """The whole stack as a film, where PyAV is installed."""
    from ..errors import MissingDependencyError
    from ..export import OverlayVideo, overlay
    from ..pixels import sequence_range
    from ..prompts import ObjectId, Prompts

    span = sequence_range(result.volume, "percentile")
    said: dict[int, dict[ObjectId, Prompts]] = {result.frame: {1: Prompts(clicks=(result.click,))}}
    try:
        with OverlayVideo(path, fps=8) as video:
            for frame, plane in enumerate(result.volume):
                video.add(overlay(plane, {1: result.found[frame]}, prompts=said.get(frame), span=span))
    except MissingDependencyError:
        console.say(f"   no {path.name}: pip install 'sam2-tools[video]' to get it too")


def _write_tiff(path: Path, array: NDArray[Any], **metadata: str) -> None:
    import tifffile

    from ..atomic import atomic_path

    with atomic_path(path) as temporary:
        tifffile.imwrite(temporary, array, photometric="minisblack", compression="zlib", metadata=metadata or None)


# ---------------------------------------------------------------------------------------------------- the outcome


def _record(model: Sam2, picture: PictureResult, stack: StackResult) -> dict[str, Any]:
    return {
        "about": about(model.config.name),
        "picture": {
            "click_xy": [picture.click.x, picture.click.y],
            "iou": picture.iou,
            "predicted_iou": picture.predicted_iou,
            "seconds": picture.seconds,
        },
        "stack": {
            "click_xy": [stack.click.x, stack.click.y],
            "clicked_slice": stack.frame,
            "slices": [
                {"slice": frame, "iou": stack.scores[frame].jaccard, "boundary_f": stack.scores[frame].boundary}
                for frame in stack.shown
            ],
            "mean_iou": stack.mean_iou,
            "jf": stack.mean(stack.scores),
            "jf_of_copying": stack.mean(stack.copied),
            "seconds": stack.seconds,
        },
    }


_FILES = {
    "cell_overlay.png": "the cell with its mask and the click",
    "stack_sheet.png": "the nucleus slice by slice: result filled, truth outlined",
    "stack_overlay.mp4": "the whole stack as a film",
    "stack.tif": "the stack itself, to open in napari or Fiji",
    "stack_labels.tif": "the result as labels; stack_truth.tif is the truth",
}


def _say_next(console: Console, args: argparse.Namespace, picture: PictureResult, stack: StackResult) -> None:
    out = Path(args.out)
    console.say(f"\nOpen these in {out.resolve()}:")
    for name, what in _FILES.items():
        if (out / name).exists():
            console.say(f"   {name:18} {what}")
    model = f" --model {args.model}" if args.model else ""
    console.say("\nThe same by hand, and then with your own files:")
    console.say(f"   sam2 segment {out / 'cell.tif'} --point {_written(picture.click)} --overlay look.png{model}")
    console.say(
        f"   sam2 track {out / 'stack.tif'} --axis z --frame {stack.frame} "
        f"--point {_written(stack.click)} --both --out labels.tif{model}"
    )
    console.say("   sam2 segment --help, sam2 track --help and docs/cli.md tell the rest.")


def _written(click: Click) -> str:
    return f"{click.x:g},{click.y:g}"
