"""The Store port in memory: passes the same contract suite as the databases, and is quick enough for many worlds.

The trap: it must refuse exactly what a database refuses (versions, fences), since the simulation's worth rests on it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from dure.core.events import Draft, Event
from dure.core.model import Job
from dure.core.reservations import Reservation
from dure.core.usage import Use
from dure.ports import Changes, JobQuery, Leadership, StaleFenceError, VersionConflictError

_BECAME = ("used_at", "freed_at", "freed_why")


class MemoryStore:
    """Jobs, events and leadership in dictionaries. Not thread-safe: a simulated world has one thread."""

    def __init__(self) -> None:
        self.all_jobs: dict[str, Job] = {}
        self.log: list[Event] = []
        self._keys: dict[tuple[str, str], str] = {}
        self._unfinished: dict[str, None] = {}
        self._reservations: dict[str, Reservation] = {}
        self._uses: dict[tuple[float, str, str], Use] = {}
        self._leadership: Leadership | None = None
        self._fence = 0

    def submit(self, job: Job, events: Sequence[Draft], at: float) -> Job:
        """Insert once per (user, request_key)."""
        _check_plain(job.payload)
        if job.request_key is not None:
            known = self._keys.get((job.user, job.request_key))
            if known is not None:
                return self.all_jobs[known]
        if job.id in self.all_jobs:
            raise VersionConflictError(f"A job {job.id} exists already: submit again with a fresh id.")
        if job.request_key is not None:
            self._keys[job.user, job.request_key] = job.id
        self._put(job)
        self._append(events, at, job.user)
        return job

    def job(self, job_id: str) -> Job | None:
        """Return the whole job."""
        return self.all_jobs.get(job_id)

    def jobs(self, query: JobQuery) -> Sequence[Job]:
        """Return matching jobs, newest first, without payload and result."""
        found = [job for job in self.all_jobs.values() if _matches(job, query)]
        if query.before is not None:
            found = [job for job in found if (job.submitted_at, job.id) < query.before]
        found.sort(key=lambda job: (job.submitted_at, job.id), reverse=True)
        return [_light(job) for job in found[: query.limit]]

    def count(self, query: JobQuery) -> int:
        """Return how many match, at most `query.limit`."""
        return min(query.limit, sum(_matches(job, query) for job in self.all_jobs.values()))

    def active(self) -> tuple[Sequence[Job], int]:
        """Return the unfinished jobs without payload, and the log's last number."""
        return [_light(self.all_jobs[job_id]) for job_id in self._unfinished], self.last_seq()

    def changed(self, after_seq: int) -> tuple[Sequence[Job], int]:
        """Return the jobs that events after a number concern."""
        subjects = dict.fromkeys(event.subject for event in self.log[after_seq:])
        return [_light(self.all_jobs[s]) for s in subjects if s in self.all_jobs], self.last_seq()

    def commit(self, changes: Changes, at: float, fence: int | None = None) -> Sequence[Event]:
        """Write all or nothing."""
        if fence is not None and fence != self._fence:
            raise StaleFenceError(f"This control plane led with fence {fence}, but fence {self._fence} leads now.")
        unsaid = {job.id for job in changes.jobs} - {draft.subject for draft in changes.events}
        if unsaid:
            raise ValueError(f"jobs {sorted(unsaid)} would change without an event, so nobody would see it")
        versions = {job.id: self.all_jobs[job.id].version for job in changes.jobs if job.id in self.all_jobs}
        for job in changes.jobs:
            if versions.get(job.id) != job.version - 1:
                stored = self.all_jobs[job.id].version if job.id in self.all_jobs else "none"
                raise VersionConflictError(f"{job.id} (stored version {stored}, wanted to write {job.version})")
            versions[job.id] = job.version
        for use in changes.uses:
            known = self._uses.get((use.day, use.team, use.user), Use(use.day, use.team, use.user, 0.0, 0.0))
            more = replace(known, gpu_s=known.gpu_s + use.gpu_s, cost=known.cost + use.cost)
            self._uses[use.day, use.team, use.user] = more
        for made in changes.reservations:
            so_far = self._reservations.get(made.id, made)
            became = {name: getattr(so_far, name) or getattr(made, name) for name in _BECAME}
            self._reservations[made.id] = replace(so_far, **became)
        for job in changes.jobs:
            kept = self.all_jobs[job.id]
            result = kept.result if job.result is None else job.result
            self._put(replace(job, payload=kept.payload, references=kept.references, result=result))
        return self._append(changes.events, at, changes.actor)

    def events(
        self, after_seq: int, limit: int, *, subject: str | None = None, teams: Sequence[str] | None = None
    ) -> Sequence[Event]:
        """Return a page of the log."""
        found = []
        for event in self.log[max(0, after_seq) :]:
            team = event.data.get("team")
            if (subject is None or event.subject == subject) and (teams is None or team is None or team in teams):
                found.append(event)
                if len(found) == limit:
                    break
        return found

    def last_seq(self) -> int:
        """Return the newest number."""
        return len(self.log)

    def lead(self, holder: str, now: float, ttl_s: float) -> Leadership | None:
        """Take or renew leadership."""
        held = self._leadership
        if held is not None and held.holder != holder and held.until > now:
            return None
        if held is None or held.holder != holder:
            self._fence += 1
        self._leadership = Leadership(holder, self._fence, now + ttl_s)
        return self._leadership

    def resign(self, holder: str) -> None:
        """Give leadership up."""
        if self._leadership is not None and self._leadership.holder == holder:
            self._leadership = None

    def spent(self, since: float) -> Mapping[str, float]:
        """Return each team's cost since then."""
        spent: dict[str, float] = {}
        for job in self.all_jobs.values():
            if job.ended_at is not None and job.ended_at >= since:
                spent[job.team] = spent.get(job.team, 0.0) + job.cost
        return spent

    def uses(self, since: float) -> Sequence[Use]:
        """Return what was used since then."""
        return [use for key, use in sorted(self._uses.items()) if key[0] >= since]

    def reservations(self, ends_after: float) -> Sequence[Reservation]:
        """Return those that end after a time."""
        found = [one for one in self._reservations.values() if one.ends_at > ends_after]
        return sorted(found, key=lambda one: (one.begins_at, one.id))

    def references(self, ended_after: float) -> frozenset[str]:
        """Return digests that jobs still need."""
        living = (j for j in self.all_jobs.values() if j.ended_at is None or j.ended_at > ended_after)
        return frozenset(d for job in living for d in (*job.references, *_digests(job.payload), *_digests(job.result)))

    def _put(self, job: Job) -> None:
        self.all_jobs[job.id] = job
        if job.phase.terminal:
            self._unfinished.pop(job.id, None)
        else:
            self._unfinished[job.id] = None

    def _append(self, drafts: Sequence[Draft], at: float, actor: str) -> list[Event]:
        added = [
            Event(len(self.log) + 1 + i, at, actor, draft.subject, draft.kind, draft.data)
            for i, draft in enumerate(drafts)
        ]
        self.log += added
        return added


def _matches(job: Job, query: JobQuery) -> bool:
    return (
        (query.teams is None or job.team in query.teams)
        and (query.user is None or job.user == query.user)
        and (not query.phases or job.phase in query.phases)
    )


def _check_plain(payload: Mapping[str, Any]) -> None:
    try:
        json.dumps(payload, default=dict)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{error}: only what JSON knows can be stored") from error


def _light(job: Job) -> Job:
    return replace(job, payload={}, references=(), result=None)


def _digests(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value] if len(value) == 64 else []
    if isinstance(value, Mapping):
        return [digest for item in value.values() for digest in _digests(item)]
    if isinstance(value, (list, tuple)):
        return [digest for item in value for digest in _digests(item)]
    return []
