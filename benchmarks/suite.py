"""Ours against PyPI ``sam2`` and transformers: ``python benchmarks/suite.py``; docs/benchmarks.md says how to read it.

The same weights, all contenders in turns within one run, in float32 and bfloat16. Writes
``benchmarks/results/<date>-suite.json`` after every case, and at the end a table (``.md``) and a plot (``.svg``) beside
it. A run that was broken off goes on where it was when it is started again.
"""

from __future__ import annotations

import argparse
import datetime
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import torch  # noqa: E402

from benchmarks.contenders import NAMES, ON_A_GPU, make_contenders, shared_weights  # noqa: E402
from benchmarks.suite_results import Results, pairs, write_all  # noqa: E402
from sam2_engine.benchmarking import report  # noqa: E402
from sam2_engine.benchmarking.agreement import agreements  # noqa: E402
from sam2_engine.benchmarking.cases import Case, cases  # noqa: E402
from sam2_engine.benchmarking.contender import Contender  # noqa: E402
from sam2_engine.benchmarking.engine import Engine, find_model  # noqa: E402
from sam2_engine.benchmarking.machine import describe_machine  # noqa: E402
from sam2_engine.benchmarking.peaks import measure_peaks  # noqa: E402
from sam2_engine.benchmarking.plan import APART, KINDS, Plan  # noqa: E402
from sam2_engine.benchmarking.processes import CHILD, ask  # noqa: E402
from sam2_engine.benchmarking.running import measure_case  # noqa: E402
from sam2_engine.benchmarking.starting import child_command, cold_starts, measure_start  # noqa: E402
from sam2_engine.benchmarking.timing import Budget, Spread  # noqa: E402
from sam2_engine.benchmarking.variants import VARIANTS  # noqa: E402
from sam2_engine.cli.bench import film, what  # noqa: E402

THEIR_CHILD = (sys.executable, str(ROOT / "benchmarks" / "contender_child.py"))
QUICK = {"frames": 2, "warm_frames": 1, "rounds": 3, "seconds": 20.0, "objects": [1, 4], "memory": [(4, 1)]}
USUAL = {"frames": 5, "warm_frames": -1, "rounds": 7, "seconds": 300.0, "objects": [1, 4, 8]}
USUAL["memory"] = [(8, 1), (32, 1), (8, 8)]


def main() -> None:
    args = _arguments()
    torch.set_num_threads(args.threads)
    results = Results.open(args.out, _settings(args), fresh=args.fresh)
    with tempfile.TemporaryDirectory() as folder:
        suite = Suite(args, results, Path(folder))
        for key, measure in suite.units():
            if results.has(key):
                print(f"{key}: measured before, see {args.out.name}", flush=True)
                continue
            begun = time.monotonic()
            results.keep(key, measure())
            print(f"  [{key}: {time.monotonic() - begun:.0f} s]", flush=True)
    write_all(results)
    print(f"written to {args.out} and, beside it, .md and .svg")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="sam2.1_hiera_tiny", help="a published name")
    parser.add_argument("--side", type=int, default=1024)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    known = (*NAMES, *ON_A_GPU)
    parser.add_argument("--contenders", nargs="+", choices=known, help="default: all that the device has")
    parser.add_argument("--precision", nargs="+", choices=tuple(VARIANTS), default=list(VARIANTS))
    parser.add_argument("--what", type=what, default=(*KINDS, *APART), help=f"some of {','.join((*KINDS, *APART))}")
    parser.add_argument("--quick", action="store_true", help="few rounds, 1 and 4 objects, memory not full")
    parser.add_argument("--objects", type=int, nargs="+", help="followed at once (default: 1 4 8, on a GPU 32 as well)")
    parser.add_argument("--frames", type=int, help="timed in each propagation (default: 5)")
    parser.add_argument("--warm-frames", type=int, help="tracked before those (default: until memory is full)")
    parser.add_argument("--rounds", type=int, help="of each other case (default: 7)")
    parser.add_argument("--seconds", type=float, help="no further round after so many (default: 300)")
    parser.add_argument("--clicks", type=int, default=5)
    parser.add_argument("--points-per-side", type=int, default=16)
    parser.add_argument("--memory", type=film, nargs="+", help="FRAMESxOBJECTS (default: 8x1 32x1 8x8)")
    parser.add_argument("--out", type=Path, help="goes on with what is in it already (default: a file of today)")
    parser.add_argument("--fresh", action="store_true", help="forget what is in it")
    args = parser.parse_args()
    is_cpu = args.device == "cpu"
    if not is_cpu and not torch.cuda.is_available():
        parser.error("PyTorch finds no CUDA device on this machine; leave --device out to measure the processor")
    today = f"{datetime.date.today()}-suite{'' if is_cpu else '-cuda'}.json"
    usual = {"contenders": list(NAMES), "out": ROOT / "benchmarks" / "results" / today, **USUAL}
    if not is_cpu:
        usual |= {"contenders": [*NAMES, *ON_A_GPU], "objects": [1, 4, 8, 32]}
        # Starting and memory are those of the processor.
        args.what = tuple(kind for kind in args.what if kind not in ("start", "cold", "memory"))
    usual |= QUICK if args.quick else {}
    for name, value in usual.items():
        if getattr(args, name) is None:
            setattr(args, name, value)
    return args


def _settings(args: argparse.Namespace) -> dict[str, Any]:
    """What all cases of one file share."""
    names = ("model", "side", "threads", "device", "contenders", "precision", "frames", "warm_frames")
    return {name: getattr(args, name) for name in (*names, "rounds", "seconds", "clicks", "points_per_side")}


class Suite:
    """One run."""

    def __init__(self, args: argparse.Namespace, results: Results, folder: Path) -> None:
        self.args = args
        self.results = results
        self.folder = folder
        self.plan = Plan(args.what, args.objects, args.frames, args.warm_frames, args.clicks, args.points_per_side)
        self._contenders: list[Contender] | None = None

    @property
    def contenders(self) -> list[Contender]:
        """Made when the first is needed."""
        if self._contenders is None:
            args, state = self.args, shared_weights(self.args.model)
            self._contenders = make_contenders(
                args.model, args.side, state, args.contenders, args.precision, args.device
            )
        return self._contenders

    def units(self) -> Iterator[tuple[str, Callable[[], Any]]]:
        """What is measured and kept piece by piece: its key, and how."""
        yield "machine", lambda: self._machine()
        yield "peaks", lambda: self._peaks()
        asked = self.args.what
        for case in cases(self.plan):
            yield f"case {case.key}", lambda case=case: self._case(case)
        if "agreement" in asked:
            yield "agreement", self._agreement
        if "start" in asked:
            yield "start", self._start
        if "cold" in asked:
            yield "cold", self._cold
        for frames, objects in self.args.memory if "memory" in asked else ():
            yield f"memory {frames}x{objects}", lambda f=frames, o=objects: self._memory(f, o)

    def _machine(self) -> dict[str, Any]:
        machine = describe_machine(self.args.threads, torch.device(self.args.device))
        print("\n".join(report.machine_lines(machine)), flush=True)
        return machine

    def _peaks(self) -> dict[str, Any]:
        numbers = tuple(VARIANTS[name].numbers for name in self.args.precision)
        peaks = measure_peaks(numbers, torch.device(self.args.device))
        print("\n".join(report.peak_lines(peaks)), flush=True)
        return peaks.record()

    def _case(self, case: Case) -> dict[str, Any]:
        peaks = self.results.units["peaks"]["gflop_per_s"]
        budget = Budget(self.args.rounds, self.args.seconds)
        rows, timings = measure_case(case, self.contenders, budget, peaks)
        for row in rows:
            print(report.row_line(row), flush=True)
        ratios = []
        for slow, quick in pairs([row.contender for row in rows]):
            ratio = timings.ratio(slow, quick)
            ratios.append({"of": slow, "to": quick, "ratio": ratio.record()})
            print(f"{'':32} {slow} / {quick}: {report.ratio_text(ratio)}", flush=True)
        return {"rows": [row.record() for row in rows], "ratios": ratios}

    def _agreement(self) -> list[dict[str, Any]]:
        """All with these weights, and ours with trained ones, which alone tell whether a precision is good enough."""
        small, _ = find_model("nano", None, torch.device(self.args.device))
        engines = [Engine(small, VARIANTS[name]) for name in dict.fromkeys(("fp32", *self.args.precision))]
        found = []
        for contenders, model, is_trained in ((self.contenders, self.args.model, False), (engines, "nano", True)):
            for agreement in agreements(contenders, model, is_trained=is_trained):
                print(report.agreement_line(agreement), flush=True)
                found.append(agreement.record())
        return found

    def _start(self) -> dict[str, Any]:
        start = measure_start(self.args.rounds)
        print("\n".join(report.start_lines(start)), flush=True)
        return start

    def _cold(self) -> dict[str, Any]:
        commands = {name: lambda told=told: child_command("cold", *told) for name, told in self._children().items()}
        taken = cold_starts(commands, self.args.threads, min(self.args.rounds, 5))
        found = {
            name: {stage: Spread.of(seconds).record() for stage, seconds in stages.items()}
            for name, stages in taken.items()
        }
        for name, stages in found.items():
            print(report.cold_line(name, stages, is_default=False), flush=True)
        return found

    def _memory(self, frames: int, objects: int) -> list[dict[str, Any]]:
        found = []
        for name, (told, base) in self._children().items():
            command = child_command("memory", {**told, "frames": frames, "objects": objects}, base)
            found.append({"contender": name, **ask(command, self.args.threads)})
            print(report.memory_line(found[-1]), flush=True)
        return found

    def _children(self) -> dict[str, tuple[dict[str, Any], tuple[str, ...]]]:
        """What the process of each contender is told, and how it is called."""
        made = {}
        for name in self.args.contenders:
            told: dict[str, Any] = {"side": self.args.side, "threads": self.args.threads, "weights": self._files(name)}
            if name != "ours":
                told |= {"contender": name, "model": self.args.model}
            for precision in self.args.precision:
                base = CHILD if name == "ours" else THEIR_CHILD
                made[f"{name} {precision}"] = ({**told, "precision": precision}, base)
        return made

    def _files(self, name: str) -> Path:
        """The shared weights in the layout that a contender reads, written once."""
        path = self.folder / ("hugging_face" if name == "transformers" else "published.pt")
        if not path.exists():
            state = shared_weights(self.args.model)
            if name == "transformers":
                from benchmarks.hugging_face import build_transformers

                build_transformers(self.args.model, self.args.side, state).save_pretrained(path)
            else:
                torch.save({"model": state}, path)
        return path


if __name__ == "__main__":
    main()
