"""Kueue's baseline of 15,000 workloads in virtual time, compared event by event with the log of Kueue's own
scheduler.

The trap: all cycles of one instant run before time moves on, and a workload that finishes wakes its whole cohort at
once.
"""

from __future__ import annotations

import gzip
import heapq
import json
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from dure.core.queueing.kueue.engine import Engine
from dure.core.queueing.kueue.entries import ASSUMED
from dure.core.queueing.kueue.objects import (
    ClusterQueue,
    Flavor,
    LocalQueue,
    PodSet,
    Preemption,
    Quota,
    ResourceGroup,
    Settings,
    Workload,
)

MS = 10**6
BASELINE = 15_000
CLASSES = (("small", 1, 200, 100, 50), ("medium", 5, 500, 500, 100), ("large", 20, 1000, 1200, 200))
"""name, cpu, runtime and interval in ms, priority"""

Event = tuple[int, str, str, str]


@dataclass(frozen=True)
class Plan:
    """How many cohorts, queues in each, and workloads of each class in each queue."""

    cohorts: int = 5
    queues: int = 6
    counts: tuple[int, int, int] = (350, 100, 50)

    @property
    def total(self) -> int:
        """The number of workloads."""
        return self.cohorts * self.queues * sum(self.counts)


def scaled(total: int) -> Plan:
    """Return the baseline with so many workloads in all."""
    small, medium, large = (count * total // BASELINE for count in Plan().counts)
    return Plan(counts=(small, medium, large))


def _queues(plan: Plan, *, preempting: bool) -> list[ClusterQueue]:
    group = ResourceGroup(frozenset({"cpu"}), ("default",))
    quotas = {("default", "cpu"): Quota(20_000, 100_000)}
    preemption = Preemption("LowerPriority", "Any") if preempting else Preemption()
    return [
        ClusterQueue(f"cohort-{c}-cq-{q}", f"cohort-{c}", (group,), quotas, preemption=preemption)
        for c in range(plan.cohorts)
        for q in range(plan.queues)
    ]


def _arrivals(plan: Plan) -> list[tuple[int, int, Workload, int]]:
    found: list[tuple[int, int, Workload, int]] = []
    for c in range(plan.cohorts):
        for q in range(plan.queues):
            queue = f"cohort-{c}-cq-{q}"
            for (name, cpu, runtime, interval, priority), count in zip(CLASSES, plan.counts, strict=True):
                for i in range(count):
                    at = (i + 1) * interval * MS + (c * plan.queues + q) * 1000 + len(name)
                    own = f"{queue}-{name}-{i}"
                    pods = PodSet("main", 1, {"cpu": cpu * 1000}, shape=name)
                    workload = Workload(queue, own, own, queue, (pods,), priority, created_ns=at)
                    found.append((at, len(found), workload, runtime * MS))
    return found


class Simulation:
    """The engine in virtual time. A preempted workload leaves at once, waits again and starts from the beginning."""

    def __init__(self, plan: Plan | None = None, *, preempting: bool = False) -> None:
        plan = plan or Plan()
        queues = _queues(plan, preempting=preempting)
        self.engine = Engine(Settings())
        doors = [LocalQueue(queue.name, queue.name, queue.name) for queue in queues]
        self.engine.configure(flavors=[Flavor("default")], cluster_queues=queues, local_queues=doors)
        self.arrivals = sorted(_arrivals(plan), key=lambda one: one[:2])
        self.runtimes = {workload.key: runtime for _, _, workload, runtime in self.arrivals}
        self.log: list[Event] = []
        self.finishing: list[tuple[int, int, str]] = []
        self.started: dict[str, int] = {}

    def run(self) -> list[Event]:
        """Return all events, in the order of time."""
        arrivals, at = self.arrivals, 0
        while at < len(arrivals) or self.finishing:
            now = min([arrivals[at][0]] if at < len(arrivals) else [], default=2**62)
            if self.finishing:
                now = min(now, self.finishing[0][0])
            while self.finishing and self.finishing[0][0] == now:
                self._finish(now)
            while at < len(arrivals) and arrivals[at][0] == now:
                self.engine.submit(arrivals[at][2])
                at += 1
            while self._cycle(now):
                pass
        return self.log

    def _finish(self, now: int) -> None:
        _, serial, key = heapq.heappop(self.finishing)
        if self.started.get(key) == serial:
            del self.started[key]
            self.engine.finish(key, now)
            self.log.append((now, "finish", "", key.partition("/")[2]))

    def _cycle(self, now: int) -> bool:
        result = self.engine.cycle(now)
        for entry in result.entries:
            if entry.status == ASSUMED:
                self.log.append((now, "admit", entry.node.name, entry.info.workload.name))
                self.started[entry.info.key] = len(self.log)
                end = now + self.runtimes[entry.info.key]
                heapq.heappush(self.finishing, (end, len(self.log), entry.info.key))
        for entry in result.entries:
            for target in entry.preempting:
                if self.started.pop(target.info.key, None) is not None:
                    self.log.append((now, "preempt", target.info.queue, target.info.workload.name))
                    self.engine.release(target.info.key, now)
        return bool(result.entries)


def replay(path: Path) -> str:
    """Replay the file's baseline, print how it compares, and return the outcome.

    The name tells whether queues preempt and how many workloads there are. What the log calls a preemption is taken
    over from it, with the queue only where the log names one.
    """
    parts = path.name.partition(".")[0].split("_")
    total = next((int(part) for part in parts if part.isdigit()), BASELINE)
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    simulation = Simulation(scaled(total), preempting="nopreempt" not in parts)
    started = time.process_time()
    log = simulation.run()
    spent = time.process_time() - started
    others = {one["ev"]: bool(one.get("cq")) for one in rows if one["ev"] not in {"admit", "finish"}}
    if len(others) > 1:
        print(f"{path.name}: 0 passed, 0 failed, 1 unsupported (events {', '.join(sorted(others))})")
        return "unsupported"
    word, named = next(iter(others.items()), ("preempt", True))
    got = Counter(
        (at, word, queue if named else "", name) if ev == "preempt" else (at, ev, queue, name)
        for at, ev, queue, name in log
    )
    wanted = Counter((one["t"], one["ev"], one.get("cq", ""), one["wl"]) for one in rows)
    outcome = "passed" if got == wanted else "failed"
    speed = f"{total / spent:.0f} workloads per CPU-s, {simulation.engine.number} cycles"
    agree = (got & wanted).total()
    print(f"{path.name}: {outcome}; {agree} of {wanted.total()} events agree; {speed}")
    if got != wanted:
        print(f"  first missing {min(wanted - got, default=None)}; first odd {min(got - wanted, default=None)}")
    return outcome
