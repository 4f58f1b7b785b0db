"""The endpoints of sessions. As in `api/routes.py`, each one names who may call it.

The trap: every endpoint needs its row in tests/api/test_access.py.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi import Depends as Needs

from dure.api.routes import SIGNED_IN, Caller, Limit, answer, told
from dure.control.sessions import Sessions
from dure.wire.sessions import (
    ContentView,
    DiffView,
    LabelRequest,
    RenameRequest,
    RestoredRequest,
    SavedView,
    SaveRequest,
    SessionDetail,
    SessionList,
    ShareRequest,
)

VISIBLE = "the session's owner, whom it is shared with, and administrators"
READERS = "the session's owner and whom it is shared with"
OWNER = "the session's owner"
DELETERS = "the session's owner and administrators"
MEMBERS = "members of the team and administrators"


def _sessions(request: Request) -> Sessions:
    sessions: Sessions = request.app.state.sessions
    return sessions


TheSessions = Annotated[Sessions, Needs(_sessions)]
SessionId = Annotated[str, Path(description="The session's id, such as s-0123456789abcdef.", max_length=64)]
Number = Annotated[int, Path(ge=1, le=2**31)]
AVersion = Annotated[int, Query(ge=1, le=2**31)]


def router() -> APIRouter:
    """Return the endpoints, to be included below `<base path>/api`."""
    api = APIRouter()
    seen = ("session_not_found",)
    own = (*seen, "not_allowed")
    version = (*own, "version_not_found")
    api.get("/sessions", **told(SIGNED_IN, "sessions", model=SessionList))(listed)
    codes: tuple[str, ...] = (
        "no_team",
        "unknown_team",
        "session_moved",
        "session_quota",
        "too_many_sessions",
        "sessions_off",
    )
    api.put("/sessions", **told(MEMBERS, "sessions", *codes, model=SavedView))(save)
    api.post("/sessions/renamed", **told(SIGNED_IN, "sessions"), status_code=204)(rename)
    api.get("/sessions/{session_id}", **told(VISIBLE, "sessions", *seen, model=SessionDetail))(detail)
    api.delete("/sessions/{session_id}", **told(DELETERS, "sessions", *own), status_code=204)(delete)
    api.put("/sessions/{session_id}/share", **told(OWNER, "sessions", *own, "unknown_person", model=SessionDetail))(
        share
    )
    api.post("/sessions/{session_id}/restored", **told(READERS, "sessions", *version), status_code=204)(restored)
    codes = (*version, "contents_unreadable")
    api.get("/sessions/{session_id}/diff", **told(READERS, "sessions", *codes, model=DiffView))(differences)
    content_path = "/sessions/{session_id}/versions/{number}"
    api.get(content_path, **told(READERS, "sessions", *codes, model=ContentView))(content)
    api.put(f"{content_path}/label", **told(OWNER, "sessions", *version), status_code=204)(label)
    codes = (*version, "version_newest")
    api.delete(content_path, **told(DELETERS, "sessions", *codes), status_code=204)(delete_version)
    return api


def listed(
    principal: Caller,
    sessions: TheSessions,
    limit: Limit = 100,
    user: Annotated[str | None, Query(max_length=200)] = None,
    name: Annotated[str | None, Query(max_length=1024)] = None,
) -> Response:
    """Return the sessions that the caller may see, and what the platform allows. Who: anyone signed in."""
    return answer(sessions.listed(principal, limit, user, name))


def save(principal: Caller, sessions: TheSessions, body: SaveRequest) -> Response:
    """Keep a new version of the caller's session. Who: members of the team and administrators."""
    return answer(sessions.save(principal, body))


def rename(principal: Caller, sessions: TheSessions, body: RenameRequest) -> Response:
    """Let the caller's sessions follow a notebook or folder that was moved or deleted. Who: anyone signed in."""
    sessions.rename(principal, body)
    return Response(status_code=204)


def detail(principal: Caller, sessions: TheSessions, session_id: SessionId) -> Response:
    """Return a session's versions. Who: the session's owner, whom it is shared with, and administrators."""
    return answer(sessions.detail(principal, session_id))


def delete(principal: Caller, sessions: TheSessions, session_id: SessionId) -> Response:
    """Delete a session with all its versions. Who: the session's owner and administrators."""
    sessions.delete(principal, session_id)
    return Response(status_code=204)


def share(principal: Caller, sessions: TheSessions, session_id: SessionId, body: ShareRequest) -> Response:
    """Say who of the team may read the session. Who: the session's owner."""
    return answer(sessions.share(principal, session_id, body))


def restored(principal: Caller, sessions: TheSessions, session_id: SessionId, body: RestoredRequest) -> Response:
    """Note that a version was brought back. Who: the session's owner and whom it is shared with."""
    sessions.restored(principal, session_id, body)
    return Response(status_code=204)


def differences(
    principal: Caller, sessions: TheSessions, session_id: SessionId, before: AVersion, after: AVersion
) -> Response:
    """Return what differs between two versions. Who: the session's owner and whom it is shared with."""
    return answer(sessions.differences(principal, session_id, before, after))


def content(principal: Caller, sessions: TheSessions, session_id: SessionId, number: Number) -> Response:
    """Return the variables of a version. Who: the session's owner and whom it is shared with."""
    return answer(sessions.content(principal, session_id, number))


def label(
    principal: Caller, sessions: TheSessions, session_id: SessionId, number: Number, body: LabelRequest
) -> Response:
    """Put a label on a version, which stays as it is. Who: the session's owner."""
    sessions.label(principal, session_id, number, body)
    return Response(status_code=204)


def delete_version(principal: Caller, sessions: TheSessions, session_id: SessionId, number: Number) -> Response:
    """Delete an older version. Who: the session's owner and administrators."""
    sessions.delete(principal, session_id, number)
    return Response(status_code=204)
