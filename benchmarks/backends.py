"""The image encoder beside other ways to run it: ``python benchmarks/backends.py``.

Ours in float32, bfloat16 and 8 bits, PyTorch's compiler with weights frozen in, ONNX Runtime and OpenVINO on the
exported graph, all in one process and in turns: tiny 2.1 with random weights at side 1024, and four windows of the
default model. Writes ``benchmarks/results/<date>-backends.json``. Needs ``pip install 'sam2-tools[onnx]' openvino``,
the compiler a C++ compiler; ``--beside`` takes fewer of them.
"""

from __future__ import annotations

import argparse
import datetime
import json
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from sam2_engine.benchmarking.machine import describe_machine  # noqa: E402
from sam2_engine.benchmarking.timing import Budget, Spread, Work, in_turns, pair_ratios  # noqa: E402
from sam2_engine.checkpoint import load_model  # noqa: E402
from sam2_engine.config import MODELS  # noqa: E402
from sam2_engine.heap import keep_heap  # noqa: E402
from sam2_engine.model import Sam2  # noqa: E402
from sam2_engine.model.eight_bits import is_available, rounded  # noqa: E402
from sam2_engine.onnx_export import export_onnx  # noqa: E402

Encode = Callable[[], Any]
FORMATS = ("fp32", "bf16")
BESIDE = ("compile", "onnxruntime", "openvino")


def ours(model: Sam2, pixels: Tensor, numbers: str) -> Encode:
    """The engine as it is."""

    def encode() -> Any:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=numbers == "bf16"):
            return model.encode_image(pixels)

    return encode


def compiled(model: Sam2, pixels: Tensor, numbers: str) -> Encode:
    """PyTorch's compiler; weights are constants to it, and packed."""
    import torch._inductor.config as inductor

    inductor.freezing = True
    function = torch.compile(model.encode_image, dynamic=False)

    def encode() -> Any:
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=numbers == "bf16"):
            return function(pixels)

    return encode


def by_onnxruntime(graph: Path, pixels: Tensor, threads: int) -> Encode:
    """ONNX Runtime in float32, all optimisations; its threads rest between runs, as the others are timed then."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.force_spinning_stop", "1")
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    given = {"pixels": pixels.numpy()}
    return lambda: session.run(None, given)


def by_openvino(graph: Path, pixels: Tensor, threads: int, numbers: str) -> Encode:
    """OpenVINO, the graph fixed to this shape, which serves it best."""
    import openvino

    core = openvino.Core()
    network = core.read_model(graph)
    network.reshape({"pixels": list(pixels.shape)})
    settings = {
        "INFERENCE_PRECISION_HINT": {"fp32": "f32", "bf16": "bf16"}[numbers],
        "INFERENCE_NUM_THREADS": threads,
        "PERFORMANCE_HINT": "LATENCY",
    }
    request = core.compile_model(network, "CPU", settings).create_infer_request()
    array = pixels.numpy()
    return lambda: request.infer({0: array}, share_inputs=True, share_outputs=True)


def contenders(model: Sam2, pixels: Tensor, args: argparse.Namespace) -> dict[str, Encode]:
    """Ours, and the other ways that were asked for, to encode these pixels."""
    ways = {f"ours {numbers}": ours(model, pixels, numbers) for numbers in FORMATS}
    if is_available():
        ways["ours int8"] = ours(rounded(model), pixels, "bf16")
    if "compile" in args.beside:
        ways |= {f"compile {numbers}": compiled(model, pixels, numbers) for numbers in FORMATS}
    with tempfile.TemporaryDirectory() as folder:
        export_onnx(model, Path(folder) / "graphs", parts=["image_encoder"])
        graph = Path(folder) / "graphs" / "image_encoder.onnx"
        if "onnxruntime" in args.beside:
            ways["onnxruntime fp32"] = by_onnxruntime(graph, pixels, args.threads)
        if "openvino" in args.beside:
            ways |= {f"openvino {numbers}": by_openvino(graph, pixels, args.threads, numbers) for numbers in FORMATS}
    return ways


def embedding_of(result: Any) -> Tensor:
    """The first output of any of them."""
    if hasattr(result, "embedding"):
        embedding: Tensor = result.embedding
        return embedding.float()
    return torch.from_numpy(np.array(result[0]))


def measure(model: Sam2, pixels: Tensor, args: argparse.Namespace) -> dict[str, Any]:
    """Times, ratios to ours in float32 or bfloat16, and differences to ours in float32."""
    ways = contenders(model, pixels, args)
    started, first, differences = time.perf_counter(), None, {}
    for name, encode in ways.items():
        found = embedding_of(encode())
        first = found if first is None else first
        differences[name] = float((found - first).abs().max() / first.abs().max())
        print(f"  {name} ready, {time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True)
    timed = in_turns(
        {name: Work(encode) for name, encode in ways.items()}, Budget(rounds=args.rounds, seconds=args.seconds)
    )
    return {name: _record(name, timed.seconds, differences) for name in ways}


def _record(name: str, seconds: Mapping[str, list[float]], differences: Mapping[str, float]) -> dict[str, Any]:
    rival = "ours fp32" if name.endswith("fp32") else "ours bf16"
    return {
        "seconds": Spread.of(seconds[name]).record(),
        "ours_to_this": Spread.of(pair_ratios(seconds[rival], seconds[name])).record(),
        "largest_difference": differences[name],
    }


def main() -> int:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--seconds", type=float, default=60.0, help="for all ways together, for each case")
    parser.add_argument("--beside", nargs="*", choices=BESIDE, default=BESIDE)
    parser.add_argument("--cases", nargs="+", default=["tiny", "windows"], choices=["tiny", "windows"])
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    keep_heap()
    results = {}
    for case in args.cases:
        print(case, file=sys.stderr)
        model = Sam2(MODELS["sam2.1_hiera_tiny"]).eval() if case == "tiny" else load_model()
        side, count = model.config.image_side, 1 if case == "tiny" else 4
        results[case] = measure(model, torch.randn(count, 3, side, side), args)
        for name, one in results[case].items():
            spread, ratio = one["seconds"], one["ours_to_this"]
            times = f"{spread['median'] * 1e3:8.1f} ms ({spread['low'] * 1e3:.1f}–{spread['high'] * 1e3:.1f})"
            said = f"{ratio['median']:.2f} × as quick as ours  off by {one['largest_difference']:.0e}"
            print(f"{case:8}{name:18}{times}  {said}")
    folder = ROOT / "benchmarks" / "results"
    path = args.out or folder / f"{datetime.date.today().isoformat()}-backends.json"
    record = {"machine": describe_machine(args.threads, torch.device("cpu")), "versions": versions(), "cases": results}
    path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return 0


def versions() -> dict[str, str]:
    """Of the packages compared."""
    from importlib.metadata import PackageNotFoundError, version

    found = {"torch": torch.__version__}
    for package in ("onnxruntime", "openvino"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


if __name__ == "__main__":
    sys.exit(main())
