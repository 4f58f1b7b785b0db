"""Real IPython kernels, driven as JupyterLab drives them, against a real platform with simulated GPUs."""

from __future__ import annotations

import os
import queue
import re
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from benchmarks.measuring import running
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import KernelManager

from dure.state import Blobs, capture, open_blobs

DEADLINE_S = 90.0
_ANSI = re.compile(r"\x1b\[[0-9;]*m")


@dataclass
class Shown:
    """What one cell sent, in order, and how it ended."""

    messages: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    reply: dict[str, Any] = field(default_factory=dict)

    def stream(self, name: str = "stdout") -> str:
        return "".join(c["text"] for kind, c in self.messages if kind == "stream" and c["name"] == name)

    def contents(self, *kinds: str) -> list[dict[str, Any]]:
        return [content for kind, content in self.messages if kind in kinds]

    @property
    def lines(self) -> list[str]:
        """Every text that the status line had."""
        shown = self.contents("display_data", "update_display_data")
        return [c["data"]["text/plain"] for c in shown if 'role="status"' in c["data"].get("text/html", "")]

    @property
    def displays(self) -> list[dict[str, Any]]:
        """Displays that are not our status line."""
        shown = self.contents("display_data", "update_display_data")
        return [c for c in shown if 'role="status"' not in c["data"].get("text/html", "")]

    @property
    def result(self) -> str | None:
        found = self.contents("execute_result")
        return found[-1]["data"]["text/plain"] if found else None

    @property
    def error(self) -> dict[str, Any] | None:
        found = self.contents("error")
        return found[-1] if found else None

    @property
    def traceback(self) -> str:
        return _ANSI.sub("", "\n".join(self.error["traceback"])) if self.error else ""

    @property
    def ok(self) -> bool:
        return self.reply.get("status") == "ok"


class Running:
    """A cell that was sent; messages are read until a condition holds or it ends."""

    def __init__(self, client: BlockingKernelClient, code: str, answers: list[str], *, allow_stdin: bool) -> None:
        self._client = client
        self._answers = list(answers)
        self.shown = Shown()
        self.done = False
        self._id = client.execute(code, allow_stdin=allow_stdin, store_history=True)

    def until(self, condition: Callable[[Shown], bool], what: str) -> Shown:
        deadline = time.monotonic() + DEADLINE_S
        while not condition(self.shown):
            assert not self.done, f"the cell ended before {what}: {self.shown}"
            assert time.monotonic() < deadline, f"waited {DEADLINE_S} s for {what}: {self.shown}"
            self._read()
        return self.shown

    def wait(self) -> Shown:
        deadline = time.monotonic() + DEADLINE_S
        while not self.done:
            assert time.monotonic() < deadline, f"waited {DEADLINE_S} s for the end: {self.shown}"
            self._read()
        self.shown.reply = self._reply(deadline)
        return self.shown

    def _reply(self, deadline: float) -> dict[str, Any]:
        while True:
            reply = self._client.get_shell_msg(timeout=max(0.1, deadline - time.monotonic()))
            if reply["parent_header"].get("msg_id") == self._id:
                return reply["content"]

    def _read(self) -> None:
        if self._client.stdin_channel.is_alive() and self._client.stdin_channel.msg_ready():
            asked = self._client.get_stdin_msg(timeout=1)["content"]
            self.shown.messages.append(("input_request", asked))
            if self._answers:
                self._client.input(self._answers.pop(0))
        try:
            message = self._client.get_iopub_msg(timeout=0.05)
        except queue.Empty:
            return
        if message["parent_header"].get("msg_id") != self._id:
            return
        if message["msg_type"] == "status":
            self.done = message["content"]["execution_state"] == "idle"
        else:
            self.shown.messages.append((message["msg_type"], message["content"]))


class NotebookKernel:
    """A kernel as a notebook has it."""

    def __init__(
        self,
        environment: dict[str, str],
        folder: Path,
        notebook: str,
        before: str = "",
        python: str | None = None,
        *,
        first: str = "%load_ext dure",
    ) -> None:
        # Files instead of ports: kernels of test processes side by side would take each other's free ports.
        # In a folder of their own, since a socket's path may have 107 characters and a test's folder is longer.
        self.sockets = Path(tempfile.mkdtemp(prefix="dure-"))
        self.manager = KernelManager(kernel_name="python3", transport="ipc", ip=str(self.sockets / "kernel"))
        if python is not None:
            argv = [python, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
            self.manager._kernel_spec = KernelSpec(argv=argv, language="python")
        # All tests are one person's; without this, each would find what the one before left in its notebook.
        environment = {"DURE_SESSIONS": "off", **environment, "JPY_SESSION_NAME": notebook}
        self.manager.start_kernel(env=environment, cwd=str(folder))
        self.client: BlockingKernelClient = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=DEADLINE_S)
        if before:
            self.client.execute_interactive(before, silent=True, timeout=DEADLINE_S)
        self.loaded = self.run(first)
        assert self.loaded.ok or not first.startswith("%"), self.loaded

    def start(self, code: str, *answers: str, allow_stdin: bool = True) -> Running:
        return Running(self.client, code, list(answers), allow_stdin=allow_stdin)

    def run(self, code: str, *answers: str, allow_stdin: bool = True) -> Shown:
        return self.start(code, *answers, allow_stdin=allow_stdin).wait()

    def value(self, expression: str) -> str | None:
        shown = self.run(expression)
        assert shown.ok, shown.traceback
        return shown.result

    def interrupt(self) -> None:
        self.manager.interrupt_kernel()

    def kill(self) -> None:
        """End it as a crash or a closed laptop does: without a word."""
        self.client.stop_channels()
        provisioner: Any = self.manager.provisioner
        if provisioner.process is not None and self.manager.is_alive():
            os.kill(provisioner.process.pid, signal.SIGKILL)  # the manager would interrupt the cell first
        self.manager.shutdown_kernel(now=True)
        shutil.rmtree(self.sockets, ignore_errors=True)


@pytest.fixture
def blobs(tmp_path: Path) -> Blobs:
    return open_blobs({"kind": "folder", "root": str(tmp_path / "blobs")})


def end_of(blobs: Blobs, **values: Any) -> dict[str, Any]:
    """What a worker says at the end of a cell that made these variables."""
    snapshot = capture(dict(values), list(values), blobs=blobs)
    return {"snapshot": snapshot.store(blobs), "changed": list(values), "deleted": [], "unsaved": {}}


@pytest.fixture(scope="session")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[running.Running]:
    with running.platform(tmp_path_factory.mktemp("platform")) as process:
        yield process


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def new_kernel(platform: running.Running, home: Path) -> Iterator[Callable[..., NotebookKernel]]:
    started: list[NotebookKernel] = []

    def start(notebook: str = "story.ipynb", **environment: str) -> NotebookKernel:
        kernel = NotebookKernel({**platform.environment(home), **environment}, home, str(home / notebook))
        started.append(kernel)
        return kernel

    yield start
    for kernel in started:
        kernel.kill()


@pytest.fixture(scope="module")
def kernel(new_kernel: Callable[..., NotebookKernel]) -> NotebookKernel:
    return new_kernel()


@pytest.fixture(scope="module")
def command_line(platform: running.Running, home: Path) -> dict[str, str]:
    return platform.environment(home)
