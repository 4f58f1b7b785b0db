"""`dure render --to kueue`: what Kueue reads back is what the platform file says."""

from click.testing import CliRunner
from ruamel.yaml import YAML

from dure.adapters.platform_template import initial_text
from dure.core.queueing.compile import compiled
from dure.core.queueing.kueue.shapes import cohort_of, flavor_of, queue_of
from dure.core.queueing.render import kueue_documents
from dure.main.cli import render
from tests.core.builders import a_lab, a_node, a_platform, a_team


def test_documents_are_read_back_as_the_objects_in_whole_gpus():
    team = a_team("vision", {"gold": 3500})
    platform = a_platform(a_lab(a_node("n1", "gold", 4)), teams=[team])
    documents = kueue_documents(platform)
    [queue] = [queue_of(one) for one in documents if one["kind"] == "ClusterQueue"]
    quota = queue.quotas["gold", "nvidia.com/gpu"]
    assert (quota.nominal, quota.borrowing_limit, quota.lending_limit) == (0, 3, None)
    root = next(cohort_of(one) for one in documents if one["kind"] == "Cohort")
    assert root.quotas["gold", "nvidia.com/gpu"].nominal == 4
    flavors = [flavor_of(one) for one in documents if one["kind"] == "ResourceFlavor"]
    assert [one.name for one in flavors] == [one.name for one in compiled(platform).flavors]


def test_the_command_prints_yaml_that_kueue_knows(tmp_path):
    (tmp_path / "platform.yaml").write_text(initial_text([], "root"), encoding="utf-8")
    result = CliRunner().invoke(render, ["--to", "kueue", "--dir", str(tmp_path)])
    assert result.exit_code == 0, result.output
    documents = list(YAML(typ="safe", pure=True).load_all(result.output))
    kinds = [one["kind"] for one in documents]
    assert set(kinds) == {"ResourceFlavor", "Cohort", "ClusterQueue", "LocalQueue", "WorkloadPriorityClass"}
    assert all(one["apiVersion"].startswith("kueue.x-k8s.io/") for one in documents)


def test_without_a_platform_file_the_next_command_is_told(tmp_path):
    result = CliRunner().invoke(render, ["--to", "kueue", "--dir", str(tmp_path)])
    assert result.exit_code == 1
    assert "dure init" in result.output
