"""The policies that GPU packing is compared with, as kubernetes-scheduler-simulator scores them, in a few lines each.

A score is higher for a better node and is a whole number from 0 to 100, as Kubernetes' are; among the best a random
one is taken. A part of a GPU goes to the fullest GPU of the node that has room. Written anew from that simulator's
description; none of it is used outside the benchmark.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from heapq import heappop, heappush

from dure.core.packing import Ask

WHOLE = 1000
MOST_CPU_MILLI = 128_000
MOST_GPU_MILLI = 8_000


@dataclass
class Machine:
    """One node: what is free of each GPU, and of CPU and memory; which classes of pods it has."""

    free: list[int]
    spare: list[int]
    classes: set[str] = field(default_factory=set)
    changes: int = 0

    def gpus_for(self, ask: Ask) -> list[int] | None:
        """Return the GPUs that the ask gets here, the fullest that have room first; None without room."""
        if any(need > have for need, have in zip(ask.needs, self.spare, strict=True)):
            return None
        able = sorted((left, i) for i, left in enumerate(self.free) if left >= ask.share_milli and ask.count)
        return [i for _, i in able[: ask.count]] if len(able) >= ask.count else None


Score = Callable[[Machine, Ask, list[int]], int]


def best_fit(machine: Machine, ask: Ask, _gpus: list[int]) -> int:
    """Least CPU and GPU left, each by the largest node's."""
    cpu = (machine.spare[0] - ask.needs[0]) / MOST_CPU_MILLI
    gpu = (sum(machine.free) - ask.gpus_milli) / MOST_GPU_MILLI
    return int((1 - 0.5 * cpu - 0.5 * gpu) * 100)


def dot_product(machine: Machine, ask: Ask, _gpus: list[int]) -> int:
    """The smaller the product of what is free and what is asked, the better."""
    cpu = machine.spare[0] / MOST_CPU_MILLI * ask.needs[0] / MOST_CPU_MILLI
    gpu = sum(machine.free) / MOST_GPU_MILLI * ask.gpus_milli / MOST_GPU_MILLI
    return int(100 * (1 - (cpu + gpu) / 2))


def gpu_packing(machine: Machine, _ask: Ask, gpus: list[int]) -> int:
    """Shared GPUs first, then free ones of used nodes, then unused nodes."""
    whole = machine.free.count(WHOLE)
    if whole == len(machine.free):
        return max(33 - whole, whole)
    opened = sum(machine.free[i] == WHOLE for i in gpus)
    if opened:
        return max(50 - opened, 33)
    return max(100 - sum(machine.free[i] * 100 // WHOLE for i in gpus) // 10, 50)


def gpu_clustering(machine: Machine, ask: Ask, _gpus: list[int]) -> int:
    """Nodes with pods of the same class first, the fuller the better."""
    if not ask.count:
        return 0
    step = 25 * (MOST_GPU_MILLI - sum(machine.free)) // MOST_GPU_MILLI
    if class_of(ask) in machine.classes:
        return step + (75 if len(machine.classes) == 1 else 50)
    return step + (0 if machine.classes else 25)


def class_of(ask: Ask) -> str:
    """Return the class that clustering keeps together: parts of a GPU, or that many GPUs."""
    return "share" if ask.share_milli < WHOLE else f"{ask.count}-gpu"


class Packer:
    """Places pods on machines by a score; None scores at random. Remembers scores until a machine changes."""

    def __init__(self, machines: list[Machine], score: Score | None, rng: random.Random) -> None:
        self._machines = machines
        self._score = score
        self._rng = rng
        self._heaps: dict[Ask, tuple[list[tuple[int, float, int, int]], list[int]]] = {}
        self._changed: list[int] = []

    def place(self, ask: Ask) -> bool:
        """Place one pod; return whether any machine had room."""
        at = self._anywhere(ask) if self._score is None else self._best(ask)
        if at is None:
            return False
        machine = self._machines[at]
        gpus = machine.gpus_for(ask) or []
        if self._score is None and ask.share_milli < WHOLE and ask.count:
            gpus = [self._rng.choice([i for i, left in enumerate(machine.free) if left >= ask.share_milli])]
        for index in gpus:
            machine.free[index] -= ask.share_milli
        machine.spare = [have - need for have, need in zip(machine.spare, ask.needs, strict=True)]
        if ask.count:
            machine.classes.add(class_of(ask))
        machine.changes += 1
        self._changed.append(at)
        return True

    def _anywhere(self, ask: Ask) -> int | None:
        order = list(range(len(self._machines)))
        self._rng.shuffle(order)
        return next((at for at in order if self._machines[at].gpus_for(ask) is not None), None)

    def _best(self, ask: Ask) -> int | None:
        assert self._score is not None
        heap, seen = self._heaps.setdefault(ask, ([], [-1]))
        stale = range(len(self._machines)) if seen[0] < 0 else set(self._changed[seen[0] :])
        seen[0] = len(self._changed)
        for at in stale:
            machine = self._machines[at]
            gpus = machine.gpus_for(ask)
            if gpus is not None:
                score = self._score(machine, ask, gpus)
                heappush(heap, (-score, self._rng.random(), at, machine.changes))
        while heap and heap[0][3] != self._machines[heap[0][2]].changes:
            heappop(heap)
        return heap[0][2] if heap else None
