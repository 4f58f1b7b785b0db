"""One production decision while a long, varied queue waits: quota, GPUs, limits, backfill, preemption, public clusters.

Eight teams, forty people, five sizes on three tiers or any; priorities, deadlines, runtimes and money differ. Between
two decisions one job ends or comes, and what the last plan said is carried out. The trap: with everything else equal,
lines of the same request would hide what kinds cost; there are 160 kinds here.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from dataclasses import replace

from benchmarks.measuring.figures import Timed, shown, table
from benchmarks.measuring.machine import told
from dure.core.lifecycle import Facts, Signal, advance, preempt, promised
from dure.core.model import (
    Budget,
    BudgetMode,
    BurstPolicy,
    Cluster,
    ClusterKind,
    DataClass,
    Environment,
    Job,
    Kind,
    Limit,
    Node,
    Platform,
    PriorityClass,
    Queue,
    QueueingPolicy,
    Request,
    Team,
    Tier,
)
from dure.core.queueing.decide import Decider
from dure.core.queueing.plan import Plan
from dure.main.cycles import look_seldom

TEAMS, PEOPLE = 8, 40
SIZES = (250, 500, 1000, 2000, 8000)
TIERS = ("bronze", "silver", "gold", None)
AIM_S = 0.010
KINDS = TEAMS * len(SIZES) * len(TIERS)


class Lab:
    """A platform whose GPUs are all taken, and so many jobs that wait, decided on by one `Decider`."""

    def __init__(self, waiting: int, on: Platform, seed: int = 7) -> None:
        self.draw = random.Random(seed)
        self.platform = on
        self.decider = Decider(self.platform)
        self.now = 1_000_000.0
        self.came = 0
        self.jobs: dict[str, Job] = {}
        self.held: list[str] = []
        for _ in range(waiting):
            self.put(self.job())
        while (plan := self.decide()).admissions:
            self.carry_out(plan)

    def job(self) -> Job:
        """Return a new job; each of the kinds comes as often as any other."""
        draw, number = self.draw, self.came
        self.came += 1
        kind = number % KINDS
        team, kind = kind % TEAMS, kind // TEAMS
        return Job(
            id=f"j-{number:06}",
            name="",
            kind=Kind.COMMAND,
            user=f"person{team * (PEOPLE // TEAMS) + draw.randrange(PEOPLE // TEAMS)}",
            team=f"team{team}",
            request=Request(SIZES[kind % len(SIZES)], TIERS[kind // len(SIZES)]),
            submitted_at=self.now,
            queued_at=self.now,
            priority_value=draw.choice((-100, 0, 0, 0, 100)),
            deadline_at=self.now + draw.uniform(3600, 864000) if draw.random() < 0.1 else None,
            predicted_s=draw.lognormvariate(7, 1.5),
            budget=Budget(BudgetMode.FLEX if draw.random() < 0.2 else BudgetMode.STRICT),
        )

    def put(self, job: Job) -> None:
        """Tell the decider of a new or changed job."""
        self.jobs[job.id] = job
        self.decider.put(job)

    def decide(self) -> Plan:
        """Return the plan for now."""
        return self.decider.decide(self.now, {})

    def carry_out(self, plan: Plan) -> None:
        """Let jobs begin at once, and victims wait again; why others wait goes on their record."""
        for job_id in plan.changed:
            self.put(replace(self.jobs[job_id], reason=plan.verdicts[job_id].code.value))
        for victim in plan.preemptions:
            gone = preempt(self.jobs[victim.job_id], self.jobs[victim.by], victim.reason, self.now).job
            self.put(advance(gone, Signal.REQUEUE, self.now, Facts(reason="Preempted")).job)
            self.held.remove(victim.job_id)
        for job_id, promise in plan.promises.items():
            self.put(promised(self.jobs[job_id], promise).job)
        for admission in plan.admissions:
            job = advance(self.jobs[admission.job_id], Signal.ADMIT, self.now, Facts(lease=admission.lease)).job
            job = advance(job, Signal.START, self.now, Facts()).job
            self.put(advance(job, Signal.BEGIN, self.now, Facts()).job)
            self.held.append(job.id)

    def change(self) -> Job:
        """Return a job that just ended, or one that just came: each half of the times."""
        self.now += 5.0
        if self.held and self.draw.random() < 0.5:
            job = self.jobs[self.held.pop(self.draw.randrange(len(self.held)))]
            return advance(job, Signal.SUCCEED, self.now, Facts()).job
        return self.job()


def decisions(waiting: int, times: int, on: Platform) -> Iterator[float]:
    """Yield the CPU seconds of one change and the decision after it, `times` times."""
    lab = Lab(waiting, on)
    for _ in range(times):
        job = lab.change()
        lab.jobs[job.id] = job
        began = time.process_time()
        lab.decider.put(job)
        plan = lab.decide()
        yield time.process_time() - began
        lab.carry_out(plan)


def platform() -> Platform:
    """Return 48 nodes of eight GPUs in three tiers, teams with guarantees, and a small public cluster."""
    nodes = tuple(Node(f"n{i:02}", TIERS[i % 3] or "", 8) for i in range(48))
    cloud = tuple(Node(f"c{i}", "gold", 8) for i in range(2))
    teams = [
        Team(f"team{i}", ("*",), quota_milli={"gold": 8000 * (i % 3), "silver": 8000}, budget_per_month=1e5)
        for i in range(TEAMS)
    ]
    return Platform(
        name="lab",
        clusters=(
            Cluster("lab", ClusterKind.PRIVATE, nodes),
            Cluster("cloud", ClusterKind.PUBLIC, cloud, 60.0, {"gold": 3.0}),
        ),
        tiers=(Tier("bronze", 1.0), Tier("silver", 2.0), Tier("gold", 4.0)),
        teams=tuple(teams),
        queues=tuple(Queue(team.name, team.name) for team in teams),
        priorities=(PriorityClass("high", 100), PriorityClass("normal", 0), PriorityClass("low", -100)),
        data_classes=(DataClass("open", may_leave=True),),
        environments=(Environment("default", "python3"),),
        burst=BurstPolicy(rule="fixed", wait_s=86400.0),
    )


def report(*, short: bool = False) -> None:
    """Print one row for each length of the queue, and for each rule that a file may add to it."""
    print(told("dure"))
    look_seldom()  # as the control plane does before it loads its jobs
    usual = platform()
    priorities = replace(usual, queueing=QueueingPolicy(within_cluster_queue="LowerPriority"))
    at_most, each = Limit(jobs=30), Limit(gpus_milli=6000)
    limited = replace(usual, teams=tuple(replace(team, limits=at_most, user_limits=each) for team in usual.teams))
    times = 60 if short else 400
    rows = [_row(waiting, "–", usual, times) for waiting in (1_000, 10_000)]
    rows.append(_row(10_000, "priorities preempt within a team", priorities, times))
    rows.append(_row(10_000, "limits of teams and people that many are at", limited, times))
    if not short:
        rows.append(_row(50_000, "–", usual, 100))
    table("One production decision, CPU time", ("waiting", "rules", "p50", "p95", "p99", "aim for p99"), rows)
    table("Its first verdict, CPU time", ("waiting", "p50", "p99"), [_verdict_row(10_000, times // 4)])


def _row(waiting: int, rules: str, on: Platform, times: int) -> tuple[str, ...]:
    found = Timed(tuple(decisions(waiting, times, on)))
    quantiles = [shown(found.quantile(part)) for part in (0.5, 0.95, 0.99)]
    return (f"{waiting:,}", rules, *quantiles, shown(AIM_S) if (waiting, rules) == (10_000, "–") else "–")


def _verdict_row(waiting: int, times: int) -> tuple[str, ...]:
    lab, found = Lab(waiting, platform()), []
    for _ in range(times):
        job = lab.job()
        lab.put(job)
        plan = lab.decide()
        began = time.process_time()
        told_of = plan.verdicts.get(job.id)
        if told_of is not None:
            found.append(time.process_time() - began)
        lab.carry_out(plan)
    timed = Timed(tuple(found))
    return f"{waiting:,}", shown(timed.quantile(0.5)), shown(timed.quantile(0.99))
