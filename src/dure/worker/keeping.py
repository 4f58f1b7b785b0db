"""Knows whether a kept user process rests between two cells, until when, and which cell it is handed next.

Noted by the runner; nothing here touches the process. The trap: the order for the next cell may come before the user
process has asked for it, so an order waits for the question and the question for an order.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dure.wire.cells import MAX_KEEP_S
from dure.worker.spec import AttemptSpec

MAX_CELLS = 1000
MAX_SPOOLS = 16  # output of all cells together, in bounds of one
NOT_KEPT = "No process is kept here for a next cell."
GO = {"go": "end"}


@dataclass(slots=True)
class Keeping:
    """One attempt's keep. `until` is monotonic and None but between two cells; `result` is how the last cell ended."""

    keep_s: float
    session_s: float
    output_bytes: int
    until: float | None = None
    result: dict[str, Any] | None = None
    order: Mapping[str, Any] | None = None
    question: int | None = None
    cells: int = 1
    going: bool = False

    @classmethod
    def of(cls, spec: AttemptSpec) -> Keeping:
        """Return the keep that an attempt begins with."""
        keep_s = spec.keep_s if spec.kind == "cell" else 0.0
        return cls(min(keep_s, MAX_KEEP_S), spec.keep_session_s, spec.limits.output_bytes)

    @property
    def rests(self) -> bool:
        """Whether no cell runs: the process waits for one, or was told to go."""
        return self.result is not None

    def rest(self, result: dict[str, Any], now: float) -> None:
        """A cell has ended with `result`, and the process waits from `now` on (monotonic seconds)."""
        self.result = result
        self.until = now + self.keep_s

    def go(self) -> None:
        """Let the process end: at once where it rests, else after its cell."""
        self.keep_s = 0.0
        if self.rests:
            self.until, self.order, self.going = None, GO, True

    def refusal(self, ran_s: float, spool_bytes: int) -> str | None:
        """Return why no next cell is taken, None when one is."""
        if not self.rests or self.going:
            return NOT_KEPT
        if self.cells >= MAX_CELLS or spool_bytes > MAX_SPOOLS * self.output_bytes or ran_s > self.session_s:
            return "This process was kept for too long or printed too much to take another cell."
        return None

    def take(self, order: Mapping[str, Any]) -> None:
        """Begin a next cell."""
        self.keep_s = min(max(0.0, float(order.get("keep_s") or 0.0)), MAX_KEEP_S)
        self.until = self.result = None
        self.order = {"cell": dict(order)}
        self.cells += 1

    def answer(self) -> dict[str, Any] | None:
        """Return the answer to the user process, once it has asked and there is an order for it; each is given once."""
        if self.question is None or self.order is None:
            return None
        told = {**self.order, "id": self.question}
        self.question = self.order = None
        return told
