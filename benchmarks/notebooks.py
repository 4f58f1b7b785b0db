"""Notebooks as people use them, through the simulator: what GPUs they need by cell, by notebook, by container.

`python -m benchmarks.notebooks [--people N] [--hours H] [--gpus N] [--plot FILE]` from the root. Tasks follow the
published distributions of a production notebook service (NotebookOS, ASPLOS 2026): half of them within 2 minutes,
three quarters within 5, gaps between tasks of 4 minutes at least and 5 in the middle; most of its users use the GPU
for 5 % of the time or less. The production Decider decides. The trap: a person sends the next cell only after the
last one ended and a gap, so a slow policy also slows what comes after; each policy therefore is simulated as a closed
loop.
"""

from __future__ import annotations

import argparse
import heapq
import math
import random
import statistics
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from benchmarks.measuring import figures, machine
from dure.core.lifecycle import Facts, Signal, advance
from dure.core.model import (
    Cluster,
    ClusterKind,
    DataClass,
    Environment,
    Job,
    Kind,
    Node,
    Phase,
    Platform,
    PriorityClass,
    Queue,
    Request,
    Team,
    Tier,
)
from dure.core.queueing.decide import Decider
from dure.wire.messages import MAX_INPUTS

TASK_MEDIAN_S, TASK_P75_S = 120.0, 300.0
GAP_LEAST_S, GAP_MEDIAN_S = 240.0, 300.0
START_S = 0.03  # own process started, as benchmarks.cells measures
CONTAINER_S = 60.0  # a fresh container with its notebook's image and data: published figures are 45 s to minutes
STATE_BYTES = (2e5, 2e6, 2e8)  # median, p75 and p95 of what a cell reads that changed since the last one
HELD_NOTEBOOKS = 64  # a node's cache holds the blobs of so many notebooks, those used last
SEED = 7
COLOURS, DASHES = ("#6b7280", "#0f766e", "#7c3aed", "#b45309"), ("6 4", "none", "1 4", "2 3")
GANGS = (4, 8)  # GPUs on one node that others might ask for meanwhile
PEER_SAME = 0.8945  # NotebookOS: cells that the executor of the last one took
MARKS = {0.01: "10 ms", 0.1: "0.1 s", 1: "1 s", 10: "10 s", 60: "1 min", 600: "10 min", 3600: "1 h"}


@dataclass(frozen=True, slots=True)
class Person:
    """One notebook's day: how long each task runs, the gap after it, bytes that changed before it."""

    opens_at: float
    leaves_at: float
    tasks: tuple[tuple[float, float, float], ...]


@dataclass(slots=True)
class Found:
    """What became of everybody under one policy."""

    delays_s: list[float] = field(default_factory=list)
    ran_s: float = 0.0
    held_s: float = 0.0
    moved_bytes: float = 0.0
    unmoved_bytes: float = 0.0
    same_node: int = 0
    again: int = 0
    most_gpus: int = 0
    gang_s: dict[int, float] = field(default_factory=lambda: dict.fromkeys(GANGS, 0.0))
    told_s: float = 0.0

    def part_at_once(self, within_s: float = 1.0) -> float:
        """Return the part of tasks that had a GPU within a second."""
        return sum(delay <= within_s for delay in self.delays_s) / len(self.delays_s)

    def room_for(self, gpus: int) -> float:
        """Return how many gangs of so many GPUs would have had room, on average over the day."""
        return self.gang_s[gpus] / self.told_s


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--people", type=int, default=400)
    parser.add_argument("--hours", type=float, default=17.5)
    parser.add_argument("--gpus", type=int, default=32, help="of the platform that runs cells")
    parser.add_argument("--plot", type=Path, help="write the distribution of delays as SVG")
    options = parser.parse_args()
    print("## A day of notebooks\n")
    print(machine.told("dure"))
    people = list(_people(options.people, options.hours * 3600.0))
    _tell_workload(people)
    began = time.process_time()
    found = {
        "a GPU reserved per notebook": _reserved(people),
        "Dure: a GPU per cell": _by_cell(people, options.gpus, START_S),
        "the same, by packing alone": _by_cell(people, options.gpus, START_S, told=False),
        "a fresh container per cell": _by_cell(people, options.gpus, CONTAINER_S),
    }
    cpu_s = time.process_time() - began
    _print(found, options.gpus)
    print(f"Simulated with the production Decider in {cpu_s:.1f} s of CPU time.")
    if options.plot:
        options.plot.write_text(_plot(found))
        print(f"Written: {options.plot}")


def _lognormal(dice: random.Random, median: float, p75: float) -> float:
    sigma = math.log(p75 / median) / 0.6745
    return median * math.exp(dice.gauss(0.0, sigma))


def _people(count: int, span_s: float) -> Iterator[Person]:
    """Yield people who come during the first half; three quarters of them use the GPU for a twentieth of their stay."""
    dice = random.Random(SEED)
    sigma_state = math.log(STATE_BYTES[1] / STATE_BYTES[0]) / 0.6745
    for _ in range(count):
        opens_at = dice.random() * span_s / 2
        leaves_at = min(span_s, opens_at + _lognormal(dice, 6 * 3600.0, 9 * 3600.0))
        tasks = []
        used_s, at = 0.0, opens_at + dice.expovariate(1 / 1800.0)
        share = 0.05 * dice.random() if dice.random() < 0.75 else 0.05 + 0.35 * dice.random()
        while at < leaves_at and used_s < share * (leaves_at - opens_at):
            task_s = min(_lognormal(dice, TASK_MEDIAN_S, TASK_P75_S), 4 * 3600.0)
            gap_s = GAP_LEAST_S + dice.expovariate(math.log(2) / (GAP_MEDIAN_S - GAP_LEAST_S))
            state = min(STATE_BYTES[0] * math.exp(dice.gauss(0.0, sigma_state)), 1e10)
            tasks.append((task_s, gap_s, state))
            used_s += task_s
            at += task_s + gap_s
        yield Person(opens_at, leaves_at, tuple(tasks))


def _tell_workload(people: list[Person]) -> None:
    tasks = sorted(task for person in people for task, _, _ in person.tasks)
    gaps = [gap for person in people for _, gap, _ in person.tasks]
    open_s = sum(person.leaves_at - person.opens_at for person in people)
    low = sum(
        sum(task for task, _, _ in person.tasks) <= 0.05 * (person.leaves_at - person.opens_at) + 300
        for person in people
    )
    print(
        f"Workload: {len(people)} notebooks, {len(tasks)} tasks; {_part(tasks, 120):.0%} within 2 min, "
        f"{_part(tasks, 300):.0%} within 5 min; gaps at least {min(gaps):.0f} s, median {statistics.median(gaps):.0f} "
        f"s; GPUs used {sum(tasks) / open_s:.1%} of the time that notebooks are open, by {low / len(people):.0%} of "
        "people for about 5 % or less."
    )


def _part(values: list[float], bound: float) -> float:
    return sum(value <= bound for value in values) / len(values)


def _reserved(people: list[Person]) -> Found:
    """Every notebook holds a GPU from opening to leaving; a task begins as it is sent, and its state is there."""
    found = Found()
    moments = []
    for person in people:
        found.held_s += person.leaves_at - person.opens_at
        moments += [(person.opens_at, 1), (person.leaves_at, -1)]
        for task_s, _, _ in person.tasks:
            found.delays_s.append(0.0)
            found.ran_s += task_s
    held = 0
    for _, change in sorted(moments):
        held += change
        found.most_gpus = max(found.most_gpus, held)
    return found


def _platform(gpus: int) -> Platform:
    nodes = tuple(Node(f"node-{number}", "gold", 8, simulated=True) for number in range(gpus // 8))
    return Platform(
        name="notebooks",
        clusters=(Cluster("lab", ClusterKind.PRIVATE, nodes),),
        tiers=(Tier("gold", 1.0),),
        teams=(Team("lab", members=("*",)),),
        queues=(Queue("lab", "lab"),),
        priorities=(PriorityClass("normal", 0),),
        data_classes=(DataClass("open", may_leave=True),),
        environments=(Environment("default", "python3"),),
    )


class _Day:
    """A closed loop: people send cells, the Decider admits them, they run, people think and send the next."""

    def __init__(self, people: list[Person], gpus: int, start_s: float, *, told: bool) -> None:
        self._people = people
        self._told = told
        self._start_s = start_s
        self._decider = Decider(_platform(gpus))
        self._events: list[tuple[float, int, int, str]] = []
        self._count = 0
        self._jobs: dict[str, tuple[Job, int, int]] = {}
        self._busy = 0
        self._caches: dict[str, OrderedDict[int, None]] = {}
        self._last: dict[int, str] = {}
        self.found = Found()
        for number, person in enumerate(people):
            if person.tasks:
                self._at(person.opens_at, 1, f"{number} 0")

    def _at(self, at: float, kind: int, what: str) -> None:
        self._count += 1
        heapq.heappush(self._events, (at, kind, self._count, what))

    def run(self) -> Found:
        while self._events:
            now = self._events[0][0]
            while self._events and self._events[0][0] <= now:
                _, kind, _, what = heapq.heappop(self._events)
                self._end(now, what) if kind == 0 else self._send(now, what)
            self._decide(now)
        return self.found

    def _send(self, now: float, what: str) -> None:
        person, task = (int(part) for part in what.split())
        job = Job(
            id=f"j-{person}-{task}",
            name="cell",
            kind=Kind.CELL,
            user=f"person-{person}",
            team="lab",
            request=Request(1000, "gold"),
            submitted_at=now,
            queued_at=now,
            inputs=self._inputs(person, task) if self._told else {},
        )
        self._jobs[job.id] = (job, person, task)
        self._decider.put(job)

    def _inputs(self, person: int, task: int) -> dict[str, int]:
        """Return the largest of the notebook's blobs, as a notebook names them."""
        changed = [int(state) for _, _, state in self._people[person].tasks[: task + 1]]
        largest = sorted(enumerate(changed), key=lambda item: -item[1])[:MAX_INPUTS]
        return {f"{person}-{number}": size for number, size in largest}

    def _decide(self, now: float) -> None:
        for gpus in GANGS:
            free = (node.whole_free // gpus for node in self._decider.books.private["gold"])
            self.found.gang_s[gpus] += (now - self.found.told_s) * sum(free)
        self.found.told_s = now
        plan = self._decider.decide(now, {}, frozenset())
        for admission in plan.admissions:
            job, person, task = self._jobs[admission.job_id]
            job = advance(job, Signal.ADMIT, now, Facts(lease=admission.lease)).job
            job = advance(advance(job, Signal.START, now).job, Signal.BEGIN, now).job
            self._jobs[job.id] = (job, person, task)
            self._decider.put(job)
            self._begin(now, job, person, task)

    def _begin(self, now: float, job: Job, person: int, task: int) -> None:
        task_s, _, state = self._people[person].tasks[task]
        node = job.lease.node if job.lease else ""
        self.found.delays_s.append(now + self._start_s - job.submitted_at)
        self.found.held_s += self._start_s + task_s
        self.found.ran_s += task_s
        self._busy += 1
        self.found.most_gpus = max(self.found.most_gpus, self._busy)
        self._move(person, node, task, state)
        self._at(now + self._start_s + task_s, 0, job.id)

    def _move(self, person: int, node: str, task: int, state: float) -> None:
        """What changed moves; the rest only where the node does not hold it from an earlier cell."""
        whole = sum(changed for _, _, changed in self._people[person].tasks[:task])
        cache = self._caches.setdefault(node, OrderedDict())
        if task > 0:
            self.found.again += 1
            self.found.same_node += person in cache
        if person in cache:
            self.found.moved_bytes += state
            self.found.unmoved_bytes += whole
        else:
            self.found.moved_bytes += state + whole
        cache[person] = None
        cache.move_to_end(person)
        if len(cache) > HELD_NOTEBOOKS:
            cache.popitem(last=False)

    def _end(self, now: float, job_id: str) -> None:
        job, person, task = self._jobs.pop(job_id)
        self._busy -= 1
        self._decider.put(replace(job, phase=Phase.SUCCEEDED, ended_at=now))
        tasks = self._people[person].tasks
        if task + 1 < len(tasks):
            self._at(now + tasks[task][1], 1, f"{person} {task + 1}")


def _by_cell(people: list[Person], gpus: int, start_s: float, *, told: bool = True) -> Found:
    """`told`: the decider knows which blobs a cell reads, so that it may prefer a node that has them."""
    return _Day(people, gpus, start_s, told=told).run()


def _print(found: dict[str, Found], gpus: int) -> None:
    reserved = next(iter(found.values()))
    rows = []
    for name, one in found.items():
        delays = figures.Timed(tuple(one.delays_s))
        rows.append(
            [
                name,
                f"{one.held_s / 3600:,.0f}",
                f"{(reserved.held_s - one.held_s) / 3600:,.0f} ({1 - one.held_s / reserved.held_s:.0%})",
                str(one.most_gpus),
                f"{one.ran_s / one.held_s:.0%}",
                f"{one.part_at_once():.1%}",
                " / ".join(figures.shown(delays.quantile(part)) for part in (0.5, 0.9, 0.99)),
            ]
        )
    head = [
        "policy",
        "GPU-hours held",
        "saved",
        "GPUs at the peak",
        "of held, used",
        "GPU within 1 s",
        "delay p50/p90/p99",
    ]
    figures.table(f"GPU-hours and delays, {gpus} GPUs for cells", head, rows)
    ours = found["Dure: a GPU per cell"]
    rows = []
    for name in ("Dure: a GPU per cell", "the same, by packing alone"):
        one = found[name]
        total = one.moved_bytes + one.unmoved_bytes
        same = one.same_node / one.again
        rows.append(
            [
                name,
                f"{same:.1%}",
                f"{same / PEER_SAME:.2f}",
                f"{one.moved_bytes / 2**30:.1f} GiB of {total / 2**30:.1f} GiB ({one.moved_bytes / total:.1%})",
                " / ".join(f"{one.room_for(gpus):.2f}" for gpus in GANGS),
            ]
        )
    head = ["policy", "later cells on a node with their blobs", f"of NotebookOS's {PEER_SAME:.2%}", "state moved"]
    head.append(f"room meanwhile for gangs of {' / '.join(map(str, GANGS))} GPUs")
    figures.table("Where the blobs are", head, rows)
    held = ours.part_at_once() >= 0.9
    print(f"Aim: a GPU bound at once for at least 90 % of cells: {'held' if held else 'NOT held'}.")


def _plot(found: dict[str, Found]) -> str:
    """Return the parts of tasks over their delay as an SVG, on a logarithmic scale from 10 ms to an hour."""
    width, height, left, top = 640, 300, 60, 20
    low, high = math.log10(0.01), math.log10(3600.0)

    def x(delay_s: float) -> float:
        place = (math.log10(max(delay_s, 0.01)) - low) / (high - low)
        return left + place * width

    lines = _grid(x, (left, top, width, height))
    for number, (name, one) in enumerate(found.items()):
        delays = sorted(one.delays_s)
        steps = [index * (len(delays) - 1) // 200 for index in range(201)]
        points = " ".join(f"{x(delays[i]):.1f},{top + height * (1 - (i + 1) / len(delays)):.1f}" for i in steps)
        line = f'stroke="{COLOURS[number]}" stroke-width="2.5" stroke-dasharray="{DASHES[number]}"'
        lines.append(f'<polyline fill="none" {line} points="{x(delays[0]):.1f},{top + height} {points}"/>')
        y = top + height - 80 + 18 * number
        lines.append(f'<line x1="190" x2="220" y1="{y}" y2="{y}" {line}/><text x="228" y="{y + 4}">{name}</text>')
    style = 'font-family="sans-serif" font-size="12" fill="#374151"'
    size = f'viewBox="0 0 {left + width + 30} {top + height + 50}"'
    title = "<title>Part of a day's notebook tasks that began within a delay, for three policies</title>"
    back = '<rect width="100%" height="100%" fill="#fff"/>'
    body = "\n".join(lines)
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} {style}>\n{title}{back}\n{body}\n</svg>\n'


def _grid(x: Callable[[float], float], frame: tuple[int, int, int, int]) -> list[str]:
    left, top, width, height = frame
    lines = []
    for mark, text in MARKS.items():
        lines += [
            f'<line x1="{x(mark):.1f}" x2="{x(mark):.1f}" y1="{top}" y2="{top + height}" stroke="#e5e7eb"/>',
            f'<text x="{x(mark):.1f}" y="{top + height + 18}" text-anchor="middle">{text}</text>',
        ]
    for part in (0.0, 0.5, 0.9, 1.0):
        y = top + height * (1 - part)
        lines += [
            f'<text x="{left - 8}" y="{y + 4:.1f}" text-anchor="end">{part:.0%}</text>',
            f'<line x1="{left}" x2="{left + width}" y1="{y:.1f}" y2="{y:.1f}" stroke="#e5e7eb"/>',
        ]
    below = f'x="{left + width / 2}" y="{top + height + 38}" text-anchor="middle"'
    return [*lines, f"<text {below}>delay until the code begins</text>"]


if __name__ == "__main__":
    main()
