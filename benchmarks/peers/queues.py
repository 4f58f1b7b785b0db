"""Peers of the control plane: Prefect's server, which is the same kind of thing, and huey, which is the floor.

Prefect: a server with an HTTP API over SQLite; a flow run in state SCHEDULED waits as our job does; nobody decides it.
huey: a library; a task is one insert into SQLite by the caller itself, with no server, check, owner or explanation.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from benchmarks.measuring import figures, machine, venv
from benchmarks.measuring.figures import Timed, ratio, shown
from benchmarks.measuring.http import Connection

START_S = 180.0
PREFECT_RUNS = 2_000  # its submissions are slow enough for this many to tell


@dataclass
class Peers:
    """What was found of each; Prefect's is None where its server did not start."""

    versions: str
    prefect_per_s: float | None
    prefect_lone: Timed | None
    prefect_pages: dict[int, Timed]
    prefect_memory: tuple[int, int] | None
    huey_per_s: float
    huey_page: float


def measured(python: str, folder: Path, count: int, connections: int, pages: int) -> Peers:
    """Return the peers' figures with `count` queued entries each."""
    peers = Peers(venv.versions("prefect", "huey"), None, None, {}, None, *_huey(python, folder, count))
    try:
        _prefect(peers, python, folder, count=count, connections=connections, pages=pages)
    except (OSError, AssertionError, TimeoutError) as error:
        print(f"NOTE: Prefect's server could not be measured ({error}); its column is missing.", flush=True)
    return peers


def print_beside(peers: Peers, per_s: float, lone: Timed, pages: dict[str, Timed], count: int) -> None:
    """Print ours beside theirs. A ratio above 1 is in our favour."""
    none = "–"
    rows = []
    theirs = peers.prefect_per_s
    huey = [f"{peers.huey_per_s:.0f}", _rate(per_s, peers.huey_per_s)]
    rows.append(
        ["submissions a second", f"{per_s:.0f}", f"{theirs:.0f}" if theirs else none, _rate(per_s, theirs), *huey]
    )
    if peers.prefect_lone is not None:
        one = peers.prefect_lone
        cells = [shown(lone.p50), shown(one.p50), ratio(one.p50, lone.p50), none, none]
        rows.append([f"one submission, {count:,} queued, p50", *cells])
    for limit, found in peers.prefect_pages.items():
        ours = pages[f"page of {limit}"]
        for name, part in (("p50", 0.5), ("p99", 0.99)):
            mine, other = ours.quantile(part), found.quantile(part)
            listed = [none, none]
            if limit == 100 and name == "p50":
                listed = [shown(peers.huey_page), ratio(peers.huey_page, mine)]
            rows.append([f"page of {limit}, {name}", shown(mine), shown(other), ratio(other, mine), *listed])
    print(f"Peers: {peers.versions}; Prefect has {min(count, PREFECT_RUNS):,} queued where we have {count:,}.")
    if peers.prefect_memory is not None:
        used = " / ".join(map(figures.mebi, peers.prefect_memory))
        print(f"Prefect's server with its queue needs {used} (PSS / RSS).")
    figures.table(
        f"Beside peers, on SQLite, {count:,} queued; ratio: times as good as the peer",
        ["what", "Dure", "Prefect server", "ratio", "huey (library)", "ratio"],
        rows,
    )


def _rate(ours: float, theirs: float | None) -> str:
    if theirs is None:
        return "–"
    return f"{ours / theirs:.1f}×" if ours >= theirs else _slower(ours, theirs)


def _slower(ours: float, theirs: float) -> str:
    return f"{ours / theirs:.2g}× (we are {theirs / ours:.1f}× slower)"


HUEY = """
import json, sys, time
from huey import SqliteHuey
huey = SqliteHuey(filename=sys.argv[1], fsync=True)
@huey.task()
def task(argv): pass
count = int(sys.argv[2])
begin = time.perf_counter()
for number in range(count): task(["true"])
per_s = count / (time.perf_counter() - begin)
times = []
for _ in range(50):
    begin = time.perf_counter(); huey.pending(100); times.append(time.perf_counter() - begin)
print(json.dumps([per_s, sorted(times)[len(times) // 2]]))
"""


def _huey(python: str, folder: Path, count: int) -> tuple[float, float]:
    done = subprocess.run(
        [python, "-c", HUEY, str(folder / "huey.db"), str(count)], capture_output=True, text=True, check=True
    )
    per_s, page = json.loads(done.stdout)
    return per_s, page


def _prefect(peers: Peers, python: str, folder: Path, *, count: int, connections: int, pages: int) -> None:
    count = min(count, PREFECT_RUNS)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {
        **os.environ,
        "PREFECT_HOME": str(folder / "prefect"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "PREFECT_LOGGING_SERVER_LEVEL": "ERROR",
        "PREFECT_SERVER_LOGGING_LEVEL": "ERROR",
    }
    command = [python, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port), "--no-ui"]
    with (folder / "prefect.log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
    try:
        url = f"http://127.0.0.1:{port}/api"
        one = Connection(url)
        _wait(one, process)
        flow = one.call("POST", "/flows/", {"name": "bench"})["id"]
        run = {"flow_id": flow, "state": {"type": "SCHEDULED"}, "parameters": {"argv": ["true"]}}

        def part(first: int) -> None:
            connection = Connection(url)
            for _ in range(first, count, connections):
                _patiently(connection, run)

        begin = time.perf_counter()
        with ThreadPoolExecutor(connections) as pool:
            list(pool.map(part, range(connections)))
        peers.prefect_per_s = count / (time.perf_counter() - begin)
        peers.prefect_lone = figures.timed(lambda: _patiently(one, run), 40, pause_s=0.1)
        for limit in (50, 100):
            asked = {"limit": limit, "sort": "EXPECTED_START_TIME_DESC"}
            peers.prefect_pages[limit] = figures.timed(lambda a=asked: one.call("POST", "/flow_runs/filter", a), pages)
        peers.prefect_memory = machine.memory(machine.family(process.pid))
    finally:
        for group_signal in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(process.pid, group_signal)
                process.wait(10)
            except (ProcessLookupError, subprocess.TimeoutExpired):
                continue


def _patiently(connection: Connection, run: dict[str, object]) -> None:
    """Submit again while the server answers 503, as Prefect's own client does: its SQLite is busy then."""
    for _ in range(100):
        try:
            connection.call("POST", "/flow_runs/", run)
        except OSError:
            connection.close()  # it also hangs up when it is busy
        except AssertionError as error:
            if " 503 " not in str(error):
                raise
            time.sleep(0.02)
        else:
            return
    raise TimeoutError("100 answers of 503 in a row")


def _wait(one: Connection, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_S
    while True:
        try:
            one.call("GET", "/health")
        except (OSError, AssertionError) as error:
            one.close()
            if process.poll() is not None or time.monotonic() > deadline:
                raise TimeoutError(f"it did not start: {error}") from error
            time.sleep(0.2)
        else:
            return
