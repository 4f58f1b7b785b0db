"""The runner of Kueue's cases meets cases that nobody wrote: it never breaks, and gives the same answer again."""

import copy
import json
import random
from pathlib import Path

import pytest
from benchmarks.conformance.reading import Case, MismatchError, UnsupportedError
from benchmarks.kueue_conformance import RUNNERS, cases, run

from dure.core.queueing.kueue.objects import GATE_NAMES

CASES = Path(__file__).resolve().parents[4] / "shared" / "data" / "kueue-cases"
AMOUNTS = ("0", "1", "2", "3", "5", "8", "12", "100", "500m", "1Gi", "9223372036854775807", "1E")
WORDS = {
    "withinClusterQueue": ("Never", "LowerPriority", "LowerOrNewerEqualPriority"),
    "reclaimWithinCohort": ("Never", "LowerPriority", "Any"),
    "policy": ("Never", "LowerPriority"),
    "whenCanBorrow": ("MayStopSearch", "TryNextFlavor"),
    "whenCanPreempt": ("MayStopSearch", "TryNextFlavor"),
    "queueingStrategy": ("StrictFIFO", "BestEffortFIFO"),
    "preference": ("BorrowingOverPreemption", "PreemptionOverBorrowing"),
}
NAMES = {"name", "cohortName", "clusterQueue", "queueName", "parentName", "namespace"}


def leaves(holder, path=()):
    """Yield where every plain value of a case is that is not what the case wants."""
    items = holder.items() if isinstance(holder, dict) else enumerate(holder)
    for key, value in items:
        if not path and str(key).startswith("want"):
            continue
        if isinstance(value, dict | list):
            yield from leaves(value, (*path, key))
        else:
            yield (*path, key), value


def at(holder, path):
    for key in path:
        holder = holder[key]
    return holder


def another(key, value, chance):
    if key in WORDS:
        return chance.choice(WORDS[key])
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return chance.choice((0, 1, 2, 5, -1, 100, value + 1))
    if isinstance(value, str) and value[:1].isdigit() and "ime" not in str(key) and "nterval" not in str(key):
        return chance.choice(AMOUNTS)
    if isinstance(value, str) and key in NAMES:
        return chance.choice((value, f"{value}x", "other", ""))
    return value


def mutated(tc, chance):
    tc = copy.deepcopy(tc)
    for _ in range(chance.randint(1, 4)):
        if chance.random() < 0.2:
            tc.setdefault("featureGates", {})[chance.choice(sorted(GATE_NAMES))] = chance.random() < 0.5
        found = list(leaves(tc))
        if not found:
            return tc
        path, value = chance.choice(found)
        at(tc, path[:-1])[path[-1]] = another(path[-1], value, chance)
        lists = [where for where in (at(tc, path[:end]) for end in range(1, len(path))) if isinstance(where, list)]
        if lists and chance.random() < 0.15:
            lists[-1].append(copy.deepcopy(chance.choice(lists[-1])))
        elif lists and chance.random() < 0.15:
            lists[-1].pop(chance.randrange(len(lists[-1])))
    return tc


def answer(case):
    """Return what became of a case; whatever else it raises breaks the test."""
    try:
        RUNNERS[case.test](Case(case.test, case.name, copy.deepcopy(case.tc), copy.deepcopy(case.shared)))
    except UnsupportedError as reason:
        return f"unsupported: {reason}"
    except MismatchError as difference:
        return f"differs: {difference}"
    return "passed"


@pytest.mark.skipif(not CASES.is_dir(), reason="Kueue's cases are not beside the project")
@pytest.mark.parametrize("seed", range(5))
def test_no_case_breaks_the_runner_and_answers_repeat(seed):
    chance = random.Random(seed)
    given = [case for path in sorted(CASES.glob("Test*.jsonl")) for case in cases(path)]
    for _ in range(150):
        case = chance.choice(given)
        changed = Case(case.test, case.name, mutated(case.tc, chance), case.shared)
        told = f"{case.test}: {case.name}: {json.dumps(changed.tc)}"
        assert answer(changed) == answer(changed), told


def test_what_is_no_known_case_is_unsupported_and_says_why(tmp_path, capsys):
    lines = [
        "no JSON",
        '{"case": "a case without test"}',
        '{"test": "TestNew", "case": "another table", "tc": null}',
        '{"test": "TestSchedule", "case": "nothing around it", "tc": {}}',
        '{"test": "TestSchedule", "case": "a new field", "tc": {"new": 1}, "shared": {"cfg": {}}}',
        '{"test": "TestSchedule", "case": "a new gate", "tc": {"featureGates": {"New": true}}, "shared": {"cfg": {}}}',
        '{"test":"TestSchedule","tc":{"featureGates": {"SchedulerLibraryIntegration": false}}, "shared": {"cfg": {}}}',
    ]
    (tmp_path / "TestNew.jsonl").write_text("\n".join(lines))
    assert run(tmp_path) == {"unsupported": 6, "passed": 1}
    told = capsys.readouterr().out
    for why in ("line 1", "no runner for TestNew", "no cfg in the case", "field new", "feature gate New"):
        assert why in told
