"""The tour's report: one HTML file without scripts or outside parts, with the timeline as a picture (SVG)."""

from __future__ import annotations

from html import escape
from pathlib import Path

from dure.amounts import duration, money
from dure.client.words import phase_word
from dure.main.tour.story import Chapter, Story

_WIDTH = 1000
_LEFT = 250
_ROW = 30
_STYLE = """
:root { color-scheme: light dark; --wait: #b45309; --run: #047857; --cloud: #6d28d9; --line: #8884; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 1060px; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; width: 100%; } th, td { text-align: left; padding: .3rem .6rem; border-bottom: 1px solid var(--line); }
svg text { fill: currentColor; font: 13px system-ui, sans-serif; } .wait { fill: var(--wait); } .run { fill: var(--run); }
.cloud { fill: var(--cloud); } .grid { stroke: var(--line); } .key { display: inline-block; width: .8em; height: .8em; }
.bad { color: #b91c1c; font-weight: 600; }
"""


def write_report(story: Story, path: Path) -> None:
    """Write the report in the story's language."""
    say = story.say
    columns = "".join(f"<th>{escape(column)}" for column in say("columns").split("|"))
    rows = "".join(_row(story, chapter) for chapter in story.chapters)
    checks = "".join(
        f"<li{'' if c.held else ' class=bad'}>{'✔' if c.held else '✘'} {escape(c.what)} <small>{escape(c.detail)}</small></li>"
        for c in story.checks
    )
    path.write_text(
        f"""<!doctype html><html lang="{story.lang}"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Dure: {say("title")}</title><style>{_STYLE}</style>
<h1>{say("title")}</h1>
<p>{say("intro", took=duration(story.took_s, story.lang))}</p>
<h2>{say("timeline")}</h2>
<p><span class="key" style="background:var(--wait)"></span> {say("key_waited")} ·
<span class="key" style="background:var(--run)"></span> {say("key_lab")} ·
<span class="key" style="background:var(--cloud)"></span> {say("key_cloud")}</p>
{timeline(story)}
<h2>{say("job_heading")}</h2>
<table><thead><tr>{columns}</tr></thead><tbody>{rows}</tbody></table>
<h2>{say("checks")}</h2><ul>{checks}</ul></html>
""",
        encoding="utf-8",
    )


def timeline(story: Story) -> str:
    """Return the picture: one row per job, from submission to end, waiting and running told apart."""
    if not story.chapters:
        return ""
    first = min(chapter.job.submitted_at for chapter in story.chapters)
    last = max(chapter.job.ended_at or first for chapter in story.chapters)
    per_s = (_WIDTH - _LEFT - 20) / max(last - first, 1.0)
    height = len(story.chapters) * _ROW + 40
    parts = [_grid(last - first, per_s, height)]
    for index, chapter in enumerate(story.chapters):
        parts.append(_bar(story, chapter, index * _ROW + 8, (first, per_s)))
    label = escape(story.say("timeline_label", count=len(story.chapters), took=duration(last - first, story.lang)))
    return f'<svg viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{label}">{"".join(parts)}</svg>'


def _grid(length_s: float, per_s: float, height: int) -> str:
    step_s = next(step for step in (1, 2, 5, 10, 20, 60, 300, 3600) if length_s / step <= 12 or step == 3600)
    lines = []
    for second in range(0, int(length_s) + 1, step_s):
        x = _LEFT + second * per_s
        lines.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{height - 24}"/>')
        lines.append(f'<text x="{x:.1f}" y="{height - 8}" text-anchor="middle">{second} s</text>')
    return "".join(lines)


def _bar(story: Story, chapter: Chapter, y: int, scale: tuple[float, float]) -> str:
    first, per_s = scale
    job = chapter.job
    ended = job.ended_at or job.submitted_at
    admitted = job.admitted_at or ended
    kind = "cloud" if job.lease and job.lease.cluster_kind == "public" else "run"
    x0, x1, x2 = (_LEFT + (at - first) * per_s for at in (job.submitted_at, admitted, ended))
    name = escape(f"{job.user} · {job.name}"[:36])
    numbers = f"{duration(job.waited_s, story.lang)} + {duration(job.ran_s, story.lang)}"
    title = escape(f"{job.name}: {numbers}, {phase_word(job.phase, story.lang)}")
    return (
        f'<g><title>{title}</title><text x="{_LEFT - 10}" y="{y + 13}" text-anchor="end">{name}</text>'
        f'<rect class="wait" x="{x0:.1f}" y="{y + 4}" width="{max(x1 - x0, 0):.1f}" height="10"/>'
        f'<rect class="{kind}" x="{x1:.1f}" y="{y}" width="{max(x2 - x1, 2):.1f}" height="18" rx="3"/></g>'
    )


def _row(story: Story, chapter: Chapter) -> str:
    job = chapter.job
    cells = (
        job.user,
        job.name,
        phase_word(job.phase, story.lang),
        duration(job.waited_s, story.lang),
        duration(job.ran_s, story.lang),
        money(job.cost, story.currency, story.lang),
        story.where(job),
        " ".join(story.told(chapter)),
    )
    return "<tr>" + "".join(f"<td>{escape(cell)}" for cell in cells) + "</tr>"
