"""The portal's pages of sessions: the list, one session's versions, contents and differences, sharing, deleting.

The trap: what a version holds is read from its manifest, which a person's kernel wrote, so it is shown as text only,
and a list of variables has an end.
"""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Form, Path, Query, Request, Response
from pydantic import ValidationError

from dure.control import access
from dure.control.sessions import Sessions
from dure.portal.site import Portal, portal_of
from dure.wire.problems import CodedError
from dure.wire.sessions import SessionDetail, ShareRequest

SHOWN = 200
SessionId = Annotated[str, Path(max_length=64)]
Number = Annotated[int | None, Query(ge=1, le=2**31)]


def router() -> APIRouter:
    """Return the addresses, to be included below the base path."""
    found = APIRouter()
    found.get("/sessions")(sessions)
    found.get("/sessions/{session_id}")(session)
    found.get("/sessions/{session_id}/delete")(ask_delete)
    found.post("/sessions/{session_id}/delete")(delete)
    found.post("/sessions/{session_id}/share")(share)
    return found


def _parts(request: Request) -> tuple[Portal, Sessions]:
    kept: Sessions = request.app.state.sessions
    return portal_of(request), kept


def sessions(request: Request) -> Response:
    """Every session that the reader may see."""
    portal, kept = _parts(request)
    principal = portal.caller(request)
    listing = kept.listed(principal, SHOWN)
    return portal.page(request, "sessions.html", principal, section="sessions", listing=listing)


def session(
    request: Request, session_id: SessionId, version: Number = None, before: Number = None, after: Number = None
) -> Response:
    """One session: its versions; what one of them holds; what differs between two."""
    portal, kept = _parts(request)
    principal = portal.caller(request)
    detail = kept.detail(principal, session_id)
    shown = version or (detail.versions[0].number if detail.versions else None)
    values: dict[str, Any] = {"content": None, "differing": None, "unreadable": None}
    try:
        if detail.session.readable and shown is not None:
            values["content"] = kept.content(principal, session_id, shown)
        if detail.session.readable and before is not None and after is not None:
            values["differing"] = kept.differences(principal, session_id, before, after)
    except CodedError as error:
        if error.code != "contents_unreadable":
            raise
        values["unreadable"] = error.sentence(portal.lang(request))
    return portal.page(
        request,
        "session.html",
        principal,
        section="sessions",
        detail=detail,
        shown=shown,
        before=before or _second(detail),
        after=after or (detail.versions[0].number if detail.versions else 0),
        limit=SHOWN,
        **values,
    )


def ask_delete(request: Request, session_id: SessionId, version: Number = None) -> Response:
    """The page that asks whether it shall really go."""
    portal, kept = _parts(request)
    principal = portal.caller(request)
    found = kept.detail(principal, session_id).session
    access.require_acting(principal, "delete this session", found.user)
    return portal.page(request, "session_delete.html", principal, section="sessions", found=found, version=version)


def delete(request: Request, session_id: SessionId, version: Annotated[int, Form(ge=0, le=2**31)] = 0) -> Response:
    """Delete a session, or one of its older versions."""
    portal, kept = _parts(request)
    principal = portal.caller(request)
    kept.delete(principal, session_id, version or None)
    return portal.back(f"{portal.base}/sessions" + (f"/{quote(session_id)}" if version else ""))


def share(
    request: Request,
    session_id: SessionId,
    people: Annotated[str, Form(max_length=20_000)] = "",
    team: Annotated[str, Form(max_length=10)] = "",
) -> Response:
    """Say who of the team may read it: the typed names, or the whole team."""
    portal, kept = _parts(request)
    principal = portal.caller(request)
    names = [*people.replace(",", " ").split(), *(["*"] if team else [])]
    try:
        asked = ShareRequest(people=names)
    except ValidationError as error:
        problem = "a person's name has letters, digits and . _ @ - only"
        raise CodedError("invalid_request", problem=problem) from error
    kept.share(principal, session_id, asked)
    return portal.back(f"{portal.base}/sessions/{quote(session_id)}")


def _second(detail: SessionDetail) -> int:
    return detail.versions[1].number if len(detail.versions) > 1 else 0
