"""Curves of results: IoU over clicks, J&F over the distance from the prompt, J&F over frames corrected."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

from .charts import Line
from .following import SequenceScore
from .interactive import InteractiveScore
from .robot import ImageScore
from .tables import mean, split

Point = tuple[float, float]


def iou_over_clicks(scores: Sequence[ImageScore], num_clicks: int, baselines: Collection[str] = ()) -> list[Line]:
    """A line for each predictor that takes clicks; baselines are dashed."""
    lines = []
    for method, part in split(scores, lambda score: score.method).items():
        curves = [score.clicks for score in part if score.clicks]
        reach = min([num_clicks, *map(len, curves)]) if curves else 0
        points = tuple((count + 1.0, mean(curve[count] for curve in curves)) for count in range(reach))
        lines.append(Line(method, points, method in baselines))
    return lines


def quality_over_distance(
    scores: Sequence[SequenceScore], baselines: Collection[str] = (), most_points: int = 24
) -> list[Line]:
    """A line for each tracker: mean J&F of the frames on which the object is there, by their distance from the prompt.

    Long distances are put together so that there are no more than `most_points`.
    """
    longest = max((abs(frame.frame - score.start) for score in scores for frame in score.frames), default=0)
    width = max(math.ceil(longest / most_points), 1)
    return [
        Line(method, _over_distance(part, width), method in baselines)
        for method, part in split(scores, lambda score: score.method).items()
    ]


def _over_distance(scores: Sequence[SequenceScore], width: int) -> tuple[Point, ...]:
    bins: dict[int, list[Point]] = {}
    for score in scores:
        for frame in score.frames:
            if frame.visible:
                distance = abs(frame.frame - score.start)
                # The prompted frame stands alone.
                bins.setdefault(math.ceil(distance / width), []).append((distance, frame.mean))
    return tuple((mean(x for x, _ in bins[key]), mean(y for _, y in bins[key])) for key in sorted(bins))


def quality_over_corrections(scores: Sequence[InteractiveScore]) -> list[Line]:
    """A line for each tracker: mean J&F after so many frames were clicked on, of the offline protocol."""
    offline = [score for score in scores if score.mode == "offline"]
    lines = []
    for method, part in split(offline, lambda score: score.method).items():
        reach = min(len(score.means) for score in part)
        points = tuple((count + 1.0, mean(score.means[count] for score in part)) for count in range(reach))
        lines.append(Line(method, points))
    return lines
