"""What holds after every cycle: usage is what the admitted hold, nobody is lost, and quota is kept as soon as the
victims are gone: until then whoever fits beside their preemptor is counted together with them, as Kueue does it.
"""

from hypothesis import example, given
from hypothesis import strategies as st

from dure.core.queueing.kueue.entries import ASSUMED
from dure.core.queueing.kueue.objects import Preemption, Settings
from tests.core.kueue.world import CPU, a_queue, a_snapshot, a_workload, cycle, running, waiting

NAMES = ("a", "b", "c")
JOBS = st.lists(st.tuples(st.sampled_from(NAMES), st.integers(1, 6), st.integers(0, 3)), max_size=6)


@given(
    running_jobs=JOBS,
    heads=st.dictionaries(st.sampled_from(NAMES), st.tuples(st.integers(1, 12), st.integers(0, 3))),
    quotas=st.tuples(*[st.integers(0, 10)] * 3),
    lending=st.none() | st.integers(0, 10),
    fair=st.booleans(),
)
@example(  # c stops one of six for five; a is admitted into what is over while the victim still leaves
    running_jobs=[("a", 1, 0), ("a", 5, 0), ("a", 6, 0)],
    heads={"a": (1, 0), "b": (4, 0), "c": (5, 0)},
    quotas=(0, 6, 10),
    lending=None,
    fair=False,
)
def test_a_cycle_keeps_quota_and_books(running_jobs, heads, quotas, lending, fair):
    policy = Preemption("LowerPriority", "Any")
    queues = [a_queue(name, own, lending=lending, preemption=policy) for name, own in zip(NAMES, quotas, strict=True)]
    infos = [
        running(a_workload(f"r{i}", cpu, priority=p), name, at_ns=i) for i, (name, cpu, p) in enumerate(running_jobs)
    ]
    snapshot = a_snapshot(*queues, infos=infos)
    settings = Settings(fair_sharing=fair)
    entering = [waiting(a_workload(f"h-{name}", cpu, priority=p), name) for name, (cpu, p) in heads.items()]
    before = {name: node.account(CPU).free() for name, node in snapshot.queues.items()}

    result = cycle(snapshot, *entering, settings=settings)

    assert {entry.info.key for entry in result.entries} == {info.key for info in entering}
    held = [info for node in snapshot.queues.values() for info in node.workloads.values()]
    again = a_snapshot(*queues, infos=held)
    for name, node in snapshot.queues.items():
        assert node.usage.get(CPU, 0) == again.queues[name].usage.get(CPU, 0)
    team, team_again = snapshot.cohorts["team"], again.cohorts["team"]
    assert team.usage.get(CPU, 0) == team_again.usage.get(CPU, 0)
    for entry in result.entries:
        assert entry.status == ASSUMED or entry.message
        assert not (entry.status == ASSUMED and entry.preempting)
    for entry in result.entries:
        for target in entry.preempting:
            snapshot.remove(target.info)
        if entry.preempting:
            entry.node.take(entry.usage())
    for name, node in snapshot.queues.items():
        assert node.account(CPU).free() >= min(0, before[name])
