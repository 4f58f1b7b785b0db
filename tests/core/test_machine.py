"""A queue over time: submit, decide, start, end, lose, cancel and hold in any order, with invariants after each."""

from collections import defaultdict
from dataclasses import replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from dure.core.lifecycle import Facts, Signal, advance, ask_cancel, preempt, promised
from dure.core.model import Goal, Phase, QueueingPolicy
from dure.core.queueing.decide import Decider, decide
from dure.core.queueing.plan import Snapshot
from dure.core.sentences import verdict_sentence
from tests.core.builders import FLEX, NOW, STRICT, a_cloud, a_job, a_lab, a_node, a_platform, a_team
from tests.examples import examples

MOST_PLANS = 8
LAB = a_lab(a_node("n1", "bronze", 2), a_node("n2", "silver"), a_node("n3", "gold", 2), a_node("n4", "silver"))


class Platform(RuleBasedStateMachine):
    """The loop without I/O: every change goes through `decide` and `advance`."""

    def __init__(self):
        super().__init__()
        self.now = NOW
        vision = a_team("vision", {"gold": 0}, 5000.0)
        teams = [replace(vision, quota_milli={"gold": 1000, "bronze": 1000}), a_team("speech")]
        policy = QueueingPolicy(within_cluster_queue="LowerPriority")
        self.platform = a_platform(LAB, a_cloud(), teams=teams, queueing=policy)
        self.decider = Decider(self.platform)
        self.jobs = {}
        self.preempted = set()
        self.edited = set()
        self.submitted = 0

    def alive(self, *phases):
        return [job for job in self.jobs.values() if job.phase in phases]

    def snapshot(self):
        alive = tuple(job for job in self.jobs.values() if not job.phase.terminal)
        spent: defaultdict[str, float] = defaultdict(float)
        for job in self.jobs.values():
            if job.phase.terminal:
                spent[job.team] += job.cost
        return Snapshot(self.now, self.platform, alive, spent, warm=self.decider.books.warm)

    def step(self, job, signal, **facts):
        self.put(advance(job, signal, self.now, Facts(**facts)).job)

    def put(self, job):
        self.jobs[job.id] = job
        self.decider.put(job)

    def plan(self):
        """What was told of changes only decides as what sees everything anew."""
        snapshot = self.snapshot()
        plan = self.decider.decide(snapshot.now, snapshot.spent)
        assert plan == decide(snapshot)
        plan.check(snapshot)
        return plan

    @rule(
        gpus=st.sampled_from([0.25, 0.5, 1, 1, 2]),
        tier=st.sampled_from(["bronze", "silver", "gold", None]),
        team=st.sampled_from(["vision", "speech"]),
        budget=st.sampled_from([FLEX, STRICT]),
        data=st.sampled_from(["open", "private"]),
        value=st.sampled_from([0, 100]),
        user=st.sampled_from(["ann", "bob"]),
        predicted=st.sampled_from([None, 20.0, 500.0]),
        keep=st.sampled_from([0.0, 0.0, 60.0]),
        inputs=st.dictionaries(st.sampled_from("abc"), st.integers(1, 3), max_size=2),
    )
    def submit(self, *, gpus, tier, team, budget, data, value, user, predicted, keep, inputs):
        job_id = f"j-{self.submitted:04}"
        self.submitted += 1
        job = a_job(
            job_id, gpus=gpus, tier=tier, team=team, budget=budget, data_class=data, priority_value=value, at=self.now
        )
        self.put(replace(job, user=user, predicted_s=predicted, keep_s=keep, inputs=inputs))

    @rule()
    def tick(self):
        """The loop makes plans until nothing changes, and in all stories it need not make many."""
        for _ in range(MOST_PLANS):
            due = self.due()
            plan = self.plan()
            started = {one.job_id: one.lease.node for one in plan.admissions}
            assert all(started.get(job.id) in job.promise.nodes for job in due), "its victims were stopped for nothing"
            if not plan.admissions and not plan.preemptions:
                break
            self.carry_out(plan)
        else:
            raise AssertionError(f"{MOST_PLANS} plans one after another all changed something")
        for verdict in plan.verdicts.values():
            assert verdict_sentence(verdict, "en")
            assert verdict_sentence(verdict, "ko")

    def carry_out(self, plan):
        assert not (plan.admissions and plan.preemptions)
        for preemption in plan.preemptions:
            self.preempt(preemption)
        assert {one.by for one in plan.preemptions} == set(plan.promises)
        for job_id, promise in plan.promises.items():
            self.put(promised(self.jobs[job_id], promise).job)
        for admission in plan.admissions:
            self.step(self.jobs[admission.job_id], Signal.ADMIT, lease=admission.lease)

    def due(self):
        """Those whose victims are gone: they start in the next plan, but where a person changed what counts."""
        leaving = {job.id for job in self.jobs.values() if job.preempted_by is not None}
        waiting = [job for job in self.alive(Phase.QUEUED) if job.promise is not None and job.goal is Goal.RUN]
        waiting = [job for job in waiting if job.id not in self.edited and self.now < job.promise.until]
        return [job for job in waiting if not leaving & {*job.promise.victims}]

    def preempt(self, preemption):
        victim, by = self.jobs[preemption.job_id], self.jobs[preemption.by]
        assert victim.phase.holds_gpus
        assert victim.preempted_by is None
        assert victim.keep_s == 0
        assert (by.id, victim.id) not in self.preempted, "a victim took its GPUs back from its preemptor"
        if preemption.reason == "InClusterQueue":
            assert by.team == victim.team
            assert by.priority_value > victim.priority_value
        else:
            assert by.team == "vision", "only vision is guaranteed anything"
            assert victim.team != by.team
        self.preempted.add((victim.id, by.id))
        self.put(preempt(victim, by, preemption.reason, self.now).job)

    @rule(pick=st.randoms(use_true_random=False), all_of_them=st.booleans())
    def let_victims_go(self, *, pick, all_of_them):
        for job in self.alive(Phase.ADMITTED, Phase.STARTING, Phase.RUNNING):
            if job.preempted_by is not None and (all_of_them or pick.random() < 0.5):
                self.step(job, Signal.REQUEUE, reason="Preempted")

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
                self.put(step.job)

    @rule()
    def carry_out_cancellations(self):
        for job in self.alive(Phase.QUEUED, Phase.RUNNING):
            if job.goal is Goal.CANCEL:
                self.step(job, Signal.CANCEL, reason="CancelledByUser")

    @rule(stopped=st.booleans())
    def hold_a_queue(self, stopped):
        first, *rest = self.platform.queues
        self.edit(replace(self.platform, queues=(replace(first, stopped=stopped), *rest)))

    @rule(gold=st.sampled_from([0, 1000, 2000]), limit=st.sampled_from([0, 1000]))
    def edit_a_quota(self, gold, limit):
        """Less than is held takes nothing away by itself; it only lets nothing more in."""
        first, *rest = self.platform.teams
        held = self.held("vision", "gold")
        if held <= gold + limit:
            first = replace(first, quota_milli={"gold": gold, "bronze": 1000}, borrowing_milli={"gold": limit})
            self.edit(replace(self.platform, teams=(first, *rest)))

    def edit(self, platform):
        self.platform = platform
        self.edited |= {job.id for job in self.alive(Phase.QUEUED) if job.promise is not None}
        self.decider = Decider(platform, self.decider.books.warm)
        for job in self.jobs.values():
            self.decider.put(job)

    def held(self, team, tier):
        return sum(
            job.lease.gpus_milli
            for job in self.jobs.values()
            if job.lease and job.phase.holds_gpus and job.lease.cluster == "lab"
            if (job.team, job.lease.tier) == (team, tier)
        )

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
        vision = self.platform.teams[0]
        assert self.held("vision", "gold") <= vision.quota_milli["gold"] + vision.borrowing_milli["gold"]

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


Platform.TestCase.settings = settings(max_examples=examples(60), stateful_step_count=40)
TestPlatform = Platform.TestCase
