"""A PostgreSQL server of one's own, as Debian sets it up (fsync on), reached by a Unix socket, gone afterwards."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg

START_S = 60.0


def programs() -> Path | None:
    """Return the folder of the newest installed server's programs, None where there is none."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    on_path = shutil.which("initdb")
    return found[-1].parent if found else Path(on_path).resolve().parent if on_path else None


@contextlib.contextmanager
def server() -> Iterator[str | None]:
    """Yield the address of an empty database, or None where PostgreSQL is not installed."""
    where = programs()
    if where is None:
        yield None
        return
    account = pwd.getpwnam("postgres") if os.getuid() == 0 else pwd.getpwuid(os.getuid())
    # A short path: a Unix socket's name may have 107 characters.
    folder = Path(tempfile.mkdtemp(prefix="dure-pg-", dir="/tmp"))
    os.chown(folder, account.pw_uid, account.pw_gid)
    run_as = account.pw_name if os.getuid() == 0 else None
    initdb = [where / "initdb", "-D", folder / "data", "-A", "trust", "-E", "UTF8", "--locale=C", "-U", "bench"]
    subprocess.run(initdb, check=True, capture_output=True, user=run_as, cwd=folder, timeout=START_S)
    settings = ["--listen_addresses=", f"--unix_socket_directories={folder}"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [where / "postgres", "-D", folder / "data", *settings],
            stdout=log, stderr=log, stdin=subprocess.DEVNULL, user=run_as, cwd=folder, process_group=0,
        )  # fmt: skip
    url = f"postgresql://bench@/postgres?host={folder}"
    try:
        _wait(url)
        yield url
    finally:
        process.send_signal(signal.SIGINT)  # "fast": ends open sessions
        process.wait(START_S)
        shutil.rmtree(folder, ignore_errors=True)


def _wait(url: str) -> None:
    deadline = time.monotonic() + START_S
    while True:
        try:
            psycopg.connect(url).close()
        except psycopg.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return
