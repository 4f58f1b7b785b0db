"""Snapshots beside what people use today: `dill.dump_module`, a cloudpickled dict and a whole-dict pickle 5.

`python -m benchmarks.snapshots [--dill FOLDER]` from the repository's root prints a table; FOLDER is where
`pip install --target FOLDER dill` put dill. Every figure is the median of three processes. The trap: files go
to memory (/dev/shm), so that a disk's speed is no part of it.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

COMMON = "import numpy as np\ncounter = 0\n"
NAMESPACES = {
    "many small, a 187 MB frame, a model": COMMON
    + """
import pandas as pd
from sklearn.ensemble import RandomForestClassifier
rng = np.random.default_rng(1)
for _i in range(200): globals()[f'small{_i}'] = [_i, str(_i)]
table = {f'k{i}': i for i in range(100_000)}
records = [{'id': i, 'name': f'n{i}', 'v': i * .5} for i in range(30_000)]
frame = pd.DataFrame(rng.random((900_000, 25)), columns=[f'c{i}' for i in range(25)])
frame['s'] = np.array(['alpha', 'beta', 'gamma'], dtype=object)[rng.integers(0, 3, 900_000)]
model = RandomForestClassifier(50, max_depth=12, random_state=0).fit(rng.random((5000, 10)), rng.integers(0, 2, 5000))
def rows(): return len(frame) + counter
""",
    "a 1.07 GB array and a view of half": COMMON
    + "big = np.random.default_rng(1).random(134_000_000); half = big[:67_000_000]\n",
    "the awkward mix": COMMON
    + """
import sqlite3, threading, pandas as pd
alpha = 3
def add(x): return x + alpha
def make(k): return lambda x: x + k
closure = make(4)
class Config:
    def __init__(self): self.items = [1]
cfg = Config()
a = [1]; b = a
loop = []; loop.append(loop)
frame = pd.DataFrame(np.random.default_rng(1).random((100_000, 20)))
big = np.zeros(100_000); half = big[:10]
gen = (i for i in range(3)); conn = sqlite3.connect(':memory:'); lock = threading.Lock(); fh = open('/dev/null')
""",
}
CHECKS = {
    "many small, a 187 MB frame, a model": [
        "len(table) == 100_000 and records[5]['name'] == 'n5'",
        "frame.shape == (900_000, 26) and frame['s'].iloc[0] in ('alpha', 'beta', 'gamma')",
        "model.predict(np.zeros((1, 10)))[0] in (0, 1)",
        "globals().update(counter=5) or rows() == 900_005",
    ],
    "a 1.07 GB array and a view of half": ["big.size == 134_000_000", "big.__setitem__(0, 7) or half[0] == 7"],
    "the awkward mix": [
        "globals().update(alpha=9) or add(1) == 10",
        "closure(1) == 5",
        "type(cfg) is Config and cfg.items == [1]",
        "a is b and loop[0] is loop",
        "frame.shape == (100_000, 20)",
        "big.__setitem__(0, 7) or half[0] == 7",
    ],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dill", help="folder with dill in it")
    parser.add_argument("--one", nargs=4, metavar=("METHOD", "NAMESPACE", "STEP", "FOLDER"), help=argparse.SUPPRESS)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    if asked.one:
        method, name, step, folder = asked.one
        print(json.dumps(save(method, name, Path(folder)) if step == "save" else load(method, name, Path(folder))))
        return
    methods = ["dure", *(["dill"] if asked.dill else []), "cloudpickle", "pickle 5"]
    print("| namespace | method | save s | MB | after one small change s | bytes written | load s | checks |")
    print("|---|---|---|---|---|---|---|---|")
    for name in NAMESPACES:
        for method in methods:
            rounds = [measured(method, name, asked.dill) for _ in range(asked.rounds)]
            if "error" in rounds[0]:
                print(f"| {name} | {method} | fails to {rounds[0]['error']} | | | | | 0/{len(CHECKS[name])} |")
                continue
            middle = {key: statistics.median(one[key] for one in rounds) for key in rounds[0]}
            print(
                f"| {name} | {method} | {middle['first_s']:.2f} | {middle['first_bytes'] / 1e6:.0f} "
                f"| {middle['second_s']:.3f} | {middle['second_bytes']:.0f} | {middle['load_s']:.2f} "
                f"| {middle['checks']:.0f}/{len(CHECKS[name])} |",
                flush=True,
            )


def measured(method: str, name: str, dill: str | None) -> dict[str, Any]:
    """Save in one process and load in another."""
    folder = tempfile.mkdtemp(dir="/dev/shm" if Path("/dev/shm").is_dir() else None)
    environment = {**os.environ, **({"PYTHONPATH": dill} if dill else {})}
    found: dict[str, Any] = {}
    try:
        for step in ("save", "load"):
            done = subprocess.run(
                [sys.executable, "-m", "benchmarks.snapshots", "--one", method, name, step, folder],
                capture_output=True,
                text=True,
                check=False,
                env=environment,
            )
            if done.returncode != 0:
                return {"error": f"{step}: {done.stderr.strip().splitlines()[-1][:120]}"}
            found |= json.loads(done.stdout.splitlines()[-1])
    finally:
        shutil.rmtree(folder)
    return found


def save(method: str, name: str, folder: Path) -> dict[str, float]:
    """Make the namespace, save it, change one number, save it again."""
    module = types.ModuleType("__main__" if method == "dure" else "notebook")
    sys.modules[module.__name__] = module
    scope = vars(module)
    exec(compile(NAMESPACES[name], "<cell>", "exec"), scope)
    before = written(folder)
    first_s = timed(SAVES[method], scope, folder)
    first = written(folder)
    scope["counter"] = 1
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
    module = types.ModuleType("__main__" if method == "dure" else "notebook")
    sys.modules[module.__name__] = module
    start = time.perf_counter()
    scope = LOADS[method](vars(module), folder)
    load_s = time.perf_counter() - start
    return {"load_s": load_s, "checks": sum(holds(check, scope) for check in CHECKS[name])}


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
        if path.is_file():
            about = path.stat()
            found[path, about.st_ino if path.parent.parent.name == "blobs" else about.st_mtime_ns] = about.st_size
    return found


def newest(folder: Path) -> Path:
    return max(folder.glob("*.saved"), key=lambda path: path.stat().st_mtime_ns)


def dure_save(scope: dict[str, Any], folder: Path) -> None:
    from dure.state import FolderBlobs, Snapshot, capture

    blobs = FolderBlobs(folder)
    last = sorted(folder.glob("*.manifest"))
    base = Snapshot.from_json(last[-1].read_bytes()) if last else None
    (folder / f"{len(last)}.manifest").write_bytes(capture(scope, base=base, blobs=blobs).to_json())


def dure_load(scope: dict[str, Any], folder: Path) -> dict[str, Any]:
    from dure.state import FolderBlobs, Snapshot, restore

    restore(Snapshot.from_json(max(folder.glob("*.manifest")).read_bytes()), FolderBlobs(folder), into=scope)
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
LOADS = {"dure": dure_load, "dill": dill_load, "cloudpickle": dict_load, "pickle 5": dict_load}

if __name__ == "__main__":
    main()
