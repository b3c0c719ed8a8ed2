"""The model and the device that the options name."""

from __future__ import annotations

import argparse
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import EngineError
from ..shortcuts import EXACT, Shortcuts
from .console import Console

if TYPE_CHECKING:
    import torch

    from ..budget import Budget
    from ..model import Sam2
    from ..tracking import Tracker


def budget_of(args: argparse.Namespace) -> Budget:
    """What ``--memory-mb --feature-cache --no-feature-cache --disk-mb --feature-format`` allow.

    Raises
    ------
    BudgetError
        Too little.
    """
    from ..budget import Budget, default_folder

    folder = None if args.no_feature_cache else Path(args.feature_cache or default_folder())
    return Budget(args.memory_mb, args.disk_mb, folder, args.feature_format)


def load(args: argparse.Namespace, console: Console) -> Sam2:
    """The model of ``--model --side --device --threads --precision``; a download shows its progress.

    Raises
    ------
    EngineError
        The weights cannot be had, or the device is not there, or not what the precision needs.
    """
    from ..checkpoint import load_model
    from ..weights import find_weights

    device = use_device(args)
    path = find_weights(args.model, progress=console.shows_bars)
    model = load_model(path, device=device, image_side=args.side)
    if getattr(args, "precision", None) != "int8":
        return model
    from ..model.eight_bits import rounded

    return rounded(model)


def load_tracker(args: argparse.Namespace, console: Console, shortcuts: Shortcuts = EXACT) -> Tracker:
    """The same, with ``--precision``, ready for sessions."""
    from ..placement import PRECISIONS, Placement
    from ..tracking import Tracker

    model = load(args, console)
    # The model itself knows which of its layers compute in 8 bits; all others do in bfloat16 then.
    compute = PRECISIONS["bf16" if args.precision == "int8" else args.precision]
    return Tracker(model, Placement(model.device, compute), shortcuts=shortcuts)


def in_precision(args: argparse.Namespace, model: Sam2) -> AbstractContextManager[object]:
    """In which the published predictors compute as ``--precision`` says."""
    import torch

    return torch.autocast(model.device.type, torch.bfloat16, enabled=args.precision != "fp32")


def use_device(args: argparse.Namespace) -> torch.device:
    """The device of ``--device``, after setting ``--threads``.

    Raises
    ------
    EngineError
        There is no such device.
    """
    import torch

    from ..build import best_device

    if args.threads:
        torch.set_num_threads(args.threads)
    if args.device == "auto":
        return best_device()
    is_there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not is_there[args.device]:
        raise EngineError(f"PyTorch finds no device {args.device!r} on this machine; use --device cpu, or auto")
    return torch.device(args.device)
