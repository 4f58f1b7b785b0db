"""What holds of victims in whatever tree of cohorts: they suffice, none is superfluous, and policies allow each."""

from hypothesis import given
from hypothesis import strategies as st

from dure.core.queueing.kueue.assignment import PREEMPT
from dure.core.queueing.kueue.candidates import Attack, satisfies
from dure.core.queueing.kueue.classical import classical_targets, futile
from dure.core.queueing.kueue.memory import Memory
from dure.core.queueing.kueue.nomination import Nominator
from dure.core.queueing.kueue.objects import Cohort, Preemption, Quota, Settings
from dure.core.queueing.kueue.preemption import requests_for
from tests.core.kueue.world import CPU, a_queue, a_snapshot, a_workload, running, waiting

PLACES = {"a": "left", "b": "left", "c": "right", "d": "root", "e": None}
COHORTS = ("left", "right", "root")
LIMIT = st.none() | st.integers(0, 8)
JOBS = st.lists(st.tuples(st.sampled_from([*PLACES]), st.integers(1, 6), st.integers(0, 3)), min_size=3, max_size=9)
POLICIES = st.builds(
    Preemption,
    st.sampled_from(["Never", "LowerPriority", "LowerOrNewerEqualPriority"]),
    st.sampled_from(["Never", "LowerPriority", "Any"]),
    st.sampled_from([None, "Never", "LowerPriority"]),
    st.none() | st.integers(0, 2),
)
QUOTAS = st.tuples(st.integers(0, 8), LIMIT, LIMIT)


def the_world(policies, quotas, of_cohorts, jobs):
    """Return a snapshot of a tree of three cohorts; a queue on its own can neither borrow nor lend."""
    queues = []
    for (name, cohort), policy, (own, borrowing, lending) in zip(PLACES.items(), policies, quotas, strict=True):
        limits = {"borrowing": borrowing, "lending": lending} if cohort else {}
        queues.append(a_queue(name, own, cohort=cohort, preemption=policy, **limits))
    cohorts = [
        Cohort(name, "root" if name != "root" else None, quotas={CPU: Quota(own)})
        for name, own in zip(COHORTS, of_cohorts, strict=True)
    ]
    infos = [running(a_workload(f"r{i}", cpu, priority=p), name, at_ns=i) for i, (name, cpu, p) in enumerate(jobs)]
    return a_snapshot(*queues, cohorts=cohorts, infos=infos)


WORLDS = st.builds(
    the_world, st.tuples(*[POLICIES] * 5), st.tuples(*[QUOTAS] * 5), st.tuples(*[st.integers(0, 6)] * 3), JOBS
)


@given(
    snapshot=WORLDS,
    head=st.tuples(st.sampled_from([*PLACES]), st.integers(1, 8), st.integers(0, 3)),
    fair=st.booleans(),
)
def test_victims_suffice_and_each_is_needed(snapshot, head, fair):
    name, cpu, priority = head
    info = waiting(a_workload("head", cpu, priority=priority, created_ns=1), name)
    settings = Settings(fair_sharing=fair)
    queue = snapshot.queues[name]
    before = {node.name: node.account(CPU).free() for node in snapshot.queues.values()}

    nominator = Nominator(snapshot, settings, 10**12, 1, Memory())
    assignment, targets = nominator.nominate(info, queue)

    assert before == {node.name: node.account(CPU).free() for node in snapshot.queues.values()}
    assert not targets or assignment.mode == PREEMPT
    needs = requests_for(info, assignment)
    attack = Attack(info, queue, snapshot, needs, frozenset(needs), settings, 10**12)
    if assignment.mode == PREEMPT and not fair and futile(queue, info, needs):
        assert not classical_targets(attack)
    if not targets:
        return
    victims = [target.info for target in targets]
    for victim in victims:
        policy = queue.spec.preemption
        own = victim.queue == name
        assert satisfies(policy.within_queue if own else policy.reclaim, info, victim, settings)
        snapshot.remove(victim)
    assert any(_needed(attack, victims, borrowing=borrowing) for borrowing in (True, False))


def _needed(attack, victims, *, borrowing):
    """Return whether the preemptor fits, and would not if any one victim stayed."""
    if not attack.fits(borrowing=borrowing):
        return False
    for victim in victims:
        attack.snapshot.insert(victim)
        fits = attack.fits(borrowing=borrowing)
        attack.snapshot.remove(victim)
        if fits:
            return False
    return True
