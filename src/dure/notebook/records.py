"""Remembers on disk which jobs of which notebook have not been delivered, so that a new kernel can attach to them.

One small file per job under the person's state folder, written once the job is queued and removed when its results
are in the notebook. The trap: it is a convenience; where the folder cannot be written, `%gpu attach JOB` still works.
"""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dure.worker.processes import alive

MAX_AGE_S = 90 * 24 * 3600.0


@dataclass(frozen=True, slots=True)
class Record:
    """A job whose results are not in its notebook yet. `pid` and `pid_ticks` are the kernel that submitted it."""

    job: str
    url: str
    notebook: str
    cell: str
    submitted_at: float
    detached: bool
    pid: int
    pid_ticks: int


def state_folder() -> Path:
    """Return where a person's machine keeps what Dure notes on it, `$XDG_STATE_HOME/dure`."""
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "dure"


def folder() -> Path:
    """Return where the records are kept."""
    return state_folder() / "undelivered"


def write(path: Path, content: dict[str, Any]) -> None:
    """Put JSON into a file that its owner alone may read, whole or not at all; OSError where it cannot be written."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    partial = path.with_name(f".{path.stem}.{os.getpid()}")
    try:
        with partial.open("w") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(json.dumps(content))
        partial.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        raise


def remember(record: Record) -> None:
    """Keep `record`; does nothing where the folder cannot be written."""
    with contextlib.suppress(OSError):
        write(folder() / f"{record.job}.json", asdict(record))


def forget(job: str) -> None:
    """Note that `job` is delivered or gone."""
    with contextlib.suppress(OSError):
        (folder() / f"{job}.json").unlink(missing_ok=True)


def undelivered(notebook: str, url: str | None, now: float) -> list[Record]:
    """Return this notebook's jobs that nobody has, oldest first, without those that a live kernel waits for.

    `url` None: of any platform.
    """
    found = []
    for path in folder().glob("*.json"):
        try:
            record = Record(**json.loads(path.read_text()))
        except (OSError, ValueError, TypeError):
            continue
        if now - record.submitted_at > MAX_AGE_S:
            forget(record.job)
        elif record.notebook == notebook and url in {None, record.url} and not _waited_for(record):
            found.append(record)
    return sorted(found, key=lambda record: record.submitted_at)


def _waited_for(record: Record) -> bool:
    if record.detached or record.pid == os.getpid():
        return False
    return alive(record.pid, record.pid_ticks)
