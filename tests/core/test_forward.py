"""Simulated time around the production decisions: what happens, in which order, and that physics holds."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dure.core.model import BurstPolicy, Goal, Job, Phase, Promise, QueueingPolicy
from dure.core.queueing.decide import Decider
from dure.core.queueing.forward import Outage, Step, What, Work, World, forward
from dure.core.queueing.plan import Plan
from tests.core.builders import FLEX, NOW, a_cloud, a_job, a_lab, a_node, a_platform, running
from tests.examples import examples

ONE_GPU = a_platform(a_lab(a_node("n1", "gold", 1)))


def told(steps: Iterable[Step]) -> list[tuple[float, str, str]]:
    return [(step.at - NOW, step.what.value, step.job.id) for step in steps]


def run(platform=ONE_GPU, present=(), arrivals=(), world=None) -> list[Step]:
    return list(forward(Decider(platform), platform, NOW, present, arrivals, world=world))


def test_jobs_take_turns_on_one_gpu():
    steps = run(arrivals=[Work(a_job("a"), 10.0), Work(a_job("b", at=NOW + 1), 5.0)])
    assert told(steps) == [
        (0, "arrived", "a"), (0, "admitted", "a"), (0, "began", "a"), (1, "arrived", "b"),
        (10, "ended", "a"), (10, "admitted", "b"), (10, "began", "b"), (15, "ended", "b"),
    ]  # fmt: skip
    assert steps[-1].job.phase is Phase.SUCCEEDED
    assert steps[-1].job.waited_s == 9.0
    assert steps[-1].lease is not None


def test_a_job_that_runs_already_ends_after_what_is_left_of_it():
    held = running(a_job("held"), "lab", "n1", 0)
    steps = run(present=[Work(held, 30.0), Work(a_job("next"), 1.0)])
    assert told(steps)[:2] == [(30, "ended", "held"), (30, "admitted", "next")]
    assert steps[0].job.ran_s == 40.0


def test_who_must_go_is_gone_at_once_and_who_waits_for_it_begins():
    victim = replace(running(a_job("victim"), "lab", "n1", 0), preempted_by="waits")
    waits = a_job("waits", promise=Promise("lab", "gold", ("n1",), ("victim",), NOW + 120))
    steps = run(present=[Work(victim, 30.0), Work(waits, 5.0)])
    assert told(steps) == [
        (0, "preempted", "victim"), (0, "admitted", "waits"), (0, "began", "waits"), (5, "ended", "waits"),
        (5, "admitted", "victim"), (5, "began", "victim"), (35, "ended", "victim"),
    ]  # fmt: skip
    cancelled = replace(running(a_job("cancelled"), "lab", "n1", 0), goal=Goal.CANCEL)
    steps = run(present=[Work(cancelled, 30.0), Work(a_job("waits"), 5.0)])
    assert told(steps)[:2] == [(0, "ended", "cancelled"), (0, "admitted", "waits")]


def test_at_one_instant_ends_come_before_arrivals_and_one_decision():
    first, other = a_job("first"), a_job("late", at=NOW + 10)
    steps = run(arrivals=[Work(first, 10.0), Work(other, 1.0)])
    assert told(steps)[3:5] == [(10, "ended", "first"), (10, "arrived", "late")]
    assert told(steps)[5] == (10, "admitted", "late")


def test_a_cloud_takes_its_time_and_is_paid_for_it():
    platform = a_platform(a_lab(a_node("n1", "gold", 1)), a_cloud(2), burst=BurstPolicy(rule="fixed", wait_s=60.0))
    jobs = [Work(a_job("a-stays"), 1000.0), Work(a_job("b-leaves", budget=FLEX), 100.0)]
    steps = run(platform, arrivals=jobs)
    assert told(steps)[4:] == [
        (60, "admitted", "b-leaves"), (63, "began", "b-leaves"), (163, "ended", "b-leaves"), (1000, "ended", "a-stays"),
    ]  # fmt: skip
    admitted = next(step for step in steps if step.what is What.ADMITTED and step.job.id == "b-leaves")
    assert admitted.burst is not None
    assert admitted.burst["allowed_wait_s"] == 60.0
    assert steps[-2].job.cost == pytest.approx(103.0)


def test_a_time_limit_ends_a_job_that_runs_longer():
    steps = run(arrivals=[Work(a_job("a-exact", timeout_s=5.0), 5.0), Work(a_job("b-long", timeout_s=20.0), 100.0)])
    ends = {step.job.id: (step.at - NOW, step.job.phase) for step in steps if step.what is What.ENDED}
    assert ends == {"a-exact": (5, Phase.SUCCEEDED), "b-long": (25, Phase.FAILED)}


@pytest.mark.parametrize(
    ("checkpoint_s", "ends_at"), [(None, 50 + 100), (0.0, 50 + 100 - 25), (10.0, 50 + 100 - 20)]
)  # fmt: skip
def test_a_lost_node_loses_what_lies_after_the_last_checkpoint(checkpoint_s, ends_at):
    outage = Outage(NOW + 25, NOW + 50, "lab", "n1")
    steps = run(arrivals=[Work(a_job("a"), 100.0, checkpoint_s)], world=World(outages=(outage,)))
    assert told(steps)[3:] == [
        (25, "lost", "a"), (50, "admitted", "a"), (50, "began", "a"), (ends_at, "ended", "a"),
    ]  # fmt: skip
    assert steps[-1].job.losses == 1


@pytest.mark.parametrize(("checkpoint_s", "leaves"), [(None, "late"), (0.0, "early"), (10.0, "early"), (40.0, "late")])
def test_who_loses_least_since_a_checkpoint_is_preempted(checkpoint_s, leaves):
    policy = QueueingPolicy(within_cluster_queue="LowerPriority")
    platform = a_platform(a_lab(a_node("n1", "gold", 2)), queueing=policy)
    urgent = a_job("urgent", at=NOW + 35, priority="high", priority_value=100)
    jobs = [Work(a_job("early"), 100.0, checkpoint_s), Work(a_job("late", at=NOW + 20), 100.0), Work(urgent, 10.0)]
    steps = told(run(platform, arrivals=jobs))
    assert [step for step in steps if step[1] == "preempted"] == [(35, "preempted", leaves)]
    kept_s = {"early": {0.0: 35, 10.0: 30}.get(checkpoint_s, 0)}.get(leaves, 0)
    assert (45 + 100 - kept_s, "ended", leaves) in steps


def test_nothing_new_is_placed_on_a_cluster_that_does_not_answer():
    outage = Outage(NOW, NOW + 40, "lab")
    assert told(run(arrivals=[Work(a_job("a"), 5.0)], world=World(outages=(outage,))))[1] == (40, "admitted", "a")


def test_money_spent_counts_until_the_month_turns():
    seen: list[tuple[float, Mapping[str, float]]] = []

    class Spy(Decider):
        def decide(self, now, spent=None, unavailable=frozenset(), used=None) -> Plan:
            seen.append((now - NOW, dict(spent or {})))
            return super().decide(now, spent, unavailable, used)

    platform = a_platform(a_cloud(1))
    jobs = [Work(a_job(name, budget=FLEX, at=NOW + at), 7.0) for name, at in (("a", 0), ("b", 20), ("c", 50))]
    world = World(spent={"vision": 5.0}, month_start=lambda now: float(now >= NOW + 40))
    list(forward(Spy(platform), platform, NOW, (), jobs, world=world))
    assert seen == [(0, {"vision": 5.0}), (20, {"vision": 15.0}), (50, {})]  # none while nothing waits


def test_arrivals_out_of_order_are_refused():
    with pytest.raises(ValueError, match="sort arrivals"):
        run(arrivals=[Work(a_job("b", at=NOW + 5), 1.0), Work(a_job("a", at=NOW), 1.0)])


def test_what_can_never_run_is_never_admitted_and_stops_nothing():
    steps = run(arrivals=[Work(a_job("huge", gpus=64), 1.0), Work(a_job("small"), 1.0)])
    assert [step.job.id for step in steps if step.what is What.ENDED] == ["small"]


jobs_drawn = st.lists(
    st.tuples(st.integers(0, 50), st.integers(1, 40), st.sampled_from([250, 500, 1000, 2000]), st.booleans()),
    max_size=25,
)


@settings(max_examples=examples(60))
@given(drawn=jobs_drawn, outages=st.lists(st.tuples(st.integers(0, 60), st.integers(1, 20)), max_size=2))
def test_no_gpu_is_given_twice_and_every_job_ends(drawn, outages):
    platform = a_platform(a_lab(a_node("n1", "gold", 2), a_node("n2", "gold", 2)), a_cloud(2))
    works = [
        Work(a_job(f"j-{i}", gpus=milli / 1000, at=NOW + at, budget=FLEX, burstable=leaves), float(run_s))
        for i, (at, run_s, milli, leaves) in enumerate(sorted(drawn))
    ]
    away = tuple(Outage(NOW + at, NOW + at + lasts, "lab", f"n{i + 1}") for i, (at, lasts) in enumerate(outages))
    steps = run(platform, arrivals=works, world=World(outages=away))
    assert steps == run(platform, arrivals=works, world=World(outages=away))
    free: dict[tuple[str, str, int], int] = {}
    for step in steps:
        sign = {What.ADMITTED: -1, What.ENDED: 1, What.PREEMPTED: 1, What.LOST: 1}.get(step.what, 0)
        if step.lease is None or sign == 0:
            continue
        for gpu in step.lease.gpus:
            at = (step.lease.cluster, step.lease.node, gpu.index)
            free[at] = free.get(at, 1000) + sign * gpu.share_milli
            assert 0 <= free[at] <= 1000
    assert {step.job.id for step in steps if step.what is What.ENDED} == {work.job.id for work in works}


def test_jobs_are_values_that_lifecycle_made(monkeypatch):
    steps = run(arrivals=[Work(a_job("a"), 1.0)])
    jobs: list[Job] = [step.job for step in steps]
    assert [job.version for job in jobs] == [0, 1, 3, 4]


def test_past_use_is_counted_fades_and_is_told_to_the_decider():
    seen: list[tuple[float, dict]] = []

    class Spy(Decider):
        def decide(self, now, spent=None, unavailable=frozenset(), used=None) -> Plan:
            seen.append((now - NOW, dict(used or {})))
            return super().decide(now, spent, unavailable, used)

    platform = replace(ONE_GPU, queueing=QueueingPolicy(half_life_s=100.0))
    jobs = [Work(a_job("a"), 50.0), Work(a_job("b", at=NOW + 150), 1.0)]
    world = World(used={("vision", "bob"): 8.0})
    list(forward(Spy(platform), platform, NOW, (), jobs, world=world))
    by_time = dict(seen)
    assert by_time[0] == {("vision", "bob"): 8.0}
    assert by_time[150] == {("vision", "bob"): pytest.approx(8 / 2**1.5), ("vision", "alice"): pytest.approx(25.0)}


def test_few_decisions_make_no_gpu_idle_what_was_free_in_between_is_used_from_then_on():
    jobs = [Work(a_job(f"j-{number}", at=NOW + number), 10.0) for number in range(6)]
    asked: list[float] = []

    def pace(now: float) -> float:
        later = -(-(now - NOW) // 15.0) * 15.0 + NOW
        asked.append(later)
        return later

    steps = list(forward(Decider(ONE_GPU), ONE_GPU, NOW, (), jobs, pace=pace))
    began = {step.job.id: step.at - NOW for step in steps if step.what is What.BEGAN}
    assert began == {f"j-{number}": 10.0 * number for number in range(6)}
    assert all(step.job.ran_s == 10.0 for step in steps if step.what is What.ENDED)
    assert set(asked) <= {NOW + 15.0 * number for number in range(10)}


def test_with_few_decisions_a_job_never_begins_before_it_came():
    jobs = [Work(a_job("early"), 10.0), Work(a_job("late", at=NOW + 25.0), 10.0)]
    steps = forward(
        Decider(ONE_GPU), ONE_GPU, NOW, (), jobs, pace=lambda now: NOW if now == NOW else max(now, NOW + 60)
    )
    began = {step.job.id: step.at - NOW for step in steps if step.what is What.BEGAN}
    assert began == {"early": 0.0, "late": 25.0}


def test_without_explanations_the_same_happens():
    platform = a_platform(a_lab(a_node("n1", "gold", 2)), a_cloud(1))
    jobs = [Work(a_job(f"j{i}", at=NOW + i, budget=FLEX), 9.0 + i) for i in range(6)]
    quiet = list(forward(Decider(platform, explains=False), platform, NOW, (), jobs))
    assert quiet == run(platform, arrivals=jobs)
    assert not Decider(platform, explains=False).decide(NOW).verdicts
