"""Admission fair sharing: usage fades, entering costs, and the queue that used least is served first."""

import math
from fractions import Fraction

import pytest

from dure.core.queueing.kueue.objects import Settings, UsagePolicy
from dure.core.queueing.kueue.pending import PendingQueue
from dure.core.queueing.kueue.usage import UsageLedger, faded, scaled
from tests.core.kueue.world import a_workload, waiting

POLICY = UsagePolicy(half_life_s=10.0, sampling_s=10.0, resource_weights={"memory": 0.0})


def test_after_one_half_life_half_of_the_past_is_left():
    assert faded({"cpu": Fraction(8)}, {"cpu": Fraction(2)}, 10.0, 10.0) == {"cpu": 5}


def test_equal_use_is_equal_however_it_came_together():
    ledger = UsageLedger(UsagePolicy(half_life_s=7.0, sampling_s=3.0))
    for name, cpu in (("a", 100), ("b", 200)):
        ledger.enter("ns/many", f"ns/{name}", {"cpu": cpu})
    ledger.enter("ns/one", "ns/c", {"cpu": 300})
    assert ledger.usage("ns/many") == pytest.approx(ledger.usage("ns/one"), abs=1e-8)
    assert scaled(Fraction(1), 1 / 3) == Fraction(333333333, 10**9)


def test_entering_costs_until_it_is_taken_back():
    ledger = UsageLedger(POLICY, weights={"ns/lq": 2.0})
    ledger.enter("ns/lq", "ns/w", {"cpu": 4000, "memory": 2**30})
    assert ledger.usage("ns/lq") == pytest.approx(1.0)
    ledger.leave("ns/lq", "ns/w")
    assert ledger.usage("ns/lq") == 0


def test_a_local_queue_without_weight_comes_last():
    assert math.isinf(UsageLedger(POLICY, weights={"ns/lq": 0.0}).usage("ns/lq"))


def test_usage_ranks_before_priority():
    ledger = UsageLedger(POLICY, consumed={"ns/busy": {"cpu": Fraction(9)}})
    queue = PendingQueue("q", strict=False, settings=Settings(usage_policy=POLICY), usage=ledger.usage)
    queue.push(waiting(a_workload("urgent", 1, priority=9, local="busy"), "q"))
    queue.push(waiting(a_workload("modest", 1), "q"))
    head = queue.head()
    assert head is not None
    assert head.workload.name == "modest"


def test_a_workload_that_was_deleted_is_no_head():
    queue = PendingQueue("q", strict=False, settings=Settings())
    queue.push(waiting(a_workload("gone", 1), "q"))
    queue.forget("ns/gone")
    assert queue.head() is None
