"""Every field of Kueue's custom resources is read, refused by name, or said to change no decision."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from dure.core.queueing.kueue import schema

SCHEMAS = Path(__file__).resolve().parents[4] / "shared" / "data" / "crds" / "kueue"
FILES = {
    "ResourceFlavor": "resourceflavors",
    "ClusterQueue": "clusterqueues",
    "Cohort": "cohorts",
    "LocalQueue": "localqueues",
}
# Of a Workload: what shapes.py reads, and what only controllers, other clusters or people use.
READ = {
    "spec": {"active", "podSets", "preemptionGates", "priority", "queueName"},
    "podSets": {"count", "minCount", "name", "template", "topologyRequest"},
    "topologyRequest": {
        "podSetGroupName",
        "podSetSliceRequiredTopology",
        "podSetSliceSize",
        "podsetSliceRequiredTopologyConstraints",
        "preferred",
        "required",
        "unconstrained",
    },
    "status": {
        "admission",
        "admissionChecks",
        "conditions",
        "preemptionGates",
        "reclaimablePods",
        "requeueState",
        "resourceRequests",
        "schedulingStats",
        "unhealthyNodes",
    },
    "podSetAssignments": {"count", "delayedTopologyRequest", "flavors", "name", "resourceUsage", "topologyAssignment"},
}
WITHOUT_EFFECT = {
    "spec": {"maximumExecutionTimeSeconds", "priorityClassRef", "priorityClassName", "priorityClassSource"},
    "podSets": set(),
    "topologyRequest": {"podIndexLabel", "subGroupCount", "subGroupIndexLabel"},
    "status": {
        "accumulatedPastExecutionTimeSeconds",
        "accumulatedPastExexcutionTimeSeconds",
        "clusterName",
        "nominatedClusterNames",
    },
    "podSetAssignments": set(),
}
absent = pytest.mark.skipif(not SCHEMAS.is_dir(), reason="Kueue's schemas are not beside the project")


def versions(name):
    document = yaml.safe_load((SCHEMAS / f"kueue.x-k8s.io_{name}.yaml").read_text())
    for version in document["spec"]["versions"]:
        yield version["name"], version["schema"]["openAPIV3Schema"]["properties"]


def unknown(properties: dict[str, Any], shape: Any, path: str) -> list[str]:
    """Return the fields and values of a schema that ours does not know."""
    found = []
    for key, one in properties.items():
        at = f"{path}.{key}"
        if not isinstance(shape, dict) or (key not in shape and "*" not in shape):
            found += [at] if isinstance(shape, dict) else []
            continue
        known = shape.get(key, shape.get("*"))
        if isinstance(known, tuple):
            found += [f"{at}={value}" for value in one.get("enum", ()) if value not in known]
        if "properties" in one:
            found += unknown(one["properties"], known, at)
        items = one.get("items", {})
        if "properties" in items:
            found += unknown(items["properties"], known[0] if isinstance(known, list) else known, at)
    return found


@absent
@pytest.mark.parametrize("kind", FILES)
def test_every_field_of_a_queueing_object_is_known(kind):
    for version, properties in versions(FILES[kind]):
        assert unknown(properties["spec"]["properties"], schema._SPECS[kind], f"{kind} {version}") == []


@absent
def test_every_field_of_a_workload_is_read_or_said_to_change_nothing():
    for version, properties in versions("workloads"):
        podset = properties["spec"]["properties"]["podSets"]["items"]["properties"]
        admission = properties["status"]["properties"]["admission"]["properties"]
        there = {
            "spec": properties["spec"]["properties"],
            "podSets": podset,
            "topologyRequest": podset["topologyRequest"]["properties"],
            "status": properties["status"]["properties"],
            "podSetAssignments": admission["podSetAssignments"]["items"]["properties"],
        }
        for part, fields in there.items():
            assert set(fields) <= READ[part] | WITHOUT_EFFECT[part], (version, part)
