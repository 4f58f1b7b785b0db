"""What kishu does with the same cells; run by the peers' Python through `benchmarks.snapshots`.

kishu saves in IPython's hooks, so its save is what the hooks take, and each cell runs once: more rounds take minutes.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def started(folder: Path) -> tuple[Any, Any]:
    """Return an IPython shell with kishu attached to a notebook file."""
    import nbformat
    from IPython.core.interactiveshell import InteractiveShell
    from kishu.jupyterint import KishuForJupyter
    from kishu.notebook_id import NotebookId

    book = folder / "book.ipynb"
    if not book.exists():
        nbformat.write(nbformat.v4.new_notebook(), book)
    shell = InteractiveShell.instance()
    kishu = KishuForJupyter(NotebookId("bench", book, "none"), ip=shell)
    kishu.install_kishu_hooks()
    return shell, kishu


def run(shell: Any, cell: str, clock: Callable[[], float] = time.perf_counter) -> float:
    """Run a cell with its hooks and return seconds of `clock`."""
    start = clock()
    result = shell.run_cell(cell, store_history=True)
    spent_s = clock() - start
    result.raise_error()
    return spent_s


def save(source: str, change: str, folder: Path) -> dict[str, float]:
    shell, kishu = started(folder)
    own: dict[str, Any] = {}
    start = time.perf_counter()
    exec(compile(source, "<cell>", "exec"), own)
    bare_s = time.perf_counter() - start
    own.clear()
    first_s = run(shell, source) - bare_s
    first = size_of(folder)
    second_s = run(shell, change)
    (folder / "commit.json").write_text(json.dumps(kishu._kishu_graph.head()))  # noqa: SLF001 - it has no public name
    return {
        "first_s": first_s,
        "first_bytes": first,
        "second_s": second_s,
        "second_bytes": size_of(folder) - first,
    }


def load(folder: Path) -> tuple[float, dict[str, Any]]:
    shell, kishu = started(folder)
    commit = json.loads((folder / "commit.json").read_text())
    start = time.perf_counter()
    kishu.checkout(commit, skip_notebook=True)
    return time.perf_counter() - start, dict(shell.user_ns)


def cells(sources: list[str], folder: Path) -> float:
    first, *work = sources
    sources = [first, *work]
    own: dict[str, Any] = {}
    start = time.thread_time()
    for source in sources:
        exec(compile(source, "<cell>", "exec"), own)
    bare_s = time.thread_time() - start
    own.clear()
    place = folder / "cells"
    place.mkdir()
    shell, _ = started(place)
    return sum(run(shell, source, time.thread_time) for source in sources) / bare_s - 1


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
