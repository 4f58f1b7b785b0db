"""What holds after every cycle: quota is kept, usage is what the admitted hold, and nobody is lost."""

from hypothesis import given
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
        assert node.account(CPU).free() >= min(0, before[name])
    team, team_again = snapshot.cohorts["team"], again.cohorts["team"]
    assert team.usage.get(CPU, 0) == team_again.usage.get(CPU, 0)
    for entry in result.entries:
        assert entry.status == ASSUMED or entry.message
        assert not (entry.status == ASSUMED and entry.preempting)
