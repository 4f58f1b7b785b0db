"""Runs every case of a folder of Kueue's test tables against `dure.core.queueing.kueue`.

`python benchmarks/kueue_conformance.py DIR [--verbose]` from the repository's root; the format is one JSON object a
line, `{"test", "case", "tc", "shared"}`. Prints a total per file, the name of each failure, and `N passed, N failed,
N unsupported`. It ends with 1 when a case failed. The trap: a case with a field that is not known here counts as
unsupported, never as passed, and so does one that nobody could read.
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.conformance.arithmetic import ARITHMETIC
from benchmarks.conformance.flavors import FLAVORS
from benchmarks.conformance.forms import malformed, while_reading
from benchmarks.conformance.preemption import PREEMPTION
from benchmarks.conformance.reading import Case, MismatchError, Part, UnsupportedError
from benchmarks.conformance.replay import replay
from benchmarks.conformance.schedule import SCHEDULE
from benchmarks.conformance.topology import TOPOLOGY

RUNNERS: dict[str, Callable[[Case], None]] = {**ARITHMETIC, **FLAVORS, **PREEMPTION, **SCHEDULE, **TOPOLOGY}
OUTCOMES = ("passed", "failed", "unsupported")


def cases(path: Path) -> Iterator[Case]:
    """Yield the cases of a file."""
    content = path.read_bytes()
    try:
        text = (gzip.decompress(content) if path.suffix == ".gz" else content).decode(errors="replace")
    except (OSError, EOFError, zlib.error):
        text = "no gzip file"
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                one = json.loads(line)
            except (ValueError, RecursionError):
                one = None
            if not isinstance(one, dict) or not all(isinstance(one.get(key) or {}, dict) for key in ("tc", "shared")):
                one = {"test": "a line that is no case", "case": f"line {number}"}
            tc, shared = (Part(one.get(key) or {}) for key in ("tc", "shared"))
            yield Case(str(one.get("test", "a case without test")), str(one.get("case", f"line {number}")), tc, shared)


def judge(case: Case) -> tuple[str, str]:
    """Return what became of a case, and why."""
    runner = RUNNERS.get(case.test)
    if runner is None:
        return "unsupported", f"no runner for {case.test}"
    try:
        fault = malformed(case.tc) or malformed(case.shared, "shared")
        if fault:
            return "unsupported", f"malformed: {fault}"
        runner(case)
    except RecursionError as error:
        deep = while_reading(error)
        return ("unsupported", "malformed: nested too deeply") if deep else ("failed", f"RecursionError: {error}")
    except UnsupportedError as reason:
        return "unsupported", str(reason)
    except MismatchError as difference:
        return "failed", str(difference)
    except Exception as error:  # noqa: BLE001 - a broken case must not hide the others
        why = f"{type(error).__name__}: {error}"
        fault = malformed(case.tc, strict=True) or malformed(case.shared, "shared", strict=True)
        if fault or while_reading(error):
            return "unsupported", f"malformed: {fault or why}"
        return "failed", why
    return "passed", ""


def run(folder: Path, *, verbose: bool = False, replays: bool = True) -> Counter[str]:
    """Print the outcome per file and in total; return the totals by outcome."""
    total: Counter[str] = Counter()
    for path in sorted([*folder.glob("*.jsonl"), *folder.glob("*.jsonl.gz")]):
        if path.name.startswith("replay_"):
            if replays:
                total[replay(path)] += 1
            continue
        counts: Counter[str] = Counter()
        for case in cases(path):
            outcome, why = judge(case)
            counts[outcome] += 1
            if outcome != "passed":
                print(f"  {outcome}: {case.test}: {case.name}" + (f": {why}" if verbose or outcome != "failed" else ""))
        print(f"{path.name}: " + ", ".join(f"{counts[outcome]} {outcome}" for outcome in OUTCOMES))
        total += counts
    return total


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="folder with files of cases (*.jsonl)")
    parser.add_argument("--verbose", action="store_true", help="say of each failure what differs")
    parser.add_argument("--no-replay", action="store_true", help="leave out the replays, which take longest")
    chosen = parser.parse_args()
    if not chosen.folder.is_dir():
        parser.error(f"{chosen.folder} is no folder; give the one that holds the *.jsonl files")
    started = time.process_time()
    total = run(chosen.folder, verbose=chosen.verbose, replays=not chosen.no_replay)
    print(f"{time.process_time() - started:.1f} CPU-s")
    print(", ".join(f"{total[outcome]} {outcome}" for outcome in OUTCOMES))
    return 1 if total["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
