"""From a model to a folder of ONNX files and a manifest that says what they are."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from .._version import __version__
from ..atomic import atomic_folder
from ..config import describe
from ..errors import MissingDependencyError, SettingError
from ..model import Sam2
from .examples import TRACED, draw_inputs
from .manifest import manifest_of
from .parts import PARTS, Part, parts_of

MANIFEST = "manifest.json"
"""Name of the file that tells about the others."""

OPSET = 18
"""Version of the operators: the one that exporters write without conversion, known to runtimes since 2023."""


def export_onnx(
    model: Sam2,
    folder: str | os.PathLike[str],
    *,
    parts: Sequence[str] | None = None,
    weights_sha256: str | None = None,
    started: Callable[[str], None] = lambda part: None,
) -> dict[str, Any]:
    """Write parts of a model as ONNX graphs, each a file with its weights inside, and a manifest.

    Parameters
    ----------
    model : on the CPU; its input side is that of the graphs
    folder : to be; an earlier export in it is replaced as a whole
    parts : some of `PARTS`; all that the model has when not given
    weights_sha256 : of the file that the weights came from, for the manifest
    started : called with the name of each part before it is traced, which takes seconds

    Returns
    -------
    What the manifest holds.

    Raises
    ------
    MissingDependencyError
        The packages that write ONNX are not installed.
    SettingError
        A part that is none, no part, or a model that is not on the CPU.
    ExportError
        The folder holds other things, or the system refused; it is untouched then.
    """
    known = parts_of(model.config)
    parts = tuple(known) if parts is None else parts
    _check(model, parts)
    with atomic_folder(folder, _is_ours) as temporary, _evaluating(model):
        files = {}
        for name in (name for name in PARTS if name in parts):
            started(name)
            files[name] = _write(known[name], model, temporary / f"{name}.onnx")
        manifest = manifest_of(model.config, [known[name] for name in files], files)
        manifest |= {"opset": OPSET, "weights_sha256": weights_sha256, "config": describe(model.config)}
        manifest["producer"] = f"sam2-tools {__version__}, torch {torch.__version__}"
        text = json.dumps(manifest, indent=1, ensure_ascii=False, allow_nan=False)
        (temporary / MANIFEST).write_text(text + "\n", encoding="utf-8")
    return manifest


def _check(model: Sam2, parts: Sequence[str]) -> None:
    known = parts_of(model.config)
    unknown = [name for name in parts if name not in known]
    if unknown or not parts:
        raise SettingError(f"parts of this model are {', '.join(known)}; got {', '.join(unknown) or 'none'}")
    if model.device.type != "cpu":
        raise SettingError(f"the model to export must be on the CPU, it is on {model.device}; use model.to('cpu')")
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError(
            f"exporting needs onnx and onnxscript ({error}); install them with: pip install 'sam2-tools[onnx]'"
        ) from error


def _is_ours(entry: Path) -> bool:
    return entry.name == MANIFEST or entry.name in {f"{part}.onnx" for part in PARTS}


def _write(part: Part, model: Sam2, path: Path) -> dict[str, Any]:
    """The file of one part; gives what the manifest says about it."""
    inputs = draw_inputs(part, TRACED, model.config)
    axes = {axis: torch.export.Dim(axis) for port in part.inputs for axis in port.shape if isinstance(axis, str)}
    dynamic = {
        port.name: {index: axes[axis] for index, axis in enumerate(port.shape) if isinstance(axis, str)}
        for port in part.inputs
    }
    with torch.no_grad(), _quiet():
        module = part.module(model)
        traced = torch.export.export(module, tuple(inputs.values()), dynamic_shapes=dynamic, strict=False)
        program = torch.onnx.export(
            traced,
            dynamo=True,
            opset_version=OPSET,
            input_names=[port.name for port in part.inputs],
            output_names=[port.name for port in part.outputs],
            verbose=False,
        )
        assert program is not None
        _tidy(program, part)
        program.save(str(path), external_data=False)
    content = path.read_bytes()
    return {"file": path.name, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def _tidy(program: torch.onnx.ONNXProgram, part: Part) -> None:
    """Name axes as the manifest does, and leave out which line of which file every node came from.

    Values between nodes get names that no output can have, and no shapes: runtimes find those themselves.
    """
    from onnx_ir import Shape

    graph = program.model.graph
    graph.metadata_props.clear()
    for value in (*graph.inputs, *graph.initializers.values()):
        value.metadata_props.clear()
    for index, node in enumerate(graph.all_nodes()):
        node.metadata_props.clear()
        for place, value in enumerate(node.outputs):
            value.metadata_props.clear()
            if not value.is_graph_output():
                value.name, value.shape = f"value_{index}_{place}", None
    for port, value in zip((*part.inputs, *part.outputs), (*graph.inputs, *graph.outputs), strict=True):
        value.shape = Shape(port.shape)


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)


@contextmanager
def _quiet() -> Iterator[None]:
    """PyTorch's exporter warns about its own future, and that torchvision is not there, which nothing here needs."""
    chatty = logging.getLogger("torch.onnx._internal.exporter._registration")
    level = chatty.level
    chatty.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        chatty.setLevel(level)
