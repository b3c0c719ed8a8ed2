"""What is said about measurements: lines while they are made, Markdown tables at the end."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .agreement import Agreement
from .peaks import Peaks
from .running import Row
from .starting import HELP_LIMIT_S, IMPORT_LIMIT_S, MODEL_LIMIT_S
from .timing import Spread
from .variants import AGREEMENT


def machine_lines(machine: Mapping[str, Any]) -> list[str]:
    """The header."""
    memory = "unknown" if machine["memory_gib"] is None else f"{machine['memory_gib']} GiB"
    sets = " ".join(machine["instruction_sets"]) or machine["torch_capability"]
    lines = [
        f"processor   {machine['processor']}, {machine['cores']} cores, {sets}",
        f"memory      {memory}",
        f"software    sam2-tools {machine['sam2_tools']}, torch {machine['torch']}, Python {machine['python']}, "
        f"{machine['system']}",
        f"computing   on {machine.get('gpu', machine['device'])}, {machine['threads']} threads",
        f"kernels     {machine['kernels']}",
    ]
    busy = machine["load"]
    if busy is not None and busy > 0.5:
        lines.append(f"load        {busy} before the start: other work is running, the figures may be too slow")
    return lines


def peak_lines(peaks: Peaks) -> list[str]:
    """What the machine can do."""
    lines = []
    for name, best in peaks.gflops.items():
        kinds = ", ".join(f"{kind} {value:.0f}" for kind, value in peaks.products[name].items())
        lines.append(f"peak        {name} {best:.0f} GFLOP/s ({kinds})")
    lines.append(f"bandwidth   read {peaks.read_gb_s:.1f} GB/s, triad {peaks.triad_gb_s:.1f} GB/s")
    return lines


def row_line(row: Row) -> str:
    """One case of one contender."""
    return f"{row.title:32} {row.contender:18} {seconds_text(row.spread):38} {work_text(row)}".rstrip()


def seconds_text(spread: Spread) -> str:
    """``12.3 ms (11.9–12.8), n 7``."""
    scale, unit = (1.0, "s") if spread.median >= 1 else (1e3, "ms")
    middle, low, high = (_digits(scale * value) for value in (spread.median, spread.low, spread.high))
    return f"{middle} {unit} ({low}–{high}), n {spread.count}"


def ratio_text(spread: Spread) -> str:
    """``1.52 (1.48–1.55)``."""
    return f"{spread.median:.2f} ({spread.low:.2f}–{spread.high:.2f})"


def work_text(row: Row) -> str:
    """``90.1 GFLOP, 123 GFLOP/s, 78 % of peak``; empty where nothing was counted."""
    if row.operations is None or row.gflops is None:
        return ""
    share = "" if row.share_of_peak is None else f", {100 * row.share_of_peak:.0f} % of peak"
    return f"{_digits(row.operations / 1e9)} GFLOP, {_digits(row.gflops)} GFLOP/s{share}"


def start_lines(start: Mapping[str, Any]) -> list[str]:
    """Import and help, beside what was promised."""

    def line(title: str, name: str, limit: float) -> str:
        seconds = start[name]
        verdict = "" if seconds["median"] < limit else f", more than the {limit} s it should be"
        return f"{title:32} {spread_text(seconds)}{verdict}"

    return [
        f"{'an empty Python':32} {spread_text(start['python_s'])}",
        line("import sam2_engine", "import_s", IMPORT_LIMIT_S),
        line("sam2 --help", "help_s", HELP_LIMIT_S),
    ]


def cold_line(name: str, stages: Mapping[str, Mapping[str, float]], is_default: bool) -> str:
    """A cold start with its stages."""
    parts = ", ".join(f"{stage.removesuffix('_s')} {values['median']:.2f}" for stage, values in stages.items())
    late = is_default and stages["model_s"]["median"] >= MODEL_LIMIT_S
    return f"{'cold start, s':32} {name:18} {parts}" + (f"; model later than {MODEL_LIMIT_S} s" if late else "")


def memory_line(row: Mapping[str, Any]) -> str:
    """Peak memory of one process."""
    if row["peak_mb"] is None:
        return f"{'peak memory':32} {row['contender']:18} not told by this system"
    what = f"{row['frames']} frames × {row['objects']} objects"
    sizes = f"{row['peak_mb']:.0f} MiB, with the model alone {row['model_mb']:.0f}"
    return f"{'peak memory, ' + what:32} {row['contender']:18} {sizes}"


def agreement_line(agreement: Agreement) -> str:
    """How alike the masks are."""
    verdict = "" if agreement.is_judged else "; not judged"
    if not agreement.holds:
        verdict = f"; TOO FAR APART, it should be at least {AGREEMENT}"
    return (
        f"{'masks, IoU with ' + agreement.reference:32} {agreement.name:18} mean {agreement.mean:.4f}, "
        f"lowest {agreement.lowest:.4f} of {agreement.masks}, {agreement.model}{verdict}"
    )


def spread_text(record: Mapping[str, float]) -> str:
    """`seconds_text` of what was recorded."""
    return seconds_text(Spread(record["median"], record["low"], record["high"], int(record["n"])))


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)]) + "\n"


def _digits(value: float) -> str:
    """Three digits."""
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
