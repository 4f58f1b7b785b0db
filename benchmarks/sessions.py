"""Sessions: what saving after each cell costs the cells, and how soon a reopened notebook of 1 GB answers.

`python -m benchmarks.sessions [--cells N] [--work-s S] [--openings N]` from the repository's root prints two tables and
ends within two minutes or so on two cores. The peer is what people do by hand: the whole namespace as one pickle
(protocol 5) in a file, written after each cell and read in the first one. One kernel takes turns, saved and not: two
kernels that do the same differ by up to 8 % of CPU, from where their memory lies. The trap: a kernel's first look at
1 GB is not a cell's cost, so it is over before the first cell that counts.
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.measuring import machine, running
from benchmarks.measuring.kernels import Kernel
from dure.client import Client, Login
from dure.hub.spawner import STARTUP

NOTEBOOK = "train.ipynb"
PLAIN, OURS, PEER = "not saved", "session", "pickle 5"
WAYS = (PLAIN, OURS, PEER)
PEER_EVERY = 3  # the peer's figure is so far off that fewer cells show it
BLOCK = 6  # cells that follow at once, before another kernel's turn
PAUSE_S = 0.3
SETUP = """
import numpy as np, pickle, types, time
big = np.arange(134_000_000, dtype='f8')
table = {f'k{i}': [i, str(i)] for i in range(10_000)}
frame = np.zeros((1000, 100)); total = 0
_random = np.empty((1000, 100))  # kept: what malloc does with a new one differs from kernel to kernel
"""
WORK = """
step = {number}
for _turn in range({turns}):
    frame += np.random.default_rng(step).random(out=_random)
big[step * 1000:step * 1000 + 1000] = step
total += step
table[f'k{{step}}'] = [step]
"""
CALIBRATE = """
_until, _turns = time.thread_time() + 1.0, 0
while time.thread_time() < _until:
    frame += np.random.default_rng(0).random(out=_random); _turns += 1
print(_turns)
"""
KEEP = """
def _keep():
    held = {{k: v for k, v in globals().items() if not k.startswith('_') and not callable(v)
            and not isinstance(v, types.ModuleType) and k not in ('In', 'Out')}}
    with open({path!r}, 'wb') as file: pickle.dump(held, file, protocol=5)
get_ipython().events.register('post_run_cell', lambda _result: _keeping and _keep())
_keeping = False
"""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=int, default=18, help="cells of each kind")
    parser.add_argument("--work-s", type=float, default=0.5, help="what a cell computes, in seconds of CPU")
    parser.add_argument("--openings", type=int, default=3)
    options = parser.parse_args()
    print(machine.told("dure", "ipykernel", "ipython", "numpy"))
    with tempfile.TemporaryDirectory(dir=_memory(), prefix="dure-bench-") as folder:
        root = Path(folder)
        with running.platform(root / "platform") as platform:
            kernel = _kernel(platform, root / "home", saved=True)
            try:
                _cells(kernel, root, options.cells, options.work_s)
                _until_saved(platform)
                os.kill(kernel.pid, signal.SIGKILL)
            finally:
                kernel.end()
            _reopened(platform, root, options.openings)


def _memory() -> str | None:
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


def _kernel(platform: running.Running, home: Path, *, saved: bool) -> Kernel:
    home.mkdir(parents=True, exist_ok=True)
    own = {
        "JPY_SESSION_NAME": str(home / NOTEBOOK),
        "PYTHONSTARTUP": str(STARTUP),
        "DURE_SESSIONS": "on" if saved else "off",
    }
    return Kernel(sys.executable, {**platform.environment(home), **own}, home)


def _timed(kernel: Kernel, code: str) -> float:
    began = time.perf_counter()
    kernel.run(code)
    return time.perf_counter() - began


@dataclass
class Figures:
    """What the cells of one kernel took: each from sending it to its end, and the CPU of the thread that runs them."""

    seconds: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)


def _cells(kernel: Kernel, root: Path, cells: int, work_s: float) -> None:
    kernel.run(SETUP)
    turns = int(int(kernel.run(CALIBRATE)) * work_s)  # of CPU, however busy the machine is
    kernel.run("%session save")
    kernel.run(KEEP.format(path=str(root / "whole.pickle")))
    number = 0
    print(
        f"\nCells of {work_s:g} s of CPU that change 8 kB of 1.07 GB, a frame and a dictionary of 10,000 lists, in one"
    )
    print(f"kernel. Medians of {cells} cells, from sending one to its end (pickle 5: {cells // PEER_EVERY}).\n")
    print(
        "| cells follow one another | not saved | saved as a session | overhead | pickle 5 after each cell | overhead |"
    )
    print("|---|---|---|---|---|---|")
    for pace, size in ((f"after a pause of {PAUSE_S:g} s", 1), (f"{BLOCK} at once", BLOCK)):
        found = {way: Figures() for way in WAYS}
        for turn in range(cells // size):
            for way in WAYS if turn % 2 else (OURS, PLAIN, PEER):  # neither is always first
                if way == PEER and turn % PEER_EVERY:
                    continue
                kernel.run(f"%session {'on' if way == OURS else 'off'}\n_keeping = {way == PEER}")
                time.sleep(PAUSE_S)
                began_s = _thread_s(kernel)
                for _cell in range(size):
                    number += 1
                    found[way].seconds.append(_timed(kernel, WORK.format(number=number, turns=turns)))
                found[way].cpu_s.append((_thread_s(kernel) - began_s) / size)
        _row(pace, {way: statistics.median(figures.seconds) for way, figures in found.items()})
        _row(f"{pace}, CPU of their thread", {way: statistics.median(found[way].cpu_s) for way in WAYS})
    kernel.run("%session on\n_keeping = False")


def _thread_s(kernel: Kernel) -> float:
    """Return the CPU time of the thread that runs cells, from outside: asking would be one more cell."""
    return int(Path(f"/proc/{kernel.pid}/task/{kernel.pid}/schedstat").read_text().split()[0]) / 1e9


def _row(title: str, figures: dict[str, float]) -> None:
    plain, ours, peer = (figures[way] for way in WAYS)
    own = f"{plain:.3f} s | {ours:.3f} s | **{ours / plain - 1:+.1%}**"
    print(f"| {title} | {own} | {peer:.2f} s | {peer / plain - 1:+.0%} |")


def _reopened(platform: running.Running, root: Path, openings: int) -> None:
    ours: list[float] = []
    empty: list[float] = []
    peer: list[float] = []
    cpu: dict[bool, list[float]] = {True: [], False: []}
    for _opening in range(openings):
        for figures, saved, code in (
            (ours, True, "float(big[5]) + total + len(table)"),
            (empty, False, "1 + 1"),
            (peer, False, f"import pickle\nglobals().update(pickle.load(open({str(root / 'whole.pickle')!r}, 'rb')))"),
        ):
            kernel = _kernel(platform, root / "home", saved=saved)
            figures.append(_timed(kernel, code))
            if figures is not peer:
                cpu[saved].append(float(kernel.run("import time; time.process_time()")))
            os.kill(kernel.pid, signal.SIGKILL)
            kernel.end()
    extra_s = statistics.median(cpu[True]) - statistics.median(cpu[False])
    mine, nothing, whole = (statistics.median(each) for each in (ours, empty, peer))
    print(f"\nFirst cell of a kernel after kill -9, 1.07 GB and 10,000 small objects; median of {openings}:\n")
    print("| first cell | time | the peer's / ours |\n|---|---|---|")
    print(f"| restored session | **{mine * 1000:.0f} ms** ({extra_s:.2f} s of CPU more than an empty kernel) | |")
    print(f"| nothing to restore | {nothing * 1000:.0f} ms | |")
    print(f"| pickle 5 of the whole, read | {whole * 1000:.0f} ms | {whole / mine:.1f}× |")


def _until_saved(platform: running.Running) -> None:
    """Wait until the last cell's version is with the platform."""
    deadline, newest = time.monotonic() + 60, -1
    with Client(Login(platform.url, platform.token, "environment")) as client:
        while newest != (newest := client.sessions().sessions[0].newest):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{NOTEBOOK} was not saved")
            time.sleep(1.0)


if __name__ == "__main__":
    main()
