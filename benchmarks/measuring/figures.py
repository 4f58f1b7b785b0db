"""Figures and the tables they are printed in. A time is in seconds; a table shows milliseconds or seconds.

The trap: a ratio says "x times as long as ours" of the peer, so more than 1 is in our favour.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Timed:
    """Times of the same thing done again and again, in seconds."""

    seconds: tuple[float, ...]

    def quantile(self, part: float) -> float:
        """Return the smallest time that at least `part` of all times do not exceed (nearest rank)."""
        ordered = sorted(self.seconds)
        return ordered[max(0, math.ceil(part * len(ordered)) - 1)]

    @property
    def p50(self) -> float:
        """The middle one."""
        return self.quantile(0.5)


def timed(action: Callable[[], object], times: int, pause_s: float = 0.0) -> Timed:
    """Return how long `action` takes, `times` times."""
    found = []
    for _ in range(times):
        begin = time.perf_counter()
        action()
        found.append(time.perf_counter() - begin)
        time.sleep(pause_s)
    return Timed(tuple(found))


def shown(seconds: float) -> str:
    """Return a time in the unit that people read best."""
    if seconds >= 1:
        return f"{seconds:.2f} s"
    return f"{seconds * 1e3:.0f} ms" if seconds >= 0.1 else f"{seconds * 1e3:.1f} ms"


def mebi(count: float) -> str:
    """Return bytes in MiB."""
    return f"{count / 2**20:.0f} MiB"


def ratio(theirs: float, ours: float) -> str:
    """Return how many times ours theirs is; below 1 they are faster or smaller, and it says so."""
    times = theirs / ours
    digits = f"{times:.1f}" if times >= 1 else f"{times:.2g}"
    return f"{digits}×" if times >= 1 else f"{digits}× (we are {1 / times:.1f}× slower)"


def table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a Markdown table."""
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)) + " |"

    print(f"\n### {title}\n")
    print(line(head))
    print("|" + "|".join("-" * (width + 2) for width in widths) + "|")
    for row in rows:
        print(line(row))
    print(flush=True)
