"""When waiting jobs start, by running the platform's own decisions forward."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from dure.core.forecast.distribution import Distribution, lognormal
from dure.core.forecast.draws import Remaining, drawn, place, sampled
from dure.core.forecast.record import AGES_S, Issued, Record
from dure.core.forecast.replay import Begun, Replay
from dure.core.forecast.starts import MOST_NEWCOMERS, Eta, Present, course, courses, etas
from dure.core.model import GpuShare, Job, Lease, NodeShare, Phase, Promise, Request
from dure.core.queueing.limits import Bounds
from dure.core.reservations import Reservation
from tests.core.builders import NOW, a_job, a_lab, a_node, a_platform
from tests.examples import examples


def running(job_id: str, for_s: float) -> Job:
    lease = Lease("lab", "n3", "gold", (GpuShare(0),))
    return replace(
        a_job(job_id), phase=Phase.RUNNING, attempt=1, lease=lease, admitted_at=NOW - for_s, began_at=NOW - for_s
    )


def exactly(seconds: float) -> Remaining:
    return lambda _job, _part: seconds


def test_the_first_in_line_starts_when_what_runs_there_ends_and_the_next_one_after_it() -> None:
    jobs = (running("j-0", 10.0), a_job("j-1"), a_job("j-2", at=NOW + 1))
    found = course(Present(NOW, a_platform(), jobs), exactly(600.0), 0)
    assert found.starts["j-1"].in_s == 600.0
    assert found.starts["j-1"].after == "j-0"
    assert found.starts["j-2"].in_s == 1200.0
    assert found.starts["j-2"].after == "j-1"


def test_who_waits_for_one_that_must_go_starts_at_once_in_every_course() -> None:
    ours = a_job("j-1", promise=Promise("lab", "gold", ("n3",), ("j-0",), NOW + 120.0))
    present = Present(NOW, a_platform(), (replace(running("j-0", 10.0), preempted_by="j-1"), ours, a_job("j-2")))
    found = courses(present, _varied(6000.0), count=12, more=lambda done: done < 4)
    assert len(found) == 12
    assert max(one.starts["j-1"].in_s for one in found) < 60.0


def test_a_long_line_of_short_jobs_moves_as_fast_with_few_decisions_as_with_many() -> None:
    jobs = (running("j-0", 10.0), *(a_job(f"w-{number:03}", at=NOW - 900 + number) for number in range(200)))
    present = Present(NOW, a_platform(), jobs)
    fine, coarse = (course(present, exactly(60.0), 0, grain=grain).starts["w-199"].in_s for grain in (0.001, 0.3))
    assert abs(coarse / fine - 1.0) < 0.05


def test_only_the_watched_job_is_followed_to_its_start() -> None:
    jobs = (running("j-0", 10.0), a_job("j-1"), a_job("j-2", at=NOW + 1))
    found = course(Present(NOW, a_platform(), jobs), exactly(600.0), 0, watched=frozenset({"j-1"}))
    assert set(found.starts) == {"j-1"}


def test_a_job_that_can_never_start_has_no_estimate() -> None:
    jobs = (a_job("j-1", gpus=64),)
    present = Present(NOW, a_platform(), jobs)
    found = etas(NOW, [course(present, exactly(60.0), number) for number in range(4)], ["j-1"])
    assert found["j-1"].p50_s is None
    assert found["j-1"].p90_s is None


def test_arrivals_like_the_recent_ones_take_their_turn() -> None:
    recent = tuple(a_job(f"r-{number}", at=NOW - 300 + 30 * number, priority_value=100) for number in range(10))
    jobs = (running("j-0", 10.0), a_job("j-1"))
    alone = course(Present(NOW, a_platform(), jobs), exactly(50.0), 0, watched=frozenset({"j-1"}))
    busy = course(Present(NOW, a_platform(), jobs, recent=recent, span_s=300.0), exactly(50.0), 0, horizon_s=1000.0)
    assert "j-1" not in busy.starts or busy.starts["j-1"].in_s > alone.starts["j-1"].in_s


def test_for_arrivals_like_one_for_whom_others_were_stopped_nobody_was() -> None:
    promise = Promise("lab", "gold", ("n3",), ("gone",), NOW + 120.0)
    recent = tuple(a_job(f"r-{number}", at=NOW - 60 + number, promise=promise) for number in range(3))
    present = Present(NOW, a_platform(), (running("j-0", 10.0), a_job("j-1")), recent=recent, span_s=60.0)
    assert course(present, exactly(600.0), 0).starts["j-1"].in_s == 600.0


def test_a_rush_that_would_never_end_is_followed_for_all_who_wait_now_and_not_for_everybody_to_come() -> None:
    rush = tuple(a_job(f"r-{number:03}", at=NOW - 60 + 0.5 * number) for number in range(100))
    present = Present(NOW, a_platform(), (running("j-0", 10.0), *rush), recent=rush, span_s=60.0)
    found = course(present, exactly(6000.0), 0)
    assert set(found.starts) == {job.id for job in rush}
    assert len(found.begun) <= len(rush) + MOST_NEWCOMERS


def test_quantiles_of_a_job_are_spread_evenly_over_the_courses() -> None:
    places = sorted(place("j-1", number) for number in range(16))
    assert all(abs(found - (at + 0.5) / 16) < 0.07 for at, found in enumerate(places))


def spread(jobs: list[Job], seen: float) -> float:
    """Return how far the mean of all jobs' deviations goes from one course to the next."""
    means = [sum(drawn(job, number, seen) for job in jobs) / len(jobs) for number in range(32)]
    return max(means) - min(means)


def test_jobs_of_one_kind_deviate_together_the_less_the_more_of_it_was_seen() -> None:
    jobs = [a_job(f"j-{number}", at=NOW + 3600.0 * number) for number in range(200)]
    assert spread(jobs, 500.0) < 0.4 * spread(jobs, 0.0)


def test_a_burst_of_equal_jobs_is_long_or_short_as_a_whole_whatever_was_seen() -> None:
    burst = [a_job(f"j-{number}", at=NOW - NOW % 600.0 + 0.1 * number) for number in range(200)]
    apart = [a_job(f"j-{number}", at=NOW + 3600.0 * number) for number in range(200)]
    sizes = [a_job(f"j-{number}", at=NOW - NOW % 600.0, gpus=1 + number) for number in range(200)]
    for seen in (0.0, 100.0):
        assert spread(burst, seen) > 1.3 * spread(apart, seen)
        assert spread(burst, seen) > 1.3 * spread(sizes, seen)
    assert spread(burst, 0.0) > 0.8 > spread(burst, 500.0) > 0.4


def test_each_job_of_a_burst_still_has_all_quantiles_of_its_runtime() -> None:
    for seen in (0.0, 5.0, 1e6):
        parts = sorted(drawn(a_job("j-1"), number, seen) for number in range(400))
        assert all(abs(part - (at + 0.5) / 400) < 0.06 for at, part in enumerate(parts))


def test_what_runs_is_drawn_given_how_long_it_has_run() -> None:
    distribution = Distribution(lognormal(100.0, 0.5))
    long = sampled(distribution, running("j-0", 400.0), NOW, 0.5)
    assert 0 < long < 200.0
    assert sampled(distribution, a_job("j-1"), NOW, 0.5) == distribution.quantile(0.5)


@settings(max_examples=examples(30))
@given(st.lists(st.tuples(st.sampled_from(["bronze", "silver", "gold", None]), st.integers(1, 2)), max_size=12))
def test_everyone_who_can_ever_start_does_and_p90_is_not_before_p50(shapes: list[tuple[str | None, int]]) -> None:
    jobs = tuple(
        a_job(f"j-{n}", gpus=1 if tier != "bronze" else gpus, tier=tier, at=NOW + n)
        for n, (tier, gpus) in enumerate(shapes)
    )
    distribution = Distribution(lognormal(300.0, 1.0))
    present = Present(NOW + 100, a_platform(), jobs)
    courses = [course(present, lambda job, part: sampled(distribution, job, NOW, part), k) for k in range(5)]
    found = etas(NOW, courses, [job.id for job in jobs])
    assert len(found) == len(jobs)
    for eta in found.values():
        assert eta.p50_s is not None
        assert eta.p90_s is not None
        assert 0 <= eta.p50_s <= eta.p90_s


def issued(number: int, p50_s: float, p90_s: float, at: float = NOW) -> Issued:
    return Issued(f"j-{number}", 0, at, p50_s, p90_s, p50_s, p90_s)


def test_with_nothing_on_record_an_estimate_is_left_as_it_is() -> None:
    shown = Record().corrected(Eta(NOW, 1000.0, 2000.0))
    assert shown.p50_s is not None
    assert shown.p90_s is not None
    assert shown.p50_s == 1000.0
    assert shown.p90_s == 2000.0


def test_a_job_gets_its_first_estimate_at_once_and_more_at_fixed_ages() -> None:
    record = Record()
    assert record.due("j-1", 0.0) == 0
    record.issue(issued(1, 100.0, 200.0))
    assert record.due("j-1", AGES_S[1] - 1) is None
    assert record.due("j-1", AGES_S[1]) == 1


def _varied(seconds: float) -> Remaining:
    runs = Distribution(lognormal(seconds, 1.0))
    return lambda job, part: sampled(runs, job, NOW, part)


def test_futures_moved_from_few_decided_ones_say_about_the_same_as_decided_ones() -> None:
    jobs = (running("j-0", 10.0), *(a_job(f"w-{number:03}", at=NOW - 900 + number) for number in range(120)))
    present, ids = Present(NOW, a_platform(), jobs), [f"w-{number:03}" for number in range(20, 120)]
    decided = etas(NOW, [course(present, _varied(900.0), number) for number in range(16)], ids)
    moved = etas(NOW, courses(present, _varied(900.0), more=lambda done: done < 3), ids)
    for part in ("p50_s", "p90_s"):
        off = sorted(getattr(moved[one], part) / getattr(decided[one], part) for one in ids)
        assert 0.8 < off[len(off) // 2] < 1.25
        assert off[2] > 0.5
        assert off[-3] < 2.0


def test_with_runtimes_known_a_replay_begins_jobs_when_the_decisions_do() -> None:
    jobs = (running("j-0", 10.0), *(a_job(f"w-{number:03}", at=NOW - 900 + number) for number in range(60)))
    found = courses(Present(NOW, a_platform(), jobs), exactly(600.0), count=8, more=lambda done: done < 2)
    assert len(found) == 8
    for known in found[1:]:
        assert all(abs(start.in_s - found[0].starts[one].in_s) < 1.0 for one, start in known.starts.items())


def test_a_replay_lets_jobs_that_must_stand_together_wait_for_a_rack() -> None:
    nodes = [replace(a_node(f"n{i}", "gold"), labels={"rack": one}) for i, one in enumerate("abb")]
    platform = replace(a_platform(a_lab(*nodes)), topology=("rack",))
    busy = Lease("lab", "n2", "gold", (GpuShare(0),))
    long = a_job("long", phase=Phase.RUNNING, lease=busy, began_at=NOW)
    lease = Lease("lab", "n1", "gold", (GpuShare(0),), 0.0, (NodeShare("n2", (GpuShare(0),)),))
    for level, begins in ((None, 0.0), ("rack", 500.0)):
        gang = replace(a_job("gang"), request=Request(2000, "gold", nodes=2, required_topology=level))
        known = Replay(platform, [long], [Begun(gang, 0.0, lease)], {("vision", "gold"): 3000})
        assert known.starts(lambda _job: 500.0) == [begins]


def test_a_quota_smaller_than_the_smallest_part_of_a_replay_holds_one_job_at_a_time() -> None:
    part = replace(a_job("small"), request=Request(30, "gold"))
    lease = Lease("lab", "n3", "gold", (GpuShare(0, 30),))
    known = Replay(a_platform(), [], [Begun(part, 0.0, lease)] * 2, {("vision", "gold"): 30})
    assert known.starts(lambda _job: 500.0) == [0.0, 500.0]


def test_a_reservation_that_nobody_uses_is_released_in_the_future_too() -> None:
    kept = Reservation("r-1", "speech", "gold", 1000, NOW - 10, NOW + 7200, "root", NOW - 60, grace_s=900.0)
    jobs = (a_job("j-1"),)
    present = Present(NOW, a_platform(), jobs, bounds=Bounds(reservations=(kept,)))
    assert course(present, exactly(60.0), 0, grain=0.001).starts["j-1"].in_s == 890.0
    used = Present(NOW, a_platform(), (a_job("j-1"), a_job("own", team="speech")), bounds=present.bounds)
    assert course(used, exactly(60.0), 0, grain=0.001).starts["j-1"].in_s == 7200.0
