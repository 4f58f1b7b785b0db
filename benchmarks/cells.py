"""What one cell costs, beside a fresh kernel, a plain cell, `%%px`, `ray.remote` and dask.

`python -m benchmarks.cells [--cells N] [--no-peers] [--only-arrays | --no-arrays]` from the root; its halves each end
within two minutes or so. The trap: everything is timed the same way, from sending the cell to a real kernel to that
kernel being idle, so Jupyter's own share is in it.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import arrays
from benchmarks.measuring import figures, machine, running, venv
from benchmarks.measuring.figures import Timed, mebi, ratio, shown
from benchmarks.measuring.http import Connection
from benchmarks.measuring.kernels import Kernel

WARM_UP = 8
FRESH = 7
JOBS = 200
RUNS = 3
CONNECTIONS = 4
GPUS = 4
AIM_S = 0.150
SETTLE_S = 5.0
PEER_DEADLINE_S = 40.0  # of one step of a peer
UNFINISHED = "/api/jobs?phase=queued&phase=admitted&phase=starting&phase=running&limit=1"
RAY = f"""
import os
os.environ.update(RAY_USAGE_STATS_ENABLED="0", RAY_DEDUP_LOGS="0", RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO="0")
import logging, subprocess, ray
ray.init(num_cpus={GPUS}, include_dashboard=False, logging_level=logging.ERROR, log_to_driver=False)
@ray.remote
def trivial(): return 1
@ray.remote
def command(): return subprocess.run(["true"]).returncode
"""
IPYPARALLEL = """
import ipyparallel
cluster = ipyparallel.Cluster(n=1, log_level=40)
client = cluster.start_and_connect_sync(n=1)
client[:].activate()
"""


@dataclass
class Found:
    """Everything measured: times of cells, bytes, memory, rates; by what they are of."""

    times: dict[str, Timed] = field(default_factory=dict)
    moved: dict[str, float] = field(default_factory=dict)
    memory: dict[str, tuple[int, int]] = field(default_factory=dict)
    rates: dict[str, float] = field(default_factory=dict)
    stages: dict[str, float] = field(default_factory=dict)
    arrays: dict[str, dict[str, arrays.Read]] = field(default_factory=dict)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=int, default=100)
    parser.add_argument("--no-peers", action="store_true")
    half = parser.add_mutually_exclusive_group()
    half.add_argument("--only-arrays", action="store_true")
    half.add_argument("--no-arrays", action="store_true")
    options = parser.parse_args()
    print("## One cell\n")
    print(machine.told("dure", "ipykernel", "ipython", "jupyter_client", "numpy", "pandas"))
    python = None if options.no_peers else venv.python()
    if python:
        print(f"Peers: {venv.versions('ipyparallel', 'ray', 'dask')}")
    found = Found()
    with tempfile.TemporaryDirectory(prefix="dure-bench-") as folder:
        if not options.only_arrays:
            _ours(found, Path(folder), options.cells)
            _fresh(found, Path(folder))
            if python:
                _peers(found, python, Path(folder), options.cells)
            _with_hub(found, Path(folder) / "hub")
            _print(found)
        if not options.no_arrays:
            _arrays(found, python, Path(folder))
    if found.arrays:
        arrays.print_table(found.arrays)


def _ours(found: Found, folder: Path, cells: int) -> None:
    home = folder / "home"
    home.mkdir()
    with running.platform(folder / "platform") as platform:
        api = Connection(platform.url, platform.token)
        _wait_until_warm(api)
        time.sleep(SETTLE_S)
        found.memory["dure up --no-hub"] = machine.memory(machine.family(platform.pid))
        kernel = Kernel(sys.executable, platform.environment(home), folder)
        try:
            kernel.run("%load_ext dure")
            _cells(found, "gpu", kernel, "%%gpu\n1 + 1", cells)
            _stages(found, api, cells)
            _cells(found, "gpu_reads", kernel, "import numpy\narray = numpy.zeros(1000)", 1)
            _cells(found, "gpu_reads", kernel, "%%gpu\ntotal = array.sum()", cells)
            _cells(found, "plain", kernel, "1 + 1", cells)
        finally:
            kernel.end()
        found.rates["dure"] = statistics.median(_jobs_per_s(platform, api) for _ in range(RUNS))


def _arrays(found: Found, python: str | None, folder: Path) -> None:
    home = folder / "arrays-home"
    home.mkdir()
    with running.platform(folder / "arrays") as platform:
        _wait_until_warm(Connection(platform.url, platform.token))
        kernel = Kernel(sys.executable, platform.environment(home), folder)
        try:
            found.arrays[arrays.OURS.name] = arrays.measure(kernel, arrays.OURS, folder / "arrays" / "blobs")
        finally:
            kernel.end()
    environment = {**os.environ, "IPYTHONDIR": str(folder / "ipython-arrays"), "RAY_USAGE_STATS_ENABLED": "0"}
    for way in (arrays.RAY, arrays.DASK, arrays.PX) if python else ():

        def measured(kernel: Kernel, way: arrays.Way = way) -> None:
            found.arrays[way.name] = arrays.measure(kernel, way, arrays.SHM)

        _of_peer(way.name, python or "", environment, folder, measured)


def _of_peer(
    name: str, python: str, environment: Mapping[str, str], folder: Path, measure: Callable[[Kernel], None]
) -> None:
    """Measure a peer in a kernel of its own; one that fails, as some do on a busy machine, once more."""
    for left in (1, 0):
        kernel = Kernel(python, environment, folder, PEER_DEADLINE_S)
        try:
            measure(kernel)
        except RuntimeError as error:
            told = "tried again" if left else "its rows are missing below"
            print(f"NOTE: {name} could not be measured, {told}: {str(error)[-500:]}", flush=True)
        else:
            return
        finally:
            kernel.end()


def _cells(found: Found, name: str, kernel: Kernel, code: str, cells: int) -> None:
    """Time `code` as a cell again and again, after a few that do not count; note bytes over the loopback device."""
    for _ in range(WARM_UP if cells > 1 else 0):
        kernel.run(code)
    times, moved = [], []
    for _ in range(cells):
        sent = machine.loopback_bytes()
        begin = time.perf_counter()
        kernel.run(code)
        times.append(time.perf_counter() - begin)
        moved.append(machine.loopback_bytes() - sent)
        time.sleep(0.02)
    found.times[name] = Timed(tuple(times))
    found.moved[name] = statistics.median(moved)


def _stages(found: Found, api: Connection, cells: int) -> None:
    """Note where the time of the last cells went, as the platform has it on record."""
    jobs = [job for job in api.call("GET", f"/api/jobs?limit={min(cells, 500)}")["jobs"] if job["phase"] == "succeeded"]

    def median(later: str, earlier: str) -> float:
        return statistics.median(job[later] - job[earlier] for job in jobs)

    found.stages = {
        "queued and leased": median("admitted_at", "submitted_at"),
        "own process started": median("began_at", "admitted_at"),
        "ran, until its end is on record": median("ended_at", "began_at"),
    }


def _wait_until_warm(api: Connection) -> None:
    deadline = time.monotonic() + 60
    while not api.call("GET", "/api/environments")["environments"][0]["packages"]:
        assert time.monotonic() < deadline, "the fork server did not get ready"
        time.sleep(0.1)


def _jobs_per_s(platform: running.Running, api: Connection) -> float:
    """Return jobs submitted and finished a second: `true`, many at once."""

    def part(first: int) -> None:
        connection = Connection(platform.url, platform.token)
        for number in range(first, JOBS, CONNECTIONS):
            body = {"kind": "command", "name": f"true {number}", "payload": {"argv": ["true"]}}
            connection.call("POST", "/api/jobs", body)

    begin = time.perf_counter()
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        list(pool.map(part, range(CONNECTIONS)))
    while api.call("GET", UNFINISHED)["jobs"]:
        time.sleep(0.05)
    return JOBS / (time.perf_counter() - begin)


def _fresh(found: Found, folder: Path) -> None:
    """A kernel that starts and imports what a fork server has imported already."""
    environment = {**os.environ, "IPYTHONDIR": str(folder / "ipython")}

    def once() -> None:
        kernel = Kernel(sys.executable, environment, folder)
        kernel.run("import numpy, pandas\n1 + 1")
        ends.append(kernel)

    times = []
    for _ in range(FRESH):
        ends: list[Kernel] = []
        times += figures.timed(once, 1).seconds
        found.memory["a kernel with numpy and pandas"] = machine.memory(machine.family(ends[0].pid))
        ends[0].end()
    found.times["fresh"] = Timed(tuple(times))


def _peers(found: Found, python: str, folder: Path, cells: int) -> None:
    environment = {**os.environ, "IPYTHONDIR": str(folder / "ipython-peers"), "RAY_USAGE_STATS_ENABLED": "0"}
    for name, start, code, stop in (
        ("px", IPYPARALLEL, "%%px\n1 + 1", "cluster.stop_cluster_sync()"),
        ("ray", RAY, "ray.get(trivial.remote())", "ray.shutdown()"),
    ):

        def measured(kernel: Kernel, name: str = name, start: str = start, code: str = code, stop: str = stop) -> None:
            kernel.run(start)
            _cells(found, name, kernel, code, cells)
            time.sleep(SETTLE_S)
            found.memory[name] = machine.memory(machine.family(kernel.pid)[1:])
            if name == "ray":
                found.rates["ray"] = statistics.median(_ray_rate(kernel) for _ in range(RUNS))
            kernel.run(stop)

        _of_peer(name, python, environment, folder, measured)


def _ray_rate(kernel: Kernel) -> float:
    timed = f"""
import time
begin = time.perf_counter()
ray.get([command.remote() for _ in range({JOBS})])
print({JOBS} / (time.perf_counter() - begin))
"""
    return float(kernel.run(timed))


def _with_hub(found: Found, folder: Path) -> None:
    with running.platform(folder, hub=True) as platform:
        time.sleep(SETTLE_S)
        found.memory["dure up, with JupyterHub"] = machine.memory(machine.family(platform.pid))


def _print(found: Found) -> None:
    ours = found.times["gpu"]
    rows = []
    names = {
        "gpu": "trivial %%gpu cell: queue, lease, own process",
        "gpu_reads": "%%gpu cell that reads an array of 8 kB and gives a number back",
        "fresh": "fresh ipykernel that imports numpy and pandas",
        "plain": "plain cell in an existing ipykernel",
        "px": "%%px, one ipyparallel engine (reused process)",
        "ray": "ray.get of a ray.remote task (reused process)",
    }
    for name, told in names.items():
        if name not in found.times:
            continue
        times = found.times[name]
        compared = "" if name.startswith("gpu") else ratio(times.p50, ours.p50)
        moved = f"{found.moved[name] / 1024:.1f} KiB" if name in found.moved else "–"
        rows.append([told, str(len(times.seconds)), shown(times.p50), shown(times.quantile(0.95)), compared, moved])
    head = ["what", "n", "p50", "p95", "time of the peer / ours", "bytes on loopback"]
    figures.table("From Enter to done", head, rows)
    verdict = "held" if ours.p50 <= AIM_S else "NOT held"
    print(f"Aim: p50 of at most {shown(AIM_S)}: {verdict} ({shown(ours.p50)}).")
    told = "; ".join(f"{name} {shown(seconds)}" for name, seconds in found.stages.items())
    print(f"Of the trivial %%gpu cell, medians: {told}; the rest is Jupyter, HTTP and showing.")
    _print_rest(found)


def _print_rest(found: Found) -> None:
    rate = found.rates["dure"]
    rows: list[list[Any]] = [[f"Dure, {GPUS} GPUs: queued, leased, own process each, on record", f"{rate:.0f}", ""]]
    if "ray" in found.rates:
        theirs = found.rates["ray"]
        told = f"{rate / theirs:.2g}×" + (f" (we are {theirs / rate:.1f}× slower)" if theirs > rate else "")
        rows.append([f"ray, {GPUS} slots: a task that runs `true` in a subprocess", f"{theirs:.0f}", told])
    head = ["jobs submitted and finished a second", "a second", "ours / the peer's"]
    figures.table(f"{JOBS} commands that do nothing, median of {RUNS} runs", head, rows)
    names = {"px": "ipyparallel: controller and one engine, idle", "ray": f"ray: head and {GPUS} slots, idle"}
    rows = [[names.get(name, name), mebi(pss), mebi(rss)] for name, (pss, rss) in found.memory.items()]
    figures.table("Memory when nothing runs, all processes", ["what", "PSS", "sum of RSS"], rows)


if __name__ == "__main__":
    main()
