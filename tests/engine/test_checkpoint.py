"""Weights come back as they were saved, and nothing that is not sound weights is ever taken for them."""

from __future__ import annotations

import io
import json
import logging
import os
import pickle
import shutil
import struct
import subprocess
import sys
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from sam2_engine import checkpoint
from sam2_engine._weight_files import StoredWeights
from sam2_engine.checkpoint import inspect, load_model, read_state, save_model
from sam2_engine.config import NANO, PUBLISHED, ModelConfig
from sam2_engine.errors import CheckpointError, CheckpointMismatchError, ExportError, UnsafeCheckpointError
from sam2_engine.model import Sam2
from sam2_engine.weights import file_sha256

MINI = replace(
    NANO,
    name="mini",
    embed_dim=8,
    stages=(1, 1, 2, 1),
    global_blocks=(3,),
    windows=(4, 4, 4, 2),
    pos_embed_side=4,
    dim=32,
    memory_dim=16,
    memory_layers=1,
    memory_mlp=32,
    decoder_heads=2,
    decoder_mlp=32,
    image_side=64,
)
SUMMARY = {"steps": 12, "data": ["synthetic", "nuclei"], "mean_iou": 0.625}
ONLY_ON_UNIX = pytest.mark.skipif(os.name == "nt", reason="limits of resources exist on Unix only")


def mini_model(seed: int = 0) -> Sam2:
    torch.manual_seed(seed)
    return Sam2(MINI).eval()


def shapes_of(config: ModelConfig) -> dict[str, torch.Size]:
    with torch.device("meta"):
        return {name: tensor.shape for name, tensor in Sam2(config).state_dict().items()}


def random_state(config: ModelConfig, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    return {name: torch.rand(shape).to(dtype) for name, shape in shapes_of(config).items()}


def assert_same(state: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert state.keys() == expected.keys()
    assert [name for name in expected if not torch.equal(state[name], expected[name])] == []


@pytest.fixture(scope="module", autouse=True)
def _no_waiting_for_the_disk() -> Iterator[None]:
    """Skip flushing, which takes seconds on a busy disk; the tests of `atomic_path` are about it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sam2_engine.atomic.os.fsync", lambda handle: None)
        yield


@pytest.fixture(scope="module")
def own_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model as we save it."""
    path = tmp_path_factory.mktemp("own") / "mini.safetensors"
    save_model(mini_model(), path, summary=SUMMARY)
    return path


@pytest.fixture(scope="module")
def nano_state() -> dict[str, Tensor]:
    torch.manual_seed(1)
    return random_state(NANO)


# ------------------------------------------------------------------------------------------- saving and loading


def test_a_saved_model_comes_back_with_the_same_weights_configuration_and_results(own_file: Path) -> None:
    model, loaded = mini_model(), load_model(own_file)
    assert loaded.config == MINI
    assert_same(loaded.state_dict(), model.state_dict())
    image = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        assert torch.equal(loaded.encode_image(image).embedding, model.encode_image(image).embedding)


def test_a_loaded_model_is_in_evaluation_mode_and_can_be_trained(own_file: Path) -> None:
    loaded = load_model(own_file)
    assert not any(module.training for module in loaded.modules())
    assert all(parameter.requires_grad for parameter in loaded.parameters())


def test_loading_leaves_the_random_numbers_of_the_program_alone(own_file: Path) -> None:
    before = torch.get_rng_state()
    load_model(own_file)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_loaded_model_does_not_change_with_its_file(own_file: Path, tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    shutil.copy(own_file, path)
    loaded = load_model(path)
    with open(path, "r+b") as file:
        file.truncate(8)
    assert_same(loaded.state_dict(), mini_model().state_dict())


def test_a_model_can_be_saved_over_the_file_it_came_from(own_file: Path, tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    shutil.copy(own_file, path)
    loaded = load_model(path)
    with torch.no_grad():
        loaded.no_mem_embed += 1
    save_model(loaded, path)
    assert_same(load_model(path).state_dict(), loaded.state_dict())


def test_the_input_side_can_be_chosen_when_loading_and_is_saved(own_file: Path, tmp_path: Path) -> None:
    loaded = load_model(own_file, image_side=96)
    assert loaded.config == replace(MINI, image_side=96)
    save_model(loaded, tmp_path / "wide.safetensors")
    assert load_model(tmp_path / "wide.safetensors").config.image_side == 96


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_stored_small_and_loaded_as_float32(
    own_file: Path, tmp_path: Path, dtype: torch.dtype
) -> None:
    path = tmp_path / "half.safetensors"
    save_model(mini_model(), path, dtype=dtype)
    assert path.stat().st_size < 0.55 * own_file.stat().st_size
    state, _ = read_state(path)
    assert_same(state, {name: tensor.to(dtype).float() for name, tensor in mini_model().state_dict().items()})


def test_saving_does_not_change_the_model(tmp_path: Path) -> None:
    model = mini_model().train()
    save_model(model, tmp_path / "half.safetensors", dtype=torch.float16)
    assert model.training
    assert_same(model.state_dict(), mini_model().state_dict())


def test_weights_too_large_for_half_precision_are_refused_with_their_name(tmp_path: Path) -> None:
    model = mini_model()
    with torch.no_grad():
        model.no_mem_embed[0, 0, 3] = 1e6
    with pytest.raises(ExportError, match=r"no_mem_embed.*bfloat16"):
        save_model(model, tmp_path / "half.safetensors", dtype=torch.float16)
    assert list(tmp_path.iterdir()) == []


def test_a_diverged_model_is_not_saved_over_a_good_one(own_file: Path, tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    shutil.copy(own_file, path)
    model = mini_model()
    with torch.no_grad():
        model.no_mem_embed[0, 0, 3] = torch.nan
    with pytest.raises(ExportError, match="no_mem_embed"):
        save_model(model, path)
    assert path.read_bytes() == own_file.read_bytes()


def test_only_safetensors_are_written(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="safetensors"):
        save_model(mini_model(), tmp_path / "weights.pt")
    with pytest.raises(ValueError, match="float64"):
        save_model(mini_model(), tmp_path / "weights.safetensors", dtype=torch.float64)
    with pytest.raises(TypeError):
        save_model(mini_model(), tmp_path / "weights.safetensors", summary={"made by": object()})
    assert list(tmp_path.iterdir()) == []


@contextmanager
def largest_file(size_bytes: int) -> Iterator[None]:
    """Let the system refuse to write longer files, as a full disk does."""
    import resource
    import signal

    before, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (before, hard))
        signal.signal(signal.SIGXFSZ, handler)


@ONLY_ON_UNIX
def test_a_full_disk_leaves_the_old_weights_and_nothing_else(own_file: Path, tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    shutil.copy(own_file, path)
    with largest_file(100_000), pytest.raises(ExportError, match=r"weights\.safetensors.*too large"):
        save_model(mini_model(1), path)
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]
    assert path.read_bytes() == own_file.read_bytes()


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="create it"):
        save_model(mini_model(), tmp_path / "nowhere" / "weights.safetensors")


def test_other_programs_can_read_what_we_save(own_file: Path) -> None:
    assert_same(load_file(own_file), mini_model().state_dict())
    with safe_open(own_file, framework="pt") as file:
        metadata = file.metadata()
    assert metadata["format"] == "pt"
    assert json.loads(metadata["sam2_config"])["name"] == "mini"
    assert json.loads(metadata["sam2_summary"]) == SUMMARY


@pytest.mark.parametrize("beginning", [b"\x80", b"PK"])
def test_a_header_as_long_as_another_format_begins_is_read(tmp_path: Path, beginning: bytes) -> None:
    path = tmp_path / "mini.safetensors"
    save_model(mini_model(), path, summary={"note": ""})
    length = int.from_bytes(path.read_bytes()[:8], "little")
    wanted = int.from_bytes(beginning, "little")
    period = 256 ** len(beginning)
    save_model(mini_model(), path, summary={"note": "x" * ((wanted - length) % period)})
    assert path.read_bytes().startswith(beginning)
    assert inspect(path).format == "safetensors"


configs = st.builds(
    ModelConfig,
    name=st.text(max_size=20),
    embed_dim=st.integers(1, 512),
    num_heads=st.integers(1, 16),
    stages=st.tuples(*[st.integers(1, 48)] * 4),
    global_blocks=st.lists(st.integers(0, 60), max_size=5).map(tuple),
    windows=st.tuples(*[st.integers(1, 32)] * 4),
    image_side=st.integers(1, 64).map(lambda blocks: 32 * blocks),
    spatial_no_object=st.booleans(),
    previous_logits=st.booleans(),
    contrast=st.sampled_from(["dtype", "percentile"]),
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.property
@given(configs)
def test_a_configuration_survives_json(config: ModelConfig) -> None:
    assert ModelConfig.from_json(config.to_json()) == config


@pytest.mark.property
@settings(max_examples=15)
@given(st.dictionaries(st.text(), json_values, max_size=4), st.text(max_size=30), st.integers(1, 8))
def test_summary_name_and_side_survive_saving(summary: dict[str, Any], name: str, blocks: int) -> None:
    import tempfile

    model = mini_model()
    model.config = replace(MINI, name=name, image_side=32 * blocks)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mini.safetensors"
        save_model(model, path, summary=summary)
        found = inspect(path)
    assert found.summary == summary
    assert found.config == model.config


# ---------------------------------------------------------------------------------------------------- foreign files


WRAPPINGS: dict[str, Callable[[dict[str, Tensor]], object]] = {
    "published": lambda state: {"model": state},
    "bare": lambda state: state,
    "ordered": lambda state: OrderedDict(state),
    "parameters": lambda state: {"model": {name: torch.nn.Parameter(tensor) for name, tensor in state.items()}},
    "trainer": lambda state: {"epoch": 3, "model": state, "optimizer": {"state": {}, "param_groups": [{"lr": 0.1}]}},
    "lightning": lambda state: {"state_dict": {f"model.{name}": tensor for name, tensor in state.items()}},
    "data parallel": lambda state: {f"module.{name}": tensor for name, tensor in state.items()},
    "compiled part": lambda state: {f"sam2._orig_mod.{name}": tensor for name, tensor in state.items()},
}


@pytest.mark.parametrize("wrapping", WRAPPINGS)
def test_pickles_of_all_usual_shapes_are_read(
    nano_state: dict[str, Tensor], tmp_path: Path, wrapping: str, caplog: pytest.LogCaptureFixture
) -> None:
    torch.save(WRAPPINGS[wrapping](nano_state), tmp_path / "weights.pt")
    with caplog.at_level(logging.WARNING):
        state, config = read_state(tmp_path / "weights.pt")
    assert config == NANO
    assert_same(state, nano_state)
    stripped = {"lightning": ["model."], "data parallel": ["module."], "compiled part": ["sam2.", "_orig_mod."]}
    prefixes = stripped.get(wrapping, [])
    assert len(caplog.messages) == len(prefixes)
    assert all(repr(prefix) in text for prefix, text in zip(prefixes, caplog.messages, strict=True))


def test_files_of_old_pytorch_are_read(nano_state: dict[str, Tensor], tmp_path: Path) -> None:
    torch.save({"model": nano_state}, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    assert_same(read_state(tmp_path / "old.pth")[0], nano_state)


def test_our_own_training_checkpoints_give_the_averaged_weights(tmp_path: Path) -> None:
    now, average = mini_model(1).state_dict(), mini_model(2).state_dict()
    torch.save({"model": now, "average": average, "model_config": MINI.to_json(), "step": 5}, tmp_path / "run.pt")
    state, config = read_state(tmp_path / "run.pt")
    assert config == MINI
    assert_same(state, average)


def test_safetensors_of_others_are_recognised_by_their_shapes(nano_state: dict[str, Tensor], tmp_path: Path) -> None:
    save_file(nano_state, tmp_path / "weights.safetensors")
    state, config = read_state(tmp_path / "weights.safetensors")
    assert config == NANO
    assert_same(state, nano_state)


def test_the_content_decides_about_the_format_not_the_name(nano_state: dict[str, Tensor], tmp_path: Path) -> None:
    torch.save(nano_state, tmp_path / "pickle.safetensors")
    save_file(nano_state, tmp_path / "safe.pt")
    assert inspect(tmp_path / "pickle.safetensors").format == "torch"
    assert inspect(tmp_path / "safe.pt").format == "safetensors"


def test_a_published_file_becomes_its_model_in_float32(tmp_path: Path) -> None:
    state = random_state(PUBLISHED["sam2.1_hiera_tiny"], torch.float16)
    torch.save({"model": state}, tmp_path / "weights.pt")
    model = load_model(tmp_path / "weights.pt", image_side=64)
    assert model.config == replace(PUBLISHED["sam2.1_hiera_tiny"], image_side=64)
    assert_same(model.state_dict(), {name: tensor.float() for name, tensor in state.items()})


@pytest.fixture
def pretend(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[ModelConfig], Path]:
    """Puts the weights of a large model into a file, without their values."""

    def put(config: ModelConfig) -> Path:
        tensors = {name: torch.empty(shape, device="meta") for name, shape in shapes_of(config).items()}
        monkeypatch.setattr(checkpoint, "read_weights", lambda path: StoredWeights(dict(tensors), "torch"))
        (tmp_path / "weights.pt").touch()
        return tmp_path / "weights.pt"

    return put


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_published_model_is_recognised_by_its_weights(pretend: Callable[[ModelConfig], Path], name: str) -> None:
    path = pretend(PUBLISHED[name])
    assert read_state(path)[1] == PUBLISHED[name]
    assert inspect(path).model == name


def test_weights_that_share_memory_are_separated(nano_state: dict[str, Tensor], tmp_path: Path) -> None:
    first, second = "sam_mask_decoder.transformer.norm_final_attn.weight", "memory_attention.norm.weight"
    both = torch.rand(2, 128)
    shared = nano_state | {first: both[0], second: both[1], "no_mem_embed": nano_state["no_mem_pos_enc"]}
    torch.save(shared, tmp_path / "weights.pt")
    model = load_model(tmp_path / "weights.pt")
    assert_same(model.state_dict(), shared)
    pointers = [parameter.data_ptr() for parameter in model.parameters()]
    assert len(set(pointers)) == len(pointers)
    assert all(p.untyped_storage().nbytes() == p.nbytes for p in model.parameters())


def hugging_face_state() -> dict[str, Tensor]:
    """Random weights of the tiny model as transformers names and shapes them."""
    transformers = pytest.importorskip("transformers")
    with torch.device("meta"):
        model = transformers.Sam2VideoModel(transformers.Sam2VideoConfig())
    state = {name: torch.rand(tensor.shape).half() for name, tensor in model.state_dict().items()}
    # It keeps this matrix twice.
    state["prompt_encoder.shared_embedding.positional_embedding"] = state[
        "shared_image_embedding.positional_embedding"
    ].clone()
    return state


@pytest.mark.parity
def test_a_hugging_face_folder_is_read(tmp_path: Path) -> None:
    state = hugging_face_state()
    (tmp_path / "config.json").write_text('{"model_type": "sam2_video"}')
    save_file(state, tmp_path / "model.safetensors", metadata={"format": "pt"})
    found = inspect(tmp_path)
    assert (found.model, found.names, found.format) == ("sam2.1_hiera_tiny", "Hugging Face", "safetensors")
    model = load_model(tmp_path)
    assert torch.equal(model.no_mem_embed, state["no_memory_embedding"].float())
    save_model(model, tmp_path / "ours.safetensors", dtype=torch.float16)
    assert_same(read_state(tmp_path / "ours.safetensors")[0], model.state_dict())


# ----------------------------------------------------------------------------------------------------------- misfits


def mismatch(state: dict[str, Tensor], folder: Path, config: ModelConfig | None = None) -> str:
    save_file(state, folder / "weights.safetensors")
    with pytest.raises(CheckpointMismatchError) as caught:
        load_model(folder / "weights.safetensors", config=config)
    return str(caught.value)


def test_missing_tensors_are_named(nano_state: dict[str, Tensor], tmp_path: Path) -> None:
    del nano_state["memory_attention.norm.weight"], nano_state["mask_downsample.bias"]
    message = mismatch(nano_state, tmp_path)
    assert "2 tensors missing (mask_downsample.bias, memory_attention.norm.weight)" in message
    assert "unexpected" not in message
    assert "nearest known model is nano" in message


@pytest.fixture(autouse=True)
def _keep_nano_state(nano_state: dict[str, Tensor]) -> Iterator[None]:
    kept = dict(nano_state)
    yield
    nano_state.clear()
    nano_state.update(kept)


def test_unexpected_tensors_are_named(nano_state: dict[str, Tensor], tmp_path: Path) -> None:
    message = mismatch(nano_state | {"adapter.weight": torch.zeros(2)}, tmp_path)
    assert "1 tensors unexpected (adapter.weight)" in message
    assert "missing" not in message


def test_misshapen_tensors_are_named_with_both_shapes(nano_state: dict[str, Tensor], tmp_path: Path) -> None:
    message = mismatch(nano_state | {"maskmem_tpos_enc": torch.zeros(9, 1, 1, 32)}, tmp_path)
    assert "1 tensors misshapen (maskmem_tpos_enc [9, 1, 1, 32] instead of [7, 1, 1, 32])" in message


def test_of_many_misfits_the_first_are_named_and_all_are_counted(nano_state: dict[str, Tensor], tmp_path: Path) -> None:
    extra = {f"head.{index}.weight": torch.zeros(1) for index in range(30)}
    assert "30 tensors unexpected (" in (message := mismatch(nano_state | extra, tmp_path))
    assert "… 26 more" in message
    assert len(message) < 1000


def test_weights_of_another_model_name_that_model(pretend: Callable[[ModelConfig], Path]) -> None:
    path = pretend(PUBLISHED["sam2.1_hiera_tiny"])
    with pytest.raises(CheckpointMismatchError) as caught:
        load_model(path, config=PUBLISHED["sam2.1_hiera_small"])
    assert f"{path} does not fit sam2.1_hiera_small" in str(caught.value)
    assert "nearest known model is sam2.1_hiera_tiny (471 of its 471 tensors fit)" in str(caught.value)


@pytest.mark.parametrize("size", ["tiny", "large"])
@pytest.mark.parametrize(("held", "asked"), [("SAM 2.0", "SAM 2.1"), ("SAM 2.1", "SAM 2.0")])
def test_version_2_0_and_2_1_are_told_apart(
    pretend: Callable[[ModelConfig], Path], held: str, asked: str, size: str
) -> None:
    names = {"SAM 2.0": f"sam2_hiera_{size}", "SAM 2.1": f"sam2.1_hiera_{size}"}
    with pytest.raises(CheckpointMismatchError) as caught:
        load_model(pretend(PUBLISHED[names[held]]), config=PUBLISHED[names[asked]])
    assert f"weights of {held}, but the configuration is of {asked}" in str(caught.value)
    assert f"nearest known model is {names[held]}" in str(caught.value)


@pytest.mark.parametrize(
    "names",
    [["backbone.layer1.conv.weight", "fc.bias"], ["detector.image_encoder.trunk.pos_embed", "tracker.no_mem_embed"]],
)
def test_weights_of_which_no_name_is_known_are_refused(tmp_path: Path, names: list[str]) -> None:
    message = mismatch({name: torch.zeros(3) for name in names}, tmp_path)
    assert "none of its 2 tensors" in message
    assert names[0] in message


def test_the_encoder_alone_is_not_enough(nano_state: dict[str, Tensor], tmp_path: Path) -> None:
    encoder = {name: tensor for name, tensor in nano_state.items() if name.startswith("image_encoder")}
    assert f"{len(nano_state) - len(encoder)} tensors missing" in mismatch(encoder, tmp_path)


def test_a_changed_configuration_for_saved_weights_is_refused(own_file: Path) -> None:
    with pytest.raises(CheckpointMismatchError, match=r"does not fit mini.*memory_attention\.layers\.1"):
        load_model(own_file, config=replace(MINI, memory_layers=2))


@pytest.mark.parametrize("change", [{"stages": [10**7, 1, 1, 1]}, {"stages": 5}, {"embed_dim": 2**50}])
def test_a_stored_configuration_that_cannot_be_built_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    config = json.dumps(json.loads(MINI.to_json()) | change)
    torch.save({"model": mini_model().state_dict(), "model_config": config}, tmp_path / "run.pt")
    with pytest.raises(CheckpointError, match="configuration"):
        load_model(tmp_path / "run.pt")


@pytest.mark.parametrize("text", ["{oops", '"name"', '{"name": "mini"}', '{"width": 3}'])
def test_a_stored_configuration_that_cannot_be_read_is_refused(tmp_path: Path, text: str) -> None:
    torch.save({"model": mini_model().state_dict(), "model_config": text}, tmp_path / "run.pt")
    with pytest.raises(CheckpointError, match=r"run\.pt: the model configuration.*update it"):
        load_model(tmp_path / "run.pt")


# ------------------------------------------------------------------------------------------------------ information


def test_inspect_tells_what_a_saved_model_is(own_file: Path) -> None:
    found = inspect(own_file)
    assert (found.path, found.size_bytes, found.sha256) == (own_file, own_file.stat().st_size, file_sha256(own_file))
    assert (found.format, found.names, found.model, found.problem) == ("safetensors", "published", "mini", None)
    assert found.config == MINI
    assert found.config_stored
    assert found.summary == SUMMARY
    assert found.tensors == len(mini_model().state_dict())
    assert found.parameters == sum(parameter.numel() for parameter in mini_model().parameters())
    assert found.dtypes == {"float32": found.tensors}


def test_inspect_describes_foreign_and_unfitting_weights(nano_state: dict[str, Tensor], tmp_path: Path) -> None:
    torch.save(nano_state | {"no_mem_embed": nano_state["no_mem_embed"].half()}, tmp_path / "weights.pt")
    found = inspect(tmp_path / "weights.pt")
    assert (found.format, found.model, found.config_stored, found.summary) == ("torch", "nano", False, {})
    assert found.dtypes == {"float16": 1, "float32": len(nano_state) - 1}
    save_file({"fc.weight": torch.zeros(2, 3)}, tmp_path / "other.safetensors")
    other = inspect(tmp_path / "other.safetensors")
    assert (other.model, other.config, other.tensors, other.parameters) == (None, None, 1, 6)
    assert other.problem is not None and "none of its 1 tensors" in other.problem


# ---------------------------------------------------------------------------------------------------- damaged files


def as_pickle(path: Path) -> None:
    torch.save({"model": mini_model().state_dict(), "model_config": MINI.to_json()}, path)


def as_old_pickle(path: Path) -> None:
    content = {"model": mini_model().state_dict(), "model_config": MINI.to_json()}
    torch.save(content, path, _use_new_zipfile_serialization=False)


def as_own(path: Path) -> None:
    save_model(mini_model(), path.with_suffix(".safetensors"))
    path.with_suffix(".safetensors").rename(path)


def as_foreign(path: Path) -> None:
    save_file(mini_model().state_dict(), path)


WRITERS = {"pickle": as_pickle, "old pickle": as_old_pickle, "own": as_own, "foreign": as_foreign}


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("share", [0, 8, 0.5, 0.99], ids=["nothing", "8 bytes", "50 %", "99 %"])
def test_truncated_files_are_refused(tmp_path: Path, writer: str, share: float, suffix: str) -> None:
    path = tmp_path / f"weights{suffix}"
    WRITERS[writer](path)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content)) if share < 1 else int(share)])
    with pytest.raises(CheckpointError, match=r"again|expected") as caught:
        load_model(path, config=MINI)
    assert str(path) in str(caught.value)


@pytest.fixture(scope="module")
def two_formats(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("formats")
    contents = {}
    for name in ("pickle", "own"):
        WRITERS[name](folder / name)
        contents[name] = (folder / name).read_bytes()
    return contents


@pytest.mark.property
@pytest.mark.parametrize("writer", ["pickle", "own"])
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(position=st.floats(0, 1, exclude_max=True), mask=st.integers(1, 255))
@example(position=0.0, mask=1)
@example(position=0.5, mask=128)
@example(position=1e-4, mask=32)
@example(position=0.9999999, mask=1)
def test_a_flipped_byte_is_noticed_or_changes_nothing(
    two_formats: dict[str, bytes], tmp_path: Path, writer: str, position: float, mask: int
) -> None:
    content = bytearray(two_formats[writer])
    content[int(position * len(content))] ^= mask
    path = tmp_path / "weights"
    path.write_bytes(content)
    try:
        state, config = read_state(path)
    except CheckpointError:
        return
    assert config == MINI
    assert_same(state, mini_model().state_dict())


@pytest.mark.parametrize("place", [0.3, 0.6, 0.95])
@pytest.mark.parametrize("writer", ["pickle", "own"])
def test_a_flipped_byte_among_the_weights_is_always_noticed(
    two_formats: dict[str, bytes], tmp_path: Path, writer: str, place: float
) -> None:
    content = bytearray(two_formats[writer])
    values = next(iter(mini_model().state_dict().values())).numpy().tobytes()[:64]
    start = content.index(values) if place == 0.3 else int(place * len(content) * 0.9)
    content[start] ^= 1
    (tmp_path / "weights.pt").write_bytes(content)
    with pytest.raises(CheckpointError, match="damaged"):
        load_model(tmp_path / "weights.pt")


def picture() -> bytes:
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(np.zeros((4, 5), np.uint8)).save(stream, "png")
    return stream.getvalue()


def archive(*names: str, compression: int = zipfile.ZIP_STORED, content: bytes = b"\0" * 100_000) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as file:
        for name in names:
            file.writestr(name, content)
    return stream.getvalue()


NO_WEIGHTS = {
    "json": b'{"model": "sam2"}',
    "text": b"checkpoint of sam2\nin two lines\n.",
    "html": b"<!DOCTYPE html><html>404 Not Found</html>",
    "git lfs pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:7402\nsize 156008466\n",
    "png": picture(),
    "zip": archive("readme.txt"),
    "zip bomb": archive("w/data.pkl", compression=zipfile.ZIP_DEFLATED),
    "noise": np.random.default_rng(0).bytes(5000),
    "zeros": bytes(5000),
    "zip with a broken start": b"QK" + archive("w/data.pkl")[2:],
    "zip of another version": archive("w/data.pkl").replace(b"\x14\x00\x00\x00\x00\x00", b"\x64\x00\x00\x00\x00\x00"),
    "pickle of a number": pickle.dumps(5, protocol=2),
    "pickle of a list": pickle.dumps([1, 2], protocol=2),
}


@pytest.mark.parametrize("suffix", [".pt", ".safetensors", ""])
@pytest.mark.parametrize("kind", NO_WEIGHTS)
def test_other_files_are_refused_with_advice(tmp_path: Path, kind: str, suffix: str) -> None:
    path = tmp_path / f"weights{suffix}"
    path.write_bytes(NO_WEIGHTS[kind])
    with pytest.raises(CheckpointError, match=r"again|expected") as caught:
        load_model(path)
    assert not isinstance(caught.value, UnsafeCheckpointError)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [5, [torch.zeros(2)], {"model": {"no_mem_embed": [0.0]}}, {"epoch": 3}, {"model": {}}, {}],
    ids=["number", "list", "lists for tensors", "no weights", "empty model", "empty"],
)
def test_pickles_without_a_state_dict_are_refused(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "weights.pt")
    with pytest.raises(CheckpointError, match=r"no weights|no tensors"):
        load_model(tmp_path / "weights.pt")


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_weights_that_are_not_finite_are_refused(tmp_path: Path, value: float, dtype: torch.dtype) -> None:
    state = {name: tensor.to(dtype) for name, tensor in mini_model().state_dict().items()}
    state["no_mem_embed"][0, 0, 5] = value
    torch.save(state, tmp_path / "weights.pt")
    save_file(state, tmp_path / "weights.safetensors")
    for path in tmp_path.iterdir():
        with pytest.raises(CheckpointError, match=r"'no_mem_embed' holds NaN"):
            load_model(path, config=MINI)


@pytest.mark.parametrize("odd", [torch.zeros(3, dtype=torch.int8), torch.eye(3).to_sparse(), torch.zeros(2).cfloat()])
def test_quantised_sparse_and_complex_weights_are_refused(tmp_path: Path, odd: Tensor) -> None:
    torch.save({"no_mem_embed": odd}, tmp_path / "weights.pt")
    with pytest.raises(CheckpointError, match=r"'no_mem_embed'.*floating-point"):
        load_model(tmp_path / "weights.pt")
    save_file({"no_mem_embed": odd.to_dense()}, tmp_path / "weights.safetensors")
    if odd.dtype != torch.float32:
        with pytest.raises(CheckpointError, match=r"'no_mem_embed'.*expected one of F64"):
            load_model(tmp_path / "weights.safetensors")


def test_a_small_file_that_describes_endless_tensors_is_refused(tmp_path: Path) -> None:
    torch.save({"no_mem_embed": torch.zeros(1).expand(10**13)}, tmp_path / "weights.pt")
    with pytest.raises(CheckpointError, match="more numbers than it holds"):
        load_model(tmp_path / "weights.pt")


def safetensors_bytes(header: object, data: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def entry(dtype: str = "F32", shape: object = (2,), offsets: object = (0, 8)) -> dict[str, Any]:
    return {"w": {"dtype": dtype, "shape": shape, "data_offsets": offsets}}


BAD_HEADERS = {
    "huge length": safetensors_bytes(entry(), bytes(8), length=2**63 - 1),
    "longest length": safetensors_bytes(entry(), bytes(8), length=2**64 - 1),
    "length beyond the file": safetensors_bytes(entry(), bytes(8), length=10_000),
    "length of 200 MB": safetensors_bytes(entry(), bytes(8), length=200_000_000),
    "no json": safetensors_bytes(b'{"w": oops', bytes(8)),
    "no object": safetensors_bytes([1, 2]),
    "no utf-8": safetensors_bytes(b'{"\xff\xfe": 1}'),
    "deep json": safetensors_bytes(b'{"w":' + b"[" * 50_000 + b"]" * 50_000 + b"}"),
    "too little data": safetensors_bytes(entry(), bytes(4)),
    "too much data": safetensors_bytes(entry(), bytes(100)),
    "a hole": safetensors_bytes(entry(offsets=(8, 16)), bytes(16)),
    "shape against offsets": safetensors_bytes(entry(shape=(3,)), bytes(8)),
    "overflowing shape": safetensors_bytes(entry(shape=(2**40, 2**40)), bytes(8)),
    "negative shape": safetensors_bytes(entry(shape=(-2,)), bytes(8)),
    "reversed offsets": safetensors_bytes(entry(offsets=(8, 0)), bytes(8)),
    "unknown dtype": safetensors_bytes(entry(dtype="F31"), bytes(8)),
    "integers": safetensors_bytes(entry(dtype="I32"), bytes(8)),
    "missing entry": safetensors_bytes({"w": {"dtype": "F32", "shape": [2]}}, bytes(8)),
    "metadata of numbers": safetensors_bytes({"__metadata__": {"a": 1}} | entry(), bytes(8)),
    "no tensors": safetensors_bytes({}),
    "only metadata": safetensors_bytes({"__metadata__": {"sam2_format": "1"}}),
}


@pytest.mark.parametrize("kind", BAD_HEADERS)
def test_malformed_safetensors_are_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "weights.safetensors"
    path.write_bytes(BAD_HEADERS[kind])
    with pytest.raises(CheckpointError) as caught:
        load_model(path)
    assert not isinstance(caught.value, CheckpointMismatchError)
    assert str(path) in str(caught.value)


@pytest.mark.property
@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=300))
def test_arbitrary_headers_never_end_in_another_error(tmp_path: Path, header: bytes) -> None:
    (tmp_path / "weights.safetensors").write_bytes(safetensors_bytes(b"{" + header, bytes(16)))
    with pytest.raises(CheckpointError):
        load_model(tmp_path / "weights.safetensors")


def rewritten(path: Path, **metadata: str | None) -> None:
    """Change the header of a file of ours."""
    with safe_open(path, framework="pt") as file:
        entries = file.metadata() | metadata
    save_file(load_file(path), path, {key: value for key, value in entries.items() if value is not None})


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"sam2_format": "2"}, "update the package"),
        ({"sam2_format": "one"}, "damaged"),
        ({"sam2_config": replace(MINI, num_heads=2).to_json()}, "damaged"),
        ({"sam2_summary": '{"mean_iou": 0.99}'}, "damaged"),
        ({"sam2_sha256": None}, "lacks sam2_sha256"),
        ({"sam2_config": None, "sam2_sha256": None}, "lacks sam2_config, sam2_sha256"),
    ],
)
def test_a_changed_header_is_noticed(
    own_file: Path, tmp_path: Path, metadata: dict[str, str | None], message: str
) -> None:
    path = tmp_path / "mini.safetensors"
    shutil.copy(own_file, path)
    rewritten(path, **metadata)
    with pytest.raises(CheckpointError, match=message):
        load_model(path)


def test_what_cannot_be_opened_is_named(tmp_path: Path) -> None:
    if os.name != "nt":
        (tmp_path / "loop.pt").symlink_to("loop.pt")
        with pytest.raises(OSError, match=r"loop\.pt"):
            load_model(tmp_path / "loop.pt")
    with pytest.raises(CheckpointError, match="holds no weights"):
        load_model(tmp_path)


# ------------------------------------------------------------------------------------------------------- hostile files


class Trap:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (str(self.path), "w")


def trapped_archive(trap: Trap, path: Path) -> None:
    torch.save({"model": {"no_mem_embed": torch.zeros(2)}, "extra": trap}, path)


def trapped_old(trap: Trap, path: Path) -> None:
    torch.save({"model": {"no_mem_embed": torch.zeros(2)}, "extra": trap}, path, _use_new_zipfile_serialization=False)


def trapped_pickle(protocol: int) -> Callable[[Trap, Path], None]:
    return lambda trap, path: path.write_bytes(pickle.dumps({"model": trap}, protocol=protocol)) and None


TRAPS = {"archive": trapped_archive, "old": trapped_old} | {
    f"pickle {protocol}": trapped_pickle(protocol) for protocol in range(pickle.HIGHEST_PROTOCOL + 1)
}


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize("kind", TRAPS)
def test_a_file_that_would_run_code_is_refused_and_nothing_runs(tmp_path: Path, kind: str, suffix: str) -> None:
    sprung = tmp_path / "sprung"
    path = tmp_path / f"weights{suffix}"
    TRAPS[kind](Trap(sprung), path)
    for use in (load_model, read_state, inspect):
        with pytest.raises(CheckpointError) as caught:
            use(path)
        assert not sprung.exists()
        # An old pickle called .safetensors is simply taken for damaged ones.
        if suffix == ".pt" or kind not in ("pickle 0", "pickle 1"):
            assert isinstance(caught.value, UnsafeCheckpointError)
            assert "open" in str(caught.value)


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_the_trap_of_these_tests_works(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Trap(tmp_path / "sprung"))).close()
    assert (tmp_path / "sprung").exists()


def test_no_environment_variable_lifts_the_protection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    trapped_archive(Trap(tmp_path / "sprung"), tmp_path / "weights.pt")
    with pytest.raises(UnsafeCheckpointError):
        load_model(tmp_path / "weights.pt")
    assert not (tmp_path / "sprung").exists()


def test_programs_in_place_of_weights_are_refused(tmp_path: Path) -> None:
    (tmp_path / "script.pt").write_bytes(archive("m/data.pkl", "m/constants.pkl", "m/code/__torch__.py"))
    with pytest.raises(UnsafeCheckpointError, match="TorchScript"):
        load_model(tmp_path / "script.pt")
    torch.save(torch.nn.Linear(2, 2), tmp_path / "module.pt")
    with pytest.raises(UnsafeCheckpointError, match="Linear"):
        load_model(tmp_path / "module.pt")


# -------------------------------------------------------------------------------------------------------------- cost


MEASURE = """
import sys
from pathlib import Path
from sam2_engine.checkpoint import load_model

def peak():
    return 1024 * int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])

load_model(sys.argv[1])
Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
before = peak()
model = load_model(sys.argv[2])
print(peak() - before, "sympy" in sys.modules)
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux tells the peak of its memory")
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_loading_takes_the_memory_of_the_weights_once(
    own_file: Path, nano_state: dict[str, Tensor], tmp_path: Path, suffix: str
) -> None:
    path = tmp_path / f"nano{suffix}"
    torch.save({"model": nano_state}, path) if suffix == ".pt" else save_file(nano_state, path)
    command = [sys.executable, "-c", MEASURE, str(own_file), str(path)]
    grown, drew_in_sympy = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    assert 0.8 * path.stat().st_size < int(grown) < 1.5 * path.stat().st_size
    assert drew_in_sympy == "False"
