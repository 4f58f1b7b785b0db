"""A whole control plane for tests: real store, commands, loop, executor, application; served by a real uvicorn."""

from __future__ import annotations

import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI

from dure.adapters.blobs import FolderBlobStores
from dure.adapters.executors.forkservers import ForkServers
from dure.adapters.executors.local import LocalExecutor, LocalSettings
from dure.adapters.executors.notify import HintSocket
from dure.adapters.identity.token import TokenIdentity
from dure.adapters.outputs import SpoolOutputs
from dure.adapters.store import SqlStore
from dure.adapters.system import SystemClock, SystemIds
from dure.api.app import create_app
from dure.control.commands import Commands
from dure.control.loop import Loop, LoopSettings
from dure.control.platform_holder import PlatformHolder
from dure.control.queries import Queries
from dure.control.sessions import Sessions
from dure.control.stream_hints import StreamHints
from dure.core.model import Environment, Team
from dure.main.loop_thread import LoopThread
from dure.ports import BlobStores, Ports, Principal
from tests.core.builders import a_lab, a_node, a_platform

PEOPLE = {
    "alice": Principal("alice", teams=("vision",)),
    "mate": Principal("mate", teams=("vision",)),
    "other": Principal("other", teams=("speech",)),
    "both": Principal("both", teams=("vision", "speech")),
    "root": Principal("root", admin=True, teams=("vision",)),
}


def token(name: str) -> str:
    return f"token-of-{name}-0123456789"


class Plane:
    """One control plane. With `executing` its loop runs and commands really run; without, jobs stay queued."""

    def __init__(self, folder: Path, *, executing: bool, blobs: BlobStores | None = None) -> None:
        self.folder = folder
        self.stream_hints = StreamHints()
        teams = (Team("vision", ("alice", "mate", "both", "root")), Team("speech", ("other", "both")))
        lab = a_lab(a_node("n1", "bronze", 2), a_node("n2", "silver"))
        environments = (Environment("default", sys.executable),)
        platform = PlatformHolder(a_platform(lab, teams=teams, environments=environments))
        self.store = SqlStore(f"sqlite:///{folder / 'dure.db'}")
        self.store.migrate()
        # Unix socket paths are short, tmp_path is not.
        self._short = tempfile.TemporaryDirectory(prefix="dure-")
        run = Path(self._short.name)
        self.servers = ForkServers(run, run)
        self._executors: dict[str, Any] = {}
        self.ports = Ports(
            store=self.store,
            executors=self._executors,
            outputs=SpoolOutputs(folder / "clusters"),
            blobs=blobs or FolderBlobStores(folder / "blobs"),
            identity=TokenIdentity({token(name): who for name, who in PEOPLE.items()}),
            clock=SystemClock(),
            ids=SystemIds(),
        )
        self.loop = LoopThread(
            Loop(self.ports, platform, LoopSettings("test"), lambda _now: 0.0, self.stream_hints.notify)
        )
        self._executing = executing
        if executing:
            self.hints = HintSocket(run / "hints.sock", self.stream_hints.notify, self.loop.hint)
            local = LocalSettings(cluster="lab", folder=folder / "clusters" / "lab", notify=self.hints.path)
            self._executors["lab"] = LocalExecutor(local, self.servers, self.ports.blobs, self.ports.clock)
            self.hints.start()
            self.loop.start()
        self.commands = Commands(self.ports, platform, self.loop.hint)
        self.queries = Queries(self.ports, platform, "1.2.3", self.loop.current_plan)
        self.platform = platform
        self.sessions = Sessions(
            self.store.sessions,
            self.ports.blobs,
            platform,
            self.ports.clock,
            self.stream_hints.notify,
            may_sign_in=PEOPLE.__contains__,
        )

    def app(self, **settings: Any) -> FastAPI:
        return create_app(
            self.commands,
            self.queries,
            self.ports.identity,
            self.stream_hints,
            self.sessions,
            version="1.2.3",
            **settings,
        )

    def close(self) -> None:
        if self._executing:
            self.loop.close()
            self.hints.close()
            for executor in self._executors.values():
                executor.close()
            self.servers.stop_all()
        self.store.close()
        self._short.cleanup()


class Served:
    """An application on a port of its own that can be stopped and started again on the same port."""

    def __init__(self, make: Callable[[], FastAPI]) -> None:
        self._make = make
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.app: FastAPI | None = None

    def start(self) -> None:
        self.app = self._make()
        config = uvicorn.Config(
            self.app, host="127.0.0.1", port=self.port, log_config=None, timeout_graceful_shutdown=1, lifespan="off"
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._thread.start()
        until(lambda: self._server.started)

    def stop(self) -> None:
        assert self.app is not None
        self.app.state.streams.close()
        self._server.should_exit = True
        self._thread.join(20)
        assert not self._thread.is_alive()


@contextmanager
def served(make: Callable[[], FastAPI]) -> Any:
    server = Served(make)
    server.start()
    try:
        yield server
    finally:
        server.stop()


@contextmanager
def served_plane(folder: Path) -> Any:
    """A served control plane that runs commands; the plane itself is its `plane`."""
    plane = Plane(folder, executing=True)
    try:
        with served(plane.app) as server:
            server.plane = plane
            yield server
    finally:
        plane.close()


def until(condition: Callable[[], Any], within_s: float = 90.0) -> Any:
    deadline = time.monotonic() + within_s
    while not (found := condition()):
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.01)
    return found
