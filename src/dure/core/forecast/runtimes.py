"""How long a job will run, learned from those that ended: from its likes first, from everybody's when there are few.

Each ended job counts in a fixed number of groups (everyone, the team, the person, the name, the very script, and what
part of its limit a job uses). A prediction mixes its groups; how much each is trusted, given how much it has seen, is
itself learned from how well it foretold (exponentiated gradient on the log score: Kivinen and Warmuth, 1997). In groups
of many people a job counts the less the more its like has counted (as in Kneser and Ney, 1995), or one person's
thousand equal jobs would be what a newcomer is expected to run. Plain methods stand beside that mixture and take its
place where they foretold better lately, so that it is never much worse than they (Hedge: Freund and Schapire, 1997).
Learning and predicting take the same time whatever was learned before. The trap: a job that was ended (limit,
cancelled, lost) only tells that it would have run longer; counted as an end it would make later predictions too short.
"""

from __future__ import annotations

import math
import re
from collections import OrderedDict, deque
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from hashlib import blake2b
from statistics import median
from typing import Any

from dure.core.forecast.distribution import (
    BINS,
    Distribution,
    bin_of,
    edge_s,
    filled,
    lognormal,
    near,
    smoothed,
)
from dure.core.model import Job, Kind, Phase
from dure.core.reasons import Ended

MAX_GROUPS = 20_000
RECENT = 500
_PRIOR_SPREAD = 1.6
_USED_PART_OF_LIMIT = 0.25
_RATE = 0.2
_FORGOTTEN = 1e-3
_LEAST = 1e-4
_PARTS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
_HEDGE_MEMORY = 1000.0
_HANDICAP = 5.0  # what plain methods must have been better by, in sum, before they are believed as much
_MIXTURE, _EVERYONE = "mixture", "everyone"
_OPTIONS_LINE = "# %%gpu"  # what a notebook puts in the place of the magic's line
_DIGITS = re.compile(r"[0-9]+")


class Basis(StrEnum):
    """What a prediction rests on most."""

    SCRIPT = "script"
    NAME = "name"
    USER = "user"
    TEAM = "team"
    EVERYONE = "everyone"
    LIMIT = "limit"
    DEFAULT = "default"


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What is known of a job before it runs. `fingerprint` is of its code; `limit_s` is the requested time limit."""

    user: str
    team: str
    kind: str
    name: str
    environment: str
    tier: str | None
    gpus_milli: int
    fingerprint: str | None = None
    limit_s: float | None = None


@dataclass(frozen=True, slots=True)
class Likelihood:
    """A prediction. `held` is how long GPUs are held, however it ends; `done` how long it runs if it succeeds.

    `seen` counts the ended jobs of the group that it rests on most, with recent ones counting more.
    """

    held: Distribution
    done: Distribution
    basis: Basis
    seen: float


@dataclass(frozen=True, slots=True)
class Errors:
    """Median of |ln(predicted / real)| over the last ended jobs, for our median and for three plain methods.

    None where a method could not be measured yet; `count` is over how many jobs ours was measured.
    """

    count: int
    ours: float | None
    last_two: float | None
    limit: float | None
    global_median: float | None


@dataclass(frozen=True, slots=True)
class _Level:
    basis: Basis
    memory: float
    doubt: float  # how many jobs must have been seen before half of the trust counts; the default has the rest
    start: float  # the logarithm of how much the group is trusted before anything was learned
    relative: bool = False  # bins of runtime / limit instead of runtime
    shared: bool = False  # several people's jobs: equal ones count less and less


_LEVELS = (
    _Level(Basis.EVERYONE, 2000.0, 4.0, 0.0, shared=True),
    _Level(Basis.EVERYONE, 1000.0, 4.0, 0.3, shared=True),
    _Level(Basis.LIMIT, 1000.0, 4.0, 0.3, relative=True, shared=True),
    _Level(Basis.TEAM, 300.0, 4.0, 0.5, shared=True),
    _Level(Basis.TEAM, 200.0, 4.0, 0.8, shared=True),
    _Level(Basis.USER, 30.0, 2.0, 1.0),
    _Level(Basis.LIMIT, 30.0, 4.0, 1.2, relative=True),
    _Level(Basis.USER, 30.0, 2.0, 1.5),
    _Level(Basis.USER, 4.0, 2.0, 1.5),
    _Level(Basis.NAME, 20.0, 1.0, 2.0),
    _Level(Basis.NAME, 20.0, 1.0, 2.3),
    _Level(Basis.SCRIPT, 20.0, 0.5, 2.8),
    _Level(Basis.SCRIPT, 20.0, 0.5, 3.2),
)
_DEFAULT_START = -1.0
_Cell = tuple[Basis, int, int]  # what the nearest group is, the level, how much its group has seen
_OWN = 7  # the level whose groups tell how often a person's like was seen
_SEEN_STEPS = 5


def _keys(case: Case) -> tuple[tuple[Any, ...] | None, ...]:
    """Return the group of `case` at each level, None where it has none."""
    limit = None if case.limit_s is None else bin_of(case.limit_s)
    size = (case.tier, case.gpus_milli)
    person = (case.user, case.team)
    stem = _DIGITS.sub("#", case.name)
    share = None if limit is None else (2,)
    own_share = None if limit is None else (6, person)
    script = None if case.fingerprint is None else (11, person, case.fingerprint)
    exact = None if script is None else (12, person, case.fingerprint, case.environment, size, limit)
    return (
        (0,),
        (1, case.kind, case.gpus_milli, limit),
        share,
        (3, case.team),
        (4, case.team, case.kind, case.environment, size),
        (5, person),
        own_share,
        (7, person, case.kind, case.environment, size, limit),
        (8, person, case.kind),
        (9, person, stem),
        (10, person, case.name, size),
        script,
        exact,
    )


class _Group:
    """One group's weights by bin: `held` for any end, `done` for success; `seen` is their faded count."""

    __slots__ = ("done", "held", "seen", "total")

    def __init__(self) -> None:
        self.held: dict[int, float] = {}
        self.done: dict[int, float] = {}
        self.seen = 0.0
        self.total = 0

    def add(self, ended: tuple[dict[int, float], dict[int, float]], memory: float, shift: int, count: float) -> None:
        fade = 1.0 - count / memory
        self.seen = self.seen * fade + count
        self.total += 1
        _blend(self.held, ended[0], fade, shift, count)
        _blend(self.done, ended[1], fade, shift, count)


def _blend(into: dict[int, float], new: dict[int, float], fade: float, shift: int, count: float) -> None:
    for place, weight in tuple(into.items()):
        faded = weight * fade
        if faded < _FORGOTTEN:
            del into[place]
        else:
            into[place] = faded
    for place, weight in new.items():
        into[place - shift] = into.get(place - shift, 0.0) + weight * count


@dataclass(frozen=True, slots=True)
class _Source:
    """One thing that a mixture is made of: a group, or (level -1) the platform's default."""

    level: int
    held: dict[int, float]
    done: dict[int, float]
    seen: float
    shift: int
    cell: _Cell
    trust: float = 0.0


class History:
    """What ended jobs taught. One thread may learn while others predict from what was last published to them."""

    def __init__(self, default_s: float, max_groups: int = MAX_GROUPS) -> None:
        self._default_s = default_s
        self._priors: dict[int | None, dict[int, float]] = {}
        self._max_groups = max_groups
        self._groups: OrderedDict[tuple[Any, ...], _Group] = OrderedDict()
        self._everyone: dict[int, float] = {}
        self._logits: dict[_Cell, float] = {}
        self._losses: dict[str, float] = {}  # by method, beyond those of the mixture
        self._expected: OrderedDict[str, dict[str, tuple[float, ...]]] = OrderedDict()
        self._lasts: OrderedDict[tuple[str, str], tuple[float, ...]] = OrderedDict()
        self._errors: dict[str, deque[float]] = {
            name: deque(maxlen=RECENT) for name in ("ours", "last_two", "limit", "global_median")
        }
        self.learned = 0

    @property
    def groups(self) -> int:
        """How many groups are kept; never more than the bound."""
        return len(self._groups)

    def predict(self, case: Case) -> Likelihood:
        """Return how long a job like this holds GPUs and runs, at most its limit."""
        sources = self._sources(case)
        held, done = self._hedged(case, _mixed(sources))
        best = max(sources, key=lambda source: source.trust)
        basis = Basis.DEFAULT if best.level < 0 else _LEVELS[best.level].basis
        return Likelihood(Distribution(held, case.limit_s), Distribution(done, case.limit_s), basis, best.seen)

    def learn(
        self, case: Case, ran_s: float, phase: Phase, reason: str | None = None, *, job_id: str | None = None
    ) -> None:
        """Take in a job that ended after running `ran_s` seconds: succeeded, failed or cancelled, and why.

        Of one that was `expect`ed, each method's word is held against the truth.

        An end by limit, preemption or a lost worker says of either distribution only "longer than that"; a failure or
        a cancellation says it of `done` alone.
        """
        sources = self._sources(case)
        mixed = _mixed(sources)
        place = bin_of(ran_s)
        cut_off = phase is not Phase.SUCCEEDED and reason in _CUT_OFF
        if job_id is not None and not cut_off:
            self._hedge(job_id, ran_s)
        if not cut_off:
            self._measure(case, Distribution(self._hedged(case, mixed)[0], case.limit_s).quantile(0.5), ran_s)
            self._trust(sources, place)
            _blend(self._everyone, {place: 1.0}, 1.0 - 1.0 / _LEVELS[0].memory, 0, 1.0)
        held = _beyond(mixed[0], place) if cut_off else {place: 1.0}
        done = {place: 1.0} if phase is Phase.SUCCEEDED else _beyond(mixed[1], place)
        self._count(case, (held, done))
        if phase is Phase.SUCCEEDED:
            self._remember(case, ran_s)
        self.learned += 1

    def _count(self, case: Case, ended: tuple[dict[int, float], dict[int, float]]) -> None:
        keys = _keys(case)
        own = self._groups.get(keys[_OWN] or ())
        fresh = 1.0 / (1.0 + own.total) if own is not None else 1.0
        for level, key in zip(_LEVELS, keys, strict=True):
            if key is None:
                continue
            group = self._groups.get(key)
            if group is None:
                group = self._groups[key] = _Group()
            self._groups.move_to_end(key)
            shift = bin_of(case.limit_s or 0.0) if level.relative else 0
            group.add(ended, level.memory, shift, fresh if level.shared else 1.0)
        while len(self._groups) > self._max_groups:
            self._groups.popitem(last=False)

    def last_two_s(self, case: Case) -> float | None:
        """Return the mean of the person's last two runs, a plain method known to be hard to beat (Tsafrir, 2007)."""
        last = self._lasts.get((case.user, case.team))
        if not last:
            return None
        seconds = sum(last) / len(last)
        return seconds if case.limit_s is None else min(seconds, case.limit_s)

    def global_median_s(self) -> float | None:
        """Return the median of all runs, the plainest method."""
        half, passed = sum(self._everyone.values()) / 2.0, 0.0
        for place in sorted(self._everyone):
            passed += self._everyone[place]
            if passed >= half:
                return edge_s(place + 0.5)
        return None

    def errors(self) -> Errors:
        """Return how far predictions were off lately, ours beside the plain methods'."""
        found = {name: median(recent) if recent else None for name, recent in self._errors.items()}
        return Errors(len(self._errors["ours"]), **found)

    def _sources(self, case: Case) -> list[_Source]:
        """Return what is mixed for this case; their trusts add up to one."""
        limit = bin_of(case.limit_s or 0.0)
        kept = self._groups
        found = [(level, kept[key]) for level, key in enumerate(_keys(case)) if key is not None and key in kept]
        nearest = _LEVELS[found[-1][0]].basis if found else Basis.DEFAULT
        prior = self._prior(case)
        sources = [_Source(-1, prior, prior, 0.0, 0, (nearest, -1, 0))]
        for level, group in found:
            cell = (nearest, level, min(_SEEN_STEPS, int(math.log2(group.seen + 1.0))))
            shift = limit if _LEVELS[level].relative else 0
            sources.append(_Source(level, group.held, group.done, group.seen, shift, cell))
        logits = [self._logit(source.cell) for source in sources]
        top = max(logits)
        shares = [math.exp(logit - top) for logit in logits]
        total = sum(shares)
        weighed = []
        for source, share in zip(sources[1:], shares[1:], strict=True):
            seen = source.seen / (source.seen + _LEVELS[source.level].doubt)
            weighed.append(replace(source, trust=seen * share / total))
        rest = 1.0 - sum(source.trust for source in weighed)
        return [replace(sources[0], trust=rest), *weighed]

    def _prior(self, case: Case) -> dict[int, float]:
        """Return what is taken where nothing was seen: the platform's default, drawn to a part of the limit asked."""
        key = None if case.limit_s is None else bin_of(case.limit_s)
        if key not in self._priors:
            middle = self._default_s
            if case.limit_s is not None:
                middle = (middle * (case.limit_s * _USED_PART_OF_LIMIT) ** 2) ** (1.0 / 3.0)
            self._priors[key] = dict(enumerate(lognormal(middle, _PRIOR_SPREAD)))
        return self._priors[key]

    def _logit(self, cell: _Cell) -> float:
        _, level, seen = cell
        start = _DEFAULT_START if level < 0 else _LEVELS[level].start + 0.5 * seen
        return self._logits.get(cell, start)

    def _trust(self, sources: list[_Source], place: int) -> None:
        """Trust those more that gave the real runtime more weight than the mixture did."""
        chances = [
            near(source.held, place - source.shift) / max(sum(source.held.values()), _LEAST) + _LEAST
            for source in sources
        ]
        mixed = sum(source.trust * chance for source, chance in zip(sources, chances, strict=True))
        for source, chance in zip(sources, chances, strict=True):
            step = _RATE * source.trust * (chance / mixed - 1.0)
            self._logits[source.cell] = self._logit(source.cell) + step

    def _plain(self, case: Case) -> dict[str, float]:
        """Return what plain methods say, in seconds."""
        found = {"last_two": self.last_two_s(case), "limit": case.limit_s}
        return {method: seconds for method, seconds in found.items() if seconds is not None}

    def expect(self, job_id: str, case: Case) -> None:
        """Keep what each method says of a job now that it is submitted, to judge them when it has ended.

        Asked at its end they would know what its like, submitted with it, took.
        """
        said = {method: (math.log(max(seconds, 1.0)),) * len(_PARTS) for method, seconds in self._plain(case).items()}
        said[_MIXTURE] = _quantiles(_mixed(self._sources(case))[0], case.limit_s)
        if (everyone := self._groups.get((0,))) is not None:
            said[_EVERYONE] = _quantiles(filled(everyone.held), case.limit_s)
        self._expected[job_id] = said
        while len(self._expected) > self._max_groups:
            self._expected.popitem(last=False)

    def _hedge(self, job_id: str, real_s: float) -> None:
        """Count what each method lost against the mixture: the mean pinball loss of the logarithm over its deciles."""
        said, real = self._expected.pop(job_id, {}), math.log(max(real_s, 1.0))
        lost = {
            method: sum(
                max(part * (real - log), (part - 1.0) * (real - log)) for part, log in zip(_PARTS, logs, strict=True)
            )
            for method, logs in said.items()
        }
        for method, loss in lost.items():
            known = self._losses.get(method, 0.0)
            more = 2.0 * (loss - lost[_MIXTURE]) / len(_PARTS)
            self._losses[method] = known * (1.0 - 1.0 / _HEDGE_MEMORY) + more

    def _hedged(self, case: Case, mixed: tuple[list[float], list[float]]) -> tuple[list[float], list[float]]:
        """Return the mixture with each plain method in it as far as that lost less lately."""
        methods = {_MIXTURE: mixed}
        if (everyone := self._groups.get((0,))) is not None:
            methods[_EVERYONE] = filled(everyone.held), filled(everyone.done)
        for method, seconds in self._plain(case).items():
            point = smoothed(filled({bin_of(seconds): 1.0}))
            methods[method] = point, point
        losses = {method: self._losses.get(method, 0.0) + _HANDICAP * (method != _MIXTURE) for method in methods}
        least = min(losses.values())
        shares = {method: math.exp(least - lost) for method, lost in losses.items()}
        total = sum(shares.values())
        held, done = [0.0] * BINS, [0.0] * BINS
        for method, share in shares.items():
            if share / total > _FORGOTTEN:
                for into, weights in zip((held, done), methods[method], strict=True):
                    scale = share / total / max(sum(weights), _LEAST)
                    into[:] = [known + scale * weight for known, weight in zip(into, weights, strict=True)]
        return held, done

    def _measure(self, case: Case, ours_s: float, real_s: float) -> None:
        guesses = {
            "ours": ours_s,
            "last_two": self.last_two_s(case),
            "limit": case.limit_s,
            "global_median": self.global_median_s(),
        }
        for name, guess in guesses.items():
            if guess is not None:
                self._errors[name].append(abs(_off(guess, real_s)))

    def _remember(self, case: Case, ran_s: float) -> None:
        key = (case.user, case.team)
        self._lasts[key] = (*self._lasts.get(key, ()), ran_s)[-2:]
        self._lasts.move_to_end(key)
        while len(self._lasts) > self._max_groups:
            self._lasts.popitem(last=False)


_CUT_OFF = frozenset({Ended.TIMEOUT, Ended.WORKER_LOST, Ended.TOO_MANY_LOSSES, Ended.PREEMPTED, Ended.DISK_FULL})


def _beyond(weights: list[float], place: int) -> dict[int, float]:
    """Return one unit of weight shared among the bins after `place` as `weights` has it (Efron's redistribution)."""
    tail = {later: weights[later] for later in range(place + 1, BINS) if weights[later] > 0.0}
    total = sum(tail.values())
    if total <= 0.0:
        return {min(BINS - 1, place + 5): 1.0}  # twice as long: nobody has seen longer
    return {later: weight / total for later, weight in tail.items() if weight > total * _FORGOTTEN}


def _pour(into: list[float], weights: dict[int, float], shift: int, trust: float) -> None:
    total = sum(weights.values())
    if total <= 0.0:
        return
    for place, weight in weights.items():
        into[min(max(place + shift, 0), BINS - 1)] += trust * weight / total


def _off(said_s: float, real_s: float) -> float:
    return math.log(max(said_s, 1.0) / max(real_s, 1.0))


def _quantiles(weights: list[float], limit_s: float | None) -> tuple[float, ...]:
    known = Distribution(weights, limit_s)
    return tuple(math.log(max(known.quantile(part), 1.0)) for part in _PARTS)


def _mixed(sources: list[_Source]) -> tuple[list[float], list[float]]:
    held, done = [0.0] * BINS, [0.0] * BINS
    for source in sources:
        _pour(held, source.held, source.shift, source.trust)
        _pour(done, source.done, source.shift, source.trust)
    return smoothed(held), smoothed(done)


def case_of(job: Job) -> Case:
    """Return what is known of `job` before it runs. A kept cell is a kind of its own: its end is the session's."""
    return Case(
        user=job.user,
        team=job.team,
        kind="kept" if job.keep_s > 0 else job.kind.value,
        name=job.name,
        environment=job.environment,
        tier=job.request.tier,
        gpus_milli=job.request.gpus_milli,
        fingerprint=job.fingerprint,
        limit_s=job.timeout_s,
    )


def fingerprint(kind: Kind, payload: Mapping[str, Any]) -> str | None:
    """Return a short digest of what the job executes: a cell's code, a command's words, a function's source.

    None when the payload tells nothing of it. Equal code gives equal digests; the values it reads do not count.
    """
    told = {Kind.CELL: ("code",), Kind.COMMAND: ("argv",), Kind.FUNCTION: ("sources",)}[kind]
    parts = [repr(payload[key]) for key in told if key in payload]
    if kind is Kind.CELL and str(payload.get("code", "")).startswith(_OPTIONS_LINE):
        parts = [str(payload["code"]).partition("\n")[2]]  # its options are not its code
    if not parts:
        return None
    return blake2b("\0".join(parts).encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
