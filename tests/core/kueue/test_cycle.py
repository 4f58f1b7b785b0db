"""One cycle: who is admitted, who preempts whom, who waits and why."""

from dure.core.queueing.kueue.assignment import NO_FIT
from dure.core.queueing.kueue.entries import ASSUMED, SKIPPED
from dure.core.queueing.kueue.objects import Preemption, Settings
from dure.core.queueing.kueue.pending import NO_CANDIDATES, PENDING_PREEMPTION, PendingQueue
from tests.core.kueue.world import CPU, a_queue, a_snapshot, a_workload, cycle, one_of, running, waiting


def test_what_fits_is_admitted_and_holds_its_quota():
    snapshot = a_snapshot(a_queue("q", 10))
    result = cycle(snapshot, waiting(a_workload("w", 4), "q"))
    assert one_of(result, "w").status == ASSUMED
    assert snapshot.queues["q"].usage[CPU] == 4


def test_what_can_never_fit_is_told_so():
    result = cycle(a_snapshot(a_queue("q", 10000)), waiting(a_workload("w", 11000), "q"))
    entry = one_of(result, "w")
    assert entry.assignment.mode == NO_FIT
    assert entry.reason == "ExceedsMaxQuota"
    assert entry.message.endswith("+ current podset request (11) > maximum capacity (10)")


def test_two_heads_that_want_the_same_rest_are_decided_by_priority():
    snapshot = a_snapshot(a_queue("a", 5), a_queue("b", 5), a_queue("c", 5))
    high, low = waiting(a_workload("high", 10, priority=2), "a"), waiting(a_workload("low", 10), "b")
    result = cycle(snapshot, low, high)
    assert one_of(result, "high").status == ASSUMED
    assert one_of(result, "low").status == SKIPPED
    assert one_of(result, "low").message == "Workload no longer fits after processing another workload"


def test_a_guarantee_is_reclaimed_from_who_borrows_it():
    owner = a_queue("owner", 10, preemption=Preemption(reclaim="Any"))
    infos = [running(a_workload("loan", 8, priority=9), "guest"), running(a_workload("own", 5), "guest")]
    snapshot = a_snapshot(owner, a_queue("guest", 5), infos=infos)
    entry = one_of(cycle(snapshot, waiting(a_workload("w", 10), "owner")), "w")
    assert {(one.info.workload.name, one.reason) for one in entry.preempting} == {("loan", "InCohortReclamation")}
    assert entry.requeue == PENDING_PREEMPTION
    assert snapshot.queues["guest"].usage[CPU] == 13


def test_the_lowest_priority_goes_first_and_nobody_more_than_needed():
    queue = a_queue("q", 6, cohort=None, preemption=Preemption("LowerPriority"))
    infos = [running(a_workload(f"w{p}", 2, priority=p), "q") for p in (1, 2, 3)]
    entry = one_of(cycle(a_snapshot(queue, infos=infos), waiting(a_workload("new", 2, priority=5), "q")), "new")
    assert [one.info.workload.name for one in entry.preempting] == ["w1"]


def test_a_blocked_head_keeps_its_guarantee_from_those_after_it():
    blocked = a_queue("blocked", 10, preemption=Preemption("LowerPriority"))
    infos = [running(a_workload("old", 3, priority=9), "blocked")]
    snapshot = a_snapshot(blocked, a_queue("late", 0), infos=infos)
    first = waiting(a_workload("first", 8, priority=5), "blocked")
    result = cycle(snapshot, first, waiting(a_workload("late", 6), "late"))
    assert one_of(result, "first").requeue == NO_CANDIDATES
    assert one_of(result, "late").status == SKIPPED
    assert snapshot.queues["blocked"].usage[CPU] == 3


def test_fewer_pods_run_when_not_all_fit():
    result = cycle(a_snapshot(a_queue("q", 7)), waiting(a_workload("w", 1, count=10, minimum=2), "q"))
    assert one_of(result, "w").assignment.pod_sets[0].count == 7


def test_with_fair_sharing_who_borrows_least_is_next():
    settings = Settings(fair_sharing=True)
    infos = [running(a_workload("much", 5), "a"), running(a_workload("little", 1), "b")]
    snapshot = a_snapshot(a_queue("a", 0), a_queue("b", 0), a_queue("bank", 8), infos=infos)
    result = cycle(
        snapshot, waiting(a_workload("wa", 2, priority=9), "a"), waiting(a_workload("wb", 2), "b"), settings=settings
    )
    assert one_of(result, "wb").status == ASSUMED
    assert one_of(result, "wa").status == SKIPPED


def test_by_fair_share_only_who_has_more_gives():
    settings = Settings(fair_sharing=True)
    policy = Preemption(reclaim="Any")
    infos = [running(a_workload(f"m{i}", 1), "much") for i in range(6)]
    snapshot = a_snapshot(
        a_queue("much", 0), a_queue("new", 0, preemption=policy), a_queue("bank", 6, lending=6), infos=infos
    )
    entry = one_of(cycle(snapshot, waiting(a_workload("w", 2), "new"), settings=settings), "w")
    assert [one.reason for one in entry.preempting] == ["InCohortFairSharing"] * 2


def test_a_shape_that_does_not_fit_takes_its_like_along_until_woken():
    queue = PendingQueue("q", strict=False, settings=Settings())
    for number in range(3):
        queue.push(waiting(a_workload(f"w{number}", 4, created_ns=number), "q"))
    head = queue.head()
    assert head is not None
    queue.requeue(head, "NoFit", 0)
    assert head.workload.name == "w0"
    assert (len(queue.waiting), len(queue.inadmissible)) == (0, 3)
    queue.waking.wake()
    assert list(queue.waiting) == ["ns/w0", "ns/w1", "ns/w2"]


def test_a_strict_queue_is_blocked_by_its_head():
    queue = PendingQueue("q", strict=True, settings=Settings())
    queue.push(waiting(a_workload("w", 4), "q"))
    head = queue.head()
    assert head is not None
    queue.requeue(head, "NoFit", 0)
    assert list(queue.waiting) == ["ns/w"]
