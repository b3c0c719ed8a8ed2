"""How long it takes until something happens: the import, ``sam2 --help``, the first mask of a new process."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .processes import CHILD, ask, seconds_of
from .timing import Spread

IMPORT_LIMIT_S, HELP_LIMIT_S, MODEL_LIMIT_S = 0.15, 0.3, 1.0
"""What the project promises: the import alone, help from start to end, the default model once PyTorch is there."""

STAGES = ("python_s", "import_s", "model_s", "first_mask_s", "total_s")
"""Of a cold start: the interpreter, PyTorch, the model from its file, set_image and a click; all together."""

_IMPORT = (
    "import time; begun = time.perf_counter(); import sam2_engine; taken = time.perf_counter() - begun; "
    "import json, sys; print(json.dumps({'seconds': taken, 'torch': 'torch' in sys.modules}))"
)


def measure_start(rounds: int = 5) -> dict[str, Any]:
    """Seconds of an empty interpreter, of ``import sam2_engine`` within one, and of ``sam2 --help`` as a whole."""
    bare, imports, helps = [], [], []
    for _ in range(rounds):
        bare.append(seconds_of([sys.executable, "-c", "pass"]))
        imports.append(ask([sys.executable, "-c", _IMPORT])["seconds"])
        helps.append(seconds_of([sys.executable, "-m", "sam2_engine.cli", "--help"]))
    return {
        "python_s": Spread.of(bare).record(),
        "import_s": Spread.of(imports).record(),
        "help_s": Spread.of(helps).record(),
    }


def child_command(question: str, options: Mapping[str, Any], base: Sequence[str] = CHILD) -> list[str]:
    """The command line of a child; options that are None are left out."""
    given = [part for name, value in options.items() if value is not None for part in (f"--{name}", str(value))]
    return [*base, question, *given]


def cold_starts(
    commands: Mapping[str, Callable[[], list[str]]], threads: int, rounds: int
) -> dict[str, dict[str, list[float]]]:
    """Seconds of each stage of each contender's cold start, in turns.

    The first turn counts as well where there is only one; else it brings the files into the system's cache.

    Parameters
    ----------
    commands : by contender, what makes the command line
    rounds : that count
    """
    taken: dict[str, dict[str, list[float]]] = {name: {stage: [] for stage in STAGES} for name in commands}
    for turn in range(rounds + (rounds > 1)):
        for name, command in commands.items():
            stages = ask([*command(), "--spawned", repr(time.time())], threads)
            if turn or rounds == 1:
                for stage in STAGES:
                    taken[name][stage].append(float(stages[stage]))
    return taken
