"""What the control plane asks of the world. Each port has one contract suite that every adapter passes.

All calls are synchronous and bounded in time by their adapter; the loop and the API call them from threads. The trap:
an executor that cannot answer raises `ExecutorUnavailableError`, which means *unknown*, never *gone*.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Any, Literal, Protocol

from dure.core.events import Draft, Event
from dure.core.forecast.record import Issued
from dure.core.model import Environment, Job, Lease, Node, Phase
from dure.core.reservations import Reservation
from dure.core.session import Holding, Session, Version
from dure.core.usage import Use


class StaleFenceError(Exception):
    """Another leader has taken over: what this one wanted to write or start was refused."""


class VersionConflictError(Exception):
    """A job changed between being read and being written; read again and decide anew."""


class StoreError(Exception):
    """The database did not do what was asked. Nothing was written, except as StoreUnavailableError says."""


class StoreBusyError(StoreError):
    """Another writer held the database for too long; asking again later is right."""


class StoreFullError(StoreError):
    """The disk or quota that the database lies on is full; nothing was written."""


class StoreUnavailableError(StoreError):
    """The database cannot be reached, read or opened. A change under way may have been written whole: read again."""


class StoreNewerError(StoreError):
    """A newer Dure has upgraded the database; this one must not touch it."""


class ExecutorUnavailableError(Exception):
    """The executor gave no answer in time. Nothing is known about its attempts."""


class BlobStoreError(Exception):
    """The blob store cannot be reached, or refused; the message says why and what to do."""


class StartRefusedError(Exception):
    """The executor can never start this attempt as asked; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class JobQuery:
    """Which jobs to list, newest first. `teams` None means every team; `before` is a job's `(submitted_at, id)`."""

    teams: tuple[str, ...] | None = None
    user: str | None = None
    phases: tuple[Phase, ...] = ()
    limit: int = 100
    before: tuple[float, str] | None = None


@dataclass(frozen=True, slots=True)
class Leadership:
    """The right to act until `until`; `fence` is higher than that of every leader before."""

    holder: str
    fence: int
    until: float


@dataclass(frozen=True, slots=True)
class Changes:
    """What one transaction writes. `before` versions are checked: job.version must be one more than the stored one.

    `uses` are added to what was used before. Of a known reservation only what became of it is written, once.
    """

    jobs: tuple[Job, ...] = ()
    events: tuple[Draft, ...] = ()
    actor: str = "system"
    uses: tuple[Use, ...] = ()
    reservations: tuple[Reservation, ...] = ()


class Store(Protocol):
    """Jobs, the event log and leadership, in one database. The event is written in the transaction of the change.

    A job is read *whole* by `job` and `submit`, and *listed* by `jobs`, `active` and `changed`: a listed job has an
    empty `payload`, empty `references` and no `result`, because those may be megabytes. Committing a listed job loses
    nothing: payload and references are written by `submit` alone, and `commit` writes a result only when it has one.
    Every method may raise StoreError: StoreBusyError, StoreFullError or StoreUnavailableError.
    """

    def submit(self, job: Job, events: Sequence[Draft], at: float) -> Job:
        """Insert `job` and return it; when (user, request_key) is known already, return that job and write nothing.

        Raises VersionConflictError when another job has this id: submit again with a fresh one.
        """
        ...

    def job(self, job_id: str) -> Job | None:
        """Return the whole job or None."""
        ...

    def jobs(self, query: JobQuery) -> Sequence[Job]:
        """Return listed jobs newest first by (submitted_at, id), at most `query.limit`."""
        ...

    def count(self, query: JobQuery) -> int:
        """Return how many jobs match, at most `query.limit`; `before` is ignored."""
        ...

    def active(self) -> tuple[Sequence[Job], int]:
        """Return every job that has not ended, listed, and the log's last sequence number of the same instant."""
        ...

    def changed(self, after_seq: int) -> tuple[Sequence[Job], int]:
        """Return the jobs, listed, ended ones too, that events after `after_seq` concern, and the log's last number."""
        ...

    def commit(self, changes: Changes, at: float, fence: int | None = None) -> Sequence[Event]:
        """Write all of `changes` or nothing; return the events as stored.

        Each changed job needs an event with its id as subject, or `changed` would miss it: ValueError. A job given
        twice takes its steps in that order. Payload, references, submission and owner never change; a result of None
        leaves the stored one. Raises StaleFenceError when `fence` is given and is not the newest,
        VersionConflictError when a job moved on.
        """
        ...

    def events(
        self, after_seq: int, limit: int, *, subject: str | None = None, teams: Sequence[str] | None = None
    ) -> Sequence[Event]:
        """Return events with seq > after_seq in order; `teams` keeps those whose data names one of them or no team."""
        ...

    def last_seq(self) -> int:
        """Return the newest event's sequence number, 0 when there is none."""
        ...

    def lead(self, holder: str, now: float, ttl_s: float) -> Leadership | None:
        """Take or renew leadership for `ttl_s` seconds; None while somebody else's has not run out.

        Each new holder gets a higher fence; who renews keeps theirs, so `holder` must name one process, not one host.
        """
        ...

    def resign(self, holder: str) -> None:
        """Give leadership up at once when `holder` has it."""
        ...

    def spent(self, since: float) -> Mapping[str, float]:
        """Return each team's cost of jobs that ended at or after `since`."""
        ...

    def uses(self, since: float) -> Sequence[Use]:
        """Return what was used on each UTC day that began at or after `since`, by team and person."""
        ...

    def reservations(self, ends_after: float) -> Sequence[Reservation]:
        """Return the reservations that end, or would have ended, after a time, by their beginning and id."""
        ...

    def references(self, ended_after: float) -> frozenset[str]:
        """Return blob digests that jobs still need: of all unfinished jobs and of those ended after `ended_after`.

        Counted are a job's `references` and every digest that stands in its payload or its result.
        """
        ...


class EstimateStore(Protocol):
    """Estimates of starts on record, in the same database. May raise StoreError."""

    def write(self, written: Sequence[Issued], dropped: Sequence[str], keep: int) -> None:
        """Put estimates on record, or over those of the same job and number; forget those of `dropped` jobs.

        Of those that came true, the `keep` whose jobs began last are kept.
        """
        ...

    def recent(self, limit: int) -> Sequence[Issued]:
        """Return all open estimates and the newest of those that came true, at most `limit` of each, oldest first."""
        ...


class SessionStore(Protocol):
    """Sessions and their versions, in the same database and with the same event log. May raise StoreError."""

    def get(self, session_id: str) -> Session | None:
        """Return the session or None."""
        ...

    def find(self, user: str, team: str, name: str) -> Session | None:
        """Return a person's session of that name in a team, or None."""
        ...

    def listed(
        self,
        user: str | None,
        teams: Sequence[str] | None,
        limit: int,
        *,
        owner: str | None = None,
        name: str | None = None,
    ) -> Sequence[Session]:
        """Return sessions, the latest used first: those of `user`, and those of `teams` that are shared with somebody
        (None: all there are). `owner` and `name` keep only theirs and those so called.
        """
        ...

    def versions(self, session_ids: Sequence[str]) -> Sequence[Version]:
        """Return all versions of these sessions, by session and number."""
        ...

    def versions_of(self, user: str) -> Sequence[Version]:
        """Return all versions of all sessions of a person."""
        ...

    def save(
        self, session: Session, version: Version, dropped: Mapping[str, Sequence[int]], events: Sequence[Draft]
    ) -> None:
        """Add `version` to `session` (made when it is number 1) and drop others, or write nothing.

        Raises VersionConflictError when the session's newest is not the number before.
        """
        ...

    def drop(self, dropped: Mapping[str, Sequence[int]], events: Sequence[Draft], at: float, actor: str) -> None:
        """Delete versions."""
        ...

    def delete(self, session_ids: Sequence[str], events: Sequence[Draft], at: float, actor: str) -> None:
        """Delete sessions with all their versions."""
        ...

    def share(self, session_id: str, shared: Sequence[str], events: Sequence[Draft], at: float, actor: str) -> None:
        """Write whom a session is shared with."""
        ...

    def rename(self, names: Mapping[str, str], events: Sequence[Draft], at: float, actor: str) -> None:
        """Give sessions, by id and in this order, other names, or change nothing.

        Raises VersionConflictError when one of the names is taken.
        """
        ...

    def use(self, session_id: str, events: Sequence[Draft], at: float, actor: str) -> None:
        """Note that a session is used: its time to live begins anew."""
        ...

    def label(self, session_id: str, number: int, label: str, at: float) -> None:
        """Put a label on a version, which is a use of its session."""
        ...

    def holdings(self, *, user: str | None = None, session_ids: Sequence[str] | None = None) -> Mapping[str, Holding]:
        """Return what each session of `user`, or each of these, holds, by its id; one without a version is absent."""
        ...

    def unused(self, since: float) -> Sequence[Session]:
        """Return the sessions that nobody has saved or restored after `since`."""
        ...

    def users(self) -> Sequence[str]:
        """Return everyone who has a session."""
        ...

    def documents(self) -> frozenset[str]:
        """Return the digests of all versions' documents: what they reach must stay."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """All an executor needs to start one attempt. Starting it twice starts it once.

    `nodes` are the lease's, in its order, as the platform file describes them now: their GPUs' names and memory, and
    whether simulated.
    """

    job: Job
    lease: Lease
    environment: Environment
    nodes: tuple[Node, ...]
    timeout_s: float | None
    output_bytes: int
    grace_s: float


AttemptState = Literal["pending", "running", "ended", "lost"]


@dataclass(frozen=True, slots=True)
class Observation:
    """What an executor knows of one attempt. `began` tells whether user code was started.

    `kept_since` is since when its process runs no code and waits for a next cell, after `cells` of them.
    `checkpointed_at` is when its code said last that its work is saved.
    `accepted_at` is since when a pending one could have begun: accepted, and its node ready.

    `ended` carries `result` (the worker's end message) and means that no process of the attempt is left; `lost` means
    the same without a result. An attempt that an answering executor does not list was never accepted by it.
    """

    job_id: str
    attempt: int
    state: AttemptState
    began: bool = False
    began_at: float | None = None
    result: Mapping[str, Any] | None = None
    accepted_at: float | None = None
    kept_since: float | None = None
    cells: int = 0
    checkpointed_at: float | None = None


class Executor(Protocol):
    """Runs attempts on one cluster. It reports what happened; it never decides to retry or give up."""

    def fence(self, number: int) -> None:
        """Refuse, from now on and durably, `start`, `stop` and `forget` calls that carry a lower number."""
        ...

    def start(self, launch: Launch, fence: int) -> None:
        """Accept the attempt durably; idempotent per (job, attempt). Raises StartRefusedError or StaleFenceError."""
        ...

    def stop(self, job_id: str, attempt: int, grace_s: float, fence: int) -> None:
        """Ask for the attempt's end: SIGTERM, `grace_s`, SIGKILL. An attempt not yet started never will be.

        Asked again until the attempt is seen to have ended. Raises StaleFenceError.
        """
        ...

    def send(self, job_id: str, attempt: int, message: Mapping[str, Any]) -> bool:
        """Pass a control message (wire.messages.Control) to a running attempt; False when nobody took it."""
        ...

    def observe(self) -> Sequence[Observation]:
        """Return every attempt this executor knows and has not been told to forget."""
        ...

    def forget(self, job_id: str, attempt: int, fence: int) -> None:
        """The end of this attempt is on record: `observe` need not report it again. Its output stays readable.

        Raises StaleFenceError.
        """
        ...


@dataclass(frozen=True, slots=True)
class OutputPage:
    """Messages of a job's output after a cursor. `done` when the attempt's last message is included or passed."""

    messages: Sequence[Mapping[str, Any]]
    done: bool


class Outputs(Protocol):
    """Reads what jobs printed. Messages are numbered from 1 within an attempt."""

    def read(self, job_id: str, attempt: int, after: int, limit: int = 500) -> OutputPage:
        """Return up to `limit` messages with seq > after; an attempt without output yet gives an empty page."""
        ...


@dataclass(frozen=True, slots=True)
class Principal:
    """Who calls: a person's name, whether they administer, their teams, and how they proved it."""

    name: str
    admin: bool = False
    teams: tuple[str, ...] = ()
    via: str = "token"


class IdentityUnavailableError(Exception):
    """Who calls cannot be told now, because what knows it does not answer. Trying again is right."""


class Identity(Protocol):
    """Turns what a request carries into a principal."""

    def principal(self, token: str | None, headers: Mapping[str, str], peer: str | None) -> Principal | None:
        """Return who sent this, or None. `headers` have lower-case names; `peer` is the client's address.

        Raises IdentityUnavailableError when that cannot be told now.
        """
        ...


class BlobStores(Protocol):
    """The administrator's view of the blob store: hands out access scoped to a team, and collects garbage."""

    def access(self, team: str) -> Mapping[str, Any]:
        """Return a BlobAccess document that reaches this team's prefix and nothing else. May raise BlobStoreError."""
        ...

    def read(self, team: str, digest: str, most_bytes: int | None = None) -> bytes | None:
        """Return a blob's verified bytes for the platform's own use (manifests), None when absent.

        Raises BlobStoreError, before it is read, for one that has more than `most_bytes`, stored or plain.
        """
        ...

    def open(self, team: str, digest: str) -> IO[bytes] | None:
        """Return a blob of any size as a file of its verified bytes, at its begin; None when absent. Close it.

        Raises BlobStoreError.
        """
        ...

    def collect(self, keep: Mapping[str, frozenset[str]], older_than_s: float) -> int:
        """Delete blobs that no digest in `keep[team]` reaches and that are older; return how many went.

        A digest reaches what its manifest names. Teams that `keep` does not name are left alone. Whoever puts a blob
        that is there already makes it young, so `older_than_s` (at least an hour) must exceed the time from a put to
        the submission that refers to it, and `keep` must have been read before the call.
        """
        ...


class Clock(Protocol):
    """Real or simulated time."""

    def now(self) -> float:
        """Return seconds since the epoch."""
        ...


class Ids(Protocol):
    """Source of job ids."""

    def job_id(self) -> str:
        """Return a fresh id such as `j-7k2m9x4q`, unguessable enough not to collide."""
        ...


@dataclass(frozen=True, slots=True)
class Ports:
    """All adapters of one running control plane, as `main` composed them. `executors` is keyed by cluster name."""

    store: Store
    executors: Mapping[str, Executor]
    outputs: Outputs
    blobs: BlobStores
    identity: Identity
    clock: Clock
    ids: Ids
