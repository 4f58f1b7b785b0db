"""Where a job that waits can start soonest: nodes are passed over only when none of them could be sooner."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from dure.core.model import Phase
from dure.core.queueing.books import Books
from dure.core.queueing.holds import Ends, soonest
from tests.core.builders import NOW, a_job, a_lab, a_node, a_platform, running

GPUS = 4
HELD = st.lists(
    st.tuples(
        st.integers(0, 3), st.integers(0, GPUS - 1), st.integers(-300, 0),
        st.sampled_from([None, 5.0, 60.0, 299.0, 500.0]),
        st.sampled_from(["stays", "stays", "stays", "leaving", "asked", "starting"]),
    ),
    max_size=14,
    unique_by=lambda held: held[:2],
)  # fmt: skip


@given(HELD, st.integers(1, GPUS), st.integers(1, 3))
def test_passing_nodes_over_finds_what_looking_at_all_finds(held, gpus, nodes):
    platform = a_platform(a_lab(*(a_node(f"n{i}", "gold", GPUS) for i in range(4))))
    books, ends = Books(platform), Ends(platform, NOW)
    for number, (node, gpu, began, predicted_s, state) in enumerate(held):
        job = running(a_job(f"j-{number}", predicted_s=predicted_s), "lab", f"n{node}", gpu)
        job = replace(job, began_at=NOW + began, admitted_at=NOW + began)
        if state == "starting":
            job = replace(job, phase=Phase.ADMITTED, began_at=None)
        books.put(replace(job, preempted_by="other") if state == "asked" else job)
        if state == "leaving":
            ends.leave(job.id)
    shelf = books.private["gold"]
    asked = a_job("waits", gpus=gpus * nodes)
    asked = replace(asked, request=replace(asked.request, nodes=nodes))
    found = soonest(shelf, asked, books.on_node, ends)
    each = [(soonest([node], single(asked), books.on_node, ends), order, node) for order, node in enumerate(shelf)]
    ordered = sorted((one[1], order, node.name) for one, order, node in each if one is not None)
    assert found is not None
    assert [node.name for node in found[0]] == [name for _, _, name in ordered[:nodes]]
    assert found[1] == ordered[nodes - 1][0]


def single(job):
    """The part of a gang that one node gives."""
    return replace(job, request=replace(job.request, gpus_milli=job.request.node_milli, nodes=1))
