"""Everything on a device that is not there: a process of its own, run by test_devices.py.

A tensor of the device holds one of the processor and computes with it, so results are exact; but tensors of both kinds
never meet in one operation, nor do those of the device become arrays, as it would be on a GPU.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

# Views of subclasses want versions, which tensors of inference have not.
torch.inference_mode = lambda mode=True: torch.no_grad()

_setup_privateuseone_for_python_backend()
torch.privateuseone.get_amp_supported_dtype = lambda: [torch.bfloat16]
DEVICE = torch.device("privateuseone", 0)

from sam2_engine import Box, Click, Prompts, Session  # noqa: E402
from sam2_engine.automatic import SAM2AutomaticMaskGenerator  # noqa: E402
from sam2_engine.config import MODELS  # noqa: E402
from sam2_engine.deciding import FrameDecider  # noqa: E402
from sam2_engine.image_predictor import SAM2ImagePredictor  # noqa: E402
from sam2_engine.legs import Leg  # noqa: E402
from sam2_engine.model import Sam2  # noqa: E402
from sam2_engine.patches import MaskPatch  # noqa: E402
from sam2_engine.placement import Placement  # noqa: E402
from sam2_engine.tracking import Tracker  # noqa: E402
from sam2_engine.video_predictor import SAM2VideoPredictor  # noqa: E402
from sam2_engine.walking import Walker  # noqa: E402

MAY_MEET = ("copy_", "index", "index_put_", "to", "_to_copy")
"""Operations that take tensors of the processor to a GPU, or as indices."""


class There(torch.Tensor):
    """A tensor of the device."""

    held: torch.Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, held: torch.Tensor) -> There:
        shape = {"strides": held.stride(), "storage_offset": held.storage_offset(), "dtype": held.dtype}
        made: There = torch.Tensor._make_wrapper_subclass(cls, held.size(), **shape, device=DEVICE)
        made.held = held
        return made

    def tolist(self) -> Any:
        return self.held.tolist()

    def numpy(self, **_: Any) -> Any:
        raise TypeError("a tensor of a device is no array; copy it to the processor first")

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return compute(func, args, kwargs or {})


def compute(func: Any, args: Any, kwargs: Any) -> Any:
    """An operation, on what the tensors hold."""
    name, leaves = func.overloadpacket.__name__, tree_leaves((args, kwargs))
    there = [leaf for leaf in leaves if isinstance(leaf, There)]
    here = [leaf for leaf in leaves if isinstance(leaf, torch.Tensor) and not isinstance(leaf, There) and leaf.ndim]
    if there and here and name not in MAY_MEET:
        raise RuntimeError(f"{func} was given tensors of two devices")
    devices = [leaf for leaf in leaves if isinstance(leaf, torch.device)]
    goes_there = devices[-1].type == DEVICE.type if devices else bool(there)
    if name in MAY_MEET and not devices:
        goes_there = isinstance(args[0], There)
    own = {id(tensor.held): tensor for tensor in there}

    def held(leaf: Any) -> Any:
        if isinstance(leaf, torch.device):
            return torch.device("cpu")
        return leaf.held if isinstance(leaf, There) else leaf

    def taken(found: Any) -> Any:
        if not isinstance(found, torch.Tensor) or not goes_there:
            return found
        return own[id(found)] if id(found) in own else There(found)

    return tree_map(lambda found: taken(found), func(*tree_map(held, args), **tree_map(held, kwargs)))


class Device(TorchDispatchMode):
    """Within it the device is there."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return compute(func, args, kwargs or {})


@contextmanager
def device_is_there() -> Iterator[None]:
    plain = torch.tensor

    def made(data: Any, *, device: Any = None, **kwargs: Any) -> torch.Tensor:
        found = plain(data, **kwargs)
        return There(found) if device is not None and torch.device(device).type == DEVICE.type else found

    torch.tensor = made
    with Device():
        yield
    torch.tensor = plain


def model(*, windows: bool, as_published: bool, is_there: bool) -> Sam2:
    torch.manual_seed(3)
    config = replace(MODELS["nano"].at_side(64), object_windows=windows)
    if as_published:
        config = replace(config, drawn_prompts=False, refines_mask=False, previous_logits=False)
    made = Sam2(config).eval().requires_grad_(False)
    for mixer in made.sam_mask_decoder.output_hypernetworks_mlps:
        torch.nn.init.normal_(mixer.layers[-1].weight, std=0.5)
    torch.nn.init.constant_(made.sam_mask_decoder.pred_obj_score_head.layers[-1].bias, 2.0)
    for module in made.modules() if is_there else ():
        for name, parameter in list(module._parameters.items()):
            module._parameters[name] = torch.nn.Parameter(There(parameter.data), requires_grad=False)
        for name, buffer in list(module._buffers.items()):
            module._buffers[name] = There(buffer)
    return made


def clip() -> Any:
    rows, columns = np.indices((40, 48))
    frames = []
    for t in range(6):
        frame = 20 + 10 * np.sin(rows / 5) * np.cos(columns / 7)
        for row, column in ((10 + t, 12), (28, 34 - t)):
            frame = np.where((rows - row) ** 2 + (columns - column) ** 2 < 36, 200, frame)
        frames.append(frame)
    return np.stack(frames).astype(np.uint8)


MASK = np.zeros((40, 48), dtype=bool)
MASK[5:12, 5:12] = True


def session(network: Sam2, placement: Placement) -> list[Any]:
    found: list[Any] = []
    for follow in ("memory", "match"):
        with Session(clip(), Tracker(network, placement), max_hole_area=4, exclusive=True, follow=follow) as made:
            made.prompt("a", 0, Prompts((Click(12, 10),)))
            found.append(made.prompt("a", 0, Prompts((Click(12, 10), Click(30, 30, False)))))
            made.prompt("b", 2, Prompts(box=Box(28, 22, 40, 34)))
            made.prompt("c", 1, Prompts(mask=MASK))
            found += [mask for frame in made.propagate("both") for mask in frame.masks.values()]
            found.append(made.prompt("a", 4, Prompts((Click(14, 14),))))
            found += [mask for frame in made.propagate() for mask in frame.masks.values()]
    return found


def walker(network: Sam2, placement: Placement) -> list[Any]:
    made = Walker(clip(), Tracker(network, placement))
    patch = MaskPatch.pack(MASK)
    strides = made.walk([Leg("a", 1, 1, 5)], {"a": (0,)}, lambda _, frame: patch if frame == 0 else None)
    return [found.patch.unpack((40, 48)) for stride in strides for found in stride.found.values()]


def single_images(network: Sam2, placement: Placement) -> list[Any]:
    predictor, image = SAM2ImagePredictor(network, max_hole_area=4), clip()[0]
    predictor.set_image(image)
    masks, _, logits = predictor.predict(np.array([[12, 10]]), np.array([1]))
    again, _, _ = predictor.predict(np.array([[12, 10], [30, 30]]), np.array([1, 0]), mask_input=logits[:1])
    boxed, _, _ = predictor.predict(box=np.array([[5, 5, 20, 20], [28, 22, 40, 34]]), multimask_output=False)
    found = SAM2AutomaticMaskGenerator(network, points_per_side=4, pred_iou_thresh=0.0).generate(image)
    return [masks, again, boxed, *[one["segmentation"] for one in found]]


def videos(network: Sam2, placement: Placement) -> list[Any]:
    found = []
    for offload in (False, True):
        predictor = SAM2VideoPredictor(network, fill_hole_area=8, non_overlap_masks=True)
        state = predictor.init_state(clip(), offload_state_to_cpu=offload)
        predictor.add_new_points_or_box(state, 0, 1, points=[[12, 10]], labels=[1])
        predictor.add_new_mask(state, 1, 2, MASK)
        found += [(logits > 0).cpu().numpy() for _, _, logits in predictor.propagate_in_video(state)]
    return found


def main() -> None:
    # Modes are of one thread: nothing is read ahead in another.
    FrameDecider._depth = lambda self: 0
    torch.set_num_threads(1)
    works: list[Callable[[Sam2, Placement], list[Any]]] = [session, walker, single_images, videos]
    for windows, as_published in ((False, False), (False, True), (True, False)):
        kind = {"windows": windows, "as_published": as_published}
        for work in works:
            expected = work(model(**kind, is_there=False), Placement())
            with device_is_there():
                found = work(model(**kind, is_there=True), Placement(DEVICE))
            assert len(found) == len(expected) > 0, (work.__name__, kind)
            # Attention is another kernel's, so that single pixels at edges may differ.
            off = max(float(np.mean(one != other)) for one, other in zip(found, expected, strict=True))
            assert off < 0.02, (work.__name__, kind, off)
            print(work.__name__, kind, len(found), off)


if __name__ == "__main__":
    main()
