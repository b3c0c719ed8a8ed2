"""From a file of weights to a model and back.

Whatever the source, the weights end up under the published names in float32 and must fit the model exactly: a missing,
unexpected or misshapen tensor is an error that names it and the nearest known model. The configuration comes from the
caller, else from the file, else from the shapes of the weights.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from ._hf_keys import from_hugging_face, is_hugging_face
from ._weight_files import FileFormat, StoredWeights, read_weights, write_weights
from .config import MODELS, ModelConfig
from .errors import CheckpointMismatchError, ExportError
from .model import Sam2
from .weights import file_sha256, find_weights

logger = logging.getLogger(__name__)

Shapes = Mapping[str, tuple[int, ...]]

_PREFIXES = (
    "model.",
    "module.",
    "_orig_mod.",
    "detector.",
    "tracker.",
    "sam2.",
    "sam2_model.",
    "sam_model.",
    "net.",
)
"""What wrappers put before every key: trainers, DataParallel, torch.compile, models that hold SAM 2 as a part."""

_BUFFERS = ("sam_prompt_encoder.pe_layer.positional_encoding_gaussian_matrix",)
_SHOWN = 4
_MOST_LAYERS = 500
_SAVED_DTYPES = (None, torch.float32, torch.float16, torch.bfloat16)


@dataclass(frozen=True, slots=True, eq=False)
class CheckpointInfo:
    """What a file of weights is.

    Attributes
    ----------
    path : the file itself, also where a folder was named
    size_bytes, sha256 : of the file
    format : of the file
    names : whose names the tensors have
    model : name of the model that the weights fit, or None
    problem : why they fit none, or None
    tensors, parameters : how many; fixed buffers are no parameters
    dtypes : stored dtypes, such as ``float16``, and how many tensors have each
    config : stored with the weights, else of the recognised model, or None
    config_stored : whether `config` came with the file
    summary : how the weights came about; empty where the file does not tell
    """

    path: Path
    size_bytes: int
    sha256: str
    format: FileFormat
    names: str
    model: str | None
    problem: str | None
    tensors: int
    parameters: int
    dtypes: Mapping[str, int]
    config: ModelConfig | None
    config_stored: bool
    summary: Mapping[str, object]


def load_model(
    source: str | os.PathLike[str] | None = None,
    *,
    config: ModelConfig | None = None,
    device: str | torch.device | None = None,
    image_side: int | None = None,
) -> Sam2:
    """A model with the weights of a file, in evaluation mode; parameters still take gradients.

    Parameters
    ----------
    source : whatever `find_weights` takes: a file, a folder, a name; None is the model that comes with the package.
        A name may start a download; call `find_weights` for progress and other choices.
    config : of the model; None takes it from the file or from the shapes of the weights
    device : where the model shall be; None is the CPU
    image_side : another side of the model input than the configuration has, a multiple of 32

    Raises
    ------
    UnsafeCheckpointError
        The file would run code when loaded; nothing was run.
    CheckpointMismatchError
        Readable weights that do not fit the configuration or any known model.
    CheckpointError
        Not weights, or damaged.
    WeightsUnavailableError
        A name that is not on this machine and cannot be fetched.
    """
    state, config = _read_fitting(find_weights(source), config)
    model = _empty_model(config.at_side(image_side))
    model.load_state_dict(state, strict=True, assign=True)
    return model.to(device or "cpu").eval()


def read_state(source: str | os.PathLike[str]) -> tuple[dict[str, Tensor], ModelConfig]:
    """Weights under the published names, float32 on the CPU, and the configuration that they fit.

    Parameters
    ----------
    source : as for `load_model`

    Raises
    ------
    As `load_model`.
    """
    return _read_fitting(find_weights(source), None)


def save_model(
    model: Sam2,
    path: str | os.PathLike[str],
    *,
    summary: Mapping[str, object] | None = None,
    dtype: torch.dtype | None = None,
) -> None:
    """Write a model as safetensors with its configuration inside, whole or not at all.

    Parameters
    ----------
    model : of any device; not changed
    path : must end in ``.safetensors``
    summary : JSON values that tell how the weights came about, such as data, steps and scores
    dtype : float32, float16 or bfloat16; None keeps that of each tensor. All are loaded as float32.

    Raises
    ------
    ExportError
        Wrong suffix, weights that are not finite in `dtype`, or the system refused, e.g. the disk is full. What stood
        at `path` is untouched.
    TypeError, ValueError
        `summary` is no JSON, or `dtype` is another one.
    """
    if dtype not in _SAVED_DTYPES:
        raise ValueError(f"weights are saved as float32, float16 or bfloat16, got {dtype}")
    state = {name: tensor.detach().to("cpu", dtype).contiguous() for name, tensor in model.state_dict().items()}
    for name, tensor in state.items():
        if not torch.isfinite(tensor).all():
            raise ExportError(
                f"tensor {name!r} is not finite as {tensor.dtype}; nothing was written. If the model itself is sound, "
                "save it as bfloat16 or float32"
            )
    write_weights(Path(path), state, model.config, summary or {})


def inspect(source: str | os.PathLike[str]) -> CheckpointInfo:
    """What a file of weights is; reads it whole and checks it, but builds no model.

    Parameters
    ----------
    source : as for `load_model`

    Raises
    ------
    As `load_model`, except that weights of another architecture are described, not refused.
    """
    path = find_weights(source)
    stored = read_weights(path)
    dtypes: dict[str, int] = {}
    for tensor in stored.tensors.values():
        name = str(tensor.dtype).removeprefix("torch.")
        dtypes[name] = dtypes.get(name, 0) + 1
    state, names = _with_published_names(path, stored.tensors)
    config, problem = stored.config, None
    try:
        config = config or _recognise(path, state)
        _require_fit(path, state, config)
    except CheckpointMismatchError as error:
        problem = str(error)
    return CheckpointInfo(
        path=path,
        size_bytes=path.stat().st_size,
        sha256=file_sha256(path),
        format=stored.format,
        names=names,
        model=config.name if config and not problem else None,
        problem=problem,
        tensors=len(state),
        parameters=sum(tensor.numel() for name, tensor in state.items() if name not in _BUFFERS),
        dtypes=dtypes,
        config=config,
        config_stored=stored.config is not None,
        summary=stored.summary,
    )


# ------------------------------------------------------------------------------------------------------- reading


def _read_fitting(path: Path, config: ModelConfig | None) -> tuple[dict[str, Tensor], ModelConfig]:
    """Float32 weights under the published names, and the configuration that they fit exactly."""
    stored: StoredWeights = read_weights(path)
    state, _ = _with_published_names(path, stored.tensors)
    config = config or stored.config or _recognise(path, state)
    _require_fit(path, state, config)
    stored.tensors.clear()  # so that each half-precision tensor is freed as soon as it is widened
    for name in state:
        state[name] = state[name].float()
    return state, config


def _with_published_names(path: Path, tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], str]:
    """The same tensors under the names of the published checkpoints, and whose names they had."""
    state = dict(tensors)
    while prefix := next((p for p in _PREFIXES if state and all(key.startswith(p) for key in state)), None):
        logger.warning("%s: every key begins with %r, which is left out", path, prefix)
        state = {key.removeprefix(prefix): tensor for key, tensor in state.items()}
    if is_hugging_face(state):
        return from_hugging_face(state), "Hugging Face"
    return state, "published"


def _recognise(path: Path, state: Mapping[str, Tensor]) -> ModelConfig:
    """The known model that these weights are of.

    Raises
    ------
    CheckpointMismatchError
        None has these shapes.
    """
    try:
        return ModelConfig.from_weights(state)
    except CheckpointMismatchError:
        # Says what differs from the nearest model, which helps more than what was looked for.
        _require_fit(path, state, _nearest(_shapes_of(state))[0])
        raise


def _require_fit(path: Path, state: Mapping[str, Tensor], config: ModelConfig) -> None:
    """Compare names and shapes with those of the model.

    Raises
    ------
    CheckpointMismatchError
        They differ; the message names the first of each kind, how many, and the nearest known model.
    """
    found, expected = _shapes_of(state), _shapes_of_model(config)
    if found == expected:
        return
    if not found.keys() & expected.keys():
        raise CheckpointMismatchError(
            f"{path}: none of its {len(found)} tensors has a name that SAM 2 knows; it holds {_listed(found)}. "
            "Name a SAM 2 or SAM 2.1 checkpoint"
        )
    missing, unexpected = expected.keys() - found.keys(), found.keys() - expected.keys()
    misshapen = [
        f"{name} {list(found[name])} instead of {list(expected[name])}"
        for name in expected
        if name in found and found[name] != expected[name]
    ]
    problems = [
        f"{len(names)} tensors {kind} ({_listed(names)})"
        for kind, names in (("missing", sorted(missing)), ("unexpected", sorted(unexpected)), ("misshapen", misshapen))
        if names
    ]
    raise CheckpointMismatchError(f"{path} does not fit {config.name}: {'; '.join(problems)}. {_advice(found, config)}")


def _advice(found: Shapes, config: ModelConfig) -> str:
    nearest, fitting = _nearest(found)
    total = len(_expected_shapes(nearest))
    near = f"The nearest known model is {nearest.name} ({fitting} of its {total} tensors fit)"
    if nearest.name == config.name:
        return f"{near}: the file is incomplete or of a changed model; name the original one"
    if nearest.pointer_times != config.pointer_times and fitting == total == len(found):
        versions = {True: "SAM 2.1", False: "SAM 2.0"}
        near = (
            f"These are weights of {versions[nearest.pointer_times]}, but the configuration is of "
            f"{versions[config.pointer_times]}. {near}"
        )
    return f"{near}: load it with that configuration, or leave the configuration out"


def _nearest(found: Shapes) -> tuple[ModelConfig, int]:
    """The known model with most tensors of the same name and shape, and how many these are."""

    def fitting(config: ModelConfig) -> int:
        return len(found.items() & _expected_shapes(config).items())

    def distance(config: ModelConfig) -> tuple[int, int]:
        return fitting(config), -len(_expected_shapes(config).keys() ^ found.keys())

    best = max(MODELS.values(), key=distance)
    return best, fitting(best)


def _listed(names: Iterable[str]) -> str:
    shown = list(names)
    more = f", … {len(shown) - _SHOWN} more" if len(shown) > _SHOWN else ""
    return ", ".join(shown[:_SHOWN]) + more


def _shapes_of(state: Mapping[str, Tensor]) -> Shapes:
    return {name: tuple(tensor.shape) for name, tensor in state.items()}


def _shapes_of_model(config: ModelConfig) -> Shapes:
    """What a model of this configuration needs; a stored configuration is not believed to be one that can be built."""
    try:
        if (layers := sum(config.stages) + config.memory_layers) > _MOST_LAYERS:
            raise ValueError(f"{layers} layers; at most {_MOST_LAYERS} are believed")
        return _expected_shapes(config)
    except Exception as error:
        raise CheckpointMismatchError(
            f"no model can be built from the configuration {config.name!r} ({error}); name another "
            "configuration, or none"
        ) from error


@lru_cache(maxsize=16)
def _expected_shapes(config: ModelConfig) -> Shapes:
    return _shapes_of(_empty_model(config).state_dict())


# ------------------------------------------------------------------------------------------------------ building


class _Uninitialised(TorchFunctionMode):
    """Modules built under it draw no random numbers: their values are about to be replaced.

    On the meta device `torch.randn` would also draw in the whole of sympy, two seconds on the first call.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is torch.randn:
            return torch.empty(*args, **kwargs)
        if getattr(func, "__module__", None) == "torch.nn.init":
            return kwargs.get("tensor", args[0] if args else None)
        return func(*args, **kwargs)


def _empty_model(config: ModelConfig) -> Sam2:
    """The model without memory for its weights, which are to be assigned."""
    with _Uninitialised(), torch.device("meta"):
        return Sam2(config)
