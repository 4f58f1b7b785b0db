"""kill -9 of the real control plane, fork server, runners and user processes while 200 short jobs run.

Every job ends; what a job did is there at most once per begun attempt, and exactly once where it succeeded; no GPU
and no process is left. The kills come from a seed, which a failure names.
"""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import psutil
import pytest
from benchmarks.measuring import running

from dure.adapters import processes
from dure.client import Client, DureError, Login
from dure.wire.messages import JobRequest, JobView

JOBS = 200
KILLS = {"control": 6, "forkserver": 9, "worker": 24}
LEAST = {"control": 3, "forkserver": 3, "worker": 5}  # come first: a quick machine is done before all have come
END_S = 480.0
SEED = int(os.environ.get("DURE_KILL_SEED", "20261122"))
BODY = (
    "echo begin $DURE_JOB >> {log}; sleep 0.{n}; echo done $DURE_JOB >> {log}; echo $DURE_JOB > $DURE_OUTPUT_DIR/mine"
)

Found = TypeVar("Found")


class Killer:
    """Ends something of the platform by SIGKILL now and then, and remembers which jobs it hit."""

    def __init__(self, platform: running.Running, rng: random.Random, plan: dict[str, int] = KILLS) -> None:
        self.platform = platform
        self.rng = rng
        self.plan = plan
        self.hit: set[str] = set()
        self.kills: Counter[str] = Counter()
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)

    def run(self) -> None:
        first = [what for what, times in self.plan.items() for _ in range(min(times, LEAST[what]))]
        rest = [what for what, times in self.plan.items() for _ in range(times - LEAST[what])]
        self.rng.shuffle(first)
        self.rng.shuffle(rest)
        for what in [*first, *rest]:
            if self.stop.wait(self.rng.uniform(0.02, 0.4)):
                return
            getattr(self, what)()

    def control(self) -> None:
        for process in self.awaited(lambda: processes.marked(self.platform.state_dir, ["control"])):
            self.kill(process.pid, "control")

    def forkserver(self) -> None:
        # All are chosen before the first is killed, for its runners are orphans from then on.
        for pid in self.awaited(self.fork_servers):
            self.kill(pid, "forkserver")

    def fork_servers(self) -> list[int]:
        """The parents of the runners: they are forks of it and look the same, but it holds the socket's lock."""
        found = {
            p.pid for p in processes.marked(self.platform.state_dir, ["job"]) if "dure.worker.forkserver" in p.argv
        }
        orphans = {pid for pid, _job in jobs_processes(self.platform.state_dir)}
        return [pid for pid in found - orphans if not is_fork_server(parent_of(pid))]

    def worker(self) -> None:
        victims = self.awaited(lambda: jobs_processes(self.platform.state_dir))
        if victims:
            pid, job = self.rng.choice(victims)
            self.hit.add(job)
            self.kill(pid, "worker")

    def awaited(self, find: Callable[[], list[Found]]) -> list[Found]:
        """Return what there is to kill as soon as there is something: a busy machine takes long to start it again."""
        deadline = time.monotonic() + END_S
        while not (found := find()) and time.monotonic() < deadline and not self.stop.wait(0.01):
            pass
        return found

    def kill(self, pid: int, what: str) -> None:
        try:
            os.kill(pid, signal.SIGKILL)
            self.kills[what] += 1
        except ProcessLookupError:
            pass


def parent_of(pid: int) -> int:
    try:
        return psutil.Process(pid).ppid()
    except psutil.NoSuchProcess:
        return 0


def is_fork_server(pid: int) -> bool:
    try:
        return "dure.worker.forkserver" in psutil.Process(pid).cmdline()
    except psutil.Error:
        return False


def jobs_processes(state_dir: Path) -> list[tuple[int, str]]:
    """Runners and everything below them that belong to attempts in this state folder."""
    found = []
    for claim in state_dir.glob("clusters/*/attempts/*/runner.json"):
        job = claim.parent.name.rpartition(".")[0]
        runner = processes_of(claim)
        if runner is not None:
            found += [(p.pid, job) for p in (runner, *children_of(runner))]
    return found


def processes_of(claim: Path) -> psutil.Process | None:
    from dure.worker.processes import alive, read_record

    record = read_record(claim)
    if not record or not record["pid"] or not alive(record["pid"], record["start_ticks"]):
        return None
    try:
        return psutil.Process(record["pid"])
    except psutil.NoSuchProcess:
        return None


def children_of(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def request(n: int, log: Path) -> JobRequest:
    body = BODY.format(log=log, n=n % 7)
    return JobRequest(
        kind="command",
        name=f"job {n}",
        payload={"argv": ["sh", "-c", body]},
        gpus=0.5 if n % 3 else 1,
        retries=10 if n % 2 else 0,
    )


def ended(client: Client, ids: set[str]) -> dict[str, JobView]:
    deadline = time.monotonic() + END_S
    while time.monotonic() < deadline:
        try:
            found = {job.id: job for job in client.jobs(limit=500).jobs if job.id in ids}
        except DureError:
            continue
        if len(found) == len(ids) and all(j.phase in {"succeeded", "failed", "cancelled"} for j in found.values()):
            return found
        time.sleep(0.2)
    raise AssertionError(f"not all ended: {Counter(job.phase for job in found.values())}")


@pytest.mark.timeout(600)
def test_two_hundred_jobs_survive_kill_nine(tmp_path: Path) -> None:
    log = tmp_path / "effects"
    log.touch()
    with running.platform(tmp_path / "state") as platform:
        killer = Killer(platform, random.Random(SEED))
        with Client(Login(platform.url, platform.token, "environment")) as client:
            killer.thread.start()
            ids = {client.submit(request(n, log)).id for n in range(JOBS)}
            assert len(ids) == JOBS, "two submissions became one job"
            jobs = ended(client, ids)
            killer.stop.set()
            killer.thread.join()
            told = f"{killer.kills}; repeat with DURE_KILL_SEED={SEED}"
            assert all(killer.kills[what] >= times for what, times in LEAST.items()), told
            check_effects(jobs, log, killer)
            check_nothing_leaked(client, platform)
            left = [job_id for job_id in ids if client.artifacts(job_id)]
            mine = {job_id: client.artifact(job_id, "mine").decode().strip() for job_id in left}
            succeeded = {job.id for job in jobs.values() if job.phase == "succeeded"}
            assert mine == {job_id: job_id for job_id in succeeded}
    assert not processes.marked(tmp_path / "state")


def check_effects(jobs: dict[str, JobView], log: Path, killer: Killer) -> None:
    begun: Counter[str] = Counter()
    done: Counter[str] = Counter()
    for line in log.read_text().splitlines():
        what, job_id = line.split()
        (begun if what == "begin" else done)[job_id] += 1
    for job in jobs.values():
        retries = 10 if int(job.name.split()[1]) % 2 else 0
        assert begun[job.id] <= 1 + min(retries, job.attempt - 1), f"{job.id} ran {begun[job.id]} times: {job}"
        if job.phase == "succeeded":
            assert done[job.id] >= 1, job
            assert retries or done[job.id] == 1, job
        else:
            assert job.reason in {"WorkerLost", "Killed", "ExitCode"}, job
            assert job.id in killer.hit, f"{job.id} failed although nobody touched it: {job}"
        if retries and job.reason != "Killed":
            assert job.phase in {"succeeded", "failed"}


def check_nothing_leaked(client: Client, platform: running.Running) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        queue = client.queue()
        if not queue.running and not queue.waiting and not jobs_processes(platform.state_dir):
            break
        time.sleep(0.1)
    assert all(gpu.free == 1 and not gpu.holders for gpu in client.queue().gpus)
    assert jobs_processes(platform.state_dir) == []
    marked = [p.pid for p in psutil.process_iter() if has_mark(p, platform)]
    assert marked == []


def has_mark(process: psutil.Process, platform: running.Running) -> bool:
    try:
        return str(platform.state_dir) in process.environ().get("DURE_OUTPUT_DIR", "")
    except psutil.Error:
        return False
