"""What the network promises beyond equality with the published one."""

from __future__ import annotations

import copy
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from sam2_engine import attention
from sam2_engine.config import MODELS, PUBLISHED, ModelConfig, find_config
from sam2_engine.errors import CheckpointError, CheckpointMismatchError
from sam2_engine.model import Memory, PointKind, PromptTensors, Sam2, layers
from sam2_engine.model.layers import MAX_SCORES, Activation, Convolution, Derived, Linear, attend
from sam2_engine.model.position import rotary_table, rotate, rotate_in_place
from sam2_engine.model.prompt_encoder import DISC_LOGIT, INSIDE_LOGIT, OUTSIDE_LOGIT, draw


def one_click(x: float = 20.0, y: float = 30.0) -> PromptTensors:
    return PromptTensors(torch.tensor([[[x, y]]]), torch.tensor([[int(PointKind.POSITIVE)]]))


@pytest.mark.parametrize("side", [32, 64, 96, 160])
def test_any_multiple_of_32_is_an_input_side(tiny_model: Sam2, side: int) -> None:
    with torch.inference_mode():
        features = tiny_model.encode_image(torch.randn(1, 3, side, side))
        view = tiny_model.condition(features.embedding, None)
        candidates = tiny_model.decode(view, features.skips, one_click())
    assert features.embedding.shape == (1, 128, side // 16, side // 16)
    assert candidates.logits.shape == (1, 4, side // 4, side // 4)
    assert torch.isfinite(candidates.logits).all()


def test_skips_equal_the_two_convolutions_they_are_made_of(tiny_model: Sam2) -> None:
    pixels = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        levels = tiny_model.image_encoder.trunk(pixels)
        convs, decoder = tiny_model.image_encoder.neck.convs, tiny_model.sam_mask_decoder
        expected = (decoder.conv_s0(convs[3](levels[0])), decoder.conv_s1(convs[2](levels[1])))
        for skip, wanted in zip(tiny_model.encode_image(pixels).skips, expected, strict=True):
            torch.testing.assert_close(skip, wanted, rtol=1e-4, atol=1e-5)


def test_averaging_narrow_memories_first_changes_nothing(tiny_model: Sam2) -> None:
    torch.manual_seed(0)
    memory = Memory(
        tuple(torch.randn(2, 32, 4, 4) for _ in range(3)), (0, 2, 1), torch.randn(2, 5, 128), torch.linspace(0, 1, 5)
    )
    embedding = torch.randn(1, 128, 4, 4)
    with torch.inference_mode():
        quick = tiny_model.condition(embedding, memory)
    plain = tiny_model.condition(embedding, memory).detach()  # with gradients, nothing is done in another order
    assert quick.shape == (2, 128, 4, 4)
    torch.testing.assert_close(quick, plain, rtol=1e-4, atol=1e-5)


def test_it_makes_no_difference_which_instructions_there_are(tiny_model: Sam2, monkeypatch: pytest.MonkeyPatch) -> None:
    memory = Memory((torch.randn(2, 32, 4, 4),), (0,), torch.randn(2, 5, 128), torch.linspace(0, 1, 5))
    pixels, embedding = torch.randn(1, 3, 64, 64), torch.randn(1, 128, 4, 4)
    with torch.inference_mode():
        usual = tiny_model.encode_image(pixels).embedding, tiny_model.condition(embedding, memory)
        monkeypatch.setattr(layers, "HAS_ONEDNN", False)
        monkeypatch.setattr(attention, "instructions", lambda dtype: attention.NONE)
        plain = tiny_model.encode_image(pixels).embedding, tiny_model.condition(embedding, memory)
    for a, b in zip(usual, plain, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_packed_weights_follow_the_weights(tmp_path: Path) -> None:
    layer, x = Linear(64, 512), torch.randn(400, 64)
    with torch.inference_mode():
        before = layer(x)
    with torch.no_grad():
        layer.weight.mul_(2.0)
        layer.bias.zero_()
    with torch.inference_mode():
        torch.testing.assert_close(layer(x), F.linear(x, layer.weight, layer.bias), rtol=1e-5, atol=1e-5)
        assert not torch.allclose(layer(x), before)
    torch.save(layer, tmp_path / "layer.pt")  # after it was used: what is packed cannot be saved, and is not
    for copied in (copy.deepcopy(layer), torch.load(tmp_path / "layer.pt", weights_only=False)):
        with torch.inference_mode():
            assert torch.equal(copied(x), layer(x))


@pytest.mark.parametrize("activation", ["none", "relu", "gelu"])
@pytest.mark.parametrize(("channels", "size", "reach"), [((5, 24), 3, 1), ((24, 24), 3, 2), ((16, 7), 1, 1)])
@pytest.mark.parametrize("shape", [(1, 12, 12), (3, 9, 17), (1, 1, 1)])
def test_convolutions_give_the_same_with_and_without_gradients(
    activation: Activation, channels: tuple[int, int], size: int, reach: int, shape: tuple[int, int, int]
) -> None:
    layer = Convolution(*channels, size=size, reach=reach)
    x = torch.randn(shape[0], channels[0], *shape[1:])
    plain = layer(x, activation)
    assert plain.requires_grad and plain.shape == (shape[0], channels[1], *shape[1:])
    with torch.inference_mode():
        torch.testing.assert_close(layer(x, activation), plain.detach(), rtol=1e-5, atol=1e-5)
        with torch.autocast("cpu", torch.bfloat16):
            torch.testing.assert_close(layer(x, activation).float(), plain.detach(), rtol=2e-2, atol=2e-2)
    with torch.no_grad():
        layer.weight.mul_(-2.0)
        torch.testing.assert_close(layer(x), F.conv2d(x, layer.weight, layer.bias, 1, layer.padding, reach))


def test_several_threads_may_be_the_first_to_use_a_layer() -> None:
    x = torch.randn(400, 64)

    def use(layer: Linear, together: threading.Barrier) -> torch.Tensor:
        together.wait()
        with torch.inference_mode():
            return layer(x)

    with ThreadPoolExecutor(4) as threads:
        for _ in range(20):
            layer, together = Linear(64, 512), threading.Barrier(4)
            first, *others = threads.map(use, [layer] * 4, [together] * 4)
            assert all(torch.equal(first, other) for other in others)


@pytest.mark.parametrize("activation", ["none", "relu", "gelu"])
@pytest.mark.parametrize("rows", [0, 1, 7, 3000])
def test_linear_layers_give_the_same_with_and_without_gradients(activation: Activation, rows: int) -> None:
    layer, x = Linear(48, 40), torch.randn(2, rows, 48)
    wanted = layer(x, activation).detach()
    with torch.inference_mode():
        torch.testing.assert_close(layer(x, activation), wanted, rtol=1e-5, atol=1e-5)
        with torch.autocast("cpu", torch.bfloat16):
            reduced = layer(x, activation)
    assert reduced.dtype == torch.bfloat16
    torch.testing.assert_close(reduced.float(), wanted, rtol=0.05, atol=0.05)


@given(grids=st.integers(1, 3), rest=st.integers(0, 3), batch=st.integers(1, 2), half=st.booleans())
def test_rotating_in_place_gives_the_same(grids: int, rest: int, batch: int, half: bool) -> None:
    table = rotary_table(3, 5, 16, torch.device("cpu"))
    keys = torch.randn(batch, grids * 15 + rest, 16).to(torch.bfloat16 if half else torch.float32)
    wanted = rotate(keys[:, : grids * 15], table)
    tail = keys[:, grids * 15 :].clone()
    with torch.inference_mode():
        rotate_in_place(keys[:, : grids * 15], table)
    torch.testing.assert_close(keys[:, : grids * 15], wanted, rtol=1e-2 if half else 1e-5, atol=1e-2 if half else 1e-6)
    assert torch.equal(keys[:, grids * 15 :], tail)


def test_memories_without_pointers_are_enough(tiny_model: Sam2) -> None:
    with torch.inference_mode():
        view = tiny_model.condition(torch.randn(1, 128, 4, 4), Memory((torch.randn(3, 32, 4, 4),), (0,)))
    assert view.shape == (3, 128, 4, 4)


def test_position_tables_made_in_inference_serve_training_too() -> None:
    model = Sam2(MODELS["nano"].at_side(64))
    memory = Memory((torch.randn(1, 32, 4, 4),), (1,))
    with torch.inference_mode():
        model.condition(torch.randn(1, 128, 4, 4), memory)
    model.condition(torch.randn(1, 128, 4, 4), memory).sum().backward()
    assert model.maskmem_tpos_enc.grad is not None


class TestDrawnPrompts:
    def test_a_click_is_a_disc_at_its_place(self) -> None:
        plane = draw(one_click(x=16 * 4 - 0.5 + 2 - 1.5, y=8 * 4), 32)
        assert plane is not None
        row, column = divmod(int(plane[0, 0].argmax()), 32)
        assert (row, column) == (8, 15) or (row, column) == (8, 16)
        assert 0.9 * DISC_LOGIT < float(plane.max()) <= DISC_LOGIT

    def test_negative_clicks_are_negative(self) -> None:
        prompts = replace(one_click(), kinds=torch.tensor([[int(PointKind.NEGATIVE)]]))
        plane = draw(prompts, 32)
        assert plane is not None
        assert float(plane.min()) < -0.9 * DISC_LOGIT

    def test_a_box_is_open_inside_and_closed_outside(self) -> None:
        corners = torch.tensor([[[32.0, 32.0], [96.0, 96.0]]])
        plane = draw(PromptTensors(corners, torch.tensor([[2, 3]])), 32)
        assert plane is not None
        torch.testing.assert_close(plane[0, 0, 16, 16], torch.tensor(INSIDE_LOGIT), atol=0.1, rtol=0)
        torch.testing.assert_close(plane[0, 0, 2, 2], torch.tensor(OUTSIDE_LOGIT), atol=0.1, rtol=0)

    def test_padding_draws_nothing(self) -> None:
        padding = PromptTensors(torch.zeros(1, 1, 2), torch.tensor([[int(PointKind.PADDING)]]))
        assert draw(padding, 32) is None
        mask = torch.randn(1, 1, 32, 32)
        assert draw(replace(padding, mask=mask), 32) is mask

    def test_clicks_are_added_to_the_previous_logits(self) -> None:
        mask = torch.full((1, 1, 32, 32), -3.0)
        plane = draw(replace(one_click(), mask=mask), 32)
        assert plane is not None
        torch.testing.assert_close(plane[0, 0, 31, 31], torch.tensor(-3.0))
        assert float(plane.max()) > 4


def test_a_given_mask_stays_in_part() -> None:
    """Only in models that refine masks: with the decoder silenced, the given mask is what comes out."""
    model = Sam2(MODELS["nano"].at_side(64)).eval()
    torch.nn.init.zeros_(model.sam_mask_decoder.output_hypernetworks_mlps[0].layers[-1].weight)
    torch.nn.init.zeros_(model.sam_mask_decoder.output_hypernetworks_mlps[0].layers[-1].bias)
    given = torch.randn(1, 1, 16, 16) * 4
    with torch.inference_mode():
        features = model.encode_image(torch.randn(1, 3, 64, 64))
        out = model.decode(features.embedding, features.skips, replace(one_click(), mask=given)).logits[:, :1]
    torch.testing.assert_close(out > 0, given > 0)
    torch.testing.assert_close(out, 0.5 * given.clamp(-8, 8))


class TestConfig:
    @pytest.mark.parametrize("config", MODELS.values(), ids=list(MODELS))
    def test_json_brings_it_back(self, config: ModelConfig) -> None:
        assert ModelConfig.from_json(config.to_json()) == config

    @given(st.one_of(st.text(), st.sampled_from(["[]", "3", "null", "{}"])))
    def test_other_text_is_a_named_error(self, text: str) -> None:
        with pytest.raises(CheckpointError):
            ModelConfig.from_json(text)

    @pytest.mark.parametrize("config", PUBLISHED.values(), ids=list(PUBLISHED))
    def test_weights_tell_which_model_they_are(self, config: ModelConfig) -> None:
        with torch.device("meta"):
            weights = Sam2(config).state_dict()
        assert ModelConfig.from_weights(weights) == config

    def test_unknown_shapes_are_named(self) -> None:
        with pytest.raises(CheckpointMismatchError, match=r"\(0, 0\)"):
            ModelConfig.from_weights({})

    @pytest.mark.parametrize(
        "name",
        [
            "sam2.1_hiera_base_plus",
            "facebook/sam2.1-hiera-base-plus",
            "configs/sam2.1/sam2.1_hiera_b+.yaml",
            "sam2.1_hiera_base_plus.pt",
        ],
    )
    def test_a_model_goes_by_many_names(self, name: str) -> None:
        assert find_config(name).name == "sam2.1_hiera_base_plus"

    def test_an_unknown_name_lists_the_known_ones(self) -> None:
        with pytest.raises(CheckpointError, match=r"sam2\.1_hiera_tiny"):
            find_config("sam9")

    @pytest.mark.parametrize("side", [0, 100, -32])
    def test_impossible_sides_are_refused(self, side: int) -> None:
        with pytest.raises(ValueError, match="multiple of 32"):
            MODELS["nano"].at_side(side)


@pytest.mark.parametrize("tokens", [6, MAX_SCORES // 4])
def test_attention_in_half_precision_and_its_gradients_equal_those_in_full(tokens: int) -> None:
    torch.manual_seed(2)
    queries, keys, values = torch.randn(1, 2, 5, 8), torch.randn(1, 2, tokens, 8), torch.randn(1, 2, tokens, 8)

    def attended(dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
        leaf = queries.detach().clone().to(dtype).requires_grad_()
        out = attend(leaf, keys.to(dtype), values.to(dtype))
        (3 * out).sum().backward()
        assert leaf.grad is not None
        assert out.dtype == leaf.grad.dtype == dtype
        return out.detach().float(), leaf.grad.float()

    for full, half in zip(attended(torch.float32), attended(torch.bfloat16), strict=True):
        torch.testing.assert_close(half, full, atol=0.03, rtol=0.05)


def test_reduced_precision_gives_nearly_the_same_masks(tiny_model: Sam2) -> None:
    torch.manual_seed(1)
    pixels = torch.randn(1, 3, 64, 64)

    def logits() -> torch.Tensor:
        features = tiny_model.encode_image(pixels)
        return tiny_model.decode(tiny_model.condition(features.embedding, None), features.skips, one_click()).logits

    with torch.inference_mode():
        full = logits()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            reduced = logits()
    assert reduced.dtype == torch.float32
    assert float(F.mse_loss(reduced, full)) < 0.01 * float(full.var())


def test_what_was_made_of_weights_that_are_gone_is_not_taken_for_that_of_others_in_their_place() -> None:
    kept = Derived()
    for value in range(50):  # each lies where the one before lay
        made_anew = torch.full((64, 64), float(value))
        assert kept.get("sum", (made_anew,), lambda weight=made_anew: float(weight.mean())) == value  # type: ignore[misc]
        del made_anew


def test_linear_layers_whose_weights_are_computed_at_every_call_follow_them() -> None:
    class Scaled(torch.nn.Module):
        factor = 1.0

        def forward(self, weight: torch.Tensor) -> torch.Tensor:
            return weight * self.factor

    layer, scaled, x = Linear(64, 64), Scaled(), torch.randn(512, 64)
    torch.nn.utils.parametrize.register_parametrization(layer, "weight", scaled)
    with torch.no_grad():
        for scaled.factor in (1.0, 2.0, 3.0, 4.0):
            expected = F.linear(x, layer.weight, layer.bias)
            torch.testing.assert_close(layer(x), expected, atol=1e-4, rtol=1e-4)
