"""The report as one HTML page that needs nothing beside it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

from .charts import line_chart
from .curves import iou_over_clicks, quality_over_corrections, quality_over_distance
from .following import SequenceScore
from .gallery import Case, Gallery
from .measure import Results
from .tables import (
    Row,
    best_methods,
    groups,
    image_rows,
    interactive_rows,
    lineage_rows,
    mean,
    paired_rows,
    presence_rows,
    sequence_rows,
    shown,
    split,
    volume_rows,
)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """All that a report tells.

    Attributes
    ----------
    about : facts to stand on top: weights, data, protocol
    results : every score
    gallery : the worst cases
    main : names of what is measured; everybody else is there to compare with
    num_clicks : of the curve over clicks
    """

    about: Mapping[str, Any]
    results: Results
    gallery: Gallery = field(default_factory=Gallery)
    main: tuple[str, ...] = ()
    num_clicks: int | None = None

    @property
    def baselines(self) -> frozenset[str]:
        """Names of everybody else."""
        named = {score.method for score in self.results.images} | {score.method for score in self.results.sequences}
        return frozenset(named - set(self.main))


def html_page(evaluation: Evaluation) -> str:
    """The whole page."""
    sections = [
        ("Pictures", _pictures(evaluation)),
        ("Sequences", _sequences(evaluation)),
        ("Presence", _presence(evaluation)),
        ("Volumes", _volumes(evaluation)),
        ("Lineages", _lineages(evaluation)),
        ("Corrections", _corrections(evaluation)),
    ]
    told = [(name, body) for name, body in sections if body]
    links = " · ".join(f'<a href="#{name}">{name}</a>' for name, _ in told)
    parts = [f'<section id="{name}"><h2>{name}</h2>{body}</section>' for name, body in told]
    facts = "".join(
        f"<dt>{escape(str(key).replace('_', ' '))}</dt><dd>{escape(str(value))}</dd>"
        for key, value in evaluation.about.items()
    )
    body = "".join(parts) or "<p>Nothing was measured.</p>"
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><title>Evaluation</title>'
        f"<style>{_STYLE}</style></head><body><h1>Evaluation</h1><dl>{facts}</dl><nav>{links}</nav>{body}"
        "</body></html>\n"
    )


def _pictures(evaluation: Evaluation) -> str:
    scores = evaluation.results.images
    if not scores:
        return ""
    rows = image_rows(scores, evaluation.num_clicks)
    clicks = evaluation.num_clicks or max(len(score.clicks) for score in scores)
    charts = [
        line_chart(category, iou_over_clicks(part, clicks, evaluation.baselines), "clicks", "IoU")
        for category, part in groups(scores)
    ]
    galleries = "".join(
        _cases(f"Worst {part}", evaluation.gallery.cases(part))
        for part in evaluation.gallery.parts
        if not part.startswith("sequence")
    )
    return (
        "<p>A robot clicks in the middle of an object, then in the middle of the largest error; and it draws a tight "
        "box. Mean IoU over objects; AUC is the area under the curve of IoU over the clicks shown, NoC@85 the number "
        "of clicks until the IoU is 0.85.</p>"
        + _table(rows, evaluation.main)
        + f'<div class="charts">{"".join(charts)}</div>'
        + galleries
    )


def _sequences(evaluation: Evaluation) -> str:
    scores = evaluation.results.sequences
    if not scores:
        return ""
    parts = [
        "<p>One prompt on the frame where the object is largest, then forward and backward. J&amp;F where the object "
        "is there; small: over all frames, where an empty mask is right when the object is gone, as in the DAVIS "
        "challenge. The prompted frame does not count.</p>"
    ]
    for category, part in groups(scores):
        charts = [
            line_chart(
                f"from one {prompt}", quality_over_distance(some, evaluation.baselines), "frames from the prompt", "J&F"
            )
            for prompt, some in split(part, lambda score: score.prompt).items()
        ]
        parts.append(f"<h3>{escape(category)}</h3>{_pivot(part, evaluation.main)}")
        parts.append(f'<div class="charts">{"".join(charts)}</div>')
    differences = [row for main in evaluation.main for row in paired_rows(scores, main)]
    if differences:
        best = "; ".join(f"{escape(category)}: {escape(name)}" for category, name in best_methods(scores).items())
        parts.append(f"<h3>Differences on the same objects</h3><p>Best where the object is there: {best}.</p>")
        parts.append(_table(differences))
    parts.append(_folded("Every number", _table(sequence_rows(scores), evaluation.main)))
    for part_name in evaluation.gallery.parts:
        if part_name.startswith("sequence"):
            kind = part_name.removeprefix("sequence, ")
            title = f"Worst from one {kind}: the prompted frame, and the worst frame"
            parts.append(_cases(title, evaluation.gallery.cases(part_name)))
    return "".join(parts)


def _presence(evaluation: Evaluation) -> str:
    rows = presence_rows(evaluation.results.sequences)
    if not any(not math.isnan(float(row["specificity"])) for row in rows):
        return ""
    return (
        "<p>Is it known when an object is gone? A mask that is not empty says it is there; AUROC is of the score.</p>"
        + _table(rows, evaluation.main)
    )


def _volumes(evaluation: Evaluation) -> str:
    rows = volume_rows(evaluation.results.volumes)
    if not rows:
        return ""
    return (
        "<p>Stacks: overlap of the whole volumes, and NSD, the share of both surfaces within the tolerance of the "
        "other.</p>" + _table(rows, evaluation.main)
    )


def _lineages(evaluation: Evaluation) -> str:
    rows = lineage_rows(evaluation.results.lineages)
    if not rows:
        return ""
    return "<p>Measures of the Cell Tracking Challenge, over the objects that were followed.</p>" + _table(
        rows, evaluation.main
    )


def _corrections(evaluation: Evaluation) -> str:
    scores = evaluation.results.corrections
    if not scores:
        return ""
    charts = [
        line_chart(category, quality_over_corrections(part), "frames corrected", "J&F")
        for category, part in groups(scores)
    ]
    return (
        "<p>Offline the worst frame is corrected after each pass; online each frame that is not good enough, once, in "
        "passing. J&amp;F over all frames, corrected ones too.</p>"
        + _table(interactive_rows(scores), evaluation.main)
        + f'<div class="charts">{"".join(charts)}</div>'
    )


def _pivot(scores: Sequence[SequenceScore], main: Iterable[str]) -> str:
    """A row for each tracker, a column for each kind of prompt."""
    prompts = split(scores, lambda score: score.prompt)
    head = "".join(f"<th>{prompt}</th>" for prompt in prompts)
    rows = []
    for method, part in split(scores, lambda score: score.method).items():
        cells = []
        for prompt in prompts:
            some = [score for score in part if score.prompt == prompt]
            there, every = mean(score.visible_mean for score in some), mean(score.mean for score in some)
            cells.append(f"<td>{shown(there)} <small>{shown(every)}</small></td>")
        kind = ' class="main"' if method in main else ""
        rows.append(f"<tr{kind}><th>{escape(method)}</th>{''.join(cells)}</tr>")
    objects = len({(score.name, score.obj) for score in scores})
    return (
        f"<table><thead><tr><th class=w>{objects} objects</th>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
    )


def _table(rows: Sequence[Row], main: Iterable[str] = ()) -> str:
    columns, names = list(rows[0]), set(main)
    is_word = {column: isinstance(rows[0][column], str) for column in columns}
    head = "".join(f"<th{' class=w' if is_word[column] else ''}>{escape(column)}</th>" for column in columns)
    body = []
    for row in rows:
        kind = ' class="main"' if row.get("method", "") in names else ""
        cells = "".join(
            f"<td{' class=w' if is_word[column] else ''}>{escape(shown(row[column]))}</td>" for column in columns
        )
        body.append(f"<tr{kind}>{cells}</tr>")
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table>"


def _cases(title: str, cases: Sequence[Case]) -> str:
    if not cases:
        return ""
    legend = "".join(f'<span class="k {kind}">{text}</span>' for kind, text in _LEGEND.items())
    rows = "".join(
        f'<h4>{escape(category or "all")}</h4><div class="cases">{"".join(map(_figure, some))}</div>'
        for category, some in split(cases, lambda case: case.category).items()
    )
    return f'<h3>{escape(title)}</h3><p class="legend">{legend}</p>{rows}'


def _figure(case: Case) -> str:
    return (
        f'<figure style="width:{case.picture.shape[1]}px"><img src="{case.data_uri()}" alt="{escape(case.caption)}" '
        f'loading="lazy"><figcaption>{escape(case.method)}: {escape(case.caption)}<br>{escape(case.name)}, object '
        f"{case.obj}</figcaption></figure>"
    )


def _folded(title: str, body: str) -> str:
    return f"<details><summary>{escape(title)}</summary>{body}</details>"


_LEGEND = {"truth": "truth", "found": "found", "said": "prompt", "not": "click beside"}

_STYLE = """
:root{--ink:#1c1e21;--paper:#fff;--soft:#6a7078;--line:#e3e5e8;--mark:#eef4ff;
--c0:#1f6feb;--c1:#d9480f;--c2:#2b8a3e;--c3:#862e9c;--c4:#0b7285;--c5:#a61e4d;--c6:#5c940d;--c7:#495057}
@media(prefers-color-scheme:dark){:root{--ink:#e6e8eb;--paper:#16181b;--soft:#9aa1a9;--line:#33373c;--mark:#1d2a40;
--c0:#6ea8fe;--c1:#ff9566;--c2:#69d07d;--c3:#d08ae6;--c4:#5ec4d6;--c5:#f783ac;--c6:#a9d86e;--c7:#ced4da}}
body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper);max-width:1180px;margin:2rem auto;
padding:0 1rem}
h1{font-size:1.6rem}h2{margin-top:2.5rem;border-bottom:1px solid var(--line)}h3{margin:1.6rem 0 .4rem}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.1rem 1rem}dt{color:var(--soft)}dd{margin:0}
table{border-collapse:collapse;margin:.6rem 0;font-variant-numeric:tabular-nums;display:block;overflow-x:auto}
th,td{padding:.2rem .6rem;border-bottom:1px solid var(--line);text-align:right;white-space:nowrap;font-weight:400}
thead th{color:var(--soft);font-size:.85rem}tbody th,td.w,th.w{text-align:left}
tr.main{background:var(--mark)}tr.main td,tr.main th{font-weight:600}small{color:var(--soft);font-weight:400}
a{color:var(--c0)}summary{cursor:pointer;color:var(--soft)}
.charts,.cases{display:flex;flex-wrap:wrap;gap:1rem}figure{margin:0}figcaption{font-size:.8rem;color:var(--soft)}
.chart{width:360px}.chart svg{width:100%}svg text{font-size:11px;fill:var(--soft)}svg .t{font-size:13px;fill:var(--ink)}
svg .g{stroke:var(--line)}polyline{fill:none;stroke-width:2}polyline.d{stroke-dasharray:5 4;stroke-width:1.5}
.cases img{display:block;border-radius:4px}.cases figcaption{overflow-wrap:anywhere}
h4{margin:.8rem 0 .3rem;font-weight:500}
.k{margin-right:.8rem;white-space:nowrap}.k::before{content:"";display:inline-block;width:1.2em;margin-right:.35em;
border-top:2.5px solid currentColor;vertical-align:middle}.k.d::before{border-top-style:dashed}
.legend{font-size:.8rem;margin:.2rem 0}.truth{color:#00b85c}.found{color:#f0468f}.said{color:#c9a800}.not{color:#e03a28}
""" + "".join(
    f"polyline.c{index}{{stroke:var(--c{index})}}circle.c{index}{{fill:var(--c{index})}}.k.c{index}{{color:var(--c{index})}}"
    for index in range(8)
)
