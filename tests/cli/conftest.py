"""A served platform that runs commands, and `dure` as a real process that talks to it."""

import os
import subprocess
import sys

import pytest

from tests.api.plane import served_plane, token


@pytest.fixture(scope="session")
def platform(tmp_path_factory):
    """A served control plane that runs commands, shared by all tests of the command line."""
    with served_plane(tmp_path_factory.mktemp("plane")) as server:
        yield server


@pytest.fixture
def environment(platform, tmp_path):
    """Return the environment of one person's shell: environment("alice")."""

    def of(name: str = "alice") -> dict[str, str]:
        kept = {key: os.environ[key] for key in ("PATH", "TMPDIR") if key in os.environ}
        return kept | {
            "DURE_URL": platform.url,
            "DURE_TOKEN": token(name),
            "XDG_CONFIG_HOME": str(tmp_path / "config"),
            "HOME": str(tmp_path),
            "LANG": "C.UTF-8",
        }

    return of


@pytest.fixture
def dure(environment, tmp_path):
    """Run `dure` to its end: dure("jobs", "--json", who="mate", cwd=…, env={…})."""

    def call(*words: str, who: str = "alice", cwd=None, env=None, stdin: str = "") -> subprocess.CompletedProcess[str]:
        where = cwd or tmp_path / "empty"
        where.mkdir(exist_ok=True)
        return subprocess.run(
            [sys.executable, "-m", "dure.cli", *words],
            env=environment(who) | (env or {}),
            cwd=where,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )

    return call
