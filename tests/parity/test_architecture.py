"""Our models have the entries, shapes and sizes of the published ones, for all eight configurations."""

from __future__ import annotations

import pytest
import torch

from sam2_engine.config import ModelConfig, find_config
from sam2_engine.model import Sam2

from . import reference, weights

pytestmark = pytest.mark.parity

ENTRIES = {"tiny": 471, "small": 519, "base_plus": 615, "large": 903}
"""State dict entries of SAM 2.1; SAM 2.0 has three less."""

MILLIONS = {"tiny": 38.9, "small": 46.0, "base_plus": 80.8, "large": 224.4}


def our_empty_model(name: str) -> Sam2:
    with torch.device("meta"):
        return Sam2(find_config(name))


@pytest.mark.parametrize("name", reference.CONFIGS)
def test_state_dicts_have_the_same_entries_and_shapes(name: str) -> None:
    theirs = weights.shapes_of(name)
    ours = {entry: value.shape for entry, value in our_empty_model(name).state_dict().items()}
    assert ours == theirs
    version, size = name.split("_hiera_")
    assert len(ours) == ENTRIES[size] - (0 if version == "sam2.1" else 3)


@pytest.mark.parametrize("name", reference.CONFIGS)
def test_parameters_are_as_many_as_published(name: str) -> None:
    millions = sum(parameter.numel() for parameter in our_empty_model(name).parameters()) / 1e6
    assert millions == pytest.approx(MILLIONS[name.split("_hiera_")[1]], abs=0.1)


@pytest.mark.parametrize(("name", "path"), reference.CONFIGS.items())
def test_published_configuration_paths_name_our_models(name: str, path: str) -> None:
    assert find_config(path) == find_config(name)
    assert find_config(path).name == name


@pytest.mark.parametrize("name", reference.CONFIGS)
def test_the_configuration_is_read_from_the_weights(name: str) -> None:
    state = {entry: torch.empty(shape, device="meta") for entry, shape in weights.shapes_of(name).items()}
    assert ModelConfig.from_weights(state) == find_config(name)
