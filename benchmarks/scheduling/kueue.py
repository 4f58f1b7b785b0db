"""Kueue's own loads through our engine: its baseline with and without preemption, its large scale, one decision with a
long queue, and how the cost grows with the queue.

`python -m benchmarks.scheduler kueue` from the repository's root. The trap: Kueue's figures are of Kueue's scheduler
measured elsewhere, without its API server, so the ratio is across machines and only says the order of size.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from benchmarks.conformance.replay import Plan, Simulation
from benchmarks.measuring import machine
from benchmarks.measuring.figures import Timed
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
    Workload,
)
from dure.main.cycles import look_seldom

KUEUE = {"baseline": 584.0, "baseline, preemption": 320.0}
"""Workloads per CPU-second of Kueue's scheduler alone (commit ff69552e), from the project's facts: another machine."""

AIM = 5000.0
DECISION_AIM_S = 0.010
SHAPES, QUEUES, DECISIONS = 40, 20, 200


def report(*, short: bool = False) -> None:
    """Print all tables; `short` leaves out the large scale and the longest queue."""
    print(machine.told("dure"))
    look_seldom()  # as the control plane does
    loads = [("baseline", Plan(), False), ("baseline, preemption", Plan(), True)]
    if not short:
        loads.append(("large scale, 1,000 queues", Plan(10, 100, (35, 11, 4)), False))
    print("\n| load of Kueue's performance tests | workloads | events | cycles | workloads per CPU-s | aim |", end="")
    print(" Kueue, measured elsewhere | times |\n|---|---|---|---|---|---|---|---|")
    for name, plan, preempting in loads:
        simulation = Simulation(plan, preempting=preempting)
        began = time.process_time()
        log = simulation.run()
        rate, peer = plan.total / (time.process_time() - began), KUEUE.get(name)
        told = f"{AIM:,.0f}: {'held' if rate >= AIM else '**missed**'}"
        beside = f"{peer:.0f} | {rate / peer:.1f}×" if peer else "– | –"
        cycles = simulation.engine.number
        print(f"| {name} | {plan.total:,} | {len(log):,} | {cycles:,} | {rate:,.0f} | {told} | {beside} |")
    print("\n| one decision with … waiting, CPU time | p50 | p99 | aim for p99 |\n|---|---|---|---|")
    for waiting in (1_000, 10_000) if short else (1_000, 10_000, 100_000):
        found = Timed(tuple(decisions(waiting)))
        slow = found.quantile(0.99)
        aim = f"{DECISION_AIM_S * 1000:.0f} ms: {'held' if slow <= DECISION_AIM_S else '**missed**'}"
        print(
            f"| {waiting:,} | {found.p50 * 1000:.1f} ms | {slow * 1000:.1f} ms |",
            aim if waiting == 10_000 else "–",
            "|",
        )


def decisions(waiting: int) -> Iterator[float]:
    """Yield the CPU seconds of each decision: one workload ends, one comes, and cycles run until nothing changes."""
    engine = long_queue(waiting)
    for number in range(DECISIONS):
        ended = next(iter(engine.held())).key
        began = time.process_time()
        engine.finish(ended, number)
        engine.submit(_workload(waiting + number))
        settled(engine, number)
        yield time.process_time() - began


def long_queue(waiting: int) -> Engine:
    """Return an engine with 20 preempting queues of one cohort, in which so many workloads of 40 shapes wait."""
    engine = Engine()
    group = ResourceGroup(frozenset({"gpu"}), ("gold", "silver"))
    quotas = {("gold", "gpu"): Quota(8), ("silver", "gpu"): Quota(16)}
    preemption = Preemption("LowerPriority", "Any")
    queues = [ClusterQueue(f"q{i}", "lab", (group,), quotas, preemption=preemption) for i in range(QUEUES)]
    doors = [LocalQueue("ns", queue.name, queue.name) for queue in queues]
    engine.configure(flavors=[Flavor("gold"), Flavor("silver")], cluster_queues=queues, local_queues=doors)
    for number in range(QUEUES * 24 + waiting):
        engine.submit(_workload(number))
    settled(engine, 0)
    return engine


def settled(engine: Engine, now_ns: int) -> None:
    """Run cycles until nothing changes; victims leave at once."""
    while True:
        result = engine.cycle(now_ns)
        gone = [target.info.key for entry in result.entries for target in entry.preempting]
        for key in gone:
            engine.release(key, now_ns)
        if not gone and not any(entry.status == ASSUMED for entry in result.entries):
            return


def _workload(number: int) -> Workload:
    gpus, priority = 1 + number % 8, number // 8 % (SHAPES // 8)
    pods = PodSet("main", 1, {"gpu": gpus}, shape=str(gpus))
    name = f"w{number}"
    return Workload("ns", name, name, f"q{number * 7 % QUEUES}", (pods,), priority, created_ns=number)
