"""A cell goes where its values lie already, when that costs nobody anything."""

from dataclasses import replace

import pytest

from dure.core.model import Phase
from dure.core.queueing.decide import Decider, decide
from dure.core.queueing.warm import DIGESTS_PER_NODE, Warm
from tests.core.builders import NOW, a_job, a_lab, a_node, a_platform, a_snapshot, placed, running

TWINS = a_platform(a_lab(a_node("n1", "gold"), a_node("n2", "gold")))


def ended(job):
    return replace(job, phase=Phase.SUCCEEDED, ended_at=NOW)


def after(decider, *jobs):
    for job in jobs:
        decider.put(job)
    return {job: place[1] for job, place in placed(decider.decide(NOW)).items()}


@pytest.mark.parametrize("node", ["n1", "n2"])
def test_the_next_cell_goes_to_the_node_of_the_last_one(node):
    decider = Decider(TWINS)
    first = running(a_job("first", inputs={"a": 100}), "lab", node, 0)
    decider.put(first)
    assert after(decider, ended(first), a_job("next", inputs={"a": 100, "new": 5})) == {"next": node}
    assert after(Decider(TWINS), a_job("next", inputs={"a": 100})) == {"next": "n1"}, "which is the first otherwise"


def test_the_next_cell_goes_where_the_last_one_wrote_what_it_reads():
    decider = Decider(TWINS)
    first = running(a_job("first"), "lab", "n2", 0)
    decider.put(first)
    wrote = replace(ended(first), result={"outputs": {"made": 100}})
    assert after(decider, wrote, a_job("next", inputs={"made": 100})) == {"next": "n2"}
    assert after(decider, a_job("other", inputs={"else": 100})) == {"next": "n2", "other": "n1"}


def test_it_does_not_wait_for_that_node():
    decider = Decider(TWINS)
    first = running(a_job("first", inputs={"a": 100}), "lab", "n2", 0)
    assert after(decider, first, a_job("next", inputs={"a": 100})) == {"next": "n1"}


def test_most_bytes_count_and_not_most_blobs():
    decider = Decider(TWINS)
    many = running(a_job("many", inputs={"a": 1, "b": 1}), "lab", "n1", 0)
    large = running(a_job("large", inputs={"c": 100}), "lab", "n2", 0)
    for job in (many, large, ended(many)):
        decider.put(job)
    assert after(decider, ended(large), a_job("next", inputs={"a": 1, "b": 1, "c": 100})) == {"next": "n2"}


def test_a_cheaper_tier_stays_first():
    decider = Decider(a_platform(a_lab(a_node("n1", "bronze"), a_node("n2", "gold"))))
    first = running(a_job("first", inputs={"a": 100}), "lab", "n2", 0)
    decider.put(first)
    assert after(decider, ended(first), a_job("next", tier=None, inputs={"a": 100})) == {"next": "n1"}


def test_what_was_only_planned_is_not_remembered():
    decider = Decider(TWINS)
    assert after(decider, a_job("planned", inputs={"a": 100})) == {"planned": "n1"}
    assert decider.books.warm.on_node("lab", "n1", {"a": 100}) == 0


def test_memory_is_an_input_of_a_decision():
    warm = Warm()
    warm.learn(running(a_job("first", inputs={"a": 100}), "lab", "n2", 0))
    snapshot = a_snapshot(a_job("next", inputs={"a": 100}), platform=TWINS)
    assert placed(decide(replace(snapshot, warm=warm)))["next"][1] == "n2"
    assert placed(decide(snapshot))["next"][1] == "n1"


def test_a_node_remembers_the_digests_used_last_and_is_forgotten_when_it_leaves():
    warm = Warm()
    for number in range(DIGESTS_PER_NODE):
        warm.learn(running(a_job("j", inputs={f"{number}": 1}), "lab", "n2", 0))
    warm.learn(running(a_job("j", inputs={"0": 1, "more": 1}), "lab", "n2", 0))
    assert warm.on_node("lab", "n2", {"0": 10, "1": 100, "more": 1000}) == 1010
    warm.keep_only(a_platform(a_lab(a_node("n1", "gold"))))
    assert warm.on_node("lab", "n2", {"0": 10}) == 0
