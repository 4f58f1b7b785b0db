"""The report of a simulation: one HTML file without scripts or outside parts, with plots as pictures (SVG) and tables.

Colours differ in lightness too, and lines in their dashes, so that nobody needs to tell hues apart; every plot has its
numbers as a table beneath. The trap: names come from files of other people; everything is escaped.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

from dure.amounts import duration, money
from dure.sim.figures import Figures, busy_curve, by_group, wait_curve
from dure.sim.replay import Replay
from dure.sim.words import FIGURES, REPORT, say

Curve = Sequence[tuple[float, float]]
_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP, _RIGHT = 900, 280, 60, 36, 12, 44
_DASHES = ("", "7 4", "2 3", "9 3 2 3", "14 4", "4 6")
_MAX_GROUPS = 25
_STYLE = """
:root { color-scheme: light dark; --line: #8884; --c0: #0f62a8; --c1: #b45309; --c2: #047857; --c3: #7c3aed; --c4: #be123c;
  --c5: #4b5563; }
@media (prefers-color-scheme: dark) { :root { --c0: #7cc0ff; --c1: #fbbf24; --c2: #5eead4; --c3: #c4b5fd; --c4: #fda4af;
  --c5: #d1d5db; } }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 1060px; margin: 2rem auto; padding: 0 1rem; }
:lang(ko) { word-break: keep-all; }
table { border-collapse: collapse; } .wide { overflow-x: auto; } td, thead th { white-space: nowrap; }
th:first-child { position: sticky; left: 0; background: Canvas; }
th, td { text-align: right; padding: .3rem .7rem; border-bottom: 1px solid var(--line); font-variant-numeric: tabular-nums; }
th[scope=row], th:first-child, td:first-child { text-align: left; }
svg { width: 100%; height: auto; } svg text { fill: currentColor; font: 13px system-ui, sans-serif; }
.grid { stroke: var(--line); } .curve { fill: none; stroke-width: 2; } .cap { stroke: currentColor; stroke-dasharray: 1 4; }
figure { margin: 0 0 1rem; } figcaption { margin-bottom: .3rem; } .key { white-space: nowrap; margin-right: 1.2rem; }
summary:focus-visible, .wide:focus-visible { outline: 2px solid var(--c0); }
@media (max-width: 40rem) { .wide > svg { min-width: 36rem; } svg text { font-size: 19px; } }
"""


@dataclass(frozen=True, slots=True)
class Result:
    """One policy: its history and its figures."""

    replay: Replay
    figures: Figures


def html(results: Sequence[Result], trace: str, notes: Sequence[str], lang: str) -> str:
    """Return the report as one HTML document in `lang`; `trace` and `notes` are sentences in that language."""

    def word(code: str) -> str:
        return escape(say(REPORT, code, lang))

    rows = "".join(f"<li>{escape(note)}</li>" for note in notes)
    clouds = any(result.figures.cloud_gpu_hours for result in results)
    parts = [
        f'<!doctype html><html lang="{lang}"><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width">',
        f"<title>Dure: {word('title')}</title><style>{_STYLE}</style><main>",
        f"<h1>{word('title')}</h1><p>{escape(trace)}</p>",
        f"<h2>{word('figures')}</h2>{_figures_table(results, lang)}",
        f"<h2>{word('waits')}</h2>{_waits(results, lang)}",
        f"<h2>{word('busy')}</h2>{_busy(results, lang, public=False)}",
        _busy(results, lang, public=True) if clouds else "",
        f"<h2>{word('teams')}</h2>{_groups(results, lang)}",
        f"<h2>{word('notes')}</h2><ul>{rows}</ul></main></html>",
    ]
    return "\n".join(parts) + "\n"


def cells(figures: Figures, lang: str) -> dict[str, str]:
    """Return the figures as people read them, by their codes of `words.FIGURES`; what does not apply is left out."""
    told = {"jobs": f"{figures.jobs:,}"}
    for kind in ("wait", "completion"):
        for part in ("mean", "p50", "p90", "p99"):
            told[f"{part}_{kind}_s"] = duration(getattr(figures, f"{part}_{kind}_s"), lang)
    told |= {
        "utilisation": f"{figures.utilisation:.1%}",
        "fairness": f"{figures.fairness:.3f}",
        "preemptions": f"{figures.preemptions:,}",
        "cloud_jobs": f"{figures.cloud_jobs:,}",
        "cloud_gpu_hours": f"{figures.cloud_gpu_hours:,.1f}",
    }
    if figures.cloud_cost is not None:
        told["cloud_cost"] = money(figures.cloud_cost, figures.currency, lang)
    if figures.private_cost is not None:
        told["private_cost"] = money(figures.private_cost, figures.currency, lang)
    if figures.deadlines:
        told["deadlines_met"] = f"{figures.deadlines_met:,} / {figures.deadlines:,}"
    told["makespan_s"] = duration(figures.makespan_s, lang)
    if figures.never_ran:
        told["never_ran"] = f"{figures.never_ran:,}"
    return told


def table_rows(results: Sequence[Figures], lang: str) -> list[list[str]]:
    """Return headings and rows of the table: one row a figure, one column a policy; what no policy has is left out."""
    columns = [cells(figures, lang) for figures in results]
    head = [say(FIGURES, "policy", lang), *(figures.policy for figures in results)]
    codes = [code for code in FIGURES if any(code in column for column in columns)]
    return [head, *([say(FIGURES, code, lang), *(column.get(code, "–") for column in columns)] for code in codes)]


def _figures_table(results: Sequence[Result], lang: str) -> str:
    head, *rows = table_rows([result.figures for result in results], lang)
    return _table(head, rows)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    top = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in head)
    body = "".join(
        f'<tr><th scope="row">{escape(row[0])}</th>{"".join(f"<td>{escape(cell)}</td>" for cell in row[1:])}</tr>'
        for row in rows
    )
    return f'<div class="wide" tabindex="0"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'


def _waits(results: Sequence[Result], lang: str) -> str:
    curves = [wait_curve(result.replay) for result in results]
    most = max((x for curve in curves for x, _ in curve), default=1.0)
    steps = [s for s in (1, 10, 60, 600, 3600, 6 * 3600, 86_400, 7 * 86_400, 30 * 86_400) if s <= most] or [1]

    def place(seconds: float) -> float:
        return math.log10(1.0 + seconds) / max(math.log10(1.0 + most), 1e-9)

    scaled = [[(place(x), y) for x, y in [(0.0, 0.0), *curve]] for curve in curves]
    ticks = [(0.0, "0"), *((place(s), duration(float(s), lang)) for s in steps)]
    picture = _plot(scaled, ticks, [(i / 4, f"{i * 25} %") for i in range(5)])
    head = [say(REPORT, "wait", lang), *(result.figures.policy for result in results)]
    rows = [[f"≤ {duration(float(s), lang)}", *(f"{_share(curve, s):.1%}" for curve in curves)] for s in (0, *steps)]
    return _figure(picture, "waits_about", results, _table(head, rows), lang)


def _share(curve: Curve, seconds: float) -> float:
    return max((y for x, y in curve if x <= seconds), default=0.0)


def _busy(results: Sequence[Result], lang: str, *, public: bool) -> str:
    curves = [busy_curve(result.replay, public=public) for result in results]
    across = max((x for curve in curves for x, _ in curve), default=1.0) or 1.0
    capacity = 0 if public else max(result.replay.private_gpus for result in results)
    most = max([capacity, *(y for curve in curves for _, y in curve)], default=1.0) or 1.0
    digits = 0 if most >= 10 or most % 4 == 0 else 1
    scaled = [[(x / across, y / most) for x, y in curve] for curve in curves]
    ticks = [(i / 5, duration(across * i / 5, lang)) for i in range(6)]
    picture = _plot(
        scaled, ticks, [(i / 4, f"{most * i / 4:,.{digits}f}") for i in range(5)], capacity / most if capacity else None
    )
    head = [say(REPORT, "time", lang), *(result.figures.policy for result in results)]
    rows = [[label, *(f"{_at(curve, at * across):,.1f}" for curve in curves)] for at, label in ticks]
    return _figure(picture, "cloud" if public else "busy_about", results, _table(head, rows), lang)


def _at(curve: Curve, x: float) -> float:
    return min(curve, key=lambda point: abs(point[0] - x))[1] if curve else 0.0


def _figure(picture: str, about: str, results: Sequence[Result], table: str, lang: str) -> str:
    keys = "".join(
        f'<span class="key"><svg viewBox="0 0 34 8" style="width:34px" aria-hidden="true">'
        f'<path class="curve" d="M0 4H34" '
        f"{_stroke(i)}/></svg> {escape(result.figures.policy)}</span>"
        for i, result in enumerate(results)
    )
    told = escape(say(REPORT, about, lang))
    return (
        f"<figure><figcaption>{told}<br>{keys}</figcaption>"
        f'<div class="wide" tabindex="0">{picture.replace("LABEL", told)}</div>'
        f"<details><summary>{escape(say(REPORT, 'table_of', lang))}</summary>{table}</details></figure>"
    )


def _plot(
    curves: Sequence[Curve],
    across: Sequence[tuple[float, str]],
    up: Sequence[tuple[float, str]],
    line: float | None = None,
) -> str:
    """Return a picture of curves whose both coordinates go from 0 to 1; ticks are pairs of place and text."""
    x: Callable[[float], float] = lambda share: _LEFT + share * (_WIDTH - _LEFT - _RIGHT)  # noqa: E731 - two axes
    y: Callable[[float], float] = lambda share: _HEIGHT - _BOTTOM - share * (_HEIGHT - _BOTTOM - _TOP)  # noqa: E731
    parts = [f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="LABEL">']
    for at, text in up:
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y(at):.1f}" y2="{y(at):.1f}"/>')
        parts.append(f'<text x="{_LEFT - 6}" y="{y(at) + 4:.1f}" text-anchor="end">{escape(text)}</text>')
    last = -1.0
    for at, text in across:
        if x(at) - last >= 64 or last < 0:
            last = x(at)
            parts.append(f'<text x="{last:.1f}" y="{_HEIGHT - 12}" text-anchor="middle">{escape(text)}</text>')
    if line is not None:
        parts.append(f'<line class="cap" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y(line):.1f}" y2="{y(line):.1f}"/>')
    for i, curve in enumerate(curves):
        points = " ".join(f"{x(a):.1f},{y(b):.1f}" for a, b in curve)
        if points:
            parts.append(f'<polyline class="curve" points="{points}" {_stroke(i)}/>')
    return "".join([*parts, "</svg>"])


def _stroke(place: int) -> str:
    return f'style="stroke:var(--c{place % 6});stroke-dasharray:{_DASHES[place % 6] or "none"}"'


def _groups(results: Sequence[Result], lang: str) -> str:
    tables = []
    for result in results:
        over = result.figures.fairness_over
        head = [
            say(REPORT, over, lang),
            say(FIGURES, "jobs", lang),
            say(FIGURES, "mean_wait_s", lang),
            say(REPORT, "slowdown", lang),
            say(REPORT, "gpu_hours", lang),
        ]
        rows = [
            [
                str(row["name"]),
                f"{row['jobs']:,}",
                duration(row["mean_wait_s"], lang),
                f"{row['mean_slowdown']:.2f}",
                f"{row['gpu_hours']:,.1f}",
            ]
            for row in by_group(result.replay)[:_MAX_GROUPS]
        ]
        tables.append(f"<details><summary>{escape(result.figures.policy)}</summary>{_table(head, rows)}</details>")
    return "".join(tables)
