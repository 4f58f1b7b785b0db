"""Holds what an attempt says for a moment, so that very frequent output becomes few messages and the last state stays.

The first message after a pause goes at once. What follows within the window is merged: states of one display or widget
that a later one replaces, and output that is cleared again, are never written. The trap: only what nobody could have
seen may be left out, and the order of the rest stays; an Output widget captures what comes between two of its messages.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from dure.worker.spool import Spool

_MAX_ENTRIES = 1000
_MAX_BYTES = 1024 * 1024
_OUTPUTS = frozenset({"stream", "display_data", "execute_result", "clear_output"})
_COMMS = frozenset({"comm_open", "comm_msg", "comm_close"})
# How long to gather, by how much of the bound on output is used: a bar that runs for days stays below it. Soon it is as
# long as ipykernel's, because a browser shows with each message all again that was printed until then.
_WINDOWS_S = ((0.01, 0.02), (0.25, 0.2), (0.5, 0.5), (1.0, 2.0))


def window_s(used: float) -> float:
    """Return for how many seconds to gather output when this part of the bound on output is used."""
    return next((seconds for part, seconds in _WINDOWS_S if used < part), _WINDOWS_S[-1][1])


@dataclass(slots=True)
class _Entry:
    kind: str
    content: dict[str, Any] = field(default_factory=dict)
    data: bytearray = field(default_factory=bytearray)

    @property
    def display_id(self) -> str | None:
        found = (self.content.get("transient") or {}).get("display_id")
        return found if isinstance(found, str) else None

    @property
    def marks(self) -> bool:
        """Whether an Output widget begins or ends to capture here."""
        return self.kind == "comm_msg" and "msg_id" in (self.content.get("data") or {}).get("state", {})

    @property
    def is_state(self) -> bool:
        """Whether this is a widget's new state, of which a later one makes the same keys obsolete."""
        told = self.content.get("data") or {}
        return (
            self.kind == "comm_msg"
            and told.get("method") in {"update", "echo_update"}
            and isinstance(told.get("state"), dict)
            and not self.content.get("buffers")
            and not self.marks
        )


class Batch:
    """In front of a spool. `due_at` is when to call `flush` (monotonic seconds); `written` is told after each write."""

    def __init__(self, spool: Spool, written: Callable[[], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._spool = spool
        self._written = written
        self._clock = clock
        self._entries: list[_Entry] = []
        self._size_bytes = 0
        self._open_until = float("-inf")
        self.due_at = float("inf")

    def text(self, name: str, data: bytes, *, final: bool = False) -> None:
        """Add bytes of a stream; what is incomplete at its end waits for the rest unless `final`."""
        if final:
            self.flush()
            self._spool.text(name, data, final=True)
            return
        last = self._entries[-1] if self._entries else None
        if last is not None and last.kind == "stream" and last.content["name"] == name:
            last.data += data
        else:
            self._output(_Entry("stream", {"name": name}, bytearray(data)))
        self._size_bytes += len(data)
        self._added()

    def message(self, kind: str, content: Mapping[str, Any], size_bytes: int) -> None:
        """Add a message of the user process."""
        entry = _Entry(kind, dict(content))
        if kind == "clear_output":
            if not entry.content.get("wait"):
                self._cleared()
            self._entries.append(entry)
        elif kind == "update_display_data":
            self._update(entry)
        elif entry.is_state:
            self._state(entry)
        else:
            self._output(entry)
        self._size_bytes += size_bytes
        self._added()

    def _output(self, entry: _Entry) -> None:
        clear = next((known for known in reversed(self._entries) if known.kind in _OUTPUTS or known.marks), None)
        if entry.kind in _OUTPUTS and clear is not None and clear.kind == "clear_output" and clear.content.get("wait"):
            self._cleared(until=clear)
        self._entries.append(entry)

    def _cleared(self, until: _Entry | None = None) -> None:
        """Leave out what was shown before `until` (before now), as far as the same Output widget captures it."""
        end = len(self._entries) if until is None else next(i for i, e in enumerate(self._entries) if e is until)
        begin = max((i + 1 for i in range(end) if self._entries[i].marks), default=0)
        kept = [entry for entry in self._entries[begin:end] if entry.kind not in _OUTPUTS]
        self._entries[begin:end] = kept

    def _update(self, entry: _Entry) -> None:
        """The last update of a display takes the place of all; not of the display itself, which others may share."""
        same = [known for known in self._entries if known.kind == entry.kind and known.display_id == entry.display_id]
        if same and entry.display_id is not None:
            self._entries = [known for known in self._entries if not any(known is other for other in same)]
        self._entries.append(entry)

    def _state(self, entry: _Entry) -> None:
        for index in range(len(self._entries) - 1, -1, -1):
            known = self._entries[index]
            if known.kind in {"comm_open", "comm_close"} or known.marks:
                break
            if known.kind in _COMMS and known.content.get("comm_id") == entry.content.get("comm_id"):
                told, new = known.content.get("data") or {}, entry.content["data"]
                if known.is_state and told.get("method") == new.get("method"):
                    entry.content["data"] = {**new, "state": {**told["state"], **new["state"]}}
                    del self._entries[index]
                break
        self._entries.append(entry)

    def _added(self) -> None:
        now = self._clock()
        if now >= self._open_until or len(self._entries) > _MAX_ENTRIES or self._size_bytes > _MAX_BYTES:
            self.flush()
            self._open_until = now + window_s(self._spool.used)
        else:
            self.due_at = self._open_until

    def flush(self) -> None:
        """Write what is held."""
        entries, self._entries, self._size_bytes, self.due_at = self._entries, [], 0, float("inf")
        for entry in entries:
            if entry.kind == "stream":
                self._spool.text(entry.content["name"], bytes(entry.data))
            else:
                self._spool.message(entry.kind, entry.content)
        if entries:
            self._open_until = self._clock() + window_s(self._spool.used)
            self._written()
