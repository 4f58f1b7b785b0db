"""A trace: the jobs of a past or invented time, whatever file they come from, and every row that could not be read.

A reader takes one row at a time and either gives a job, leaves the row out for a reason (`LeftOut`) or says what is
wrong with it (`BadRow`). The trap: a row left out is no error but is counted all the same, so that nobody believes that
a simulation had jobs that it had not.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from dure.core.reservations import Reservation

MAX_JOBS = 2_000_000
MAX_AT = 1e11  # seconds; beyond it no date is, and nobody has so many GPUs
WHOLE_GPU_MILLI = 1000
Place = int | str
"""Where a row stands: its line, or "line:column" where several share one."""
_LABEL = re.compile(r"[^a-z0-9]+")
_EMPTY = frozenset({"", "none", "null", "nan", "na", "n/a", "unknown", "-"})


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceJob:
    """One job of a trace. Times are seconds since the epoch (or since the trace's own beginning); `run_s` is the truth.

    `nodes` None: as few as its GPUs need. `predicted_s` None: nobody foretold it. `timeout_s` is what its owner asked.
    `checkpoint_s`: how often it saved its work; None: not known.
    """

    id: str
    submitted_at: float
    run_s: float
    gpus_milli: int = WHOLE_GPU_MILLI
    nodes: int | None = None
    tier: str | None = None
    user: str = ""
    team: str = ""
    name: str = ""
    priority: str | int | None = None
    deadline_at: float | None = None
    timeout_s: float | None = None
    predicted_s: float | None = None
    checkpoint_s: float | None = None
    burstable: bool = True
    budget: str = "flex"
    data_class: str | None = None

    @property
    def gpus(self) -> float:
        """How many GPUs."""
        return self.gpus_milli / WHOLE_GPU_MILLI


@dataclass(frozen=True, slots=True)
class Broken:
    """One row that cannot be read: its place, what is wrong (a code of `words.BROKEN`) and the particulars."""

    line: Place
    code: str
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Trace:
    """All of a file. `left_out` counts rows that are no GPU work, by reason; `document` is what the file itself says
    of its cluster and queues, as a part of a platform file. `reservations` are those that people made meanwhile.
    """

    name: str
    format: str
    jobs: tuple[TraceJob, ...]
    broken: tuple[Broken, ...] = ()
    left_out: Mapping[str, int] = field(default_factory=dict)
    document: Mapping[str, Any] = field(default_factory=dict)
    reservations: tuple[Reservation, ...] = ()

    @property
    def teams(self) -> tuple[str, ...]:
        """The teams that submit, the busiest first."""
        return tuple(team for team, _ in Counter(job.team for job in self.jobs).most_common())


class BadRow(Exception):  # noqa: N818 - it is a row that is bad, told and counted, no failure of the program
    """What is wrong with one row."""

    def __init__(self, code: str, **data: Any) -> None:
        super().__init__(code)
        self.code = code
        self.data = data


class LeftOut(Exception):  # noqa: N818 - as BadRow
    """A row that is no GPU work that ended: why, as a code of `words.LEFT_OUT`."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Row:
    """One row by column, with values read strictly: what does not fit raises BadRow."""

    __slots__ = ("_values",)

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = values

    def has(self, column: str) -> bool:
        """Return whether there is a value."""
        value = self._values.get(column)
        return value is not None and str(value).strip().lower() not in _EMPTY

    def raw(self, column: str) -> Any:
        """Return the value as it is, None without one."""
        return self._values.get(column)

    def text(self, column: str, default: str | None = None) -> str:
        """Return the text, or `default`; without one an empty value is a BadRow."""
        if self.has(column):
            return str(self._values[column]).strip()
        if default is None:
            raise BadRow("missing", column=column)
        return default

    def number(self, column: str, default: float | None = None, *, least: float = 0.0) -> float:
        """Return the number, at least `least` and at most MAX_AT."""
        if default is not None and not self.has(column):
            return default
        text = self.text(column)
        try:
            value = float(text)
        except ValueError:
            raise BadRow("not_number", column=column, value=text[:60]) from None
        if not value >= least or value == float("inf"):
            raise BadRow("too_small", column=column, value=text[:60], least=least)
        if value > MAX_AT:
            raise BadRow("too_large", column=column, value=text[:60])
        return value

    def optional(self, column: str) -> float | None:
        """Return the number, or None when there is none."""
        return self.number(column) if self.has(column) else None

    def time(self, column: str) -> float:
        """Return the time in seconds: ISO 8601 (UTC unless it says otherwise) or a number of seconds."""
        text = self.text(column)
        try:
            seconds = float(text)
        except ValueError:
            pass
        else:
            if abs(seconds) <= MAX_AT:
                return seconds
            raise BadRow("not_time", column=column, value=text[:60])
        try:
            found = datetime.fromisoformat(text)
        except ValueError:
            raise BadRow("not_time", column=column, value=text[:60]) from None
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()

    def time_or_none(self, column: str) -> float | None:
        """Return the time, or None when there is none."""
        return self.time(column) if self.has(column) else None

    def gpus_milli(self, column: str) -> int:
        """Return a number of GPUs in thousandths; LeftOut for none, BadRow for a part of several."""
        gpus = self.number(column)
        milli = round(gpus * WHOLE_GPU_MILLI)
        if milli == 0:
            raise LeftOut("cpu_only")
        if milli > WHOLE_GPU_MILLI and milli % WHOLE_GPU_MILLI:
            raise BadRow("part_of_several", column=column, value=self.text(column)[:60])
        return milli

    def flag(self, column: str, *, default: bool) -> bool:
        """Return yes or no."""
        if not self.has(column):
            return default
        text = self.text(column).lower()
        if text in ("1", "true", "yes"):
            return True
        if text in ("0", "false", "no"):
            return False
        raise BadRow("not_flag", column=column, value=text[:60])


def label(text: str) -> str:
    """Return a text as a name that a platform file may have."""
    return _LABEL.sub("-", text.lower()).strip("-")[:60]


class Gathering:
    """Collects what a reader makes of its rows."""

    def __init__(self) -> None:
        self.jobs: list[TraceJob] = []
        self.broken: list[Broken] = []
        self.left_out: Counter[str] = Counter()

    def trace(self, name: str, kind: str, document: Mapping[str, Any] | None = None) -> Trace:
        """Return the trace, its jobs in the order of submission (rows of the same time in the file's order)."""
        jobs = sorted(self.jobs, key=lambda job: job.submitted_at)
        return Trace(name, kind, tuple(jobs), tuple(self.broken), dict(self.left_out), document or {})

    def bad(self, line: Place, error: BadRow) -> None:
        """Note a row that cannot be read."""
        self.broken.append(Broken(line, error.code, error.data))
