"""What a queue may take: lending, borrowing, over-use, shares, and quantities as Kubernetes writes them."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dure.core.queueing.kueue.objects import Cohort, Quota
from dure.core.queueing.kueue.quantity import UNLIMITED, add, parse, parse_quota, sub, text_of
from tests.core.kueue.world import CPU, a_queue, a_snapshot


@pytest.mark.parametrize(
    ("resource", "text", "amount", "canonical"),
    [
        ("cpu", "2", 2000, "2"),
        ("cpu", "1500m", 1500, "1500m"),
        ("cpu", "4000", 4_000_000, "4k"),
        ("memory", "3Gi", 3 * 2**30, "3Gi"),
        ("memory", "1000", 1000, "1k"),
        ("example.com/gpu", "0", 0, "0"),
        ("memory", "1e3", 1000, "1k"),
    ],
)
def test_a_quantity_is_read_and_written_as_kubernetes_does(resource, text, amount, canonical):
    assert parse(resource, text) == amount
    assert text_of(resource, amount) == canonical


def test_what_is_no_quantity_is_named():
    with pytest.raises(ValueError, match=r"'two'.*not a Kubernetes quantity"):
        parse("cpu", "two")


def test_the_largest_quota_is_no_limit_and_absorbs_sums():
    assert parse_quota("memory", str(2**63)) == UNLIMITED
    assert add(UNLIMITED, -5) == UNLIMITED
    assert sub(UNLIMITED, UNLIMITED) == 0


def test_a_queue_borrows_what_the_others_lend():
    snapshot = a_snapshot(a_queue("own", 10), a_queue("lender", 10, lending=4))
    assert snapshot.queues["own"].available(CPU) == 14
    assert snapshot.queues["lender"].available(CPU) == 20


def test_a_borrowing_limit_of_nothing_forbids_borrowing():
    snapshot = a_snapshot(a_queue("own", 10, borrowing=0), a_queue("other", 10))
    assert snapshot.queues["own"].available(CPU) == 10


def test_what_a_cohort_uses_beyond_its_quota_shows_as_nothing_left():
    snapshot = a_snapshot(a_queue("own", 10), a_queue("other", 10))
    snapshot.queues["own"].take({CPU: 25})
    assert snapshot.queues["other"].available(CPU) == 0
    assert snapshot.queues["other"].account(CPU).free() == -5


def test_a_cohort_may_own_quota_that_its_queues_share():
    snapshot = a_snapshot(a_queue("own", 0), cohorts=[Cohort("team", quotas={CPU: Quota(7)})])
    assert snapshot.queues["own"].available(CPU) == 7


def test_queues_of_a_cyclic_cohort_are_inactive():
    snapshot = a_snapshot(a_queue("own", 1), cohorts=[Cohort("team", "up"), Cohort("up", "team")])
    assert snapshot.inactive == {"own"}


def test_a_share_is_what_is_borrowed_of_what_can_be_lent():
    snapshot = a_snapshot(a_queue("own", 10, weight=2.0), a_queue("other", 30))
    snapshot.queues["own"].take({CPU: 20})
    share = snapshot.queues["own"].share()
    assert (share.ratio, share.weighted, share.resource) == (250.0, 125.0, "cpu")


def test_a_queue_without_weight_that_borrows_ranks_above_all():
    snapshot = a_snapshot(a_queue("own", 1, weight=0.0), a_queue("other", 1))
    snapshot.queues["own"].take({CPU: 2})
    assert math.isinf(snapshot.queues["own"].share().weighted)
    assert snapshot.queues["own"].share().text == "+Inf"


@given(st.lists(st.tuples(st.sampled_from(["a", "b", "c"]), st.integers(0, 40)), max_size=20))
def test_usage_that_leaves_in_any_order_leaves_nothing_behind(changes):
    snapshot = a_snapshot(
        a_queue("a", 10, lending=3), a_queue("b", 10), a_queue("c", 5, cohort="sub"), cohorts=[Cohort("sub", "team")]
    )
    for name, amount in changes:
        snapshot.queues[name].take({CPU: amount})
    for name, amount in reversed(changes):
        snapshot.queues[name].give({CPU: amount})
    nodes = [*snapshot.queues.values(), *snapshot.cohorts.values()]
    assert not any(node.usage.get(CPU, 0) for node in nodes)
