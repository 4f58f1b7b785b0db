"""What waits in one queue, against a plain model: sorted lists that are built anew for every question."""

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from dure.core.queueing.kueue.infos import Info
from dure.core.queueing.kueue.objects import Settings
from dure.core.queueing.kueue.pending import (
    FAILED_AFTER_NOMINATION,
    NAMESPACE_MISMATCH,
    NO_CANDIDATES,
    NO_FIT,
    PENDING_PREEMPTION,
    PendingQueue,
)
from tests.core.kueue.world import a_workload, waiting
from tests.examples import examples

REASONS = (NO_FIT, NO_CANDIDATES, NAMESPACE_MISMATCH, FAILED_AFTER_NOMINATION, PENDING_PREEMPTION)


class PendingMachine(RuleBasedStateMachine):
    """A queue of shapes by cpu and priority; whatever is stuck, parked or saved, the head is the model's."""

    def __init__(self):
        super().__init__()
        self.queue = PendingQueue("q", strict=False, settings=Settings())
        self.model: dict[str, Info] = {}
        self.stuck: set[object] = set()
        self.parked: set[str] = set()
        self.sticky: str | None = None
        self.saved: tuple[Any, ...] = ()
        self.number = 0

    def order(self, info):
        workload = info.workload
        return (info.key != self.sticky, -info.priority, workload.created_ns, workload.uid)

    def active(self):
        free = [one for key, one in self.model.items() if one.shape not in self.stuck and key not in self.parked]
        return sorted(free, key=self.order)

    @rule(cpu=st.integers(1, 3), priority=st.integers(0, 2), at=st.integers(0, 5))
    def push(self, cpu, priority, at):
        self.number += 1
        info = waiting(a_workload(f"w{self.number}", cpu, priority=priority, created_ns=at), "q")
        self.queue.push(info)
        self.model[info.key] = info

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def push_again(self, data):
        info = self.model[data.draw(st.sampled_from(sorted(self.model)))]
        self.queue.push(info)
        self.parked.discard(info.key)

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def forget(self, data):
        key = data.draw(st.sampled_from(sorted(self.model)))
        assert self.queue.forget(key) is self.model.pop(key)
        self.parked.discard(key)
        self.sticky = None if self.sticky == key else self.sticky

    @precondition(lambda self: self.active())
    @rule(reason=st.sampled_from(REASONS))
    def refuse(self, reason):
        head = self.queue.head()
        assert head is not None
        self.queue.requeue(head, reason, 0)
        if reason in {NO_FIT, NO_CANDIDATES}:
            self.stuck.add(head.shape)
        elif reason == NAMESPACE_MISMATCH:
            self.parked.add(head.key)
        elif reason == PENDING_PREEMPTION:
            self.sticky = head.key

    @rule()
    def wake(self):
        self.queue.waking.wake()
        self.queue.unpark(0)
        self.stuck, self.parked = set(), set()

    @rule()
    def save(self):
        mine = (dict(self.model), set(self.stuck), set(self.parked), self.sticky)
        self.saved = (self.queue.save(), self.queue.waking.count, mine)

    @precondition(lambda self: self.saved)
    @rule()
    def load(self):
        saved, self.queue.waking.count, mine = self.saved
        self.queue.load(saved)
        self.model, self.stuck, self.parked, self.sticky = mine
        self.saved = ()

    @invariant()
    def the_same_waits_in_the_same_order(self):
        wanted = [info.key for info in self.active()]
        assert list(self.queue.waiting) == wanted
        assert sorted(self.queue.inadmissible) == sorted(self.model.keys() - set(wanted))
        assert {info.key for info in self.queue} == self.model.keys()
        head = self.queue.head()
        assert (head.key if head else None) == next(iter(wanted), None)
        assert (self.queue.index in self.queue.waking.parked) == bool(self.parked)


PendingMachine.TestCase.settings = settings(max_examples=examples(60), stateful_step_count=40)
TestPending = PendingMachine.TestCase
