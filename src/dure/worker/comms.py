"""Lets widgets of a cell talk with the notebook: comms go out as messages, what the browser answers comes in.

What comes in is handled in a thread while the cell's code runs, and only then. The trap: a comm says of itself which
kernel it belongs to, since Output widgets ask it for the message that they shall capture.
"""

from __future__ import annotations

import base64
import contextlib
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dure.wire.cells import THE_CELL
from dure.worker.channel import Frames, Outlet
from dure.worker.shell import json_ready


class _Kernel:
    """As much of a kernel as Output widgets ask for."""

    def get_parent(self, channel: str | None = None) -> dict[str, Any]:  # noqa: ARG002 -- ipykernel's signature
        return {"header": {"msg_id": THE_CELL}}


class ToBrowser:
    """What cannot be saved, as the other end is in a browser; by this name the state library knows it."""


class Comms:
    """The comms of one user process."""

    def __init__(self, outlet: Outlet) -> None:
        self._outlet = outlet
        self._running = threading.Event()
        self._listens = False
        self._manager: Any = None

    def install(self) -> None:
        """Make `comm.create_comm` ours; does nothing where the environment has no comm package."""
        try:
            import comm
            from comm.base_comm import BaseComm, CommManager
        except ImportError:
            return
        manager = self._manager = CommManager()
        comms = self

        class RemoteComm(BaseComm, ToBrowser):
            """A comm whose other end is in the browser."""

            kernel = _Kernel()

            def publish_msg(
                self,
                msg_type: str,
                data: Mapping[str, Any] | None = None,
                metadata: Mapping[str, Any] | None = None,
                buffers: Sequence[Any] | None = None,
                **keys: Any,
            ) -> None:
                comms.send(msg_type, {**keys, "comm_id": self.comm_id}, (data, metadata, buffers))

        comm.create_comm = RemoteComm
        comm.get_comm_manager = lambda: manager

    def send(self, kind: str, content: dict[str, Any], parts: tuple[Any, Any, Any]) -> None:
        """Send comm_open, comm_msg or comm_close; buffers go as base64."""
        data, metadata, buffers = parts
        content |= {"data": json_ready(data or {}), "metadata": json_ready(metadata or {})}
        if buffers:
            content["buffers"] = [base64.b64encode(memoryview(buffer).cast("B")).decode() for buffer in buffers]
        self._outlet.message(kind, content)
        if not self._listens and self._outlet.own:
            self._listens = True
            threading.Thread(target=self._listen, name="dure-comms", daemon=True).start()

    @contextlib.contextmanager
    def open(self) -> Iterator[None]:
        """While the block runs, what the browser sends is handled; at other times it is dropped."""
        self._running.set()
        try:
            yield
        finally:
            self._running.clear()

    def _listen(self) -> None:
        frames = Frames()
        while data := self._outlet.incoming.recv(1 << 18):
            for _, message in frames.feed(data):
                if self._running.is_set():
                    self._handle(message)

    def _handle(self, message: Mapping[str, Any]) -> None:
        buffers = [memoryview(base64.b64decode(buffer)) for buffer in message.get("buffers") or ()]
        content = {"comm_id": message["comm_id"], "data": message.get("data") or {}}
        known = self._manager.comms.get(message["comm_id"])
        if known is None:
            return
        # Straight to the comm: the manager would run the shell's hooks for cells beside the cell that runs.
        callback = known._close_callback if message.get("close") else known._msg_callback  # noqa: SLF001
        if callback is not None:
            with contextlib.suppress(Exception):  # widgets show their callbacks' errors themselves
                callback({"content": content, "buffers": buffers, "metadata": {}})
