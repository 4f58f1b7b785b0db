"""A whole platform by its command line, for tests that need the real control plane: `dure up`, links, `dure down`."""

import os
import re
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

from dure.adapters import processes
from dure.client import Client, Login
from tests.browsers import PATIENCE_S
from tests.e2e.hub_browser import HubBrowser

PLATFORM = """\
name: test
admins: [root1]
tiers: [{{name: bronze, price_per_gpu_hour: 300}}, {{name: gold, price_per_gpu_hour: 1500}}]
clusters:
  - name: lab
    nodes:
      - {{name: node-1, tier: bronze, gpus: 2, simulated: true}}
      - {{name: node-2, tier: gold, gpus: 1, simulated: true}}
teams:
{teams}
environments: [{{name: default, python: {python}}}]
"""
TEAMS = """\
  - {name: vision, members: [alice, bob]}
  - {name: speech, members: [carol]}"""
END_S = 60.0


def new_page(browser, **options):
    """Open a page in a browser profile of its own, which waits as long as everything here."""
    page = browser.new_context(locale="en-US", **options).new_page()
    page.set_default_timeout(PATIENCE_S * 1000)
    return page


def write_platform(state_dir, teams=TEAMS, python=sys.executable):
    state_dir.mkdir(parents=True, exist_ok=True)
    (state_dir / "platform.yaml").write_text(PLATFORM.format(teams=teams, python=python))


def dure(*words, python=sys.executable, timeout=120, **environment):
    """Run one `dure` command to its end."""
    return subprocess.run(
        [python, "-m", "dure.cli", *map(str, words)],
        env={**clean_environment(), **environment},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def clean_environment():
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("DURE_", "JUPYTER", "JPY_"))}
    return {**kept, "LC_ALL": "C.UTF-8"}


class Up:
    """A running `dure up`: its process, its folder, its address and the link that it printed."""

    def __init__(self, state_dir, *words, python=sys.executable, **environment):
        self.state_dir = state_dir
        self.python = python
        self.log = state_dir / "test-up.log"
        state_dir.mkdir(parents=True, exist_ok=True)
        with self.log.open("wb") as output:
            self.process = subprocess.Popen(
                [python, "-m", "dure.cli", "up", "--dir", str(state_dir), *words],
                env={**clean_environment(), **environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    @property
    def said(self):
        return self.log.read_text(errors="replace")

    def ready(self, timeout_s=PATIENCE_S):
        """Wait for the line that says so; fail with what was said when it ends before."""
        deadline = time.monotonic() + timeout_s
        while "\nReady" not in f"\n{self.said}":
            assert self.process.poll() is None, self.said
            assert time.monotonic() < deadline, self.said
            time.sleep(0.05)
        found = re.search(r"(https?://\S+)", self.said[self.said.index("Ready") :])
        assert found, self.said
        self.link = found[1]
        self.url = self.link.split("hub/link")[0].split("?")[0]
        return self

    def end(self):
        """Ctrl-C, and wait."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(END_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def link_for(self, name, *words):
        """Return what `dure user add` prints."""
        done = dure("user", "add", name, "--dir", self.state_dir, *words, python=self.python)
        assert done.returncode == 0, done.stderr
        return re.findall(r"https?://\S+", done.stdout)[0]

    def person(self, name, *words, link=None):
        """Return a signed-in browser and a client of the API in its person's name."""
        browser = HubBrowser(self.url)
        landed = browser.open_link(link or self.link_for(name, *words))
        assert landed.status_code == 200, landed.text
        browser.http.get("hub/home")
        answer = browser.hub_api("POST", f"users/{name}/tokens", json={"note": "test", "expires_in": 3600})
        assert answer.status_code == 201, answer.text
        browser.token = answer.json()["token"]
        return browser, Client(Login(f"{self.url}services/dure", browser.token, "environment"), lang="en")


@contextmanager
def up(state_dir, *words, **settings):
    """A ready platform, ended afterwards with nothing left."""
    running = Up(state_dir, *words, **settings)
    try:
        yield running.ready()
    finally:
        running.end()
        dure("down", "--dir", state_dir, python=running.python)
        assert processes.marked(Path(state_dir)) == []
