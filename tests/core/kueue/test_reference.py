"""The accounts give what the plain arithmetic gives, for any tree and any sequence of usage; shares follow weights."""

from hypothesis import given
from hypothesis import strategies as st

from dure.core.queueing.kueue.objects import ClusterQueue, Cohort, Flavor, Quota, ResourceGroup
from dure.core.queueing.kueue.snapshot import build
from tests.core.kueue.reference import Plain
from tests.core.kueue.world import CPU, a_queue, a_snapshot

LIMIT = st.none() | st.integers(0, 20)
QUOTAS = st.builds(Quota, st.integers(0, 20), LIMIT, LIMIT)
GROUPS = (ResourceGroup(frozenset({"cpu"}), ("default",)),)


@given(
    parents=st.lists(st.integers(-1, 3), min_size=1, max_size=4),
    cohort_quotas=st.lists(QUOTAS, min_size=4, max_size=4),
    queues=st.lists(st.tuples(st.integers(0, 3), QUOTAS), min_size=1, max_size=5),
    changes=st.lists(st.tuples(st.integers(0, 4), st.integers(0, 25)), max_size=12),
)
def test_accounts_are_what_the_formulas_say(parents, cohort_quotas, queues, changes):
    above = [min(parent, index - 1) for index, parent in enumerate(parents)]
    nodes = [Plain(f"c{i}", cohort_quotas[i]) for i in range(len(above))]
    leaves = [Plain(f"q{i}", quota) for i, (_, quota) in enumerate(queues)]
    for index, parent in enumerate(above):
        if parent >= 0:
            nodes[index].parent = nodes[parent]
            nodes[parent].below.append(nodes[index])
    homes = [home % len(nodes) for home, _ in queues]
    for leaf, home in zip(leaves, homes, strict=True):
        leaf.parent = nodes[home]
        nodes[home].below.append(leaf)
    snapshot = build(
        [ClusterQueue(f"q{i}", f"c{home}", GROUPS, {CPU: queues[i][1]}) for i, home in enumerate(homes)],
        [
            Cohort(f"c{i}", f"c{parent}" if parent >= 0 else None, {CPU: cohort_quotas[i]})
            for i, parent in enumerate(above)
        ],
        [Flavor("default")],
    )
    for number, amount in changes:
        leaf = leaves[number % len(leaves)]
        node = snapshot.queues[leaf.name]
        if amount % 2 and leaf.own:
            node.give({CPU: min(amount, leaf.own)})
            leaf.own -= min(amount, leaf.own)
        else:
            node.take({CPU: amount})
            leaf.own += amount
        for plain in (*leaves, *nodes):
            found = snapshot.queues.get(plain.name) or snapshot.cohorts[plain.name]
            account = found.account(CPU)
            assert (account.usage, account.free(), account.ceiling, account.subtree) == (
                plain.usage(),
                plain.free(),
                plain.ceiling(),
                plain.subtree(),
            )


@given(used=st.integers(0, 60), own=st.integers(0, 20), light=st.integers(1, 9), more=st.integers(1, 9))
def test_a_heavier_queue_has_no_larger_share(used, own, light, more):
    shares = []
    for weight in (light, light + more):
        snapshot = a_snapshot(a_queue("own", own, weight=float(weight)), a_queue("other", 40))
        snapshot.queues["own"].take({CPU: used})
        shares.append(snapshot.queues["own"].share().weighted)
    assert shares[1] <= shares[0]


@given(before=st.integers(0, 40), more=st.integers(1, 20))
def test_who_uses_more_has_no_smaller_share(before, more):
    snapshot = a_snapshot(a_queue("own", 10), a_queue("other", 40))
    snapshot.queues["own"].take({CPU: before})
    first = snapshot.queues["own"].share().weighted
    snapshot.queues["own"].take({CPU: more})
    assert snapshot.queues["own"].share().weighted >= first
