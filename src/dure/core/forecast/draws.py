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
_TOGETHER = 0.4
_DOUBT = 20.0  # ended jobs of a kind after which half of what its jobs shared is known
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

    A person's jobs of one kind are long together or short together: what is not known of the first is not known of the
    others either, and a queue of them would else look more certain than it is (a Gaussian copula). The more ended jobs
    (`seen`) that rests on, the less they share: what is known by then is no longer in doubt.
    """
    kind = f"{job.team}/{job.user}/{_DIGITS.sub('#', job.name)}"
    own, shared = deviation_of(place(job.id, number)), deviation_of(place(kind, number, _SILVER))
    together = _TOGETHER * _DOUBT / (_DOUBT + seen)
    return _NORMAL.cdf(math.sqrt(together) * shared + math.sqrt(1.0 - together) * own)


def deviation_of(part: float) -> float:
    """Return how many standard deviations a quantile of a normal distribution is from its middle."""
    return _NORMAL.inv_cdf(min(max(part, _EDGE), 1.0 - _EDGE))


def sampled(distribution: Distribution, job: Job, now: float, part: float) -> float:
    """Return how long `job` runs from `now` on at a quantile, given how long it has run."""
    if job.phase is Phase.RUNNING and job.began_at is not None:
        return distribution.remaining(part, now - job.began_at)
    return distribution.quantile(part)
