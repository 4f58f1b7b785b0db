"""The control plane under load: 10,000 queued jobs through real HTTP, on SQLite and PostgreSQL.

`python -m benchmarks.control [--jobs N] [--no-peers]` from the repository's root. The trap: all GPUs are held by
sleeping jobs, so that what is submitted stays queued and every tick decides over all of it.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.measuring import figures, machine, postgres, running, venv
from benchmarks.measuring.figures import Timed, shown
from benchmarks.measuring.http import Connection
from benchmarks.peers import queues

CONNECTIONS = 4
PAGES = 200
LONE = 40
WATCHED_S = 10.0
GPUS = 4  # private ones of the platform file that `dure init` writes
SHAPES = [
    {"tier": tier, "gpus": gpus, "priority": priority}
    for tier in ("bronze", "silver", "gold", None)
    for gpus in (1, 0.5)
    for priority in ("normal", "low")
]


@dataclass
class Figures:
    """What was found of one database."""

    name: str
    submitted_per_s: float
    submit: Timed
    submit_lone: Timed
    decided_empty: Timed
    decided: Timed
    pages: dict[str, Timed]
    busy_page: Timed
    cpu_share: float
    memory: tuple[int, int]
    ticks: dict[str, Timed]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--no-peers", action="store_true")
    parser.add_argument("--no-postgres", action="store_true")
    options = parser.parse_args()
    print("## The control plane with a long queue\n")
    print(machine.told("dure", "fastapi", "sqlalchemy", "uvicorn", "pydantic"))
    with tempfile.TemporaryDirectory(prefix="dure-bench-") as folder:
        found = [_measured("SQLite", Path(folder) / "sqlite", None, options.jobs)]
        if not options.no_postgres:
            with postgres.server() as url:
                if url is None:
                    print("NOTE: PostgreSQL is not installed here; its column is missing.")
                else:
                    found.append(_measured("PostgreSQL", Path(folder) / "pg", url, options.jobs))
        python = None if options.no_peers else venv.python()
        peers = queues.measured(python, Path(folder), options.jobs, CONNECTIONS, PAGES) if python else None
    _print(found, peers, options.jobs)


def _measured(name: str, folder: Path, url: str | None, count: int) -> Figures:
    variables = {"DURE_DATABASE_URL": url} if url else {}
    with running.platform(folder, variables=variables) as platform:
        one = Connection(platform.url, platform.token)
        _wait_until_warm(one)
        decided_empty = _decided(platform, one)
        _wait_until_empty(one)
        _hold_every_gpu(one)
        submit, took_s = _submit_all(platform, count)
        _settled(one, count)
        pages = {}
        for limit in (50, 100):
            path = f"/api/jobs?limit={limit}"
            pages[f"page of {limit}"] = figures.timed(lambda path=path: one.call("GET", path), PAGES)
        newest = one.call("GET", "/api/jobs?limit=1")["next"]
        pages["page of 100, queued only"] = figures.timed(
            lambda: one.call("GET", f"/api/jobs?phase=queued&limit=100&cursor={newest}"), PAGES
        )
        decided = _decided(platform, one)
        lone = figures.timed(lambda: one.call("POST", "/api/jobs", _job(0)), LONE, pause_s=0.1)
        with _trickle(platform, per_s=20):
            busy = figures.timed(lambda: one.call("GET", "/api/jobs?limit=100"), PAGES)
        _settled(one, count)
        processes = machine.family(platform.pid)
        before, begin = machine.cpu_s(processes), time.monotonic()
        time.sleep(WATCHED_S)
        share = (machine.cpu_s(processes) - before) / (time.monotonic() - begin)
        used = machine.memory(processes)
    return Figures(
        name, count / took_s, submit, lone, decided_empty, decided, pages, busy, share, used,
        ticks=_ticks(folder, variables),
    )  # fmt: skip


def _job(number: int) -> dict[str, Any]:
    shape = {key: value for key, value in SHAPES[number % len(SHAPES)].items() if value is not None}
    return {"kind": "command", "name": f"bench {number}", "payload": {"argv": ["true"]}, **shape}


def _wait_until_warm(one: Connection) -> None:
    """Wait until the fork server has told its fingerprint, so that its start is not measured."""
    deadline = time.monotonic() + 60
    while not one.call("GET", "/api/environments")["environments"][0]["packages"]:
        assert time.monotonic() < deadline, "the fork server did not get ready"
        time.sleep(0.1)


def _hold_every_gpu(one: Connection) -> None:
    for _ in range(GPUS):
        one.call("POST", "/api/jobs", {"kind": "command", "name": "holds", "payload": {"argv": ["sleep", "86400"]}})
    deadline = time.monotonic() + 60
    while len(one.call("GET", "/api/jobs?phase=running")["jobs"]) < GPUS:
        assert time.monotonic() < deadline, "the jobs that hold the GPUs did not begin"
        time.sleep(0.1)


def _wait_until_empty(one: Connection) -> None:
    """Wait until nothing waits or runs."""
    unfinished = "/api/jobs?phase=queued&phase=admitted&phase=starting&phase=running&limit=500"
    deadline = time.monotonic() + 60
    while one.call("GET", unfinished)["jobs"]:
        assert time.monotonic() < deadline, "the platform did not get empty"
        time.sleep(0.1)


def _submit_all(platform: running.Running, count: int) -> tuple[Timed, float]:
    """Submit over a few connections at once, as fast as it is answered; return each time and the whole."""

    def part(first: int) -> list[float]:
        connection = Connection(platform.url, platform.token)
        numbers = range(first, count, CONNECTIONS)
        found = []
        for number in numbers:
            begin = time.perf_counter()
            connection.call("POST", "/api/jobs", _job(number))
            found.append(time.perf_counter() - begin)
        return found

    begin = time.perf_counter()
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        times = [seconds for found in pool.map(part, range(CONNECTIONS)) for seconds in found]
    return Timed(tuple(times)), time.perf_counter() - begin


def _settled(one: Connection, count: int) -> None:
    """Wait until the loop has explained the newest job: what was submitted is all decided."""
    deadline = time.monotonic() + 120
    while True:
        queued = one.call("GET", "/api/jobs?phase=queued&limit=1")["jobs"]
        if queued and queued[0]["reason"]:
            return
        assert time.monotonic() < deadline, f"{count} jobs were not decided in time"
        time.sleep(0.1)


def _decided(platform: running.Running, one: Connection) -> Timed:
    """Return the times from sending a submission to hearing of its decision by the event stream, one at a time."""
    listener = Connection(platform.url, platform.token)
    lines = listener.listen("/api/events/stream")
    heard: dict[str, float] = {}
    arrived = threading.Condition()

    def hear() -> None:
        for line in lines:
            if line.startswith(b"data: ") and b'"kind"' in line:
                event = json.loads(line[6:])
                if event["kind"] in {"job.waiting", "job.admitted"}:
                    with arrived:
                        heard.setdefault(event["subject"], time.perf_counter())
                        arrived.notify_all()

    threading.Thread(target=hear, daemon=True).start()
    times = []
    for number in range(LONE):
        begin = time.perf_counter()
        job = one.call("POST", "/api/jobs", _job(number))["id"]
        with arrived:
            assert arrived.wait_for(lambda job=job: job in heard, 30), "a decision was not heard of"
        times.append(heard[job] - begin)
        time.sleep(0.3)
    return Timed(tuple(times))


@contextmanager
def _trickle(platform: running.Running, per_s: float) -> Iterator[None]:
    """Submit `per_s` jobs a second meanwhile."""
    stop = threading.Event()

    def submit() -> None:
        connection, number = Connection(platform.url, platform.token), 0
        while not stop.wait(1 / per_s):
            connection.call("POST", "/api/jobs", _job(number))
            number += 1

    thread = threading.Thread(target=submit, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _ticks(folder: Path, variables: dict[str, str]) -> dict[str, Timed]:
    """Return times of ticks of the production loop on the same database, in this process, without a web server."""
    from dure.control.loop import Loop, LoopSettings
    from dure.control.queries import Queries
    from dure.core.usage import month_of
    from dure.main.compose import compose, owner
    from dure.settings import read_settings
    from dure.wire.messages import JobRequest

    parts = compose(read_settings(folder, variables, port=0))
    for executor in parts.executors.values():
        executor.close()
    parts.executors.clear()  # leases stay as they are, and no job begins: only deciding and storing is measured
    try:
        loop = Loop(parts.ports, parts.platform, LoopSettings("bench", rest_s=0.0), month_of)
        person = owner(parts.platform)
        deadline = time.monotonic() + 30
        first = figures.timed(loop.tick, 1)
        while not loop.leads:  # the platform that has just ended may lead for a few seconds more
            assert time.monotonic() < deadline, "this process did not get to lead"
            time.sleep(0.2)
            first = figures.timed(loop.tick, 1)
        loop.tick()  # the first one admits and explains; the second sees what that made
        idle = figures.timed(loop.tick, 30)

        def one_more() -> None:
            parts.commands.submit(person, JobRequest(kind="command", name="tick", payload={"argv": ["true"]}), None)

        after = []
        for _ in range(30):
            one_more()
            after += figures.timed(loop.tick, 1).seconds
        queries = Queries(parts.ports, parts.platform, "bench", lambda: loop.plan)
        view = figures.timed(lambda: queries.jobs(person, limit=100), 50)
        queue = figures.timed(lambda: queries.queue(person, "en"), 20)
        loop.resign()
    finally:
        parts.close()
    return {"first": first, "idle": idle, "submitted": Timed(tuple(after)), "jobs": view, "queue": queue}


def _print(found: list[Figures], peers: queues.Peers | None, count: int) -> None:
    def row(name: str, *cells: str) -> list[str]:
        return [name, *cells]

    def both(name: str, of: Any) -> list[str]:
        return row(name, *(f"{shown(of(one).p50)} / {shown(of(one).quantile(0.99))}" for one in found))

    submitted = row(f"submissions a second, {CONNECTIONS} connections", *(f"{f.submitted_per_s:.0f}" for f in found))
    rows = [submitted, both("one submission among those, p50 / p99", lambda f: f.submit)]
    rows += [both(f"lone submission with {count:,} queued", lambda f: f.submit_lone)]
    rows += [both("submit to decision heard, empty queue", lambda f: f.decided_empty)]
    rows += [both(f"submit to decision heard, {count:,} queued", lambda f: f.decided)]
    for name in found[0].pages:
        rows.append(both(f"GET /jobs, {name}", lambda f, name=name: f.pages[name]))
    rows += [both("GET /jobs, page of 100, 20 submissions a second beside", lambda f: f.busy_page)]
    rows += [both("tick when nothing changed", lambda f: f.ticks["idle"])]
    rows += [both("tick after one submission", lambda f: f.ticks["submitted"])]
    rows += [row("first tick of a new leader", *(shown(f.ticks["first"].p50) for f in found))]
    rows += [both("query for a page of 100 in process", lambda f: f.ticks["jobs"])]
    rows += [both("query for the queue in process", lambda f: f.ticks["queue"])]
    rows += [row("CPU of the idle platform, of one core", *(f"{f.cpu_share:.1%}" for f in found))]
    rows += [row("its memory, PSS / RSS", *(" / ".join(map(figures.mebi, f.memory)) for f in found))]
    figures.table(f"{count:,} queued jobs (p50 / p99)", ["what", *(f.name for f in found)], rows)
    if peers is not None:
        queues.print_beside(peers, found[0].submitted_per_s, found[0].submit_lone, found[0].pages, count)


if __name__ == "__main__":
    main()
