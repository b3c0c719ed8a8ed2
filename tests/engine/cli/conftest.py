"""A small picture, a stack and a tiny model for every command."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from sam2_engine.checkpoint import save_model
from sam2_engine.cli import main
from sam2_engine.model import Sam2

Run = Callable[..., int]


@pytest.fixture(scope="session")
def weights(tiny_model: Sam2, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_model(tiny_model, path, summary={"steps": 7, "data": {"name": "none"}})
    return path


@pytest.fixture
def folder(
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    clip: NDArray[np.uint8],
) -> Path:
    """The current folder, with a picture and a stack in it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SAM2_CACHE", str(tmp_path_factory.mktemp("cache")))
    Image.fromarray(clip[0]).save("cells.png")
    tifffile.imwrite("stack.tif", clip, photometric="minisblack", metadata={"axes": "ZYX"})
    return tmp_path


@pytest.fixture
def sam2(folder: Path, weights: Path) -> Run:
    """Runs a command with the tiny model on the CPU."""

    def run(command: str, *arguments: object) -> int:
        return main([command, *map(str, arguments), "--model", str(weights), "--device", "cpu"])

    return run


@pytest.fixture(scope="session")
def labelled(tmp_path_factory: pytest.TempPathFactory, clip: NDArray[np.uint8]) -> Path:
    """Two pictures and a sequence with their masks."""
    data = tmp_path_factory.mktemp("labelled")
    truth = ((clip > 150) * (1 + (np.arange(48) > 24))).astype(np.uint8)
    for name, array in (("images", clip), ("masks", truth)):
        (data / name).mkdir()
        for frame in (0, 3):
            tifffile.imwrite(data / name / f"still{frame}.tif", array[frame])
        tifffile.imwrite(data / name / "film.tif", array[:5], photometric="minisblack")
    return data
