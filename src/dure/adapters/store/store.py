"""The store on SQLite or PostgreSQL: the same statements for both.

Every write begins by updating the one row of `head`: that takes the write lock, gives the events their numbers (without
gaps, in the order of commits, given back on rollback) and shows the newest fence. The trap: a write that does not begin
so could commit behind a newer leader's back.
"""

from __future__ import annotations

import contextlib
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, Connection, Select, and_, bindparam, func, or_, select, tuple_, update
from sqlalchemy.exc import IntegrityError

from dure.adapters.store.active import ActiveJobs
from dure.adapters.store.engines import engines, made_private, parsed, told
from dure.adapters.store.estimates import SqlEstimates
from dure.adapters.store.rows import (
    digests,
    event_of,
    event_row,
    job_changes,
    job_of,
    job_row,
    numbered,
)
from dure.adapters.store.sessions import SqlSessions
from dure.adapters.store.tables import HEAD_ROW, events, head, jobs, reservations, usage
from dure.adapters.store.upgrading import upgrade
from dure.core.model import TERMINAL, Phase
from dure.core.reservations import Reservation
from dure.core.usage import Use
from dure.ports import Leadership, StaleFenceError, VersionConflictError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from dure.core.events import Draft, Event
    from dure.core.model import Job
    from dure.ports import Changes, JobQuery

WAIT_S = 10.0
_STREAMED_ROWS = 200
_ACTIVE = tuple(str(phase) for phase in Phase if phase not in TERMINAL)

_LISTED = (jobs.c.document,)
_WHOLE = (jobs.c.document, jobs.c.blobs, jobs.c.payload, jobs.c.result)
_TAKE = (
    update(head)
    .where(head.c.id == HEAD_ROW)
    .values(last_seq=head.c.last_seq + bindparam("events"))
    .returning(head.c.last_seq, head.c.fence)
)
_LAST_SEQ = select(head.c.last_seq).where(head.c.id == HEAD_ROW)
_FENCE = select(head.c.fence).where(head.c.id == HEAD_ROW)
_UPDATE = (
    update(jobs)
    .where(jobs.c.id == bindparam("of_id"), jobs.c.version == bindparam("of_version"))
    .values(
        {name: bindparam(name) for name in ("phase", "goal", "queued_at", "ended_at", "cost", "version")}
        | {"document": bindparam("document"), "result": func.coalesce(bindparam("result"), jobs.c.result)}
    )
)


class _MovedOnError(Exception):
    """Rolls back a commit of which not every job had the expected version."""


class SqlStore:
    """ports.Store at `url`: `sqlite:////path/dure.db`, `sqlite://` (in memory, for tests and simulation) or
    `postgresql://…`. `wait_s` bounds how long a call waits for other writers. Call `migrate` once before use.
    """

    def __init__(self, url: str, *, wait_s: float = WAIT_S) -> None:
        self._url = parsed(url)
        self._writer, self._reader = engines(self._url, wait_s)
        self._active = ActiveJobs()
        self.estimates = SqlEstimates(self._reading, self._writing)
        self.sessions = SqlSessions(self._reading, self._writing, _logged)

    def migrate(self) -> None:
        """Create the tables or bring them up to this version of Dure, whole or not at all.

        Raises StoreNewerError when a newer Dure has written this database.
        """
        made_private(self._url)
        with told(self._url):
            upgrade(self._writer)

    def close(self) -> None:
        """Close the idle connections."""
        self._writer.dispose()
        self._reader.dispose()

    def submit(self, job: Job, events: Sequence[Draft], at: float) -> Job:
        """Insert `job` and return it, or the job that this user submitted with the same request_key before."""
        row = job_row(job)
        try:
            with self._writing() as connection:
                if (known := _submitted(connection, job)) is not None:
                    return known
                _log(connection, tuple(events), at, job.user, None)
                connection.execute(jobs.insert(), row)
        except IntegrityError as error:
            # Either the id is taken, or on PostgreSQL another submission with this key came first.
            with self._reading() as connection:
                if (known := _submitted(connection, job)) is not None:
                    return known
            raise VersionConflictError(f"A job {job.id} exists already: submit again with a fresh id.") from error
        return job

    def job(self, job_id: str) -> Job | None:
        """Return the whole job or None."""
        with self._reading() as connection:
            row = connection.execute(select(*_WHOLE).where(jobs.c.id == job_id)).one_or_none()
        return None if row is None else job_of(row)

    def jobs(self, query: JobQuery) -> Sequence[Job]:
        """Return listed jobs newest first."""
        wanted = _conditions(query)
        if query.before is not None:
            wanted.append(tuple_(jobs.c.submitted_at, jobs.c.id) < query.before)
        chosen = select(*_LISTED).where(*wanted)
        chosen = chosen.order_by(jobs.c.submitted_at.desc(), jobs.c.id.desc()).limit(query.limit)
        return self._listed(chosen)

    def count(self, query: JobQuery) -> int:
        """Return how many jobs match, at most `query.limit`."""
        matching = select(jobs.c.id).where(*_conditions(query)).limit(query.limit).subquery()
        with self._reading() as connection:
            return connection.execute(select(func.count()).select_from(matching)).scalar_one()

    def active(self) -> tuple[Sequence[Job], int]:
        """Return every job that has not ended, listed, and the log's last number of the same instant."""
        return self._active.read(self._all_active, self.changed)

    def changed(self, after_seq: int) -> tuple[Sequence[Job], int]:
        """Return the jobs, listed, that events after `after_seq` concern, and the log's last number."""
        subjects = select(events.c.subject).where(events.c.seq > after_seq)
        return self._listed_with_seq(select(*_LISTED).where(jobs.c.id.in_(subjects)))

    def commit(self, changes: Changes, at: float, fence: int | None = None) -> Sequence[Event]:
        """Write all of `changes` or nothing; return the events as stored."""
        if not changes.jobs and not changes.events and not changes.uses and not changes.reservations:
            with self._reading() as connection:
                _check_fence(connection.execute(_FENCE).scalar_one(), fence)
            return ()
        unsaid = {job.id for job in changes.jobs} - {draft.subject for draft in changes.events}
        if unsaid:
            raise ValueError(f"jobs {sorted(unsaid)} would change without an event, so nobody would see it")
        rows = [job_changes(job) | {"of_id": job.id, "of_version": job.version - 1} for job in changes.jobs]
        try:
            with self._writing() as connection:
                stored = _log(connection, changes.events, at, changes.actor, fence)
                _update(connection, rows)
                _use(connection, changes.uses)
                _reserve(connection, changes.reservations)
        except _MovedOnError:
            # Asked anew, because the refused transaction had changed some of the versions itself.
            with self._reading() as connection:
                raise _conflict(connection, changes.jobs) from None
        return stored

    def events(
        self, after_seq: int, limit: int, *, subject: str | None = None, teams: Sequence[str] | None = None
    ) -> Sequence[Event]:
        """Return events with seq > after_seq in order."""
        wanted = [events.c.seq > after_seq]
        if subject is not None:
            wanted.append(events.c.subject == subject)
        if teams is not None:
            wanted.append(or_(events.c.team.is_(None), events.c.team.in_(list(teams))))
        with self._reading() as connection:
            rows = connection.execute(select(events).where(*wanted).order_by(events.c.seq).limit(limit)).all()
        return [event_of(row) for row in rows]

    def last_seq(self) -> int:
        """Return the newest event's number, 0 when there is none."""
        with self._reading() as connection:
            return int(connection.execute(_LAST_SEQ).scalar_one())

    def lead(self, holder: str, now: float, ttl_s: float) -> Leadership | None:
        """Take or renew leadership until `now + ttl_s`; None while somebody else has it."""
        with self._writing() as connection:
            connection.execute(_TAKE, {"events": 0})
            row = connection.execute(select(head)).one()
            if row.holder not in {None, holder} and now < row.until:
                return None
            fence = row.fence if row.holder == holder else row.fence + 1
            leadership = Leadership(holder, fence, now + ttl_s)
            connection.execute(update(head).values(holder=holder, fence=fence, until=leadership.until))
        return leadership

    def resign(self, holder: str) -> None:
        """Give leadership up at once when `holder` has it."""
        with self._writing() as connection:
            connection.execute(update(head).where(head.c.holder == holder).values(holder=None, until=0.0))

    def spent(self, since: float) -> Mapping[str, float]:
        """Return each team's cost of jobs that ended at or after `since`."""
        # The expression keeps SQLite from walking all jobs by team; it finds the month's by ix_jobs_ended instead.
        team = func.coalesce(jobs.c.team, "")
        summed = select(team, func.sum(jobs.c.cost)).where(jobs.c.ended_at >= since).group_by(team)
        with self._reading() as connection:
            return {row[0]: row[1] for row in connection.execute(summed)}

    def uses(self, since: float) -> Sequence[Use]:
        """Return what was used on each UTC day that began at or after `since`, by team and person."""
        wanted = select(usage).where(usage.c.day >= since).order_by(usage.c.day, usage.c.team, usage.c.user)
        with self._reading() as connection:
            return [Use(*row) for row in connection.execute(wanted)]

    def reservations(self, ends_after: float) -> Sequence[Reservation]:
        """Return the reservations that end, or would have ended, after a time, by their beginning and id."""
        wanted = select(reservations).where(reservations.c.ends_at > ends_after)
        with self._reading() as connection:
            rows = connection.execute(wanted.order_by(reservations.c.begins_at, reservations.c.id)).all()
        return [Reservation(**row._asdict()) for row in rows]

    def references(self, ended_after: float) -> frozenset[str]:
        """Return blob digests that unfinished jobs and those ended after `ended_after` still need."""
        needed: set[str] = set()
        parts = select(jobs.c.blobs, jobs.c.payload, jobs.c.result)
        wanted = parts.where(or_(jobs.c.phase.in_(_ACTIVE), jobs.c.ended_at > ended_after))
        with self._reading() as connection:
            for row in connection.execution_options(yield_per=_STREAMED_ROWS).execute(wanted):
                needed |= digests(*row)
        return frozenset(needed)

    def _all_active(self) -> tuple[list[Job], int]:
        oldest_first = (jobs.c.submitted_at, jobs.c.id)
        return self._listed_with_seq(select(*_LISTED).where(jobs.c.phase.in_(_ACTIVE)).order_by(*oldest_first))

    def _listed(self, chosen: Select[Any]) -> list[Job]:
        with self._reading() as connection:
            rows = connection.execute(chosen).all()
        return [job_of(row) for row in rows]

    def _listed_with_seq(self, chosen: Select[Any]) -> tuple[list[Job], int]:
        with self._reading() as connection:
            last_seq = connection.execute(_LAST_SEQ).scalar_one()
            rows = connection.execute(chosen).all()
        return [job_of(row) for row in rows], last_seq

    @contextlib.contextmanager
    def _writing(self) -> Iterator[Connection]:
        with told(self._url), self._writer.begin() as connection:
            yield connection

    @contextlib.contextmanager
    def _reading(self) -> Iterator[Connection]:
        with told(self._url), self._reader.begin() as connection:
            yield connection


def _conditions(query: JobQuery) -> list[ColumnElement[bool]]:
    wanted: list[ColumnElement[bool]] = []
    if query.teams is not None:
        wanted.append(jobs.c.team.in_(query.teams))
    if query.user is not None:
        wanted.append(jobs.c.user == query.user)
    if query.phases:
        wanted.append(jobs.c.phase.in_([str(phase) for phase in query.phases]))
    return wanted


def _submitted(connection: Connection, job: Job) -> Job | None:
    if job.request_key is None:
        return None
    same = and_(jobs.c.user == job.user, jobs.c.request_key == job.request_key)
    row = connection.execute(select(*_WHOLE).where(same)).one_or_none()
    return None if row is None else job_of(row)


def _log(connection: Connection, drafts: tuple[Draft, ...], at: float, actor: str, fence: int | None) -> list[Event]:
    """Take the write lock, refuse a stale fence, and write `drafts` with the numbers that follow the log's last."""
    last_seq, newest_fence = connection.execute(_TAKE, {"events": len(drafts)}).one()
    _check_fence(newest_fence, fence)
    stored = numbered(drafts, last_seq, at, actor)
    if stored:
        connection.execute(events.insert(), [event_row(event) for event in stored])
    return stored


def _logged(connection: Connection, drafts: tuple[Draft, ...], at: float, actor: str) -> None:
    _log(connection, drafts, at, actor, None)


def _update(connection: Connection, rows: list[dict[str, Any]]) -> None:
    if rows and connection.execute(_UPDATE, rows).rowcount != len(rows):
        raise _MovedOnError


def _use(connection: Connection, uses: tuple[Use, ...]) -> None:
    for use in uses:
        row = and_(usage.c.day == use.day, usage.c.team == use.team, usage.c.user == use.user)
        more = {"gpu_s": usage.c.gpu_s + use.gpu_s, "cost": usage.c.cost + use.cost}
        if not connection.execute(update(usage).where(row).values(more)).rowcount:
            connection.execute(usage.insert(), asdict(use))


def _reserve(connection: Connection, made: tuple[Reservation, ...]) -> None:
    for one in made:
        became = {
            name: func.coalesce(reservations.c[name], getattr(one, name))
            for name in ("used_at", "freed_at", "freed_why")
        }
        if not connection.execute(update(reservations).where(reservations.c.id == one.id).values(became)).rowcount:
            connection.execute(reservations.insert(), asdict(one))


def _check_fence(newest: int, fence: int | None) -> None:
    if fence is not None and fence != newest:
        raise StaleFenceError(
            f"This control plane led with fence {fence}, but fence {newest} leads now: nothing was written."
        )


def _conflict(connection: Connection, wanted: Sequence[Job]) -> VersionConflictError:
    rows = connection.execute(select(jobs.c.id, jobs.c.version).where(jobs.c.id.in_([job.id for job in wanted])))
    versions = {row.id: row.version for row in rows}
    first = {job.id: job.version for job in reversed(wanted)}
    told_of = [
        f"{job_id} (stored version {versions.get(job_id, 'none')}, wanted to write {version})"
        for job_id, version in first.items()
        if versions.get(job_id) != version - 1
    ]
    return VersionConflictError(f"Read again and decide anew, another writer changed {', '.join(told_of[:10])}.")
