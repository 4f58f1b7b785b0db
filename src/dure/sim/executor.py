"""The Executor port over a simulated cluster: attempts progress with the simulated clock, and the world is watched.

What a real executor keeps on disk survives here too (`SimCluster`), so a control plane that dies and comes back finds
it. The trap: `World` raises at once when physics is violated (an attempt's code running twice, a GPU shared by two).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dure.core.model import WHOLE_GPU_MILLI, Lease
from dure.ports import Launch, Observation, StaleFenceError

NEVER = float("inf")


class PhysicsError(AssertionError):
    """Something happened that must never happen to real GPUs or real users."""


@dataclass(slots=True)
class SimClock:
    """A clock that only moves when told."""

    time: float = 1_000_000.0

    def now(self) -> float:
        """Return the simulated time."""
        return self.time


@dataclass(frozen=True, slots=True)
class Fate:
    """What will become of an attempt: seconds until user code begins and until it ends, and how.

    `lost_after_s` is when its worker dies, counted from the start; infinity for never. It saves its work so often.
    """

    begin_after_s: float = 0.1
    run_s: float = 1.0
    result: Mapping[str, Any] = field(default_factory=lambda: {"status": "ok"})
    lost_after_s: float = NEVER
    checkpoint_every_s: float = NEVER


@dataclass(slots=True)
class SimAttempt:
    """One attempt as the simulated machine knows it."""

    job_id: str
    number: int
    lease: Lease
    fate: Fate
    claimed_at: float | None = None
    stop_by: float = NEVER
    stopped_as: str = "killed"
    tombstone: bool = False
    counted: bool = False
    forgotten: bool = False

    @property
    def begins_at(self) -> float:
        """When user code begins, infinity when it never will."""
        if self.tombstone or self.claimed_at is None:
            return NEVER
        begins = self.claimed_at + self.fate.begin_after_s
        return begins if begins < min(self._gone_at, self.stop_by) else NEVER

    @property
    def ends_at(self) -> float:
        """When it ends with a result, infinity when it is lost before."""
        if self.claimed_at is None:
            return NEVER
        ends = min(self.claimed_at + self.fate.begin_after_s + self.fate.run_s, self.stop_by)
        return ends if ends < self._gone_at else NEVER

    @property
    def lost_at(self) -> float:
        """When its worker dies without a result, infinity when it does not."""
        return NEVER if self.ends_at < NEVER else self._gone_at

    @property
    def _gone_at(self) -> float:
        return NEVER if self.claimed_at is None else self.claimed_at + self.fate.lost_after_s

    def saved_at(self, now: float) -> float | None:
        """When its work was saved last, None before that."""
        ran_s = now - self.begins_at
        if ran_s < self.fate.checkpoint_every_s:
            return None
        return now - ran_s % self.fate.checkpoint_every_s

    def alive(self, now: float) -> bool:
        """Whether a process of it may be running."""
        return self.claimed_at is not None and not self.tombstone and now < min(self.ends_at, self.lost_at)


class World:
    """All simulated machines together, and the laws that hold for them."""

    def __init__(self, clock: SimClock) -> None:
        self.clock = clock
        self.attempts: dict[tuple[str, int], SimAttempt] = {}
        self.begun: dict[str, int] = {}

    def check(self) -> None:
        """Raise PhysicsError when a job runs twice at once or a GPU holds more than one GPU's worth."""
        now = self.clock.now()
        used: dict[tuple[str, str, int], int] = {}
        running: set[str] = set()
        for attempt in self.attempts.values():
            if attempt.begins_at <= now and not attempt.counted:
                attempt.counted = True
                self.begun[attempt.job_id] = self.begun.get(attempt.job_id, 0) + 1
            if not attempt.alive(now):
                continue
            if attempt.job_id in running:
                raise PhysicsError(f"two attempts of {attempt.job_id} are alive at {now}")
            running.add(attempt.job_id)
            held = [(share.node, gpu) for share in attempt.lease.shares for gpu in share.gpus]
            for node, gpu in held:
                key = (attempt.lease.cluster, node, gpu.index)
                used[key] = used.get(key, 0) + gpu.share_milli
                if used[key] > WHOLE_GPU_MILLI:
                    raise PhysicsError(f"GPU {key} is oversubscribed at {now}: {used[key]}")

    def alive(self) -> list[SimAttempt]:
        """Return attempts that may be running now."""
        return [attempt for attempt in self.attempts.values() if attempt.alive(self.clock.now())]


class SimCluster:
    """The Executor port on one cluster of a `World`. `fate_of` says what will become of each attempt."""

    def __init__(self, world: World, fate_of: Callable[[str, int], Fate]) -> None:
        self._world = world
        self._fate_of = fate_of
        self._fence = 0
        self._own: dict[tuple[str, int], SimAttempt] = {}

    def fence(self, number: int) -> None:
        """Refuse lower numbers from now on."""
        self._fence = max(self._fence, number)

    def start(self, launch: Launch, fence: int) -> None:
        """Accept and claim; asked again it changes nothing."""
        self._check(fence)
        key = (launch.job.id, launch.job.attempt)
        if key in self._own:
            return
        attempt = SimAttempt(*key, launch.lease, self._fate_of(*key), claimed_at=self._world.clock.now())
        self._own[key] = self._world.attempts[key] = attempt

    def stop(self, job_id: str, attempt: int, grace_s: float, fence: int) -> None:
        """End it within the grace; what was never started never will be."""
        self._check(fence)
        known = self._own.get((job_id, attempt))
        now = self._world.clock.now()
        if known is None:
            lease = Lease("", "", "", ())
            self._own[job_id, attempt] = SimAttempt(job_id, attempt, lease, Fate(), claimed_at=now, tombstone=True)
        elif known.alive(now) and known.stop_by == NEVER:
            known.stop_by = now + grace_s / 2 if known.begins_at <= now else now

    def send(self, job_id: str, attempt: int, message: Mapping[str, Any]) -> bool:
        """An interrupt ends a running attempt at once; other messages are taken."""
        known = self._own.get((job_id, attempt))
        now = self._world.clock.now()
        if known is None or not known.alive(now):
            return False
        if message.get("op") == "interrupt" and known.stop_by > now:
            known.stop_by, known.stopped_as = now, "interrupted"
        return True

    def observe(self) -> Sequence[Observation]:
        """Return every attempt that was not forgotten."""
        return [self._observation(attempt) for attempt in self._own.values() if not attempt.forgotten]

    def forget(self, job_id: str, attempt: int, fence: int) -> None:
        """Its end is on record."""
        self._check(fence)
        known = self._own.get((job_id, attempt))
        if known is not None:
            known.forgotten = True

    def _check(self, fence: int) -> None:
        if fence < self._fence:
            raise StaleFenceError(f"fence {fence} is older than {self._fence}")

    def _observation(self, attempt: SimAttempt) -> Observation:
        now = self._world.clock.now()
        key = (attempt.job_id, attempt.number)
        began = attempt.begins_at <= now
        if attempt.tombstone:
            return Observation(*key, "ended", result={"status": "killed"})
        if attempt.ends_at <= now:
            stopped = attempt.stop_by <= attempt.ends_at
            result = {"status": attempt.stopped_as} if stopped else attempt.fate.result
            return Observation(*key, "ended", began, result=result)
        if attempt.lost_at <= now:
            return Observation(*key, "lost", began)
        if began:
            saved_at = attempt.saved_at(now)
            return Observation(*key, "running", began, checkpointed_at=saved_at)
        return Observation(*key, "pending", accepted_at=attempt.claimed_at)
