"""The endpoints of use, limits and reservations. As in `api/routes.py`, each one names who may call it.

The trap: every endpoint needs its row in tests/api/test_access.py.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Response

from dure.api.routes import SIGNED_IN, Caller, Lang, TheCommands, TheQueries, answer, told
from dure.wire.usage import MAX_AT, ReservationList, ReservationRequest, ReservationView, UsageView

MAKERS = "administrators, and members of the team where platform.yaml lets them"
HOLDERS = "whoever made it, whom it is for, and administrators"

ReservationId = Annotated[str, Path(description="The reservation's id, such as r-7k2m9x4q.", max_length=64)]
At = Annotated[float | None, Query(ge=0, le=MAX_AT, description="Seconds since the epoch.")]


def router() -> APIRouter:
    """Return the endpoints, to be included below `<base path>/api`."""
    api = APIRouter()
    api.get("/usage", **told(SIGNED_IN, "platform", model=UsageView))(usage)
    api.get("/reservations", **told(SIGNED_IN, "reservations", model=ReservationList))(listed)
    codes: tuple[str, ...] = (
        "no_team",
        "not_allowed",
        "unknown_tier",
        "reservation_times",
        "reservation_full",
        "reservation_quota",
    )
    api.post("/reservations", **told(MAKERS, "reservations", *codes, model=ReservationView), status_code=201)(make)
    path, codes = "/reservations/{reservation_id}", ("reservation_not_found", "not_allowed")
    api.delete(path, **told(HOLDERS, "reservations", *codes), status_code=204)(release)
    return api


def usage(principal: Caller, queries: TheQueries, lang: Lang) -> Response:
    """Return use and limits of the caller's teams; an administrator's are all. Who: anyone signed in."""
    return answer(queries.usage(principal, lang))


def listed(principal: Caller, commands: TheCommands, begins_at: At = None, ends_at: At = None) -> Response:
    """Return reservations between two times, by default from now on; no names of others. Who: anyone signed in."""
    return answer(commands.reservations.listed(principal, begins_at, ends_at))


def make(principal: Caller, commands: TheCommands, body: ReservationRequest) -> Response:
    """Keep GPUs. Who: administrators, and members of the team where platform.yaml lets them."""
    return answer(commands.reservations.make(principal, body), 201)


def release(principal: Caller, commands: TheCommands, reservation_id: ReservationId) -> Response:
    """Give a reservation's GPUs back. Who: whoever made it, whom it is for, and administrators."""
    commands.reservations.release(principal, reservation_id)
    return Response(status_code=204)
