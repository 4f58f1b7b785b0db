"""A cell that reads an array of 500 MB: for the first time, again unchanged, and with one chunk of 4 MiB changed.

Part of `python -m benchmarks.cells`. Bytes moved are those over the loopback device, and those newly written to our
blob store; ray copies the array into its own shared memory each time, which no counter here shows. The trap: a value
that is already at the other side costs nothing to name, so each system is given the array itself each time, as a cell
would.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.measuring import figures, machine
from benchmarks.measuring.figures import shown
from benchmarks.measuring.kernels import Kernel

AGAIN = 5
AIM_AGAIN_S, AIM_AGAIN_BYTES, AIM_CHUNK_BYTES = 0.1, 64 * 1024, 8 * 1024 * 1024
ARRAY = "import numpy as np\nbig = np.random.default_rng(1).random(62_500_000)"
CHUNK = "big[{begin}:{begin} + 524_288] += 1"
SHM = Path("/dev/shm")


@dataclass(frozen=True, slots=True)
class Way:
    """One system's code: what it needs first, the trivial cell, and the cell that reads `big`."""

    name: str
    start: str
    trivial: str
    reads: str
    stop: str = ""


@dataclass(frozen=True, slots=True)
class Read:
    """Seconds and bytes of one kind of cell."""

    seconds: float
    moved: float


RAY = Way(
    "ray.remote(array)",
    """
import os
os.environ.update(RAY_USAGE_STATS_ENABLED="0", RAY_DEDUP_LOGS="0", RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO="0")
import logging, ray
ray.init(num_cpus=2, include_dashboard=False, logging_level=logging.ERROR, log_to_driver=False,
         object_store_memory=4_000_000_000)
@ray.remote
def total(a): return float(a[::4096].sum())
@ray.remote
def trivial(): return 1
""",
    "ray.get(trivial.remote())",
    "ray.get(total.remote(big))",
    "ray.shutdown()",
)
DASK = Way(
    "dask submit(array)",
    """
import dask.distributed
cluster = dask.distributed.LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None, memory_limit=None)
client = dask.distributed.Client(cluster)
def total(a): return float(a[::4096].sum())
""",
    "client.submit(lambda: 1, pure=False).result()",
    "client.submit(total, big, pure=False).result()",
    "client.close(); cluster.close()",
)
PX = Way(
    "ipyparallel push, %%px",
    """
import ipyparallel
cluster = ipyparallel.Cluster(n=1, log_level=40)
client = cluster.start_and_connect_sync(n=1)
client[:].activate()
""",
    "%%px\n1 + 1",
    "client[:].push({'big': big}, block=True)\nclient[:].execute('total = float(big[::4096].sum())', block=True)\n",
    "cluster.stop_cluster_sync()",
)
OURS = Way("%%gpu cell", "%load_ext dure", "%%gpu\n1 + 1", "%%gpu\ntotal = float(big[::4096].sum())")
KINDS = ("trivial", "first", "again", "chunk", "back")


def measure(kernel: Kernel, way: Way, store: Path) -> dict[str, Read]:
    """Run the cells of one system in its kernel; `store` is where it keeps values."""
    kernel.run(way.start)
    kernel.run(ARRAY)

    def cell(code: str) -> Read:
        before = _size(store) + machine.loopback_bytes()
        begin = time.perf_counter()
        kernel.run(code)
        seconds = time.perf_counter() - begin
        return Read(seconds, max(0, machine.loopback_bytes() + _size(store) - before))

    def often(code: str, before: Callable[[int], str] | None = None) -> Read:
        taken = []
        for number in range(AGAIN):
            if before is not None:
                kernel.run(before(number))
            taken.append(cell(code))
        return Read(statistics.median(r.seconds for r in taken), statistics.median(r.moved for r in taken))

    for _ in range(3):
        kernel.run(way.trivial)
    found = {"trivial": often(way.trivial), "first": cell(way.reads), "again": often(way.reads)}
    found["chunk"] = often(way.reads, lambda number: CHUNK.format(begin=(number + 1) * 8 * 524_288))
    if way is OURS:
        found["back"] = often("%%gpu\nbig[:524_288] += 1")
    if way.stop:
        kernel.run(way.stop)
    return found


def _size(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_blocks * 512 if path.is_file() else 0
        except OSError:
            continue
    return total


def print_table(found: dict[str, dict[str, Read]]) -> None:
    """Print the table of all systems and whether the aims are held."""
    ours = found[OURS.name]
    heads = {"first": "first time", "again": "again, unchanged", "chunk": "4 MiB of it changed here"}
    rows = []
    for name, reads in found.items():
        ratio = "" if name == OURS.name else f"{reads['again'].seconds / ours['again'].seconds:.2g}×"
        cells = [f"{shown(reads[kind].seconds)}, {_bytes(reads[kind].moved)}" for kind in heads]
        rows.append([name, shown(reads["trivial"].seconds), *cells, ratio])
    head = ["what", "trivial", *heads.values(), "again: the peer's time / ours"]
    figures.table("A cell that reads an array of 500 MB: time, bytes moved", head, rows)
    over_s = ours["again"].seconds - ours["trivial"].seconds
    again = over_s <= AIM_AGAIN_S and ours["again"].moved < AIM_AGAIN_BYTES
    chunk = max(ours["chunk"].moved, ours["back"].moved)
    print(
        f"Aim: again at most {shown(AIM_AGAIN_S)} over the trivial cell and less than 64 KiB: "
        f"{'held' if again else 'NOT held'} ({shown(over_s)}, {_bytes(ours['again'].moved)})."
    )
    print(
        f"Aim: a changed chunk moves at most 8 MiB: {'held' if chunk <= AIM_CHUNK_BYTES else 'NOT held'} "
        f"(to the worker {_bytes(ours['chunk'].moved)} in {shown(ours['chunk'].seconds)}, changed there and brought "
        f"back {_bytes(ours['back'].moved)} in {shown(ours['back'].seconds)})."
    )


def _bytes(number: float) -> str:
    return f"{number / 2**20:.1f} MiB" if number >= 2**20 else f"{number / 1024:.0f} KiB"
