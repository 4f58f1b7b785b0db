"""What goes over HTTP about limits, use and reservations. As in `wire/messages.py`, fields are only ever added."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from dure.wire.messages import Name, View, Wire

MAX_AT = 10**11
MAX_NOTE = 200


class LimitView(View):
    """One limit: what it is called, how much of it is used, in its own unit, and both as words."""

    limit: str
    label: str
    used: float
    most: float
    used_words: str
    most_words: str
    until: float | None = None


class PersonUsage(View):
    """What one person used for a team: GPU-hours today and this month (UTC), money; jobs that hold GPUs now."""

    user: str
    day_gpu_hours: float
    month_gpu_hours: float
    month_cost: float
    running: int
    limits: list[LimitView] = Field(default_factory=list)


class TeamUsage(View):
    """What a team used, its limits, and the same for each of its people who used anything."""

    team: str
    day_gpu_hours: float
    month_gpu_hours: float
    month_cost: float
    running: int
    budget_action: Literal["burst", "soft", "hard"]
    limits: list[LimitView] = Field(default_factory=list)
    people: list[PersonUsage] = Field(default_factory=list)


class UsageView(View):
    """Use and limits of the caller's teams. What runs counts as if it ran as long as predicted."""

    teams: list[TeamUsage]
    currency: str
    now: float


class ReservationRequest(Wire):
    """GPUs of a tier to keep for a team, or for one of its people, from one time to another."""

    team: Name | None = None
    user: Name | None = None
    tier: Name
    gpus: Annotated[int, Field(ge=1, le=100_000)] = 1
    begins_at: Annotated[float, Field(ge=0, le=MAX_AT)]
    ends_at: Annotated[float, Field(ge=0, le=MAX_AT)]
    note: Annotated[str, Field(max_length=MAX_NOTE)] = ""


class ReservationView(View):
    """A reservation. Those of other teams show neither person nor note. `phase` is planned, on, or how it was freed."""

    id: str
    team: str
    user: str | None
    tier: str
    gpus: float
    begins_at: float
    ends_at: float
    grace_s: float
    note: str
    made_by: str | None
    phase: Literal["planned", "on", "used", "released", "unused", "ended"]
    may_release: bool


class ReservationList(View):
    """Reservations by their beginning; `makers` says whether the caller may make one for some team."""

    reservations: list[ReservationView]
    may_reserve: list[str] = Field(default_factory=list)
    tiers: list[str] = Field(default_factory=list)
    now: float
