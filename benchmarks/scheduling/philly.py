"""Plain policies over Philly: jobs per CPU-second, and whether they begin when Helios' own simulator says.

`python -m benchmarks.scheduling.philly [--helios FOLDER --python PYTHON --jobs N]` from the repository's root. The
whole trace and the week of 2017-10-01, in one pool of nodes with 8 GPUs. The trap: a load that never queues makes any
simulator fast; the week on 70 nodes queues for hours, and the whole trace on 70 nodes for days.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmarks.burst import TRACE, week
from benchmarks.measuring import figures, machine
from dure.sim.formats import read_trace
from dure.sim.plain import PLAIN, Cluster, Task, Turn
from dure.sim.traces import Trace

AIM = 50_000
RUNS = 3
# Jobs per CPU-second on another machine of two cores: facts gathered beside this project, not measured in this run.
ELSEWHERE = {
    "fifo": "Lucid/Helios 201, Starburst 2,570",
    "sjf": "Lucid/Helios 234, Starburst 4,500",
    "srtf": "Lucid/Helios 57",
    "tiresias": "Lucid/Helios 234",
}


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    asked.add_argument("--trace", type=Path, default=TRACE)
    asked.add_argument("--helios", type=Path, help="the folder `framework/QSSF Service` of HeliosArtifact")
    asked.add_argument("--python", default=sys.executable, help="a Python that has pandas")
    asked.add_argument("--jobs", type=int, default=10_650, help="how many of the week's first jobs the peer runs")
    given = asked.parse_args()
    if not given.trace.is_file():
        raise SystemExit(f"There is no {given.trace.name}: name the Philly trace with --trace")
    print(f"# Plain policies on Philly\n\n{machine.told('dure')}")
    seven_days = report(given.trace)
    if given.helios:
        beside(given.helios, given.python, seven_days[: given.jobs])


def report(trace: Path = TRACE, *, short: bool = False) -> list[Task]:
    """Print our table, if `short` of the week alone; return the tasks of the week."""
    seven_days = tasks(week(trace))
    loads: list[tuple[str, list[Task], int, Iterable[str]]] = [("the week, 70 nodes", seven_days, 70, PLAIN)]
    if not short:
        whole = tasks(read_trace(trace))
        loads += [(f"all, {nodes} nodes", whole, nodes, ("fifo", "sjf")) for nodes in (70, 352)]
    rows = []
    for what, jobs, nodes, names in loads:
        for name in names:
            turns, took_s = best(name, jobs, nodes)
            rate = len(jobs) / took_s
            told = ELSEWHERE[name] if nodes == 70 and jobs is seven_days else ""
            rows.append([what, name, f"{len(jobs):,}", mean(jobs, turns), f"{rate:,.0f}", _aim(name, rate), told])
    head = [
        "trace",
        "policy",
        "jobs",
        "mean completion",
        "jobs / CPU-s",
        f"aim {AIM:,}",
        "measured elsewhere, jobs / CPU-s",
    ]
    figures.table("Ours", head, rows)
    return seven_days


def tasks(trace: Trace) -> list[Task]:
    """Return the trace's jobs in whole seconds from the first."""
    first = int(trace.jobs[0].submitted_at)
    return [Task(int(job.submitted_at) - first, int(job.run_s), job.gpus_milli // 1000) for job in trace.jobs]


def best(name: str, jobs: Sequence[Task], nodes: int) -> tuple[list[Turn], float]:
    """Return the result and the least CPU time of a few runs."""
    turns: list[Turn] = []
    times = []
    for _ in range(RUNS):
        began = time.process_time()
        turns = PLAIN[name](jobs, Cluster(nodes))
        times.append(time.process_time() - began)
    return turns, min(times)


def mean(jobs: Sequence[Task], turns: Sequence[Turn]) -> str:
    total = sum(turn.end_s - task.submit_s for task, turn in zip(jobs, turns, strict=True))
    return f"{total / len(jobs):,.1f} s"


def _aim(name: str, rate: float) -> str:
    return ("held" if rate >= AIM else "NOT held") if name in ("fifo", "sjf") else ""


def beside(folder: Path, python: str, jobs: Sequence[Task]) -> None:
    """Run the peer over the same tasks and print its speed and how many jobs begin at another second."""
    rows = []
    for name in ("fifo", "sjf"):
        text = json.dumps([(task.submit_s, task.run_s, task.gpus) for task in jobs])
        program = Path(__file__).parents[1] / "peers" / "helios.py"
        done = subprocess.run(
            [python, str(program), str(folder), name, "70"], input=text, capture_output=True, text=True, check=True
        )
        found = json.loads(done.stdout)
        turns, took_s = best(name, jobs, 70)
        differ = sum([turn.start_s, turn.end_s] != theirs for turn, theirs in zip(turns, found["turns"], strict=True))
        ours, theirs = len(jobs) / took_s, len(jobs) / found["cpu_s"]
        rows.append([name, f"{len(jobs):,}", f"{ours:,.0f}", f"{theirs:,.0f}", f"{ours / theirs:,.0f}×", str(differ)])
    head = [
        "policy",
        "jobs",
        "ours, jobs / CPU-s",
        "Helios, jobs / CPU-s",
        "ratio",
        "jobs that begin or end at another second",
    ]
    figures.table("Beside Helios' own simulator, the week, same run", head, rows)


if __name__ == "__main__":
    main()
