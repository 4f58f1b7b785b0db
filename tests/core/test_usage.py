"""What attempts used, by UTC day, and what is summed of it."""

from dure.core.model import GpuShare, Lease, Phase
from dure.core.usage import DAY_S, Ledger, Use, day_of, uses_of
from tests.core.builders import a_job

MIDNIGHT = 20_000 * DAY_S
LEASE = Lease("lab", "n3", "gold", (GpuShare(0), GpuShare(1)), 3600.0)


def held(since):
    return a_job(phase=Phase.RUNNING, lease=LEASE, admitted_at=since, attempt=1)


def use(day, user, gpu_s, cost=0.0, team="vision"):
    return Use(day, team, user, gpu_s, cost)


def test_an_attempt_over_midnight_counts_on_both_days():
    found = uses_of(held(MIDNIGHT - 100), MIDNIGHT + 50)
    assert found == (
        Use(MIDNIGHT - DAY_S, "vision", "alice", 200.0, 200.0),
        Use(MIDNIGHT, "vision", "alice", 100.0, 100.0),
    )


def test_what_has_no_lease_used_nothing():
    assert uses_of(a_job(), MIDNIGHT) == ()
    assert uses_of(held(MIDNIGHT), MIDNIGHT) == ()


def test_the_ledger_knows_today_and_the_month_of_people_and_teams():
    yesterday = MIDNIGHT - DAY_S
    uses = [use(yesterday, "alice", 10, 1), use(MIDNIGHT, "alice", 5, 2), use(MIDNIGHT, "bob", 7)]
    past = Ledger(yesterday, uses).past(MIDNIGHT + 1)
    assert (past.of("vision", "alice").day_gpu_s, past.of("vision", "alice").month_gpu_s) == (5, 15)
    assert (past.of("vision").day_gpu_s, past.of("vision").month_cost) == (12, 3)
    assert past.of("speech").month_gpu_s == 0
    assert past.day == day_of(MIDNIGHT + 1)


def test_what_an_earlier_month_used_is_passed_over():
    ledger = Ledger(MIDNIGHT)
    ledger.add(use(MIDNIGHT - DAY_S, "alice", 10))
    assert ledger.past(MIDNIGHT).of("vision").month_gpu_s == 0
