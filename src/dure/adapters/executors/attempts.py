"""An attempt's folder as the executor sees it: files are the truth, written by executor and runner in a fixed order.

`spec.json` (accepted) → `runner.json` (claimed, exclusively) → `started` (user code begins) → `result.json` (no process
is left) → `forgotten` (its end is on record). The trap: whoever creates `runner.json` first owns the attempt, so
stopping one that nobody claimed means claiming it oneself.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dure.adapters.persons_files import JSON_BYTES_MAX, make_empty, open_regular, read_json

SPEC = "spec.json"
RUNNER = "runner.json"
STARTED = "started"
KEPT = "kept.json"
CHECKPOINTED = "checkpointed"
RESULT = "result.json"
FORGOTTEN = "forgotten"
READY_AT = "ready_at"
CONTROL_SOCKET = "control.sock"
WORK = "work"
_AT_MAX = 10**11  # seconds since the epoch
_CELLS_MAX = 10**9
_OUTPUTS_MAX = 16
_SIZE_MAX = 2**50
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt of a job on this executor, by its folder."""

    folder: Path
    job_id: str
    number: int

    @classmethod
    def at(cls, folder: Path) -> Attempt | None:
        """Return the attempt of a folder named `<job>.<attempt>`, None for any other folder."""
        job_id, _, number = folder.name.rpartition(".")
        return cls(folder, job_id, int(number)) if job_id and number.isdigit() else None

    @property
    def accepted(self) -> bool:
        """Whether its specification is completely on disk."""
        return (self.folder / SPEC).exists()

    @property
    def forgotten(self) -> bool:
        """Whether the control plane has its end on record."""
        return (self.folder / FORGOTTEN).exists()

    @property
    def over(self) -> bool:
        """Whether nobody will ask for it again: its end is on record, or it was never accepted."""
        return self.forgotten or not (self.accepted or (self.folder / RUNNER).exists())

    def result(self) -> Mapping[str, Any] | None:
        """Return the worker's end message, None while there is none."""
        result = _read_json(self.folder / RESULT)
        return None if result is None else _checked(result)

    def runner(self) -> tuple[int, int] | None:
        """Return the claiming runner's (pid, start ticks), None when nobody claimed it yet."""
        claim = _read_json(self.folder / RUNNER)
        if claim is None:
            # A runner that died inside its very first write has claimed but left no name; it counts as dead.
            return (0, 0) if (self.folder / RUNNER).exists() else None
        try:
            return int(claim["pid"]), int(claim["start_ticks"])
        except (KeyError, TypeError, ValueError):
            return 0, 0  # not what a runner writes: whose folder it is may write anything there

    def began_at(self) -> float | None:
        """Return when user code began (seconds since the epoch), None before that."""
        with contextlib.suppress(OSError):
            return (self.folder / STARTED).lstat().st_mtime
        return None

    def kept(self) -> tuple[float | None, int]:
        """Return since when its process waits for a next cell (None: it does not), and how many cells it has run."""
        told = _read_json(self.folder / KEPT) or {}
        since, cells = told.get("since"), told.get("cells")
        # The person's own process writes it: a number that no runner writes (NaN, 10**400) must not end the tick.
        count = cells if type(cells) is int and 0 <= cells <= _CELLS_MAX else 0
        if isinstance(since, int | float) and not isinstance(since, bool) and 0 < since <= _AT_MAX:
            return float(since), count
        return None, count

    def checkpointed_at(self) -> float | None:
        """Return when its code said last that its work is saved (seconds since the epoch), None before that."""
        with contextlib.suppress(OSError):
            about = (self.folder / CHECKPOINTED).lstat()
            # The person's own process makes it and may give it any time: only one that is a time counts.
            if stat.S_ISREG(about.st_mode) and 0 < about.st_mtime <= _AT_MAX:
                return about.st_mtime
        return None

    def ready_at(self) -> float:
        """Return when its node is provisioned (seconds since the epoch)."""
        try:
            with open_regular(self.folder / READY_AT, owner_of=self.folder) as file:
                return float(file.read(64))
        except (OSError, ValueError):
            return 0.0

    def accepted_at(self) -> float | None:
        """Return since when it could have begun (seconds since the epoch): accepted, and its node ready."""
        try:
            return max(self.ready_at(), (self.folder / SPEC).lstat().st_mtime)
        except FileNotFoundError:
            return None

    def claim_for_nobody(self) -> bool:
        """Claim the attempt so that no runner ever will; False when one has it already."""
        try:
            descriptor = os.open(self.folder / RUNNER, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        except FileExistsError:
            return False
        with os.fdopen(descriptor, "w") as claim:
            json.dump({"pid": 0, "start_ticks": 0}, claim)
        return True

    def write_result(self, result: Mapping[str, Any]) -> None:
        """Write an end message in the place of a runner that never ran."""
        write_json(self.folder / RESULT, result)

    def forget(self) -> None:
        """Remember durably that the control plane has this attempt's end."""
        with contextlib.suppress(FileNotFoundError):
            make_empty(self.folder / FORGOTTEN)


def _checked(result: Mapping[str, Any]) -> Mapping[str, Any]:
    """Drop from an end message what a runner never writes: whose folder it is may write anything there."""
    checked = dict(result)
    artifacts = checked.pop("artifacts", None)
    if isinstance(artifacts, list):
        checked["artifacts"] = [entry for entry in artifacts if _is_artifact(entry)]
    outputs = checked.pop("outputs", None)
    if isinstance(outputs, dict) and 0 < len(outputs) <= _OUTPUTS_MAX and all(map(_is_output, outputs.items())):
        checked["outputs"] = outputs
    if not isinstance(checked.get("error"), dict):
        checked.pop("error", None)
    if type(checked.get("exit_code")) is not int:
        checked.pop("exit_code", None)
    return checked


def _is_artifact(entry: object) -> bool:
    return (
        isinstance(entry, dict)
        and entry.keys() == {"path", "size_bytes", "digest"}
        and isinstance(entry["path"], str)
        and isinstance(entry["digest"], str)
        and type(entry["size_bytes"]) is int
    )


def _is_output(item: tuple[str, object]) -> bool:
    digest, size = item
    return _DIGEST.fullmatch(digest) is not None and type(size) is int and 0 < size <= _SIZE_MAX


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file that is either absent or complete, also after a power cut."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    try:
        # Exclusively: in a person's folder, a link of this name may lead anywhere.
        with temporary.open("x") as file:
            json.dump(content, file)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        temporary.unlink(missing_ok=True)  # a full disk needs the room
        raise
    temporary.rename(path)


def _read_json(path: Path) -> Mapping[str, Any] | None:
    try:
        with open_regular(path, owner_of=path.parent) as file:
            content = read_json(file.read(JSON_BYTES_MAX))
    except (OSError, ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None
