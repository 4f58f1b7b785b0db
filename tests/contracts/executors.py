"""Both executors behind one face for the contract suite: what to start, how time passes, how a worker is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dure.adapters.blobs import FolderBlobStores
from dure.adapters.executors.forkservers import ForkServers
from dure.adapters.executors.local import LocalExecutor, LocalSettings
from dure.adapters.system import SystemClock
from dure.core.model import Environment, GpuShare, Job, Kind, Lease, Node, Request
from dure.ports import Executor, Launch
from dure.sim.executor import Fate, SimClock, SimCluster, World
from dure.worker import processes

DEADLINE_S = 90.0
HERE = Environment("default", sys.executable)
NODE = Node("n1", "gold", 1, simulated=True)


def a_launch(job_id: str, attempt: int = 1, environment: Environment = HERE, **payload: Any) -> Launch:
    lease = Lease("lab", "n1", "gold", (GpuShare(int(job_id.rpartition("-")[2])),))  # no two share one
    job = Job(
        id=job_id, name=job_id, kind=Kind.COMMAND, user="alice", team="vision", request=Request(tier="gold"),
        submitted_at=1.0, attempt=attempt, lease=lease, payload=payload or {"argv": ["true"]},
    )  # fmt: skip
    return Launch(
        job=job, lease=lease, environment=environment, nodes=(NODE,), timeout_s=None, output_bytes=1 << 20, grace_s=1.0
    )


def seen_of(executor: Executor, job_id: str, attempt: int = 1) -> Any:
    """The observation of one attempt, None when it is not listed."""
    return next((o for o in executor.observe() if (o.job_id, o.attempt) == (job_id, attempt)), None)


def until(condition: Callable[[], Any], what: str = "it") -> Any:
    deadline = time.monotonic() + DEADLINE_S
    while not (found := condition()):
        assert time.monotonic() < deadline, f"waited {DEADLINE_S} s for {what}"
        time.sleep(0.01)
    return found


@dataclass
class Local:
    """LocalExecutor with real fork servers. Effects of jobs are lines in a file."""

    root: Path
    servers: ForkServers
    opened: list[LocalExecutor] = field(default_factory=list)
    clock: Any = field(default_factory=SystemClock)

    def open(self, **settings: Any) -> LocalExecutor:
        """An executor object over the same folder, as a control plane that came back has it."""
        local = LocalSettings(cluster="lab", folder=self.root / "lab", **settings)
        self.opened.append(LocalExecutor(local, self.servers, FolderBlobStores(self.root / "blobs"), self.clock))
        return self.opened[-1]

    def launch(self, job_id: str, attempt: int = 1, *, runs_s: float = 0.0, exit_code: int = 0) -> Launch:
        script = f"echo {job_id} >> {self.root}/effects; sleep {runs_s} & wait; exit {exit_code}"
        return a_launch(job_id, attempt, argv=["sh", "-c", script])

    def until(self, condition: Callable[[], Any]) -> Any:
        return until(condition)

    def begun(self, job_id: str) -> int:
        effects = self.root / "effects"
        return effects.read_text().split().count(job_id) if effects.exists() else 0

    def folder(self, job_id: str, attempt: int = 1) -> Path:
        return self.root / "lab" / "attempts" / f"{job_id}.{attempt}"

    def runner(self, job_id: str, attempt: int = 1) -> int:
        return int(until(lambda: processes.read_record(self.folder(job_id, attempt) / "runner.json"))["pid"])

    def lose(self, executor: Executor, job_id: str) -> None:
        """Kill the worker of a job that runs."""
        os.kill(self.runner(job_id), signal.SIGKILL)

    def lose_at_birth(self, job_id: str) -> Executor:
        """Start a job whose worker dies as soon as it has the attempt; return who started it."""
        executor = self.open(provision_s=3600.0)
        executor.start(self.launch(job_id), 1)
        with subprocess.Popen(["true"]) as gone:
            pass
        (self.folder(job_id) / "runner.json").write_text(f'{{"pid": {gone.pid}, "start_ticks": 1}}')
        return executor

    def close(self) -> None:
        for executor in self.opened:
            executor.close()
        for folder in (self.root / "lab" / "attempts").glob("*"):
            processes.sweep(folder, runner_too=True)


@dataclass
class Simulated:
    """SimCluster, whose time passes when somebody waits."""

    clock: SimClock = field(default_factory=SimClock)
    fates: dict[str, Fate] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.world = World(self.clock)
        self.cluster = SimCluster(self.world, lambda job, _attempt: self.fates.get(job, Fate()))

    def open(self) -> SimCluster:
        return self.cluster

    def launch(self, job_id: str, attempt: int = 1, *, runs_s: float = 0.0, exit_code: int = 0) -> Launch:
        result = {"status": "ok"} if exit_code == 0 else {"status": "exit", "exit_code": exit_code}
        self.fates[job_id] = Fate(run_s=runs_s, result=result, lost_after_s=self.fates.get(job_id, Fate()).lost_after_s)
        return a_launch(job_id, attempt)

    def until(self, condition: Callable[[], Any]) -> Any:
        for _ in range(10_000):
            self.world.check()
            if found := condition():
                return found
            self.clock.time += 0.05
        raise AssertionError("waited without end")

    def begun(self, job_id: str) -> int:
        self.world.check()
        return self.world.begun.get(job_id, 0)

    def lose(self, executor: Executor, job_id: str) -> None:
        attempt = self.world.attempts[job_id, 1]
        assert attempt.claimed_at is not None
        attempt.fate = Fate(attempt.fate.begin_after_s, 1e9, {}, self.clock.now() - attempt.claimed_at)

    def lose_at_birth(self, job_id: str) -> Executor:
        self.fates[job_id] = Fate(begin_after_s=1.0, run_s=1.0, lost_after_s=0.5)
        self.cluster.start(a_launch(job_id), 1)
        return self.cluster

    def close(self) -> None:
        self.world.check()
