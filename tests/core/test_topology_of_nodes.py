"""Jobs over several nodes that ask to stand together: required, preferred, and what is told when they cannot."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dure.core.model import Cluster, ClusterKind, Node, Request
from dure.core.placement import NodeState, Pool, has_room, most_together
from dure.core.platform import parse
from dure.core.queueing.decide import decide
from dure.core.queueing.render import kueue_documents, kueue_workload
from dure.core.sentences import verdict_sentence
from tests.core.builders import a_job, a_platform, a_snapshot, running


def node(name, *free):
    block, rack, _ = name.split("-")
    return NodeState("lab", name, "gold", 0.0, list(free), labels={"block": block, "rack": rack})


def placed(nodes, count, **asked):
    request = Request(count * 1000, nodes=count, **asked)
    found = Pool(nodes).place(request)
    assert (found is not None) == has_room(nodes, request)
    return None if found is None else sorted(each.name for each, _ in found)


ROOM = [
    *(node(f"b1-r1-{n}", 1000) for n in range(3)),
    *(node(f"b1-r2-{n}", 1000) for n in range(2)),
    *(node(f"b2-r3-{n}", 1000) for n in range(4)),
]


def test_a_required_rack_is_the_tightest_that_has_room_for_all():
    assert placed(ROOM, 2, required_topology="rack") == ["b1-r2-0", "b1-r2-1"]
    assert placed(ROOM, 3, required_topology="rack") == ["b1-r1-0", "b1-r1-1", "b1-r1-2"]
    assert placed(ROOM, 5, required_topology="rack") is None


def test_within_a_required_block_as_few_racks_as_can_be():
    assert placed(ROOM, 5, required_topology="block") == sorted(each.name for each in ROOM[:5])
    assert placed(ROOM, 4, required_topology="block") == [f"b2-r3-{n}" for n in range(4)]
    assert placed(ROOM, 6, required_topology="block") is None


def test_what_is_preferred_is_taken_where_it_can_be_and_else_as_near():
    assert placed(ROOM, 4, preferred_topology="rack") == [f"b2-r3-{n}" for n in range(4)]
    assert placed(ROOM, 5, preferred_topology="rack") == sorted(each.name for each in ROOM[:5]), "one block"
    first = sorted(each.name for each in ROOM if not each.name.startswith("b2"))
    assert placed(ROOM, 7, preferred_topology="rack") == [*first, "b2-r3-0", "b2-r3-1"]
    assert placed(ROOM, 10, preferred_topology="rack") is None


def test_racks_of_one_name_in_two_blocks_are_two():
    nodes = [node("b1-r1-0", 1000), node("b2-r1-0", 1000)]
    assert placed(nodes, 2, required_topology="rack") is None
    assert placed(nodes, 2, preferred_topology="rack") is not None


SOME = st.lists(
    st.tuples(st.sampled_from(["b1-r1", "b1-r2", "b2-r3", "b2-r4"]), st.sampled_from([0, 1000])), min_size=1, max_size=9
)


@given(SOME, st.integers(2, 5), st.sampled_from(["block", "rack"]))
def test_what_is_required_holds_and_what_is_preferred_never_costs_the_start(some, count, level):
    nodes = [node(f"{place}-{number}", free) for number, (place, free) in enumerate(some)]
    names = {each.name: each for each in nodes}
    required = placed(nodes, count, required_topology=level)
    together = most_together(nodes, Request(count * 1000, nodes=count, required_topology=level))
    assert (required is not None) == (together >= count)
    if required is not None:
        assert len({names[name].domain(level) for name in required}) == 1
    preferred = placed(nodes, count, preferred_topology=level)
    assert (preferred is None) == (placed(nodes, count) is None)
    if required is not None and preferred is not None:
        assert len({names[name].domain(level) for name in preferred}) == 1
    for found in (required, preferred):
        assert found is None or (len(set(found)) == count and all(names[name].whole_free for name in found))


def a_lab_of_racks():
    nodes = [Node(f"n{n}", "gold", 2, labels={"rack": f"r{n // 2}"}) for n in range(4)]
    return a_platform(Cluster("lab", ClusterKind.PRIVATE, tuple(nodes)), topology=("rack",))


def a_gang(job_id, count, **asked):
    return replace(a_job(job_id), request=Request(2000 * count, "gold", nodes=count, **asked))


def test_who_waits_for_a_rack_is_told_so_and_others_go_on():
    held = [running(a_job("j-1", gpus=2), "lab", "n0", 0, 1), running(a_job("j-2", gpus=2), "lab", "n2", 0, 1)]
    waits = a_gang("j-3", 2, required_topology="rack")
    plan = decide(a_snapshot(*held, waits, platform=a_lab_of_racks()))
    verdict = plan.verdicts["j-3"]
    assert verdict.code.value == "TopologyPlacementFailed"
    assert "are not free in one rack: 1 has so many free" in verdict_sentence(verdict, "en")
    assert "한 rack 안에" in verdict_sentence(verdict, "ko")
    apart = decide(
        a_snapshot(
            *held, replace(waits, request=replace(waits.request, required_topology=None)), platform=a_lab_of_racks()
        )
    )
    assert [share.node for share in apart.admissions[0].lease.shares] == ["n1", "n3"]


def test_more_than_a_rack_has_is_never_waited_for():
    plan = decide(a_snapshot(a_gang("j-1", 3, required_topology="rack"), platform=a_lab_of_racks()))
    verdict = plan.verdicts["j-1"]
    assert verdict.code.value == "ExceedsMaxQuota"
    assert "no rack has more than 2 of them" in verdict_sentence(verdict, "en")


def test_a_level_that_the_platform_no_longer_has_is_named():
    plan = decide(a_snapshot(a_gang("j-1", 2, preferred_topology="row"), platform=a_lab_of_racks()))
    assert "Topology level 'row' is no longer in platform.yaml; there are rack" in verdict_sentence(
        plan.verdicts["j-1"], "en"
    )


def test_kueue_gets_the_topology_and_what_each_job_asks_of_it():
    platform = a_lab_of_racks()
    documents = kueue_documents(platform)
    [topology] = [one for one in documents if one["kind"] == "Topology"]
    assert topology["spec"]["levels"] == [{"nodeLabel": "rack"}, {"nodeLabel": "kubernetes.io/hostname"}]
    [gold] = [one for one in documents if one["kind"] == "ResourceFlavor" and one["metadata"]["name"] == "gold"]
    assert gold["spec"]["topologyName"] == topology["metadata"]["name"]
    asked = {
        "required": {"required_topology": "rack"},
        "preferred": {"preferred_topology": "rack"},
        "unconstrained": {},
    }
    for kind, levels in asked.items():
        workload = kueue_workload(platform, a_gang("j-1", 2, **levels))
        assert workload is not None
        [pods] = workload["spec"]["podSets"]
        assert pods["count"] == 2
        assert pods["topologyRequest"] == {kind: next(iter(levels.values()), True)}
    assert kueue_workload(platform, a_job(gpus=0.5)) is None


def parsed(labels):
    document = {
        "tiers": [{"name": "gold"}],
        "topology": ["block", "rack"],
        "clusters": [{"name": "lab", "nodes": [{"name": "n1", "tier": "gold", "gpus": 1, "labels": labels}]}],
        "teams": [{"name": "vision", "members": ["*"]}],
        "environments": [{"name": "default", "python": "python3"}],
    }
    return parse(document)


@pytest.mark.parametrize(
    ("labels", "told"),
    [
        ({"block": "b"}, "it has no label rack, which topology names"),
        ({"block": "b", "rack": "r", "row": "x"}, "'row' is not a key here"),
        ({"block": "b", "rack": "two words"}, "a label's value"),
    ],
)
def test_a_label_that_is_missing_or_wrong_is_named(labels, told):
    problems = parsed(labels)
    assert isinstance(problems, tuple)
    assert told in " ".join(f"{one.wrong} {one.right}" for one in problems)


def test_a_node_says_where_it_stands():
    platform = parsed({"block": "b", "rack": "r"})
    assert not isinstance(platform, tuple), platform
    assert platform.clusters[0].nodes[0].labels == {"block": "b", "rack": "r"}
