"""How far estimates of starts were right, and the correction of p90 that follows from it.

Every estimate is kept beside what the courses said before correction. The middle stays as the courses have it; p90 is
stretched or narrowed by the tracker of estimates of about the same length, and is never before the middle. An estimate
is known to have kept its p90 when the job starts, and not to have as soon as it waits longer. The trap: whatever is
corrected by must be rebuilt from the estimates alone, for a platform is restarted; so nothing hangs on when a start was
noticed.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import median

from dure.core.forecast.starts import Eta
from dure.core.forecast.tracking import Rush, Tracker

AGES_S = (0.0, 300.0, 1800.0, 7200.0, 28_800.0, 86_400.0)
"""After how much waiting an estimate is put on record: the first one, and one at each further age."""
WINDOW = 300
"""How many of the last jobs the accuracy is of."""
_LEADS_S = (0.0, 60.0, 600.0, 3600.0, 21_600.0, math.inf)
_FLOOR_S = 20.0  # waits are compared as (wait + 20 s): nobody cares whether it was one second or three


@dataclass(frozen=True, slots=True)
class Issued:
    """One estimate on record. `raw50_s` and `raw90_s` are what the courses said, the other two what people saw.

    `number` is its place in AGES_S. `began_at` is the job's real start, None while it waits.
    """

    job_id: str
    number: int
    issued_at: float
    raw50_s: float
    raw90_s: float
    p50_s: float
    p90_s: float
    began_at: float | None = None


@dataclass(frozen=True, slots=True)
class Accuracy:
    """How the last estimates did: `within_p90` is the part that started before their p90. None: nothing to tell yet."""

    count: int
    within_p90: float | None
    median_error_s: float | None


class Record:
    """The estimates on record: those of jobs that still wait, the last that came true, and what all of them taught."""

    def __init__(self) -> None:
        self.open: dict[str, list[Issued]] = {}  # by job, of those that have not started
        self._rushes: dict[tuple[str, int], Rush] = {}  # of open estimates
        self._late: set[tuple[str, int]] = set()  # open estimates that wait past their p90
        self._tracker = Tracker(len(_LEADS_S) - 1)
        self._stretches: dict[int, float] = {}
        self._firsts: deque[Issued] = deque(maxlen=WINDOW)

    def due(self, job_id: str, waited_s: float) -> int | None:
        """Return the number of the estimate that is to be put on record for a job now, None when there is none."""
        number = sum(1 for age_s in AGES_S[1:] if waited_s >= age_s)
        known = self.open.get(job_id)
        return number if not known or known[-1].number < number else None

    def issue(self, issued: Issued) -> None:
        """Put an estimate on record, in order of time."""
        self.open.setdefault(issued.job_id, []).append(issued)
        rush = self._tracker.rush(_lead(issued.raw50_s), issued.issued_at, issued.p90_s)
        self._rushes[issued.job_id, issued.number] = rush

    def settle(self, job_id: str, began_at: float | None) -> tuple[Issued, ...]:
        """Close a job's estimates at its start and return them; None: it never started, and they count for nothing."""
        closed = [replace(issued, began_at=began_at) for issued in self.open.pop(job_id, [])]
        for issued in closed:
            key = (job_id, issued.number)
            rush, counted = self._rushes.pop(key), key in self._late
            rush.known += (began_at is not None) - counted
            rush.late += (began_at is not None and not _kept(issued, began_at)) - counted
            self._late.discard(key)
            if began_at is not None and issued.number == 0:
                self._firsts.append(issued)
        self._stretches.clear()
        return tuple(closed)

    def load(self, issued: Iterable[Issued]) -> None:
        """Take in what was on record, as it happened."""
        known = [*issued]
        happened = [(one.issued_at, False, one) for one in known]
        happened += [(one.began_at, True, one) for one in known if one.began_at is not None]
        for at, began, one in sorted(happened, key=lambda event: (*event[:2], event[2].number, event[2].job_id)):
            if not began:
                self.issue(replace(one, began_at=None))
            elif one.job_id in self.open:
                self.settle(one.job_id, at)

    def refresh(self, now: float) -> None:
        """Note who waits past the p90 that was told: that is known before they start."""
        for estimates in self.open.values():
            for issued in estimates:
                key = (issued.job_id, issued.number)
                if key not in self._late and not _kept(issued, now):
                    self._late.add(key)
                    self._rushes[key].known += 1
                    self._rushes[key].late += 1
        self._stretches.clear()

    def corrected(self, eta: Eta) -> Eta:
        """Return the estimate as it is to be shown; p90 is never before p50."""
        if eta.p50_s is None or eta.p90_s is None:
            return eta
        lead = _lead(eta.p50_s)
        if lead not in self._stretches:
            self._stretches[lead] = math.exp(self._tracker.log_stretch(lead))
        return replace(eta, p90_s=max(eta.p50_s, (eta.p90_s + _FLOOR_S) * self._stretches[lead] - _FLOOR_S))

    def accuracy(self) -> Accuracy:
        """Return how the first estimates of the last jobs did."""
        firsts = self._firsts
        if not firsts:
            return Accuracy(0, None, None)
        waits = [(issued.began_at or 0.0) - issued.issued_at for issued in firsts]
        within = sum(wait <= issued.p90_s for wait, issued in zip(waits, firsts, strict=True))
        errors = [abs(wait - issued.p50_s) for wait, issued in zip(waits, firsts, strict=True)]
        return Accuracy(len(firsts), within / len(firsts), median(errors))


def _kept(issued: Issued, at: float) -> bool:
    """Return whether a start at `at` keeps the p90 that was told."""
    return at - issued.issued_at <= issued.p90_s


def _lead(seconds: float) -> int:
    return next(place for place, (_, most) in enumerate(pairwise(_LEADS_S)) if seconds < most or most == math.inf)
