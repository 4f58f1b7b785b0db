"""Starting and ending: one platform per folder, nothing left behind, and nothing old that still answers."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import httpx
import psutil
import pytest

from dure.adapters import processes
from dure.hub import accounts, front_door
from tests.e2e.conftest import tiny_front
from tests.e2e.hub_browser import HubBrowser, wait_for

ROOT = Path(__file__).parents[2]


@pytest.fixture
def folder(tmp_path):
    yield tmp_path / "state"
    front_door.stop(tmp_path / "state")


def up(folder, *more):
    argv = [sys.executable, "-m", "tests.e2e.up", str(folder), *more]
    return subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def ready(child):
    line = child.stdout.readline()
    assert line, child.stderr.read()
    return json.loads(line)


def end(child):
    child.wait(60)
    child.stdout.close()
    child.stderr.close()


def start_workspace(folder, url):
    browser = HubBrowser(url)
    token = accounts.create_link(folder, "alice")
    browser.open_link(front_door.link_url(url, token))
    browser.start_workspace("alice")
    kernel = browser.kernel("alice")
    kernel.run("import subprocess; child = subprocess.Popen(['sleep', '1000'], start_new_session=True)")
    kernel.close()
    browser.close()


def test_after_a_hard_kill_the_next_start_ends_what_was_left_and_answers_by_itself(folder, tmp_path):
    child = up(folder)
    about = ready(child)
    start_workspace(folder, about["url"])
    neighbour, _record = processes.start(
        tmp_path, "hub", ["sleep", "1000"], role="hub", environment=os.environ, log=tmp_path / "log"
    )
    job, _record = processes.start(
        folder, "job", ["sleep", "1000"], role="job", environment=os.environ, log=tmp_path / "log"
    )
    os.kill(about["pid"], signal.SIGKILL)
    os.kill(about["hub"], signal.SIGKILL)
    end(child)
    # this is the trap: with the Hub dead, the old proxy still listens on the port that links name
    old = processes.marked(folder, processes.FRONT_DOOR)
    assert any("dure.hub.proxy" in process.argv for process in old)
    assert not processes.is_free(int(about["url"].split(":")[2].strip("/")))

    said: list[str] = []
    running = front_door.serve(tiny_front(folder), said.append)
    try:
        assert running.url == about["url"]
        assert any("left behind" in line for line in said)
        assert not any(processes.alive(process) for process in old)
        assert neighbour.poll() is None
        assert job.poll() is None  # jobs outlive a restart of the platform
        browser = HubBrowser(running.url)
        assert "portal of alice" in browser.open_link(running.sign_in_link("alice")).text
        # the Hub's own table says that the workspace ran; it must not believe it
        wait_for(lambda: not browser.server("alice"), "the Hub's notice that the workspace is gone")
        browser.close()
    finally:
        running.stop()
        neighbour.kill()
        neighbour.wait()
        job.wait()


def test_a_second_up_in_the_same_folder_says_who_runs_it(folder):
    first = up(folder)
    about = ready(first)
    second = up(folder)
    _out, err = second.communicate(timeout=120)
    assert second.returncode == 1
    assert err.strip() == (
        f"Dure already runs in {folder} (process {about['pid']}) at {about['url']}."
        f" To end it, type: dure down --dir {folder}"
    )
    assert httpx.get(f"{about['url']}hub/health", timeout=60).status_code == 200
    first.terminate()
    first.send_signal(signal.SIGINT)  # whoever is impatient must not be left with half of it running
    first.terminate()
    end(first)
    assert processes.marked(folder) == []


def test_a_taken_port_is_named_with_its_owner_and_what_to_type(folder):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        child = up(folder, str(port))
        _out, err = child.communicate(timeout=120)
    assert child.returncode == 1
    name = psutil.Process().name()
    taken_by = f"Port {port} is taken by process {os.getpid()} ({name})."
    assert err.strip().startswith(f"{taken_by} End that, or choose another port: dure up --port ")
    assert processes.marked(folder) == []


def test_a_control_plane_that_cannot_start_is_told_with_the_log(folder, monkeypatch):
    def monotonic():
        """Its patience ends when the log shows why, however long the Hub takes to come to that."""
        log = front_door.log_path(folder)
        shown = log.read_text().splitlines()[-front_door.LOG_LINES_SHOWN :] if log.exists() else []
        return time.monotonic() + 1e6 * any("no platform file" in line for line in shown)

    monkeypatch.setattr(front_door, "time", SimpleNamespace(monotonic=monotonic, sleep=time.sleep))
    broken = tiny_front(folder, control_command=[sys.executable, "-c", "raise SystemExit('no platform file')"])
    with pytest.raises(front_door.FrontDoorError, match="no platform file"):
        front_door.serve(broken)
    assert processes.marked(folder) == []


def test_another_authenticator_can_take_the_place_of_ours(folder, monkeypatch):
    monkeypatch.setenv("E2E_SECRET", "from the environment")
    settings = {"class": "dummy", "settings": {"password": "${E2E_SECRET}"}}
    running = front_door.serve(tiny_front(folder, authenticator=settings, admins=["root1"]))
    browser, stranger = HubBrowser(running.url), HubBrowser(running.url)
    try:
        assert browser.login("alice", "from the environment").text == "portal of alice admin=False teams="
        # members of the platform file are let in, and nobody else, without a word about it in the settings
        assert "Name or password is wrong" in stranger.login("eve", "from the environment").text
        assert browser.http.get("hub/link?token=x").status_code == 404
    finally:
        browser.close()
        stranger.close()
        running.stop()
