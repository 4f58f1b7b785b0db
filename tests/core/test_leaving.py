"""What is remembered of who could leave stays small, however many kinds of jobs ask."""

from dure.core.model import QueueingPolicy
from dure.core.queueing import leaving
from dure.core.queueing.decide import Decider
from tests.core.builders import NOW, a_job, a_lab, a_node, a_platform, placed, running


def test_so_many_copies_of_nodes_are_kept_and_no_more(monkeypatch):
    policy = QueueingPolicy(within_cluster_queue="LowerPriority")
    nodes = [a_node(f"n{i}", "gold") for i in range(4)]
    decider = Decider(a_platform(a_lab(*nodes), queueing=policy))
    for i in range(4):
        decider.put(running(a_job(f"r-{i}", priority_value=50), "lab", f"n{i}", 0))
    for i in range(40):
        decider.put(a_job(f"j-{i:02}", priority_value=i, user=f"u{i}"))
    monkeypatch.setattr(leaving, "_NODES_KEPT", 12)
    assert placed(decider.decide(NOW)) == {}
    for i in range(40):
        decider.kept.leaving.would_fit(a_job(priority_value=i), "gold", 0)
    kept = sum(len(copies) for _, copies in decider.kept.leaving._without.values())
    assert 0 < kept <= 12 + len(nodes)
