"""Lets a new control plane lead at once when the one before it in this state folder is dead.

Leadership runs out by itself after seconds, which is right between machines; on one machine a file lock that dies with
its holder proves it sooner. The trap: only who holds the lock may resign for its predecessor.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import IO

from dure.ports import Store


class Succession:
    """The right to be this folder's control plane, held until the process ends."""

    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir / "run" / "control.lock"
        self._file: IO[str] | None = None

    def follow(self, holder: str, store: Store) -> bool:
        """Take the lock and resign for the predecessor; False when another control plane of this folder is alive."""
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        file = os.fdopen(descriptor, "r+")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.close()
            return False
        before = file.read().strip()
        if before:
            store.resign(before)
        file.seek(0)
        file.truncate()
        file.write(holder)
        file.flush()
        self._file = file
        return True

    def close(self) -> None:
        """Give the right up; whoever follows then finds no living predecessor."""
        if self._file is not None:
            self._file.close()
            self._file = None
