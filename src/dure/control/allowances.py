"""What the caller's teams and their people used, and how far their limits are used up: one view for every surface."""

from __future__ import annotations

from collections.abc import Sequence

from dure.control import access
from dure.core import spoken_limits
from dure.core.model import Job, Platform, Team
from dure.core.queueing.limits import Level, holdings, levels
from dure.core.usage import HOUR_S, Ledger, Past, month_of
from dure.ports import Ports, Principal
from dure.wire.usage import LimitView, PersonUsage, TeamUsage, UsageView


def usage_view(ports: Ports, platform: Platform, principal: Principal, lang: str) -> UsageView:
    """Return use and limits of the caller's teams, an administrator's are all."""
    now = ports.clock.now()
    month = month_of(now)
    past = Ledger(month, ports.store.uses(month)).past(now)
    active, _ = ports.store.active()
    teams = [team for team in platform.teams if access.is_inside(principal, team.name)]
    return UsageView(
        teams=[_team(team, platform, past, active, now, lang) for team in teams],
        currency=platform.currency,
        now=now,
    )


def _team(  # noqa: PLR0917 -- whose, of what, when and in which language
    team: Team, platform: Platform, past: Past, active: Sequence[Job], now: float, lang: str
) -> TeamUsage:
    known = {name for whose, name in past.accounts if whose == team.name and name is not None}
    people = sorted(known | {job.user for job in active if job.team == team.name})
    return TeamUsage.model_validate(
        _used(team, None, platform, past, active, now, lang)
        | {
            "team": team.name,
            "budget_action": team.budget_action.value,
            "people": [
                PersonUsage.model_validate({"user": person} | _used(team, person, platform, past, active, now, lang))
                for person in people
            ],
        }
    )


def _used(  # noqa: PLR0917 -- whose, of what, when and in which language
    team: Team, user: str | None, platform: Platform, past: Past, active: Sequence[Job], now: float, lang: str
) -> dict[str, object]:
    """Return what was used with what runs so far, and the limits with what runs as it is predicted."""
    held = ((job, job.lease) for job in active if job.lease is not None and job.phase.holds_gpus)
    holding = holdings(platform, team.name, user, held, now)
    so_far = holding["team" if user is None else "user"]
    account = past.of(team.name, user)
    return {
        "day_gpu_hours": (account.day_gpu_s + so_far.used_day_gpu_s) / HOUR_S,
        "month_gpu_hours": (account.month_gpu_s + so_far.used_gpu_s) / HOUR_S,
        "month_cost": account.month_cost + so_far.used_cost,
        "running": so_far.jobs,
        "limits": [_limit(level, platform, lang) for level in levels(team, user, past, holding)],
    }


def _limit(level: Level, platform: Platform, lang: str) -> LimitView:
    currency = platform.currency
    return LimitView(
        limit=level.limit,
        label=spoken_limits.label(level.limit, lang),
        used=spoken_limits.number(level.limit, level.used),
        most=spoken_limits.number(level.limit, level.most),
        used_words=spoken_limits.amount(level.limit, level.used, currency, lang),
        most_words=spoken_limits.amount(level.limit, level.most, currency, lang),
        until=level.until,
    )
