"""Line charts as SVG that stands inside an HTML page; colours come from the page's style."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 420, 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 12, 26, 40
_NUM_COLOURS = 8


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a chart.

    Attributes
    ----------
    name : for the legend
    points : (x, y) in rising order of x; those that are NaN are left out
    is_dashed : drawn with gaps
    """

    name: str
    points: tuple[tuple[float, float], ...]
    is_dashed: bool = False


def line_chart(title: str, lines: Sequence[Line], x_label: str, y_label: str) -> str:
    """An SVG element with y from 0 to 1, or "" where there is nothing to draw."""
    drawn = [(Line(line.name, _finite(line), line.is_dashed), index) for index, line in enumerate(lines)]
    drawn = [(line, index) for line, index in drawn if line.points]
    if not drawn:
        return ""
    xs = [x for line, _ in drawn for x, _ in line.points]
    low, high = min(xs), max(xs)
    parts = [f'<text class="t" x="{_LEFT}" y="15">{escape(title)}</text>']
    parts += _grid(low, high)
    parts += [
        f'<text x="{(_LEFT + WIDTH - _RIGHT) / 2:.0f}" y="{HEIGHT - 6}" text-anchor="middle">{escape(x_label)}</text>',
        f'<text x="12" y="{_TOP + 60}" transform="rotate(-90 12 {_TOP + 60})" text-anchor="middle">'
        f"{escape(y_label)}</text>",
    ]
    for line, index in drawn:
        parts.append(_line(line, index, low, high))
    legend = "".join(
        f'<span class="k c{index % _NUM_COLOURS}{" d" if line.is_dashed else ""}">{escape(line.name)}</span>'
        for line, index in drawn
    )
    svg = f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">{"".join(parts)}</svg>'
    return f'<figure class="chart">{svg}<figcaption>{legend}</figcaption></figure>'


def _finite(line: Line) -> tuple[tuple[float, float], ...]:
    return tuple((x, y) for x, y in line.points if math.isfinite(x) and math.isfinite(y))


def _line(line: Line, index: int, low: float, high: float) -> str:
    places = [(_x(x, low, high), _y(y)) for x, y in line.points]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    colour = f"c{index % _NUM_COLOURS}{' d' if line.is_dashed else ''}"
    dots = "".join(
        f'<circle class="{colour}" cx="{x:.1f}" cy="{y:.1f}" r="2.5">'
        f"<title>{escape(line.name)}: {value:.3f} at {at:g}</title></circle>"
        for (x, y), (at, value) in zip(places, line.points, strict=True)
    )
    return f'<polyline class="{colour}" points="{path}"/>{dots}'


def _grid(low: float, high: float) -> list[str]:
    parts = []
    for step in range(6):
        y = _y(step / 5)
        parts.append(f'<line class="g" x1="{_LEFT}" y1="{y:.1f}" x2="{WIDTH - _RIGHT}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{step / 5:.1f}</text>')
    for value in ticks(low, high):
        x = _x(value, low, high)
        parts.append(f'<text x="{x:.1f}" y="{HEIGHT - _BOTTOM + 15}" text-anchor="middle">{value:g}</text>')
    return parts


def ticks(low: float, high: float, most: int = 8) -> list[int]:
    """Whole numbers from `low` to `high`, evenly spaced by 1, 2 or 5 times a power of ten, at most `most`."""
    first, last = math.ceil(low), math.floor(high)
    for exponent in range(10):
        for factor in (1, 2, 5):
            step = factor * 10**exponent
            start = math.ceil(first / step) * step
            found = list(range(start, last + 1, step))
            if len(found) <= most:
                return found
    return []


def _x(value: float, low: float, high: float) -> float:
    share = (value - low) / (high - low) if high > low else 0.5
    return _LEFT + share * (WIDTH - _LEFT - _RIGHT)


def _y(value: float) -> float:
    return _TOP + (1 - min(max(value, 0.0), 1.0)) * (HEIGHT - _TOP - _BOTTOM)
