"""Cases that break the format: each is named with its place and the others are judged all the same."""

import gzip
import json
import random
from pathlib import Path

import pytest
from benchmarks.conformance.forms import malformed
from benchmarks.conformance.reading import Case, Part
from benchmarks.kueue_conformance import cases, judge, run

CASES = Path(__file__).resolve().parents[4] / "shared" / "data" / "kueue-cases"
QUEUE = {"metadata": {"name": "a"}, "spec": {"resourceGroups": [], "cohortName": "x"}}
GOOD = {"test": "TestIsPreferred", "case": "good", "tc": {}}


@pytest.mark.parametrize(
    ("document", "told"),
    [
        ({"clusterQueues": [QUEUE | {"spec": ["x"]}]}, "tc.clusterQueues[0].spec is ['x'], not an object"),
        ({"cq": {"spec": {"resourceGroups": [7]}}}, "tc.cq.spec.resourceGroups is [7], not a list of objects"),
        ({"wl": {"spec": {"podSets": [{"count": "3"}]}}}, "tc.wl.spec.podSets[0].count is '3', not a whole number"),
        ({"f": {"metadata": {"labels": {"zone": 7}}}}, "tc.f.metadata.labels.zone is 7, not a text"),
        ({"f": {"metadata": {"labels": {"count": "7", "spec": "x"}}}}, None),
        ({"workloads": "a table of another test may call its fields so", "count": "x"}, None),
        ({"cq": {"metadata": None, "spec": {"preemption": None, "priority": None}}}, None),
        (QUEUE, None),
    ],
)
def test_what_has_not_its_form_is_named_with_its_place(document, told):
    assert malformed(document) == told


def test_bad_lines_and_files_stop_nothing(tmp_path):
    deep = '{"test": "TestSchedule", "case": "deep", "tc": {"a": ' + "[" * 400 + "]" * 400 + "}}"
    lines = [json.dumps(GOOD), "[1]", '{"test": 7, "tc": [1]}', '{"tc": {"x"', "\xff\xfe", "[" * 100_000, deep]
    (tmp_path / "a.jsonl").write_text("\n".join(lines), encoding="latin-1")
    (tmp_path / "b.jsonl.gz").write_bytes(b"no gzip")
    (tmp_path / "c.jsonl.gz").write_bytes(gzip.compress(json.dumps(GOOD).encode())[:-9])
    assert run(tmp_path) == {"passed": 1, "unsupported": len(lines) + 1}


@pytest.mark.skipif(not CASES.is_dir(), reason=f"Kueue's cases are not at {CASES}: get them from the project's data")
def test_no_value_of_another_form_makes_a_case_fail_by_an_exception():
    """Whatever is put where an object, list, text or number belongs, the case is told as malformed."""
    chance = random.Random(11)
    known = [case for path in sorted(CASES.glob("Test*.jsonl")) for case in cases(path)]
    others: tuple[object, ...] = (7, -1, True, None, "x", "nan", [], [1], {}, {"a": 1}, [{"b": []}])
    tried = 0
    while tried < 1500:
        case = chance.choice(known)
        tc = json.loads(json.dumps(case.tc))
        places = [*_places(tc)]
        if not places:
            continue
        place, new = chance.choice(places), chance.choice(others)
        inside = tc
        for key in place[:-1]:
            inside = inside[key]
        if type(new) is type(inside[place[-1]]):
            continue
        inside[place[-1]] = new
        outcome, why = judge(Case(case.test, case.name, Part(tc), case.shared))
        assert outcome != "failed" or "Error" not in why.split(":")[0], (case.test, case.name, place, new, why)
        tried += 1


@pytest.mark.parametrize(
    ("document", "told"),
    [
        ({"podSet": {"topologyRequest": "nan"}}, "tc.podSet.topologyRequest is 'nan', not an object"),
        (
            {"wl": {"status": {"admission": {"clusterQueue": {}}}}},
            "tc.wl.status.admission.clusterQueue is {}, not a text",
        ),
        ({"wl": {"TotalRequests": [{"Flavors": "x"}]}}, "tc.wl.TotalRequests[0].Flavors is 'x', not an object"),
        ({"use": {"cpu": {"value": "1"}}}, "tc.use.cpu.value is '1', not a whole number"),
        ({"rf": {"spec": {"nodeTaints": [{"value": 1}]}}}, "tc.rf.spec.nodeTaints[0].value is 1, not a text"),
    ],
)
def test_what_broke_the_engine_is_named_where_it_stands(document, told):
    assert malformed(document, strict=True) == told


def _places(holder, path=()):
    items = holder.items() if isinstance(holder, dict) else enumerate(holder) if isinstance(holder, list) else ()
    for key, value in items:
        yield (*path, key)
        yield from _places(value, (*path, key))
