"""Small layers that several parts share.

Letters: B batch · C channels · H W grid · N tokens.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Hashable, Sequence
from itertools import pairwise
from typing import Any, Literal, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .. import attention

Activation = Literal["none", "relu", "gelu"]

_T = TypeVar("_T")

MAX_SCORES = 1 << 20
"""Entries of a matrix of attention scores that are kept at most, see `attend`."""

FEWEST_PRODUCTS = 500_000
"""Multiplications below which PyTorch's own linear layer is quicker in float32."""

MOST_DERIVED = 8
"""Values that are kept of the same weights: number formats, sizes of images."""

_ACTIVATIONS: dict[Activation, Callable[[Tensor], Tensor]] = {"none": lambda x: x, "relu": F.relu, "gelu": F.gelu}


def _has_onednn(dtype: torch.dtype) -> bool:
    """Whether this PyTorch has oneDNN's linear layers, and the processor instructions for the number format."""
    if not hasattr(torch.ops.mkldnn, "_linear_pointwise") or not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return False
    return dtype == torch.float32 or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


HAS_ONEDNN, HAS_ONEDNN_BF16 = _has_onednn(torch.float32), _has_onednn(torch.bfloat16)

_Made = tuple[weakref.ReferenceType[Tensor], int, int]
"""A tensor, where it lay and how often it had been written on."""


def _is_of(made_of: tuple[_Made, ...], parameters: Sequence[Tensor]) -> bool:
    """Whether these are the tensors of then, unchanged. Another one may lie where one lay that is gone."""
    return len(made_of) == len(parameters) and all(
        known() is one and place == one.data_ptr() and version == one._version
        for (known, place, version), one in zip(made_of, parameters, strict=True)
    )


class Derived:
    """Values computed from parameters, kept for inference as long as the parameters are what they were.

    Neither saved nor copied with the module that has it.
    """

    def __init__(self) -> None:
        self._kept: tuple[tuple[_Made, ...], dict[Hashable, Any]] = ((), {})

    def get(self, name: Hashable, parameters: Sequence[Tensor], compute: Callable[[], _T]) -> _T:
        """The value called `name`, computed where it is not here, or was made of other weights.

        Several threads may ask at once; then some of them compute the same.
        """
        kept = self._kept
        if not _is_of(kept[0], parameters) or len(kept[1]) > MOST_DERIVED:
            made_of = tuple((weakref.ref(one), one.data_ptr(), one._version) for one in parameters)
            kept = self._kept = (made_of, {})
        values = kept[1]
        if name not in values:
            values[name] = compute()
        value: _T = values[name]
        return value

    def __reduce__(self) -> tuple[type[Derived], tuple[()]]:
        return Derived, ()


class ChannelNorm(nn.Module):
    """LayerNorm over the channels of ``[B, C, H, W]``, at every position for itself."""

    def __init__(self, channels: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        channels_last = x.permute(0, 2, 3, 1)  # [B, H, W, C]
        normed: Tensor = F.layer_norm(channels_last, (x.shape[1],), self.weight, self.bias, self.eps)
        return normed.permute(0, 3, 1, 2)  # [B, C, H, W]


class Linear(nn.Linear):
    """A linear layer that also applies what follows it.

    In inference on the CPU it calls oneDNN with weights that were packed once: up to eight times as quick as what
    PyTorch does in float32 on processors that MKL does not favour, and twice in bfloat16, for which weights would be
    converted at every call.
    """

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__(channels_in, channels_out)
        self._packed = Derived()

    def forward(self, x: Tensor, activation: Activation = "none") -> Tensor:
        dtype = _compute_format(x)
        if not self._is_quick(x, dtype):
            return _ACTIVATIONS[activation](F.linear(x, self.weight, self.bias))
        weight, bias = self._packed.get(dtype, (self.weight, self.bias), lambda: self._pack(dtype))
        rule = "none" if activation == "gelu" else ""
        out: Tensor = torch.ops.mkldnn._linear_pointwise(x.to(dtype), weight, bias, activation, [], rule)
        return out

    def _is_quick(self, x: Tensor, dtype: torch.dtype) -> bool:
        """Whether oneDNN is there for this, and the work worth the call."""
        if not _can_pack(x, self.weight, dtype):
            return False
        return dtype != torch.float32 or x.numel() * self.out_features >= FEWEST_PRODUCTS

    def _pack(self, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        weight = torch.ops.mkldnn._reorder_linear_weight(self.weight.detach().to(dtype), None)
        return weight, self.bias.detach().to(dtype)


def _compute_format(x: Tensor) -> torch.dtype:
    """Of products on the CPU."""
    return torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype


def _can_pack(x: Tensor, weight: Tensor, dtype: torch.dtype) -> bool:
    """Whether oneDNN is there for this input and a weight packed in a number format."""
    is_made_anew = not isinstance(weight, nn.Parameter) or weight.is_inference()  # as while low ranks are tuned
    if is_made_anew or not is_plain_inference(x):
        return False
    return HAS_ONEDNN if dtype == torch.float32 else HAS_ONEDNN_BF16 and dtype == torch.bfloat16


class Convolution(nn.Conv2d):
    """A convolution that keeps the grid, and also applies what follows it; with channels side by side in inference.

    On the CPU it calls oneDNN with weights that were packed once: a fifth quicker than packing them at every call, and
    the activation costs nothing.
    """

    def __init__(self, channels_in: int, channels_out: int, size: int = 3, reach: int = 1) -> None:
        super().__init__(channels_in, channels_out, size, padding=reach * (size // 2), dilation=reach)
        self._packed = Derived()

    def forward(self, x: Tensor, activation: Activation = "none") -> Tensor:
        dtype = _compute_format(x)
        if not _can_pack(x, self.weight, dtype):
            return _ACTIVATIONS[activation](super().forward(x))
        assert self.bias is not None, "made with one"
        name, parameters = (dtype, *x.shape[-2:]), (self.weight, self.bias)
        weight, bias = self._packed.get(name, parameters, lambda: self._pack(dtype, x.shape))
        rule = "none" if activation == "gelu" else ""
        grid = (self.padding, self.stride, self.dilation, self.groups)
        planes = x.to(dtype).contiguous(memory_format=torch.channels_last)
        out: Tensor = torch.ops.mkldnn._convolution_pointwise(planes, weight, bias, *grid, activation, [], rule)
        return out

    def _pack(self, dtype: torch.dtype, shape: torch.Size) -> tuple[Tensor, Tensor]:
        assert self.bias is not None, "made with one"
        grid, one = (self.padding, self.stride, self.dilation, self.groups), [1, *shape[1:]]
        weight = torch.ops.mkldnn._reorder_convolution_weight(self.weight.detach().to(dtype), *grid, one)
        return weight, self.bias.detach().to(dtype)


class Doubling(nn.ConvTranspose2d):
    """Four cells for each one: ``[B, C, H, W]`` → ``[B, C_out, 2H, 2W]``, a transposed convolution without overlap."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__(channels_in, channels_out, kernel_size=2, stride=2)
        self._packed = Derived()

    def can_divide(self, x: Tensor) -> bool:
        """Whether `divide` is there for this input."""
        return _can_pack(x, self.weight, _compute_format(x))

    def divide(self, cells: Tensor) -> Tensor:
        """The same for cells in any order, in inference on the CPU: ``[B, N, C]`` → ``[B, N * 4, C_out]``.

        The four of a cell follow each other: upper left, upper right, lower left, lower right. No number is moved, as
        a transposed convolution would several times.
        """
        assert self.bias is not None, "made with one"
        dtype = _compute_format(cells)
        weight, bias = self._packed.get(dtype, (self.weight, self.bias), lambda: self._pack(dtype))
        wide = torch.ops.mkldnn._linear_pointwise(cells.to(dtype), weight, bias, "none", [], "")  # [B, N, 4 * C_out]
        divided: Tensor = wide.reshape(len(cells), -1, self.out_channels)
        return divided

    def _pack(self, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        assert self.bias is not None, "made with one"
        weight = self.weight.detach().permute(2, 3, 1, 0).reshape(-1, self.in_channels)  # [2 * 2 * C_out, C]
        packed = torch.ops.mkldnn._reorder_linear_weight(weight.to(dtype).contiguous(), None)
        return packed, self.bias.detach().to(dtype).repeat(4)


class Mlp(nn.Module):
    """Linear layers with an activation between them.

    Parameters
    ----------
    widths : input, hidden …, output
    activation : applied after every layer but the last
    """

    def __init__(self, *widths: int, activation: Activation = "relu") -> None:
        super().__init__()
        self.layers = nn.ModuleList(Linear(a, b) for a, b in pairwise(widths))
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        *hidden, last = self.layers
        for layer in hidden:
            x = layer(x, self.activation)
        out: Tensor = last(x)
        return out


class Attention(nn.Module):
    """Multi-head attention with its own projections.

    Parameters
    ----------
    dim : channels of queries and output
    heads : number of heads
    inner_dim : channels inside; `dim` when not given
    key_dim : channels of keys and values; `dim` when not given
    """

    def __init__(self, dim: int, heads: int, *, inner_dim: int | None = None, key_dim: int | None = None) -> None:
        super().__init__()
        inner = inner_dim or dim
        self.heads = heads
        self.q_proj = Linear(dim, inner)
        self.k_proj = Linear(key_dim or dim, inner)
        self.v_proj = Linear(key_dim or dim, inner)
        self.out_proj = Linear(inner, dim)

    def split_heads(self, x: Tensor) -> Tensor:
        """``[B, N, C]`` → ``[B, heads, N, C / heads]``."""
        batch, count, channels = x.shape
        return x.reshape(batch, count, self.heads, channels // self.heads).transpose(1, 2)

    def forward(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """Attend from ``[B, N, dim]`` to ``[B, L, key_dim]``; gives ``[B, N, dim]``."""
        return self.attend(self.q_proj(queries), self.k_proj(keys), self.v_proj(values))

    def attend(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """The same from what the projections give."""
        q, k, v = (self.split_heads(projected) for projected in (queries, keys, values))
        attended = attend(q, k, v)  # [B, heads, N, C / heads]
        out: Tensor = self.out_proj(attended.transpose(1, 2).flatten(2))
        return out


def attend(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Softmax attention over the last but one axis, by the quickest of equal ways.

    Parameters
    ----------
    queries : [B, heads, N, C]
    keys, values : [B, heads, L, C]

    Returns
    -------
    [B, heads, N, C]
    """
    if attention.is_quick(queries, keys, values):
        return attention.attend(queries, keys, values)
    if not _is_slow_when_fused(queries, keys):
        return F.scaled_dot_product_attention(queries, keys, values)
    scores = (queries * queries.shape[-1] ** -0.5) @ keys.transpose(-2, -1)
    attended: Tensor = scores.softmax(dim=-1).to(values.dtype) @ values
    return attended


def _is_slow_when_fused(queries: Tensor, keys: Tensor) -> bool:
    """The fused kernel's gradient in 16 bits takes up to eight times as long as plain products, on the CPU.

    Plain ones keep the matrix of scores, which must be small.
    """
    is_half = queries.device.type == "cpu" and queries.dtype in (torch.bfloat16, torch.float16)
    return is_half and torch.is_grad_enabled() and queries.shape[-2] * keys.shape[-2] <= MAX_SCORES


def rows_for(tensor: Tensor, batch: int) -> Tensor:
    """Expand a batch of one to `batch` rows without copying."""
    return tensor if tensor.shape[0] == batch else tensor.expand(batch, *tensor.shape[1:])


def is_plain_inference(x: Tensor) -> bool:
    """On the CPU, without gradients, and not while programs are compiled: where quicker ways of our own are taken."""
    return x.device.type == "cpu" and not torch.is_grad_enabled() and not torch.compiler.is_compiling()


def in_compute_format(x: Tensor) -> Tensor:
    """In inference, the number format that products are computed in; sums go on in it, too, at half the traffic."""
    if torch.is_grad_enabled() or not torch.is_autocast_enabled(x.device.type):
        return x
    return x.to(torch.get_autocast_dtype(x.device.type))
