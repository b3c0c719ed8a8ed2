"""Masks on single images from clicks, boxes and masks, by the names people know from facebookresearch/sam2.

Letters: B objects · N points · M masks (3, or 1 without `multimask_output`) · H W image · s side of the mask logits,
a quarter of the model's side · C channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from .build import build_sam2_hf, split_settings
from .encoded_images import EncodedImages, Finish, decode_prompts, encode_images, row_groups, tracker_for
from .errors import ImageError, PromptError, SessionError
from .geometry import Window
from .image_prompts import PromptArrays
from .looking import Known, WindowChoice, rule_for
from .model import PromptTensors, Sam2
from .model_graphs import GraphedSteps
from .pixels import as_picture
from .prompts import Prompts
from .stored_features import SharedFeatures
from .tracking import PREVIOUS_LOGIT_LIMIT
from .windowed_images import Offer, WindowedImage, WindowLogits, known_from

Masks = NDArray[np.float32]
Prediction = tuple[Masks, NDArray[np.float32], NDArray[np.float32]]


class SAM2ImagePredictor:
    """Encodes an image once and answers any number of prompts on it.

    Parameters
    ----------
    sam_model : from `build_sam2` or `load_model`
    mask_threshold : foreground is where the mask logits are above it
    max_hole_area, max_sprinkle_area : holes up to this area are filled and islands up to it removed, in cells of the
        mask logits [s, s]; 0 leaves them. The result is the same on every device and in every installation.
    window : ``auto`` looks at each object through a window around it, ``whole`` at whole images; as the model was
        trained when not given, so published models see whole images
    graphs : play the model's steps back from CUDA graphs where they can be recorded, with the same results
    features : where features of whole images are kept and found again, see `sam2_engine.kept_features.open_features`

    Notes
    -----
    The interface of ``SAM2ImagePredictor`` in facebookresearch/sam2 at 2b90b9f. Unlike it, any side of the model works,
    images of every dtype and number of channels are taken, prompts are checked, and a call that fails leaves the
    image that was set in place. An autocast block around a call decides its numbers, as there.
    """

    def __init__(
        self,
        sam_model: Sam2,
        mask_threshold: float = 0.0,
        max_hole_area: float = 0.0,
        max_sprinkle_area: float = 0.0,
        window: WindowChoice = None,
        *,
        graphs: bool = False,
        features: SharedFeatures | None = None,
    ) -> None:
        self.window = window
        self.model = sam_model
        self.mask_threshold = mask_threshold
        self.max_hole_area = max_hole_area
        self.max_sprinkle_area = max_sprinkle_area
        self._steps = GraphedSteps(sam_model) if graphs else None
        self._kept = features
        self._images: EncodedImages | None = None
        self._windowed: list[WindowedImage] | None = None
        self._is_batch = False

    @classmethod
    def from_pretrained(cls, model_id: str | PathLike[str], **kwargs: Any) -> SAM2ImagePredictor:
        """A predictor with trained weights.

        Parameters
        ----------
        model_id : a Hugging Face name such as ``facebook/sam2.1-hiera-tiny``, a folder, a file, or ``default`` for the
            model that comes with this package
        **kwargs : of `build_sam2_hf` and of this class

        Raises
        ------
        TypeError
            A keyword that neither knows.
        """
        for_model, for_predictor = split_settings(kwargs, cls)
        return cls(build_sam2_hf(model_id, **for_model), **for_predictor)

    @property
    def device(self) -> torch.device:
        """Where the model is now."""
        return next(self.model.parameters()).device

    def set_image(self, image: ArrayLike | Any) -> None:
        """Encode an image; `predict` works on it until another one is set.

        Parameters
        ----------
        image : [H, W] or [H, W, C] of any dtype and memory order, or a PIL image; see
            `sam2_engine.pixels.as_picture`

        Raises
        ------
        ImageError
            It cannot be used; the image set before stays.
        """
        self._set([image], is_batch=False)

    def set_image_batch(self, image_list: Sequence[ArrayLike | Any]) -> None:
        """Encode several images, which may differ in size, for `predict_batch`.

        Raises
        ------
        ImageError
            No list, an empty one, or an image that cannot be used; what was set before stays.
        """
        if not isinstance(image_list, (list, tuple)) or not image_list:
            given = "an empty list" if isinstance(image_list, (list, tuple)) else type(image_list).__name__
            raise ImageError(f"set_image_batch takes a list of at least one image, got {given}; see set_image for one")
        self._set(image_list, is_batch=True)

    def _set(self, images: Sequence[ArrayLike | Any], *, is_batch: bool) -> None:
        pictures = [as_picture(image) for image in images]
        rule = rule_for(self.model.config, self.window)
        if rule is None:
            encoded = encode_images(self.model, pictures, steps=self._steps, kept=self._kept)
            self._images, self._windowed = encoded, None
        else:
            # Nothing is encoded yet: where to look is only known once something is said.
            tracker = tracker_for(self.model, self._steps)
            self._images, self._windowed = None, [WindowedImage(tracker, picture, rule) for picture in pictures]
        self._is_batch = is_batch

    def predict(
        self,
        point_coords: ArrayLike | Tensor | None = None,
        point_labels: ArrayLike | Tensor | None = None,
        box: ArrayLike | Tensor | None = None,
        mask_input: ArrayLike | Tensor | None = None,
        multimask_output: bool = True,
        return_logits: bool = False,
        normalize_coords: bool = True,
    ) -> Prediction:
        """Segment one object, or B objects at once, on the image that is set.

        Parameters
        ----------
        point_coords : [N, 2] or [B, N, 2], (x, y) in image pixels, each inside the image
        point_labels : [N] or [B, N], 1 positive and 0 negative; 2 and 3 are the corners of a box, -1 is no point
        box : [4] or [B, 4], (x0, y0, x1, y1) in image pixels
        mask_input : [1, s, s] or [B or 1, 1, s, s] mask logits, most often of a call before
        multimask_output : three candidates, which suits ambiguous prompts such as a single click; else one mask
        return_logits : mask logits at image size instead of masks
        normalize_coords : False where points and boxes are given in fractions of width and height

        Returns
        -------
        masks : [M, H, W] float32, 0 or 1 (or logits)
        iou_predictions : [M] float32, 0 to 1
        low_res_masks : [M, s, s] float32 mask logits within ±32, fit for `mask_input`

        Each with a leading axis B where there are several objects.

        Raises
        ------
        PromptError
            A prompt cannot be used as given.
        SessionError
            No image is set, or a batch of images is.
        """
        self._check_set(batch=False)
        arrays = PromptArrays(point_coords, point_labels, box, mask_input, normalize_coords)
        if self._windowed is not None:
            said = self._said(self._windowed[0], arrays)
            return self._look(self._windowed[0], said, multimask_output, return_logits)
        images = self._whole()
        prompts = self._prompt_tensors(images, 0, arrays)
        return self._segment(images, 0, prompts, multimask_output, return_logits)

    def predict_batch(
        self,
        point_coords_batch: Sequence[ArrayLike | Tensor | None] | None = None,
        point_labels_batch: Sequence[ArrayLike | Tensor | None] | None = None,
        box_batch: Sequence[ArrayLike | Tensor | None] | None = None,
        mask_input_batch: Sequence[ArrayLike | Tensor | None] | None = None,
        multimask_output: bool = True,
        return_logits: bool = False,
        normalize_coords: bool = True,
    ) -> tuple[list[Masks], list[NDArray[np.float32]], list[NDArray[np.float32]]]:
        """Segment objects on each of the images set by `set_image_batch`.

        Parameters
        ----------
        point_coords_batch, point_labels_batch, box_batch, mask_input_batch : for each image, what `predict` takes
        multimask_output, return_logits, normalize_coords : as in `predict`

        Returns
        -------
        Three lists with, for each image, what `predict` returns.

        Raises
        ------
        PromptError
            A list has another length than there are images, or a prompt cannot be used; nothing was decoded then.
        SessionError
            No batch of images is set.
        """
        self._check_set(batch=True)
        count = len(self._windowed) if self._windowed is not None else len(self._whole().resizes)
        points = _per_image(point_coords_batch, count, "point_coords_batch")
        labels = _per_image(point_labels_batch, count, "point_labels_batch")
        boxes = _per_image(box_batch, count, "box_batch")
        masks_in = _per_image(mask_input_batch, count, "mask_input_batch")
        arrays = [
            PromptArrays(points[index], labels[index], boxes[index], masks_in[index], normalize_coords)
            for index in range(count)
        ]
        if self._windowed is not None:
            everything = [
                self._said(image, given, f"image {index}: ")
                for index, (image, given) in enumerate(zip(self._windowed, arrays, strict=True))
            ]
            results = [
                self._look(image, said, multimask_output, return_logits)
                for image, said in zip(self._windowed, everything, strict=True)
            ]
        else:
            images = self._whole()
            prompts = [
                self._prompt_tensors(images, index, given, f"image {index}: ") for index, given in enumerate(arrays)
            ]
            results = [
                self._segment(images, index, prompt, multimask_output, return_logits)
                for index, prompt in enumerate(prompts)
            ]
        masks, ious, low_res = zip(*results, strict=True)
        return list(masks), list(ious), list(low_res)

    def get_image_embedding(self) -> Tensor:
        """The embedding of the image that is set, [1, C, S/16, S/16] for a model of side S; [B, …] for a batch.

        It is the embedding of a frame that stands alone, as decoded by `predict`, and a copy.

        Raises
        ------
        SessionError
            No image is set.
        """
        self._check_set()
        if self._windowed is None:
            return self._whole().view.clone()
        tracker = tracker_for(self.model)
        with tracker.placement.active():
            whole = [image.encode([Window.whole(image.size)]).embedding for image in self._windowed]
            return tracker.model.condition(torch.cat(whole), None)

    def reset_predictor(self) -> None:
        """Forget the image."""
        self._images = self._windowed = None
        self._is_batch = False

    @property
    def _features(self) -> dict[str, Any] | None:
        # The published notebook prints the shapes in here.
        if self._windowed is not None:
            whole = self._windowed[0].encode([None])
            return {"image_embed": self.get_image_embedding(), "high_res_feats": list(whole.skips)}
        if self._images is None:
            return None
        return {"image_embed": self._images.view, "high_res_feats": list(self._images.skips)}

    def _whole(self) -> EncodedImages:
        assert self._images is not None, "whole images are set"
        return self._images

    def _check_set(self, *, batch: bool | None = None) -> None:
        """Raise SessionError where nothing is set; `batch` says which call must have set it."""
        if self._images is None and self._windowed is None:
            wanted = "set_image_batch" if batch else "set_image"
            raise SessionError(f"no image is set; call {wanted} first")
        if batch is not None and batch != self._is_batch:
            took, call = ("set_image_batch", "predict_batch") if self._is_batch else ("set_image", "predict")
            raise SessionError(f"the current image was set by {took}; call {call} for it, or set another one")

    def _prompt_tensors(
        self, images: EncodedImages, index: int, arrays: PromptArrays, where: str = ""
    ) -> PromptTensors:
        try:
            return arrays.to_tensors(images.resizes[index], images.mask_side, images.view.device)
        except PromptError as error:
            if not where:
                raise
            raise PromptError(f"{where}{error}") from error

    def _said(self, image: WindowedImage, arrays: PromptArrays, where: str = "") -> list[tuple[Prompts, Known | None]]:
        """What is said and known of each object of an image."""
        try:
            prompts = arrays.to_prompts(image.resize(None))
            known = [known_from(arrays.mask, row, self.model.config.mask_side) for row in range(len(prompts))]
            for row, (one, before) in enumerate(zip(prompts, known, strict=True)):
                if one.is_empty and before is None:
                    raise PromptError(
                        f"object {row} has neither a click nor a box nor a mask: all its labels are -1, which is no "
                        "point; give one of them"
                    )
        except PromptError as error:
            if not where:
                raise
            raise PromptError(f"{where}{error}") from error
        return list(zip(prompts, known, strict=True))

    def _look(
        self, image: WindowedImage, said: list[tuple[Prompts, Known | None]], multimask: bool, return_logits: bool
    ) -> Prediction:
        """As `_segment`, through a window for each object."""
        offers = [image.answer(prompts, known, multimask=multimask) for prompts, known in said]
        finish = Finish(self.max_hole_area, self.max_sprinkle_area, self.mask_threshold)
        masks = np.stack([self._shown(offer, image, finish, as_logits=return_logits) for offer in offers])
        ious = torch.stack([offer.ious for offer in offers]).cpu().numpy()
        low_res = torch.stack([offer.logits for offer in offers]).clamp(-PREVIOUS_LOGIT_LIMIT, PREVIOUS_LOGIT_LIMIT)
        logits = WindowLogits(low_res.cpu().numpy(), [offer.window for offer in offers])
        return (masks[0], ious[0], logits[0]) if len(offers) == 1 else (masks, ious, logits)

    def _shown(self, offer: Offer, image: WindowedImage, finish: Finish, *, as_logits: bool) -> Masks:
        """Masks [M, H, W] of one object at image size."""
        planes = finish.at_image_size(offer.logits[None], image.resize(offer.window))[0]
        shown: Masks = (planes if as_logits else planes > self.mask_threshold).float().cpu().numpy()
        return shown

    def _segment(
        self, images: EncodedImages, index: int, prompts: PromptTensors, multimask: bool, return_logits: bool
    ) -> Prediction:
        """Masks, predicted IoU and mask logits, without the axis B where it is 1."""
        offered = decode_prompts(
            self.model, images, index, prompts, multimask=multimask, steps=self._steps, fine_edges=True
        )
        masks = self._at_image_size(offered.logits, images, index, as_logits=return_logits)
        low_res = offered.logits.clamp(-PREVIOUS_LOGIT_LIMIT, PREVIOUS_LOGIT_LIMIT).cpu().numpy()
        ious = offered.iou.cpu().numpy()
        return (masks[0], ious[0], low_res[0]) if len(masks) == 1 else (masks, ious, low_res)

    def _at_image_size(self, logits: Tensor, images: EncodedImages, index: int, *, as_logits: bool) -> Masks:
        """Masks [B, M, H, W] float32 on the CPU; a group of objects at a time, since float logits are large."""
        resize = images.resizes[index]
        finish = Finish(self.max_hole_area, self.max_sprinkle_area, self.mask_threshold)
        objects, candidates = logits.shape[:2]
        height, width = resize.size
        masks = np.empty((objects, candidates, height, width), dtype=np.float32)
        for rows in row_groups(objects, candidates * height * width):
            at_image = finish.at_image_size(logits[rows], resize)
            shown = torch.from_numpy(masks[rows])
            if as_logits:
                shown.copy_(at_image)
            else:
                # Straight to 0.0 and 1.0 where they are wanted, without a plane of bool between.
                torch.gt(at_image.cpu(), self.mask_threshold, out=shown)
        return masks


def _per_image(column: Sequence[Any] | None, count: int, name: str) -> Sequence[Any]:
    """One entry for each image; None stands for none at all."""
    if column is None:
        return [None] * count
    if len(column) != count:
        raise PromptError(f"{name} must have one entry for each of the {count} images, got {len(column)}")
    return column
