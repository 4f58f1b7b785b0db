"""Widgets of a remote cell in this notebook: their comms are opened here under the same ids, and both ways relayed.

The last state of each is kept, so that a page that is loaded again still shows them after the cell has ended. The trap:
while a cell runs, only a front end that talks to subshells (JupyterLab 4.4 and ipykernel 7, or newer) is heard.
"""

from __future__ import annotations

import base64
import contextlib
import importlib
import queue
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from dure.wire.cells import THE_CELL

if TYPE_CHECKING:
    from dure.client import Client

_KINDS = frozenset({"comm_open", "comm_msg", "comm_close"})
_MAX_COMMS = 10_000
_mirrors: dict[str, Mirror] = {}  # by comm id; a widget may be used again by a later cell of a kept process


class Mirror:
    """One comm: the browser's end of it is real, ours passes on."""

    def __init__(self, comm: Any, job: Comms) -> None:
        self.comm = comm
        self.job = job
        self.state: dict[str, Any] = {}
        self.buffers: dict[tuple[Any, ...], bytes] = {}

    def note(self, data: Mapping[str, Any], buffers: list[bytes]) -> None:
        """Remember what the widget's state is now."""
        if isinstance(data.get("state"), dict):
            self.state.update(data["state"])
            for path in [path for path in self.buffers if path and path[0] in data["state"]]:
                del self.buffers[path]
            self.buffers.update({tuple(path): one for path, one in zip(_paths(data), buffers, strict=False)})

    def tell(self) -> None:
        """Answer a page that was loaded again."""
        paths = [list(path) for path in self.buffers]
        data = {"method": "update", "state": self.state, "buffer_paths": paths}
        self.comm.send(data=data, buffers=list(self.buffers.values()))


class Comms:
    """The comms of one job, in a kernel that has them (`shell.kernel`); elsewhere nothing happens."""

    def __init__(self, shell: Any, client: Client, job_id: str) -> None:
        self._kernel: Any = getattr(shell, "kernel", None)
        self._client = client
        self._job_id = job_id
        self._outgoing: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._sender: threading.Thread | None = None
        self._ended = False

    def play(self, message: Mapping[str, Any]) -> bool:
        """Relay one message of the job if it is a comm's; returns whether it is one."""
        if message["type"] not in _KINDS:
            return False
        if self._kernel is not None:
            with contextlib.suppress(Exception):  # a widget that cannot be shown must not end the cell
                self._play(message)
        return True

    def _play(self, message: Mapping[str, Any]) -> None:
        comm_id, data = str(message["comm_id"]), self._here(message.get("data") or {})
        buffers = [base64.b64decode(buffer) for buffer in message.get("buffers") or ()]
        metadata = message.get("metadata") or {}
        if message["type"] == "comm_open":
            self._open(comm_id, message, data, buffers)
            return
        mirror = _mirrors.get(comm_id)
        if mirror is None:
            return
        mirror.job = self
        if message["type"] == "comm_close":
            mirror.comm.close(data=data, metadata=metadata, buffers=buffers)
            del _mirrors[comm_id]
            return
        if data.get("method") == "update":
            mirror.note(data, buffers)
        mirror.comm.send(data=data, metadata=metadata, buffers=buffers)

    def _open(self, comm_id: str, message: Mapping[str, Any], data: dict[str, Any], buffers: list[bytes]) -> None:
        from comm import create_comm

        if len(_mirrors) >= _MAX_COMMS or comm_id in _mirrors:
            return
        if not _mirrors:
            _have_each_asked(self._kernel.comm_manager)
        opened: Any = create_comm(
            comm_id=comm_id,
            target_name=str(message.get("target_name") or ""),
            target_module=message.get("target_module"),
            data=data,
            metadata=message.get("metadata") or {},
            buffers=buffers,
        )
        mirror = _mirrors[comm_id] = Mirror(opened, self)
        mirror.note(data, buffers)
        # ipykernel 7 answers a comm where it was last used, which is the thread that waits for the cell.
        opened._reply_subshell_for = lambda _, asked: asked  # noqa: SLF001
        opened.on_msg(lambda told: mirror.job.heard(mirror, told))

    def _here(self, data: dict[str, Any]) -> dict[str, Any]:
        """Let Output widgets capture what this cell shows, not what the worker's would."""
        state = data.get("state")
        if isinstance(state, dict) and state.get("msg_id") == THE_CELL:
            parent = self._kernel.get_parent() or {}
            return {**data, "state": {**state, "msg_id": (parent.get("header") or {}).get("msg_id", "")}}
        return data

    def heard(self, mirror: Mirror, told: Mapping[str, Any]) -> None:
        """Pass on what the browser said; called by whichever thread reads the front end."""
        data = told["content"].get("data") or {}
        buffers = [bytes(buffer) for buffer in told.get("buffers") or ()]
        if data.get("method") == "update":
            mirror.note(data, buffers)
        if self._ended:
            if data.get("method") == "request_state":
                mirror.tell()
            return
        encoded = [base64.b64encode(buffer).decode() for buffer in buffers]
        self._outgoing.put({"comm_id": mirror.comm.comm_id, "data": data, "buffers": encoded})
        if self._sender is None:
            self._sender = threading.Thread(target=self._send, name="dure-comms", daemon=True)
            self._sender.start()

    def _send(self) -> None:
        while (message := self._outgoing.get()) is not None:
            with contextlib.suppress(Exception):  # the cell has ended meanwhile, or its worker is busy
                self._client.comm(self._job_id, message)

    def end(self) -> None:
        """The cell is over: from now on widgets answer with their last state only."""
        self._ended = True
        self._outgoing.put(None)


def _have_each_asked(comm_manager: Any) -> None:
    """Have a page that is loaded again ask each comm for its state: ipywidgets answers for all, but knows not ours."""
    with contextlib.suppress(ImportError):
        importlib.import_module("ipywidgets")  # or it would take the target over when it is imported later
    comm_manager.register_target("jupyter.widget.control", lambda comm, _: comm.close())


def _paths(data: Mapping[str, Any]) -> list[list[Any]]:
    found = data.get("buffer_paths")
    return found if isinstance(found, list) else []
