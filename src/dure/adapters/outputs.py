"""Reads what jobs printed from the spools their runners write. Lines are messages, numbered from 1 in an attempt.

The trap: the last line of a spool may be torn while it is written (or for ever, after a kill), so only lines that end
in a newline count. Positions of lines read before are remembered, so that following an output reads only its end.
"""

from __future__ import annotations

import contextlib
import threading
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dure.adapters.persons_files import open_regular, read_json
from dure.ports import OutputPage

_REMEMBERED = 4096
_PAGE_BYTES = 4 * 1024 * 1024
_LINE_BYTES = 32 * 1024 * 1024


class SpoolOutputs:
    """The Outputs port over attempt folders. Thread-safe."""

    def __init__(self, clusters_folder: Path) -> None:
        self._clusters = clusters_folder
        self._lock = threading.Lock()
        self._positions: OrderedDict[tuple[str, int], tuple[int, bool]] = OrderedDict()

    def read(self, job_id: str, attempt: int, after: int, limit: int = 500) -> OutputPage:
        """Return messages with seq > after, at most `limit` of them and about 4 MiB."""
        folder = self._folder(job_id, attempt)
        if folder is None:
            return OutputPage((), done=False)
        spool = folder / "output.jsonl"
        messages: list[Mapping[str, Any]] = []
        start, done = self._position(str(spool), after)
        with contextlib.suppress(FileNotFoundError), open_regular(spool, owner_of=folder) as file:
            file.seek(start)
            taken = 0
            while (line := file.readline(_LINE_BYTES)).endswith(b"\n"):
                message = _message(line)
                taken += len(line)
                if message is None:
                    continue
                done = done or message.get("type") == "end"
                if message["seq"] <= after:
                    continue
                messages.append(message)
                if len(messages) >= limit or taken >= _PAGE_BYTES:
                    break
            if messages:
                self._remember(str(spool), messages[-1]["seq"], start + taken, done=done)
        return OutputPage(messages, done)

    def _folder(self, job_id: str, attempt: int) -> Path | None:
        if not job_id.replace("-", "").isalnum():
            return None
        found = self._clusters.glob(f"*/attempts/{job_id}.{attempt}")
        return next((folder for folder in found if folder.is_dir()), None)

    def _position(self, spool: str, after: int) -> tuple[int, bool]:
        with self._lock:
            return self._positions.get((spool, after), (0, False))

    def _remember(self, spool: str, seq: int, position: int, *, done: bool) -> None:
        with self._lock:
            self._positions[spool, seq] = (position, done)
            while len(self._positions) > _REMEMBERED:
                self._positions.popitem(last=False)


def _message(line: bytes) -> Mapping[str, Any] | None:
    try:
        message = read_json(line)
    except (ValueError, RecursionError):
        return None
    # A person's program can write into its own spool; what is no message of ours is passed over.
    return message if isinstance(message, dict) and type(message.get("seq")) is int else None
