"""`SAM2VideoPredictor`: the published names over `Session`.

Letters: N objects · H W video size.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from .budget import Budget
from .errors import PromptError, SessionError
from .frames import open_frames
from .looking import WindowChoice
from .memory import Direction, RecentFrames
from .model import PointKind, Sam2
from .model_graphs import GraphedSteps
from .placement import Placement, format_around
from .prompts import Box, Click, ObjectId, Prompts
from .session import Session
from .shortcuts import EXACT, Shortcuts
from .tracking import Tracker

Answer = tuple[int, list[ObjectId], Tensor]


@dataclass(frozen=True, slots=True, eq=False)
class VideoState:
    """What `init_state` gives and every other method takes; ``session`` is the same state under our own names."""

    session: Session

    def __getitem__(self, key: str) -> Any:
        """The entries of the published state that notebooks read."""
        session = self.session
        match key:
            case "num_frames":
                return session.num_frames
            case "video_height":
                return session.size[0]
            case "video_width":
                return session.size[1]
            case "obj_ids":
                return list(session.objects)
        raise KeyError(f"{key!r} is not part of this state; use state.session instead")


class SAM2VideoPredictor:
    """Prompt objects in a video and propagate them; arguments, results and order as published.

    Parameters
    ----------
    model : from `build_sam2`, or a published name through `from_pretrained`
    fill_hole_area, max_island_area : background holes and specks up to this many cells of the mask grid are removed
        from the results, on every device. The published code fills holes on CUDA only, and lets the filled mask into
        its memories; here memories never depend on it
    non_overlap_masks : at most one object has a pixel
    clear_non_cond_mem_around_input : a correction also drops the memories of the frames around it
    add_all_frames_to_correct_as_cond : whether corrections on tracked frames stay. The published default, False, loses
        them at the next propagation
    max_cond_frames_in_attn : prompted frames to look at, -1 for all
    memory_temporal_stride_for_eval : distance of recent memories
    window : ``auto`` or ``whole``, as in `Session`
    budget : how much may be kept for each video, as in `Session`
    shortcuts : what is left out of looking at memories, to be quicker; nothing when not given
    graphs : play the model's steps back from CUDA graphs where they can be recorded, with the same results
    """

    def __init__(
        self,
        model: Sam2,
        *,
        fill_hole_area: int = 0,
        max_island_area: int = 0,
        non_overlap_masks: bool = False,
        clear_non_cond_mem_around_input: bool = False,
        add_all_frames_to_correct_as_cond: bool = True,
        max_cond_frames_in_attn: int = -1,
        memory_temporal_stride_for_eval: int = 1,
        window: WindowChoice = None,
        budget: Budget | None = None,
        shortcuts: Shortcuts = EXACT,
        graphs: bool = False,
    ) -> None:
        self.model = model
        self.fill_hole_area = fill_hole_area
        self.max_island_area = max_island_area
        self.non_overlap_masks = non_overlap_masks
        self.clear_non_cond_mem_around_input = clear_non_cond_mem_around_input
        self.add_all_frames_to_correct_as_cond = add_all_frames_to_correct_as_cond
        self.max_cond_frames_in_attn = max_cond_frames_in_attn
        self.memory_temporal_stride_for_eval = memory_temporal_stride_for_eval
        self.window = window
        self.budget = budget
        self.shortcuts = shortcuts
        self._steps = GraphedSteps(model) if graphs else None

    @classmethod
    def from_pretrained(cls, model_id: str | Path, **settings: Any) -> SAM2VideoPredictor:
        """A predictor with the weights of a name, a folder, a file, or ``'default'``.

        `settings` go to the constructor; ``device`` chooses where it runs.
        """
        from .build import build_sam2_video_predictor_hf

        return build_sam2_video_predictor_hf(str(model_id), **settings)

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(self.model.parameters()).device

    @property
    def image_size(self) -> int:
        """Side of the model input."""
        return self.model.config.image_side

    def to(self, device: torch.device | str) -> SAM2VideoPredictor:
        """Move the model."""
        self.model.to(device)
        return self

    def init_state(
        self,
        video_path: Any,
        offload_video_to_cpu: bool = False,
        offload_state_to_cpu: bool = False,
        async_loading_frames: bool = False,
    ) -> VideoState:
        """Open a video.

        Parameters
        ----------
        video_path : a folder of images, a video file, an array ``[T, H, W(, C)]``, a TIFF, zarr or dask stack, a list
            of images: anything `sam2_engine.frames.open_frames` takes
        offload_state_to_cpu : keep memories in main memory
        offload_video_to_cpu, async_loading_frames : taken for compatibility; frames are always read when needed
        """
        del offload_video_to_cpu, async_loading_frames
        store = torch.device("cpu") if offload_state_to_cpu else None
        placement = Placement(self.device, compute=format_around(self.device), store=store)
        tracker = Tracker(self.model, placement, resize_filter="pillow", shortcuts=self.shortcuts, steps=self._steps)
        session = Session(
            open_frames(video_path),
            tracker,
            policy=lambda: self._policy(tracker),
            exclusive=self.non_overlap_masks,
            max_hole_area=self.fill_hole_area,
            max_island_area=self.max_island_area,
            corrections_stay=self.add_all_frames_to_correct_as_cond,
            window=self.window,
            budget=self.budget,
        )
        return VideoState(session)

    def _policy(self, tracker: Tracker) -> RecentFrames:
        config = tracker.config
        return RecentFrames(
            config.num_slots,
            stride=self.memory_temporal_stride_for_eval,
            max_prompted=None if self.max_cond_frames_in_attn < 0 else self.max_cond_frames_in_attn,
            max_pointers=config.max_pointers,
            signed=config.pointer_times,
            forget_around_corrections=self.clear_non_cond_mem_around_input,
        )

    def add_new_points_or_box(
        self,
        inference_state: VideoState,
        frame_idx: int,
        obj_id: ObjectId,
        points: ArrayLike | Tensor | None = None,
        labels: ArrayLike | Tensor | None = None,
        clear_old_points: bool = True,
        normalize_coords: bool = True,
        box: ArrayLike | Tensor | None = None,
    ) -> Answer:
        """Prompt an object with clicks and a box.

        Parameters
        ----------
        points : [P, 2] (x, y) in video pixels, or from 0 to 1 with `normalize_coords` False
        labels : [P], 1 positive and 0 negative
        clear_old_points : replace the clicks of this frame instead of adding to them
        box : [4] (x0, y0, x1, y1)

        Returns
        -------
        frame_idx, the ids of all objects, mask logits [N, 1, H, W] at video size; -1024 where an object is not known
        """
        session = inference_state.session
        if (points is None) != (labels is None):
            raise PromptError("points and labels must be given together")
        if points is None and box is None:
            raise PromptError("give points with labels, or a box, or both")
        if box is not None and not clear_old_points:
            raise PromptError("a box comes before clicks: give it with clear_old_points=True")
        scale = np.ones(2) if normalize_coords else np.array(session.size[::-1], dtype=np.float64)
        said = _spoken(points, labels, box, scale)
        if not clear_old_points:
            before = _said(session, obj_id).get(frame_idx)
            if before is not None and before.mask is None:
                said = Prompts((*before.clicks, *said.clicks), before.box)
        session.prompt(obj_id, frame_idx, said, from_scratch=False)
        return self._answer(session, frame_idx)

    def add_new_points(self, *args: Any, **kwargs: Any) -> Answer:
        """The older name of `add_new_points_or_box`."""
        return self.add_new_points_or_box(*args, **kwargs)

    def add_new_mask(
        self, inference_state: VideoState, frame_idx: int, obj_id: ObjectId, mask: ArrayLike | Tensor
    ) -> Answer:
        """Prompt an object with a mask ``[H, W]``; another size is stretched to the video."""
        session = inference_state.session
        plane = _as_numpy(mask)
        if plane.ndim != 2:
            raise PromptError(f"a mask is [H, W], got {plane.shape}")
        session.prompt(obj_id, frame_idx, Prompts(mask=_stretched(plane.astype(bool), session.size)))
        return self._answer(session, frame_idx)

    def propagate_in_video(
        self,
        inference_state: VideoState,
        start_frame_idx: int | None = None,
        max_frame_num_to_track: int | None = None,
        reverse: bool = False,
    ) -> Iterator[Answer]:
        """Track all objects from a frame on; starts at the earliest prompted frame when not given.

        Yields frame, ids and mask logits ``[N, 1, H, W]`` for every frame; close the generator to stop.
        """
        session = inference_state.session
        if start_frame_idx is None:
            start_frame_idx = _first_prompted(session)
        if reverse and start_frame_idx == 0:
            return
        direction: Direction = -1 if reverse else 1
        steps = session.steps(direction, start=start_frame_idx, max_frames=max_frame_num_to_track, anchored=False)
        for frame, entries in steps:
            logits = session.image_logits(frame, entries)
            session.keep_masks(frame, entries, logits)
            yield frame, list(entries), torch.cat(list(logits.values()))

    def clear_all_prompts_in_frame(
        self, inference_state: VideoState, frame_idx: int, obj_id: ObjectId, need_output: bool = True
    ) -> Answer | None:
        """Take back all prompts of an object on a frame."""
        inference_state.session.clear(obj_id, frame_idx, keep_memory=True)
        return self._answer(inference_state.session, frame_idx) if need_output else None

    def remove_object(
        self, inference_state: VideoState, obj_id: ObjectId, strict: bool = False, need_output: bool = True
    ) -> tuple[list[ObjectId], list[tuple[int, Tensor]]]:
        """Forget an object.

        Returns
        -------
        The ids that remain, and (frame, mask logits) of every frame that was prompted for the removed object.
        """
        session = inference_state.session
        if obj_id not in session.objects:
            if strict:
                session.prompts(obj_id)  # raises and says which objects there are
            return list(session.objects), []
        touched = sorted(session.prompts(obj_id))
        session.remove(obj_id)
        if not need_output or not session.objects:
            return list(session.objects), []
        return list(session.objects), [(frame, self._answer(session, frame)[2]) for frame in touched]

    def reset_state(self, inference_state: VideoState) -> None:
        """Forget all objects."""
        inference_state.session.reset()

    def _answer(self, session: Session, frame: int) -> Answer:
        """What is known of all objects on a frame; -1024 for those that are not known there."""
        return frame, list(session.objects), session.known_logits(frame)


def _first_prompted(session: Session) -> int:
    frames = [frame for obj in session.objects for frame in session.anchors(obj)]
    if not frames:
        raise SessionError("nothing to propagate: add points, a box or a mask first")
    return min(frames)


def _said(session: Session, obj: ObjectId) -> dict[int, Prompts]:
    return dict(session.prompts(obj)) if obj in session.objects else {}


def _spoken(
    points: ArrayLike | Tensor | None, labels: ArrayLike | Tensor | None, box: ArrayLike | Tensor | None, scale: Any
) -> Prompts:
    """Prompts from the published arguments; points may carry box corners as labels 2 and 3 as well."""
    xy = np.zeros((0, 2)) if points is None else _as_numpy(points).astype(np.float64).reshape(-1, 2) * scale
    kinds = np.zeros(0) if labels is None else _as_numpy(labels).reshape(-1)
    if len(xy) != len(kinds):
        raise PromptError(f"{len(xy)} points need as many labels, got {len(kinds)}")
    if not np.isin(kinds, (0, 1, 2, 3)).all():
        raise PromptError(f"point labels are 1 (positive) or 0 (negative), got {sorted(set(kinds.tolist()))}")
    corners = xy[np.isin(kinds, (PointKind.BOX_TOP_LEFT, PointKind.BOX_BOTTOM_RIGHT))]
    if box is not None:
        corners = _as_numpy(box).astype(np.float64).reshape(-1, 2) * scale
    if len(corners) not in (0, 2):
        raise PromptError(f"a box is 4 numbers (x0, y0, x1, y1), got {corners.size}")
    frame = Box(*(float(v) for v in corners.reshape(-1))) if len(corners) else None
    clicks = tuple(
        Click(float(x), float(y), bool(kind)) for (x, y), kind in zip(xy, kinds, strict=True) if kind in (0, 1)
    )
    return Prompts(clicks, frame)


def _as_numpy(values: ArrayLike | Tensor) -> NDArray[Any]:
    return values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)


def _stretched(mask: NDArray[np.bool_], size: tuple[int, int]) -> NDArray[np.bool_]:
    if mask.shape == size:
        return mask
    from PIL import Image

    return np.asarray(Image.fromarray(mask).resize((size[1], size[0]), Image.Resampling.NEAREST))
