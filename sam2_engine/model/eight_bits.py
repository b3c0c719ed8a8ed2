"""Linear layers of the image encoder in 8 bits: activations rounded anew at every call, weights once, sums exact.

Each output channel's weights have a step of their own, all activations of a call share one, the largest of them being
127 steps. For processors that multiply 8-bit numbers four at a time (AVX512-VNNI); everything else stays bfloat16.
"""

from __future__ import annotations

import copy
import ctypes
import functools

import torch
from torch import Tensor, nn

from ..errors import SettingError
from ..kernels import call, library, thread_pool
from ..processor import instruction_sets
from .layers import HAS_ONEDNN_BF16, Activation, Linear
from .sam2 import Sam2

LEVELS = 127
"""Steps on either side of zero."""

FEWEST_WORTH = 100_000_000
"""Multiplications below which bfloat16 is as quick, or quicker; four windows of the small model have 40 million."""


@functools.cache
def is_available() -> bool:
    """Whether this machine has the instructions, and this installation the kernel and oneDNN's layers."""
    has_layers = HAS_ONEDNN_BF16 and hasattr(torch.ops.onednn, "qlinear_pointwise")
    return has_layers and library("cpu") is not None and "AVX512-VNNI" in instruction_sets()


class EightBitLinear(Linear):
    """A linear layer that computes in 8 bits where it would in bfloat16, and has the work to make up for rounding."""

    def forward(self, x: Tensor, activation: Activation = "none") -> Tensor:
        dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype
        is_worth_it = x.numel() * self.out_features >= FEWEST_WORTH
        if dtype != torch.bfloat16 or not is_worth_it or not self._is_quick(x, dtype):
            return super().forward(x, activation)
        weight, steps, zeros, bias = self._packed.get("8 bits", (self.weight, self.bias), self._rounded)
        numbers, step = quantise(x.to(torch.bfloat16).contiguous())
        rule = "none" if activation == "gelu" else ""
        inputs, weights = (numbers, step, LEVELS + 1), (weight, steps, zeros)
        out: Tensor = torch.ops.onednn.qlinear_pointwise(
            *inputs, *weights, bias, 1.0, 0, torch.bfloat16, activation, [], rule
        )
        return out

    def _rounded(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Weights packed, their steps and zeros by channel, the bias."""
        weight = self.weight.detach().float()
        steps = (weight.abs().amax(dim=1) / LEVELS).clamp(min=torch.finfo(torch.float32).tiny)  # [channels_out]
        numbers = (weight / steps[:, None]).round().to(torch.int8)
        zeros = torch.zeros(len(steps), dtype=torch.int32)
        return torch.ops.onednn.qlinear_prepack(numbers, None), steps, zeros, self.bias.detach().float()


def rounded(model: Sam2) -> Sam2:
    """The same model with the same weights, whose encoder computes in 8 bits where it would in bfloat16.

    Raises
    ------
    SettingError
        This machine or this installation has not what it takes.
    """
    if model.device.type != "cpu":
        raise SettingError(f"int8 is for the CPU, the model is on {model.device}: use bf16 there")
    if not is_available():
        raise SettingError(
            "int8 needs a processor with AVX512-VNNI and AVX512-BF16, and the compiled kernels; "
            "this machine or installation lacks one of them: use bf16 or fp32"
        )
    shared = {id(value): value for value in (*model.parameters(), *model.buffers())}
    twin = copy.deepcopy(model, shared)
    _replace_within(twin.image_encoder.trunk)
    return twin


def is_rounded(model: nn.Module) -> bool:
    """Whether a model came from `rounded`."""
    return any(isinstance(module, EightBitLinear) for module in model.modules())


def _replace_within(module: nn.Module) -> None:
    for name, child in module.named_children():
        if type(child) is Linear:
            with torch.device("meta"):
                layer = EightBitLinear(child.in_features, child.out_features)
            layer.weight, layer.bias = child.weight, child.bias
            setattr(module, name, layer.train(child.training))
        else:
            _replace_within(child)


def quantise(x: Tensor) -> tuple[Tensor, float]:
    """Contiguous bfloat16 numbers as uint8 with 128 for zero, and the step between them."""
    kernels = library("cpu")
    if kernels is None:
        raise RuntimeError("the kernels were not built; ask is_available() first, or use quantise_twin(...)")
    out, step = torch.empty(x.shape, dtype=torch.uint8), ctypes.c_float()
    threads = (torch.get_num_threads(), thread_pool())
    call(kernels, "sam2_quantise_cpu", x.data_ptr(), x.numel(), *threads, out.data_ptr(), ctypes.byref(step))
    return out, step.value


def quantise_twin(x: Tensor) -> tuple[Tensor, float]:
    """What `quantise` gives, by PyTorch."""
    wide = x.float()
    largest = max(float(wide.abs().max()) if x.numel() else 0.0, 1e-30)
    return (wide * (LEVELS / largest) + (LEVELS + 1.5)).to(torch.uint8), largest / LEVELS
