"""When the cloud pays: rules for how long a job waits before it leaves, replayed over a week of Philly.

`python -m benchmarks.burst [--nodes 70 60] [--rules none …] [--starburst FOLDER --python PYTHON]` from the repository's
root. The rows 2017-10-01 to 2017-10-08 in one private pool of nodes with 8 GPUs, and a cloud that is never full and
ready at once; every figure of ours is from the production decisions, driven by simulated time. The trap: a decision
costs as much as its queue is long, so a rule that lets jobs wait takes longer to replay, not only to wait for.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.measuring import figures, machine
from dure.core.model import Platform
from dure.core.platform import parse
from dure.sim.figures import Figures
from dure.sim.figures import figures as figured
from dure.sim.formats import read_trace
from dure.sim.policies import Policy
from dure.sim.replay import Beliefs, replay
from dure.sim.traces import Trace

TRACE = Path(__file__).resolve().parents[2] / "shared" / "data" / "traces" / "philly.csv"
WEEK = ("2017-10-01T00:00:00", "2017-10-08T00:00:00")
CLOUD_NODES = 200
AIM_LESS, AIM_LONGER = 0.70, 0.02
PEER = {
    "none": "zero:1:0",
    "fixed 15 min": "constant:0.25:0",
    "fixed 60 min": "constant:1:0",
    "proportional": "linear_cost:0.0833333:0",
    "proportional, error 100 %": "linear_cost_filter_cpu:0.0833333:100",
    "proportional, error 300 %": "linear_cost_filter_cpu:0.0833333:300",
}


@dataclass(frozen=True)
class Rule:
    """One row: the section `burst` of a platform file, and how far predictions are off."""

    name: str
    burst: Mapping[str, Any]
    error: float = 0.0


RULES = (
    Rule("none", {"rule": "fixed", "wait_s": 0}),
    Rule("fixed 15 min", {"rule": "fixed", "wait_s": 900}),
    Rule("fixed 60 min", {"rule": "fixed", "wait_s": 3600}),
    Rule("proportional", {}),
    Rule("proportional, error 100 %", {}, 1.0),
    Rule("proportional, error 300 %", {}, 3.0),
)


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    asked.add_argument("--nodes", type=int, nargs="+", default=[70, 60])
    asked.add_argument("--rules", nargs="+", choices=[rule.name for rule in RULES])
    asked.add_argument("--trace", type=Path, default=TRACE)
    asked.add_argument("--starburst", type=Path, help="the peer's repository")
    asked.add_argument("--python", default=sys.executable, help="a Python that has what the peer needs")
    given = asked.parse_args()
    if not given.trace.is_file():
        raise SystemExit(f"There is no {given.trace.name}: name the Philly trace with --trace")
    trace = week(given.trace)
    print(f"# Burst on the Philly week: {len(trace.jobs):,} jobs\n\n{machine.told('dure')}")
    for nodes in given.nodes:
        rules = [rule for rule in RULES if given.rules is None or rule.name in given.rules]
        theirs = peer(given.starburst, given.python, trace, nodes, rules) if given.starburst else {}
        compare(trace, nodes, rules, theirs)


def week(path: Path) -> Trace:
    """Return the week's rows."""
    from dataclasses import replace
    from datetime import UTC, datetime

    whole = read_trace(path)
    begins, ends = (datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() for text in WEEK)
    return replace(whole, jobs=tuple(job for job in whole.jobs if begins <= job.submitted_at < ends))


def platform(nodes: int, burst: Mapping[str, Any]) -> Platform:
    """Return one private pool and a cloud that is never full, with the given rule; everything else is as usual."""
    found = parse(
        {
            "clusters": [
                {"name": "lab", "nodes": [{"name": f"n{i}", "tier": "gpu", "gpus": 8} for i in range(nodes)]},
                {
                    "name": "cloud",
                    "kind": "public",
                    "prices": {"gpu": 4000},
                    "nodes": [{"name": f"c{i}", "tier": "gpu", "gpus": 8} for i in range(CLOUD_NODES)],
                },
            ],
            "tiers": [{"name": "gpu"}],
            "teams": [{"name": "philly", "members": ["*"]}],
            "environments": [{"name": "default", "python": "python3"}],
            "queueing": {"fair_sharing": {"enabled": False}},
            "burst": dict(burst),
        }
    )
    assert isinstance(found, Platform), found
    return found


def compare(trace: Trace, nodes: int, rules: Sequence[Rule], theirs: Mapping[str, Mapping[str, float]]) -> None:
    """Replay every rule and print the table and whether the aim holds."""
    floor_s = sum(job.run_s for job in trace.jobs) / len(trace.jobs)
    rows, found = [], {}
    for rule in rules:
        began = time.process_time()
        found[rule.name] = result = figured(
            replay(trace, Policy(rule.name, platform=platform(nodes, rule.burst)), Beliefs(error=rule.error))
        )
        took_s = time.process_time() - began
        rows.append(_row(rule.name, result, floor_s, took_s, theirs.get(rule.name)))
        print(f"{rule.name}: {took_s:.0f} s", file=sys.stderr, flush=True)
    head = ["rule", "cloud GPU-h", "mean completion", "over the floor", "p99 wait", "jobs / CPU-s"]
    peers = ["Starburst: cloud GPU-h", "over the floor", "jobs / CPU-s"] if theirs else []
    figures.table(f"{nodes} nodes, {nodes * 8} GPUs; the mean run time is {floor_s:,.0f} s", [*head, *peers], rows)
    print("Ours: the production decisions. Starburst: its own simulator, in the same run." if theirs else "")
    _aim(found)


def _row(name: str, result: Figures, floor_s: float, took_s: float, theirs: Mapping[str, float] | None) -> list[str]:
    longer = result.mean_completion_s / floor_s - 1
    stranded = f" ({result.never_ran} never ran)" if result.never_ran else ""
    row = [
        name,
        f"{result.cloud_gpu_hours:,.1f}",
        f"{result.mean_completion_s:,.0f} s{stranded}",
        f"{longer:+.2%}",
        figures.shown(result.p99_wait_s),
        f"{result.jobs / took_s:,.0f}",
    ]
    if theirs is not None:
        row += [f"{theirs['cloud_gpu_hours']:,.1f}", f"{theirs['completion_s'] / floor_s - 1:+.2%}"]
        row += [f"{result.jobs / theirs['cpu_s']:,.0f}"]
    return row


def _aim(found: Mapping[str, Figures]) -> None:
    fixed = found.get("fixed 15 min")
    for name, ours in found.items():
        if fixed is None or not name.startswith("proportional"):
            continue
        less = 1 - ours.cloud_gpu_hours / fixed.cloud_gpu_hours
        longer = ours.mean_completion_s / fixed.mean_completion_s - 1
        held = "held" if less >= AIM_LESS and longer <= AIM_LONGER else "NOT held"
        print(f"{name}: {less:.1%} less cloud GPU time than fixed 15 min, {longer:+.2%} completion: {held}")


def peer(folder: Path, python: str, trace: Trace, nodes: int, rules: Sequence[Rule]) -> dict[str, dict[str, float]]:
    """Return what the peer's simulator finds for each rule."""
    first = trace.jobs[0].submitted_at
    tasks = json.dumps([(job.submitted_at - first, job.run_s, job.gpus_milli // 1000) for job in trace.jobs])
    program = Path(__file__).parent / "peers" / "starburst.py"
    command = [python, str(program), str(folder), str(nodes), *(PEER[rule.name] for rule in rules)]
    done = subprocess.run(command, input=tasks, capture_output=True, text=True, check=True)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    return {rule.name: line for rule, line in zip(rules, lines, strict=True)}


if __name__ == "__main__":
    main()
