"""The endpoints: each one names who may call it, which problems it has, and the one command or query behind it.

The trap: an endpoint added here must get its row in tests/api/test_access.py, which fails for a route that it does
not know.
"""

from __future__ import annotations

import json
import re
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Depends, Header, Path, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel
from pydantic_core import PydanticSerializationError

from dure.api.auth import caller
from dure.api.problems import documented, language_of
from dure.api.streams import Streams, event_source, job_source
from dure.control.commands import Commands
from dure.control.queries import MAX_PAGE, Queries
from dure.core.model import Phase
from dure.ports import Principal
from dure.wire.messages import (
    ArtifactList,
    BlobAccess,
    Control,
    EnvironmentList,
    EventList,
    Health,
    JobList,
    JobRequest,
    JobView,
    Me,
    OutputList,
    PlatformView,
    QueueView,
    WhyView,
)
from dure.wire.messages import Phase as PhaseName
from dure.wire.plans import PlanView
from dure.wire.problems import CodedError

SIGNED_IN = "anyone signed in"
TEAM = "members of the job's team and administrators"
MEMBERS = "members of the team and administrators"
OWNER = "the job's owner and administrators"
OUTPUT_CURSOR = r"^[0-9]{1,9}\.[0-9]{1,15}$"
MAX_SEQ = 2**53  # the largest whole number that every JSON reader keeps exact


def _commands(request: Request) -> Commands:
    commands: Commands = request.app.state.commands
    return commands


def _queries(request: Request) -> Queries:
    queries: Queries = request.app.state.queries
    return queries


def _streams(request: Request) -> Streams:
    streams: Streams = request.app.state.streams
    return streams


Caller = Annotated[Principal, Depends(caller)]
Lang = Annotated[str, Depends(language_of)]
TheCommands = Annotated[Commands, Depends(_commands)]
TheQueries = Annotated[Queries, Depends(_queries)]
TheStreams = Annotated[Streams, Depends(_streams)]
JobId = Annotated[str, Path(description="The job's id, such as j-7k2m9x4q.", max_length=64)]
Limit = Annotated[int, Query(ge=1, le=MAX_PAGE)]
Cursor = Annotated[str | None, Query(max_length=100, description="Continue where an earlier page ended.")]
OutputCursor = Annotated[
    str | None, Query(pattern=OUTPUT_CURSOR, description='"attempt.seq" of the last message seen.')
]
LastEventId = Annotated[str | None, Header(alias="Last-Event-ID", max_length=100)]
AtOnce = Annotated[bool, Query(description="Only what is known already; `pending` then says that more can be found.")]
Phases = Annotated[list[PhaseName] | None, Query(max_length=7)]
EVENTS = {"content": {"text/event-stream": {"schema": {"type": "string"}}}, "description": "Server-sent events"}
BYTES = {
    "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    "description": "The file",
}
SEEN = ("job_not_found",)
OWN = ("job_not_found", "not_allowed")
CHANGED = (*OWN, "already_ended", "not_running")


def router() -> APIRouter:
    """Return all endpoints, to be included below `<base path>/api`."""
    api = APIRouter()
    api.get("/health", **told("anyone", "platform", model=Health))(health)
    api.get("/me", **told(SIGNED_IN, "platform", model=Me))(me)
    api.get("/platform", **told(SIGNED_IN, "platform", model=PlatformView))(platform)
    api.get("/environments", **told(SIGNED_IN, "platform", model=EnvironmentList))(environments)
    api.get("/queue", **told(SIGNED_IN, "platform", model=QueueView))(queue)
    api.get("/events", **told(SIGNED_IN, "platform", model=EventList))(events)
    api.get("/events/stream", **told(SIGNED_IN, "platform", "too_many_streams", raw=EVENTS))(events_stream)
    codes: tuple[str, ...] = ("unknown_team", "no_team")
    api.get("/blobs/access", **told(MEMBERS, "platform", *codes, model=BlobAccess))(blobs_access)

    codes = ("no_team", "environment_python", "queue_full", "pending_limit")
    api.post("/jobs", **told(MEMBERS, "jobs", *codes, model=JobView), status_code=201)(submit)
    plan_codes = ("no_team", "environment_python")
    api.post("/plan", **told(MEMBERS, "jobs", *plan_codes, model=PlanView))(plan)
    api.get("/jobs", **told(SIGNED_IN, "jobs", model=JobList))(jobs)
    api.get("/jobs/{job_id}", **told(TEAM, "jobs", *SEEN, model=JobView))(job)
    api.get("/jobs/{job_id}/why", **told(TEAM, "jobs", *SEEN, model=WhyView))(why)
    api.post("/jobs/{job_id}/cancel", **told(OWNER, "jobs", *CHANGED, model=JobView))(cancel)
    api.post("/jobs/{job_id}/control", **told(OWNER, "jobs", *CHANGED), status_code=204)(control)
    api.get("/jobs/{job_id}/output", **told(OWNER, "jobs", *OWN, model=OutputList))(output)
    codes = (*OWN, "too_many_streams")
    api.get("/jobs/{job_id}/stream", **told(OWNER, "jobs", *codes, raw=EVENTS))(job_stream)
    api.get("/jobs/{job_id}/artifacts", **told(OWNER, "jobs", *OWN, model=ArtifactList))(artifacts)
    codes = (*OWN, "artifact_not_found")
    api.get("/jobs/{job_id}/artifacts/{path:path}", **told(OWNER, "jobs", *codes, raw=BYTES))(artifact)
    return api


def told(
    whom: str, tag: str, *codes: str, model: type[BaseModel] | None = None, raw: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Return what OpenAPI is told of an endpoint: who may call it, its problems, what it answers."""
    anyone = whom == "anyone"
    told: dict[str, Any] = {
        "responses": documented(*codes, anyone=anyone) | ({200: raw} if raw else {}),
        "openapi_extra": {"x-who": whom} | ({"security": []} if anyone else {}),
        "tags": [tag],
    }
    return told | ({"response_model": model} if model else {"response_class": Response})


def answer(view: BaseModel, status: int = 200) -> Response:
    """Return `view` as JSON, written once by pydantic. A lone surrogate that a job printed is escaped."""
    try:
        content = view.model_dump_json()
    except PydanticSerializationError:
        content = json.dumps(view.model_dump(mode="python"))
    return Response(content, status, media_type="application/json", headers={"Cache-Control": "no-store"})


def health(request: Request) -> Response:
    """Say that the control plane answers, and its version. Who: anyone."""
    return answer(Health(status="ok", version=request.app.version))


def me(principal: Caller, queries: TheQueries) -> Response:
    """Return who calls, with their teams. Who: anyone signed in."""
    return answer(queries.me(principal))


def platform(principal: Caller, queries: TheQueries, lang: Lang) -> Response:
    """Return tiers, prices, teams, environments and notices. Who: anyone signed in."""
    return answer(queries.platform(principal, lang))


def environments(principal: Caller, queries: TheQueries) -> Response:  # noqa: ARG001 - signed in is all it takes
    """Return the environments with their Python and packages. Who: anyone signed in."""
    return answer(EnvironmentList(environments=queries.environments()))


def queue(principal: Caller, queries: TheQueries, lang: Lang) -> Response:
    """Return what waits, what runs and every GPU; of other teams only the names. Who: anyone signed in."""
    return answer(queries.queue(principal, lang))


def events(
    *,
    principal: Caller,
    queries: TheQueries,
    lang: Lang,
    after: Annotated[int, Query(ge=-MAX_SEQ, le=MAX_SEQ, description="Negative counts from the end.")] = 0,
    limit: Limit = 100,
    subject: Annotated[str | None, Query(max_length=200)] = None,
) -> Response:
    """Return events after a sequence number, those of the caller's teams. Who: anyone signed in."""
    if after < 0:
        after = max(0, queries.last_seq() + after)
    return answer(queries.events(principal, after, limit, subject, lang))


def events_stream(
    *,
    request: Request,
    principal: Caller,
    queries: TheQueries,
    streams: TheStreams,
    lang: Lang,
    after: Annotated[int | None, Query(ge=0, le=MAX_SEQ)] = None,
    subject: Annotated[str | None, Query(max_length=200)] = None,
    last_event_id: LastEventId = None,
) -> Response:
    """Stream events as they come: id is the sequence number, `Last-Event-ID` resumes. Who: anyone signed in."""
    if last_event_id is not None:
        if not (last_event_id.isascii() and last_event_id.isdigit() and int(last_event_id) <= MAX_SEQ):
            raise CodedError("invalid_request", problem="Last-Event-ID is not a sequence number")
        after = int(last_event_id)
    source = event_source(streams, queries, principal, after=after, subject=subject, lang=lang)
    return streams.answer(request, principal.name, source)


def blobs_access(
    principal: Caller, queries: TheQueries, team: Annotated[str | None, Query(max_length=63)] = None
) -> Response:
    """Return how to reach a team's blobs, and nothing but them. Who: members of the team and administrators."""
    return answer(queries.blob_access(principal, team))


def submit(
    *,
    principal: Caller,
    commands: TheCommands,
    queries: TheQueries,
    lang: Lang,
    body: JobRequest,
    idempotency_key: Annotated[
        str | None, Header(min_length=1, max_length=200, description="The same key again returns the same job.")
    ] = None,
) -> Response:
    """Put a job into the team's queue. Who: members of the team and administrators."""
    job = commands.submit(principal, body, idempotency_key)
    return answer(queries.shown(principal, job, lang), 201)


def plan(principal: Caller, commands: TheCommands, queries: TheQueries, lang: Lang, body: JobRequest) -> Response:
    """Return what would become of a job, without submitting it. Who: members of the team and administrators."""
    return answer(queries.plan(principal, commands.draft(principal, body), lang))


def jobs(
    *,
    principal: Caller,
    queries: TheQueries,
    lang: Lang,
    phase: Phases = None,
    user: Annotated[str | None, Query(max_length=200)] = None,
    team: Annotated[str | None, Query(max_length=63)] = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Response:
    """Return a page of the jobs of the caller's teams, newest first. Who: anyone signed in."""
    phases = tuple(Phase(name) for name in phase or ())
    found = queries.jobs(principal, phases=phases, user=user, team=team, limit=limit, cursor=cursor, lang=lang)
    return answer(found)


def job(principal: Caller, queries: TheQueries, lang: Lang, job_id: JobId) -> Response:
    """Return one job. Who: members of the job's team and administrators."""
    return answer(queries.job(principal, job_id, lang))


def why(principal: Caller, queries: TheQueries, lang: Lang, job_id: JobId, *, at_once: AtOnce = False) -> Response:
    """Return a job's story: why it waits or how it ended. Who: members of the job's team and administrators."""
    return answer(queries.why(principal, job_id, lang, at_once=at_once))


def cancel(principal: Caller, commands: TheCommands, queries: TheQueries, lang: Lang, job_id: JobId) -> Response:
    """Ask for the job's end. Who: the job's owner and administrators."""
    return answer(queries.shown(principal, commands.cancel(principal, job_id), lang))


def control(principal: Caller, commands: TheCommands, job_id: JobId, body: Control) -> Response:
    """Interrupt a running job, answer its input, or provide names. Who: the job's owner and administrators."""
    if body.op == "stdin" and body.text is None:
        raise CodedError("invalid_request", problem="op stdin needs text")
    if body.op == "provide" and body.names is None:
        raise CodedError("invalid_request", problem="op provide needs names")
    if body.op == "comm" and body.comm is None:
        raise CodedError("invalid_request", problem="op comm needs comm")
    commands.control(principal, job_id, body)
    return Response(status_code=204)


def output(
    principal: Caller, queries: TheQueries, job_id: JobId, cursor: OutputCursor = None, limit: Limit = 200
) -> Response:
    """Return messages of the job's output after a cursor. Who: the job's owner and administrators."""
    return answer(queries.output(principal, job_id, cursor, limit))


def job_stream(
    *,
    request: Request,
    principal: Caller,
    queries: TheQueries,
    streams: TheStreams,
    lang: Lang,
    job_id: JobId,
    cursor: OutputCursor = None,
    last_event_id: LastEventId = None,
) -> Response:
    """Stream a job's output and changes; `Last-Event-ID` resumes. Who: the job's owner and administrators."""
    if last_event_id and not re.fullmatch(OUTPUT_CURSOR, last_event_id):
        raise CodedError("invalid_request", problem="Last-Event-ID is not a cursor")
    at = last_event_id or cursor or "0.0"
    queries.output(principal, job_id, at, 1)  # refuses before the stream begins
    source = job_source(streams, queries, principal, job_id=job_id, cursor=at, lang=lang)
    return streams.answer(request, principal.name, source)


def artifacts(principal: Caller, queries: TheQueries, lang: Lang, job_id: JobId) -> Response:
    """Return the files that the job left. Who: the job's owner and administrators."""
    queries.output(principal, job_id, None, 1)  # the rule for artifacts is the rule for output
    return answer(ArtifactList(artifacts=queries.job(principal, job_id, lang).artifacts))


def artifact(
    principal: Caller,
    queries: TheQueries,
    job_id: JobId,
    path: Annotated[str, Path(max_length=4096)],
) -> Response:
    """Return one artifact's bytes, as a download. Who: the job's owner and administrators."""
    size_bytes, pieces = queries.artifact(principal, job_id, path)
    # A job's HTML must not run as a page of this site: always a download, never sniffed.
    headers = {
        "Content-Length": str(size_bytes),
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(path.rsplit('/', 1)[-1], safe='')}",
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": "sandbox; default-src 'none'",
        "Cache-Control": "no-store",
    }
    return StreamingResponse(pieces, media_type="application/octet-stream", headers=headers)
