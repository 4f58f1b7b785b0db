"""At which quantile of its runtime a course draws each job.

The quantiles of a job belong to the job, not to the moment, and are spread evenly over any run of courses, so that an
estimate moves when something happened and not by chance. The trap: jobs of one kind are long or short together, as
long as little is known of that kind; drawn apart, a queue of them looks more certain than it is.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from statistics import NormalDist
from zlib import crc32

from dure.core.forecast.distribution import Distribution
from dure.core.model import Job, Phase

_GOLDEN = 0.6180339887498949
_SILVER = 0.4142135623730951
_BRONZE = 0.3027756377319946
_OF_A_KIND = 0.4
_KIND_DOUBT = 20.0  # ended jobs of a kind after which half of what its jobs share is known
_OF_A_BURST, _OF_A_NEW_BURST = 0.4, 0.9
_BURST_DOUBT = 3.0
_BURST_S = 600.0
_EDGE = 1e-3
_NORMAL = NormalDist()
_DIGITS = re.compile(r"[0-9]+")

Remaining = Callable[[Job, float], float]
"""Returns how long a job runs from now on, in seconds, at a quantile."""


def place(name: str, number: int, stride: float = _GOLDEN) -> float:
    """Return the quantile, between 0 and 1, at which the `number`-th course draws the runtime of a job.

    A job's quantiles are spread evenly over any run of courses (the golden ratio's sequence, begun at its own place).
    """
    return (crc32(name.encode()) / 2**32 + (number + 0.5) * stride) % 1.0


def drawn(job: Job, number: int, seen: float = 0.0) -> float:
    """Return the quantile at which the `number`-th course draws how long a job runs.

    A person's jobs of one kind are long together or short together, and those of one size that were submitted within
    the same ten minutes much more so: what is not known of the first is not known of the others either (a Gaussian
    copula with two common factors). The more ended jobs (`seen`) a prediction rests on, the less of that is left;
    jobs of one burst go on sharing two fifths, for a person tries something new in bursts. The shares are those that
    deviations of such jobs had in Eagle's and in Philly's traces (docs/decisions/0015).
    """
    kind = f"{job.team}/{job.user}/{_DIGITS.sub('#', job.name)}"
    burst = f"{kind}/{job.request.gpus_milli}/{int(job.submitted_at // _BURST_S)}"
    of_kind = _OF_A_KIND * _KIND_DOUBT / (_KIND_DOUBT + seen)
    together = _OF_A_BURST + (_OF_A_NEW_BURST - _OF_A_BURST) * _BURST_DOUBT / (_BURST_DOUBT + seen)
    parts = (of_kind, together - of_kind, 1.0 - together)
    places = (place(kind, number, _SILVER), place(burst, number, _BRONZE), place(job.id, number))
    return _NORMAL.cdf(sum(math.sqrt(part) * deviation_of(at) for part, at in zip(parts, places, strict=True)))


def deviation_of(part: float) -> float:
    """Return how many standard deviations a quantile of a normal distribution is from its middle."""
    return _NORMAL.inv_cdf(min(max(part, _EDGE), 1.0 - _EDGE))


def sampled(distribution: Distribution, job: Job, now: float, part: float) -> float:
    """Return how long `job` runs from `now` on at a quantile, given how long it has run."""
    if job.phase is Phase.RUNNING and job.began_at is not None:
        return distribution.remaining(part, now - job.began_at)
    return distribution.quantile(part)
