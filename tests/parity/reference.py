"""PyPI `sam2==1.1.0`, built without torchvision, without CUDA and without a lasting hydra state.

What is changed on the reference, and why:

* **torchvision** is only used for three picture transforms and for box suppression. `_torchvision_stand_in` provides
  them with the documented results and is seen by `sam2` alone: it leaves `sys.modules` again after the import.
* **hydra** keeps one process-wide state, which importing `sam2` fills. It is emptied again; models are built inside a
  `with` block.
* **Holes** are only filled there by a compiled extension; without it the published code warns and goes on. The video
  predictor is built with `fill_hole_area = 0`; `compiled_components` lends it a plain component labelling for the
  cases that compare filling.
* **bfloat16 memories**: the published video predictor rounds every memory to bfloat16, even in float32. Where no object
  pointer is in reach it then stops with a dtype error, so memories are cast where the memory attention reads them.
  `smooth_memories` removes the rounding as well, for the cases that compare closely.
"""

from __future__ import annotations

import contextlib
import importlib.machinery
import sys
import types
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from typing import Any
from unittest import mock

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor, nn

CONFIGS = {
    f"{version}_hiera_{size}": f"configs/{version}/{version}_hiera_{letter}.yaml"
    for version in ("sam2", "sam2.1")
    for size, letter in (("tiny", "t"), ("small", "s"), ("base_plus", "b+"), ("large", "l"))
}
"""Name of a published checkpoint → its configuration."""


class _ToTensor:
    """HWC picture to a CHW tensor, 8-bit values to 0..1."""

    def __call__(self, picture: Any) -> Tensor:
        array = np.array(picture)
        array = array[:, :, None] if array.ndim == 2 else array
        chw = torch.from_numpy(np.ascontiguousarray(array.transpose(2, 0, 1)))
        return chw.float() / 255 if chw.dtype == torch.uint8 else chw


class _Resize(nn.Module):
    """What torchvision does with tensors: bilinear, antialiased."""

    def __init__(self, size: Sequence[int]) -> None:
        super().__init__()
        self.height, self.width = int(size[0]), int(size[1])

    def forward(self, chw: Tensor) -> Tensor:
        return F.interpolate(
            chw[None], size=[self.height, self.width], mode="bilinear", align_corners=False, antialias=True
        )[0]


class _Normalize(nn.Module):
    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.mean = torch.tensor(mean).view(-1, 1, 1)
        self.std = torch.tensor(std).view(-1, 1, 1)

    def forward(self, chw: Tensor) -> Tensor:
        return (chw - self.mean) / self.std


def box_area(boxes: Tensor) -> Tensor:
    """[N] areas of [N, 4] boxes (x0, y0, x1, y1)."""
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def batched_nms(boxes: Tensor, scores: Tensor, idxs: Tensor, iou_threshold: float) -> Tensor:
    """Indices of the boxes that stay, best first; boxes of different `idxs` never suppress each other."""
    order = scores.sort(descending=True, stable=True).indices
    kept: list[Tensor] = []
    while len(order):
        best, rest = order[0], order[1:]
        kept.append(best)
        order = rest[(_iou(boxes[best], boxes[rest]) <= iou_threshold) | (idxs[rest] != idxs[best])]
    return torch.stack(kept) if kept else order


def _iou(box: Tensor, others: Tensor) -> Tensor:
    top_left = torch.maximum(box[:2], others[:, :2])
    bottom_right = torch.minimum(box[2:], others[:, 2:])
    common = (bottom_right - top_left).clamp(min=0).prod(dim=1)
    return common / (box_area(box[None]) + box_area(others) - common)


def _torchvision_stand_in() -> dict[str, types.ModuleType]:
    modules = {
        name: types.ModuleType(name)
        for name in ("torchvision", "torchvision.transforms", "torchvision.ops", "torchvision.ops.boxes")
    }
    for name, module in modules.items():
        module.__spec__ = importlib.machinery.ModuleSpec(name, None)
    vars(modules["torchvision.transforms"]).update(ToTensor=_ToTensor, Resize=_Resize, Normalize=_Normalize)
    vars(modules["torchvision.ops.boxes"]).update(batched_nms=batched_nms, box_area=box_area)
    return modules


@cache
def sam2() -> types.SimpleNamespace:
    """The classes and modules of the reference that the tests use; imported once."""
    from hydra.core.global_hydra import GlobalHydra

    with mock.patch.dict(sys.modules, _torchvision_stand_in()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import sam2.automatic_mask_generator as automatic
        import sam2.build_sam as build
        import sam2.modeling.sam2_base as base
        import sam2.sam2_image_predictor as image
        import sam2.sam2_video_predictor as video
        import sam2.utils.misc as misc

        imported = {name: module for name, module in sys.modules.items() if name.split(".")[0] != "torchvision"}
    # Leaving patch.dict restores what stood in sys.modules before: keep the imports, drop the stand-in.
    for name, module in imported.items():
        sys.modules.setdefault(name, module)
    GlobalHydra.instance().clear()
    return types.SimpleNamespace(automatic=automatic, base=base, build=build, image=image, video=video, misc=misc)


def build_reference_model(
    name: str, *, image_size: int = 1024, as_video: bool = False, device: str = "cpu", vos_optimized: bool = False
) -> Any:
    """Reference model `name`, in evaluation mode. Its weights hold anything: load some, and move it again.

    Parameters
    ----------
    name : key of `CONFIGS`
    image_size : model side; the published video predictor works at 1024, 512 and 256
    as_video : whether to build the video predictor, whose defaults differ
    device : where to
    vos_optimized : of the video predictor: its parts are compiled when they are first used
    """
    from hydra import initialize_config_module

    package = sam2()
    build = package.build.build_sam2
    if as_video:
        build = partial(package.build.build_sam2_video_predictor, vos_optimized=vos_optimized)
    with initialize_config_module("sam2", version_base="1.2"), _no_initialisation():
        model = build(CONFIGS[name], device=device, hydra_overrides_extra=[f"++model.image_size={image_size}"])
    model.memory_attention.register_forward_pre_hook(_cast_memories, with_kwargs=True)
    return model


@contextlib.contextmanager
def _no_initialisation() -> Iterator[None]:
    """Random initial values cost seconds for the large model and are overwritten at once."""
    with contextlib.ExitStack() as stack:
        for name in ("kaiming_uniform_", "uniform_", "normal_"):
            stack.enter_context(mock.patch.object(nn.init, name, lambda tensor, *_, **__: tensor))
        yield


def _cast_memories(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    if torch.is_autocast_enabled("cuda"):
        return args, kwargs  # casts by itself
    return args, {**kwargs, "memory": kwargs["memory"].float(), "memory_pos": kwargs["memory_pos"].float()}


def build_reference_video_predictor(
    name: str,
    *,
    image_size: int = 1024,
    state: dict[str, Tensor] | None = None,
    device: str = "cpu",
    vos_optimized: bool = False,
    **attributes: Any,
) -> Any:
    """Published video predictor with weights `state`.

    `attributes` are set on the finished predictor (`non_overlap_masks=True`, …). Two defaults differ from the published
    ones: holes stay, and a corrected frame counts as prompted (`add_all_frames_to_correct_as_cond`), because without it
    the correction is lost at the next propagation.
    """
    predictor = build_reference_model(
        name, image_size=image_size, as_video=True, device=device, vos_optimized=vos_optimized
    )
    if state is not None:
        predictor.load_state_dict(state, assign=True)
        predictor.to(device)
    settings = {"fill_hole_area": 0, "add_all_frames_to_correct_as_cond": True, **attributes}
    for attribute, value in settings.items():
        if not hasattr(predictor, attribute):
            raise AttributeError(f"the reference video predictor has no setting {attribute!r}")
        setattr(predictor, attribute, value)
    return predictor


def build_reference_image_predictor(
    name: str,
    *,
    image_size: int = 1024,
    state: dict[str, Tensor] | None = None,
    device: str = "cpu",
    **settings: Any,
) -> Any:
    """Published image predictor with weights `state`; `settings` go to its constructor.

    The published one works at 1024 only because it names its feature sizes; they are set here.
    """
    model = build_reference_model(name, image_size=image_size, device=device)
    if state is not None:
        model.load_state_dict(state, assign=True)
        model.to(device)
    return reference_image_predictor(model, **settings)


def reference_image_predictor(model: Any, **settings: Any) -> Any:
    """Published image predictor over a model that is already built."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit.script is deprecated
        predictor = sam2().image.SAM2ImagePredictor(model, **settings)
    predictor._bb_feat_sizes = [(model.image_size // stride,) * 2 for stride in (4, 8, 16)]
    return predictor


def reference_mask_generator(model: Any, **settings: Any) -> Any:
    """Published automatic mask generator over a model that is already built."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit.script is deprecated
        generator = sam2().automatic.SAM2AutomaticMaskGenerator(model, **settings)
    generator.predictor._bb_feat_sizes = [(model.image_size // stride,) * 2 for stride in (4, 8, 16)]
    return generator


class _TorchWithFloat32Memories(types.ModuleType):
    """Stands for `torch` inside the video predictor's module, where bfloat16 is named for memories alone."""

    bfloat16 = torch.float32

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)


@contextlib.contextmanager
def silent() -> Iterator[None]:
    """Within this block the reference draws no progress bars."""
    bare = lambda iterable, **_: iterable  # noqa: E731
    with mock.patch.object(sam2().video, "tqdm", bare), mock.patch.object(sam2().misc, "tqdm", bare):
        yield


@contextlib.contextmanager
def loading(loader: Callable[..., tuple[Tensor, int, int]]) -> Iterator[None]:
    """Within this block the reference's `init_state` gets its frames, height and width from `loader`."""
    with mock.patch.object(sam2().video, "load_video_frames", loader):
        yield


@contextlib.contextmanager
def smooth_memories() -> Iterator[None]:
    """Within this block the reference remembers without two steps that make the last bit of a logit visible.

    Memories stay in float32 instead of being rounded to bfloat16; and prompted frames are remembered by their
    probabilities, as tracked ones are, instead of by their thresholded masks. A mask has 65,000 pixels or more, so one
    of them often lies within rounding of the threshold, and one that changes sides changes the masks of the following
    frames by up to 1e-2 of their standard deviation, in the reference on another number of threads as well.
    """
    base = sam2().base.SAM2Base
    encode = base._encode_new_memory

    def without_threshold(model: Any, *args: Any, **kwargs: Any) -> Any:
        return encode(model, *args, **{**kwargs, "is_mask_from_pts": False})

    with (
        mock.patch.object(sam2().video, "torch", _TorchWithFloat32Memories("torch")),
        mock.patch.object(base, "_encode_new_memory", without_threshold),
    ):
        yield


def labelled_components(foreground: Tensor) -> tuple[Tensor, Tensor]:
    """8-connected labels and areas of [N, 1, H, W] masks: what the reference's CUDA extension gives."""
    labels, areas = torch.zeros_like(foreground, dtype=torch.int64), torch.zeros_like(foreground, dtype=torch.int64)
    for index, mask in enumerate(foreground[:, 0].numpy()):
        numbered, _ = ndimage.label(mask, structure=np.ones((3, 3)))
        sizes = np.bincount(numbered.ravel())
        sizes[0] = 0
        labels[index, 0] = torch.from_numpy(numbered.astype(np.int64))
        areas[index, 0] = torch.from_numpy(sizes[numbered])
    return labels, areas


@contextlib.contextmanager
def compiled_components() -> Iterator[None]:
    """Within this block the reference fills holes and removes specks as it does where its extension is compiled."""
    with mock.patch.object(sam2().misc, "get_connected_components", labelled_components):
        yield
