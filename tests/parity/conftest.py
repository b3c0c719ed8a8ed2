"""Weights and clips that the parity tests share."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from . import scenarios, scenes, weights

StateOf = Callable[..., dict[str, Tensor]]


@pytest.fixture(scope="session", autouse=True)
def _installed() -> None:
    """The reference implementations are no dependency of this project; tests/run.py installs them."""
    missing = [name for name in ("hydra", "iopath", "sam2", "transformers") if importlib.util.find_spec(name) is None]
    if missing:
        pytest.skip(f"the reference implementations are not installed: {', '.join(missing)} missing; see tests/run.py")


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    """Sums come out in the same order in every run, and test processes share the cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def state_of(tmp_path_factory: pytest.TempPathFactory) -> StateOf:
    """`weights.random_state_dict`, calibrated once for all test processes."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "parity_weights"
    folder.mkdir(exist_ok=True)

    def state(name: str, **choice: float) -> dict[str, Tensor]:
        return weights.random_state_dict(name, folder=folder, **choice)

    return state


@pytest.fixture(scope="session")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder of `scenarios.NUM_FRAMES` JPEG frames."""
    frames = scenes.clip(scenarios.NUM_FRAMES, scenarios.HEIGHT, scenarios.WIDTH, seed=weights.CLIP_SEED)
    return str(scenes.write_jpegs(frames, Path(tmp_path_factory.mktemp("clip"))))
