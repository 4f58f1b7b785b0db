"""Fixtures of the front-door tests: a real Hub with its proxy, in a folder of its own, ended whatever happens."""

import sys
import tempfile
from pathlib import Path

import pytest

from dure.adapters import processes
from dure.hub import front_door
from dure.hub.front_door import FrontDoor
from tests.e2e.hub_browser import HubBrowser

TINY_CONTROL = [sys.executable, str(Path(__file__).with_name("tiny_control.py")), "{control_port}"]
TEAMS = {"vision": ["alice", "bob"], "speech": ["carol"]}


def tiny_front(state_dir, **settings):
    return FrontDoor(**({"state_dir": state_dir, "control_command": TINY_CONTROL, "teams": TEAMS} | settings))


@pytest.fixture(scope="module")
def state_dir():
    """A short path that other accounts can pass through, since pytest's own folders are closed to them."""
    with tempfile.TemporaryDirectory(prefix="dure-e2e-") as folder:
        Path(folder).chmod(0o711)
        yield Path(folder) / "state"
        front_door.stop(Path(folder) / "state")


@pytest.fixture(scope="module")
def door(state_dir):
    running = front_door.serve(tiny_front(state_dir))
    yield running
    running.stop()
    assert processes.marked(state_dir) == []


@pytest.fixture
def new_browser(door):
    """Makes browsers without cookies, and closes them."""
    opened = []

    def make():
        opened.append(HubBrowser(door.url))
        return opened[-1]

    yield make
    for browser in opened:
        browser.close()


@pytest.fixture
def browser(new_browser):
    return new_browser()
