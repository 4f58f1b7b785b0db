"""Kueue's engine with this platform's objects in it: who holds quota, and whether one more job may.

The engine decides about quota and victims, a `Room` about GPUs, and both must agree before anything happens. Answers
are remembered with stamps of what they follow from: a queue with the cohorts above it, or a tier in a whole tree. The
trap: asking changes the engine; a decision asks inside `trial`, which undoes it all and sets the stamps back, for its
plan may never be carried out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Protocol

from dure.core.copies import altered
from dure.core.model import Job, Lease, Platform
from dure.core.queueing.compile import RESOURCE, TIER_LABEL, compiled, local_queue_name
from dure.core.queueing.kueue.assignment import FIT, PREEMPT
from dure.core.queueing.kueue.candidates import Target
from dure.core.queueing.kueue.classical import reclaims
from dure.core.queueing.kueue.engine import Engine
from dure.core.queueing.kueue.entries import ASSUMED, Entry
from dure.core.queueing.kueue.infos import Info
from dure.core.queueing.kueue.objects import (
    Admission,
    Amounts,
    ClusterQueue,
    Condition,
    LocalQueue,
    PodSet,
    PodSetAdmission,
    Workload,
)
from dure.core.queueing.kueue.preemption import Preemptor
from dure.core.queueing.kueue.snapshot import QueueNode

_MAIN = "main"
_NS = 10**9
_NEVER_BEGAN_NS = 2**62


class Room(Protocol):
    """GPUs, as the engine asks about them for the one job that is being decided on."""

    def take(self, tier: str) -> bool:
        """Place the job on GPUs of the tier; False without room."""

    def suffices(self, tier: str, leaving: Sequence[str]) -> bool:
        """Return whether the job could be placed once these jobs are gone."""


@dataclass(frozen=True, slots=True)
class Victim:
    """A job that must go, and Kueue's reason for it."""

    job_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What the engine said of one job on one tier: admitted, or who must go first, or Kueue's token why not."""

    admitted: bool = False
    victims: tuple[Victim, ...] = ()
    reason: str = ""
    usage: Amounts = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Reach:
    """Whom a request could preempt at most: Kueue's policies for its own queue and for others; `most` bounds others."""

    own: str
    others: str
    most: int | None

    def includes(self, priority: int, victim: int, *, own: bool) -> bool:
        """Return whether a workload of that priority might have to leave for one of this priority."""
        policy = self.own if own else self.others
        if not own and self.most is not None and victim > self.most:
            return False
        if policy in {"Any", "Never"}:
            return policy == "Any"
        return victim < priority or (policy == "LowerOrNewerEqualPriority" and victim == priority)


@dataclass(frozen=True, slots=True)
class TeamRoom:
    """What a team may still take of a tier, what limits of its own leave it (None: no limit), and what it holds."""

    free_milli: int = 0
    own_milli: int | None = None
    used_milli: int = 0


class Quota:
    """The engine of one platform file, with every private lease in it. `homes` has the queue and tree of each team."""

    def __init__(self, platform: Platform) -> None:
        objects = compiled(platform)
        self._policy = platform.queueing
        own = {} if platform.kueue is not None else {queue.name: queue.name for queue in objects.queues}
        self._queue_of = own | {door.namespace: door.cluster_queue for door in objects.local_queues}
        self._specs = {queue.name: queue for queue in objects.queues}
        self._held: dict[str, tuple[str, str, int]] = {}
        self._room: Room | None = None
        self._unplaced: list[Entry] = []
        self._preempts = True
        self.engine = Engine(objects.settings, placeable=self._placeable)
        self.engine.configure(
            flavors=objects.flavors,
            cluster_queues=objects.queues,
            cohorts=objects.cohorts,
            local_queues=[LocalQueue(team, team, queue) for team, queue in self._queue_of.items()],
        )
        self.engine.snapshot.room = self._suffices
        self._tiers = {flavor.name for flavor in objects.flavors}
        self._pool_of = {team: self._node(team).top().name for team in self._queue_of}
        self._pools = tuple(dict.fromkeys(self._pool_of.values()))
        self._homes: dict[str, tuple[str, ...]] = {}
        for team, queue in self._queue_of.items():
            above = [f"/{group.name}" for group in self._node(team).path() if group.parent is not None]
            self._homes[queue] = (queue, *above)
        self._teams = tuple(team.name for team in platform.teams)
        self.homes = {team: (self.queue_of(team), self.pool_of(team)) for team in self._teams}
        self._stamp = 0
        self._of_home: dict[str, int] = {}
        self._of_pool: dict[tuple[str, str], int] = {}
        self._free: dict[tuple[str, str], tuple[int, int]] = {}
        self._shares: dict[tuple[str, str, int], tuple[int, tuple[object, ...]]] = {}
        self._own_room: dict[tuple[str, str], tuple[int, int | None]] = {}
        self._rows: dict[str, tuple[tuple[int, ...], Mapping[str, TeamRoom]]] = {}
        self._reaches: dict[tuple[str, str, int, int], tuple[int, Reach]] = {}
        self._worth: dict[tuple[str, str, int], tuple[int, bool]] = {}

    def hold(self, job: Job, lease: Lease, milli: int) -> None:
        """Count a private lease, `milli` of it; of a team or tier that the file no longer has it counts for nobody."""
        queue = self._queue_of.get(job.team)
        if queue is None or lease.tier not in self._tiers or milli <= 0:
            return
        self._held[job.id] = (queue, lease.tier, milli)
        if preemptible(job):
            self.engine.adopt(_holding(job, queue, lease.tier, milli))
        else:  # usage without a workload: it counts, and nobody finds it as a victim
            self.engine.take(queue, {(lease.tier, RESOURCE): milli})
        self._changed(queue, lease.tier)

    def release(self, job: Job) -> None:
        """Count the job's lease no longer."""
        held = self._held.pop(job.id, None)
        if held is None:
            return
        if not self.engine.finish(_key(job)):
            self.engine.node(held[0]).give({(held[1], RESOURCE): held[2]})
        self._changed(held[0], held[1])

    @contextmanager
    def trial(self) -> Iterator[None]:
        """Let everything asked inside be undone at the end."""
        before = dict(self._of_home), dict(self._of_pool)
        try:
            with self.engine.trial():
                yield
        finally:
            self._of_home, self._of_pool = before

    def _changed(self, queue: str, tier: str) -> None:
        self._stamp += 1
        self._of_home.update(dict.fromkeys(self._homes[queue], self._stamp))
        self._of_pool[self.engine.node(queue).top().name, tier] = self._stamp

    def own_stamp(self, team: str) -> int:
        """Return the stamp of what the team's queue, and cohorts above it but the highest, hold of anything."""
        homes, stamps = self._homes[self._queue_of[team]], self._of_home
        return stamps.get(homes[0], 0) if len(homes) == 1 else max(stamps.get(name, 0) for name in homes)

    def stamp(self, team: str, tier: str) -> int:
        """Return the stamp of all that is held of a tier in the team's tree; of every tier where shares preempt."""
        pool = self.pool_of(team)
        if self._policy.share_preempts:
            return max((self._of_pool.get((pool, one), 0) for one in self._tiers), default=0)
        return self._of_pool.get((pool, tier), 0)

    def queue_of(self, team: str) -> str:
        """Return the team's ClusterQueue, which teams may share; the team's own name for one that is not known."""
        return self._queue_of.get(team, team)

    def pool_of(self, team: str) -> str:
        """Return the top of the team's tree of cohorts, within which GPUs are borrowed."""
        return self._pool_of.get(team, "")

    def strict(self, team: str) -> bool:
        """Return whether nobody overtakes the first in the team's queue."""
        return self._spec(team).strategy == "StrictFIFO" if team in self._queue_of else False

    def tiers(self, team: str, tiers: Iterable[str], gpus_milli: int) -> tuple[list[str], bool]:
        """Return the tiers in the order in which Kueue tries flavors, and whether preempting comes before the next."""
        if team not in self._queue_of:
            return [], False
        rules = self._spec(team).fungibility
        order = [*tiers]
        if rules.when_can_borrow == "TryNextFlavor":
            order.sort(key=lambda tier: self.borrows(team, tier, gpus_milli))
        return order, rules.when_can_preempt == "MayStopSearch"

    def preferred(self, team: str) -> tuple[str, ...]:
        """Return the tiers of the team's queue, in its order."""
        return tuple(tier for group in self._spec(team).groups for tier in group.flavors) if self._has(team) else ()

    def _has(self, team: str, tier: str | None = None) -> bool:
        """Return whether the team has a queue, and the queue lists the tier."""
        return team in self._queue_of and (tier is None or (tier, RESOURCE) in self._spec(team).quotas)

    def _spec(self, team: str) -> ClusterQueue:
        return self._specs[self._queue_of[team]]

    def _node(self, team: str) -> QueueNode:
        return self.engine.node(self._queue_of[team])

    def available_milli(self, team: str, tier: str) -> int:
        """Return what the team may still take of a tier, guaranteed or borrowed; 0 for one that is not known."""
        stamp, key = self._of_pool.get((self.pool_of(team), tier), 0), (team, tier)
        known = self._free.get(key)
        if known is None or known[0] != stamp:
            free = self._node(team).available((tier, RESOURCE)) if self._has(team, tier) else 0
            known = self._free[key] = stamp, free
        return known[1]

    def most_milli(self, team: str, tier: str) -> int:
        """Return what the team could take of a tier if nobody used anything."""
        return self._node(team).potential((tier, RESOURCE)) if self._has(team, tier) else 0

    def used_milli(self, team: str, tier: str) -> int:
        """Return what the team's jobs hold of a tier."""
        return self._node(team).account((tier, RESOURCE)).usage if self._has(team, tier) else 0

    def rows(self, tier: str) -> Mapping[str, TeamRoom]:
        """Return by team what it may still take of a tier, what its limits leave it, and what it holds.

        What is returned stays as it is.
        """
        stamps = tuple(self._of_pool.get((pool, tier), 0) for pool in self._pools)
        known = self._rows.get(tier)
        if known is None or known[0] != stamps:
            rows = {
                team: TeamRoom(
                    self.available_milli(team, tier), self.own_room_milli(team, tier), self.used_milli(team, tier)
                )
                for team in self._teams
            }
            known = self._rows[tier] = stamps, rows
        return known[1]

    def own_room_milli(self, team: str, tier: str) -> int | None:
        """Return what limits of the team and of cohorts below the root leave it, whatever is free; None: no limit."""
        if not self._has(team, tier):
            return 0
        stamp, asked = self.own_stamp(team), (team, tier)
        known = self._own_room.get(asked)
        if known is None or known[0] != stamp:
            known = self._own_room[asked] = stamp, self._own_room_milli(team, tier)
        return known[1]

    def _own_room_milli(self, team: str, tier: str) -> int | None:
        key = (tier, RESOURCE)
        queue = self._node(team)
        if queue.parent is None:
            return queue.available(key)
        rooms = [
            node.account(key).subtree + limit - node.account(key).usage
            for node in (queue, *queue.path())
            if node.parent is not None and (limit := node.quota(key).borrowing_limit) is not None
        ]
        return min(rooms, default=None)

    def borrows(self, team: str, tier: str, gpus_milli: int) -> bool:
        """Return whether the team would hold more than it is guaranteed."""
        return self._node(team).account((tier, RESOURCE)).over(gpus_milli)

    def share_key(self, team: str, tier: str, gpus_milli: int) -> tuple[object, ...]:
        """Return what teams are ordered by: not borrowing first, then Kueue's share with the job in it.

        Below cohorts the shares of the cohorts count first. Without fair sharing only borrowing tells teams apart.
        """
        if not self._has(team, tier):
            return (False, ())
        stamp, asked = self.own_stamp(team), (team, tier, gpus_milli)
        known = self._shares.get(asked)
        if known is None or known[0] != stamp:
            known = self._shares[asked] = stamp, self._share_key(team, tier, gpus_milli)
        return known[1]

    def _share_key(self, team: str, tier: str, gpus_milli: int) -> tuple[object, ...]:
        key = (tier, RESOURCE)
        queue = self._node(team)
        borrows = queue.account(key).over(gpus_milli)
        if not self._policy.fair_sharing:
            return (borrows, ())
        shares = [queue.share({key: gpus_milli}).order]
        shares += [group.share({key: gpus_milli}).order for group in queue.path() if group.parent is not None]
        return (borrows, tuple(reversed(shares)))

    def may_preempt(self, team: str, tier: str, gpus_milli: int) -> bool:
        """Return whether it is worth asking for victims: the policies could give this request any."""
        stamp, asked = self.own_stamp(team), (team, tier, gpus_milli)
        known = self._worth.get(asked)
        if known is None or known[0] != stamp:
            known = self._worth[asked] = stamp, self._may_preempt(team, tier, gpus_milli)
        return known[1]

    def _may_preempt(self, team: str, tier: str, gpus_milli: int) -> bool:
        rules = self._spec(team).preemption
        if rules.within_queue != "Never" or self._policy.share_preempts or not rules.borrow_forbidden:
            return True
        if rules.reclaim == "Never":
            return False
        key = (tier, RESOURCE)
        queue = self._node(team)
        return any(not node.account(key).over(gpus_milli) for node in (queue, *queue.path()) if node.parent)

    def reach(self, team: str, tier: str, gpus_milli: int, priority: int) -> Reach:
        """Return whom policies could let a request of the team preempt, at most."""
        stamp, asked = self.own_stamp(team), (team, tier, gpus_milli, priority)
        known = self._reaches.get(asked)
        if known is None or known[0] != stamp:
            known = self._reaches[asked] = stamp, self._reach(*asked)
        return known[1]

    def _reach(self, team: str, tier: str, gpus_milli: int, priority: int) -> Reach:
        rules = self._spec(team).preemption
        full = Reach(rules.within_queue, rules.reclaim, None)
        if self._policy.share_preempts or self._owns(team, tier, gpus_milli, priority, full):
            return full
        # However many of its own leave, some of it is borrowed: of others only whom borrowers may let go.
        others = "Never" if rules.borrow_forbidden or rules.reclaim == "Never" else "LowerPriority"
        return Reach(rules.within_queue, others, rules.borrow_max_priority)

    def _owns(self, team: str, tier: str, gpus_milli: int, priority: int, reach: Reach) -> bool:
        """Return whether it ends within the quota of a subtree as it is used, or of its queue without victims."""
        key, queue = (tier, RESOURCE), self._node(team)
        if reclaims(queue, {key: gpus_milli}):
            return True
        held = queue.workloads.values()
        leaving = sum(one.usage.get(key, 0) for one in held if reach.includes(priority, one.priority, own=True))
        account = queue.account(key)
        return account.nominal >= account.usage - leaving + gpus_milli

    def by_time(self, team: str) -> bool:
        """Return whether whom a job may preempt depends on when it was submitted."""
        rules = self._spec(team).preemption
        return "LowerOrNewerEqualPriority" in {rules.within_queue, rules.reclaim}

    def ask(self, job: Job, tier: str, room: Room, now: float, *, preempts: bool) -> Answer:
        """Return what Kueue decides about the job on one tier; inside `trial`, where an admitted one holds quota."""
        engine, now_ns = self.engine, round(now * _NS)
        if not preempts and self._simply_fits(job, tier):
            if not room.take(tier):
                return Answer(reason="TopologyPlacementFailed")
            engine.adopt(_admitted(job, self._queue_of[job.team], tier, now_ns))
            self._changed(self._queue_of[job.team], tier)
            return Answer(admitted=True)
        self._room, self._unplaced, self._preempts = room, [], preempts
        engine.submit(_waiting(job, tier), now_ns)
        result = engine.cycle(now_ns)
        if not result.entries:
            self._forget(job, now_ns)
            return Answer(reason=result.refused[0].reason if result.refused else "PendingEvaluation")
        entry = result.entries[0]
        if entry.status == ASSUMED:
            self._changed(self._queue_of[job.team], tier)
            return Answer(admitted=True)
        targets: Sequence[Target] = entry.preempting
        if self._unplaced and preempts:
            targets = self._make_room(entry, now_ns)
        self._forget(job, now_ns)
        if targets:
            victims = tuple(Victim(one.info.workload.uid, one.reason) for one in targets)
            return Answer(victims=victims, reason="WaitingForPreemptedWorkloads", usage=dict(entry.usage()))
        return Answer(reason=entry.reason or "WaitingForQuota")

    def _simply_fits(self, job: Job, tier: str) -> bool:
        """Return whether a cycle would admit the job, being alone in it: so much is free, and its queue is active."""
        queue = self._queue_of[job.team]
        if queue in self.engine.snapshot.inactive:
            return False
        return 0 < job.request.gpus_milli <= self.available_milli(job.team, tier)

    def _forget(self, job: Job, now_ns: int) -> None:
        """Take a job that was asked for out again; the next of its shape may have more luck, for GPUs differ."""
        self.engine.finish(_key(job), now_ns)
        self.engine.wake(self._queue_of[job.team], now_ns)

    def preempt(self, job: Job, answer: Answer, victims: Sequence[Job], now: float) -> None:
        """Mark the victims as leaving. Until they are gone nobody else may take what the job needs."""
        for victim, told in zip(victims, answer.victims, strict=True):
            self.engine.evict(_key(victim), "Preempted", told.reason, round(now * _NS))
        for tier, _ in answer.usage:
            self.keep(job, tier)
        for victim in victims:
            if victim.lease is not None and victim.id in self._held:
                self._changed(*self._held[victim.id][:2])

    def keep(self, job: Job, tier: str) -> None:
        """Let what a job needs count as its own before it has it."""
        queue = self._queue_of[job.team]
        self.engine.take(queue, {(tier, RESOURCE): job.request.gpus_milli})
        self._changed(queue, tier)

    def revoke(self, job: Job, tier: str) -> None:
        """Take back what a job was given in this trial."""
        self.engine.finish(_key(job))
        self._changed(self._queue_of[job.team], tier)

    def _placeable(self, entry: Entry) -> bool:
        if entry.assignment.mode != FIT:
            return self._preempts
        assert self._room is not None
        if self._room.take(_tier_of(entry)):
            return True
        self._unplaced.append(entry)
        return False

    def _make_room(self, entry: Entry, now_ns: int) -> list[Target]:
        """Return who must go where quota suffices but no node has room: by the same rules as for quota."""
        entry.assignment = deepcopy(
            entry.assignment
        )  # the engine remembers this one for the next who asks for the same
        entry.assignment.force(PREEMPT)
        return Preemptor(self.engine.snapshot, self.engine.settings, now_ns).targets(entry.info, entry.assignment)

    def _suffices(self, _info: Info, needs: Amounts, leaving: Sequence[Target]) -> bool:
        assert self._room is not None
        tier, queues = next(iter(needs))[0], self.engine.snapshot.queues
        gone = [one.info for one in leaving if one.info.key not in queues[one.info.queue].workloads]
        return self._preempts and self._room.suffices(tier, [info.workload.uid for info in gone])


def preemptible(job: Job) -> bool:
    """Return whether a job may be stopped for another: not one that keeps its process for next cells.

    What such a session holds in memory cannot be started again, and its time is bounded.
    """
    return job.keep_s <= 0


def _key(job: Job) -> str:
    return f"{job.team}/{job.id}"


def _tier_of(entry: Entry) -> str:
    return next(iter(entry.assignment.pod_sets[0].flavors.values())).flavor


def _waiting(job: Job, tier: str) -> Workload:
    return Workload(
        namespace=job.team,
        name=job.id,
        uid=job.id,
        queue=job.team,
        pod_sets=(PodSet(_MAIN, 1, {RESOURCE: job.request.gpus_milli}, node_selector={TIER_LABEL: tier}, shape=tier),),
        priority=job.priority_value,
        created_ns=round(job.submitted_at * _NS),
    )


def _admitted(job: Job, queue: str, tier: str, now_ns: int) -> Workload:
    """Return a waiting job as the engine would hold it had it just admitted it."""
    admission = Admission(queue, (PodSetAdmission(_MAIN, {RESOURCE: tier}, {RESOURCE: job.request.gpus_milli}, 1),))
    reserved = Condition("QuotaReserved", True, "QuotaReserved", "", now_ns)
    return altered(_waiting(job, tier), admission=admission, conditions=(reserved,))


def _holding(job: Job, queue: str, tier: str, milli: int) -> Workload:
    """Return a job with its lease as Kueue holds it, reserved since its work was saved: who loses least is first.

    That is since its last checkpoint, or since its code began. One whose code did not begin goes before all others.
    """
    admission = Admission(queue, (PodSetAdmission(_MAIN, {RESOURCE: tier}, {RESOURCE: milli}, 1),))
    saved_at = job.began_at if job.checkpointed_at is None else job.checkpointed_at
    since_ns = _NEVER_BEGAN_NS if job.began_at is None or saved_at is None else round(saved_at * _NS)
    conditions = [Condition("QuotaReserved", True, "QuotaReserved", "", since_ns)]
    if job.preempted_by is not None:
        conditions.append(Condition("Evicted", True, "Preempted", "", since_ns))
    return Workload(
        namespace=job.team,
        name=job.id,
        uid=job.id,
        queue=local_queue_name(job.team, job.user),
        pod_sets=(PodSet(_MAIN, 1, {RESOURCE: milli}),),
        priority=job.priority_value,
        created_ns=round(job.submitted_at * _NS),
        admission=admission,
        conditions=tuple(conditions),
    )
