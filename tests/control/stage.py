"""A whole control plane with simulated time, machines and store: what people ask, a tick, what became of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from dure.control.commands import PENDING_PER_USER, Commands
from dure.control.loop import Loop, LoopSettings
from dure.control.platform_holder import PlatformHolder
from dure.control.queries import Queries
from dure.core.events import Event
from dure.core.model import Job, Platform
from dure.ports import Executor, Observation, Ports, Principal
from dure.sim.executor import Fate, SimClock, SimCluster, World
from dure.sim.store import MemoryStore
from dure.wire.messages import Control, JobRequest
from tests.core.builders import a_platform

LONG = Fate(run_s=1000.0)
SLOW_START = Fate(begin_after_s=100.0, run_s=1.0)
ALICE = Principal("alice", teams=("vision",))
MATE = Principal("mate", teams=("vision",))
OTHER = Principal("other", teams=("speech",))
ROOT = Principal("root", admin=True, teams=("vision",))


class Ids:
    def __init__(self) -> None:
        self.count = 0

    def job_id(self) -> str:
        self.count += 1
        return f"j-{self.count}"


class Watched:
    """An executor of which single calls can be made to fail, or be followed by something."""

    def __init__(self, inner: SimCluster) -> None:
        self.inner = inner
        self.failing: dict[str, Exception] = {}
        self.before: dict[str, Callable[[], None]] = {}
        self.asked: list[tuple[Any, ...]] = []

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any) -> Any:
            if (first := self.before.pop(name, None)) is not None:
                first()
            if name in self.failing:
                raise self.failing[name]
            if name not in {"observe", "fence"}:
                self.asked.append((name, *arguments))
            return getattr(self.inner, name)(*arguments)

        return call


class Stage:
    """One platform; `fates` says what becomes of a job's attempts (a list: one for each attempt)."""

    def __init__(self, platform: Platform | None = None, pending_per_user: int = PENDING_PER_USER) -> None:
        self.clock = SimClock()
        self.world = World(self.clock)
        self.store = MemoryStore()
        self.platform = PlatformHolder(platform or a_platform())
        self.fates: dict[str, list[Fate]] = {}
        names = [cluster.name for cluster in self.platform.current.clusters]
        self.executors = {name: Watched(SimCluster(self.world, self._fate)) for name in names}
        executors: Mapping[str, Executor] = self.executors
        nothing: Any = None
        self.ports = Ports(self.store, executors, nothing, nothing, nothing, self.clock, Ids())
        self.hints = 0
        self.commands = Commands(self.ports, self.platform, self._hint, pending_per_user=pending_per_user)
        self.loop = self.new_loop("first")
        self.queries = Queries(self.ports, self.platform, "1", lambda: self.loop.plan)

    def _hint(self) -> None:
        self.hints += 1

    def _fate(self, job: str, attempt: int) -> Fate:
        fates = self.fates.get(job, [Fate()])
        return fates[min(attempt, len(fates)) - 1]

    def new_loop(self, holder: str) -> Loop:
        return Loop(self.ports, self.platform, LoopSettings(holder, rest_s=0.0), lambda _now: 0.0)

    def submit(self, who: Principal = ALICE, *, fate: Fate | list[Fate] | None = None, **asked: Any) -> str:
        request = {"kind": "cell", "name": "In[1]", "payload": {"code": "1"}, "tier": "gold"} | asked
        key = request.pop("key", None)
        job_id = self.commands.submit(who, JobRequest(**request), key).id
        if fate is not None:
            self.fates[job_id] = fate if isinstance(fate, list) else [fate]
        return job_id

    def tick(self, times: int = 1, *, loop: Loop | None = None) -> None:
        for _ in range(times):
            (loop or self.loop).tick()
            self.world.check()

    def wait(self, seconds: float, step_s: float = 0.5) -> None:
        """Let time pass, with a tick at each step."""
        for _ in range(round(seconds / step_s)):
            self.clock.time += step_s
            self.world.check()
            self.tick()

    def job(self, job_id: str) -> Job:
        found = self.store.job(job_id)
        assert found is not None
        return found

    def phase(self, job_id: str) -> str:
        return str(self.job(job_id).phase)

    def reason(self, job_id: str) -> str | None:
        return self.job(job_id).reason

    def kinds(self, job_id: str) -> list[str]:
        return [event.kind.removeprefix("job.") for event in self.events(job_id)]

    def events(self, job_id: str) -> list[Event]:
        return list(self.store.events(0, 10_000, subject=job_id))

    def seen(self, cluster: str = "lab") -> list[Observation]:
        return list(self.executors[cluster].inner.observe())

    def interrupt(self, job_id: str, who: Principal = ALICE) -> None:
        self.commands.control(who, job_id, Control(op="interrupt"))

    def nothing_is_held(self) -> bool:
        free = all(gpu.free == 1 for gpu in self.queries.queue(ROOT, "en").gpus)
        return free and not self.world.alive()
