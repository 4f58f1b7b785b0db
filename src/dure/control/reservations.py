"""Who may reserve GPUs, and the calendar as everyone may see it; and what the loop makes of it as time passes.

The trap: whether there is room is decided here under a lock, so only one control plane at a time may serve people; two
would let both reserve the last GPU.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from dure.amounts import moment
from dure.control import access
from dure.control.platform_holder import PlatformHolder
from dure.core.events import Draft
from dure.core.model import WHOLE_GPU_MILLI, Job, Platform
from dure.core.reservations import Reservation, capacity_milli, most_reserved_milli, settled
from dure.core.usage import DAY_S
from dure.ports import Changes, Ports, Principal, Store
from dure.wire.problems import CodedError
from dure.wire.usage import ReservationList, ReservationRequest, ReservationView

MOST_DAYS = 31.0
_EVENTS = {"released": "reservation.released", "unused": "reservation.released", "ended": "reservation.ended"}


class Reservations:
    """Makes, lists and releases reservations. Thread-safe; raises CodedError for every refusal."""

    def __init__(self, ports: Ports, platform: PlatformHolder, hint: Callable[[], None]) -> None:
        self._ports = ports
        self._platform = platform
        self._hint = hint
        self._lock = threading.Lock()

    def listed(self, principal: Principal, begins_at: float | None, ends_at: float | None) -> ReservationList:
        """Return what keeps or kept GPUs at any time between, by default from now on."""
        now, platform = self._ports.clock.now(), self._platform.current
        since = now if begins_at is None else begins_at
        found = self._ports.store.reservations(since)
        until = float("inf") if ends_at is None else ends_at
        return ReservationList(
            reservations=[self._view(principal, one, now) for one in found if one.begins_at < until],
            may_reserve=[team.name for team in platform.teams if self._may_reserve(principal, team.name)],
            tiers=[tier.name for tier in platform.tiers if capacity_milli(platform, tier.name)],
            now=now,
        )

    def make(self, principal: Principal, request: ReservationRequest) -> ReservationView:
        """Keep GPUs; raises `not_allowed`, `unknown_tier`, `reservation_times`, `reservation_full` or `…_quota`."""
        now, platform = self._ports.clock.now(), self._platform.current
        team = access.team_of(principal, request.team, tuple(team.name for team in platform.teams))
        if not self._may_reserve(principal, team):
            raise CodedError("not_allowed", user=principal.name, action="reserve GPUs", who="administrators")
        tiers = [tier.name for tier in platform.tiers if capacity_milli(platform, tier.name)]
        if request.tier not in tiers:
            raise CodedError("unknown_tier", tier=request.tier, choices=", ".join(tiers) or "none")
        self._check_times(request, now)
        made = Reservation(
            id=f"r-{self._ports.ids.job_id().removeprefix('j-')}",
            team=team,
            tier=request.tier,
            gpus_milli=request.gpus * WHOLE_GPU_MILLI,
            begins_at=request.begins_at,
            ends_at=request.ends_at,
            made_by=principal.name,
            made_at=now,
            user=request.user,
            grace_s=platform.reservations.grace_s,
            note=" ".join(request.note.split()),
        )
        with self._lock:
            known = self._ports.store.reservations(now)
            _check_room(platform, known, made)
            if not principal.admin:
                _check_quota(platform, known, made)
            self._write(made, "reservation.made", principal.name, now)
        return self._view(principal, made, now)

    def release(self, principal: Principal, reservation_id: str) -> None:
        """Give the GPUs back; asking again changes nothing. Raises what `releasable` raises."""
        now = self._ports.clock.now()
        with self._lock:
            found = self._releasable(principal, reservation_id)
            if found.freed_at is None:
                freed = replace(found, freed_at=now, freed_why="released")
                self._write(freed, "reservation.released", principal.name, now)

    def releasable(self, principal: Principal, reservation_id: str) -> ReservationView:
        """Return a reservation that the caller may release: whoever made it, whom it is for, administrators.

        Raises `reservation_not_found` or `not_allowed`.
        """
        return self._view(principal, self._releasable(principal, reservation_id), self._ports.clock.now())

    def _releasable(self, principal: Principal, reservation_id: str) -> Reservation:
        found = next((one for one in self._ports.store.reservations(0.0) if one.id == reservation_id), None)
        if found is None or not access.is_inside(principal, found.team):
            raise CodedError("reservation_not_found", reservation=reservation_id)
        access.require_acting(principal, "release", *filter(None, (found.user, found.made_by)))
        return found

    def _write(self, reservation: Reservation, kind: str, actor: str, now: float) -> None:
        events = (Draft(kind, reservation.id, told(reservation)),)
        self._ports.store.commit(Changes((), events, actor, reservations=(reservation,)), now)
        self._hint()

    def _check_times(self, request: ReservationRequest, now: float) -> None:
        ahead_days = self._platform.current.reservations.ahead_days
        lasts_s = request.ends_at - request.begins_at
        late = request.begins_at > now + ahead_days * DAY_S or request.ends_at <= now
        if late or not 0 < lasts_s <= MOST_DAYS * DAY_S:
            raise CodedError(
                "reservation_times",
                begins=moment(request.begins_at),
                ends=moment(request.ends_at),
                ahead_days=f"{ahead_days:g}",
                most_days=f"{MOST_DAYS:g}",
            )

    def _may_reserve(self, principal: Principal, team: str) -> bool:
        return principal.admin or (self._platform.current.reservations.members and team in principal.teams)

    def _view(self, principal: Principal, one: Reservation, now: float) -> ReservationView:
        inside = access.is_inside(principal, one.team)
        phase = one.freed_why or ("planned" if now < one.begins_at else "used" if one.used_at is not None else "on")
        if one.freed_why is None and now >= one.ends_at:
            phase = "ended"
        return ReservationView.model_validate(
            {
                "id": one.id,
                "team": one.team,
                "user": one.user if inside else None,
                "tier": one.tier,
                "gpus": one.gpus_milli / WHOLE_GPU_MILLI,
                "begins_at": one.begins_at,
                "ends_at": one.ends_at,
                "grace_s": one.grace_s,
                "note": one.note if inside else "",
                "made_by": one.made_by if inside else None,
                "phase": phase,
                "may_release": phase in {"planned", "on", "used"} and access.acts_for(principal, one.user, one.made_by),
            }
        )


class Calendar:
    """The reservations that the loop goes by: read anew when anything happened, settled as time passes."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._seq = -1
        self.current: tuple[Reservation, ...] = ()

    def settle(self, seq: int, holders: Sequence[Job], now: float) -> tuple[tuple[Reservation, ...], list[Draft]]:
        """Return the reservations that are used, unused or over as of now and were not before, and what tells of it.

        `seq` is the log's last number: nothing is read while it stands still.
        """
        if seq != self._seq:
            # One that ended while nobody led is settled late, so yesterday's are looked at, too.
            found = self._store.reservations(now - DAY_S)
            self.current, self._seq = tuple(one for one in found if one.freed_at is None), seq
        changed = tuple(after for before in self.current if (after := settled(before, holders, now)) is not before)
        drafts = [
            Draft(_EVENTS[one.freed_why], one.id, told(one) | {"why": one.freed_why})
            for one in changed
            if one.freed_why is not None
        ]
        now_so = {one.id: one for one in changed}
        self.current = tuple(one for old in self.current if (one := now_so.get(old.id, old)).freed_at is None)
        return changed, drafts

    def forget(self) -> None:
        """Read anew when asked next."""
        self._seq = -1


def told(one: Reservation) -> dict[str, object]:
    """Return what events tell of a reservation."""
    return {
        "team": one.team,
        "for_user": one.user,
        "tier": one.tier,
        "gpus_milli": one.gpus_milli,
        "begins_at": one.begins_at,
        "ends_at": one.ends_at,
    }


def _check_room(platform: Platform, known: Iterable[Reservation], made: Reservation) -> None:
    total = capacity_milli(platform, made.tier)
    free = total - most_reserved_milli(known, made.tier, made.begins_at, made.ends_at)
    if made.gpus_milli > free:
        raise CodedError(
            "reservation_full",
            gpus=made.gpus_milli // WHOLE_GPU_MILLI,
            tier=made.tier,
            free=max(0, free) // WHOLE_GPU_MILLI,
            total=total // WHOLE_GPU_MILLI,
        )


def _check_quota(platform: Platform, known: Iterable[Reservation], made: Reservation) -> None:
    quota = next(team for team in platform.teams if team.name == made.team).quota_milli.get(made.tier, 0)
    own = [one for one in known if one.team == made.team]
    if most_reserved_milli(own, made.tier, made.begins_at, made.ends_at) + made.gpus_milli > quota:
        raise CodedError("reservation_quota", team=made.team, most=f"{quota / WHOLE_GPU_MILLI:g}", tier=made.tier)
