"""Preemption comes to rest, and then every guarantee is kept: random labs with everything at once, from a seed.

Nobody ends and no time passes while victims leave, so whatever still changes would change for ever: ping-pong.
"""

import random
from collections import Counter
from dataclasses import replace

import pytest

from dure.core.lifecycle import Facts, Signal, advance, preempt, promised
from dure.core.model import Limit, Phase, QueueingPolicy
from dure.core.queueing.decide import Decider
from dure.core.queueing.limits import Bounds
from dure.core.reservations import Reservation
from dure.core.usage import Past
from tests.core.builders import NOW, a_job, a_lab, a_node, a_platform, a_team

TEAMS = ("vision", "speech", "robots", "maths")
POLICIES = (
    QueueingPolicy(),
    QueueingPolicy(within_cluster_queue="LowerPriority"),
    QueueingPolicy(share_preempts=True),
    QueueingPolicy(share_preempts=True, within_cluster_queue="LowerOrNewerEqualPriority", borrow_within_cohort="Never"),
)
GPUS = 8
MOST_ROUNDS = 60


class Lab:
    """One node of gold, guarantees that it can keep, and jobs of one GPU, so that only rules are in the way."""

    def __init__(self, seed, policy):
        self.draw = draw = random.Random(seed)
        left = GPUS
        teams = []
        for name in TEAMS:
            own = draw.randint(0, min(3, left))
            left -= own
            limit = Limit(gpus_milli=draw.choice((2000, 4000))) if draw.random() < 0.3 else Limit()
            team = replace(a_team(name), quota_milli={"gold": own * 1000}, weight=draw.choice((0.5, 1.0, 3.0)))
            lends = {"gold": draw.randint(0, own) * 1000} if draw.random() < 0.3 else {}
            teams.append(replace(team, lending_milli=lends, user_limits=limit))
        self.platform = a_platform(a_lab(a_node("n1", "gold", GPUS)), teams=teams, queueing=policy)
        self.decider = Decider(self.platform)
        if draw.random() < 0.3:
            kept = Reservation("r", draw.choice(TEAMS), "gold", 2000, NOW + 5000, NOW + 9000, "prof", NOW)
            self.decider.bounds = Bounds(Past(), (kept,))
        self.jobs = {}
        self.now = NOW
        self.stopped: Counter[str] = Counter()

    def put(self, job):
        self.jobs[job.id] = job
        self.decider.put(job)

    def submit(self):
        for _ in range(self.draw.randint(1, 5)):
            job_id = f"j-{len(self.jobs):03}"
            deadline = self.now + self.draw.uniform(100, 5000) if self.draw.random() < 0.3 else None
            self.put(
                replace(
                    a_job(job_id, team=self.draw.choice(TEAMS), at=self.now, predicted_s=self.draw.choice((60.0, 9e3))),
                    user=self.draw.choice(("ann", "bob")),
                    priority_value=self.draw.choice((0, 0, 100)),
                    deadline_at=deadline,
                )
            )

    def settle(self):
        """Carry out plans, with victims gone at once, until nothing changes; return the last plan."""
        due: set[str] = set()
        for _ in range(MOST_ROUNDS):
            plan = self.decider.decide(self.now)
            assert due <= {one.job_id for one in plan.admissions}, "others were stopped for nothing"
            due = {one.by for one in plan.preemptions}
            if not plan.admissions and not plan.preemptions:
                return plan
            for victim in plan.preemptions:
                self.stopped[victim.job_id] += 1
                leaving = preempt(self.jobs[victim.job_id], self.jobs[victim.by], victim.reason, self.now).job
                self.put(advance(leaving, Signal.REQUEUE, self.now, Facts(reason="Preempted")).job)
            for job_id, promise in plan.promises.items():
                self.put(promised(self.jobs[job_id], promise).job)
            for admission in plan.admissions:
                job = advance(self.jobs[admission.job_id], Signal.ADMIT, self.now, Facts(lease=admission.lease)).job
                job = advance(job, Signal.START, self.now, Facts()).job
                self.put(advance(job, Signal.BEGIN, self.now, Facts()).job)
        raise AssertionError(f"{MOST_ROUNDS} plans one after another all changed something: {self.stopped}")

    def used(self):
        return Counter(job.team for job in self.jobs.values() if job.lease is not None and not job.phase.terminal)

    def end_some(self):
        for job in [job for job in self.jobs.values() if job.phase is Phase.RUNNING]:
            if self.draw.random() < 0.25:
                self.put(advance(job, Signal.SUCCEED, self.now, Facts()).job)


@pytest.mark.parametrize("policy", range(len(POLICIES)))
def test_plans_come_to_rest_and_then_no_guarantee_is_lent_to_others(policy):
    reclaimed = 0
    for seed in range(40):
        lab = Lab(seed, POLICIES[policy])
        for _ in range(8):
            lab.submit()
            plan = lab.settle()
            used = lab.used()
            own = {team.name: team.quota_milli.get("gold", 0) // 1000 for team in lab.platform.teams}
            borrow = [team for team in TEAMS if used[team] > own[team]]
            for job_id, verdict in plan.verdicts.items():
                team = lab.jobs[job_id].team
                if verdict.data.get("why") not in {"limit", "reserved"}:
                    assert used[team] >= own[team] or not borrow, (seed, job_id, verdict)
            assert max(lab.stopped.values(), default=0) <= 8, lab.stopped
            lab.end_some()
            lab.now += 100.0
        reclaimed += sum(lab.stopped.values())
    assert reclaimed > 5
