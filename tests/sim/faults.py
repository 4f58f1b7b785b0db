"""A world of faults from a seed: every call of a port may crash the control plane, lose its reply, stall, or fail."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from dure.control.commands import Commands
from dure.control.compare import Rules
from dure.control.loop import Loop, LoopSettings
from dure.control.platform_holder import PlatformHolder
from dure.core.model import (
    BurstPolicy,
    Cluster,
    ClusterKind,
    DataClass,
    Environment,
    Goal,
    Node,
    Phase,
    Platform,
    PriorityClass,
    Queue,
    QueueingPolicy,
    Team,
    Tier,
)
from dure.ports import (
    ExecutorUnavailableError,
    JobQuery,
    Ports,
    Principal,
    StaleFenceError,
    StoreBusyError,
    StoreFullError,
    VersionConflictError,
)
from dure.sim.executor import NEVER, Fate, SimClock, SimCluster, World
from dure.sim.store import MemoryStore
from dure.wire.messages import Control, JobRequest
from dure.wire.problems import CodedError

STORE_CALLS = ("submit", "job", "jobs", "active", "changed", "commit", "lead")
EXECUTOR_CALLS = ("fence", "start", "stop", "send", "observe", "forget")
RULES = Rules(start_timeout_s=40.0)
WRITES = ("submit", "commit", "lead")


class CrashError(BaseException):
    """kill -9 of the control plane, here and now."""


def lab() -> Platform:
    """Two bronze, one silver on one node, one gold; a public cloud with gold."""
    nodes = (
        Node("n1", "bronze", 2, simulated=True),
        Node("n2", "silver", 1, simulated=True),
        Node("n3", "gold", 2, simulated=True),
    )
    cloud = (Node("c1", "gold", 2, simulated=True),)
    return Platform(
        name="sim",
        clusters=(
            Cluster("lab", ClusterKind.PRIVATE, nodes),
            Cluster("cloud", ClusterKind.PUBLIC, cloud, prices={"gold": 3000.0}),
        ),
        queueing=QueueingPolicy(within_cluster_queue="LowerPriority"),
        tiers=(Tier("bronze", 10), Tier("silver", 20), Tier("gold", 30)),
        teams=(
            Team("red", ("ann", "bob"), quota_milli={"gold": 1000}, borrowing_milli={"gold": 0}),
            Team("blue", ("cho",), quota_milli={"bronze": 1000}),
        ),
        queues=(Queue("red", "red"), Queue("blue", "blue")),
        priorities=(PriorityClass("high", 100), PriorityClass("normal", 0)),
        data_classes=(DataClass("open", may_leave=True), DataClass("private", may_leave=False)),
        environments=(Environment("default", "python"),),
        burst=BurstPolicy(rule="fixed", wait_s=5.0),
    )


@dataclass
class Chaos:
    """Decides at each port call what goes wrong. Off when `rate` is 0."""

    rng: random.Random
    rate: float
    stall: Callable[[], None] = lambda: None
    disk_full: bool = False
    away: set[str] = field(default_factory=set)

    def around(self, kind: str, name: str, call: Callable[[], Any]) -> Any:
        if kind == "store" and name in WRITES and self.disk_full:
            raise StoreFullError("the disk is full")
        if kind.startswith("executor") and kind in self.away:
            raise ExecutorUnavailableError(kind)
        if self.rng.random() >= self.rate:
            return call()
        fault = self.rng.choice(
            ["crash before", "crash after", "no reply", "lost reply", "stall before", "stall after"]
        )
        if fault == "crash before":
            raise CrashError
        if fault == "stall before":
            self.stall()
        if fault == "no reply":
            raise _away(kind)
        result = call()
        if fault == "crash after":
            raise CrashError
        if fault == "lost reply":
            raise _away(kind)
        if fault == "stall after":
            self.stall()
        return result


def _away(kind: str) -> Exception:
    return StoreBusyError("the store is busy") if kind == "store" else ExecutorUnavailableError(kind)


class Faulty:
    """A port of which every listed call goes through the chaos."""

    def __init__(self, inner: Any, kind: str, calls: tuple[str, ...], chaos: Chaos) -> None:
        self._inner, self._kind, self._calls, self._chaos = inner, kind, calls, chaos

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._inner, name)
        if name not in self._calls:
            return method
        return lambda *args, **kwargs: self._chaos.around(self._kind, name, lambda: method(*args, **kwargs))


class CountedIds:
    def __init__(self) -> None:
        self.count = 0

    def job_id(self) -> str:
        self.count += 1
        return f"j-{self.count:04d}"


class Schedule:
    """One seeded run: people submit and cancel, two control planes come and go, workers die."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.clock = SimClock()
        self.world = World(self.clock)
        self.store = MemoryStore()
        self.platform = PlatformHolder(lab())
        self.chaos = Chaos(self.rng, rate=self.rng.choice([0.002, 0.01, 0.03]))
        self.clusters = {name: SimCluster(self.world, self._fate) for name in ("lab", "cloud")}
        self.ids = CountedIds()
        self.generation = 0
        self.loops: list[Loop] = []
        self.commands = Commands(self._ports(), self.platform, lambda: None)
        self.submitted: dict[str, int] = {}
        self.acknowledged: dict[str, str] = {}
        self.stalling = False

    def run(self) -> None:
        self.loops = [self._new_loop(), self._new_loop()]
        self.chaos.stall = self._stall
        for step in range(self.rng.randint(20, 45)):
            self._people(step)
            self._weather()
            self._tick()
            self._pass(self.rng.choice([0.01, 0.3, 1.0, 4.0]))
        self._calm()
        self._settle()
        self._check_end()

    def _fate(self, _job: str, _attempt: int) -> Fate:
        rng = self.rng
        result = rng.choice(
            [{"status": "ok"}] * 4 + [{"status": "error"}, {"status": "timeout"}, {"status": "interrupted"}]
        )
        lost = rng.uniform(0, 6) if rng.random() < 0.15 else float("inf")
        begins = rng.choice([0.0, 0.05, 2.0]) if rng.random() < 0.98 else NEVER
        return Fate(begins, rng.choice([0.0, 0.4, 3.0, 9.0]), result, lost)

    def _ports(self) -> Ports:
        store = Faulty(self.store, "store", STORE_CALLS, self.chaos)
        executors = {
            name: Faulty(cluster, f"executor {name}", EXECUTOR_CALLS, self.chaos)
            for name, cluster in self.clusters.items()
        }
        nothing: Any = None
        return Ports(store, executors, nothing, nothing, nothing, self.clock, self.ids)

    def _new_loop(self) -> Loop:
        self.generation += 1
        # No rest: a stalled call makes a tick long here, and every tick that is asked for shall be one.
        reload_s = self.rng.choice([1.0, 60.0])
        settings = LoopSettings(f"cp-{self.generation}", reload_s=reload_s, rest_s=0.0, rules=RULES)
        return Loop(self._ports(), self.platform, settings, lambda _now: 0.0)

    def _people(self, step: int) -> None:
        for n in range(self.rng.choice([0, 0, 1, 3])):
            user = self.rng.choice(["ann", "bob", "cho"])
            key = f"{step}-{n}"
            retries = self.rng.choice([0, 0, 2])
            self._try(partial(self._submit, user, key, retries))
        if self.acknowledged and self.rng.random() < 0.15:
            job = self.rng.choice(list(self.acknowledged.values()))
            op = self.rng.choice(["cancel", "interrupt"])
            admin = Principal("root", admin=True)
            if op == "cancel":
                self._try(lambda: self.commands.cancel(admin, job))
            else:
                self._try(lambda: self.commands.control(admin, job, Control(op="interrupt")))

    def _submit(self, user: str, key: str, retries: int) -> None:
        rng = random.Random(f"{user}{key}")  # a client that asks again asks for the same
        request = JobRequest(
            kind="cell",
            name=key,
            payload={"code": "1"},
            tier=rng.choice([None, "bronze", "silver", "gold"]),
            gpus=rng.choice([1, 1, 0.5, 0.3, 2]) if rng.random() < 0.9 else 1,
            priority=rng.choice(["high", "normal"]),
            budget=rng.choice(["flex", "strict"]),
            retries=retries,
        )
        if request.tier == "silver" and request.gpus > 1:
            return
        who = Principal(user, teams=self.platform.current.teams_of(user))
        job = None
        for _ in range(4):
            try:
                job = self.commands.submit(who, request, key)
                break
            except (StoreBusyError, StoreFullError):
                continue
        if job is None:
            return
        known = self.acknowledged.setdefault(f"{user}/{key}", job.id)
        assert known == job.id, "one submission became two jobs"
        self.submitted[job.id] = retries

    def _weather(self) -> None:
        if self.rng.random() < 0.05:
            self.chaos.disk_full = not self.chaos.disk_full
        if self.rng.random() < 0.05:
            self.chaos.away ^= {self.rng.choice(["executor lab", "executor cloud"])}
        if self.rng.random() < 0.05:
            self.loops[self.rng.randrange(2)] = self._new_loop()

    def _tick(self) -> None:
        index = self.rng.randrange(2)
        self._tick_loop(index)

    def _tick_loop(self, index: int) -> None:
        def tick() -> None:
            self.loops[index].tick()

        if not self._try(tick):
            self.loops[index] = self._new_loop()
        self.world.check()

    def _try(self, act: Callable[[], Any]) -> bool:
        """Run something of the control plane; False when it was killed meanwhile."""
        try:
            act()
        except CrashError:
            return False
        except (
            StoreBusyError,
            StoreFullError,
            ExecutorUnavailableError,
            VersionConflictError,
            StaleFenceError,
            CodedError,
        ):
            return True
        return True

    def _stall(self) -> None:
        """The process stops in the middle of a call for so long that another takes over."""
        if self.stalling:
            return
        self.stalling = True
        self._pass(self.rng.choice([0.5, 7.0]))
        saved = self.loops
        self.loops = [self._new_loop(), self._new_loop()]
        self._tick_loop(0)
        self._people(1000 + self.generation)  # what comes meanwhile is unknown to who has stopped
        self._pass(1.0)
        self._tick_loop(0)
        self._tick_loop(0)
        self.loops = saved
        self.stalling = False

    def _pass(self, seconds: float) -> None:
        steps = max(1, round(seconds / 0.5))
        for _ in range(steps):
            self.clock.time += seconds / steps
            self.world.check()

    def _calm(self) -> None:
        self.chaos.rate, self.chaos.disk_full = 0.0, False
        self.chaos.away.clear()

    def _settle(self) -> None:
        for _ in range(4000):
            for index in (0, 1):
                self._tick_loop(index)
            self._check_explained()
            left = self.store.active()[0]
            if not left and not self.world.alive():
                return
            for job in left:
                if job.reason == "ExceedsMaxQuota" and job.goal is Goal.RUN:  # its team may never have that much
                    self.commands.cancel(Principal("root", admin=True), job.id)
            self._pass(1.0)
        raise AssertionError(f"not settled: {[(j.id, j.phase, j.goal, j.reason) for j in self.store.active()[0]]}")

    def _check_explained(self) -> None:
        for job in self.store.active()[0]:
            if job.phase is Phase.QUEUED and any(loop.leads for loop in self.loops):
                assert job.reason is not None, f"{job.id} waits and nobody says why"

    def _check_end(self) -> None:
        everything = {job.id: job for job in self.store.jobs(JobQuery(limit=100_000))}
        assert set(self.submitted) <= set(everything), "an acknowledged job was lost"
        for job in everything.values():
            assert job.phase.terminal, job
            begun = self.world.begun.get(job.id, 0)
            gave_way = sum(e.kind == "job.preempted" for e in self.store.log if e.subject == job.id)
            assert begun <= 1 + job.retries + gave_way, f"{job.id} began {begun} times with {job.retries} retries"
            assert job.preempted_by is None
            if job.phase is Phase.SUCCEEDED:
                assert begun >= 1, f"{job.id} succeeded without having run"
            if job.goal is Goal.RUN:
                assert job.reason != "Killed", f"{job.id} was killed although nobody asked for it"
        self._check_stories()

    def _check_stories(self) -> None:
        from dure.core.lifecycle import EVENT_OF_PHASE, TABLE

        phase_of = {kind: phase for phase, kind in EVENT_OF_PHASE.items()}
        now: dict[str, Phase] = {}
        for event in self.store.log:
            if event.kind == "job.submitted":
                assert event.subject not in now
                now[event.subject] = Phase.QUEUED
            elif event.kind in phase_of:
                target = phase_of[event.kind]
                assert target in TABLE[now[event.subject]].values(), (
                    f"{event.subject}: {now[event.subject]} to {target}"
                )
                now[event.subject] = target
        stored = {job.id: job.phase for job in self.store.all_jobs.values()}
        assert now == stored, "the event log and the jobs tell different stories"
