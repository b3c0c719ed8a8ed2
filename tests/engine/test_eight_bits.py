"""The encoder's large layers in 8 bits: rounding as its plain twin does, and masks that stay what they are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from sam2_engine import kernels
from sam2_engine.benchmarking.engine import Engine
from sam2_engine.benchmarking.variants import OWN_VARIANTS
from sam2_engine.errors import SettingError
from sam2_engine.kept_features import model_key
from sam2_engine.model import Sam2, eight_bits
from sam2_engine.model.eight_bits import EightBitLinear, is_available, is_rounded, quantise, quantise_twin, rounded
from sam2_engine.model.layers import Linear
from sam2_engine.opening import load_tracker
from sam2_engine.placement import Placement
from sam2_engine.prompts import Box, Click, Prompts
from sam2_engine.session import Session
from sam2_engine.tracking import Tracker

LOWEST_IOU = 0.99
IN_BF16 = Placement(compute=torch.bfloat16)

needs_kernels = pytest.mark.skipif(kernels.library("cpu") is None, reason="needs the compiled kernels")
needs_int8 = pytest.mark.skipif(not is_available(), reason="needs AVX512-VNNI, AVX512-BF16 and the compiled kernels")


@needs_kernels
@pytest.mark.parametrize("count", [0, 1, 31, 40_000, 300_001])
@pytest.mark.parametrize("scale", [0.0, 1e-6, 1.0, 1e6])
def test_numbers_are_rounded_as_by_the_twin(count: int, scale: float) -> None:
    x = (torch.randn(count, generator=torch.Generator().manual_seed(count)) * scale).bfloat16()
    found, step = quantise(x)
    expected, expected_step = quantise_twin(x)
    assert step == pytest.approx(expected_step, rel=1e-6)
    # Where a number lies between two steps, a product that is rounded once less may fall on the other side.
    assert int((found.int() - expected.int()).abs().max() if count else 0) <= 1
    assert int((found != expected).sum()) <= count / 1000
    assert ((found.int() - 128) * step - x.float()).abs().max().item() <= 0.51 * step if count else True


@needs_int8
@pytest.mark.parametrize("activation", ["none", "relu", "gelu"])
def test_a_layer_is_off_by_rounding_only(activation: str) -> None:
    torch.manual_seed(0)
    plain, layer = Linear(256, 512), EightBitLinear(256, 512)
    layer.load_state_dict(plain.state_dict())
    x = torch.randn(1, 40, 40, 256)
    with torch.inference_mode():
        expected = plain(x, activation)
        with torch.autocast("cpu", torch.bfloat16):
            found, reduced = layer(x, activation), plain(x, activation)
    assert found.dtype == torch.bfloat16
    assert not torch.equal(found, reduced), "bfloat16 was taken"
    assert (found.float() - expected).norm() / expected.norm() < 0.02


@needs_int8
def test_without_bfloat16_and_where_the_work_is_little_nothing_is_rounded() -> None:
    torch.manual_seed(0)
    plain, layer = Linear(64, 64), EightBitLinear(64, 64)
    layer.load_state_dict(plain.state_dict())
    large, small = torch.randn(30_000, 64), torch.randn(8, 64)
    with torch.inference_mode():
        assert torch.equal(layer(large), plain(large))
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(layer(small), plain(small))


@needs_int8
def test_new_weights_are_rounded_anew() -> None:
    layer, x = EightBitLinear(256, 512), torch.randn(1000, 256)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        before = layer(x).float()
    with torch.no_grad():
        layer.weight.mul_(2)
        layer.bias.mul_(2)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(layer(x).float(), 2 * before)


@needs_int8
def test_the_model_stays_as_it_was_and_shares_its_weights(tiny_model: Sam2) -> None:
    twin = rounded(tiny_model)
    assert is_rounded(twin)
    assert not is_rounded(tiny_model)
    assert list(twin.state_dict()) == list(tiny_model.state_dict())
    mine, theirs = dict(tiny_model.named_parameters()), dict(twin.named_parameters())
    assert all(theirs[name] is parameter for name, parameter in mine.items())
    kinds = {type(module) for module in twin.sam_mask_decoder.modules()}
    assert EightBitLinear not in kinds


@needs_int8
def test_kept_features_of_both_are_told_apart(tiny_model: Sam2) -> None:
    assert model_key(Tracker(tiny_model, IN_BF16)) != model_key(Tracker(rounded(tiny_model), IN_BF16))


@needs_int8
def test_masks_in_int8_are_those_of_fp32(monkeypatch: pytest.MonkeyPatch) -> None:
    # The small model is too small for it to be worth it; its weights are the trained ones that there are.
    monkeypatch.setattr(eight_bits, "FEWEST_WORTH", 0)
    plain, reduced = (_masks(load_tracker(precision=name)) for name in ("fp32", "int8"))
    assert plain.any(axis=(2, 3)).all(), "an object was lost: nothing is compared"
    overlap = (plain & reduced).sum(axis=(2, 3)) / (plain | reduced).sum(axis=(2, 3))
    assert overlap.mean() >= LOWEST_IOU


def test_where_it_is_not_to_be_had_an_error_says_what_to_use(tiny_model: Sam2, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(eight_bits, "is_available", lambda: False)
    with pytest.raises(SettingError, match=r"AVX512-VNNI.*use bf16 or fp32"):
        rounded(tiny_model)
    with pytest.raises(SettingError, match="use bf16 there"):
        rounded(Sam2(replace(tiny_model.config)).to("meta"))


def _masks(tracker: Tracker) -> np.ndarray:
    y, x = np.mgrid[:192, :192]
    frames = np.random.default_rng(0).normal(40, 6, (3, 192, 192))
    for frame, plane in enumerate(frames):
        for cy, cx, radius in ((60 + 2 * frame, 60, 26), (130, 120 + 3 * frame, 34)):
            plane[(y - cy) ** 2 + (x - cx) ** 2 < radius**2] += 130
    with Session(frames.clip(0, 255).astype(np.uint8), tracker) as session:
        session.prompt(1, 0, Prompts((Click(60, 60),)))
        session.prompt(2, 0, Prompts(box=Box(84, 94, 156, 166)))
        return np.stack([[one.masks[obj] for obj in (1, 2)] for one in session.propagate()])


@needs_int8
def test_it_can_be_measured_by_name(tiny_model: Sam2) -> None:
    engine = Engine(tiny_model, OWN_VARIANTS["int8"])
    assert engine.name == "ours int8"
    assert is_rounded(engine.model)
    assert not is_rounded(Engine(tiny_model, OWN_VARIANTS["bf16"]).model)
