"""The portal's pages of use and limits, and the calendar of reservations: a week at a time, made and released by forms.

Times are the reader's own, as the browser's script tells its zone in a cookie; without that they are UTC, and the page
says which. The trap: a form's fields have no zone, so each form carries the one that it was shown in.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, datetime, timedelta, tzinfo
from functools import partial
from itertools import pairwise
from typing import Annotated, Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from fastapi import APIRouter, Form, Path, Query, Request, Response
from pydantic import ValidationError

from dure.portal.site import portal_of
from dure.wire.problems import CodedError
from dure.wire.usage import ReservationRequest, ReservationView

WEEK = 7
_HOUR_S = 3600.0
_FIRST_YEAR, _LAST_YEAR = 1971, 4000
ReservationId = Annotated[str, Path(max_length=64)]
Field = Annotated[str, Form(max_length=200)]
ZONE_COOKIE = "dure-zone"  # the script's, portal.js
_ZONE = re.compile(r"[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+){0,2}")


@dataclass(frozen=True, slots=True)
class Day:
    """One column of the calendar: its date, and what lies in it by tier, in order."""

    date: date
    today: bool
    by_tier: dict[str, list[ReservationView]]


def router() -> APIRouter:
    """Return the addresses, to be included below the base path."""
    found = APIRouter()
    found.get("/usage")(usage)
    found.get("/reservations")(reservations)
    found.post("/reservations")(reserve)
    found.get("/reservations/{reservation_id}/release")(ask_release)
    found.post("/reservations/{reservation_id}/release")(release)
    return found


def usage(request: Request) -> Response:
    """What the reader's teams used, and how far their limits are used up."""
    portal = portal_of(request)
    principal = portal.caller(request)
    view = portal.queries.usage(principal, portal.lang(request))
    return portal.page(request, "usage.html", principal, section="usage", view=view)


def reservations(request: Request, week: Annotated[str, Query(max_length=10)] = "") -> Response:
    """One week of the calendar, the present one unless another is named by a day of it."""
    return _calendar(request, week)


def _calendar(request: Request, week: str, *, refused: CodedError | None = None, **typed: str) -> Response:
    portal = portal_of(request)
    principal, lang = portal.caller(request), portal.lang(request)
    now = portal.clock.now()
    zone = zone_of(typed.pop("zone", None) or request.cookies.get(ZONE_COOKIE))
    first = _monday(week, now, zone)
    midnights = [_midnight(first + timedelta(days=number), zone) for number in range(WEEK + 1)]
    listing = portal.commands.reservations.listed(principal, midnights[0], midnights[-1])
    days = []
    for number, (since, until) in enumerate(pairwise(midnights)):
        there = [one for one in listing.reservations if one.begins_at < until and one.ends_at > since]
        by_tier = {tier: [one for one in there if one.tier == tier] for tier in listing.tiers}
        days.append(Day(first + timedelta(days=number), since <= now < until, by_tier))
    values: dict[str, Any] = {
        "listing": listing,
        "days": days,
        "before": first - timedelta(days=WEEK),
        "after": first + timedelta(days=WEEK),
        "moment": partial(_moment, zone),
        "zone": zone.key,
        "refused": refused.sentence(lang) if refused else None,
        "typed": dict.fromkeys(("team", "user", "tier", "note"), "")
        | {"begins": _minute(now, zone), "ends": _minute(now + _HOUR_S, zone), "gpus": "1"}
        | typed,
    }
    status = refused.entry.status if refused else 200
    return portal.page(request, "reservations.html", principal, section="reservations", status=status, **values)


def reserve(  # noqa: PLR0917 -- the form's fields
    request: Request, tier: Field, begins: Field, ends: Field, gpus: Field = "1", team: Field = "", user: Field = "",
    note: Field = "", zone: Field = "UTC",
) -> Response:  # fmt: skip
    """Make a reservation; a refused one comes back with the sentence and what was typed."""
    portal = portal_of(request)
    principal = portal.caller(request)
    try:
        asked = ReservationRequest.model_validate(
            {
                "tier": tier,
                "gpus": gpus,
                "begins_at": _at(begins, zone_of(zone)),
                "ends_at": _at(ends, zone_of(zone)),
                "team": team or None,
                "user": user or None,
                "note": note,
            }
        )
        made = portal.commands.reservations.make(principal, asked)
    except ValidationError as error:
        first = error.errors()[0]
        problem = f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"
        refusal = CodedError("invalid_request", problem=problem)
    except CodedError as error:
        if error.code == "not_signed_in":
            raise
        refusal = error
    else:
        return portal.back(f"{portal.base}/reservations?week={_day(made.begins_at, zone_of(zone))}")
    return _calendar(request, begins[:10], refused=refusal, tier=tier, begins=begins, ends=ends, gpus=gpus,
                     team=team, user=user, note=note, zone=zone)  # fmt: skip


def ask_release(request: Request, reservation_id: ReservationId) -> Response:
    """The page that asks whether the GPUs shall really be given back."""
    portal = portal_of(request)
    principal = portal.caller(request)
    found = portal.commands.reservations.releasable(principal, reservation_id)
    zone = zone_of(request.cookies.get(ZONE_COOKIE))
    values: dict[str, Any] = {"moment": partial(_moment, zone), "zone": zone.key, "week": _day(found.begins_at, zone)}
    return portal.page(request, "release.html", principal, section="reservations", one=found, **values)


def release(request: Request, reservation_id: ReservationId) -> Response:
    """Give a reservation's GPUs back."""
    portal = portal_of(request)
    principal = portal.caller(request)
    portal.commands.reservations.release(principal, reservation_id)
    return portal.back(f"{portal.base}/reservations")


def zone_of(name: str | None) -> ZoneInfo:
    """Return the time zone of that name; UTC for none, and for one that this machine does not know."""
    if name and _ZONE.fullmatch(name):
        with suppress(ZoneInfoNotFoundError, ValueError, OSError):
            return ZoneInfo(name)
    return ZoneInfo("UTC")


def _midnight(day: date, zone: tzinfo) -> float:
    return datetime(day.year, day.month, day.day, tzinfo=zone).timestamp()


def _monday(day: str, now: float, zone: tzinfo) -> date:
    named: date | None
    try:
        named = date.fromisoformat(day)
    except ValueError:
        named = None
    if named is None or not _FIRST_YEAR <= named.year <= _LAST_YEAR:
        named = datetime.fromtimestamp(now, zone).date()
    return named - timedelta(days=named.weekday())


def _at(text: str, zone: tzinfo) -> float | None:
    """Return the time that a form's field names in a zone; None when it names none."""
    try:
        return datetime.fromisoformat(text).replace(tzinfo=zone).timestamp()
    except (ValueError, OverflowError):
        return None


def _moment(zone: tzinfo, at: float) -> str:
    return datetime.fromtimestamp(at, zone).strftime("%Y-%m-%d %H:%M")


def _minute(at: float, zone: tzinfo) -> str:
    return datetime.fromtimestamp(at, zone).strftime("%Y-%m-%dT%H:%M")


def _day(at: float, zone: tzinfo) -> str:
    return datetime.fromtimestamp(at, zone).strftime("%Y-%m-%d")
