"""A model small enough to be trained in a test."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sam2_engine.config import MODELS, ModelConfig


@pytest.fixture(scope="session")
def little() -> ModelConfig:
    return replace(
        MODELS["nano"],
        name="little",
        embed_dim=16,
        stages=(1, 1, 2, 1),
        global_blocks=(3,),
        dim=32,
        memory_dim=16,
        memory_layers=1,
        memory_mlp=32,
        decoder_heads=2,
        decoder_mlp=32,
        image_side=64,
        object_windows=False,
    )
