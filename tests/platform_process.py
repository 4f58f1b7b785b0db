"""A real platform without the Hub for tests: `dure up --no-hub` in a folder of its own, ended afterwards."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

START_S = 90.0


@dataclass(frozen=True)
class PlatformProcess:
    """Where the platform is, and the process to kill or to wait for."""

    url: str
    token: str
    state_dir: Path
    process: subprocess.Popen[bytes]

    def environment(self, home: Path) -> dict[str, str]:
        """Return the variables of a kernel or shell that is signed in; `home` keeps its own files apart."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("DURE_", "JPY_", "XDG_"))}
        return {
            **kept,
            "HOME": str(home),
            "LC_ALL": "C.UTF-8",
            "DURE_URL": self.url,
            "DURE_TOKEN": self.token,
            "IPYTHONDIR": str(home / "ipython"),
        }


@contextmanager
def running_platform(state_dir: Path, platform_yaml: str | None = None) -> Iterator[PlatformProcess]:
    """Start the platform in `state_dir` and end it; without `platform_yaml` it has what `dure init` writes."""
    state_dir.mkdir(parents=True, exist_ok=True)
    if platform_yaml is not None:
        (state_dir / "platform.yaml").write_text(platform_yaml)
    log = state_dir / "test-up.log"
    command = [str(Path(sys.executable).with_name("dure")), "up", "--no-hub", "--dir", str(state_dir)]
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True)
    try:
        link = _ready_link(process, log)
        yield PlatformProcess(link, (state_dir / "token").read_text().strip(), state_dir, process)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        _end_fork_servers(state_dir)


def _end_fork_servers(state_dir: Path) -> None:
    """End the fork servers of this folder, which survive their control plane by design."""
    for found in psutil.process_iter():
        try:
            words = found.cmdline()
            if "dure.worker.forkserver" in words and any(word.startswith(f"{state_dir}/") for word in words):
                found.kill()
        except psutil.Error:
            continue


def _ready_link(process: subprocess.Popen[bytes], log: Path) -> str:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        text = log.read_text(errors="replace")
        for line in text.splitlines():
            if line.startswith("Ready"):
                return line.split("Portal: ")[1].split("?")[0].rstrip("/")
        if process.poll() is not None:
            raise AssertionError(f"the platform ended with {process.returncode}: {text}")
        time.sleep(0.05)
    raise AssertionError(f"the platform was not ready within {START_S} s: {log.read_text(errors='replace')}")
