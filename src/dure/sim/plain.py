"""Plain policies on a uniform cluster, to compare with: `fifo`, `sjf`, `srtf` and one like Tiresias.

Semantics of FIFO and SJF are those that the published simulators of Helios and Lucid agree on: a queue whose head
blocks it, in the order of submission or of duration; at one instant ends, then arrivals, then placement; up to one
node's GPUs best-fit on one node, more on empty nodes, a remainder on a further one. The trap: times are whole seconds,
and a part of a GPU counts as a whole one.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

GIVEN_SERVICE_GPU_S = 18_000  # Tiresias: attained GPU-seconds after which a job falls into the second queue
TICK_S = 60  # Tiresias decides once a minute
_SMALL_RESTART_S, _NODE_RESTART_S, _GANG_RESTART_S = 7, 30, 60  # what a preemption costs (Helios' simulator)


@dataclass(frozen=True, slots=True)
class Cluster:
    """`nodes` machines with `gpus` GPUs each."""

    nodes: int
    gpus: int = 8


@dataclass(frozen=True, slots=True)
class Task:
    """What a plain policy sees of a job: whole seconds and whole GPUs."""

    submit_s: int
    run_s: int
    gpus: int


@dataclass(slots=True)
class Turn:
    """When a task first began and ended, how long it did not run in between arriving and ending, how often it yielded.

    `start_s` is -1 for a task that is larger than the cluster: it never runs. `spells` are the times that it ran, where
    that was not one time from `start_s` to `end_s`.
    """

    start_s: int = -1
    end_s: int = -1
    waited_s: int = 0
    preemptions: int = 0
    spells: list[tuple[int, int]] | None = None


class Floor:
    """Free GPUs by node: for each number of free GPUs a bit set of the nodes that have so many.

    Ties go to the node with the lowest number, which the least bit of a set finds in one step.
    """

    def __init__(self, cluster: Cluster) -> None:
        self.size = cluster.gpus
        self.free = cluster.gpus * cluster.nodes
        self.levels = [0] * cluster.gpus + [(1 << cluster.nodes) - 1]
        self.on_node = [cluster.gpus] * cluster.nodes

    def take(self, gpus: int) -> list[int] | None:
        """Take GPUs and return the nodes, each with how many: [node, gpus, node, gpus, …]; None without room."""
        if gpus > self.free:
            return None
        if gpus <= self.size:
            levels = self.levels
            for level in range(gpus, self.size + 1):
                nodes = levels[level]
                if nodes:
                    bit = nodes & -nodes
                    levels[level] = nodes ^ bit
                    levels[level - gpus] |= bit
                    node = bit.bit_length() - 1
                    self.on_node[node] = level - gpus
                    self.free -= gpus
                    return [node, gpus]
            return None
        return self._take_many(gpus)

    def _take_many(self, gpus: int) -> list[int] | None:
        whole, rest = divmod(gpus, self.size)
        empty = self.levels[self.size].bit_count()
        if empty < whole:
            return None
        if rest and empty == whole and not any(self.levels[rest : self.size]):
            return None
        taken: list[int] = []
        for _ in range(whole):
            nodes = self.levels[self.size]
            self._shift((nodes & -nodes).bit_length() - 1, -self.size)
            taken += [(nodes & -nodes).bit_length() - 1, self.size]
        if rest:  # on the emptiest node that is left
            nodes = next(self.levels[level] for level in range(self.size, rest - 1, -1) if self.levels[level])
            node = (nodes & -nodes).bit_length() - 1
            self._shift(node, -rest)
            taken += [node, rest]
        return taken

    def give_back(self, taken: Sequence[int]) -> None:
        """Give back what `take` returned."""
        for index in range(0, len(taken), 2):
            self._shift(taken[index], taken[index + 1])

    def _shift(self, node: int, gpus: int) -> None:
        level = self.on_node[node]
        bit = 1 << node
        self.levels[level] ^= bit
        self.levels[level + gpus] |= bit
        self.on_node[node] = level + gpus
        self.free += gpus


def fifo(tasks: Sequence[Task], cluster: Cluster) -> list[Turn]:
    """Run tasks in the order of submission; the first that does not fit blocks all behind it."""
    return _queued(tasks, cluster, [0] * len(tasks))


def sjf(tasks: Sequence[Task], cluster: Cluster) -> list[Turn]:
    """Run waiting tasks in the order of their true duration; the first that does not fit blocks all behind it."""
    return _queued(tasks, cluster, [task.run_s for task in tasks])


def _queued(tasks: Sequence[Task], cluster: Cluster, ranks: Sequence[int]) -> list[Turn]:
    """Run tasks by rank, then submission, then their order in `tasks`; without preemption."""
    floor = Floor(cluster)
    most = cluster.gpus * cluster.nodes
    turns = [Turn() for _ in tasks]
    order = [i for i in sorted(range(len(tasks)), key=lambda i: tasks[i].submit_s) if tasks[i].gpus <= most]
    arrivals = [(tasks[i].submit_s, i) for i in order]
    waiting: list[tuple[int, int, int]] = []
    running: list[tuple[int, int, list[int]]] = []
    pop, push, take, give_back = heapq.heappop, heapq.heappush, floor.take, floor.give_back
    at, count = 0, len(arrivals)
    while at < count or running:
        now = arrivals[at][0] if at < count else running[0][0]
        if running and running[0][0] < now:
            now = running[0][0]
        while running and running[0][0] <= now:
            give_back(pop(running)[2])
        while at < count and arrivals[at][0] <= now:
            i = arrivals[at][1]
            push(waiting, (ranks[i], at, i))
            at += 1
        while waiting:
            i = waiting[0][2]
            task = tasks[i]
            taken = take(task.gpus)
            if taken is None:
                break
            pop(waiting)
            turn = turns[i]
            turn.start_s, turn.end_s, turn.waited_s = now, now + task.run_s, now - task.submit_s
            push(running, (turn.end_s, i, taken))
    return turns


def srtf(tasks: Sequence[Task], cluster: Cluster) -> list[Turn]:
    """Let the tasks with the least left to run have the GPUs, at every arrival and end; the others yield.

    A preemption costs time when the task goes on: 7 s for one GPU, 30 s within a node, 60 s over several.
    """

    def order(live: Iterable[_Live], _now: int) -> list[_Live]:
        return sorted(live, key=lambda one: (one.left_s, one.index))

    return _preemptive(tasks, cluster, order, tick_s=1)


def tiresias(tasks: Sequence[Task], cluster: Cluster) -> list[Turn]:
    """Let tasks that had little service go first: the second queue begins after 5 GPU-hours.

    As in the published simulators, decisions are made once a minute and preemption costs as under `srtf`.
    """

    def order(live: Iterable[_Live], _now: int) -> list[_Live]:
        return sorted(live, key=lambda one: (one.served_gpu_s > GIVEN_SERVICE_GPU_S, one.task.submit_s, one.index))

    return _preemptive(tasks, cluster, order, tick_s=TICK_S, threshold_gpu_s=GIVEN_SERVICE_GPU_S)


@dataclass(slots=True)
class _Live:
    """A task that has arrived and not ended. `since_s` is when it began to run or to wait."""

    index: int
    task: Task
    left_s: int
    since_s: int
    served_gpu_s: int = 0
    began_s: int = 0
    taken: list[int] | None = None


def _preemptive(
    tasks: Sequence[Task],
    cluster: Cluster,
    order: Callable[[Iterable[_Live], int], list[_Live]],
    *,
    tick_s: int,
    threshold_gpu_s: int | None = None,
) -> list[Turn]:
    """Run tasks so that, at every decision, the first in `order` that fit by number have the GPUs.

    Decisions fall on multiples of `tick_s`, when something has changed since the last. As in the published
    simulators, one that is chosen but finds no fitting nodes waits, and what it was counted for stays idle.
    """
    floor = Floor(cluster)
    most = cluster.gpus * cluster.nodes
    turns = [Turn() for _ in tasks]
    arrivals = [i for i in sorted(range(len(tasks)), key=lambda i: tasks[i].submit_s) if tasks[i].gpus <= most]
    live: dict[int, _Live] = {}
    at, now, decide_s = 0, 0, -1
    while at < len(arrivals) or live:
        running = [one for one in live.values() if one.taken is not None]
        due = [one.since_s + one.left_s for one in running]
        if at < len(arrivals):
            due.append(tasks[arrivals[at]].submit_s)
        if decide_s >= now:
            due.append(decide_s)
        if threshold_gpu_s is not None and len(running) < len(live):
            due += [_crosses(one, threshold_gpu_s) for one in running if one.served_gpu_s <= threshold_gpu_s]
        now = max(now, min(due))
        changed = threshold_gpu_s is not None
        for one in running:
            ran_s = now - one.since_s
            one.left_s -= ran_s
            one.served_gpu_s += ran_s * one.task.gpus
            one.since_s = now
            if one.left_s <= 0:
                turns[one.index].end_s = now
                _ran(one, now, turns[one.index])
                floor.give_back(one.taken or ())
                del live[one.index]
                changed = True
        while at < len(arrivals) and tasks[arrivals[at]].submit_s <= now:
            i = arrivals[at]
            live[i] = _Live(i, tasks[i], tasks[i].run_s, now)
            at += 1
            changed = True
        if changed and decide_s < now:
            decide_s = -(-now // tick_s) * tick_s
        if decide_s == now:
            decide_s = -1
            _assign(order(live.values(), now), floor, most, now, turns)
    return turns


def _crosses(one: _Live, threshold_gpu_s: int) -> int:
    """Return the second at which a running task will have had more service than the threshold."""
    return one.since_s + (threshold_gpu_s - one.served_gpu_s) // one.task.gpus + 1


def _assign(ordered: Sequence[_Live], floor: Floor, quota: int, now: int, turns: Sequence[Turn]) -> None:
    chosen = []
    for one in ordered:
        if one.task.gpus <= quota:
            quota -= one.task.gpus
            if one.taken is None:
                chosen.append(one)
        elif one.taken is not None:
            floor.give_back(one.taken)
            turns[one.index].preemptions += 1
            _ran(one, now, turns[one.index])
            one.taken, one.since_s = None, now
            one.left_s += _restart_s(one.task.gpus)
    for one in chosen:
        one.taken = floor.take(one.task.gpus)
        if one.taken is not None:
            turn = turns[one.index]
            turn.waited_s += now - one.since_s
            one.since_s = one.began_s = now
            if turn.start_s < 0:
                turn.start_s = now


def _ran(one: _Live, now: int, turn: Turn) -> None:
    """Note a spell of running of a task that was preempted at least once."""
    if turn.preemptions:
        turn.spells = [*(turn.spells or ()), (one.began_s, now)]


def _restart_s(gpus: int) -> int:
    if gpus == 1:
        return _SMALL_RESTART_S
    return _NODE_RESTART_S if gpus <= 8 else _GANG_RESTART_S


PLAIN: dict[str, Callable[[Sequence[Task], Cluster], list[Turn]]] = {
    "fifo": fifo,
    "sjf": sjf,
    "srtf": srtf,
    "tiresias": tiresias,
}
