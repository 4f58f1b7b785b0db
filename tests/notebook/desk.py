"""A person at a machine whose kernels keep sessions: real kernels of one home, and a real control plane."""

import os
import signal
import time
from pathlib import Path

import pytest

from tests.api.plane import Plane, Served, served, token, until
from tests.notebook.conftest import NotebookKernel

# On a busy machine a kernel's first cell comes long before these are imported aside, and does not wait for them.
SLOW = """
import sys, time
class Slow:
    def find_spec(self, name, path=None, target=None):
        if name == "dure.state.restoring":
            time.sleep(2)
sys.meta_path.insert(0, Slow())
del Slow
"""
WARM = "import dure.client.client, dure.notebook.sessions.opening, dure.state.capturing, dure.state.restoring; del dure"


# Whether a kernel still has to save or to tell something, asked without running a cell of the person's.
OWES = """(lambda session: (lambda saver: saver is not None and not (saver.fenced or saver.paused) and bool(
    session._dirty or saver.behind or saver.journal.pending or not saver.free))(session.saver))(
    next(iter(__import__("dure.notebook.extension", fromlist=["_LOADED"])._LOADED.values())).session)"""


class Desk:
    """A person at a machine: kernels of one home, signed in to one control plane."""

    def __init__(self, server: Served, plane: Plane, home: Path, who: str = "alice") -> None:
        self.server, self.plane, self.home, self.who = server, plane, home, who
        self.kernels: list[NotebookKernel] = []
        home.mkdir(parents=True, exist_ok=True)

    def open(
        self,
        notebook: str = "train.ipynb",
        python: str | None = None,
        before: str = WARM,
        first: str = "%load_ext dure",
        **environment: str,
    ) -> NotebookKernel:
        """Open a notebook as a person does, whose first cell is `first`."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("DURE_", "JPY_", "XDG_"))}
        own = {
            "HOME": str(self.home),
            "IPYTHONDIR": str(self.home / "ipython"),
            "LC_ALL": "C.UTF-8",
            "DURE_URL": self.server.url,
            "DURE_TOKEN": token(self.who),
            "DURE_SESSIONS": "on",
        }
        environment = {**kept, **own, **environment}
        kernel = NotebookKernel(environment, self.home, str(self.home / notebook), before, python, first=first)
        self.kernels.append(kernel)
        if "has not answered yet" in told(kernel.loaded):  # a busy machine
            time.sleep(5)
            kernel.loaded = kernel.run("pass")
        return kernel

    def saved(self, notebook: str = "train.ipynb") -> int:
        """The number of the newest version, 0 when there is none."""
        found = self.plane.store.sessions.find(self.who, "vision", notebook)
        return found.newest if found is not None else 0

    def crash(self, kernel: NotebookKernel) -> None:
        """Wait until the last cell is saved, then kill -9."""
        settled(self)
        os.kill(pid_of(kernel), signal.SIGKILL)


def pid_of(kernel: NotebookKernel) -> int:
    process = kernel.manager.provisioner.process  # type: ignore[union-attr]
    assert process is not None
    return int(process.pid)


def settled(desk: Desk, notebook: str = "train.ipynb") -> int:
    """Wait until no kernel has anything left to save or to tell; return the newest version."""
    until(lambda: desk.saved(notebook) > 0 and not any(owes(kernel) for kernel in desk.kernels))
    return desk.saved(notebook)


def owes(kernel: NotebookKernel) -> bool:
    if not kernel.manager.is_alive():
        return False
    asked = {"owes": OWES.replace("\n", " ")}
    try:
        reply = kernel.client.execute("", silent=True, user_expressions=asked, reply=True, timeout=5)
    except TimeoutError:  # it was killed a moment ago, or the machine is that busy
        return True
    told = reply["content"]["user_expressions"]["owes"]
    assert told["status"] == "ok", told
    return bool(told["data"]["text/plain"] == "True")


def told(shown) -> str:
    return "\n".join(display["data"]["text/plain"] for display in shown.displays)


@pytest.fixture
def plane(tmp_path):
    folder = tmp_path / "plane"
    folder.mkdir()
    plane = Plane(folder, executing=False)
    yield plane
    plane.close()


@pytest.fixture
def server(plane):
    with served(plane.app) as server:
        yield server


@pytest.fixture
def desk(server, plane, tmp_path):
    desk = Desk(server, plane, tmp_path / "home")
    yield desk
    for kernel in desk.kernels:
        kernel.kill()


@pytest.fixture
def another_desk(server, plane, tmp_path):
    made = []

    def sit(who: str = "alice", folder: str = "elsewhere") -> Desk:
        made.append(Desk(server, plane, tmp_path / folder, who))
        return made[-1]

    yield sit
    for desk in made:
        for kernel in desk.kernels:
            kernel.kill()
