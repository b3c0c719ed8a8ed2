"""Tensors between the processor and a device, so that nobody waits longer than needed.

A copy from ordinary memory to a CUDA device goes through a buffer of the driver's, behind all that the device has to
do. From pinned memory, in a stream of its own, it takes place meanwhile.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

logger = logging.getLogger(__name__)


class Sent:
    """A tensor that is on its way, or there already."""

    def __init__(self, tensor: Tensor, event: Any = None, cuda: Any = None) -> None:
        self._tensor, self._event, self._cuda = tensor, event, cuda

    def arrived(self) -> Tensor:
        """The tensor, for work in the stream that is current now; the device waits for it, the caller does not."""
        if self._event is not None:
            stream = self._cuda.current_stream(self._tensor.device)
            stream.wait_event(self._event)
            # It was made in another stream, which must not use its memory again before this one is done.
            self._tensor.record_stream(stream)
            self._event = None
        return self._tensor


class Sender:
    """Sends tensors to a device.

    Parameters
    ----------
    device : where to
    cuda : ``torch.cuda``, or what stands for it

    Notes
    -----
    May be used from several threads.
    """

    def __init__(self, device: torch.device, cuda: Any = torch.cuda) -> None:
        self.device = device
        self._cuda = cuda
        self._stream: Any = None
        self._is_plain = device.type != "cuda"

    def send(self, tensor: Tensor) -> Sent:
        """Begin to send; what was sent may be let go at once."""
        if self._is_plain or tensor.device.type != "cpu":
            return Sent(tensor.to(self.device))
        try:
            pinned = tensor.pin_memory()
        except RuntimeError as error:  # the system allows only so much memory that cannot be moved
            logger.warning("no pinned memory: %s; pictures are sent to %s the ordinary way", error, self.device)
            self._is_plain = True
            return Sent(tensor.to(self.device))
        if self._stream is None:
            self._stream = self._cuda.Stream(self.device)
        with self._cuda.stream(self._stream):
            # PyTorch keeps the pinned memory until the copy is done.
            moved = pinned.to(self.device, non_blocking=True)
        return Sent(moved, self._stream.record_event(), self._cuda)


def to_processor(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Tensors of one shape on the processor; those of one device come in one copy, for which is waited once."""
    devices = {tensor.device for tensor in tensors}
    if len(devices) == 1 and devices != {torch.device("cpu")}:
        return list(torch.stack(tuple(tensors)).cpu())
    return [tensor.cpu() for tensor in tensors]
