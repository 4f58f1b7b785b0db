"""`Client`: every call of the REST API as a typed method, safe across restarts of the control plane.

The trap: a submission is repeated with the same Idempotency-Key, so a lost answer never makes two jobs; pass your own
`key` only if you keep it for the repetition.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote

from dure.client import streams
from dure.client.config import Login, find_login, language
from dure.client.errors import failure
from dure.client.streams import JobChanged, Output
from dure.client.transport import Progress, Transport, query
from dure.wire.messages import (
    Artifact,
    ArtifactList,
    BlobAccess,
    CommMessage,
    Control,
    EnvironmentList,
    EnvironmentView,
    EventList,
    EventView,
    Health,
    JobList,
    JobRequest,
    JobView,
    Me,
    NextCell,
    OutputList,
    PlatformView,
    QueueView,
    WhyView,
)
from dure.wire.plans import PlanView
from dure.wire.sessions import (
    ContentView,
    DiffView,
    LabelRequest,
    SavedView,
    SaveRequest,
    SessionDetail,
    SessionList,
    ShareRequest,
)
from dure.wire.usage import ReservationList, ReservationRequest, ReservationView, UsageView

if TYPE_CHECKING:
    from dure.state.store.blobs import Blobs

_BLOBS_FRESH_S = 600.0  # credentials to a bucket run out; a folder costs one request to learn again


class Client:
    """The platform as one person sees it. Thread-safe; every failure is a DureError whose text is the sentence."""

    def __init__(
        self,
        login: Login | None = None,
        *,
        lang: str | None = None,
        progress: Progress | None = None,
        retry_s: float = 60.0,
        timeout_s: float = 30.0,
    ) -> None:
        """`login` None finds it; `retry_s` is how long an absent platform is waited for; `progress` hears of it."""
        self.lang = lang or language()
        self.login = login or find_login(lang=self.lang)
        self._transport = Transport(self.login, self.lang, progress=progress, retry_s=retry_s, timeout_s=timeout_s)
        self._blobs: dict[str | None, tuple[float, Blobs]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections. Open streams end with an error."""
        self._transport.http.close()

    def health(self) -> Health:
        """Return whether the control plane answers, and its version. Needs no login."""
        return self._transport.call(Health, "GET", "health")

    def me(self) -> Me:
        """Return who we are."""
        return self._transport.call(Me, "GET", "me")

    def platform(self) -> PlatformView:
        """Return tiers, teams, prices, environments and notices."""
        return self._transport.call(PlatformView, "GET", "platform")

    def environments(self) -> list[EnvironmentView]:
        """Return the environments with their Python and packages, as far as known."""
        return self._transport.call(EnvironmentList, "GET", "environments").environments

    def submit(self, request: JobRequest, key: str | None = None) -> JobView:
        """Return the new job; the same `key` again returns the same job."""
        headers = {"Idempotency-Key": key or uuid.uuid4().hex, "Content-Type": "application/json"}
        content = request.model_dump_json(exclude_none=True)
        return self._transport.call(JobView, "POST", "jobs", content=content, headers=headers)

    def plan(self, request: JobRequest) -> PlanView:
        """Return what would become of a job, without submitting it."""
        content = request.model_dump_json(exclude_none=True)
        return self._transport.call(
            PlanView, "POST", "plan", content=content, headers={"Content-Type": "application/json"}
        )

    def job(self, job_id: str) -> JobView:
        """Return one job."""
        return self._transport.call(JobView, "GET", f"jobs/{_part(job_id)}")

    def jobs(
        self,
        *,
        phases: Sequence[str] = (),
        user: str | None = None,
        team: str | None = None,
        limit: int = 100,
        cursor: str | None = None,
    ) -> JobList:
        """Return a page of the jobs that we may see, newest first."""
        params = query(phase=list(phases), user=user, team=team, limit=limit, cursor=cursor)
        return self._transport.call(JobList, "GET", "jobs", params=params)

    def why(self, job_id: str, *, at_once: bool = False) -> WhyView:
        """Return the job's story; `at_once`: without waiting for what would start it sooner, unless that is known."""
        params = {"at_once": "true"} if at_once else None
        return self._transport.call(WhyView, "GET", f"jobs/{_part(job_id)}/why", params=params)

    def cancel(self, job_id: str) -> JobView:
        """Ask for the job's end and return it."""
        return self._transport.call(JobView, "POST", f"jobs/{_part(job_id)}/cancel")

    def interrupt(self, job_id: str) -> None:
        """Interrupt user code; a job that does not run yet is cancelled. A second one kills."""
        self._control(job_id, Control(op="interrupt"))

    def stdin(self, job_id: str, text: str) -> None:
        """Answer the job's `input()`."""
        self._control(job_id, Control(op="stdin", text=text))

    def provide(self, job_id: str, names: Mapping[str, str | None], snapshot: str | None) -> None:
        """Give a running cell names that it misses; a name that the kernel has not maps to None."""
        self._control(job_id, Control(op="provide", names=dict(names), snapshot=snapshot))

    def comm(self, job_id: str, message: Mapping[str, Any]) -> None:
        """Pass on what the browser's end of a widget said: comm_id, data, buffers (base64)."""
        self._control(job_id, Control(op="comm", comm=CommMessage.model_validate(message)))

    def next_cell(self, job_id: str, cell: NextCell, key: str) -> None:
        """Run a cell in the process that is kept for it; the same `key` again runs it once.

        Raises DureError `not_running` or `already_ended` when no process waits there.
        """
        self._control(job_id, Control(op="cell", id=key, cell=cell), repeat=True)

    def finish(self, job_id: str) -> None:
        """End a job that is kept for a next cell; one that runs a cell ends after it."""
        self._control(job_id, Control(op="finish"), repeat=True)

    def output(self, job_id: str, cursor: str | None = None, limit: int = 500) -> OutputList:
        """Return a page of output after `cursor` ("attempt.seq"; None is the beginning)."""
        params = query(cursor=cursor, limit=limit)
        return self._transport.call(OutputList, "GET", f"jobs/{_part(job_id)}/output", params=params)

    def stream(self, job_id: str, cursor: str | None = None) -> Iterator[Output | JobChanged]:
        """Yield output after `cursor` and the job's changes as they come; the last item is its terminal JobChanged."""
        return streams.job_stream(self._transport, _part(job_id), cursor)

    def usage(self) -> UsageView:
        """Return what our teams used, and how far their limits are used up."""
        return self._transport.call(UsageView, "GET", "usage")

    def reservations(self, begins_at: float | None = None, ends_at: float | None = None) -> ReservationList:
        """Return the reservations between two times, by default from now on."""
        params = query(begins_at=begins_at, ends_at=ends_at)
        return self._transport.call(ReservationList, "GET", "reservations", params=params)

    def reserve(self, request: ReservationRequest) -> ReservationView:
        """Keep GPUs from one time to another."""
        body = request.model_dump(mode="json", exclude_none=True)
        return self._transport.call(ReservationView, "POST", "reservations", repeat=False, json=body)

    def release(self, reservation_id: str) -> None:
        """Give a reservation's GPUs back."""
        self._transport.send("DELETE", f"reservations/{_part(reservation_id)}")

    def queue(self) -> QueueView:
        """Return what waits, what runs and every GPU."""
        return self._transport.call(QueueView, "GET", "queue")

    def events(self, after: int = 0, limit: int = 200, subject: str | None = None) -> EventList:
        """Return a page of the event log after sequence number `after`."""
        params = query(after=after, limit=limit, subject=subject)
        return self._transport.call(EventList, "GET", "events", params=params)

    def event_stream(self, after: int | None = None, subject: str | None = None) -> Iterator[EventView]:
        """Yield events after `after` (None: from now on) as they come, without end."""
        return streams.event_stream(self._transport, after, subject)

    def blob_access(self, team: str | None = None) -> BlobAccess:
        """Return how to reach the blobs of a team (None: the only one that we are in)."""
        return self._transport.call(BlobAccess, "GET", "blobs/access", params=query(team=team))

    def blobs(self, team: str | None = None) -> Blobs:
        """Return the open blob store of a team."""
        from dure.state.store.blobs import open_blobs

        known = self._blobs.get(team)
        if known is None or time.monotonic() - known[0] > _BLOBS_FRESH_S:
            opened = open_blobs(self.blob_access(team).model_dump(exclude_none=True))
            known = self._blobs[team] = (time.monotonic(), opened)
        return known[1]

    def sessions(self, *, user: str | None = None, name: str | None = None, limit: int = 100) -> SessionList:
        """Return the sessions that we may see, the latest used first, and what the platform allows."""
        return self._transport.call(SessionList, "GET", "sessions", params=query(user=user, name=name, limit=limit))

    def session(self, session_id: str) -> SessionDetail:
        """Return a session with its versions, newest first."""
        return self._transport.call(SessionDetail, "GET", f"sessions/{_part(session_id)}")

    def save_session(self, request: SaveRequest) -> SavedView:
        """Keep a new version of our session; sending it again keeps it once."""
        content = request.model_dump_json(exclude_none=True)
        headers = {"Content-Type": "application/json"}
        return self._transport.call(SavedView, "PUT", "sessions", content=content, headers=headers)

    def session_content(self, session_id: str, number: int) -> ContentView:
        """Return the variables that a version holds."""
        return self._transport.call(ContentView, "GET", f"sessions/{_part(session_id)}/versions/{number}")

    def session_diff(self, session_id: str, before: int, after: int) -> DiffView:
        """Return what differs between two versions."""
        params = query(before=before, after=after)
        return self._transport.call(DiffView, "GET", f"sessions/{_part(session_id)}/diff", params=params)

    def share_session(self, session_id: str, people: Sequence[str]) -> SessionDetail:
        """Let these people of the session's team read it, and nobody else; `*` is the whole team."""
        body = ShareRequest(people=list(people)).model_dump()
        return self._transport.call(SessionDetail, "PUT", f"sessions/{_part(session_id)}/share", json=body)

    def rename_sessions(self, before: str, after: str | None) -> None:
        """Let our sessions follow a notebook or folder to another name; None: it is deleted."""
        body = {"before": before} if after is None else {"before": before, "after": after}
        self._transport.send("POST", "sessions/renamed", json=body)

    def session_restored(self, session_id: str, number: int, restored: int, lost: int) -> None:
        """Note that a version was brought back."""
        body = {"number": number, "restored": restored, "lost": lost}
        self._transport.send("POST", f"sessions/{_part(session_id)}/restored", json=body)

    def label_version(self, session_id: str, number: int, label: str) -> None:
        """Put a label on a version of our session."""
        path = f"sessions/{_part(session_id)}/versions/{number}/label"
        self._transport.send("PUT", path, json=LabelRequest(label=label).model_dump())

    def delete_session(self, session_id: str, number: int | None = None) -> None:
        """Delete a session, or one of its older versions."""
        path = f"sessions/{_part(session_id)}"
        self._transport.send("DELETE", path if number is None else f"{path}/versions/{number}")

    def artifacts(self, job_id: str) -> list[Artifact]:
        """Return the files that the job left."""
        return self._transport.call(ArtifactList, "GET", f"jobs/{_part(job_id)}/artifacts").artifacts

    def artifact(self, job_id: str, path: str) -> bytes:
        """Return one artifact's content."""
        return self._transport.send("GET", f"jobs/{_part(job_id)}/artifacts/{quote(path)}").content

    def save_artifact(self, job_id: str, path: str, target: Path) -> int:
        """Write an artifact to `target`, whole or not at all, and return its size in bytes."""
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            temporary = target.parent / f".dure-{uuid.uuid4().hex}"
            try:
                with temporary.open("xb") as file:
                    size_bytes = self._transport.download(f"jobs/{_part(job_id)}/artifacts/{quote(path)}", file)
                temporary.replace(target)
            finally:
                temporary.unlink(missing_ok=True)
        except OSError as error:
            problem = error.strerror or "no reason given"
            raise failure("target_unwritable", self.lang, path=str(target), problem=problem) from error
        return size_bytes

    def _control(self, job_id: str, message: Control, *, repeat: bool = False) -> None:
        # None is an answer here ("this name does not exist"), so it is sent.
        content: dict[str, Any] = message.model_dump(exclude_unset=True)
        self._transport.send("POST", f"jobs/{_part(job_id)}/control", repeat=repeat, json=content)


def _part(job_id: str) -> str:
    return quote(job_id, safe="")
