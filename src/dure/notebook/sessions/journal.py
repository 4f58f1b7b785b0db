"""What a kernel knows of its session, on disk before anyone else is told: it outlives kill -9 and an absent platform.

One small file per kernel in a folder per notebook, replaced whole. The trap: the file of a kernel that lives is its
own; only those of dead ones are taken over, and removed once what they held is known to the platform.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import threading
import time
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from dure.notebook.records import state_folder, write
from dure.worker.processes import alive, start_ticks

MAX_PENDING = 200
_MAX_AGE_S = 90 * 24 * 3600.0
_writing = threading.Lock()


@dataclass(slots=True)
class Journal:
    """One kernel's file. `newest` is the version that the kernel's state follows, `document` what it holds.

    `pending` are versions that the platform has not confirmed, oldest first; `fresh` says that the person restarted the
    kernel to begin anew; `access` how the team's blobs are reached when the platform is away (a folder
    without a key only). `ended` counts the kernel's cells up to the version that the platform confirmed last, `covers`
    those up to each pending one.
    """

    name: str
    url: str
    kernel: str
    connection: str = ""
    pid: int = 0
    pid_ticks: int = 0
    at: float = 0.0
    session: str | None = None
    team: str | None = None
    access: dict[str, Any] | None = None
    newest: int = 0
    document: str | None = None
    cell: int = 0
    fresh: bool = False
    off: bool = False
    pending: list[dict[str, Any]] = field(default_factory=list)
    ended: int = 0
    covers: list[int] = field(default_factory=list)
    refused: OSError | None = field(default=None, init=False)

    @property
    def number(self) -> int:
        """The number of the newest version, confirmed or not."""
        return self.newest + len(self.pending)

    @property
    def opened(self) -> bool:
        """Whether the kernel came so far that it knew its session."""
        return self.session is not None or self.document is not None or self.off

    def add(self, request: dict[str, Any], ended: int) -> None:
        """Note a version that is saved and that the platform does not know yet; `ended` cells are in it."""
        self.pending.append(request)
        self.covers.append(ended)
        del self.pending[:-MAX_PENDING], self.covers[:-MAX_PENDING]

    def confirmed(self, newest: int) -> None:
        """The platform has the oldest pending version, as number `newest`."""
        self.newest = newest
        self.pending.pop(0)
        if self.covers:
            self.ended = max(self.ended, self.covers.pop(0))

    def drop_pending(self) -> None:
        """The platform will not have what is pending."""
        self.pending, self.covers = [], []

    def write(self) -> None:
        """Put it on disk, whole; `refused` tells why the folder could not be written, where it could not."""
        self.pid, self.pid_ticks, self.at = os.getpid(), start_ticks(os.getpid()), time.time()
        with _writing:
            try:
                content = {each.name: getattr(self, each.name) for each in fields(self) if each.init}
                write(folder(self.name, self.url) / f"{self.kernel}.json", content)
                self.refused = None
            except OSError as error:  # a full disk, say: what it held before stays
                self.refused = error

    def remove(self) -> None:
        """Take it off the disk."""
        with contextlib.suppress(OSError):
            (folder(self.name, self.url) / f"{self.kernel}.json").unlink(missing_ok=True)

    def forget_ended(self) -> None:
        """Take off the disk what a dead kernel noted of its cells."""
        with contextlib.suppress(OSError):
            ended_file(self.kernel).unlink(missing_ok=True)


def ended_file(kernel: str) -> Path:
    """Return where a kernel notes the cells that have ended."""
    return sessions_folder() / "ended" / f"{kernel}.jsonl"


def folder(name: str, url: str) -> Path:
    """Return where a notebook's journals lie."""
    digest = hashlib.blake2b(f"{url}\0{name}".encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
    return sessions_folder() / digest


def sessions_folder() -> Path:
    """Return where the folders of all notebooks lie."""
    return state_folder() / "sessions"


def left_behind(name: str, url: str, connection: str = "") -> list[Journal]:
    """Return the journals of this notebook's dead kernels, oldest first. Last are those of `connection`, of any
    notebook: the kernel that was started again, whose notebook may have another name since.
    """
    here = folder(name, url)
    found = []
    for path in here.parent.glob("*/*.json") if connection else here.glob("*.json"):
        journal = _read(path)
        if journal is None or (path.parent != here and (journal.connection, journal.url) != (connection, url)):
            continue
        if time.time() - journal.at > _MAX_AGE_S:
            journal.forget_ended()
            journal.remove()
        elif not alive(journal.pid, journal.pid_ticks):
            found.append(journal)
    return sorted(found, key=lambda journal: (bool(connection) and journal.connection == connection, journal.at))


def _read(path: Path) -> Journal | None:
    known = {each.name for each in fields(Journal) if each.init}
    try:
        read = json.loads(path.read_text())
        return Journal(**{key: value for key, value in read.items() if key in known})
    except (OSError, ValueError, TypeError, AttributeError):
        return None
