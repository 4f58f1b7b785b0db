"""Bad luck of a notebook: another Python on the worker, a worker that is killed. The kernel keeps all that it has."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from benchmarks.measuring import running

import dure
from dure.adapters.platform_template import initial_text
from dure.client import DureError
from dure.worker.processes import read_record
from tests.inputs.conftest import Desk, until
from tests.notebook.conftest import NotebookKernel

ROOT = Path(dure.__file__).parents[2]
HERE = f"{sys.version_info.major}.{sys.version_info.minor}"
INSTALL_S = 100
pytestmark = pytest.mark.xdist_group("other-python")  # its environment is made once, not once in each process


def another_python() -> tuple[str, str]:
    """An interpreter of another minor version that Dure supports, and that version."""
    found = [*Path.home().glob(".pyenv/versions/3.1[1-9]*/bin/python"), *Path("/usr/bin").glob("python3.1[1-9]")]
    for python in found:
        asked = [str(python), "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
        version = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()
        if version and version != HERE:
            return str(python), version
    pytest.skip("this machine has no second minor version of Python that Dure supports")


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """An environment of another Python with the light Dure, and its version."""
    python, version = another_python()
    folder = tmp_path_factory.mktemp("other") / "venv"
    subprocess.run([python, "-m", "venv", str(folder)], check=True)
    light = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    install = [str(folder / "bin" / "pip"), "install", "-q", "-c", str(ROOT / "constraints.txt"), *light]
    try:
        subprocess.run(install, check=True, capture_output=True, timeout=INSTALL_S)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        pytest.skip(f"the light Dure cannot be installed for Python {version} here: {error}")
    packages = next(folder.glob("lib/python3*/site-packages"))
    (packages / "dure.pth").write_text(f"{ROOT / 'src'}\n")
    return str(folder / "bin" / "python"), version


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory, other: tuple[str, str]) -> Iterator[running.Running]:
    text = initial_text([], "me")
    assert "environments:\n" in text
    text = text.replace("environments:\n", f"environments:\n  - name: other\n    python: {other[0]}\n", 1)
    with running.platform(tmp_path_factory.mktemp("platform"), text) as process:
        yield process


@pytest.fixture(scope="module")
def kernel(platform: running.Running, tmp_path_factory: pytest.TempPathFactory) -> Iterator[NotebookKernel]:
    home = tmp_path_factory.mktemp("home")
    started = NotebookKernel(platform.environment(home), home, str(home / "story.ipynb"))
    yield started
    started.kill()


@pytest.mark.timeout(240)
def test_an_environment_of_another_python_is_refused_and_fitting_ones_are_named(desk: Desk, kernel, other):
    version = other[1]

    def told() -> bool:
        return {e.name: (e.python or "")[:4] for e in desk.client.environments()} == {"other": version, "default": HERE}

    until(told, "both environments to tell their Python")
    assert kernel.run("kept = [1]").ok
    before = desk.jobs()
    shown = kernel.run("%%gpu --env other\nkept.append(2)")
    assert not shown.ok
    assert len(shown.traceback.splitlines()) == 1
    assert f"Your kernel runs Python {HERE} but environment 'other' has Python {version}" in shown.traceback
    assert "--env: default" in shown.traceback
    assert desk.jobs() == before, "nothing was queued"
    assert kernel.run("%%gpu --env default\nkept.append(3)").ok
    assert kernel.value("kept") == "[1, 3]"
    with pytest.raises(DureError) as caught:
        desk.submit("true", python="3.9")
    assert caught.value.code == "environment_python"
    assert "--env: none" in str(caught.value)


def test_a_command_needs_no_python_of_its_own_and_runs_in_the_other_one(desk: Desk, kernel, other):
    job = desk.submit(
        "python",
        "-c",
        "import sys; assert '%d.%d' % sys.version_info[:2] == sys.argv[1]",
        other[1],
        environment="other",
    )
    assert desk.end(job).phase == "succeeded"


def test_a_worker_killed_under_a_cell_is_told_and_the_kernel_keeps_what_it_had(desk: Desk, kernel):
    assert kernel.run("kept = {'a': 1}").ok
    cell = kernel.start("%%gpu --env default\nkept['a'] = 2\nprint('begun', flush=True)\nimport time\ntime.sleep(600)")
    cell.until(lambda shown: "begun" in shown.stream(), "the cell to begin")
    job = desk.jobs()[0]
    os.kill(read_record(desk.attempt(job) / "runner.json")["pid"], signal.SIGKILL)
    shown = cell.wait()
    assert not shown.ok
    assert "worker was lost" in shown.traceback
    assert "begun" in shown.stream(), "what it printed stays"
    assert kernel.value("kept") == "{'a': 1}", "half of a cell is never committed"
    desk.unharmed(job)


def test_a_cell_that_kills_its_own_process_is_no_end_of_the_kernel(desk: Desk, kernel):
    shown = kernel.run("%%gpu --env default\nimport os, signal\nprint('x')\nos.kill(os.getpid(), signal.SIGKILL)")
    assert not shown.ok
    assert "killed" in shown.traceback.lower()
    assert kernel.value("1 + 1") == "2"
    desk.unharmed(desk.jobs()[0])
