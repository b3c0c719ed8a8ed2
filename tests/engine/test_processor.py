"""What is told about a processor, with and without PyTorch."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from sam2_engine import processor


def test_instruction_sets_are_those_of_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    told = [("model name", "any"), ("flags", "fpu avx2 avx512f avx512_bf16")]
    monkeypatch.setattr(processor, "cpuinfo", lambda: iter(told))
    monkeypatch.setitem(sys.modules, "torch", None)
    assert processor.instruction_sets() == ["AVX2", "AVX-512", "AVX512-BF16"]
    assert processor.knows_bf16() is True
    told[1] = ("flags", "fpu avx2")
    assert processor.knows_bf16() is False
    told.clear()
    assert processor.knows_bf16() is None


@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
def test_a_gpu_is_asked_itself(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
    assert processor.knows_bf16(device) is True
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: False)
    assert processor.knows_bf16(device) is False
    monkeypatch.setitem(sys.modules, "torch", None)
    assert processor.knows_bf16(device) is None


def test_the_best_device_is_a_gpu_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
    monkeypatch.setattr(processor, "cpuinfo", lambda: iter([("flags", "avx2")]))
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {}, raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert processor.knows_bf16("auto") is True
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert processor.knows_bf16("auto") is False
    monkeypatch.setitem(sys.modules, "torch", None)
    assert processor.knows_bf16("auto") is None


def test_asking_brings_no_pytorch() -> None:
    code = "import sys, sam2_engine.processor as p; p.knows_bf16('auto'); sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
