"""Sessions: what saving after each cell costs the cells, and how soon a reopened notebook of 1 GB answers.

`python -m benchmarks.sessions [--runs N]` from the repository's root prints two tables. The peer is what people do by
hand: the whole namespace as one pickle (protocol 5) in a file, written after each cell and read in the first one. The
trap: a kernel's first look at 1 GB is not a cell's cost, so the first save is measured apart from the cells after it.
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.measuring import machine, running
from benchmarks.measuring.kernels import Kernel
from dure.client import Client, Login
from dure.hub.spawner import STARTUP

CELLS = 12
SETUP = """
import numpy as np, pickle, types, time
from time import thread_time
big = np.random.default_rng(1).random(134_000_000)
table = {f'k{i}': [i, str(i)] for i in range(10_000)}
frame = np.zeros((1000, 100)); total = 0
"""
WORK = """
step = {number}
for _turn in range({turns}):
    frame += np.random.default_rng(step).random((1000, 100))
big[step * 1000:step * 1000 + 1000] = step
total += step
table[f'k{{step}}'] = [step]
"""
CALIBRATE = """
_until, _turns = time.perf_counter() + 2.0, 0
while time.perf_counter() < _until:
    frame += np.random.default_rng(0).random((1000, 100)); _turns += 1
print(_turns)
"""
KEEP = """
def _keep():
    held = {{k: v for k, v in globals().items() if not k.startswith('_') and not callable(v)
            and not isinstance(v, types.ModuleType) and k not in ('In', 'Out')}}
    with open({path!r}, 'wb') as file: pickle.dump(held, file, protocol=5)
get_ipython().events.register('post_run_cell', lambda _result: _keep())
"""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--work-s", type=float, default=0.5, help="what a cell computes, in seconds")
    options = parser.parse_args()
    print(machine.told("dure", "ipykernel", "ipython", "numpy"))
    with tempfile.TemporaryDirectory(dir=_memory(), prefix="dure-bench-") as folder:
        root = Path(folder)
        with running.platform(root / "platform") as platform:
            _cells(platform, root, options.runs, options.work_s)
            _reopened(platform, root, options.runs)


def _memory() -> str | None:
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


def _kernel(platform: running.Running, home: Path, notebook: str, *, saved: bool) -> Kernel:
    home.mkdir(parents=True, exist_ok=True)
    own = {
        "JPY_SESSION_NAME": str(home / notebook),
        "PYTHONSTARTUP": str(STARTUP),
        "DURE_SESSIONS": "on" if saved else "off",
    }
    return Kernel(sys.executable, {**platform.environment(home), **own}, home)


def _timed(kernel: Kernel, code: str) -> float:
    began = time.perf_counter()
    kernel.run(code)
    return time.perf_counter() - began


def _cells(platform: running.Running, root: Path, runs: int, work_s: float) -> None:
    found: dict[str, dict[str, list[float]]] = {}
    kernel = _kernel(platform, root / "home", "calibrated.ipynb", saved=False)
    kernel.run(SETUP)
    turns = int(int(kernel.run(CALIBRATE)) * work_s / 2.0)  # the same work for all, however busy the machine gets
    kernel.end()
    for run in range(runs):
        for way in ("not saved", "session", "pickle 5"):
            for pause_s, pace in ((0.3, "with a pause"), (0.0, "at once")):
                kernel = _kernel(platform, root / "home", f"cells-{run}-{way}-{pace}.ipynb", saved=way == "session")
                kernel.run(SETUP)
                if way == "session":
                    kernel.run("%session save")
                elif way == "pickle 5":
                    kernel.run(KEEP.format(path=str(root / "cells.pickle")))
                began_s = float(kernel.run("thread_time()"))
                spent = []
                for number in range(1, CELLS + 1):
                    spent.append(_timed(kernel, WORK.format(number=number, turns=turns)))
                    time.sleep(pause_s)
                found.setdefault(pace, {}).setdefault(way, []).extend(spent)
                used_s = float(kernel.run("thread_time()")) - began_s
                found.setdefault(f"{pace}, CPU of the cells' thread", {}).setdefault(way, []).append(used_s)
                kernel.end()
    print(f"\n{CELLS} cells of about {work_s:g} s that change 8 kB of 1.07 GB, a frame and a dictionary.")
    print(f"Lower quartile of {runs * CELLS} cells, from sending one to its end; CPU of all {CELLS} together:\n")
    print(
        "| cells follow one another | not saved | saved as a session | overhead | pickle 5 after each cell | overhead |"
    )
    print("|---|---|---|---|---|---|")
    for pace, ways in found.items():
        plain, ours, peer = (_lower(ways[way]) for way in ("not saved", "session", "pickle 5"))
        own = f"{plain:.2f} s | {ours:.2f} s | **{ours / plain - 1:+.1%}**"
        print(f"| {pace} | {own} | {peer:.2f} s | {peer / plain - 1:+.0%} |")


def _lower(figures: list[float]) -> float:
    """Return the lower quartile: all cells do the same, and what is above it is the machine's other work."""
    return sorted(figures)[len(figures) // 4]


def _reopened(platform: running.Running, root: Path, runs: int) -> None:
    client = Client(Login(platform.url, platform.token, "environment"))
    ours: list[float] = []
    empty: list[float] = []
    peer: list[float] = []
    cpu: dict[bool, list[float]] = {True: [], False: []}
    for run in range(runs):
        name = f"reopened-{run}.ipynb"
        kernel = _kernel(platform, root / "home", name, saved=True)
        kernel.run(SETUP)
        kernel.run("%session save")
        kernel.run(KEEP.format(path=str(root / "whole.pickle")) + "_keep()")
        _until_saved(client, name)
        os.kill(kernel.pid, signal.SIGKILL)
        kernel.end()
        for figures, saved, code in (
            (ours, True, "float(big[5]) + total + len(table)"),
            (empty, False, "1 + 1"),
            (peer, False, f"import pickle\nglobals().update(pickle.load(open({str(root / 'whole.pickle')!r}, 'rb')))"),
        ):
            kernel = _kernel(platform, root / "home", name, saved=saved)
            figures.append(_timed(kernel, code))
            cpu[saved].append(float(kernel.run("import time; time.process_time()")))
            kernel.end()
    client.close()
    extra_s = statistics.median(cpu[True]) - min(cpu[False])
    mine, nothing, whole = (statistics.median(each) for each in (ours, empty, peer))
    print(f"\nFirst cell of a kernel after kill -9, 1.07 GB and 10,000 small objects; median of {runs}:\n")
    print("| first cell | time | the peer's / ours |\n|---|---|---|")
    print(f"| restored session | **{mine * 1000:.0f} ms** ({extra_s:.2f} s of CPU more than an empty kernel) | |")
    print(f"| nothing to restore | {nothing * 1000:.0f} ms | |")
    print(f"| pickle 5 of the whole, read | {whole * 1000:.0f} ms | {whole / mine:.1f}× |")


def _until_saved(client: Client, name: str) -> None:
    deadline = time.monotonic() + 120
    while True:
        found = client.sessions(limit=500).sessions
        if any(each.name.endswith(name) and each.versions >= 2 for each in found):
            return
        if time.monotonic() > deadline:
            raise TimeoutError(f"{name} was not saved")
        time.sleep(0.1)


if __name__ == "__main__":
    main()
