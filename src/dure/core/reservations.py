"""A calendar of GPUs that are kept for a team or person: whether one may be made, what it keeps now, when it ends.

A reservation counts GPUs of a tier on private clusters; which ones is decided when jobs come. Nobody is stopped for
it: others are let in only if, by the time it begins, enough is predicted to be free. The trap: what its owner's jobs
hold already comes out of it, so that it is never kept twice.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
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
    capacity = capacity_milli(platform, tier)
    for at in sorted({max(now, one.begins_at) for one in others}):
        there = [(one, lease) for one, lease in held if at <= now or _ends(one, platform, now) > at]
        used = sum(lease.gpus_milli for _, lease in there)
        lacking = _lacking([one for one in others if one.keeps(at)], there)
        kept = sum(one.reserved_milli for one in lacking)
        if kept and used + kept + job.request.gpus_milli > capacity:
            return max(lacking, key=lambda one: one.reserved_milli)
    return None


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
    left = [(job, [lease.gpus_milli]) for job, lease in holders]
    found: dict[int, int] = {}
    for number in sorted(range(len(reservations)), key=lambda one: reservations[one].user is None):
        lacks = reservations[number].gpus_milli
        for job, milli in left:
            if reservations[number].is_for(job):
                taken = min(lacks, milli[0])
                milli[0] -= taken
                lacks -= taken
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
