"""How far estimates of starts were right, and the correction that follows from it.

Every estimate is kept beside what the courses said before correction. The correction is conformal: of the last
estimates of about the same length, that factor is taken which would have made 90 % of them (for the middle: 50 %) hold
(split conformal prediction on the logarithm of the wait: Vovk et al.; Romano et al., 2019). The trap: jobs that still
wait are the ones that estimates failed for; left out, a rush hour would look fine until it is over.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import median

from dure.core.forecast.starts import Eta

AGES_S = (0.0, 300.0, 1800.0, 7200.0, 28_800.0, 86_400.0)
"""After how much waiting an estimate is put on record: the first one, and one at each further age."""
WINDOW = 300
_LEADS_S = (0.0, 60.0, 600.0, 3600.0, 21_600.0, math.inf)
_FLOOR_S = 20.0  # waits are compared as (wait + 20 s): nobody cares whether it was one second or three
_PRIOR = 12
_PRIOR_SPREAD = 0.15
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
    """The estimates on record, those that came true and those that are open. Bounded by WINDOW per length."""

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
            del kept[:-WINDOW]
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
                del kept[:-WINDOW]
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
        known = self._settled[lead]
        waits = [(issued.began_at or 0.0) - issued.issued_at for issued in known]
        off50 = [_off(wait, issued.raw50_s) for wait, issued in zip(waits, known, strict=True)]
        off90 = [_off(wait, issued.raw90_s) for wait, issued in zip(waits, known, strict=True)]
        for estimates in self.open.values():
            for issued in estimates:
                if _lead(issued.raw50_s) != lead:
                    continue
                waited_s = now - issued.issued_at
                if waited_s > issued.raw50_s:
                    off50.append(_off(waited_s, issued.raw50_s))
                if waited_s > issued.raw90_s:
                    off90.append(_off(waited_s, issued.raw90_s))
        return _quantile(off50, 0.5), _quantile(off90, 0.9)


def _lead(seconds: float) -> int:
    return next(place for place, (_, most) in enumerate(pairwise(_LEADS_S)) if seconds < most or most == math.inf)


def _off(wait_s: float, said_s: float) -> float:
    off = math.log((max(wait_s, 0.0) + _FLOOR_S) / (max(said_s, 0.0) + _FLOOR_S))
    return min(max(off, -_MOST), _MOST)


def _scaled(seconds: float, off: float) -> float:
    return max(0.0, (seconds + _FLOOR_S) * math.exp(off) - _FLOOR_S)


def _quantile(offs: list[float], part: float) -> float:
    """Return the conformal quantile; a few imagined estimates that held stand beside the first real ones."""
    imagined = [_PRIOR_SPREAD * (2.0 * (place + 0.5) / _PRIOR - 1.0) for place in range(_PRIOR)]
    centre = 0.0 if part == 0.5 else -_PRIOR_SPREAD * (2.0 * part - 1.0)
    ordered = sorted([*offs, *(off + centre for off in imagined)])
    rank = math.ceil(part * (len(ordered) + 1))
    return ordered[min(rank, len(ordered)) - 1]
