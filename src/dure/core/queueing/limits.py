"""Whether a team or person has had enough: jobs and GPUs at once, GPU-hours a day, budgets of a month.

Each rule looks at what was used, what runs until it is predicted to end, and what the job is predicted to need. The
trap: a prediction is not the truth, so the first job of a day is let in even if it alone is predicted over the daily
limit; only a budget, which is not to be overspent, refuses it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from dure.core.burst import predicted_s
from dure.core.model import WHOLE_GPU_MILLI, BudgetAction, Job, Lease, Limit, Platform, Team
from dure.core.pricing import cost_of
from dure.core.reasons import Waiting
from dure.core.reservations import Held, Reservation
from dure.core.usage import DAY_S, HOUR_S, Past, day_of, next_month

Refusal = tuple[Waiting, Mapping[str, Any]]

_AT_ONCE = frozenset({"jobs", "gpus"})


@dataclass(frozen=True, slots=True)
class Bounds:
    """What keeps jobs out beside GPUs and quota: what was used, which limits look at, and reservations."""

    past: Past = field(default_factory=Past)
    reservations: tuple[Reservation, ...] = ()


@dataclass(frozen=True, slots=True)
class Holding:
    """What one team or person holds now, is predicted to use of it today and until its jobs end, and has so far."""

    jobs: int = 0
    gpus_milli: int = 0
    day_gpu_s: float = 0.0
    gpu_s: float = 0.0
    cost: float = 0.0
    used_day_gpu_s: float = 0.0
    used_gpu_s: float = 0.0
    used_cost: float = 0.0


NOTHING = Holding()


@dataclass(frozen=True, slots=True)
class Level:
    """One limit and how far it is used up, in the limit's own unit; `whose` is "team" or "user"."""

    limit: str
    whose: str
    used: float
    most: float
    until: float | None = None

    @property
    def left(self) -> float:
        """How much more a job may need. The first of a day may need anything, or a long one would never run."""
        if self.limit == "gpu_hours_per_day" and self.used <= 0 < self.most:
            return math.inf
        return self.most - self.used


@dataclass(frozen=True, slots=True)
class Leeway:
    """What limits and a hard budget still let one person of a team take: jobs, thousandths of GPUs, hours, money.

    Hours and money are predicted ones. Whoever fits each of the four passes every limit, and nobody else does.
    """

    jobs: float = math.inf
    gpus_milli: float = math.inf
    gpu_hours: float = math.inf
    money: float = math.inf

    @property
    def bounds_time(self) -> bool:
        """True when it matters how long a job runs."""
        return min(self.gpu_hours, self.money) < math.inf

    def lets(self, job: Job, platform: Platform) -> bool:
        """Return whether a job of this person passes."""
        if self.jobs < 1 or job.request.gpus_milli > self.gpus_milli:
            return False
        if not self.bounds_time:
            return True
        hours = _gpu_hours(job, platform)
        return hours <= self.gpu_hours and _price(job, platform) * hours <= self.money


@dataclass(frozen=True, slots=True)
class Limited:
    """What a team with limits and its people hold once a plan is carried out, which says whom its limits keep out."""

    team: Team
    platform: Platform
    past: Past
    held: Mapping[str | None, Holding]
    _known: dict[str, Leeway] = field(default_factory=dict)

    def refusal(self, job: Job) -> Refusal | None:
        """Return why a limit keeps the job out, with its numbers, or None."""
        return refusal(job, self.team, self.platform, self.past, self._holding(job.user))

    def lets(self, job: Job) -> bool:
        """Return whether no limit keeps the job out."""
        return self.leeway(job.user).lets(job, self.platform)

    def leeway(self, user: str) -> Leeway:
        """Return what limits let one person still take."""
        found = self._known.get(user)
        if found is None:
            found = self._known[user] = leeway(self.team, user, self.past, self._holding(user))
        return found

    def _holding(self, user: str) -> Mapping[str, Holding]:
        return {"team": self.held[None], "user": self.held.get(user, NOTHING)}


def levels(team: Team, user: str | None, past: Past, holding: Mapping[str, Holding]) -> list[Level]:
    """Return every limit of the team, or of one person of it, with how far it is used up.

    `holding` is keyed "team" and, for a person, "user"; budgets are the team's.
    """
    whose = "team" if user is None else "user"
    limit = team.limits if user is None else team.user_limits
    account, held = past.of(team.name, user), holding[whose]
    day_h = (account.day_gpu_s + held.day_gpu_s) / HOUR_S
    found = [
        Level("jobs", whose, held.jobs, limit.jobs) if limit.jobs is not None else None,
        Level("gpus", whose, held.gpus_milli, limit.gpus_milli) if limit.gpus_milli is not None else None,
        Level("gpu_hours_per_day", whose, day_h, limit.gpu_hours_per_day, past.day + DAY_S)
        if limit.gpu_hours_per_day is not None
        else None,
    ]
    if user is None and team.budget_gpu_hours_per_month is not None:
        hours = (account.month_gpu_s + held.gpu_s) / HOUR_S
        found.append(Level("budget_gpu_hours", whose, hours, team.budget_gpu_hours_per_month, next_month(past.day)))
    if user is None and team.budget_per_month is not None:
        money = account.month_cost + held.cost
        found.append(Level("budget", whose, money, team.budget_per_month, next_month(past.day)))
    return [level for level in found if level is not None]


def refusal(job: Job, team: Team, platform: Platform, past: Past, holding: Mapping[str, Holding]) -> Refusal | None:
    """Return why a limit of its team keeps the job out now, with the numbers, or None when none does.

    What keeps it out whatever ends is told first, then what is held at once, which is true of all that ask for this.
    """
    needs = _needs(job, platform)
    found = [level for level in _binding(team, job.user, past, holding) if needs[level.limit] > level.left]
    found.sort(key=lambda level: (not _beyond(level, needs[level.limit]), level.limit not in _AT_ONCE))
    return _answer(job, found[0], needs[found[0].limit]) if found else None


def leeway(team: Team, user: str, past: Past, holding: Mapping[str, Holding]) -> Leeway:
    """Return what limits still let a person take: `refusal` is None exactly for those jobs that it lets pass."""
    left = {"jobs": math.inf, "gpus": math.inf, "hours": math.inf, "budget": math.inf}
    for level in _binding(team, user, past, holding):
        unit = "hours" if "hours" in level.limit else level.limit
        left[unit] = min(left[unit], level.left)
    return Leeway(*left.values())


def _binding(team: Team, user: str, past: Past, holding: Mapping[str, Holding]) -> list[Level]:
    """Return the limits that keep jobs of a person out once they are used up."""
    return [
        level
        for whose in (user, None)
        for level in levels(team, whose, past, holding)
        if team.budget_action is BudgetAction.HARD or not level.limit.startswith("budget")
    ]


def bar(job: Job, team: Team, holding: Mapping[str, Holding]) -> Refusal | None:
    """Return why a limit of what is held at once keeps out all jobs of this person that ask for the same, or None.

    Neither time nor a prediction matters to these limits, so the answer stands until somebody of the team gets GPUs or
    gives some back.
    """
    needs = {"jobs": 1, "gpus": job.request.gpus_milli}
    found: list[Level] = []
    for whose, limit in (("user", team.user_limits), ("team", team.limits)):
        held = holding[whose]
        found += [Level("jobs", whose, held.jobs, limit.jobs)] if limit.jobs is not None else []
        found += [Level("gpus", whose, held.gpus_milli, limit.gpus_milli)] if limit.gpus_milli is not None else []
    found = [level for level in found if needs[level.limit] > level.left]
    found.sort(key=lambda level: not _beyond(level, needs[level.limit]))
    return _answer(job, found[0], needs[found[0].limit]) if found else None


def overdrawn(platform: Platform, name: str, past: Past, holders: Iterable[Held], now: float) -> bool:
    """Return whether the team's budget is soft and used up: its jobs then run after everybody else's."""
    team = limited(platform, name)
    if team is None or team.budget_action is not BudgetAction.SOFT:
        return False
    holding = holdings(platform, name, None, holders, now)
    found = levels(team, None, past, holding)
    return any(level.limit.startswith("budget") and level.used >= level.most for level in found)


def holdings(
    platform: Platform, team: str, user: str | None, holders: Iterable[Held], now: float
) -> dict[str, Holding]:
    """Return what the team and, when given, one person of it hold."""
    found = held_by(platform, team, holders, now)
    return {"team": found[None]} | ({} if user is None else {"user": found.get(user, NOTHING)})


def held_by(platform: Platform, team: str, holders: Iterable[Held], now: float) -> dict[str | None, Holding]:
    """Return what each person of a team holds who has GPUs, and under None what all of them do."""
    found: dict[str | None, Holding] = {None: NOTHING}
    for job, lease in sorted((one for one in holders if one[0].team == team), key=lambda one: one[0].id):
        own = _holding(job, lease, platform, now)
        found[None] = _sum(found[None], own)
        found[job.user] = _sum(found.get(job.user, NOTHING), own)
    return found


def _holding(job: Job, lease: Lease, platform: Platform, now: float) -> Holding:
    """Return what one job holds."""
    since = job.admitted_at if job.admitted_at is not None else now
    until = max(now, since + predicted_s(job, platform))
    gpus_milli = lease.gpus_milli
    gpus, per_s = gpus_milli / WHOLE_GPU_MILLI, cost_of(lease, 1.0)
    day = now // DAY_S * DAY_S
    today_s = min(until, day + DAY_S) - max(since, day)
    used_s = max(0.0, now - since)
    return Holding(
        1,
        gpus_milli,
        gpus * max(0.0, today_s),
        gpus * (until - since),
        per_s * (until - since),
        gpus * max(0.0, now - max(since, day)),
        gpus * used_s,
        per_s * used_s,
    )


def _sum(left: Holding, right: Holding) -> Holding:
    return Holding(
        left.jobs + right.jobs,
        left.gpus_milli + right.gpus_milli,
        left.day_gpu_s + right.day_gpu_s,
        left.gpu_s + right.gpu_s,
        left.cost + right.cost,
        left.used_day_gpu_s + right.used_day_gpu_s,
        left.used_gpu_s + right.used_gpu_s,
        left.used_cost + right.used_cost,
    )


def _needs(job: Job, platform: Platform) -> Mapping[str, float]:
    hours = _gpu_hours(job, platform)
    return {
        "jobs": 1,
        "gpus": job.request.gpus_milli,
        "gpu_hours_per_day": hours,
        "budget_gpu_hours": hours,
        "budget": _price(job, platform) * hours,
    }


def _gpu_hours(job: Job, platform: Platform) -> float:
    return job.request.gpus_milli / WHOLE_GPU_MILLI * predicted_s(job, platform) / HOUR_S


def _price(job: Job, platform: Platform) -> float:
    """Return the least that one GPU-hour may cost the job."""
    tier = job.request.tier
    return min((one.price_per_gpu_hour for one in platform.tiers if tier in {None, one.name}), default=0.0)


def _answer(job: Job, level: Level, need: float) -> Refusal:
    never = level.limit in _AT_ONCE and need > level.most
    data: dict[str, Any] = {
        "why": "limit",
        "limit": level.limit,
        "whose": level.whose,
        "team": job.team,
        "user": job.user,
        "tier": job.request.tier,
        "gpus_milli": job.request.gpus_milli,
        "used": round(level.used, 3),
        "need": round(need, 3),
        "most": level.most,
    }
    if level.until is not None:  # where the job alone is over the limit, no new count helps it
        data |= {"alone": True} if _beyond(level, need) else {"until": level.until}
    if never and level.limit == "gpus" and job.request.nodes == 1:
        data["most_milli"] = level.most if level.most < WHOLE_GPU_MILLI else level.most // 1000 * 1000
    return (Waiting.EXCEEDS_MAX_QUOTA if never else Waiting.WAITING_FOR_QUOTA), data


def _beyond(level: Level, need: float) -> bool:
    """Return whether so much is over a limit of which nothing is used."""
    return need > replace(level, used=0.0).left


def never(job: Job, team: Team, platform: Platform) -> bool:
    """Return whether the job alone needs more than a limit of its team or person allows."""
    needs, nothing = _needs(job, platform), {"team": NOTHING, "user": NOTHING}
    return any(_beyond(level, needs[level.limit]) for level in _binding(team, job.user, Past(), nothing))


def renewals(team: Team, now: float) -> Iterator[float]:
    """Yield when the limits of a team that go by time begin anew: the next UTC day, and month for a hard budget."""
    if team.limits.gpu_hours_per_day is not None or team.user_limits.gpu_hours_per_day is not None:
        yield day_of(now) + DAY_S
    if team.budget_action is BudgetAction.HARD:
        yield next_month(now)


def limited(platform: Platform, name: str) -> Team | None:
    """Return the team when it has any limit; most have none, and that must cost nothing."""
    team = next((team for team in platform.teams if team.name == name), None)
    if team is None or (team.limits == team.user_limits == Limit() and team.budget_action is BudgetAction.BURST):
        return None
    return team
