"""``sam2 bench``: how fast this machine is with this package."""

from __future__ import annotations

import argparse
import datetime
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..benchmarking.plan import APART, KINDS, Plan
from ..benchmarking.variants import OWN_VARIANTS
from . import options
from .console import Console
from .targets import JSON, check_target

if TYPE_CHECKING:
    import torch

    from ..benchmarking.engine import Engine
    from ..benchmarking.peaks import Peaks
    from ..model import Sam2

FORMAT = 1
"""Of the JSON; it grows when a name in it changes its meaning."""

QUICK: dict[str, Any] = {
    "objects": [1, 4],
    "frames": 2,
    "warm_frames": 1,
    "rounds": 3,
    "seconds": 5.0,
    "points_per_side": 8,
    "what": tuple(one for one in (*KINDS, *APART) if one != "everything"),
    "memory": [(4, 1)],
    "peak_seconds": 0.3,
}
USUAL: dict[str, Any] = {
    "objects": [1, 4, 8, 32],
    "frames": 5,
    "warm_frames": -1,
    "rounds": 7,
    "seconds": 60.0,
    "points_per_side": 16,
    "what": (*KINDS, *APART),
    "memory": [(8, 1), (32, 1), (8, 8)],
    "peak_seconds": 1.0,
}


def add_parser(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "bench",
        parents=[common],
        help="measure how fast this machine is",
        description="Measure how long clicks, frames and the start take on this machine, beside what its processor can "
        "do at most. Nothing is fetched: models of the published sizes have random weights here.",
    )
    parser.add_argument(
        "--model",
        metavar="NAME|FILE",
        default="nano",
        help="nano (default), a published name such as sam2.1_hiera_tiny, or a file of weights",
    )
    parser.add_argument("--side", type=options.model_side, metavar="N", help="side of the model's input")
    options.add_device(parser)
    parser.add_argument(
        "--precision", nargs="+", choices=tuple(OWN_VARIANTS), help="default: fp32, and bf16 where the processor has it"
    )
    options.add_shortcuts(parser)
    _add_amounts(parser)
    parser.add_argument("--json", metavar="FILE.json", help="write everything to this file")
    parser.set_defaults(run=run, parser=parser)


def _add_amounts(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("what is measured, and how much")

    def add(flag: str, kind: Any, help: str, **settings: Any) -> None:
        group.add_argument(flag, type=kind, help=help, **settings)

    add("--what", what, f"of {','.join((*KINDS, *APART))} (default: all)", metavar="A,B,…")
    group.add_argument("--quick", action="store_true", help="little of everything: rough figures within a few minutes")
    add("--objects", options.positive, "followed at once, a case each (default: 1 4 8 32)", nargs="+", metavar="K")
    add("--frames", options.positive, "timed in each propagation (default: 5)", metavar="N")
    add(
        "--warm-frames",
        options.whole_number,
        "tracked before those; default: until the memory is full, as in long films",
        metavar="N",
    )
    add("--rounds", options.positive, "of each other case (default: 7)", metavar="N")
    add("--seconds", options.positive_number, "no further round after so many (default: 60)", metavar="S")
    add("--clicks", options.positive, "of the case of several clicks (default: 5)", default=5, metavar="N")
    add("--points-per-side", options.positive, "of everything-mode (default: 16)", metavar="N")
    add("--memory", film, "films of the memory measurement (default: 8x1 32x1 8x8)", nargs="+", metavar="FRAMESxK")


def what(text: str) -> tuple[str, ...]:
    """Names of cases with commas between."""
    names = tuple(part.strip() for part in text.split(","))
    unknown = [name for name in names if name not in (*KINDS, *APART)]
    if unknown:
        raise argparse.ArgumentTypeError(f"expected some of {','.join((*KINDS, *APART))}, got {','.join(unknown)!r}")
    return names


def film(text: str) -> tuple[int, int]:
    """``32x4``: frames and objects."""
    frames, _, objects = text.partition("x")
    try:
        return options.positive(frames), options.positive(objects)
    except argparse.ArgumentTypeError as error:
        raise argparse.ArgumentTypeError(f"expected FRAMESxOBJECTS such as 32x4, got {text!r}") from error


def run(args: argparse.Namespace) -> int:
    """Measure, print, write what was asked for; 1 where a precision gives other masks than float32."""
    console = Console(quiet=args.quiet)
    check_target(args.json, JSON)
    for name, value in (QUICK if args.quick else USUAL).items():
        if getattr(args, name, None) is None:
            setattr(args, name, value)
    with _bench(args, console) as bench:
        record = bench.measure()
    if args.json:
        from ..atomic import write_json

        write_json(args.json, record, indent=1)
        console.say(f"wrote {args.json}")
    return 0 if all(one["holds"] for one in record["agreement"]) else 1


@contextmanager
def _bench(args: argparse.Namespace, console: Console) -> Iterator[_Bench]:
    """The model, who is measured, and a folder for the time of it."""
    from ..benchmarking.engine import Engine, find_model
    from ..processor import knows_bf16
    from .loading import use_device

    device = use_device(args)
    model, weights = find_model(args.model, args.side, device)
    names = args.precision
    if names is None:
        has_bf16 = device.type == "cuda" or knows_bf16()
        names = ["fp32", "bf16"] if has_bf16 else ["fp32"]
    variants = [OWN_VARIANTS[name] for name in dict.fromkeys(names)]
    shortcuts = options.shortcuts_of(args)
    if not shortcuts.is_exact:
        variants += [variant.shortened(shortcuts) for variant in variants]
    engines = [Engine(model, variant) for variant in variants]
    with tempfile.TemporaryDirectory() as folder:
        yield _Bench(args, console, device, model, weights, engines, Path(folder))


@dataclass(slots=True)
class _Bench:
    """One run of the command."""

    args: argparse.Namespace
    console: Console
    device: torch.device
    model: Sam2
    weights: str
    engines: list[Engine]
    folder: Path
    record: dict[str, Any] = field(default_factory=dict)

    def measure(self) -> dict[str, Any]:
        """Everything that was asked for, as JSON."""
        import torch

        self.record = {"format": FORMAT, "made_at": datetime.datetime.now().astimezone().isoformat(timespec="seconds")}
        self._machine(torch.get_num_threads())
        peaks = self._peaks()
        asked = self.args.what
        self.record |= {"rows": self._rows(peaks), "agreement": self._agreement() if "agreement" in asked else []}
        self.record |= {"start": self._start() if "start" in asked else None}
        self.record |= {"cold": self._cold() if "cold" in asked else {}}
        self.record |= {"memory": self._memory() if "memory" in asked else []}
        return self.record

    @property
    def exact(self) -> list[Engine]:
        """The engines that leave nothing out; the others differ in following only."""
        return [engine for engine in self.engines if engine.variant.shortcuts.is_exact]

    def _machine(self, threads: int) -> None:
        from ..benchmarking.machine import describe_machine
        from ..benchmarking.report import machine_lines

        config = self.model.config
        self.record["machine"] = describe_machine(threads, self.device)
        settings = {name: getattr(self.args, name) for name in (*USUAL, "clicks") if name not in ("peak_seconds",)}
        self.record["settings"] = {
            "model": config.name,
            "weights": self.weights,
            "side": config.image_side,
            "precision": [engine.variant.name for engine in self.exact],
            "shortcuts": str(options.shortcuts_of(self.args)),
            **settings,
        }
        for line in machine_lines(self.record["machine"]):
            self.console.say(line)
        self.console.say(f"model       {config.name}, side {config.image_side}, {self.weights} weights")

    def _peaks(self) -> Peaks:
        from ..benchmarking.peaks import measure_peaks
        from ..benchmarking.report import peak_lines

        numbers = tuple(dict.fromkeys(engine.numbers for engine in self.engines))
        peaks = measure_peaks(numbers, self.device, seconds=self.args.peak_seconds)
        self.record["peaks"] = peaks.record()
        for line in peak_lines(peaks):
            self.console.say(line)
        self.console.say()
        return peaks

    def _rows(self, peaks: Peaks) -> list[dict[str, Any]]:
        from ..benchmarking.cases import cases
        from ..benchmarking.report import row_line
        from ..benchmarking.running import measure_case
        from ..benchmarking.timing import Budget

        args, found = self.args, []
        plan = Plan(args.what, args.objects, args.frames, args.warm_frames, args.clicks, args.points_per_side)
        for case in cases(plan):
            engines = self.engines if case.kind == "propagate" else self.exact
            rows, _ = measure_case(case, engines, Budget(args.rounds, args.seconds), peaks.gflops)
            for row in rows:
                self.console.say(row_line(row))
                found.append(row.record())
        return found

    def _agreement(self) -> list[dict[str, Any]]:
        from ..benchmarking.agreement import FRAMES, agreements
        from ..benchmarking.engine import Engine, find_model
        from ..benchmarking.report import agreement_line

        variants = [engine.variant for engine in self.engines if not engine.variant.is_reference]
        models = [self.model]
        if self.weights == "random":
            # Whether a precision is good enough is told by trained weights only.
            models.append(find_model("nano", None, self.device)[0])
        found = []
        for model in models if variants else ():
            engines = [Engine(model, variant) for variant in (OWN_VARIANTS["fp32"], *variants)]
            is_trained = self.weights != "random" or model is not self.model
            # Shortcuts show when memory is full.
            frames = FRAMES if self.exact == self.engines else 2 * model.config.num_slots
            for agreement in agreements(engines, model.config.name, is_trained=is_trained, frames=frames):
                is_exact = agreement.name in [engine.name for engine in self.exact]
                judged = agreement if is_exact else replace(agreement, is_judged=False)
                self.console.say(agreement_line(judged))
                found.append(judged.record())
        return found

    def _start(self) -> dict[str, Any]:
        from ..benchmarking.report import start_lines
        from ..benchmarking.starting import measure_start

        start = measure_start(self.args.rounds)
        for line in start_lines(start):
            self.console.say(line)
        return start

    def _cold(self) -> dict[str, Any]:
        from ..benchmarking.report import cold_line
        from ..benchmarking.starting import child_command, cold_starts
        from ..benchmarking.timing import Spread

        told = self._child_options()
        commands = {
            engine.name: lambda name=engine.variant.name: child_command("cold", {**told, "precision": name})
            for engine in self.exact
        }
        taken = cold_starts(commands, told["threads"], min(self.args.rounds, 5))
        found = {
            name: {stage: Spread.of(seconds).record() for stage, seconds in stages.items()}
            for name, stages in taken.items()
        }
        for name, stages in found.items():
            self.console.say(cold_line(name, stages, self.weights == "embedded"))
        return found

    def _memory(self) -> list[dict[str, Any]]:
        from ..benchmarking.processes import ask
        from ..benchmarking.report import memory_line
        from ..benchmarking.starting import child_command

        told, found = self._child_options(), []
        for frames, objects in self.args.memory:
            for engine in self.exact:
                asked = {**told, "precision": engine.variant.name, "frames": frames, "objects": objects}
                answer = ask(child_command("memory", asked), told["threads"])
                found.append({"contender": engine.name, **answer})
                self.console.say(memory_line(found[-1]))
        return found

    def _child_options(self) -> dict[str, Any]:
        """What every child is told; random weights go through a file, as any others would."""
        machine = self.record["machine"]
        weights = self.args.model if Path(self.args.model).is_file() else "default"
        if self.weights == "random":
            from ..checkpoint import save_model

            weights = str(self.folder / "random.safetensors")
            if not Path(weights).exists():
                save_model(self.model, weights)
        side = self.model.config.image_side
        return {"weights": weights, "side": side, "threads": machine["threads"], "device": self.device.type}
