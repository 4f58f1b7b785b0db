"""A calendar of GPUs that are kept for a team or person: whether one may be made, what it keeps now, when it ends.

A reservation counts GPUs of a tier on private clusters; which ones is decided when jobs come. Nobody is stopped for
it: others are let in only if, by the time it begins, enough is predicted to be free. The trap: what its owner's jobs
hold already comes out of it, so that it is never kept twice.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from dure.core.burst import predicted_s
from dure.core.model import WHOLE_GPU_MILLI, ClusterKind, Job, Lease, Platform


@dataclass(frozen=True, slots=True)
class Reservation:
    """GPUs of a tier for a team, or for one of its people, from `begins_at` to `ends_at` (seconds since the epoch).

    One that nobody used for `grace_s` after it began is freed. `freed_why` is "released", "unused" or "ended".
    """

    id: str
    team: str
    tier: str
    gpus_milli: int
    begins_at: float
    ends_at: float
    made_by: str
    made_at: float
    user: str | None = None
    grace_s: float = 900.0
    note: str = ""
    used_at: float | None = None
    freed_at: float | None = None
    freed_why: str | None = None

    @property
    def turns_at(self) -> tuple[float, ...]:
        """When it begins, is freed if nobody has used it by then, and ends."""
        unused_at = (self.begins_at + self.grace_s,) if self.used_at is None else ()
        return (self.begins_at, *unused_at, self.ends_at)

    def keeps(self, at: float) -> bool:
        """Return whether it keeps GPUs at that time."""
        return self.freed_at is None and self.begins_at <= at < self.ends_at

    def overlaps(self, begins_at: float, ends_at: float) -> bool:
        """Return whether it keeps GPUs at any time between."""
        return self.freed_at is None and self.begins_at < ends_at and begins_at < self.ends_at

    def is_for(self, job: Job) -> bool:
        """Return whether the job may use it."""
        return job.team == self.team and self.user in {None, job.user}


@dataclass(frozen=True, slots=True)
class Kept:
    """What keeps a job out: a reservation and how many thousandths of a GPU it still lacks."""

    reservation: Reservation
    reserved_milli: int


Held = tuple[Job, Lease]
"""A job that has GPUs, or gets them in the plan that is being made, and which."""


def capacity_milli(platform: Platform, tier: str) -> int:
    """Return the private GPUs of a tier, in thousandths."""
    return sum(
        node.gpus * WHOLE_GPU_MILLI
        for cluster in platform.clusters
        if cluster.kind is ClusterKind.PRIVATE
        for node in cluster.nodes
        if node.tier == tier
    )


def most_reserved_milli(reservations: Iterable[Reservation], tier: str, begins_at: float, ends_at: float) -> int:
    """Return the most that is reserved of a tier at any one time between."""
    found = [one for one in reservations if one.tier == tier and one.overlaps(begins_at, ends_at)]
    times = {begins_at, *(one.begins_at for one in found if one.begins_at >= begins_at)}
    return max((sum(one.gpus_milli for one in found if one.keeps(at)) for at in times), default=0)


def keeps_out(  # noqa: PLR0917 -- what a decision is made of
    job: Job, tier: str, platform: Platform, reservations: Sequence[Reservation], holders: Iterable[Held], now: float
) -> Kept | None:
    """Return the reservation for which a tier has no room for this job, or None when it may have GPUs there.

    Looks at every time between now and the job's predicted end at which a reservation of others begins or is on.
    """
    end = now + predicted_s(job, platform)
    others = [one for one in reservations if one.tier == tier and not one.is_for(job) and one.overlaps(now, end)]
    if not others:
        return None
    private = {cluster.name for cluster in platform.clusters if cluster.kind is ClusterKind.PRIVATE}
    held = [(one, lease) for one, lease in holders if lease.tier == tier and lease.cluster in private]
    room = capacity_milli(platform, tier) - job.request.gpus_milli
    for at, used, kept in _ahead(others, held, platform, now):
        if kept and used + kept > room:
            there = [(one, lease) for one, lease in held if at <= now or _ends(one, platform, now) > at]
            return max(_lacking([one for one in others if one.keeps(at)], there), key=lambda one: one.reserved_milli)
    return None


def _ahead(
    reservations: Sequence[Reservation], held: Sequence[Held], platform: Platform, now: float
) -> Iterator[tuple[float, int, int]]:
    """Yield each time at which one of these begins, now if it is on, with what is used then and what is kept beyond it.

    One pass through begins and ends, for calendars of hundreds that overlap.
    """
    owners = {one.team for one in reservations}
    shares = {team: _Share() for team in owners}
    begins = sorted(reservations, key=lambda one: one.begins_at)
    over = sorted(reservations, key=lambda one: one.ends_at)
    gone = sorted(((_ends(job, platform, now), job, lease) for job, lease in held), key=lambda one: one[0])
    used = kept = begun = ended = left = 0
    for job, lease in held:
        used += lease.gpus_milli
        if job.team in owners:
            shares[job.team].hold(job.user, lease.gpus_milli)
    for at in sorted({max(now, one.begins_at) for one in reservations}):
        changed = set[str]()
        while begun < len(begins) and begins[begun].begins_at <= at:
            shares[begins[begun].team].reserve(begins[begun].user, begins[begun].gpus_milli)
            changed.add(begins[begun].team)
            begun += 1
        while over[ended].ends_at <= at:
            shares[over[ended].team].reserve(over[ended].user, -over[ended].gpus_milli)
            changed.add(over[ended].team)
            ended += 1
        while at > now and left < len(gone) and gone[left][0] <= at:
            _, job, lease = gone[left]
            used -= lease.gpus_milli
            if job.team in owners:
                shares[job.team].hold(job.user, -lease.gpus_milli)
                changed.add(job.team)
            left += 1
        for team in changed:
            kept -= shares[team].lacking_milli
            kept += shares[team].counted()
        yield at, used, kept


class _Share:
    """What the reservations of one team lack together of what its people hold, as both change."""

    __slots__ = ("_held", "_reserved", "lacking_milli")

    def __init__(self) -> None:
        self._held: dict[str, int] = {}
        self._reserved: dict[str | None, int] = {}
        self.lacking_milli = 0

    def hold(self, user: str, milli: int) -> None:
        self._held[user] = self._held.get(user, 0) + milli

    def reserve(self, user: str | None, milli: int) -> None:
        self._reserved[user] = self._reserved.get(user, 0) + milli

    def counted(self) -> int:
        """Return what is lacking now: what a person holds counts for the person's own reservations first."""
        people = {user: milli for user, milli in self._reserved.items() if user is not None}
        rest = sum(max(0, milli - people.get(user, 0)) for user, milli in self._held.items())
        lacking = sum(max(0, milli - self._held.get(user, 0)) for user, milli in people.items())
        self.lacking_milli = lacking + max(0, self._reserved.get(None, 0) - rest)
        return self.lacking_milli


def lacking_now(
    reservations: Iterable[Reservation], tier: str, holders: Iterable[Held], private: Collection[str], now: float
) -> list[Kept]:
    """Return what reservations of a tier that are on keep beyond what their owners' jobs hold already."""
    held = [(job, lease) for job, lease in holders if lease.tier == tier and lease.cluster in private]
    found = _lacking([one for one in reservations if one.tier == tier and one.keeps(now)], held)
    return [kept for kept in found if kept.reserved_milli]


def _lacking(reservations: Sequence[Reservation], holders: Iterable[Held]) -> list[Kept]:
    """Return what each still lacks; what an owner holds counts for one reservation only, one person's before a team's.

    Reservations that nobody else may use are served first, so no other order would leave less lacking.
    """
    left: dict[str, dict[str, int]] = {}
    for job, lease in holders:
        people = left.setdefault(job.team, {})
        people[job.user] = people.get(job.user, 0) + lease.gpus_milli
    found: dict[int, int] = {}
    for number in sorted(range(len(reservations)), key=lambda one: reservations[one].user is None):
        one = reservations[number]
        people = left.get(one.team, {})
        lacks = one.gpus_milli
        for user in (*people,) if one.user is None else (one.user,):
            taken = min(lacks, people.get(user, 0))
            lacks -= taken
            if taken and people[user] == taken:
                del people[user]
            elif taken:
                people[user] -= taken
            if not lacks:
                break
        found[number] = lacks
    return [Kept(one, found[number]) for number, one in enumerate(reservations)]


def _ends(job: Job, platform: Platform, now: float) -> float:
    since = job.admitted_at if job.admitted_at is not None else now
    return max(now, since + predicted_s(job, platform))


def settled(reservation: Reservation, holders: Iterable[Job], now: float) -> Reservation:
    """Return the reservation as it is now: used by its owner's jobs, gone unused, or ended; else the very same."""
    if reservation.freed_at is not None or now < reservation.begins_at:
        return reservation
    if now >= reservation.ends_at:
        return replace(reservation, freed_at=reservation.ends_at, freed_why="ended")
    if reservation.used_at is not None:
        return reservation
    if any(job.lease is not None and job.lease.tier == reservation.tier and reservation.is_for(job) for job in holders):
        return replace(reservation, used_at=now)
    if now >= reservation.begins_at + reservation.grace_s:
        return replace(reservation, freed_at=now, freed_why="unused")
    return reservation


class Unfolding:
    """A calendar while simulated time passes: what is made, used, released or over by then. Times never go back.

    One that is made later is not known before; one with `freed_at` to come is given back by hand then. Who held GPUs in
    between two looks counts as if somebody had looked.
    """

    def __init__(self, reservations: Iterable[Reservation], platform: Platform) -> None:
        self._open = [*reservations]
        self._private = {cluster.name for cluster in platform.clusters if cluster.kind is ClusterKind.PRIVATE}
        self._held: dict[str, Job] = {}

    def put(self, job: Job) -> None:
        """Take note of who holds private GPUs, and of who gives them back."""
        before = self._held.pop(job.id, None)
        if job.phase.holds_gpus:
            if self._open and job.lease is not None and job.lease.cluster in self._private:
                self._held[job.id] = job
        elif before is not None:
            until = job.ended_at if job.ended_at is not None else job.queued_at
            self._use((before,), lambda begins_at: begins_at < until)

    def at(self, now: float) -> tuple[Reservation, ...]:
        """Return the reservations that are known at a time and not over."""
        self._use(self._held.values(), lambda begins_at: begins_at <= now)
        found: list[Reservation] = []
        still: list[Reservation] = []
        for one in self._open:
            kept = one if one.freed_at is None else replace(one, freed_at=None, freed_why=None)
            current = settled(kept, (), now)
            if current.freed_at is None and (one.freed_at is None or one.freed_at > now):
                still.append(one)
                found += [current] if one.made_at <= now else []
        self._open = still
        return tuple(found)

    def given_back_at(self) -> float | None:
        """Return when the next one is given back by hand, as of the last look; None when none is."""
        return min((one.freed_at for one in self._open if one.freed_at is not None), default=None)

    def _use(self, jobs: Iterable[Job], held_at: Callable[[float], bool]) -> None:
        """Note what jobs use that held GPUs from their admission to a time of which `held_at` tells what is before."""
        for place, one in enumerate(self._open):
            if one.used_at is not None or not held_at(one.begins_at):
                continue
            unused_at = min(one.ends_at, one.begins_at + one.grace_s)
            for job in jobs:
                since = job.admitted_at
                fits = job.lease is not None and job.lease.tier == one.tier and one.is_for(job)
                if fits and since is not None and since < unused_at:
                    self._open[place] = replace(one, used_at=max(since, one.begins_at))
                    break
