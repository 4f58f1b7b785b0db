"""What each page shows, gathered from the queries: plain values for the templates, lists with an end.

The trap: a page must cost the same with ten jobs and with ten thousand, so every list here is cut and says by how much.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from dure.control import access
from dure.control.queries import MAX_PAGE, Queries
from dure.core.model import TERMINAL
from dure.portal.output import Tail, tail
from dure.portal.timeline import Attempt, attempts_of
from dure.ports import Principal
from dure.wire.messages import EventView, GpuView, JobView, OutputList, PlatformView, WhyView

SHOWN_JOBS = 100
SHOWN_GPUS = 256
SHOWN_ENDED = 20
SHOWN_EVENTS = 100
_LOOKED_AT = 60
_EVENT_PAGES = 6


@dataclass(frozen=True, slots=True)
class ClusterView:
    """One cluster's GPUs, tier by tier."""

    name: str
    public: bool
    simulated: bool
    free: float
    total: int
    tiers: list[tuple[str, float, list[GpuView]]]


@dataclass(frozen=True, slots=True)
class QueuePage:
    """The first page: GPUs, what waits, what runs, what ended lately."""

    now: float
    seq: int
    platform: PlatformView
    clusters: list[ClusterView]
    gpus_hidden: int
    waiting: list[JobView]
    waiting_more: int
    others_waiting: int
    running: list[JobView]
    running_more: int
    ended: list[JobView]
    gpus_total: int
    gpus_used: float
    nothing_yet: bool


@dataclass(frozen=True, slots=True)
class JobPage:
    """One job: its story, its picture, its output when the reader may see it."""

    now: float
    seq: int
    job: JobView
    story: WhyView
    events: list[EventView]
    attempts: list[Attempt]
    tail: Tail | None
    may_change: bool


@dataclass(frozen=True, slots=True)
class EventsPage:
    """A page of the log, newest first; `older` continues it."""

    events: list[EventView]
    older: int | None
    filters: dict[str, str] = field(default_factory=dict)


def queue_page(queries: Queries, principal: Principal, lang: str) -> QueuePage:
    """Return what the first page shows. The cursor is read first, so that nothing can fall between it and the rest."""
    seq = queries.last_seq()
    queue = queries.queue(principal, lang, SHOWN_JOBS)
    ended = queries.jobs(principal, phases=tuple(TERMINAL), limit=_LOOKED_AT, lang=lang).jobs
    ended.sort(key=lambda job: job.ended_at or 0.0, reverse=True)
    return QueuePage(
        now=queue.now,
        seq=seq,
        platform=queries.platform(principal, lang),
        clusters=clusters_of(queue.gpus[:SHOWN_GPUS]),
        gpus_hidden=max(0, len(queue.gpus) - SHOWN_GPUS),
        waiting=queue.waiting,
        waiting_more=queue.waiting_more,
        others_waiting=queue.others_waiting,
        running=queue.running,
        running_more=queue.running_more,
        ended=ended[:SHOWN_ENDED],
        gpus_total=len(queue.gpus),
        gpus_used=round(sum(1 - gpu.free for gpu in queue.gpus), 3),
        nothing_yet=not (queue.waiting or queue.running or ended),
    )


def clusters_of(gpus: Sequence[GpuView]) -> list[ClusterView]:
    """Return the GPUs by cluster and tier, in the platform file's order."""
    found = []
    for name, together in groupby(gpus, key=lambda gpu: gpu.cluster):
        own = list(together)
        tiers: dict[str, list[GpuView]] = {}
        for gpu in own:
            tiers.setdefault(gpu.tier, []).append(gpu)
        rows = [(tier, round(sum(gpu.free for gpu in row), 3), row) for tier, row in tiers.items()]
        found.append(
            ClusterView(
                name=name,
                public=own[0].cluster_kind == "public",
                simulated=any(gpu.simulated for gpu in own),
                free=round(sum(gpu.free for gpu in own), 3),
                total=len(own),
                tiers=rows,
            )
        )
    return found


def job_page(
    queries: Queries, principal: Principal, job_id: str, lang: str, now: float, *, at_once: bool = False
) -> JobPage:
    """Return what the page of one job shows; `at_once`: what has to be found out is left for a second request.

    Raises CodedError `job_not_found`.
    """
    seq = queries.last_seq()
    why = queries.why(principal, job_id, lang, at_once=at_once)
    job = why.job
    owner = access.acts_for(principal, job.user)
    return JobPage(
        now=now,
        seq=seq,
        job=job,
        story=why,
        events=why.events,
        attempts=attempts_of(job, why.events, now),
        tail=output_tail(queries, principal, job_id, None) if owner else None,
        may_change=owner,
    )


def output_tail(queries: Queries, principal: Principal, job_id: str, begin: str | None) -> Tail:
    """Return the last part of a job's output. Raises CodedError for whoever may not read it."""

    def read(cursor: str | None, limit: int) -> OutputList:
        return queries.output(principal, job_id, cursor, limit)

    return tail(read, begin)


def events_page(queries: Queries, principal: Principal, filters: dict[str, str], before: int, lang: str) -> EventsPage:
    """Return the newest events before number `before` that fit the filters `job`, `kind` and `user`.

    Looks at a bounded number of entries; `older` says where to go on when it did not reach the beginning.
    """
    upper = min(before, queries.last_seq() + 1)
    found: list[EventView] = []
    for _ in range(_EVENT_PAGES):
        low = 0 if filters.get("job") else max(0, upper - 1 - MAX_PAGE)
        page = queries.events(principal, low, MAX_PAGE, filters.get("job") or None, lang).events
        fitting = [event for event in page if event.seq < upper and _fits(event, filters)]
        for event in reversed(fitting):
            found.append(event)
            if len(found) == SHOWN_EVENTS:
                return EventsPage(found, event.seq, filters)
        upper = low + 1
        if low == 0:
            return EventsPage(found, None, filters)
    return EventsPage(found, upper, filters)


def _fits(event: EventView, filters: dict[str, str]) -> bool:
    if filters.get("kind") and event.kind != filters["kind"]:
        return False
    people: tuple[Any, ...] = (event.actor, event.data.get("user"))
    return not filters.get("user") or filters["user"] in people
