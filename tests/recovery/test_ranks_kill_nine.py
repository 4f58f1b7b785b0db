"""kill -9 of the real control plane, fork server, runners and ranks while jobs over several nodes run.

Every job ends whole: all ranks of an attempt begin or none does, a job succeeds only when all its ranks did, and no
process and no GPU of any node is left. The kills come from a seed, which a failure names.
"""

from __future__ import annotations

import random
import sys
from collections import defaultdict
from pathlib import Path

import pytest
from benchmarks.measuring import running

from dure.adapters import processes
from dure.client import Client, Login
from dure.wire.messages import JobRequest
from tests.recovery.test_kill_nine import SEED, Killer, check_nothing_leaked, ended

JOBS = 40
KILLS = {"control": 3, "forkserver": 3, "worker": 16}
BODY = (
    "echo begin $DURE_JOB $DURE_ATTEMPT $RANK >> {log}; sleep 0.{n}; echo done $DURE_JOB $DURE_ATTEMPT $RANK >> {log}"
)
NODES = "\n".join(f"      - {{name: n{n}, tier: gold, gpus: 2, simulated: true}}" for n in range(4))
PLATFORM = f"""
name: gangs
tiers: [{{name: gold}}]
clusters:
  - name: lab
    kind: private
    nodes:
{NODES}
teams: [{{name: vision, members: ["*"]}}]
queues: [{{name: main, team: vision}}]
priorities: [{{name: normal, value: 0}}]
environments: [{{name: default, python: PYTHON}}]
"""


def request(n: int, log: Path) -> JobRequest:
    return JobRequest(
        kind="command",
        name=f"job {n}",
        payload={"argv": ["sh", "-c", BODY.format(log=log, n=n % 5)]},
        gpus=1 + n % 2,
        nodes=2 + n % 3,
        retries=10 if n % 2 else 0,
    )


@pytest.mark.timeout(600)
def test_jobs_over_several_nodes_survive_kill_nine_whole_or_not_at_all(tmp_path: Path) -> None:
    log = tmp_path / "effects"
    log.touch()
    with running.platform(tmp_path / "state", PLATFORM.replace("PYTHON", sys.executable)) as platform:
        killer = Killer(platform, random.Random(SEED), KILLS)
        with Client(Login(platform.url, platform.token, "environment")) as client:
            killer.thread.start()
            asked = {client.submit(one).id: one for one in (request(n, log) for n in range(JOBS))}
            jobs = ended(client, set(asked))
            killer.stop.set()
            killer.thread.join()
            told = f"{killer.kills}; repeat with DURE_KILL_SEED={SEED}"
            assert killer.kills["worker"] >= 5, told
            done: dict[tuple[str, int], set[int]] = defaultdict(set)
            for line in log.read_text().splitlines():
                what, job_id, attempt, rank = line.split()
                if what == "done":
                    done[job_id, int(attempt)].add(int(rank))
            for job in jobs.values():
                whole = set(range(asked[job.id].nodes))
                if job.phase == "succeeded":
                    assert done[job.id, job.attempt] == whole, told
                    assert job.lease is not None
                    assert 1 + len(job.lease.others) == job.nodes
                else:
                    assert job.id in killer.hit, f"{job.id} failed although nobody touched it: {job}; {told}"
                    assert job.reason in {"WorkerLost", "Killed", "ExitCode", "TooManyLosses"}, (
                        f"{job.reason_sentence}; {told}"
                    )
            check_nothing_leaked(client, platform)
    assert not processes.marked(tmp_path / "state")
