"""What a part of a GPU is worth: said of the node that it lies on, or of the weakest that it may get."""

from dataclasses import replace

import pytest

from dure.core.isolation import isolation
from dure.core.model import Lease, Node, Request, Sharing
from dure.core.spoken_isolation import shared
from tests.core.builders import a_cloud, a_lab, a_platform

HALF = Request(500, "gold")
SLICED = Node("sliced", "gold", 1)
LIMITED = Node("limited", "gold", 1, gpu_memory_bytes=24_000_000_000, sharing=Sharing.MPS)
SIMULATED = Node("pretended", "gold", 1, simulated=True)


def on(*nodes, request=HALF, node=None):
    lease = Lease("lab", node, "gold", ()) if node else None
    return isolation(a_platform(a_lab(*nodes), a_cloud()), request, lease)


def test_whole_gpus_share_nothing():
    assert on(SLICED, request=Request(1000, "gold")) is None
    assert on(SLICED, request=Request(2000, "gold"), node="sliced") is None


def test_before_a_lease_it_is_the_weakest_that_the_tier_gives():
    assert on(LIMITED, SLICED)["sharing"] == "time-slice"
    assert on(LIMITED, SIMULATED)["sharing"] == "mps"
    assert on(SIMULATED)["sharing"] == "simulated"


def test_with_a_lease_it_is_that_of_its_node():
    assert on(LIMITED, SLICED, node="limited") == {"gpus_milli": 500, "sharing": "mps", "memory_bytes": 12_000_000_000}
    assert on(LIMITED, SLICED, node="sliced") == {"gpus_milli": 500, "sharing": "time-slice"}


def test_mps_without_known_memory_promises_none():
    assert "memory_bytes" not in on(replace(LIMITED, gpu_memory_bytes=None))


@pytest.mark.parametrize(
    ("told", "english", "korean"),
    [
        (
            {"gpus_milli": 500, "sharing": "time-slice"},
            "Half a GPU, time-sliced: no isolation of memory.",
            "GPU 절반, 시분할: 메모리가 격리되지 않습니다.",
        ),
        (
            {"gpus_milli": 250, "sharing": "mps", "memory_bytes": 6_000_000_000},
            "0.25 GPU, by MPS: its share of computing and at most 6 GB of memory, faults are shared.",
            "GPU 0.25개, MPS: 연산을 나누고 메모리는 6 GB까지이며 오류가 함께 퍼집니다.",
        ),
        (
            {"gpus_milli": 500, "sharing": "simulated"},
            "Half a GPU, simulated: nothing is really shared.",
            "GPU 절반, 시뮬레이션: 실제로 나누는 것은 없습니다.",
        ),
    ],
)
def test_it_is_said_in_both_languages(told, english, korean):
    assert shared(told, "en") == english
    assert shared(told, "ko") == korean


@pytest.mark.parametrize("sharing", list(Sharing))
def test_every_way_of_sharing_has_words(sharing):
    for lang in ("en", "ko"):
        assert sharing.value not in shared({"gpus_milli": 300, "sharing": sharing.value}, lang).split()
