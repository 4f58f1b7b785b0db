"""Keeps what a job wrote under $DURE_OUTPUT_DIR: each regular file becomes a blob, listed with its path.

The trap: the folder is the user's, so nothing in it is believed: links are not followed, special files are left,
and the count is bounded.
"""

from __future__ import annotations

import functools
import itertools
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

MAX_FILES = 10_000


@dataclass(slots=True)
class Artifacts:
    """The kept files, as {"path", "size_bytes", "digest"}, and why others were not kept."""

    kept: list[dict[str, Any]] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)


def collect(folder: Path, access: Mapping[str, Any]) -> Artifacts:
    """Put every regular file below `folder` into the blob store and return what was kept; raises nothing."""
    found = Artifacts()
    try:
        files = _regular_files(folder)
        first = next(files, None)
        if first is None:
            return found
        from dure.state import open_blobs
        from dure.worker.patience import Patience

        blobs, patience = open_blobs(access), Patience(0.0)
        for number, path in enumerate(itertools.chain([first], files)):
            name = str(path.relative_to(folder))
            if number >= MAX_FILES:
                found.failed["…"] = f"More than {MAX_FILES} files under $DURE_OUTPUT_DIR: pack them into one archive."
                break
            try:
                size = path.stat(follow_symlinks=False).st_size
                digest = patience(functools.partial(blobs.put_file, path))
                found.kept.append({"path": name, "size_bytes": size, "digest": digest})
            except Exception as error:
                found.failed[name] = str(error)
    except Exception as error:
        found.failed["…"] = str(error)
    return found


def _regular_files(folder: Path) -> Iterator[Path]:
    """Yield files folder by folder. With a list instead of recursion: people make folders thousands deep."""
    todo = [folder]
    while todo:
        try:
            entries = sorted(os.scandir(todo.pop()), key=lambda entry: entry.name)
        except OSError:
            continue
        for entry in entries:
            try:
                mode = entry.stat(follow_symlinks=False).st_mode
            except OSError:
                continue
            if stat.S_ISDIR(mode):
                todo.append(Path(entry.path))
            elif stat.S_ISREG(mode):
                yield Path(entry.path)
