"""What `dure init` writes: it parses back without a problem, says what is simulated, and never overwrites."""

import sys
from pathlib import Path

import pytest

from dure.adapters.gpus import FoundGpu, find_gpus
from dure.adapters.platform_file import PlatformFileError, initial_text, load, write_initial
from dure.adapters.platform_template import tier_of
from dure.core.model import ClusterKind

GIB = 1024**3


def gpu(index: int, model: str, gib: int) -> FoundGpu:
    return FoundGpu(index, model, gib * GIB, f"GPU-0000000{index}-aaaa-bbbb-cccc-dddddddddddd")


MIXED = [gpu(0, "NVIDIA A100-SXM4-80GB", 80), gpu(1, "Tesla V100-PCIE-32GB", 32), gpu(2, "NVIDIA A100-SXM4-80GB", 80)]


def loaded(tmp_path: Path, gpus, user="alice"):
    path = tmp_path / "state" / "platform.yaml"
    write_initial(path, gpus, user)
    return load(path)


def test_without_gpus_all_are_simulated_and_say_so(tmp_path):
    platform = loaded(tmp_path, [])
    lab, cloud = platform.clusters
    assert (lab.name, lab.kind) == ("lab", ClusterKind.PRIVATE)
    assert {node.tier: node.gpus for node in lab.nodes} == {"bronze": 2, "silver": 1, "gold": 1}
    assert (cloud.name, cloud.kind, cloud.provision_s) == ("cloud", ClusterKind.PUBLIC, 3)
    assert {node.tier: node.gpus for node in cloud.nodes} == {"gold": 2}
    assert cloud.prices["gold"] > 0
    assert all(node.simulated and node.model == "simulated" for c in platform.clusters for node in c.nodes)
    assert initial_text([], "alice").count("SIMULATED") == 2


def test_the_defaults_let_a_single_person_start(tmp_path):
    platform = loaded(tmp_path, [])
    assert platform.admins == ("alice",)
    assert platform.teams_of("anybody") == ("lab",)
    assert platform.currency == "KRW"
    assert [(p.name, p.value) for p in platform.priorities] == [("high", 100), ("normal", 0), ("low", -100)]
    assert {d.name: d.may_leave for d in platform.data_classes} == {"open": True, "private": False}
    assert platform.environments[0].python == sys.executable
    assert {"numpy", "matplotlib.pyplot"} <= set(platform.environments[0].preimports)
    assert platform.burst.rule == "proportional"


def test_found_gpus_become_nodes_of_one_model_each(tmp_path):
    platform = loaded(tmp_path, MIXED)
    lab = platform.clusters[0]
    assert [(node.tier, node.gpus, node.model) for node in lab.nodes] == [
        ("gold", 2, "NVIDIA A100-SXM4-80GB"),
        ("silver", 1, "Tesla V100-PCIE-32GB"),
    ]
    assert lab.nodes[0].uuids == (MIXED[0].uuid, MIXED[2].uuid)
    assert lab.nodes[0].gpu_memory_bytes == 80 * GIB
    assert not any(node.simulated for node in lab.nodes)
    assert all(node.simulated for node in platform.clusters[1].nodes)


@pytest.mark.parametrize(
    ("gib", "tier"), [(11, "bronze"), (12, "bronze"), (16, "silver"), (24, "silver"), (40, "gold")]
)
def test_tiers_go_by_memory(gib, tier):
    assert tier_of(gpu(0, "x", gib)) == tier


@pytest.mark.parametrize("user", ["al ice", "", "root$"])
def test_an_account_name_that_nobody_can_sign_in_with_is_left_out(tmp_path, user):
    assert loaded(tmp_path, [], user).admins == ()


def test_odd_names_do_not_break_the_text(tmp_path):
    assert loaded(tmp_path, [gpu(0, 'Quadro "RTX": #8000 é', 48)]).clusters[0].nodes[0].model == 'Quadro "RTX": #8000 é'


def test_a_file_that_is_there_is_left_as_it_is(tmp_path):
    path = tmp_path / "platform.yaml"
    path.write_text("mine")
    with pytest.raises(PlatformFileError, match="left as it is"):
        write_initial(path, [], "alice")
    assert path.read_text() == "mine"


def test_every_section_is_explained_and_lines_are_short():
    text = initial_text([], "alice")
    lines = text.splitlines()
    for number, line in enumerate(lines):
        assert len(line) <= 120
        if line[:1].isalpha() and line.endswith(":"):
            assert lines[number - 1].startswith("#"), line


def test_looking_for_gpus_never_fails():
    assert all(isinstance(found, FoundGpu) for found in find_gpus())


@pytest.mark.gpu
def test_real_gpus_have_a_model_memory_and_uuid():
    found = find_gpus()
    if not found:
        pytest.skip("this machine has no NVIDIA GPU")
    assert all(each.model and each.memory_bytes > 0 and each.uuid.startswith("GPU-") for each in found)
