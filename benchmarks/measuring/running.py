"""Starts the real platform in a folder of its own, for a benchmark or a test, and ends it.

The trap: fork servers outlive their control plane by design, so `dure down` must follow, or they stay.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

START_S = 120.0
DURE = str(Path(sys.executable).with_name("dure"))


@dataclass(frozen=True)
class Running:
    """A platform that answers: its address, the token of its one person (none with the Hub), its process."""

    url: str
    token: str
    state_dir: Path
    pid: int

    def environment(self, home: Path) -> dict[str, str]:
        """Return the variables of a kernel or shell that is signed in; `home` keeps its own files apart."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("DURE_", "JPY_", "XDG_"))}
        mine = {"HOME": str(home), "LC_ALL": "C.UTF-8", "IPYTHONDIR": str(home / "ipython")}
        return {**kept, **mine, "DURE_URL": self.url, "DURE_TOKEN": self.token}


@contextmanager
def platform(
    state_dir: Path, text: str | None = None, *, hub: bool = False, variables: Mapping[str, str] | None = None
) -> Iterator[Running]:
    """Start `dure up` in `state_dir`, with the platform file `text` or what `dure init` writes, and end it."""
    state_dir.mkdir(parents=True, exist_ok=True)
    if text is not None:
        (state_dir / "platform.yaml").write_text(text)
    log = state_dir / "up.log"
    command = [DURE, "up", "--dir", str(state_dir), *([] if hub else ["--no-hub"])]
    environment = {**os.environ, "LC_ALL": "C.UTF-8", **(variables or {})}
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True, env=environment)
    try:
        url = _ready(process, log)
        token = "" if hub else (state_dir / "token").read_text().strip()
        yield Running(url, token, state_dir, process.pid)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        subprocess.run([DURE, "down", "--dir", str(state_dir)], capture_output=True, check=False, timeout=60)


def _ready(process: subprocess.Popen[bytes], log: Path) -> str:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        text = log.read_text(errors="replace")
        for line in text.splitlines():
            if line.startswith("Ready"):
                return line.split("http", 1)[1].join(["http", ""]).split("?")[0].split()[0].rstrip("/")
        if process.poll() is not None:
            raise SystemExit(f"The platform ended with {process.returncode} when it should have started:\n{text}")
        time.sleep(0.05)
    raise SystemExit(f"The platform was not ready after {START_S:.0f} s:\n{log.read_text(errors='replace')}")
