"""Masks of everything on an image: a grid of clicks, the good answers, each object once.

Letters: P points · M masks · H W image · s side of the mask logits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from os import PathLike
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from . import geometry
from .build import build_sam2_hf, split_settings
from .encoded_images import EncodedImages, Finish, decode_prompts, encode_images, encode_window, row_groups
from .errors import PromptError
from .export.rle import Rle, compress_rle, decode_rle, encode_rle, rle_area
from .image_predictor import SAM2ImagePredictor
from .looking import WindowChoice, rule_for
from .model import PointKind, PromptTensors, Sam2
from .pixels import Range, as_picture, intensity_range
from .proposals import (
    EDGE_TOLERANCE_PX,
    Crop,
    boxes_of,
    crops,
    cut_by_crop,
    non_maximum_suppression,
    point_grid,
    point_grids,
    tiles,
)
from .tracking import PREVIOUS_LOGIT_LIMIT, stability

OutputMode = Literal["binary_mask", "uncompressed_rle", "coco_rle"]
Progress = Callable[[int, int], bool | None]
"""Is told (points done, points in all) after every batch; gives False to stop with what was found so far."""

SMALLEST_TILE, TILE_HALO, POINTS_PER_TILE = 64, 0.25, 4
"""With windows: side of the smallest tiles in pixels, their halo as a share of it, clicks along each side of a core."""

_FORMS: dict[str, Callable[[Rle], Any]] = {
    "binary_mask": decode_rle,
    "uncompressed_rle": lambda rle: rle,
    "coco_rle": compress_rle,
}


@dataclass(frozen=True, slots=True, eq=False)
class Proposal:
    """One mask that was found.

    Attributes
    ----------
    rle : the mask at image size
    box : (x0, y0, x1, y1) in image pixels; x1 and y1 are its last column and row
    iou : predicted IoU, 0 to 1
    stability : 0 to 1
    point_xy : the click, in image pixels
    crop : it was found in
    """

    rle: Rle
    box: tuple[int, int, int, int]
    iou: float
    stability: float
    point_xy: tuple[float, float]
    crop: Crop


class SAM2AutomaticMaskGenerator:
    """Masks of everything on an image.

    Parameters
    ----------
    model : from `build_sam2` or `load_model`
    points_per_side : clicks along each side; None where `point_grids` are given
    points_per_batch : clicks decoded at a time; memory grows with it
    pred_iou_thresh : masks with a predicted IoU up to this are dropped
    stability_score_thresh, stability_score_offset : masks are dropped whose area depends on the threshold: the IoU of
        the masks at ± offset around it is below the limit
    mask_threshold : foreground is where the mask logits are above it
    box_nms_thresh, crop_nms_thresh : of two masks whose boxes overlap more than this, within a crop and between
        crops, one is kept: the better one, and the one from the smaller crop
    crop_n_layers : how often to look closer: layer i repeats the search on 2ⁱ × 2ⁱ crops
    crop_overlap_ratio : overlap of the crops of the first layer in fractions of the image's shorter side
    crop_n_points_downscale_factor : how many times fewer points per side each further layer has
    point_grids : for the image and each layer of crops, points [P, 2] in fractions of width and height
    min_mask_region_area : holes and islands up to this area are removed, in cells of the mask logits
    output_mode : ``binary_mask`` arrays [H, W], or ``uncompressed_rle`` or ``coco_rle`` dictionaries
    use_m2m : give each mask back to the model once, to refine it
    multimask_output : three candidates for each click, or one
    tile_sides : sides in image pixels of the tiles that an image is searched in with object-centred windows; objects
        are found that are an eighth to three quarters as wide as some tile. By default from 64 pixels to the whole
        image, each twice the one before. Crops and their grids are not used then
    window : ``auto`` searches in tiles, ``whole`` the whole image and its crops, as published; as the model was
        trained when not given

    Raises
    ------
    ValueError
        A setting that cannot be; among them PromptError for points that cannot be used.

    Notes
    -----
    Results and names of ``SAM2AutomaticMaskGenerator`` in facebookresearch/sam2 at 2b90b9f. Unlike it, images may have
    any dtype and number of channels, neither opencv nor pycocotools is needed, and never are more masks at image size
    in memory than `sam2_engine.encoded_images.PIXELS_AT_ONCE` allows.
    """

    def __init__(
        self,
        model: Sam2,
        points_per_side: int | None = 32,
        points_per_batch: int = 64,
        pred_iou_thresh: float = 0.8,
        stability_score_thresh: float = 0.95,
        stability_score_offset: float = 1.0,
        mask_threshold: float = 0.0,
        box_nms_thresh: float = 0.7,
        crop_n_layers: int = 0,
        crop_nms_thresh: float = 0.7,
        crop_overlap_ratio: float = 512 / 1500,
        crop_n_points_downscale_factor: int = 1,
        point_grids: Sequence[ArrayLike] | None = None,
        min_mask_region_area: float = 0,
        output_mode: OutputMode = "binary_mask",
        use_m2m: bool = False,
        multimask_output: bool = True,
        tile_sides: Sequence[int] | None = None,
        window: WindowChoice = None,
    ) -> None:
        if output_mode not in _FORMS:
            raise ValueError(f"output_mode must be one of {', '.join(_FORMS)}, got {output_mode!r}")
        if points_per_batch < 1 or crop_n_layers < 0:
            raise ValueError(
                "points_per_batch must be at least 1 and crop_n_layers at least 0, "
                f"got {points_per_batch} and {crop_n_layers}"
            )
        self.point_grids = _grids(points_per_side, point_grids, crop_n_layers, crop_n_points_downscale_factor)
        self.predictor = SAM2ImagePredictor(
            model, max_hole_area=min_mask_region_area, max_sprinkle_area=min_mask_region_area
        )
        self.points_per_batch = points_per_batch
        self.pred_iou_thresh = pred_iou_thresh
        self.stability_score_thresh = stability_score_thresh
        self.stability_score_offset = stability_score_offset
        self.mask_threshold = mask_threshold
        self.box_nms_thresh = box_nms_thresh
        self.crop_n_layers = crop_n_layers
        self.crop_nms_thresh = crop_nms_thresh
        self.crop_overlap_ratio = crop_overlap_ratio
        self.min_mask_region_area = min_mask_region_area
        self.output_mode = output_mode
        self.use_m2m = use_m2m
        self.multimask_output = multimask_output
        self.tile_sides = None if tile_sides is None else tuple(tile_sides)
        self.window = window

    @classmethod
    def from_pretrained(cls, model_id: str | PathLike[str], **kwargs: Any) -> SAM2AutomaticMaskGenerator:
        """A generator with trained weights; see `SAM2ImagePredictor.from_pretrained`."""
        for_model, for_generator = split_settings(kwargs, cls)
        return cls(build_sam2_hf(model_id, **for_model), **for_generator)

    def generate(self, image: ArrayLike | Any, *, progress: Progress | None = None) -> list[dict[str, Any]]:
        """Masks of everything on an image, best first.

        Parameters
        ----------
        image : [H, W] or [H, W, C] of any dtype and memory order, or a PIL image
        progress : is told (points done, points in all) after every batch; where it gives False, the search ends and
            what was found so far is returned

        Returns
        -------
        For each mask a dictionary of

        segmentation : [H, W] bool, or COCO run lengths, as `output_mode` says
        area : pixels of the mask
        bbox : [x, y, width, height] in image pixels, from the first to the last column and row
        predicted_iou : the model's opinion of the mask, 0 to 1
        point_coords : [[x, y]], the click it came from, in image pixels
        stability_score : 0 to 1
        crop_box : [x, y, width, height] of the crop it was found in

        Raises
        ------
        ImageError
            The image cannot be used.
        """
        picture = as_picture(image)
        size = (picture.shape[0], picture.shape[1])
        if rule_for(self.predictor.model.config, self.window) is not None:
            return self._generate_in_tiles(picture, size, progress)
        parts = crops(size, self.crop_n_layers, self.crop_overlap_ratio)
        search = _Search(self, picture, sum(len(self.point_grids[layer]) for _, layer in parts), progress)
        found: list[Proposal] = []
        for crop, layer in parts:
            if not search.is_stopped:
                found += search.in_crop(crop, self.point_grids[layer])
        if len(parts) > 1:
            found = _distinct(found, [1 / _area(proposal.crop) for proposal in found], self.crop_nms_thresh)
        return [self._record(proposal) for proposal in found]

    def _generate_in_tiles(
        self, picture: NDArray[Any], size: tuple[int, int], progress: Progress | None
    ) -> list[dict[str, Any]]:
        """As `generate`, through windows: tiles of several sizes with a halo."""
        sides = self.tile_sides or _doubling(SMALLEST_TILE, max(size))
        layout = [(side, square, core) for side in sides for square, core in tiles(size, side, TILE_HALO)]
        grid = point_grid(POINTS_PER_TILE)
        search = _Search(self, picture, len(layout) * len(grid), progress)
        found: list[Proposal] = []
        for side, square, (x0, y0, x1, y1) in layout:
            if not search.is_stopped:
                found += search.in_tile(square, side, grid * (x1 - x0, y1 - y0) + (x0, y0))
        found = _distinct(found, [proposal.iou for proposal in found], self.crop_nms_thresh)
        return [self._record(proposal) for proposal in found]

    def _record(self, proposal: Proposal) -> dict[str, Any]:
        return {
            "segmentation": _FORMS[self.output_mode](proposal.rle),
            "area": rle_area(proposal.rle),
            "bbox": _corner_and_size(proposal.box),
            "predicted_iou": proposal.iou,
            "point_coords": [list(proposal.point_xy)],
            "stability_score": proposal.stability,
            "crop_box": _corner_and_size(proposal.crop),
        }


class _Search:
    """One run over one picture."""

    def __init__(
        self, settings: SAM2AutomaticMaskGenerator, picture: NDArray[Any], total_points: int, progress: Progress | None
    ) -> None:
        self.settings = settings
        self.model = settings.predictor.model
        self.picture = picture
        # Black and white of the whole picture also in its crops: an empty crop is not noise stretched to objects.
        self.span: Range = intensity_range(picture, self.model.config.contrast)
        self.finish = Finish(settings.min_mask_region_area, settings.min_mask_region_area)
        self.total_points = total_points
        self.points_done = 0
        self.progress = progress
        self.is_stopped = False

    def in_crop(self, crop: Crop, grid: NDArray[np.float64]) -> list[Proposal]:
        """The distinct masks of one crop, best first."""
        x0, y0, x1, y1 = crop
        images = encode_images(self.model, [self.picture[y0:y1, x0:x1]], [self.span])
        return self._distinct_in(images, crop, grid * (x1 - x0, y1 - y0))

    def in_tile(self, square: Crop, side: int, points_xy: NDArray[np.float64]) -> list[Proposal]:
        """The distinct masks of one tile from clicks [P, 2] in image pixels, best first."""
        x0, y0, x1, y1 = square
        seen = geometry.Window.square((x1 - x0) / 2, (y1 - y0) / 2, side)
        images = encode_window(self.model, self.picture[y0:y1, x0:x1], self.span, seen)
        return self._distinct_in(images, square, points_xy - (x0, y0))

    def _distinct_in(self, images: EncodedImages, crop: Crop, points_xy: NDArray[np.float64]) -> list[Proposal]:
        found: list[Proposal] = []
        for start in range(0, len(points_xy), self.settings.points_per_batch):
            batch = points_xy[start : start + self.settings.points_per_batch]
            found += self._from_points(images, batch, crop)
            if self._tell(len(batch)):
                break
        return _distinct(found, [proposal.iou for proposal in found], self.settings.box_nms_thresh)

    def _tell(self, points: int) -> bool:
        """Report progress; gives whether to stop."""
        self.points_done += points
        if self.progress is not None and self.progress(self.points_done, self.total_points) is False:
            self.is_stopped = True
        return self.is_stopped

    def _from_points(self, images: EncodedImages, points_xy: NDArray[np.float64], crop: Crop) -> list[Proposal]:
        """The good masks of some clicks, in pixels of the crop."""
        settings = self.settings
        clicks = self._clicks(images, points_xy)
        offered = decode_prompts(self.model, images, 0, clicks, multimask=settings.multimask_output)
        logits, ious = offered.logits.flatten(0, 1), offered.iou.flatten()  # [M, s, s], [M]
        points_xy = points_xy.repeat(offered.iou.shape[1], axis=0)  # [M, 2]
        if settings.use_m2m:
            logits, ious = self._refined(images, points_xy, logits)
        if settings.pred_iou_thresh > 0:
            good = ious > settings.pred_iou_thresh
            logits, ious, points_xy = logits[good], ious[good], points_xy[good.cpu().numpy()]
        found: list[Proposal] = []
        for rows in row_groups(len(logits), self.picture.shape[0] * self.picture.shape[1]):
            found += self._measured(images, logits[rows], ious[rows], points_xy[rows], crop)
        return found

    def _clicks(self, images: EncodedImages, points_xy: NDArray[np.float64]) -> PromptTensors:
        """One positive click for each object."""
        at_model = torch.from_numpy(images.resizes[0].to_model(points_xy)).float()[:, None]  # [P, 1, 2]
        kinds = torch.full(at_model.shape[:2], int(PointKind.POSITIVE))
        device = images.view.device
        return PromptTensors(at_model.to(device), kinds.to(device))

    def _refined(self, images: EncodedImages, points_xy: NDArray[np.float64], logits: Tensor) -> tuple[Tensor, Tensor]:
        """Mask logits [M, s, s] and predicted IoU [M] after each mask went in again with its click."""
        step = self.settings.points_per_batch
        previous = logits.clamp(-PREVIOUS_LOGIT_LIMIT, PREVIOUS_LOGIT_LIMIT)[:, None]
        refined: list[Tensor] = []
        ious: list[Tensor] = []
        for rows in (slice(start, start + step) for start in range(0, len(logits), step)):
            clicks = self._clicks(images, points_xy[rows])
            prompts = PromptTensors(clicks.points_xy, clicks.kinds, previous[rows])
            offered = decode_prompts(self.model, images, 0, prompts, multimask=False)
            refined.append(offered.logits[:, 0])
            ious.append(offered.iou[:, 0])
        return torch.cat(refined), torch.cat(ious)

    def _measured(
        self, images: EncodedImages, logits: Tensor, ious: Tensor, points_xy: NDArray[np.float64], crop: Crop
    ) -> list[Proposal]:
        """Those of M masks that are stable and not cut by the crop."""
        settings, height, width = self.settings, self.picture.shape[0], self.picture.shape[1]
        at_crop = self.finish.at_image_size(logits[:, None], images.resizes[0])[:, 0]
        masks = at_crop > settings.mask_threshold  # [M, h, w]
        scores = stability(at_crop, settings.stability_score_offset, settings.mask_threshold)
        scores = torch.where(masks.flatten(1).any(dim=1), scores, 0.0)  # that of an empty mask would be 1
        x0, y0, x1, y1 = crop
        boxes = boxes_of(masks) + np.array((x0, y0, x0, y0))
        tolerance = min(EDGE_TOLERANCE_PX, 0.05 * max(x1 - x0, y1 - y0)) if images.resizes[0].window else None
        keep = ~cut_by_crop(boxes, crop, (height, width), tolerance)
        if settings.stability_score_thresh > 0:
            keep &= (scores >= settings.stability_score_thresh).cpu().numpy()
        rows = torch.from_numpy(np.flatnonzero(keep)).to(masks.device)
        found = []
        for mask, iou, score, point, corners in zip(
            masks[rows].cpu().numpy(),
            ious[rows].tolist(),
            scores[rows].tolist(),
            (points_xy[keep] + (x0, y0)).tolist(),
            boxes[keep].tolist(),
            strict=True,
        ):
            whole = np.zeros((height, width), dtype=np.bool_)
            whole[y0:y1, x0:x1] = mask
            found.append(Proposal(encode_rle(whole), tuple(corners), iou, score, tuple(point), crop))
        return found


def _grids(
    points_per_side: int | None, given: Sequence[ArrayLike] | None, layers: int, downscale: int
) -> list[NDArray[np.float64]]:
    """Points [P, 2] in fractions of width and height for the image and for each layer of crops."""
    if (points_per_side is None) == (given is None):
        raise ValueError(
            "give points_per_side or point_grids, not both and not neither; with point_grids say points_per_side=None"
        )
    if given is None:
        assert points_per_side is not None
        return point_grids(points_per_side, layers, downscale)
    grids = [np.asarray(grid, dtype=np.float64) for grid in given]
    if len(grids) <= layers:
        raise PromptError(f"{layers} layers of crops need {layers + 1} point_grids, got {len(grids)}")
    for grid in grids:
        if grid.ndim != 2 or grid.shape[1] != 2 or not ((grid >= 0) & (grid <= 1)).all():
            raise PromptError(
                f"each of point_grids is [P, 2] (x, y) in fractions of width and height, 0 to 1, got {grid.shape}"
            )
    return grids


def _distinct(proposals: list[Proposal], scores: list[float], max_iou: float) -> list[Proposal]:
    """One proposal for each object, best first."""
    boxes = np.array([proposal.box for proposal in proposals], dtype=np.int64).reshape(-1, 4)
    return [proposals[row] for row in non_maximum_suppression(boxes, scores, max_iou)]


def _doubling(first: int, last: int) -> list[int]:
    """`first`, twice it and so on, up to the first that is at least `last`."""
    sides = [first]
    while sides[-1] < last:
        sides.append(2 * sides[-1])
    return sides


def _area(crop: Crop) -> int:
    x0, y0, x1, y1 = crop
    return (x1 - x0) * (y1 - y0)


def _corner_and_size(box: tuple[int, int, int, int]) -> list[float]:
    x0, y0, x1, y1 = box
    return [float(x0), float(y0), float(x1 - x0), float(y1 - y0)]
