"""The model's four functions from recordings: they give what the model computes, and nothing hinders a graph."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from sam2_engine import Box, Click, Prompts, Session, attention, load_tracker, open_session, token_ops
from sam2_engine.build import build_sam2_video_predictor
from sam2_engine.config import ModelConfig
from sam2_engine.graphs import Rehearsal
from sam2_engine.model import Memory, PointKind, PromptTensors, Sam2, hiera, mask_decoder, memory_attention
from sam2_engine.model_graphs import GraphedSteps
from sam2_engine.placement import Placement
from sam2_engine.tracking import Tracker

from .tape import TapeRecorder


@pytest.fixture(autouse=True)
def no_own_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are called past PyTorch's dispatcher, so that a tape does not see them; nor are they there on a GPU."""
    for module, name in ((attention, "is_quick"), (attention, "is_quick_in_windows"), (token_ops, "is_quick")):
        monkeypatch.setattr(module, name, lambda *_, **__: False)


@pytest.fixture(scope="module")
def published_kind(little: ModelConfig) -> Sam2:
    """A little model with the switches of the published ones."""
    with torch.random.fork_rng():
        torch.manual_seed(5)
        changes = {"drawn_prompts": False, "refines_mask": False, "previous_logits": False, "edge_channels": 0}
        model = Sam2(replace(little, **changes)).eval()  # type: ignore[arg-type]
        for mixer in model.sam_mask_decoder.output_hypernetworks_mlps:
            torch.nn.init.normal_(mixer.layers[-1].weight, std=0.5)
        torch.nn.init.constant_(model.sam_mask_decoder.pred_obj_score_head.layers[-1].bias, 2.0)
    return model.requires_grad_(False)


def memory_of(model: Sam2, objects: int, count: int, pointers: int) -> Memory:
    config = model.config
    side = config.image_side // 16
    return Memory(
        tuple(torch.randn(objects, config.memory_dim, side, side).bfloat16() for _ in range(count)),
        tuple(range(count)),
        torch.randn(objects, pointers, config.dim) if pointers else None,
        torch.linspace(-1, 1, pointers) if pointers else None,
    )


def prompts_of(objects: int, points: int, side: int, *, mask: bool) -> PromptTensors:
    kinds = torch.full((objects, points), int(PointKind.POSITIVE))
    return PromptTensors(
        torch.rand(objects, points, 2) * side,
        torch.where(torch.rand(objects, points) < 0.3, int(PointKind.PADDING), kinds),
        torch.randn(objects, 1, side // 4, side // 4) if mask else None,
    )


def assert_same(found: tuple[Tensor, ...], expected: tuple[Tensor, ...]) -> None:
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@torch.inference_mode()
def test_every_step_gives_what_the_model_gives(published_kind: Sam2, precision: torch.dtype) -> None:
    model, side = published_kind, published_kind.config.image_side
    recorder = TapeRecorder()
    steps = GraphedSteps(model, recorder)
    torch.manual_seed(0)
    with torch.autocast("cpu", precision, enabled=precision != torch.float32):
        for _ in range(6):
            pixels = torch.randn(1, 3, side, side)
            features, expected = steps.encode_image(pixels), model.encode_image(pixels)
            assert_same((features.embedding, *features.skips), (expected.embedding, *expected.skips))
            memory = memory_of(model, 2, 3, 4)
            view = steps.condition(features.embedding, memory)
            assert_same((view,), (model.condition(features.embedding, memory),))
            prompts = prompts_of(2, 3, side, mask=True)
            offered, wanted = (one.decode(view, features.skips, prompts) for one in (steps, model))
            assert_same(
                (offered.logits, offered.iou, offered.pointers, offered.object_score),
                (wanted.logits, wanted.iou, wanted.pointers, wanted.object_score),
            )
            mask, score = torch.rand(2, 1, side, side), torch.randn(2, 1)
            assert_same(
                (steps.remember(features.embedding, mask, score),), (model.remember(features.embedding, mask, score),)
            )
    assert steps.graphs.told.refused == {}
    assert (recorder.records, steps.graphs.told.played) == (4, 16)


@torch.inference_mode()
def test_memories_of_other_distances_are_recorded_by_themselves(published_kind: Sam2) -> None:
    steps = GraphedSteps(published_kind, TapeRecorder())
    embedding = published_kind.encode_image(torch.randn(1, 3, 64, 64)).embedding
    for slots in ((0, 1, 2), (0, 2, 1)) * 4:
        for pointers in (0, 2):
            memory = replace(memory_of(published_kind, 1, 3, pointers), slots=slots)
            assert_same((steps.condition(embedding, memory),), (published_kind.condition(embedding, memory),))
    assert steps.graphs.told.recorded == 4
    assert steps.graphs.told.refused == {}


@torch.inference_mode()
def test_models_that_look_at_their_prompts_are_decoded_plainly_without_a_warning(
    tiny_model: Sam2, caplog: pytest.LogCaptureFixture
) -> None:
    recorder = TapeRecorder()
    steps = GraphedSteps(tiny_model, recorder)
    features = tiny_model.encode_image(torch.randn(1, 3, 64, 64))
    for _ in range(5):
        steps.decode(features.embedding, features.skips, prompts_of(1, 1, 64, mask=False))
    assert recorder.records == 0
    assert caplog.messages == []


def test_a_session_gives_the_same_masks_with_recordings(published_kind: Sam2, clip: NDArray[np.uint8]) -> None:
    steps = GraphedSteps(published_kind, TapeRecorder())
    found = []
    for tracker in (Tracker(published_kind), Tracker(published_kind, steps=steps)):
        session = Session(np.concatenate([clip] * 4), tracker)
        session.prompt("a", 0, Prompts((Click(12, 10),)))
        session.prompt("b", 0, Prompts(box=Box(28, 22, 40, 34)))
        found.append(list(session.propagate()))
    for plain, played in zip(*found, strict=True):
        for obj, mask in plain.masks.items():
            assert np.mean(mask != played.masks[obj]) < 0.002
    assert steps.graphs.told.played > 60
    assert steps.graphs.told.refused == {}


@torch.inference_mode()
def test_weights_put_in_the_place_of_others_are_noticed(published_kind: Sam2) -> None:
    model = copy.deepcopy(published_kind)
    steps = GraphedSteps(model, TapeRecorder())
    pixels = torch.randn(1, 3, 64, 64)
    for _ in range(5):
        steps.encode_image(pixels)
    before = steps.graphs
    changed = {name: value * 1.1 for name, value in model.state_dict().items()}
    with torch.inference_mode(False):
        model.load_state_dict({name: value.clone() for name, value in changed.items()}, assign=True)
    for _ in range(5):
        features, expected = steps.encode_image(pixels), model.encode_image(pixels)
        assert_same((features.embedding, *features.skips), (expected.embedding, *expected.skips))
    assert steps.graphs is not before
    assert len(before) == 0


@torch.inference_mode()
def test_nothing_hinders_a_graph_of_the_published_architecture(
    published_kind: Sam2, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found without a GPU: on a device that holds no numbers nobody can wait for one, or bring in those of another."""
    for module in (hiera, mask_decoder, memory_attention):  # nor is there autocast
        monkeypatch.setattr(module, "in_compute_format", lambda x: x)
    device, config = torch.device("meta"), published_kind.config
    side, grid = config.image_side, config.image_side // 16
    with device:
        model = Sam2(config).eval()
        pixels, mask, score = torch.empty(1, 3, side, side), torch.empty(2, 1, side, side), torch.empty(2, 1)
        spatial = tuple(torch.empty(2, config.memory_dim, grid, grid, dtype=torch.bfloat16) for _ in range(3))
        memory = Memory(spatial, (0, 2, 1), torch.empty(2, 4, config.dim), torch.empty(4))
        kinds = torch.empty(2, 3, dtype=torch.int64)
        prompts = PromptTensors(torch.empty(2, 3, 2), kinds, torch.empty(2, 1, side // 4, side // 4))
    features = model.encode_image(pixels)
    view = model.condition(features.embedding, memory)
    steps: dict[str, Callable[[], object]] = {
        "encode_image": lambda: model.encode_image(pixels),
        "condition": lambda: model.condition(features.embedding, memory),
        "decode": lambda: model.decode(view, features.skips, prompts),
        "remember": lambda: model.remember(features.embedding, mask, score),
    }
    for name, step in steps.items():
        with Rehearsal(device) as watched:
            step()
        assert (name, watched.obstacle) == (name, None)


def test_graphs_are_asked_for_by_name_and_change_nothing_without_a_gpu(clip: NDArray[np.uint8]) -> None:
    found = []
    for graphs in (False, True):
        tracker = load_tracker(device="cpu", graphs=graphs)
        assert isinstance(tracker.steps, GraphedSteps) == graphs
        session = open_session(clip, tracker)
        session.prompt("a", 0, Prompts((Click(12, 10),)))
        found.append(list(session.propagate()))
    for plain, asked in zip(*found, strict=True):
        np.testing.assert_array_equal(plain.masks["a"], asked.masks["a"])
    assert isinstance(tracker.steps, GraphedSteps)
    assert tracker.steps.graphs.told.recorded == 0


def test_graphs_are_used_by_those_who_ask_for_them_by_name() -> None:
    for wish in (False, True):
        predictor = build_sam2_video_predictor("default", device="cpu", vos_optimized=True, graphs=wish)
        steps = predictor.init_state(np.zeros((1, 32, 32, 3), np.uint8)).session.tracker.steps
        assert isinstance(steps, GraphedSteps) == wish


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_cuda_graphs_give_the_masks_of_plain_computing(
    published_kind: Sam2, clip: NDArray[np.uint8], precision: torch.dtype
) -> None:
    device = torch.device("cuda", 0)
    model = copy.deepcopy(published_kind).to(device)
    placement = Placement(device, precision)
    steps = GraphedSteps(model)
    found = []
    for tracker in (Tracker(model, placement), Tracker(model, placement, steps=steps)):
        session = Session(np.concatenate([clip] * 4), tracker)
        session.prompt("a", 0, Prompts((Click(12, 10),)))
        session.prompt("b", 0, Prompts(box=Box(28, 22, 40, 34)))
        found.append(list(session.propagate()))
    assert steps.graphs.told.refused == {}
    assert steps.graphs.told.played > 60
    for plain, played in zip(*found, strict=True):
        for obj, mask in plain.masks.items():
            assert np.mean(mask != played.masks[obj]) < 0.01
