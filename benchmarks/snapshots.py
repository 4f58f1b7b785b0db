"""Snapshots beside what people use today: a cloudpickled dict, a whole-dict pickle 5, `dill.dump_module` and kishu.

`python -m benchmarks.snapshots` from the repository's root prints a table; dill and kishu are installed outside of what
Dure runs in, or taken from `--peers PYTHON`. Figures are medians of `--rounds` processes (one of a peer that is slow);
`cells` is what saving after every cell adds to the CPU of the thread that runs cells (of kishu in one process). A step
of a peer may take `--limit` seconds, and what has not begun after `TOTAL_S` is not run: all ends within eleven minutes.
The traps: files go to memory (/dev/shm), so that a disk's speed is no part of it; and what a process frees goes back to
a virtual machine's host within two seconds, so that a new GB costs 0.1 to 2 s of CPU, and no cell here makes one.
"""

from __future__ import annotations

import argparse
import builtins
import contextlib
import importlib
import json
import os
import pickle
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

from benchmarks.measuring.namespaces import CHANGES, CHECKS, NAMESPACES, WORK

TOTAL_S = 560.0
CELLS_S = 20.0  # of turns of cells, at least TURNS
TURNS = 5
SLOW_S = 5.0  # a peer whose round takes longer has one


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peers", help="a Python that has dill and kishu; without it one is made")
    parser.add_argument("--one", nargs=4, metavar=("METHOD", "NAMESPACE", "STEP", "FOLDER"), help=argparse.SUPPRESS)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--limit", type=float, default=45.0, help="what a step of a peer may take, in seconds")
    asked = parser.parse_args()
    if asked.one:
        method, name, step, folder = asked.one
        print(json.dumps(STEPS[step](method, name, Path(folder))))
        return
    from benchmarks.measuring import machine

    print(machine.told("dure", "numpy", "pandas", "scikit-learn", "cloudpickle"))
    peers = asked.peers or peers_python()
    methods = ["dure", "cloudpickle", "pickle 5", *(["dill", "kishu"] if peers else [])]
    began = time.monotonic()
    chunk(asked.rounds)
    rows: dict[str, list[str]] = {name: [] for name in NAMESPACES}
    for method in methods:  # ours first and the slowest last
        python = peers if method in ("dill", "kishu") and peers else sys.executable
        for name in NAMESPACES:
            found = rounds_of(method, name, python, asked.rounds, limit_s=asked.limit, began=began)
            rows[name].append(row(method, name, found))
            print(f"{time.monotonic() - began:.0f} s: {method}, {name}", file=sys.stderr)
    print(
        "\n| namespace | method | save s | MB | after one small change s | bytes written "
        "| load s (of which imports) | checks | cells |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    print("\n".join(line for name in NAMESPACES for line in rows[name]))


def rounds_of(
    method: str, name: str, python: str, rounds: int, *, limit_s: float, began: float
) -> list[dict[str, Any]]:
    """Return what the rounds of one row found: no more than one where it fails or is slow."""
    found: list[dict[str, Any]] = []
    for number in range(rounds):
        start = time.monotonic()
        if method != "dure" and start - began > TOTAL_S - limit_s:
            return found or [{"none": "not run: the program's time was up"}]
        if number and start - began > TOTAL_S / 3:
            break
        has_cells = method == "dure" or (method == "kishu" and number == 0)
        steps = ["save", "load", *(["cells"] if has_cells else [])]
        left_s = None if method == "dure" else min(limit_s, TOTAL_S - (start - began))
        found.append(measured(method, name, python, steps, left_s))
        slow = method != "dure" and time.monotonic() - start > SLOW_S
        if slow or "late" in found[-1] or "error" in found[-1]:
            break
    return found


def row(method: str, name: str, rounds: list[dict[str, Any]]) -> str:
    """Return a row of medians, or what went wrong."""
    of = len(CHECKS[name])
    if "none" in rounds[0]:
        return f"| {name} | {method} | {rounds[0]['none']} | | | | | | |"
    if "error" in rounds[-1]:
        return f"| {name} | {method} | fails to {rounds[-1]['error']} | | | | | 0/{of} | |"
    late = rounds[-1].get("late", {})
    middle = {key: statistics.median(one[key] for one in rounds if key in one) for key in rounds[0] if key != "late"}
    saved = late.get("save") or f"{middle['first_s']:.2f} | {middle['first_bytes'] / 1e6:.0f}"
    again = " | |" if "save" in late else f"{middle['second_s']:.3f} | {middle['second_bytes']:.0f}"
    loaded = ""
    if "load_s" in middle:
        imported = f" ({middle['imports_s']:.2f})" if "imports_s" in middle else ""
        loaded = f"{middle['load_s']:.2f}{imported} | {middle['checks']:.0f}/{of}"
    overhead = f"{100 * middle['overhead']:+.1f} %" if "overhead" in middle else late.get("cells", "")
    return f"| {name} | {method} | {saved} | {again} | {loaded or late.get('load', '') + ' |'} | {overhead} |"


def peers_python() -> str | None:
    """Return a Python with dill and kishu beside our versions of numpy and pandas, made outside of ours."""
    from importlib.metadata import version

    folder = Path(".bench-venv", "snapshots")
    found = folder / "bin" / "python"
    wanted = [
        "dill",
        "kishu",
        *(f"{name}=={version(name)}" for name in ("numpy", "pandas", "scikit-learn", "cloudpickle")),
    ]
    try:
        if not found.exists():
            subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True, capture_output=True)
        subprocess.run([str(found), "-m", "pip", "install", "-qq", *wanted], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"NOTE: dill and kishu could not be installed ({error}); their rows are missing below.")
        return None
    return str(found)


def measured(method: str, name: str, python: str, steps: list[str], limit_s: float | None) -> dict[str, Any]:
    """Save in one process, load in another, and run cells in a third, with saving and without; each for `limit_s`."""
    folder = tempfile.mkdtemp(dir="/dev/shm" if Path("/dev/shm").is_dir() else None)
    found: dict[str, Any] = {}
    try:
        for step in steps:
            try:
                done = subprocess.run(
                    [python, "-m", "benchmarks.snapshots", "--one", method, name, step, folder],
                    capture_output=True,
                    text=True,
                    check=False,
                    timeout=limit_s,
                    env={**os.environ, "ENV_KISHU_TEST_MODE": "1", "KISHU_PATH_ROOT": folder, "TMPDIR": folder},
                )
            except subprocess.TimeoutExpired:
                return found | {"late": {step: f"did not finish in {limit_s:.0f} s"}}
            if done.returncode != 0:
                return {"error": f"{step}: {(done.stderr.strip().splitlines() or ['no word'])[-1][:120]}"}
            found |= json.loads(done.stdout.splitlines()[-1])
    finally:
        shutil.rmtree(folder)
    return found


def space(method: str) -> dict[str, Any]:
    """Return an empty namespace, the one of a module that the method can save."""
    module = types.ModuleType("notebook" if method in ("cloudpickle", "pickle 5", "dill") else "__main__")
    sys.modules[module.__name__] = module
    return vars(module)


def save(method: str, name: str, folder: Path) -> dict[str, float]:
    """Make the namespace, save it, make one small change, save it again."""
    if method == "kishu":
        from benchmarks.peers.kishu_saves import save as kishu_save

        return kishu_save(NAMESPACES[name], CHANGES.get(name, "counter = 1"), folder)
    scope = space(method)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        SAVES[method](scope, Path(scratch))  # what it imports, a kernel has loaded long before
    exec(compile(NAMESPACES[name], "<cell>", "exec"), scope)
    before = written(folder)
    first_s = timed(SAVES[method], scope, folder)
    first = written(folder)
    exec(CHANGES.get(name, "counter = 1"), scope)
    second_s = timed(SAVES[method], scope, folder)
    second = written(folder)
    return {
        "first_s": first_s,
        "first_bytes": sum(first.values()) - sum(before.values()),
        "second_s": second_s,
        "second_bytes": sum(size for path, size in second.items() if path not in first),
    }


def load(method: str, name: str, folder: Path) -> dict[str, float]:
    """Load what `save` left, here where nothing of it lives, and look."""
    if method == "kishu":
        from benchmarks.peers.kishu_saves import load as kishu_load

        load_s, scope = kishu_load(folder)
        imported = None
    else:
        scope = space(method)
        with imports() as imported:
            start = time.perf_counter()
            scope = LOADS[method](scope, folder)
            load_s = time.perf_counter() - start
    unsaved = json.loads((folder / "told.json").read_text()) if (folder / "told.json").exists() else []
    scope["told"] = lambda which: which not in scope and which in unsaved
    found = {"load_s": load_s, "checks": sum(holds(check, scope) for check in CHECKS[name])}
    return found if imported is None else found | {"imports_s": imported[0]}


@contextlib.contextmanager
def imports() -> Iterator[list[float]]:
    """Give the seconds that imports take within the block, those that import others with these."""
    found, depth = [0.0], 0

    def timed_import(plain: Callable[..., Any]) -> Callable[..., Any]:
        def timing(*asked: Any, **named: Any) -> Any:
            nonlocal depth
            start, depth = time.perf_counter(), depth + 1
            try:
                return plain(*asked, **named)
            finally:
                depth -= 1
                found[0] += 0 if depth else time.perf_counter() - start

        return timing

    with (
        mock.patch("builtins.__import__", timed_import(builtins.__import__)),
        mock.patch("importlib.import_module", timed_import(importlib.import_module)),
    ):
        yield found


def cells(method: str, name: str, folder: Path) -> dict[str, float]:
    """Run cells that work on the namespace, in turns saved and not; return what saving added to the CPU of this thread:
    freezes, and cells that take longer after one.
    """
    if method == "kishu":
        from benchmarks.peers.kishu_saves import cells as kishu_cells

        return {"overhead": kishu_cells([NAMESPACES[name], *WORK[name]], folder)}
    scope = space(method)
    exec(compile(NAMESPACES[name], "<cell>", "exec"), scope)
    keeper = Keeper(scope, folder)
    keeper.after_cell(0.0, then=WORK[name][0])  # a first save is no cell's cost
    keeper.wait()
    spent: dict[tuple[bool, int], list[float]] = {}
    froze_s, turn, first = 0.0, 0, time.monotonic()
    while turn < TURNS or time.monotonic() - first < CELLS_S:
        for saving in ((True, False), (False, True))[turn % 2]:  # neither is always first
            keeper.begin_turn()
            for number, cell in enumerate(WORK[name]):
                start, began = time.thread_time(), time.perf_counter()
                exec(compile(cell, "<cell>", "exec"), scope)
                worked = time.thread_time()
                if saving:
                    keeper.after_cell(time.perf_counter() - began, then=WORK[name][(number + 1) % len(WORK[name])])
                    froze_s += time.thread_time() - worked
                spent.setdefault((saving, number), []).append(worked - start)
            keeper.wait()
        turn += 1
    # the lower quartile of what a cell itself takes: above it are the machine's other work and memory new to it
    cells_s = {saving: sum(lower(spent[saving, n]) for n in range(len(WORK[name]))) for saving in (False, True)}
    return {"overhead": (cells_s[True] + froze_s / turn) / cells_s[False] - 1}


def lower(figures: list[float]) -> float:
    return sorted(figures)[len(figures) // 4]


class Keeper:
    """Saves after cells that follow at once as a session does, and has a thread write what was frozen."""

    def __init__(self, scope: dict[str, Any], folder: Path) -> None:
        from dure.notebook.sessions.history import History
        from dure.notebook.sessions.journal import Journal
        from dure.notebook.sessions.saving import Facts, Saver
        from dure.state import FolderBlobs

        self._facts = Facts(0, {}, History([""]), {})
        self._blobs = FolderBlobs(folder / "cells")
        self._saver = Saver(scope, Journal("cells", "", ""), self._blobs)
        threading.Thread(target=self._write, daemon=True).start()

    def begin_turn(self) -> None:
        """Have the saver's clock stand still for turns that are not saved: they would earn freezes for the others."""
        self._saver._spared_at = time.monotonic()  # noqa: SLF001 - a notebook's kernel has no such turns

    def after_cell(self, worked_s: float, then: str) -> None:
        """Freeze what a session would freeze before the cell `then`, and let a thread save it."""
        self._saver.worked_s += worked_s
        if self._saver.may_come_before(then):
            self._saver.take(self._facts, waited_for=True)

    def _write(self) -> None:
        taken = self._saver._queue  # noqa: SLF001 - the rest of its thread tells a platform
        while (item := taken.get()) is not None:
            self._saver.base = item[0].save()
            self._saver.base.store(self._blobs)
            taken.task_done()

    def wait(self) -> None:
        """Return when the last save is done."""
        self._saver.wait()


def chunk(rounds: int) -> None:
    """Print what one changed chunk of 4 MiB in an array of 500 MB costs."""
    import numpy as np

    from dure.state import FolderBlobs, capture

    scope = {"big": np.random.default_rng(1).random(62_500_000)}
    figures = []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
            blobs = FolderBlobs(folder)
            base = capture(scope, blobs=blobs)
            base.store(blobs)
            before = written(Path(folder))
            scope["big"][10_485_760:11_010_048] += 1
            start = time.perf_counter()
            capture(scope, base=base, blobs=blobs).store(blobs)
            spent_s = time.perf_counter() - start
            after = written(Path(folder))
            figures.append((spent_s, sum(size for path, size in after.items() if path not in before)))
    spent_s, size = sorted(figures)[len(figures) // 2]
    print(f"\nOne changed chunk of 4 MiB in 500 MB: {spent_s:.3f} s, {size / 1e6:.1f} MB written.", flush=True)


def holds(check: str, scope: dict[str, Any]) -> bool:
    try:
        return bool(eval(check, scope))
    except Exception:  # noqa: BLE001 - whatever is wrong with a restored value, the check does not hold
        return False


def timed(saver: Callable[[dict[str, Any], Path], None], scope: dict[str, Any], folder: Path) -> float:
    start = time.perf_counter()
    saver(scope, folder)
    return time.perf_counter() - start


def written(folder: Path) -> dict[tuple[Path, int], int]:
    """Return the files and their sizes; a file that was written again is another one."""
    found = {}
    for path in folder.rglob("*"):
        if path.is_file() and path.name != "told.json":
            about = path.stat()
            found[path, about.st_ino if path.parent.parent.name == "blobs" else about.st_mtime_ns] = about.st_size
    return found


def newest(folder: Path) -> Path:
    return max(folder.glob("*.saved"), key=lambda path: path.stat().st_mtime_ns)


def dure_save(scope: dict[str, Any], folder: Path) -> None:
    from dure.state import FolderBlobs, Snapshot, capture

    blobs = FolderBlobs(folder)
    last = sorted(folder.glob("*.manifest"))
    base = Snapshot.load(last[-1].read_text(), blobs) if last else None
    snapshot = capture(scope, base=base, blobs=blobs)
    (folder / f"{len(last)}.manifest").write_text(snapshot.store(blobs))  # a blob, as a session keeps it
    (folder / "told.json").write_text(json.dumps(sorted(snapshot.unsaved)))


def dure_load(scope: dict[str, Any], folder: Path) -> dict[str, Any]:
    from dure.state import FolderBlobs, Snapshot, restore

    blobs = FolderBlobs(folder)
    restore(Snapshot.load(max(folder.glob("*.manifest")).read_text(), blobs), blobs, into=scope)
    return scope


def values(scope: dict[str, Any]) -> dict[str, Any]:
    modules = {key for key, value in scope.items() if isinstance(value, types.ModuleType)}
    return {key: value for key, value in scope.items() if key not in modules and not key.startswith("__")}


def dict_save(dump: Callable[..., bytes]) -> Callable[[dict[str, Any], Path], None]:
    def saver(scope: dict[str, Any], folder: Path) -> None:
        (folder / "all.saved").write_bytes(dump(values(scope), protocol=5))

    return saver


def dict_load(scope: dict[str, Any], folder: Path) -> dict[str, Any]:
    scope.update(pickle.loads((folder / "all.saved").read_bytes()))
    scope["np"] = __import__("numpy")
    return scope


def dill_save(scope: dict[str, Any], folder: Path) -> None:
    import dill

    dill.dump_module(folder / "all.saved", module=sys.modules[scope["__name__"]])


def dill_load(_: dict[str, Any], folder: Path) -> dict[str, Any]:
    import dill

    return vars(dill.load_module(folder / "all.saved"))


def cloudpickled(value: Any, protocol: int) -> bytes:
    import cloudpickle

    cloudpickle.register_pickle_by_value(sys.modules["notebook"])
    return cloudpickle.dumps(value, protocol)


SAVES = {
    "dure": dure_save,
    "dill": dill_save,
    "cloudpickle": dict_save(cloudpickled),
    "pickle 5": dict_save(pickle.dumps),
}
STEPS = {"save": save, "load": load, "cells": cells}
LOADS = {"dure": dure_load, "dill": dill_load, "cloudpickle": dict_load, "pickle 5": dict_load}

if __name__ == "__main__":
    main()
