"""The engine between decisions: what waits, holds, leaves and returns; trials that leave nothing behind."""

import pytest

from dure.core.queueing.kueue.engine import Engine
from dure.core.queueing.kueue.objects import Flavor, LocalQueue, Preemption
from tests.core.kueue.world import CPU, a_queue, a_workload

POLICY = Preemption("LowerPriority", "Any")


def an_engine(*queues, placeable=None, settings=None, cohorts=()):
    engine = Engine(settings, placeable=placeable)
    configure(engine, *queues, cohorts=cohorts)
    return engine


def configure(engine, *queues, cohorts=()):
    doors = [LocalQueue("ns", queue.name, queue.name) for queue in queues]
    engine.configure(flavors=[Flavor("default")], cluster_queues=queues, cohorts=cohorts, local_queues=doors)


def submit(engine, name, cpu, queue="q", **fields):
    engine.submit(a_workload(name, cpu, local=queue, **fields))


def held(engine):
    return {info.workload.name for info in engine.held()}


def settle(engine, now_ns=1):
    """Run cycles until nothing changes; victims leave at once. Return how often somebody was preempted."""
    evictions = 0
    while True:
        result = engine.cycle(now_ns)
        gone = {target.info.key for entry in result.entries for target in entry.preempting}
        for key in sorted(gone):
            evictions += engine.release(key, now_ns)
        if not gone and not any(entry.status == "assumed" for entry in result.entries):
            return evictions


def test_what_fits_runs_and_what_does_not_says_how_much_is_lacking():
    engine = an_engine(a_queue("q", 4))
    submit(engine, "first", 3)
    submit(engine, "second", 3, created_ns=1)
    settle(engine)
    assert held(engine) == {"first"}
    why = engine.explain("ns/second")
    assert why.reason == "WaitingForQuota"
    assert "insufficient unused quota for cpu in flavor default, 2m more needed" in why.message


def test_who_finishes_makes_room_for_the_next():
    engine = an_engine(a_queue("q", 4))
    submit(engine, "first", 3)
    submit(engine, "second", 3, created_ns=1)
    settle(engine)
    assert engine.finish("ns/first")
    settle(engine)
    assert held(engine) == {"second"}
    assert engine.explain("ns/second") is None


def test_a_preempted_workload_holds_its_quota_until_it_is_released():
    engine = an_engine(a_queue("q", 4, preemption=POLICY))
    submit(engine, "low", 3)
    settle(engine)
    submit(engine, "high", 3, priority=5)
    result = engine.cycle(2)
    assert [target.info.key for target in result.entries[0].preempting] == ["ns/low"]
    assert engine.holding("ns/low").evicted
    assert engine.cycle(3).entries[0].status != "assumed"
    engine.release("ns/low", 4)
    settle(engine, 4)
    assert held(engine) == {"high"}
    assert engine.explain("ns/low").reason == "WaitingForQuota"


def test_workloads_of_one_shape_are_explained_by_the_one_that_was_tried():
    engine = an_engine(a_queue("q", 1))
    for number in range(3):
        submit(engine, f"w{number}", 4, created_ns=number)
    settle(engine)
    assert engine.explain("ns/w2").as_like == "ns/w0"
    assert engine.explain("ns/w2").reason == "ExceedsMaxQuota"


def test_new_quotas_keep_what_runs_and_try_again_what_waits():
    engine = an_engine(a_queue("q", 2))
    submit(engine, "runs", 2)
    submit(engine, "waits", 2, created_ns=1)
    settle(engine)
    configure(engine, a_queue("q", 4))
    assert held(engine) == {"runs"}
    settle(engine)
    assert held(engine) == {"runs", "waits"}
    configure(engine, a_queue("q", 1))
    assert held(engine) == {"runs", "waits"}


def test_what_a_blocked_head_keeps_is_given_back_where_its_queue_holds_more_than_it_may_borrow():
    engine = an_engine(a_queue("a", 5), a_queue("b", 10))
    submit(engine, "much", 10, queue="a")
    settle(engine)
    configure(engine, a_queue("a", 2, borrowing=2), a_queue("b", 10))
    submit(engine, "more", 2, queue="a", priority=1)
    submit(engine, "other", 1, queue="b")
    settle(engine)
    assert held(engine) == {"much", "other"}
    engine.finish("ns/much")
    engine.finish("ns/other")
    assert engine.node("a").parent.account(CPU).usage == engine.node("a").account(CPU).usage


def test_a_workload_whose_queue_is_gone_says_so_and_returns_with_it():
    engine = an_engine(a_queue("q", 2))
    submit(engine, "w", 1, queue="other")
    assert engine.explain("ns/w").reason == "Misconfigured"
    configure(engine, a_queue("q", 2), a_queue("other", 2))
    settle(engine)
    assert held(engine) == {"w"}


def test_who_cannot_be_placed_waits_and_nobody_is_preempted_for_it():
    engine = an_engine(a_queue("q", 4, preemption=POLICY), placeable=lambda entry: entry.info.workload.name == "low")
    submit(engine, "low", 3)
    settle(engine)
    submit(engine, "high", 3, priority=5)
    assert settle(engine) == 0
    assert held(engine) == {"low"}
    assert engine.explain("ns/high").reason == "TopologyPlacementFailed"


@pytest.mark.parametrize("failing", [False, True])
def test_a_trial_leaves_nothing_behind(failing):
    engine = an_engine(a_queue("q", 4, preemption=POLICY), a_queue("other", 4, preemption=POLICY))
    submit(engine, "low", 6)
    submit(engine, "waits", 6, created_ns=1)
    settle(engine)
    before = (held(engine), sorted(engine.pending["q"].inadmissible), dict(engine.node("q").usage))
    with pytest.raises(KeyError) if failing else engine.trial():
        if failing:
            with engine.trial():
                submit(engine, "high", 4, queue="other", priority=9)
                settle(engine)
                raise KeyError
        submit(engine, "high", 4, queue="other", priority=9)
        assert settle(engine) == 1
        assert held(engine) == {"high"}
        engine.finish("ns/high")
        settle(engine)
    assert (held(engine), sorted(engine.pending["q"].inadmissible), dict(engine.node("q").usage)) == before
    assert engine.explain("ns/high") is None
    assert not engine.holding("ns/low").evicted
    engine.finish("ns/low")
    settle(engine)
    assert held(engine) == {"waits"}
    assert engine.node("q").usage[CPU] == 6


def test_who_is_in_its_backoff_waits_alone():
    engine = an_engine(a_queue("q", 4))
    submit(engine, "w", 3)
    settle(engine)
    engine.evict("ns/w", "PodsReadyTimeout", "too slow", 5)
    engine.release("ns/w", 6, requeue_at_ns=100)
    submit(engine, "next", 3, created_ns=1)
    settle(engine, 10)
    assert held(engine) == {"next"}
    engine.finish("ns/next", 99)
    settle(engine, 99)
    assert held(engine) == set()
    settle(engine, 100)
    assert held(engine) == {"w"}
