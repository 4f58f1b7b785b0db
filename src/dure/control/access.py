"""Who may see and change what. A team is a tenant: others' jobs do not exist for its members.

Rules: members of a team see its jobs; only the owner and administrators see a job's output and artifacts and may
change it. What a verdict says of other teams is reduced to the team's name.
"""

from __future__ import annotations

from dure.core.events import Event
from dure.core.model import Job
from dure.core.reservations import Reservation
from dure.ports import Principal
from dure.wire.problems import CodedError


def is_inside(principal: Principal, team: str) -> bool:
    """Return whether the team's affairs are the caller's, too: its members' and administrators'."""
    return principal.admin or team in principal.teams


def acts_for(principal: Principal, *people: object) -> bool:
    """Return whether the caller may change what belongs to one of `people`: theirs and administrators' to do."""
    return principal.admin or principal.name in people


def may_see(principal: Principal, job: Job) -> bool:
    """Return whether the job's row may be shown."""
    return acts_for(principal, job.user) or is_inside(principal, job.team)


def may_see_event(principal: Principal, event: Event) -> bool:
    """Return whether an event of the caller's teams may be shown: that a session exists is its owner's to tell."""
    return not event.kind.startswith("session.") or acts_for(principal, event.data.get("user"))


def require_seen(principal: Principal, job: Job | None, job_id: str) -> Job:
    """Return the job or raise `job_not_found`, the same for absent and for hidden."""
    if job is None or not may_see(principal, job):
        raise CodedError("job_not_found", job=job_id)
    return job


def require_owner(principal: Principal, job: Job | None, job_id: str, action: str) -> Job:
    """Return the job, or raise `job_not_found` (not visible) or `not_allowed` (visible but not theirs)."""
    seen = require_seen(principal, job, job_id)
    require_acting(principal, action, seen.user)
    return seen


def require_acting(principal: Principal, action: str, *people: str) -> None:
    """Raise `not_allowed`, which names the first of `people`, unless the caller acts for one of them."""
    if not acts_for(principal, *people):
        raise CodedError("not_allowed", user=principal.name, action=action, who=f"{people[0]} and administrators")


def team_of(principal: Principal, asked: str | None, known: tuple[str, ...]) -> str:
    """Return the team to submit for. `known` are all teams; administrators may use any.

    Raises `unknown_team`, `no_team`, or `team_needed` when there are several and none was named.
    """
    own = tuple(team for team in principal.teams if team in known)
    choices = known if principal.admin else own
    if asked is not None:
        if asked not in choices:
            raise CodedError("unknown_team", team=asked, choices=", ".join(choices) or "none")
        return asked
    if len(own) == 1:
        return own[0]
    if not choices:
        raise CodedError("no_team", user=principal.name)
    if len(choices) == 1:
        return choices[0]
    raise CodedError("team_needed", choices=", ".join(own or choices))


def may_use(principal: Principal, reservation: Reservation) -> bool:
    """Return whether the caller's own jobs may use what is reserved."""
    return reservation.team in principal.teams and reservation.user in {None, principal.name}
