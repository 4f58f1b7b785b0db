"""Whatever happens to an engine, in any order: books agree with a fresh count, nobody is lost, all that waits is
explained, the same story gives the same answer, and preemption of one kind comes to rest.
"""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from dure.core.queueing.kueue.engine import Engine
from dure.core.queueing.kueue.entries import Entry
from dure.core.queueing.kueue.objects import Cohort, Flavor, LocalQueue, Preemption, Settings
from dure.core.queueing.kueue.snapshot import build
from tests.core.kueue.world import CPU, a_queue, a_workload
from tests.examples import examples

NAMES = ("a", "b", "c")
QUOTAS = st.tuples(*[st.integers(0, 10)] * 3)
LIMITS = st.none() | st.integers(0, 10)
ALL_REACH = Preemption("LowerPriority", "Any")
POLICIES = (ALL_REACH, Preemption("LowerOrNewerEqualPriority", "LowerPriority", "LowerPriority"), Preemption())
DOORS = [LocalQueue("ns", name, name) for name in NAMES]


def queues_of(quotas, policy=ALL_REACH, borrowing=None, lending=None):
    return [
        a_queue(name, own, preemption=policy, borrowing=borrowing, lending=lending)
        for name, own in zip(NAMES, quotas, strict=True)
    ]


def configured(engine, queues):
    engine.configure(flavors=[Flavor("default")], cluster_queues=queues, cohorts=[Cohort("team")], local_queues=DOORS)


def settle(engine, now_ns=1, limit=200):
    """Run cycles until nothing changes, also not who is tried next; victims leave at once. Return who was preempted."""
    gone: list[str] = []
    for _ in range(limit):
        before = state_of(engine)
        result = engine.cycle(now_ns)
        victims = [target.info.key for entry in result.entries for target in entry.preempting]
        for key in victims:
            engine.release(key, now_ns)
        gone += victims
        if not victims and state_of(engine) == before:
            return gone
    message = f"no rest after {limit} cycles; preempted {len(gone)}"
    raise AssertionError(message)


def state_of(engine):
    """Return all that a trial must leave as it was."""
    return (
        {
            name: {key: used for key, used in node.usage.items() if used}
            for name, node in engine.snapshot.queues.items()
        },
        {
            name: {key: used for key, used in node.usage.items() if used}
            for name, node in engine.snapshot.cohorts.items()
        },
        sorted((info.key, info.queue, info.evicted) for info in engine.held()),
        {name: (list(queue.waiting), sorted(queue.inadmissible)) for name, queue in engine.pending.items()},
        sorted(engine.strays),
    )


def run(engine, cycles, until=None):
    """Run so many cycles, or until a workload holds quota; victims leave at once."""
    for now_ns in range(1, cycles):
        if until is not None and engine.holding(until) is not None:
            return
        for entry in engine.cycle(now_ns).entries:
            for target in entry.preempting:
                engine.release(target.info.key, now_ns)


class EngineMachine(RuleBasedStateMachine):
    """An engine with three preempting queues in one cohort, beside one that remembers nothing."""

    @initialize(fair=st.booleans(), quotas=QUOTAS, policy=st.sampled_from(POLICIES))
    def begin(self, fair, quotas, policy):
        self.policy = policy
        self.engines = [Engine(Settings(fair_sharing=fair)) for _ in range(2)]
        for engine in self.engines:
            configured(engine, queues_of(quotas, self.policy))
        self.alive: set[str] = set()
        self.number = 0

    @property
    def engine(self):
        return self.engines[0]

    def both(self, act):
        """Do the same to both engines; the second one forgets every assignment that it remembers first."""
        self.engines[1].memory.clear()
        found = [act(engine) for engine in self.engines]
        assert found[0] == found[1]
        return found[0]

    @rule(queue=st.sampled_from(NAMES), cpu=st.integers(1, 14), priority=st.integers(0, 2), least=st.booleans())
    def submit(self, queue, cpu, priority, least):
        self.number += 1
        workload = a_workload(
            f"w{self.number}",
            cpu,
            priority=priority,
            created_ns=self.number,
            local=queue,
            count=2,
            minimum=1 if least else None,
        )
        self.both(lambda engine: engine.submit(workload))
        self.alive.add(workload.key)

    @precondition(lambda self: self.alive)
    @rule(data=st.data())
    def finish(self, data):
        key = data.draw(st.sampled_from(sorted(self.alive)))
        self.both(lambda engine: engine.finish(key, self.number))
        self.alive.discard(key)

    @precondition(lambda self: any(True for _ in self.engine.held()))
    @rule(data=st.data())
    def lose(self, data):
        """A node is lost: what ran there is evicted, its pods being gone."""
        key = data.draw(st.sampled_from(sorted(info.key for info in self.engine.held())))
        self.both(lambda engine: (engine.evict(key, "NodeFailure", "gone", self.number), engine.release(key, 1)))

    @rule(quotas=QUOTAS, borrowing=LIMITS, lending=LIMITS)
    def edit(self, quotas, borrowing, lending):
        """Quotas change; who holds more than may be borrowed now keeps it."""
        self.both(lambda engine: configured(engine, queues_of(quotas, self.policy, borrowing, lending)))

    @rule()
    def cycle(self):
        """Quota is kept as soon as the victims are gone: tests/core/kueue/test_cycle_properties.py."""
        before = {name: node.account(CPU).free() for name, node in self.engine.snapshot.queues.items()}
        preempting: list[Entry] = []

        def run(engine):
            result = engine.cycle(self.number)
            preempting.extend(one for one in result.entries if one.preempting)
            return sorted((one.info.key, one.status, one.reason, one.message) for one in result.entries)

        self.both(run)
        for name, node in self.engine.snapshot.queues.items():
            assert preempting or node.account(CPU).free() >= min(0, before[name])

    @rule()
    def leave(self):
        """Pods of all that are evicted are gone."""
        for key in sorted(info.key for info in self.engine.held() if info.evicted):
            self.both(lambda engine, key=key: engine.release(key, self.number))

    @rule(queue=st.sampled_from(NAMES), cpu=st.integers(1, 9))
    def try_out(self, queue, cpu):
        before = state_of(self.engine)
        with self.engine.trial():
            self.engine.submit(a_workload("what-if", cpu, priority=3, local=queue))
            run(self.engine, 20)
            for key in sorted(info.key for info in self.engine.held())[:1]:
                self.engine.finish(key)
            run(self.engine, 20)
        assert state_of(self.engine) == before

    @invariant()
    def nobody_is_lost(self):
        if not hasattr(self, "engines"):
            return
        held = {info.key for info in self.engine.held()}
        waiting = {info.key for info in self.engine.waiting()}
        assert not held & waiting
        assert held | waiting | set(self.engine.strays) == self.alive
        assert all(self.engine.explain(key) for key in waiting)

    @invariant()
    def books_agree_with_a_fresh_count(self):
        if not hasattr(self, "engines"):
            return
        objects = self.engine.objects
        again = build(objects.cluster_queues, objects.cohorts, objects.flavors, list(self.engine.held()))
        for name, node in (*self.engine.snapshot.queues.items(), *self.engine.snapshot.cohorts.items()):
            other = again.queues.get(name) or again.cohorts[name]
            assert node.account(CPU).usage == other.account(CPU).usage

    def teardown(self):
        if hasattr(self, "engines"):
            assert state_of(self.engines[0]) == state_of(self.engines[1])


EngineMachine.TestCase.settings = settings(max_examples=examples(40), stateful_step_count=30)
TestEngine = EngineMachine.TestCase


JOBS = st.lists(st.tuples(st.sampled_from(NAMES), st.integers(1, 6), st.integers(0, 3)), max_size=10)


@given(jobs=JOBS, quotas=st.tuples(*[st.integers(2, 10)] * 3), priority=st.integers(-2, 5), fair=st.booleans())
def test_a_guarantee_can_always_be_taken_back(jobs, quotas, priority, fair):
    """Whether the others come to rest or, by fair sharing, preempt one another without end (docs/QUEUEING.md)."""
    engine = Engine(Settings(fair_sharing=fair))
    configured(engine, queues_of(quotas))
    for number, (queue, cpu, own_priority) in enumerate(jobs):
        if queue != "a":
            engine.submit(a_workload(f"w{number}", cpu, priority=own_priority, created_ns=number, local=queue))
    run(engine, 50)
    engine.submit(a_workload("mine", quotas[0], priority=priority, created_ns=99, local="a"))
    run(engine, 50, until="ns/mine")
    assert engine.holding("ns/mine") is not None


ONE_KIND = (Preemption("LowerPriority"), Preemption("Never", "Any"), Preemption("Never", "LowerPriority"))


@given(jobs=JOBS, quotas=QUOTAS, policy=st.sampled_from(ONE_KIND))
@example([("a", 3, 0), ("b", 1, 0), ("a", 2, 0), ("b", 1, 0)], (2, 0, 0), ONE_KIND[0])  # a cycle that only parks
def test_preemption_of_one_kind_comes_to_rest_and_stays_there(jobs, quotas, policy):
    """Without fair sharing. Two kinds, or fair sharing, may go round (docs/QUEUEING.md): Kueue's rules, and so ours."""
    engine = Engine(Settings())
    configured(engine, queues_of(quotas, policy))
    for number, (queue, cpu, priority) in enumerate(jobs):
        engine.submit(a_workload(f"w{number}", cpu, priority=priority, created_ns=number, local=queue))
    settle(engine)
    held = sorted(info.key for info in engine.held())
    engine.wake()
    assert settle(engine) == []
    assert sorted(info.key for info in engine.held()) == held


def test_within_a_queue_and_to_reclaim_together_preemption_may_go_round_as_documented():
    engine = Engine(Settings())
    configured(engine, queues_of((0, 7, 7)))
    jobs = [("a", 2, 0), ("a", 2, 1), ("a", 1, 1), ("b", 5, 0), ("c", 3, 1), ("c", 4, 0), ("c", 5, 1)]
    for number, (queue, cpu, priority) in enumerate(jobs):
        engine.submit(a_workload(f"w{number}", cpu, priority=priority, created_ns=number, local=queue))
    with pytest.raises(AssertionError, match="no rest"):
        settle(engine)
