"""``sam2 export MODEL``: a model as ONNX graphs, compared with the model itself."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from . import options
from .console import Console, count, megabytes

if TYPE_CHECKING:
    from ..onnx_export import Difference


def add_parser(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "export",
        parents=[common],
        help="write a model as ONNX graphs, for programs without PyTorch",
        description="Write a model as ONNX graphs with a manifest, and compare them with the model. Needs "
        "pip install 'sam2-tools[onnx]'. How to use the graphs: docs/onnx.md",
    )
    parser.add_argument("model", metavar="MODEL", help="a file, a folder or a name (see: sam2 models), or: default")
    parser.add_argument("--out", required=True, metavar="DIR", help="folder to write; an earlier export is replaced")
    parser.add_argument("--format", choices=("onnx",), default="onnx", help="of the graphs (default: onnx)")
    parser.add_argument(
        "--side",
        type=options.model_side,
        metavar="N",
        help="side of the model's input, a multiple of 32; graphs have one side (default: that of the weights)",
    )
    parser.add_argument(
        "--parts",
        type=_names,
        metavar="NAME,…",
        help="some of image_encoder, mask_decoder, object_pointer, memory_encoder, memory_attention (default: all)",
    )
    parser.add_argument(
        "--check",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="compare the graphs with the model, by ONNX Runtime (default: yes)",
    )
    parser.add_argument("--threads", type=options.positive, metavar="N", help="CPU threads to use")
    parser.set_defaults(run=run, parser=parser)


def run(args: argparse.Namespace) -> int:
    """Write and compare; 1 where a graph gives something else than the model."""
    import torch

    from ..checkpoint import load_model
    from ..onnx_export import PARTS, differences, export_onnx, parts_of
    from ..weights import file_sha256, find_weights

    if unknown := [name for name in args.parts or () if name not in PARTS]:
        args.parser.error(f"--parts: there is no {', '.join(unknown)}; choose from {', '.join(PARTS)}")
    if args.threads:
        torch.set_num_threads(args.threads)
    console = Console(quiet=args.quiet)
    path = find_weights(args.model, progress=console.shows_bars)
    model = load_model(path, image_side=args.side)
    names = args.parts or tuple(parts_of(model.config))
    with console.bar(len(names), "writing", "part") as bar:
        manifest = export_onnx(
            model, args.out, parts=names, weights_sha256=file_sha256(path), started=lambda name: bar.update()
        )
    console.say(f"{manifest['model']}, side {manifest['side']}, opset {manifest['opset']}: {args.out}")
    for part in manifest["parts"].values():
        console.say(f"  {part['file']:24}{megabytes(part['bytes']):>10}  {_axes(part)}")
    return _compare(differences(model, args.out, tuple(manifest["parts"])), console) if args.check else 0


def _compare(found: Iterable[Difference], console: Console) -> int:
    """Print the largest difference of every output over all sizes; 1 where one is more than rounding."""
    from ..onnx_export import TOLERANCE

    worst: dict[tuple[str, str], Difference] = {}
    sizes: dict[tuple[str, str], int] = {}
    for one in found:
        key = (one.part, one.output)
        sizes[key] = sizes.get(key, 0) + 1
        # A difference that is no number is worse than every other, and compares with none.
        if key not in worst or (worst[key].holds and not one.relative <= worst[key].relative):
            worst[key] = one
    console.say(f"\n{'PART':18}{'OUTPUT':16}{'SIZES':>5}  LARGEST DIFFERENCE TO THE MODEL, RELATIVE")
    for (part, output), one in worst.items():
        console.say(
            f"{part:18}{output:16}{sizes[part, output]:5}  {one.relative:.1e}{'' if one.holds else '  TOO MUCH'}"
        )
    failed = [one for one in worst.values() if not one.holds]
    if failed:
        named = ", ".join(f"{one.part} ({one.output}, {dict(one.sizes)})" for one in failed)
        console.warn(f"error: {count(len(failed), 'output')} differ by more than {TOLERANCE:g}: {named}")
    return 1 if failed else 0


def _axes(part: dict[str, Any]) -> str:
    """Names of the axes of any length."""
    names = dict.fromkeys(axis for port in part["inputs"] for axis in port["shape"] if isinstance(axis, str))
    return f"any number of {', '.join(names)}"


def _names(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
