"""A real fork server, and attempts started through its socket in folders as the executor makes them."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from dure.state import Snapshot, capture, open_blobs, restore
from dure.worker import control, processes

DEADLINE_S = 90.0
STUBBORN = """
import time
said = []
while True:
    try:
        said or said.append(print('go'))  # in the try, since the interrupt may come as soon as it is read
        time.sleep(600)
    except KeyboardInterrupt:
        print('no')
"""


def wait_until(condition: Callable[[], Any], what: str = "the condition") -> Any:
    """Return the condition's first true value; fails after a generous deadline."""
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.005)
    raise AssertionError(f"waited {DEADLINE_S} s for {what}")


@dataclass
class Attempt:
    """An attempt folder and what can be seen of it."""

    folder: Path
    blobs: dict[str, Any]
    spec: dict[str, Any] = field(default_factory=dict)

    def send(self, **message: Any) -> dict[str, Any]:
        return control.send(self.folder, message)

    def messages(self) -> list[dict[str, Any]]:
        path = self.folder / "output.jsonl"
        if not path.exists():
            return []
        lines = path.read_bytes().split(b"\n")[:-1]
        return [json.loads(line) for line in lines]

    def of_type(self, *kinds: str) -> list[dict[str, Any]]:
        return [message for message in self.messages() if message["type"] in kinds]

    def text(self, name: str | None = "stdout") -> str:
        streams = self.of_type("stream")
        return "".join(message["text"] for message in streams if name in {None, message["name"]})

    def wait_text(self, text: str, name: str = "stdout") -> None:
        wait_until(lambda: text in self.text(name) or self.ended(), f"{text!r} on {name}")
        assert text in self.text(name), (self.text(None), self.of_type("error", "end"))

    def wait_message(self, kind: str) -> dict[str, Any]:
        wait_until(lambda: self.of_type(kind) or self.ended(), f"a message {kind}")
        assert self.of_type(kind), self.messages()
        return self.of_type(kind)[-1]

    def ended(self) -> bool:
        return (self.folder / "result.json").exists()

    def result(self) -> dict[str, Any]:
        wait_until(self.ended, "result.json")
        result = json.loads((self.folder / "result.json").read_bytes())
        wait_until(lambda: not processes.runner_alive(self.folder), "the runner's end")
        return result

    def user_pid(self) -> int:
        record = wait_until(lambda: processes.read_record(self.folder / "processes.json"), "processes.json")
        return int(record["user_pid"])

    def values(self) -> dict[str, Any]:
        """What the job stored, restored here."""
        blobs = open_blobs(self.blobs)
        digest = self.result()["snapshot"]
        return restore(Snapshot.load(digest, blobs), blobs, into={"__name__": "__main__"}).values if digest else {}


class Server:
    """A running fork server."""

    def __init__(self, root: Path, *arguments: str, env: dict[str, str] | None = None, **popen: Any) -> None:
        self.root = root
        self.socket = root / "fs.sock"
        self.blobs = {"kind": "folder", "root": str(root / "team")}
        (root / "team").mkdir(exist_ok=True)
        (root / "attempts").mkdir(exist_ok=True)
        self.log = (root / "server.log").open("ab")
        command = [sys.executable, "-m", "dure.worker.forkserver", "--socket", str(self.socket), *arguments]
        environment = {**os.environ, "JUPYTERHUB_API_TOKEN": "hub-secret", "DURE_TOKEN": "dure-secret", **(env or {})}
        self.process = subprocess.Popen(command, stderr=self.log, stdout=self.log, env=environment, **popen)
        self._jobs = 0
        try:
            self.hello = wait_until(self._hello, "the fork server")
        except BaseException:
            self.close()
            raise

    def _hello(self) -> dict[str, Any] | None:
        assert self.process.poll() is None, (self.root / "server.log").read_text()
        with contextlib.suppress(control.ControlError):
            return control.request(self.socket, {"op": "hello"}, 30)
        return None

    def request(self, **message: Any) -> dict[str, Any]:
        return control.request(self.socket, message)

    def make(self, kind: str, payload: dict[str, Any], **spec: Any) -> Attempt:
        self._jobs += 1
        job = f"j-{os.getpid()}-{self._jobs}-{id(self) & 0xFFFF:x}"
        folder = self.root / "attempts" / f"{job}.1"
        folder.mkdir(mode=0o700)
        limits = {"timeout_s": None, "memory_bytes": None, "output_bytes": 1 << 24, "grace_s": 5}
        content = {
            "job": job, "attempt": 1, "kind": kind, "user": "alice", "team": "vision", "environment": "default",
            "cluster": "lab", "tier": "gold", "node": "node-1", "gpus": [{"index": 3, "uuid": None, "share": 1.0}],
            "simulated": True, "env": {}, "cwd": None, "umask": "077", "blobs": self.blobs, "notify": None,
            "payload": payload, **spec, "limits": {**limits, **spec.get("limits", {})},
        }  # fmt: skip
        (folder / "spec.json").write_text(json.dumps(content))
        return Attempt(folder, self.blobs, content)

    def start(self, attempt: Attempt) -> Attempt:
        answer = self.request(op="start", folder=str(attempt.folder))
        assert answer["ok"], answer
        return attempt

    def cell(self, code: str, names: dict[str, Any] | None = None, **spec: Any) -> Attempt:
        payload = {"code": code, "cell_name": "In[7]", **spec.pop("payload", {})}
        if names is not None:
            payload["snapshot"] = self.snapshot(names)
        return self.start(self.make("cell", payload, **spec))

    def command(self, *argv: str, folder: str | None = None, **spec: Any) -> Attempt:
        return self.start(self.make("command", {"argv": list(argv), "folder": folder}, **spec))

    def snapshot(self, names: dict[str, Any]) -> str:
        blobs = open_blobs(self.blobs)
        return capture({"__name__": "__main__", **names}, list(names), blobs=blobs).store(blobs)

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(30)
        for folder in (self.root / "attempts").iterdir():
            processes.sweep(folder, runner_too=True)
        self.log.close()


@pytest.fixture(scope="session")
def server(tmp_path_factory) -> Iterator[Server]:
    """The server that most tests share, with numpy and pandas imported."""
    running = Server(tmp_path_factory.mktemp("worker"), "--preimport", "numpy,pandas", "--environment", "default")
    yield running
    running.close()


@pytest.fixture
def new_server(tmp_path) -> Iterator[Callable[..., Server]]:
    """Makes servers of a test's own, to kill or to set up otherwise."""
    made: list[Server] = []

    def make(*arguments: str, **options: Any) -> Server:
        root = tmp_path / f"server{len(made)}"
        root.mkdir()
        made.append(Server(root, *arguments, **options))
        return made[-1]

    yield make
    for running in made:
        running.close()


def leftovers(attempt: Attempt) -> list[int]:
    """Processes that still carry the attempt's marks or sit in its session."""
    return [pid for pid in processes._left_behind(attempt.folder, {}) if processes.process(pid)]


def running(pid: int) -> bool:
    found = processes.process(pid)
    return found is not None and found.state not in "ZX"


def gone(attempt: Attempt, *pids: int) -> None:
    wait_until(lambda: not any(running(pid) for pid in pids), "the end of all processes")
    assert leftovers(attempt) == []
