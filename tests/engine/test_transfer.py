"""Pictures on their way to a device, and masks on their way back."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from sam2_engine.transfer import Sender, to_processor


class MadeUpCuda:
    """Notes in which order it is asked for what."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def Stream(self, device: torch.device) -> MadeUpCuda:
        self.told.append("stream")
        return self

    @contextlib.contextmanager
    def stream(self, stream: MadeUpCuda) -> Iterator[None]:
        self.told.append("begin")
        yield
        self.told.append("end")

    def record_event(self) -> str:
        self.told.append("record")
        return "event"

    def current_stream(self, device: torch.device) -> MadeUpCuda:
        return self

    def wait_event(self, event: str) -> None:
        self.told.append(f"wait for {event}")


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> MadeUpCuda:
    made_up = MadeUpCuda()

    def pinned(tensor: Tensor) -> Tensor:
        made_up.told.append("pin")
        return tensor

    monkeypatch.setattr(Tensor, "pin_memory", pinned)
    monkeypatch.setattr(Tensor, "record_stream", lambda tensor, stream: made_up.told.append("hold"))
    return made_up


def sender(cuda: Any) -> Sender:
    """To a device that is there everywhere, as if it were a GPU."""
    made = Sender(torch.device("meta"), cuda)
    made._is_plain = False
    return made


def test_what_is_sent_is_copied_in_a_stream_of_its_own_and_waited_for_once(cuda: MadeUpCuda) -> None:
    way = sender(cuda)
    sent = way.send(torch.ones(2))
    assert cuda.told == ["pin", "stream", "begin", "end", "record"]
    assert sent.arrived().device.type == "meta"
    assert cuda.told[5:] == ["wait for event", "hold"]
    sent.arrived()
    way.send(torch.ones(2))
    assert cuda.told[7:] == ["pin", "begin", "end", "record"]


def test_where_memory_cannot_be_pinned_all_goes_the_ordinary_way(
    cuda: MadeUpCuda, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refused(tensor: Tensor) -> Tensor:
        raise RuntimeError("CUDA error: out of memory")

    monkeypatch.setattr(Tensor, "pin_memory", refused)
    way = sender(cuda)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert way.send(torch.ones(2)).arrived().device.type == "meta"
    assert len(caplog.messages) == 1
    assert cuda.told == []


def test_on_the_processor_nothing_is_copied() -> None:
    tensor = torch.ones(2)
    assert Sender(torch.device("cpu")).send(tensor).arrived() is tensor
    (same,) = to_processor([tensor])
    assert same.data_ptr() == tensor.data_ptr()
    assert to_processor([]) == []


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_what_arrives_on_a_gpu_is_whole() -> None:
    device = torch.device("cuda", 0)
    way = Sender(device)
    pictures = [torch.randn(3, 512, 512) for _ in range(20)]
    arrived = [way.send(picture) for picture in pictures]
    for picture, sent in zip(pictures, arrived, strict=True):
        assert torch.equal((sent.arrived() * 1).cpu(), picture)
    back = to_processor([sent.arrived() for sent in arrived])
    assert all(torch.equal(one, picture) for one, picture in zip(back, pictures, strict=True))
