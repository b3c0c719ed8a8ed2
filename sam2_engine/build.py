"""Models and predictors from the names and configuration paths of facebookresearch/sam2, without hydra."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from os import PathLike
from typing import TYPE_CHECKING, Any, Literal

import torch

from .config import ModelConfig, find_config
from .errors import CheckpointError
from .model import Sam2

if TYPE_CHECKING:
    from .video_predictor import SAM2VideoPredictor

logger = logging.getLogger(__name__)

Device = str | torch.device
Mode = Literal["eval", "train"]

IMAGE_SIZE = "model.image_size"
DYNAMIC_MULTIMASK = "model.sam_mask_decoder_extra_args.dynamic_multimask_via_stability"
ALWAYS = {
    "model.sam_mask_decoder_extra_args.dynamic_multimask_stability_delta": "0.05",
    "model.sam_mask_decoder_extra_args.dynamic_multimask_stability_thresh": "0.98",
}
"""Overrides with the one value that is possible here."""

ON_THE_MODEL = (IMAGE_SIZE, DYNAMIC_MULTIMASK)
"""Overrides that the model carries; the others are settings of the video predictor."""

ALWAYS_IN_VIDEOS = {**ALWAYS, "model.binarize_mask_from_pts_for_mem_enc": "true"}

PUBLISHED_HOLE_AREA = 8
"""Holes up to this area are filled in videos unless `apply_postprocessing` is False."""


def best_device() -> torch.device:
    """The fastest device of this machine: CUDA, then Apple's GPU, then the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def build_sam2(
    config_file: str,
    ckpt_path: str | PathLike[str] | None = None,
    device: Device | None = None,
    mode: Mode = "eval",
    hydra_overrides_extra: Sequence[str] = (),
    apply_postprocessing: bool = True,
) -> Sam2:
    """A model, ready for `SAM2ImagePredictor` and `SAM2AutomaticMaskGenerator`.

    Parameters
    ----------
    config_file : a published path such as ``configs/sam2.1/sam2.1_hiera_t.yaml``, a name such as
        ``sam2.1_hiera_tiny``, or ``default`` for the model that comes with this package
    ckpt_path : weights of that architecture; an input side stored with them stays. Without them a name means that
        model's own weights; a path ending in ``.yaml`` names an architecture only and gives random weights, as in the
        published function.
    device : where to put it; the best there is when not given
    mode : ``eval`` for inference, ``train`` for training
    hydra_overrides_extra : ``++model.image_size=512`` for another input side, and
        ``++model.sam_mask_decoder_extra_args.dynamic_multimask_via_stability=false``
    apply_postprocessing : False keeps a single mask also where it is unstable

    Raises
    ------
    CheckpointError
        An unknown name, weights that cannot be read or belong to another architecture, or an override that is not
        understood.
    WeightsUnavailableError
        Named weights that are not on this machine and cannot be fetched.
    """
    overrides = read_overrides(hydra_overrides_extra)
    return _finished(_network(config_file, ckpt_path, device), overrides, mode, apply_postprocessing)


def build_sam2_hf(
    model_id: str | PathLike[str],
    device: Device | None = None,
    mode: Mode = "eval",
    hydra_overrides_extra: Sequence[str] = (),
    apply_postprocessing: bool = True,
) -> Sam2:
    """A model with trained weights from a Hugging Face name, a folder, a file, or ``default``; see `build_sam2`."""
    overrides = read_overrides(hydra_overrides_extra)
    return _finished(_trained(model_id, device), overrides, mode, apply_postprocessing)


def build_sam2_video_predictor(
    config_file: str,
    ckpt_path: str | PathLike[str] | None = None,
    device: Device | None = None,
    mode: Mode = "eval",
    hydra_overrides_extra: Sequence[str] = (),
    apply_postprocessing: bool = True,
    vos_optimized: bool = False,
    **settings: Any,
) -> SAM2VideoPredictor:
    """A video predictor; arguments and errors as in `build_sam2`.

    Parameters
    ----------
    hydra_overrides_extra : ``++model.image_size=512``, and ``++model.NAME=VALUE`` for the keyword arguments of
        `SAM2VideoPredictor`, such as ``++model.non_overlap_masks=true``
    apply_postprocessing : fill holes up to 8 cells of the mask logits, unless told otherwise
    vos_optimized : taken for compatibility, without effect; ``graphs=True`` asks for CUDA graphs
    **settings : keyword arguments of `SAM2VideoPredictor`
    """
    overrides = read_overrides(hydra_overrides_extra, for_video=True)
    model = _finished(_network(config_file, ckpt_path, device), overrides, mode, apply_postprocessing)
    return _video_predictor(model, overrides, settings, fill_holes=apply_postprocessing, vos_optimized=vos_optimized)


def build_sam2_video_predictor_hf(
    model_id: str | PathLike[str],
    device: Device | None = None,
    mode: Mode = "eval",
    hydra_overrides_extra: Sequence[str] = (),
    apply_postprocessing: bool = True,
    vos_optimized: bool = False,
    **settings: Any,
) -> SAM2VideoPredictor:
    """A video predictor with trained weights from a Hugging Face name, a folder, a file, or ``default``."""
    overrides = read_overrides(hydra_overrides_extra, for_video=True)
    model = _finished(_trained(model_id, device), overrides, mode, apply_postprocessing)
    return _video_predictor(model, overrides, settings, fill_holes=apply_postprocessing, vos_optimized=vos_optimized)


def read_overrides(overrides: Sequence[str], *, for_video: bool = False) -> dict[str, Any]:
    """Values of hydra overrides such as ``++model.image_size=512``, by key without the plus signs.

    Raises
    ------
    CheckpointError
        An override that is not understood, or an image size that is no positive multiple of 32; the message lists what
        is understood.
    """
    kinds, fixed = _understood(for_video), ALWAYS_IN_VIDEOS if for_video else ALWAYS
    values: dict[str, Any] = {}
    for override in overrides:
        key, _, text = override.lstrip("+").partition("=")
        if key in fixed and fixed[key] == text.strip().lower():
            continue
        value = _value(text, kinds[key]) if key in kinds else None
        if value is None or (key == IMAGE_SIZE and (value <= 0 or value % 32)):
            listed = [f"++{known}=<{kind.__name__}>" for known, kind in kinds.items()]
            listed += [f"++{known}={only}" for known, only in fixed.items()]
            raise CheckpointError(
                f"the override {override!r} is not understood; understood are {', '.join(listed)}, "
                "where an image size is a positive multiple of 32"
            )
        values[key] = value
    return values


def split_settings(kwargs: Mapping[str, Any], cls: type) -> tuple[dict[str, Any], dict[str, Any]]:
    """Keyword arguments for `build_sam2_hf`, and those for the constructor of `cls`.

    Raises
    ------
    TypeError
        One that neither takes.
    """
    for_model, for_class = (list(inspect.signature(taker).parameters)[1:] for taker in (build_sam2_hf, cls))
    unknown = [name for name in kwargs if name not in (*for_model, *for_class)]
    if unknown:
        raise TypeError(
            f"unknown keyword arguments {', '.join(unknown)}; {cls.__name__} takes {', '.join(for_class)}, "
            f"and the model {', '.join(for_model)}"
        )
    return (
        {name: value for name, value in kwargs.items() if name in for_model},
        {name: value for name, value in kwargs.items() if name in for_class},
    )


def _understood(for_video: bool) -> dict[str, type]:
    """Keys of overrides and the types of their values."""
    if not for_video:
        return {IMAGE_SIZE: int, DYNAMIC_MULTIMASK: bool}
    from .video_predictor import SAM2VideoPredictor

    arguments = inspect.signature(SAM2VideoPredictor).parameters.values()
    kinds = {f"model.{a.name}": type(a.default) for a in arguments if isinstance(a.default, (bool, int))}
    return {IMAGE_SIZE: int, DYNAMIC_MULTIMASK: bool, **kinds}


def _value(text: str, kind: type) -> Any | None:
    """The value a text says, None where it says none of this kind."""
    if kind is bool:
        return {"true": True, "false": False}.get(text.strip().lower())
    try:
        return int(text)
    except ValueError:
        return None


def _network(config_file: str, ckpt_path: str | PathLike[str] | None, device: Device | None) -> Sam2:
    """The weights of `ckpt_path`, those a name stands for, or random ones."""
    if ckpt_path is None and not config_file.endswith(".yaml"):
        return _trained(config_file, device)
    config = None if config_file == "default" else find_config(config_file)
    if ckpt_path is not None:
        return _trained(ckpt_path, device, config)
    assert config is not None
    logger.warning(
        "%s without ckpt_path has random weights; give ckpt_path, or the name %s for trained ones",
        config_file,
        config.name,
    )
    return Sam2(config).to(device or best_device())


def _trained(source: str | PathLike[str], device: Device | None, config: ModelConfig | None = None) -> Sam2:
    """A model from weights, which must be of the architecture `config`."""
    from .checkpoint import load_model

    device = device or best_device()
    model = load_model(source, device=device)
    if config is None or _same_architecture(model.config, config):
        return model
    return load_model(source, config=config, device=device)  # says what does not fit


def _same_architecture(a: ModelConfig, b: ModelConfig) -> bool:
    """Whether both differ at most in their names and in how pictures are prepared."""
    alike = replace(a, name=b.name, image_side=b.image_side, contrast=b.contrast, object_windows=b.object_windows)
    return alike == b


def _finished(model: Sam2, overrides: Mapping[str, Any], mode: Mode, apply_postprocessing: bool) -> Sam2:
    model.dynamic_multimask = overrides.get(DYNAMIC_MULTIMASK, apply_postprocessing)
    model.set_image_side(overrides.get(IMAGE_SIZE, model.config.image_side))
    return model.train(mode == "train")


def _video_predictor(
    model: Sam2,
    overrides: Mapping[str, Any],
    settings: Mapping[str, Any],
    *,
    fill_holes: bool,
    vos_optimized: bool,
) -> SAM2VideoPredictor:
    from .video_predictor import SAM2VideoPredictor

    overridden = {key.removeprefix("model."): value for key, value in overrides.items() if key not in ON_THE_MODEL}
    if vos_optimized:
        # Not turned into graphs: those never ran on a GPU, and published scripts say this without asking for them.
        logger.info("vos_optimized has no effect: there is one video predictor; graphs=True asks for CUDA graphs")
    holes = {"fill_hole_area": PUBLISHED_HOLE_AREA if fill_holes else 0}
    return SAM2VideoPredictor(model, **{**holes, **overridden, **settings})
