"""How far estimates of starts were right, and the correction that follows from it.

Every estimate is kept beside what the courses said before correction. An estimate is stretched or narrowed only as far
as the record leaves no doubt (`_SURE` on either side of the 90 %, or 50 %, quantile of real over estimated wait); with
little on record it stays as the courses have it. Two traps. Those who waited little end first, so jobs that still wait
count as "longer than that" (Kaplan and Meier, 1958): left out, a rush hour looks fine until it is over, and what is
left of it looks too short. And sixty jobs estimated together, or before the
first one's p90 is over, see one future, not sixty: they count as one.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import median

from dure.core.forecast.starts import Eta

AGES_S = (0.0, 300.0, 1800.0, 7200.0, 28_800.0, 86_400.0)
"""After how much waiting an estimate is put on record: the first one, and one at each further age."""
WINDOW = 300
KEPT = 1_000
"""How many estimates that came true are kept for each length of wait."""
_LEADS_S = (0.0, 60.0, 600.0, 3600.0, 21_600.0, math.inf)
_FLOOR_S = 20.0  # waits are compared as (wait + 20 s): nobody cares whether it was one second or three
_SURE = 1.28  # standard errors: nine of ten on either side
_PRIOR = 2.0  # moments at which an estimate is imagined to have been exactly right
_MOST = math.log(30.0)


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
    """The estimates on record, those that came true and those that are open. Bounded by KEPT per length."""

    def __init__(self) -> None:
        self._settled: list[list[Issued]] = [[] for _ in pairwise(_LEADS_S)]
        self.open: dict[str, list[Issued]] = {}  # by job, of those that have not started
        self._factors: dict[int, tuple[float, float]] = {}

    def due(self, job_id: str, waited_s: float) -> int | None:
        """Return the number of the estimate that is to be put on record for a job now, None when there is none."""
        number = sum(1 for age_s in AGES_S[1:] if waited_s >= age_s)
        known = self.open.get(job_id)
        return number if not known or known[-1].number < number else None

    def issue(self, issued: Issued) -> None:
        """Put an estimate on record."""
        self.open.setdefault(issued.job_id, []).append(issued)

    def settle(self, job_id: str, began_at: float | None) -> tuple[Issued, ...]:
        """Close a job's estimates at its start and return them; None: it never started, and they count for nothing."""
        closed = self.open.pop(job_id, [])
        if began_at is None:
            return tuple(closed)
        settled = tuple(replace(issued, began_at=began_at) for issued in closed)
        for issued in settled:
            kept = self._settled[_lead(issued.raw50_s)]
            kept.append(issued)
            del kept[:-KEPT]
        self._factors.clear()
        return settled

    def load(self, issued: Iterable[Issued]) -> None:
        """Take in what was on record, oldest first."""
        for estimate in issued:
            if estimate.began_at is None:
                self.issue(estimate)
            else:
                kept = self._settled[_lead(estimate.raw50_s)]
                kept.append(estimate)
                del kept[:-KEPT]
        self._factors.clear()

    def corrected(self, eta: Eta, now: float) -> Eta:
        """Return the estimate as it is to be shown; p90 is never before p50."""
        if eta.p50_s is None:
            return eta
        lead = _lead(eta.p50_s)
        if lead not in self._factors:
            self._factors[lead] = self._factors_of(lead, now)
        middle, late = self._factors[lead]
        p50_s = _scaled(eta.p50_s, middle)
        p90_s = None if eta.p90_s is None else max(p50_s, _scaled(eta.p90_s, late))
        return replace(eta, p50_s=p50_s, p90_s=p90_s)

    def refresh(self) -> None:
        """Look at open estimates anew: time has passed for those who still wait."""
        self._factors.clear()

    def accuracy(self, last: int = WINDOW) -> Accuracy:
        """Return how the first estimates of the last jobs did."""
        firsts = [issued for kept in self._settled for issued in kept if issued.number == 0]
        firsts = sorted(firsts, key=lambda issued: issued.began_at or 0.0)[-last:]
        if not firsts:
            return Accuracy(0, None, None)
        waits = [(issued.began_at or 0.0) - issued.issued_at for issued in firsts]
        within = sum(wait <= issued.p90_s for wait, issued in zip(waits, firsts, strict=True))
        errors = [abs(wait - issued.p50_s) for wait, issued in zip(waits, firsts, strict=True)]
        return Accuracy(len(firsts), within / len(firsts), median(errors))

    def _factors_of(self, lead: int, now: float) -> tuple[float, float]:
        """Return the logarithms by which p50 and p90 of this length are to be scaled."""
        waiting = [one for estimates in self.open.values() for one in estimates if _lead(one.raw50_s) == lead]
        seen = [*self._settled[lead], *waiting]
        shares = _shares(seen)
        off50, off90 = list[_Seen](), list[_Seen]()
        for issued, weight in zip(seen, shares, strict=True):
            ended = issued.began_at is not None
            wait_s = (now if issued.began_at is None else issued.began_at) - issued.issued_at
            off50.append((_off(wait_s, issued.raw50_s), not ended, weight))
            off90.append((_off(wait_s, issued.raw90_s), not ended, weight))
        return _factor(off50, 0.5), _factor(off90, 0.9)


_Seen = tuple[float, bool, float]  # the logarithm of real over estimated wait, whether it is only a least one, weight


def _shares(seen: list[Issued]) -> list[float]:
    """Return what each estimate counts: those issued within the first one's p90 speak of one time and count one."""
    until, moment = -math.inf, 0
    moments: dict[int, int] = {}
    for place in sorted(range(len(seen)), key=lambda place: seen[place].issued_at):
        if seen[place].issued_at >= until:
            until, moment = seen[place].issued_at + max(seen[place].raw90_s, 1.0), place
        moments[place] = moment
    sizes = Counter(moments.values())
    return [1.0 / sizes[moments[place]] for place in range(len(seen))]


def _lead(seconds: float) -> int:
    return next(place for place, (_, most) in enumerate(pairwise(_LEADS_S)) if seconds < most or most == math.inf)


def _off(wait_s: float, said_s: float) -> float:
    off = math.log((max(wait_s, 0.0) + _FLOOR_S) / (max(said_s, 0.0) + _FLOOR_S))
    return min(max(off, -_MOST), _MOST)


def _scaled(seconds: float, off: float) -> float:
    return max(0.0, (seconds + _FLOOR_S) * math.exp(off) - _FLOOR_S)


def _factor(seen: list[_Seen], part: float) -> float:
    """Return 0, or the end of the quantile's confidence interval nearest to it when 0 is not within."""
    moments = sum(weight for off, longer, weight in seen if not longer or off > 0.0)  # the others tell nothing yet
    if moments <= 0.0:
        return 0.0
    error = _SURE * math.sqrt(part * (1.0 - part) / moments)
    low, high = _quantiles([*seen, (0.0, False, _PRIOR)], (part - error, part + error))
    return max(low, 0.0) + min(high, 0.0)


def _quantiles(seen: list[_Seen], parts: tuple[float, float]) -> tuple[float, float]:
    """Return quantiles by the product limit; above what is known: the most there was, and at least 0."""
    at_risk = sum(weight for _, _, weight in seen)
    low, high = -math.inf, math.inf
    left = 1.0
    for off, longer, weight in sorted(seen):
        if not longer:
            left *= max(0.0, 1.0 - weight / at_risk)
            if low == -math.inf and 1.0 - left >= parts[0]:
                low = off
            if 1.0 - left >= parts[1]:
                return low, off
        at_risk = max(at_risk - weight, 1e-9)
    return (max(0.0, max(seen)[0]) if low == -math.inf else low), high
