"""When the cloud pays: rules for how long a job waits before it leaves, replayed over a week of Philly.

`python -m benchmarks.burst [--nodes 70 60] [--rules none …] [--starburst FOLDER --python PYTHON]` from the repository's
root. The rows 2017-10-01 to 2017-10-08 in one private pool of nodes with 8 GPUs, and a cloud that is never full and
ready at once; every figure of ours is from the production decisions, driven by simulated time. The trap: a few jobs of
thousands of GPU-hours decide what a wrong prediction costs, so rows with errors are means over several seeds.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

from benchmarks.measuring import figures, machine
from dure.core.model import Platform
from dure.core.platform import parse
from dure.sim.figures import figures as figured
from dure.sim.formats import read_trace
from dure.sim.policies import Policy
from dure.sim.replay import Beliefs, replay
from dure.sim.traces import Trace

TRACE = Path(__file__).resolve().parents[2] / "shared" / "data" / "traces" / "philly.csv"
WEEK = ("2017-10-01T00:00:00", "2017-10-08T00:00:00")
CLOUD_NODES = 200
AIM_LESS, AIM_LONGER = 0.70, 0.02
FIXED = "fixed 15 min"
PROCESSES = 2


@dataclass(frozen=True)
class Rule:
    """One row: the section `burst` of a platform file, how far predictions are off, and the peer's `POLICY:FACTOR`.

    `asked`: it is replayed only where `--rules` names it.
    """

    name: str
    burst: Mapping[str, Any]
    peer: str
    error: float = 0.0
    asked: bool = False


RULES = (
    Rule("none", {"rule": "fixed", "wait_s": 0}, "zero:1"),
    Rule(FIXED, {"rule": "fixed", "wait_s": 900}, "constant:0.25"),
    Rule("fixed 60 min", {"rule": "fixed", "wait_s": 3600}, "constant:1", asked=True),
    Rule("proportional, 5 min a GPU-hour", {"wait_s": 300}, f"linear_cost:{1 / 12}", asked=True),
    Rule("proportional, 10 min a GPU-hour", {"wait_s": 600}, f"linear_cost:{1 / 6}", asked=True),
    Rule("proportional (default, 9 min)", {}, "linear_cost:0.15"),
    Rule("proportional, error 100 %", {}, "linear_cost_filter_cpu:0.15", 1.0),
    Rule("proportional, error 300 %", {}, "linear_cost_filter_cpu:0.15", 3.0),
)


@dataclass(frozen=True)
class Found:
    """What one simulator makes of a rule, over its seeds: cloud GPU-hours, completion and CPU time by run."""

    cloud_gpu_hours: tuple[float, ...]
    completion_s: tuple[float, ...]
    cpu_s: tuple[float, ...]
    p99_wait_s: float = 0.0
    never_ran: int = 0


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    asked.add_argument("--nodes", type=int, nargs="+", default=[70, 60])
    asked.add_argument("--rules", nargs="+", choices=[rule.name for rule in RULES])
    asked.add_argument("--trace", type=Path, default=TRACE)
    asked.add_argument("--starburst", type=Path, help="the peer's repository")
    asked.add_argument("--python", default=sys.executable, help="a Python that has what the peer needs")
    asked.add_argument("--seeds", type=int, default=2, help="of errors of prediction")
    given = asked.parse_args()
    if not given.trace.is_file():
        raise SystemExit(f"There is no {given.trace.name}: name the Philly trace with --trace")
    trace = week(given.trace)
    print(f"# Burst on the Philly week: {len(trace.jobs):,} jobs\n\n{machine.told('dure')}")
    rules = [rule for rule in RULES if (not rule.asked if given.rules is None else rule.name in given.rules)]
    cells = []
    seeds = range(1, given.seeds + 1)
    with ProcessPoolExecutor(PROCESSES) as pool:
        for nodes in given.nodes:
            theirs = pool.submit(peer, given.starburst, given.python, trace, nodes, rules, seeds)
            runs = [
                (rule, [pool.submit(ours, trace, nodes, rule, seed) for seed in (seeds if rule.error else (1,))])
                for rule in rules
            ]
            found = {rule.name: _together([run.result() for run in some]) for rule, some in runs}
            compare(trace, nodes, found, theirs.result())
            cells += against_fixed(nodes, found, theirs.result())
    head = ["nodes", "rule", "cloud GPU-h", "less than fixed 15 min", "longer completion", "aim"]
    peers = ["Starburst: less than its fixed 15 min", "longer completion"] if given.starburst else []
    figures.table("Against fixed 15 min: aim 70 % less cloud GPU time, at most 2 % longer", [*head, *peers], cells)


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


def ours(trace: Trace, nodes: int, rule: Rule, seed: int) -> Found:
    """Return what the production decisions make of one rule with errors of one seed."""
    began = time.process_time()
    policy = Policy(rule.name, platform=platform(nodes, rule.burst))
    result = figured(replay(trace, policy, Beliefs(error=rule.error, seed=seed)))
    took_s = time.process_time() - began
    print(f"{nodes} nodes, {rule.name}, seed {seed}: {took_s:.0f} s", file=sys.stderr, flush=True)
    done = (result.cloud_gpu_hours,), (result.mean_completion_s,), (took_s,)
    return Found(*done, result.p99_wait_s, result.never_ran)


def peer(  # noqa: PLR0917 -- whose program, of what
    folder: Path | None, python: str, trace: Trace, nodes: int, rules: Sequence[Rule], seeds: Sequence[int]
) -> dict[str, Found]:
    """Return what the peer's simulator makes of each rule; nothing without its folder."""
    if folder is None:
        return {}
    first = trace.jobs[0].submitted_at
    tasks = json.dumps([(job.submitted_at - first, job.run_s, job.gpus_milli // 1000) for job in trace.jobs])
    program = Path(__file__).parent / "peers" / "starburst.py"
    runs = [(rule, seed) for rule in rules for seed in (seeds if rule.error else (1,))]
    command = [python, str(program), str(folder), str(nodes)]
    command += [f"{rule.peer}:{rule.error * 100}:{seed}" for rule, seed in runs]
    done = subprocess.run(command, input=tasks, capture_output=True, text=True, check=True)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    found: dict[str, list[Found]] = {}
    for (rule, _), line in zip(runs, lines, strict=True):
        one = Found((line["cloud_gpu_hours"],), (line["completion_s"],), (line["cpu_s"],))
        found.setdefault(rule.name, []).append(one)
    return {name: _together(some) for name, some in found.items()}


def _together(runs: Sequence[Found]) -> Found:
    """Return the runs of one rule over its seeds as one."""
    cloud = tuple(run.cloud_gpu_hours[0] for run in runs)
    completion, cpu = tuple(run.completion_s[0] for run in runs), tuple(run.cpu_s[0] for run in runs)
    return Found(cloud, completion, cpu, max(run.p99_wait_s for run in runs), max(run.never_ran for run in runs))


def compare(trace: Trace, nodes: int, found: Mapping[str, Found], theirs: Mapping[str, Found]) -> None:
    """Print the table and whether the aim holds."""
    floor_s = sum(job.run_s for job in trace.jobs) / len(trace.jobs)
    rows = []
    for name, mine in found.items():
        stranded = f" ({mine.never_ran} never ran)" if mine.never_ran else ""
        row = [name, _range(mine.cloud_gpu_hours), f"{mean(mine.completion_s):,.0f} s{stranded}"]
        row += [f"{mean(mine.completion_s) / floor_s - 1:+.2%}", figures.shown(mine.p99_wait_s)]
        row += [f"{len(trace.jobs) / mean(mine.cpu_s):,.0f}"]
        if name in theirs:
            other = theirs[name]
            row += [_range(other.cloud_gpu_hours), f"{mean(other.completion_s) / floor_s - 1:+.2%}"]
            row += [f"{mean(mine.cloud_gpu_hours) / mean(other.cloud_gpu_hours):.2f}×"]
            row += [f"{len(trace.jobs) / mean(other.cpu_s):,.0f}"]
        rows.append(row)
    head = ["rule", "cloud GPU-h", "mean completion", "over the floor", "p99 wait", "jobs / CPU-s"]
    peers = ["Starburst: cloud GPU-h", "over the floor", "cloud, ours / Starburst", "jobs / CPU-s"] if theirs else []
    title = f"{nodes} nodes, {nodes * 8} GPUs; the mean run time is {floor_s:,.0f} s, the floor"
    figures.table(title, [*head, *peers], rows)
    print("Ours: the production decisions. Starburst: its own simulator, in the same run." if theirs else "")


def _range(values: Sequence[float]) -> str:
    if len(values) == 1:
        return f"{values[0]:,.1f}"
    return f"{mean(values):,.1f} ({min(values):,.0f} to {max(values):,.0f}, {len(values)} seeds)"


def against_fixed(nodes: int, found: Mapping[str, Found], theirs: Mapping[str, Found]) -> list[list[str]]:
    """Return a row for each proportional rule: what it spares against a fixed wait, ours and the peer's own."""
    rows = []
    for name, mine in found.items():
        if FIXED not in found or not name.startswith("proportional"):
            continue
        less, longer = _spared(mine, found[FIXED])
        held = "held" if less >= AIM_LESS and longer <= AIM_LONGER else "NOT held"
        row = [str(nodes), name, _range(mine.cloud_gpu_hours), f"{less:.1%}", f"{longer:+.2%}", held]
        if name in theirs:
            peers_less, peers_longer = _spared(theirs[name], theirs[FIXED])
            row += [f"{peers_less:.1%}", f"{peers_longer:+.2%}"]
        rows.append(row)
    return rows


def _spared(rule: Found, fixed: Found) -> tuple[float, float]:
    """Return which part of the cloud GPU time a rule spares, and by which part completion is longer."""
    less = 1 - mean(rule.cloud_gpu_hours) / fixed.cloud_gpu_hours[0]
    return less, mean(rule.completion_s) / fixed.completion_s[0] - 1


if __name__ == "__main__":
    main()
