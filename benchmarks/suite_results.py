"""The file of the suite: kept piece by piece, gone on with, told as tables and a plot."""

from __future__ import annotations

import datetime
import json
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

from sam2_engine.atomic import write_json
from sam2_engine.benchmarking.report import machine_lines, markdown_table, ratio_text, spread_text
from sam2_engine.benchmarking.timing import Spread

FORMAT = 1

BEFORE = {"device": "cpu"}
"""What settings were before they could be chosen."""


@dataclass(slots=True)
class Results:
    """What was measured so far.

    Attributes
    ----------
    path : of the JSON
    settings : shared by all pieces
    units : by key
    """

    path: Path
    settings: dict[str, Any]
    units: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def open(cls, path: Path, settings: dict[str, Any], *, fresh: bool = False) -> Results:
        """Go on with a file, or begin one.

        Raises
        ------
        SystemExit
            It was measured with other settings.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        if fresh or not path.exists():
            return cls(path, settings)
        before = json.loads(path.read_text())
        known = before.get("settings", {})
        others = [name for name, value in settings.items() if known.get(name, BEFORE.get(name)) != value]
        if others:
            told = ", ".join(f"{name} {known.get(name)} instead of {settings[name]}" for name in others)
            raise SystemExit(f"{path} was measured with {told}; take another --out, or --fresh to forget it")
        return cls(path, settings, before["units"])

    def has(self, key: str) -> bool:
        """Whether a piece is there."""
        return key in self.units

    def keep(self, key: str, value: Any) -> None:
        """Add a piece; the file is whole at any time."""
        self.units[key] = value
        made_at = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
        whole = {"format": FORMAT, "made_at": made_at, "settings": self.settings, "units": self.units}
        write_json(self.path, whole, indent=1)

    def cases(self) -> list[dict[str, Any]]:
        """Rows and ratios of each case, in order."""
        return [unit for key, unit in self.units.items() if key.startswith("case ")]


def pairs(names: list[str]) -> list[tuple[str, str]]:
    """Who is compared with whom: everyone with ours, in the same precision, or in float32 where ours is not.

    Of our own ways the plainer is compared with the other only.
    """
    ways = ("ours", "ours_graphs")
    found = []
    for mine in names:
        way, precision = mine.split()[:2]
        for other in names if way in ways else ():
            their_way, theirs = other.split()[:2]
            is_plainer = their_way not in ways or ways.index(their_way) <= ways.index(way)
            if other != mine and theirs in (precision, "fp32") and is_plainer:
                found.append((other, mine))
    return found


def write_all(results: Results) -> None:
    """The tables and the plot beside the JSON."""
    results.path.with_suffix(".md").write_text(markdown(results))
    results.path.with_suffix(".svg").write_text(plot(results))


def markdown(results: Results) -> str:
    """Everything as tables."""
    settings = results.settings
    parts = [f"# {settings['model']}, side {settings['side']}, {settings['threads']} threads\n"]
    if "machine" in results.units:
        parts.append("```\n" + "\n".join(machine_lines(results.units["machine"])) + "\n```\n")
    if "peaks" in results.units:
        parts.append(_peaks(results.units["peaks"]))
    if results.cases():
        parts += ["Seconds, median (quartiles):\n", _seconds(results)]
        parts += ["How many times as fast as the other, median of pairs (quartiles):\n", _ratios(results)]
        parts += ["Work done, and its share of the measured peak in these numbers:\n", _work(results)]
    if "agreement" in results.units:
        parts += ["Masks beside those of ours in float32:\n", _agreement(results.units["agreement"])]
    if "start" in results.units:
        rows = [[name.removesuffix("_s"), spread_text(value)] for name, value in results.units["start"].items()]
        parts.append(markdown_table(["start", "seconds"], rows))
    if "cold" in results.units:
        parts += ["From starting a process to its first mask, seconds:\n", _cold(results.units["cold"])]
    if memory := [row for key, unit in results.units.items() if key.startswith("memory ") for row in unit]:
        parts += ["Peak memory of a process, MiB:\n", _memory(memory)]
    return "\n".join(parts)


def _peaks(peaks: dict[str, Any]) -> str:
    rows = [[name, f"{value:.0f} GFLOP/s"] for name, value in peaks["gflop_per_s"].items()]
    rows += [[kind, f"{peaks[f'{kind}_gb_per_s']:.1f} GB/s"] for kind in ("read", "triad")]
    return markdown_table(["measured peak", ""], rows)


def _names(results: Results) -> list[str]:
    return list(dict.fromkeys(row["contender"] for case in results.cases() for row in case["rows"]))


def _seconds(results: Results) -> str:
    names = _names(results)
    lines = []
    for case in results.cases():
        told = {row["contender"]: spread_text(row["seconds"]) for row in case["rows"]}
        lines.append([case["rows"][0]["title"], *(told.get(name, "") for name in names)])
    return markdown_table(["", *names], lines)


def _ratios(results: Results) -> str:
    heads = list(dict.fromkeys((one["of"], one["to"]) for case in results.cases() for one in case["ratios"]))
    lines = []
    for case in results.cases():
        told = {(one["of"], one["to"]): ratio_text(_spread(one["ratio"])) for one in case["ratios"]}
        lines.append([case["rows"][0]["title"], *(told.get(head, "") for head in heads)])
    return markdown_table(["", *(f"{mine} over {other}" for other, mine in heads)], lines)


def _work(results: Results) -> str:
    names = _names(results)
    lines = []
    for case in results.cases():
        told = {row["contender"]: _work_of(row) for row in case["rows"]}
        if any(told.values()):
            lines.append([case["rows"][0]["title"], *(told.get(name, "") for name in names)])
    return markdown_table(["", *names], lines)


def _work_of(row: dict[str, Any]) -> str:
    if row["gflop"] is None:
        return ""
    share = "" if row["share_of_peak"] is None else f", {100 * row['share_of_peak']:.0f} %"
    return f"{row['gflop']:.4g} GFLOP, {row['gflop_per_s']:.4g} GFLOP/s{share}"


def _agreement(found: list[dict[str, Any]]) -> str:
    rows = []
    for one in found:
        verdict = ("yes" if one["holds"] else "**no**") if one["judged"] else "random weights, not judged"
        overlaps = [f"{one['iou_mean']:.4f}", f"{one['iou_lowest']:.4f}", str(one["masks"])]
        rows.append([one["model"], one["contender"], *overlaps, verdict])
    return markdown_table(["model", "", "mean IoU", "lowest", "masks", "at least 0.995"], rows)


def _cold(found: dict[str, Any]) -> str:
    stages = list(next(iter(found.values())))
    rows = [[name, *(f"{told[stage]['median']:.2f}" for stage in stages)] for name, told in found.items()]
    return markdown_table(["", *(stage.removesuffix("_s").replace("_", " ") for stage in stages)], rows)


def _memory(found: list[dict[str, Any]]) -> str:
    films = list(dict.fromkeys((row["frames"], row["objects"]) for row in found))
    lines = []
    for name in dict.fromkeys(row["contender"] for row in found):
        mine = {(row["frames"], row["objects"]): row for row in found if row["contender"] == name}
        model = min(row["model_mb"] for row in mine.values())
        lines.append([name, f"{model:.0f}", *(f"{mine[one]['peak_mb']:.0f}" if one in mine else "" for one in films)])
    return markdown_table(["", "model alone", *(f"{frames} frames × {objects}" for frames, objects in films)], lines)


def _spread(record: dict[str, Any]) -> Spread:
    return Spread(record["median"], record["low"], record["high"], int(record["n"]))


# ------------------------------------------------------------------------------------------------------------- plot

BAR, GAP, LEFT, WIDE, NOTE = 15, 12, 250, 420, 130
COLOURS = ("#1b6ca8", "#e07b39", "#3a9d5d", "#8b5fbf", "#c44e52", "#777777", "#b8a039", "#55a9b8")


def plot(results: Results) -> str:
    """How many times as fast ours is, a bar with its quartiles for each case and pair, as SVG; 1 is a line."""
    heads = list(dict.fromkeys((one["of"], one["to"]) for case in results.cases() for one in case["ratios"]))
    spreads = [_spread(one["ratio"]) for case in results.cases() for one in case["ratios"]]
    if not spreads:
        return '<svg xmlns="http://www.w3.org/2000/svg" width="10" height="10"/>\n'
    scale = WIDE / max(2.0, *(spread.high for spread in spreads))
    parts, y = _legend(heads)
    top = y
    for case in results.cases():
        if case["ratios"]:
            middle = y + BAR * len(case["ratios"]) / 2 + 4
            title = escape(case["rows"][0]["title"])
            parts.append(f'<text x="{LEFT - 8}" y="{middle:.0f}" text-anchor="end">{title}</text>')
        for one in case["ratios"]:
            parts.append(
                _bar(_spread(one["ratio"]), COLOURS[heads.index((one["of"], one["to"])) % len(COLOURS)], y, scale)
            )
            y += BAR
        y += GAP
    parts.append(f'<line x1="{LEFT + scale:.1f}" x2="{LEFT + scale:.1f}" y1="{top}" y2="{y}" stroke="#333"/>')
    size = f'width="{LEFT + WIDE + NOTE}" height="{y + 10}"'
    style = '<rect width="100%" height="100%" fill="white"/>'
    text = 'font-family="sans-serif" font-size="12" fill="#222"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} {text}>{style}{"".join(parts)}</svg>\n'


def _legend(heads: list[tuple[str, str]]) -> tuple[list[str], int]:
    parts = ['<text x="10" y="20" font-size="14">Times as fast, median and quartiles of pairs; the line is 1</text>']
    y = 34
    for index, (other, mine) in enumerate(heads):
        parts.append(f'<rect x="10" y="{y}" width="12" height="12" fill="{COLOURS[index % len(COLOURS)]}"/>')
        parts.append(f'<text x="28" y="{y + 10}">{escape(mine)} over {escape(other)}</text>')
        y += 17
    return parts, y + GAP


def _bar(spread: Spread, colour: str, y: int, scale: float) -> str:
    middle = y + (BAR - 3) / 2
    low, high = LEFT + scale * spread.low, LEFT + scale * spread.high
    return (
        f'<rect x="{LEFT}" y="{y}" width="{scale * spread.median:.1f}" height="{BAR - 3}" fill="{colour}"/>'
        f'<line x1="{low:.1f}" x2="{high:.1f}" y1="{middle:.1f}" y2="{middle:.1f}" stroke="#222"/>'
        f'<text x="{max(high, LEFT + scale * spread.median) + 5:.1f}" y="{y + BAR - 4}" font-size="11">'
        f"{ratio_text(spread)}</text>"
    )
