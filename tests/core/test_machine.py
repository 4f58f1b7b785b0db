"""A queue over time: submit, decide, start, end, lose, cancel and hold in any order, with invariants after each."""

from collections import defaultdict
from dataclasses import replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from dure.core.lifecycle import Facts, Signal, advance, ask_cancel
from dure.core.model import ClusterKind, Goal, Phase
from dure.core.queueing.decide import decide
from dure.core.queueing.plan import Snapshot
from dure.core.sentences import verdict_sentence
from tests.core.builders import FLEX, NOW, STRICT, a_job, a_platform, a_team


class Platform(RuleBasedStateMachine):
    """The loop without I/O: every change goes through `decide` and `advance`."""

    def __init__(self):
        super().__init__()
        self.now = NOW
        self.platform = a_platform(teams=[a_team("vision", {"gold": 1000}, 5000.0), a_team("speech")])
        self.jobs = {}
        self.submitted = 0

    def alive(self, *phases):
        return [job for job in self.jobs.values() if job.phase in phases]

    def snapshot(self):
        alive = tuple(job for job in self.jobs.values() if not job.phase.terminal)
        spent: defaultdict[str, float] = defaultdict(float)
        for job in self.jobs.values():
            if job.phase.terminal:
                spent[job.team] += job.cost
        return Snapshot(self.now, self.platform, alive, spent)

    def step(self, job, signal, **facts):
        self.jobs[job.id] = advance(job, signal, self.now, Facts(**facts)).job

    @rule(
        gpus=st.sampled_from([0.25, 0.5, 1, 1, 2]),
        tier=st.sampled_from(["bronze", "silver", "gold", None]),
        team=st.sampled_from(["vision", "speech"]),
        budget=st.sampled_from([FLEX, STRICT]),
        data=st.sampled_from(["open", "private"]),
        value=st.sampled_from([0, 100]),
    )
    def submit(self, *, gpus, tier, team, budget, data, value):
        job_id = f"j-{self.submitted:04}"
        self.submitted += 1
        self.jobs[job_id] = a_job(
            job_id, gpus=gpus, tier=tier, team=team, budget=budget, data_class=data, priority_value=value, at=self.now
        )

    @rule()
    def tick(self):
        snapshot = self.snapshot()
        plan = decide(snapshot)
        plan.check(snapshot)
        for admission in plan.admissions:
            self.step(self.jobs[admission.job_id], Signal.ADMIT, lease=admission.lease)
        for verdict in plan.verdicts.values():
            assert verdict_sentence(verdict, "en")
            assert verdict_sentence(verdict, "ko")
        self.nothing_more_fits()

    def nothing_more_fits(self):
        """Deciding twice at the same instant admits nothing new: the first plan took all that it could."""
        again = decide(self.snapshot())
        assert not again.admissions

    @rule(seconds=st.sampled_from([1, 30, 120]))
    def wait(self, seconds):
        self.now += seconds

    @rule(pick=st.randoms(use_true_random=False), signal=st.sampled_from([Signal.SUCCEED, Signal.FAIL]))
    def go_on(self, pick, signal):
        jobs = self.alive(Phase.ADMITTED, Phase.STARTING, Phase.RUNNING)
        if jobs:
            job = pick.choice(jobs)
            following = {Phase.ADMITTED: Signal.START, Phase.STARTING: Signal.BEGIN, Phase.RUNNING: signal}
            self.step(job, following[job.phase])

    @rule(pick=st.randoms(use_true_random=False))
    def lose_a_worker(self, pick):
        jobs = self.alive(Phase.ADMITTED, Phase.STARTING, Phase.RUNNING)
        if jobs:
            self.step(pick.choice(jobs), Signal.REQUEUE, reason="WorkerLost", lost=True)

    @rule(pick=st.randoms(use_true_random=False))
    def cancel(self, pick):
        jobs = self.alive(Phase.QUEUED, Phase.RUNNING)
        if jobs:
            step = ask_cancel(pick.choice(jobs), "asked")
            if step is not None:
                self.jobs[step.job.id] = step.job

    @rule()
    def carry_out_cancellations(self):
        for job in self.alive(Phase.QUEUED, Phase.RUNNING):
            if job.goal is Goal.CANCEL:
                self.step(job, Signal.CANCEL, reason="CancelledByUser")

    @rule(stopped=st.booleans())
    def hold_a_queue(self, stopped):
        first, *rest = self.platform.queues
        self.platform = replace(self.platform, queues=(replace(first, stopped=stopped), *rest))

    @invariant()
    def no_gpu_is_oversubscribed(self):
        nodes = {(c.name, n.name): n for c in self.platform.clusters for n in c.nodes}
        used = defaultdict(list)
        for job in self.jobs.values():
            for gpu in job.lease.gpus if job.lease and job.phase.holds_gpus else ():
                assert gpu.index < nodes[job.lease.cluster, job.lease.node].gpus
                used[job.lease.cluster, job.lease.node, gpu.index].append(gpu.share_milli)
        assert all(sum(shares) <= 1000 for shares in used.values())

    @invariant()
    def quota_holds_on_private_clusters(self):
        private = {c.name for c in self.platform.clusters if c.kind is ClusterKind.PRIVATE}
        used: defaultdict[tuple[str, str], int] = defaultdict(int)
        for job in self.jobs.values():
            if job.lease and job.phase.holds_gpus and job.lease.cluster in private:
                used[job.team, job.lease.tier] += job.lease.gpus_milli
        assert used["vision", "gold"] <= 1000

    @invariant()
    def what_may_not_leave_is_here(self):
        for job in self.jobs.values():
            if job.lease and job.lease.cluster == "cloud":
                assert job.budget is FLEX
                assert job.data_class == "open"

    @invariant()
    def accounts_add_up(self):
        for job in self.jobs.values():
            assert job.waited_s >= 0
            assert job.cost >= 0
            if job.ended_at is not None:
                assert job.waited_s + job.ran_s <= job.ended_at - job.submitted_at + 1e-6


Platform.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestPlatform = Platform.TestCase
