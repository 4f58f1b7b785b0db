"""A decider that remembers decides as one made anew, whatever happened between: the story of a lab, from a seed.

The one made anew searches for victims even where a bound says that nobody's leaving would help.

Everything that a decision reads changes in these stories: time, jobs and leases, deadlines, past use, money, limits,
reservations, clusters that do not answer, victims that leave.
"""

import random
from collections import defaultdict
from dataclasses import replace

import pytest

from dure.core.lifecycle import Facts, Signal, advance, preempt, promised
from dure.core.model import (
    BudgetAction,
    BurstPolicy,
    ClusterKind,
    Cohort,
    Goal,
    Job,
    Limit,
    Phase,
    QueueingPolicy,
    Request,
)
from dure.core.queueing.decide import Decider
from dure.core.queueing.leaving import Leaving
from dure.core.queueing.limits import Bounds
from dure.core.queueing.rounds import Round
from dure.core.queueing.turns import Turns
from dure.core.reservations import Reservation, capacity_milli
from dure.core.usage import Account, Past, day_of, month_of
from tests.core.builders import FLEX, NOW, STRICT, a_cloud, a_job, a_lab, a_node, a_platform, a_team, amount

TIERS = ("bronze", "silver", "gold")
TEAMS = ("vision", "speech", "robots")
POLICIES = (
    QueueingPolicy(),
    QueueingPolicy(within_cluster_queue="LowerPriority"),
    QueueingPolicy(within_cluster_queue="LowerOrNewerEqualPriority", reclaim_within_cohort="LowerPriority"),
    QueueingPolicy(within_cluster_queue="LowerPriority", share_preempts=True),
    QueueingPolicy(strategy="StrictFIFO", half_life_s=0.0),
    QueueingPolicy(backfill=False),
)
STEPS = 45
SEEDS = (*range(5), 106)
"""With shares that preempt, two jobs of one plan of 106 are each other's victims."""


def platform_of(draw: random.Random, policy: QueueingPolicy):
    nodes = [a_node(f"n{i}", draw.choice(TIERS), draw.choice((1, 2, 4))) for i in range(7)]
    lab = a_lab(*(replace(node, labels={"rack": draw.choice("ab")}) for node in nodes))
    annex = a_lab(a_node("m1", "gold", 2), a_node("m2", "bronze", 4), name="annex")
    teams = []
    for name in TEAMS:
        quota = {tier: draw.choice((0, 1000, 2000)) for tier in TIERS if draw.random() < 0.5}
        team = a_team(name, {"gold": 2000} if draw.random() < 0.3 else {}, draw.choice((None, 3000.0, 1e6)))
        limited = draw.random() < 0.4
        teams.append(
            replace(
                team,
                quota_milli=quota,
                cohort="floor" if draw.random() < 0.5 else None,
                limits=Limit(jobs=4, gpu_hours_per_day=20.0) if limited else Limit(),
                user_limits=Limit(gpus_milli=3000) if limited else Limit(),
                budget_action=draw.choice([*BudgetAction]),
                budget_gpu_hours_per_month=draw.choice((None, 5.0)),
            )
        )
    burst = BurstPolicy(rule=draw.choice(("fixed", "proportional")), wait_s=120.0)
    cohorts = (Cohort("floor", quota_milli={"gold": 1000}, borrowing_milli={"bronze": 3000}),)
    return a_platform(lab, annex, a_cloud(3), teams=teams, queueing=policy, burst=burst, cohorts=cohorts)


class Searching(Leaving):
    """Always lets the engine search for victims, so that nothing rests on the bound that spares it."""

    def would_fit(self, _job, _tier, _closed):
        return True


class Lab:
    """One decider that is told what changes, and all that a new one would have to be told."""

    def __init__(self, seed: int, policy: QueueingPolicy) -> None:
        self.draw = random.Random(seed)
        self.now = NOW
        self.platform = platform_of(self.draw, policy)
        self.decider = Decider(self.platform)
        self.jobs: dict[str, Job] = {}
        self.spent: defaultdict[str, float] = defaultdict(float)
        self.used: dict[tuple[str, str], float] = {}
        self.unavailable: frozenset[str] = frozenset()
        self.bounds = Bounds()
        self.came = self.admitted = self.preempted = 0

    def put(self, job):
        if job.phase.terminal:
            self.jobs.pop(job.id, None)
            self.spent[job.team] += job.cost
            person = (job.team, job.user)
            self.used[person] = self.used.get(person, 0.0) + job.ran_s
        else:
            self.jobs[job.id] = job
        self.decider.put(job)

    def plan(self):
        """The plan of the one that remembers, which is that of one made anew, to the last verdict."""
        anew = Decider(self.platform, self.decider.books.warm)
        anew.kept.leaving = Searching(anew.books, anew.quota)
        anew.bounds = self.decider.bounds = self.bounds
        jobs = [*self.jobs.values()]
        self.draw.shuffle(jobs)
        for job in jobs:
            anew.put(job)
        plan = self.decider.decide(self.now, self.spent, self.unavailable, self.used)
        expected = anew.decide(self.now, self.spent, self.unavailable, self.used)
        assert plan.admissions == expected.admissions
        assert plan.preemptions == expected.preemptions
        assert plan.wake_at == expected.wake_at
        assert plan.changed == expected.changed
        assert dict(plan.verdicts) == dict(expected.verdicts)
        queued = {job.id for job in jobs if job.phase is Phase.QUEUED}
        assert {admission.job_id for admission in plan.admissions} | set(plan.verdicts) == queued
        self.check(plan)
        self.check_heads()
        return plan

    def check_heads(self):
        """The head of each line is the first of all that no limit bars, whatever was remembered of it."""
        work = Round(self.decider.kept, self.bounds, self.now, self.spent, self.used)
        turns = Turns(work)
        for line in self.decider.lines:
            jobs = [place[2] for places in line.ranks.values() for place in places]
            state = work.state(line)
            free = [job for job in jobs if state.refusal(job) is None and (not state.barred or work.standing.lets(job))]
            assert turns.head(line) is min(free, key=work.usage.key, default=None)

    def check(self, plan):
        """No GPU is given away twice, whatever was remembered."""
        held = [job.lease for job in self.jobs.values() if job.lease is not None]
        used: defaultdict[tuple[str, str, int], int] = defaultdict(int)
        for lease in [*held, *(admission.lease for admission in plan.admissions)]:
            for share in lease.shares:
                for gpu in share.gpus:
                    used[lease.cluster, share.node, gpu.index] += gpu.share_milli
        assert all(milli <= 1000 for milli in used.values())
        self.check_limits(plan)
        self.check_reservations(plan)

    def check_limits(self, plan):
        """Nobody holds more at once than a limit lets them, and no budget or day begins another job once it is over."""
        admitted = [(self.jobs[admission.job_id], admission.lease) for admission in plan.admissions]
        held = [(job, job.lease) for job in self.jobs.values() if job.lease is not None] + admitted
        for team in self.platform.teams:
            for user in (None, "ann", "bob", "cho"):
                limit = team.limits if user is None else team.user_limits
                own = [lease for job, lease in held if job.team == team.name and user in {None, job.user}]
                assert limit.jobs is None or len(own) <= limit.jobs
                assert limit.gpus_milli is None or sum(lease.gpus_milli for lease in own) <= limit.gpus_milli
            gone = self.bounds.past.at(self.now).of(team.name)
            if team.limits.gpu_hours_per_day is not None and gone.day_gpu_s > team.limits.gpu_hours_per_day * 3600:
                assert all(job.team != team.name for job, _ in admitted)
            hard = team.budget_action is BudgetAction.HARD and team.budget_gpu_hours_per_month is not None
            if hard and gone.month_gpu_s > (team.budget_gpu_hours_per_month or 0) * 3600:
                assert all(job.team != team.name for job, _ in admitted)

    def check_reservations(self, plan):
        """Where others than its owner got GPUs, what a reservation that is on still lacks is left free."""
        private = {cluster.name for cluster in self.platform.clusters if cluster.kind is ClusterKind.PRIVATE}
        admitted = [(self.jobs[admission.job_id], admission.lease) for admission in plan.admissions]
        held = [(job, job.lease) for job in self.jobs.values() if job.lease is not None] + admitted
        for one in self.bounds.reservations:
            here = [(job, lease) for job, lease in held if lease.cluster in private and lease.tier == one.tier]
            others = any(lease.tier == one.tier and lease.cluster in private for job, lease in admitted
                         if not one.is_for(job))  # fmt: skip
            if one.keeps(self.now) and others:
                own = sum(lease.gpus_milli for job, lease in here if one.is_for(job))
                lacking = max(0, one.gpus_milli - own)
                used = sum(lease.gpus_milli for _, lease in here)
                assert used + lacking <= capacity_milli(self.platform, one.tier)

    def carry_out(self, plan):
        for job_id in plan.changed:
            self.put(replace(self.jobs[job_id], reason=plan.verdicts[job_id].code.value))
        for victim in plan.preemptions:
            self.preempted += 1
            self.put(preempt(self.jobs[victim.job_id], self.jobs[victim.by], victim.reason, self.now).job)
        for job_id, promise in plan.promises.items():
            self.put(promised(self.jobs[job_id], promise).job)
        for admission in plan.admissions:
            self.admitted += 1
            self.put(advance(self.jobs[admission.job_id], Signal.ADMIT, self.now, Facts(lease=admission.lease)).job)

    def submit(self):
        draw = self.draw
        self.came += 1
        gpus, nodes = draw.choice(((500, 1), (1000, 1), (1000, 1), (1000, 1), (2000, 1), (4000, 1), (2000, 2)))
        job = a_job(f"j-{self.came:04}", at=self.now - draw.choice((0, 0, 100)), team=draw.choice(TEAMS))
        rack = draw.choice((None, "rack")) if nodes > 1 else None
        self.put(
            replace(
                job,
                request=Request(gpus, draw.choice(("bronze", "gold", None)), nodes=nodes, required_topology=rack),
                user=draw.choice(("ann", "bob", "cho")),
                priority_value=draw.choice((-100, 0, 0, 100)),
                deadline_at=self.now + draw.uniform(100, 9000) if draw.random() < 0.3 else None,
                predicted_s=draw.choice((None, 50.0, 400.0, 3000.0)),
                timeout_s=draw.choice((None, None, 500.0)),
                budget=draw.choice((STRICT, FLEX, amount(400.0))),
                keep_s=draw.choice((0.0, 0.0, 0.0, 300.0)),
                inputs=draw.choice(({}, {"a": 5}, {"b": 7})),
            )
        )

    def step(self):
        """Something happens."""
        draw = self.draw
        held = [job for job in self.jobs.values() if job.phase.holds_gpus]
        waiting = [job for job in self.jobs.values() if job.phase is Phase.QUEUED]
        what = draw.random()
        if what < 0.45:
            for _ in range(draw.choice((1, 1, 6))):
                self.submit()
        elif what < 0.65 and held:
            job = draw.choice(held)
            following = {Phase.ADMITTED: Signal.START, Phase.STARTING: Signal.BEGIN, Phase.RUNNING: Signal.SUCCEED}
            self.put(advance(job, following[job.phase], self.now, Facts()).job)
        elif what < 0.7 and held:
            self.put(advance(draw.choice(held), Signal.REQUEUE, self.now, Facts(reason="WorkerLost", lost=True)).job)
        elif what < 0.75 and waiting:
            self.put(replace(draw.choice(waiting), goal=Goal.CANCEL))
        elif what < 0.8:
            names = [cluster.name for cluster in self.platform.clusters]
            self.unavailable = frozenset(draw.sample(names, draw.choice((0, 0, 1))))
        elif what < 0.85:
            self.reserve()
        elif what < 0.9:
            day, month = day_of(self.now), month_of(self.now)
            whose: tuple[str, str | None] = (draw.choice(TEAMS), None)
            accounts = {whose: Account(draw.choice((0.0, 50_000.0)), 3600.0, 100.0)}
            self.bounds = replace(self.bounds, past=Past(day, month, accounts))
        for job in held:
            if job.preempted_by is not None and draw.random() < 0.4 and self.jobs.get(job.id) is job:
                self.put(advance(job, Signal.REQUEUE, self.now, Facts(reason="Preempted")).job)
        self.now += draw.choice((0.0, 1.0, 5.0, 60.0, 400.0))

    def reserve(self):
        draw, begins = self.draw, self.now + self.draw.choice((-100.0, 50.0, 1000.0))
        kept = Reservation(
            id="r", team=draw.choice(TEAMS), tier=draw.choice(TIERS), gpus_milli=2000, begins_at=begins,
            ends_at=begins + 2000.0, made_by="ann", made_at=self.now,
        )  # fmt: skip
        self.bounds = replace(self.bounds, reservations=draw.choice(((), (kept,), (kept,))))


@pytest.mark.parametrize("policy", range(len(POLICIES)))
@pytest.mark.parametrize("seed", SEEDS)
def test_one_that_remembers_decides_as_one_made_anew(seed, policy):
    lab = Lab(seed * len(POLICIES) + policy, POLICIES[policy])
    private = {cluster.name for cluster in lab.platform.clusters if cluster.kind is ClusterKind.PRIVATE}
    for _ in range(STEPS):
        lab.step()
        plan = lab.plan()
        assert lab.plan() == plan, "a decision changes nothing that a second one would see"
        if lab.draw.random() < 0.9:
            lab.carry_out(plan)
    assert lab.admitted > 5
    assert any(job.lease is not None and job.lease.cluster in private for job in lab.jobs.values())
