"""A job's life as a picture: for each attempt, how long it waited, started and ran, from the job's events.

Returns numbers for a drawing of fixed width. The trap: a short attempt beside a long wait must still be seen, so every
part has a smallest width and parts are drawn one after the other, not on top of one another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dure.wire.messages import EventView, JobView

WIDTH = 1000
SMALLEST = 6
_ENDS = frozenset({"job.succeeded", "job.failed", "job.cancelled"})


@dataclass(frozen=True, slots=True)
class Part:
    """One stretch: `kind` is waited, started or ran; `left` and `width` are in thousandths of the drawing."""

    kind: str
    seconds: float
    left: int
    width: int


@dataclass(frozen=True, slots=True)
class Attempt:
    """A row of the drawing: the wait before an attempt, and the attempt."""

    number: int
    parts: tuple[Part, ...]
    where: str
    outcome: str


@dataclass(frozen=True, slots=True)
class _Scale:
    """From when the drawing begins, and how many seconds it is wide."""

    begun: float
    whole: float

    def place(self, seconds: float) -> int:
        return round(seconds / self.whole * WIDTH)


def attempts_of(job: JobView, events: Sequence[EventView], now: float) -> list[Attempt]:
    """Return the rows, oldest first; the last one goes on until `now` while the job has not ended."""
    begun = job.submitted_at
    until = job.ended_at or max(now, begun)
    scale = _Scale(begun, max(until - begun, 1e-3))
    rows: list[Attempt] = []
    marks: list[tuple[str, float]] = [("waited", begun)]
    where = ""
    for event in events:
        if event.kind == "job.admitted":
            marks.append(("started", event.at))
            nodes = event.data.get("nodes") or [event.data.get("node", "")]
            where = f"{event.data.get('cluster', '')}/{', '.join(str(node) for node in nodes)}"
        elif event.kind == "job.running":
            marks.append(("ran", event.at))
        elif event.kind == "job.requeued":
            rows.append(Attempt(len(rows) + 1, _parts(marks, event.at, scale), where, "requeued"))
            marks, where = [("waited", event.at)], ""
        elif event.kind in _ENDS:
            until = event.at
    rows.append(Attempt(len(rows) + 1, _parts(marks, until, scale), where, job.phase))
    return rows


def _parts(marks: list[tuple[str, float]], until: float, scale: _Scale) -> tuple[Part, ...]:
    parts: list[Part] = []
    ends = [at for _, at in marks[1:]] + [until]
    least = 0
    for (kind, at), end in zip(marks, ends, strict=True):
        left = min(max(least, scale.place(at - scale.begun)), WIDTH - SMALLEST)
        width = min(max(SMALLEST, scale.place(end - at)), WIDTH - left)
        parts.append(Part(kind, max(0.0, end - at), left, width))
        least = left + width
    return tuple(parts)
