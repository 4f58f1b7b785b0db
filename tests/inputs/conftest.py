"""A real platform for each file of bad input, and what must hold after each of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
from benchmarks.measuring import running

from dure.client import Client, Login
from dure.wire.messages import JobRequest, JobView

ENDED = frozenset({"succeeded", "failed", "cancelled"})
DEADLINE_S = 90.0


def until(condition: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + DEADLINE_S
    while not (found := condition()):
        assert time.monotonic() < deadline, f"waited {DEADLINE_S} s for {what}"
        time.sleep(0.05)
    return found


class Desk:
    """One person at a real platform."""

    def __init__(self, platform: running.Running) -> None:
        self.platform = platform
        self.client = Client(Login(platform.url, platform.token, "environment"))

    def submit(self, *argv: str, **asked: Any) -> str:
        request = {"kind": "command", "name": argv[0], "payload": {"argv": list(argv)}} | asked
        return self.client.submit(JobRequest(**request)).id

    def end(self, job_id: str) -> JobView:
        def ended() -> JobView | None:
            job = self.client.job(job_id)
            return job if job.phase in ENDED else None

        return until(ended, f"{job_id} to end")

    def phase(self, job_id: str, phase: str) -> JobView:
        def there() -> JobView | None:
            job = self.client.job(job_id)
            assert job.phase == phase or job.phase not in ENDED, job
            return job if job.phase == phase else None

        return until(there, f"{job_id} to be {phase}")

    def jobs(self) -> list[str]:
        return [job.id for job in self.client.jobs(limit=500).jobs]

    def attempt(self, job_id: str) -> Path:
        return next(self.platform.state_dir.glob(f"clusters/*/attempts/{job_id}.*"))

    def processes(self, job_id: str) -> list[int]:
        """Whatever still runs for a job, by its mark."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get("DURE_JOB") == job_id and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process.pid)
            except psutil.Error:
                continue
        return found

    def _over(self, job_id: str) -> bool:
        return not self.processes(job_id)

    def unharmed(self, *jobs: str) -> None:
        """Nothing of `jobs` is left, every GPU is free, and the next job runs."""

        def free() -> bool:
            queue = self.client.queue()
            return not queue.waiting and not queue.running and all(gpu.free == 1 for gpu in queue.gpus)

        until(free, "every GPU to be free")
        for job in jobs:
            until(partial(self._over, job), f"the processes of {job} to end")
        assert self.end(self.submit("true")).phase == "succeeded"


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[running.Running]:
    with running.platform(tmp_path_factory.mktemp("platform")) as process:
        yield process


@pytest.fixture
def desk(platform: running.Running) -> Iterator[Desk]:
    at = Desk(platform)
    with at.client:
        yield at
