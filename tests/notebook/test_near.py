"""A cell that reads a large array goes to the node that has read or written it."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from benchmarks.measuring import running

from dure.client.client import Client
from dure.client.config import Login
from dure.wire.messages import JobView
from tests.notebook.conftest import DEADLINE_S, NotebookKernel

TWINS = """
name: Twins
currency: KRW
clusters:
  - name: lab
    kind: private
    nodes:
      - {name: first, tier: gold, gpus: 1, simulated: true}
      - {name: second, tier: gold, gpus: 1, simulated: true}
tiers: [{name: gold, price_per_gpu_hour: 0}]
teams: [{name: all, members: ["*"]}]
queues: [{name: all, team: all}]
priorities: [{name: normal, value: 0}]
data_classes: [{name: open, may_leave: true}]
environments: [{name: default, python: PYTHON}]
"""
LOOP = "%%gpu --detach\nimport time\nwhile True: time.sleep(0.05)\n"


def until(client: Client, job_id: str, *phases: str) -> JobView:
    deadline = time.monotonic() + DEADLINE_S
    while (job := client.job(job_id)).phase not in phases:
        assert time.monotonic() < deadline, f"{job_id} is {job.phase}"
        time.sleep(0.05)
    return job


def node_of(job: JobView) -> str | None:
    return None if job.lease is None else job.lease.node


def node_after(kernel: NotebookKernel, client: Client, code: str) -> str | None:
    shown = kernel.run(f"%%gpu\n{code}")
    assert shown.ok, shown.traceback
    return node_of(client.jobs().jobs[0])


def test_the_second_cell_goes_to_the_node_of_the_first_when_both_are_free(tmp_path: Path):
    yaml = TWINS.replace("PYTHON", sys.executable)
    with running.platform(tmp_path / "platform", yaml) as platform:
        kernel = NotebookKernel(platform.environment(tmp_path), tmp_path, str(tmp_path / "near.ipynb"))
        try:
            with Client(Login(platform.url, platform.token), lang="en") as client:
                assert kernel.run("import numpy as np\nbig = np.arange(2_000_000)").ok
                blocker = kernel.run(LOOP)
                assert blocker.ok, blocker.traceback
                job = until(client, client.jobs().jobs[0].id, "running")
                assert node_of(job) == "first"
                assert node_after(kernel, client, "int(big.sum())") == "second"
                assert node_after(kernel, client, "made = np.arange(3_000_000) * 2") == "second"
                client.cancel(job.id)
                until(client, job.id, "cancelled")
                assert node_after(kernel, client, "int(big.max())") == "second", "where the array has been read"
                assert node_after(kernel, client, "int(made[-1])") == "second", "where it was written"
                assert node_after(kernel, client, "1 + 1") == "first", "which is the first of equal ones"
        finally:
            kernel.kill()
