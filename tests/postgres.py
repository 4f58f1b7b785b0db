"""A real PostgreSQL server for tests, reached by a Unix socket in a temporary folder; a database of its own per test.

Where its programs are not installed the tests skip with the reason, except in CI, where they must fail instead.
"""

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import psycopg
import pytest

DEADLINE_S = 90


@dataclass(frozen=True)
class PostgresServer:
    """A running server: its socket folder, its superuser, and the account that its files belong to."""

    folder: Path
    user: str

    def url(self, database: str) -> str:
        return f"postgresql://{self.user}@/{database}?host={self.folder}"

    def execute(self, statement: str) -> None:
        """Run one statement in no particular database, outside a transaction."""
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(statement)

    @contextlib.contextmanager
    def database(self, options: str = "") -> Iterator[str]:
        """Give the address of an empty database that is dropped afterwards."""
        name = f"dure_{uuid.uuid4().hex[:12]}"
        self.execute(f"CREATE DATABASE {name} {options}")
        try:
            yield self.url(name)
        finally:
            self.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    programs = installed()
    account = owner()
    # A short path: a Unix socket's name may have 107 characters.
    folder = Path(tempfile.mkdtemp(prefix="dure-pg-", dir="/tmp"))
    server = None
    try:
        if account is not None:
            os.chown(folder, account.pw_uid, account.pw_gid)
        user = account.pw_name if account is not None else pwd.getpwuid(os.getuid()).pw_name
        run_as = user if account is not None else None
        subprocess.run(
            [programs / "initdb", "-D", folder / "data", "-A", "trust", "-E", "UTF8", "--locale=C", "-N", "-U", user],
            check=True, capture_output=True, user=run_as, cwd=folder, timeout=DEADLINE_S,
        )  # fmt: skip
        # Durability is the server's own business: its fsync is off here, which no contract can see.
        settings = {"listen_addresses": "", "unix_socket_directories": str(folder), "fsync": "off"}
        with (folder / "log").open("wb") as log:
            server = subprocess.Popen(
                [programs / "postgres", "-D", folder / "data", *[f"--{k}={v}" for k, v in settings.items()]],
                stdout=log, stderr=log, stdin=subprocess.DEVNULL, user=run_as, cwd=folder, process_group=0,
            )  # fmt: skip
        running = PostgresServer(folder, user)
        wait_until_it_answers(running, server)
        yield running
    finally:
        if server is not None:
            server.send_signal(signal.SIGINT)  # "fast": ends open sessions
            with contextlib.suppress(subprocess.TimeoutExpired):
                server.wait(20)
            server.kill()
            server.wait()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def postgres_url(postgres_server: PostgresServer) -> Iterator[str]:
    with postgres_server.database() as url:
        yield url


def installed() -> Path:
    """Return the folder of the newest server's programs; skip, or fail in CI, where there is none."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    on_path = shutil.which("initdb")
    if found:
        return found[-1].parent
    if on_path is not None:
        return Path(on_path).resolve().parent
    return absent("PostgreSQL is not installed: apt-get install postgresql")


def owner() -> pwd.struct_passwd | None:
    """Return the account that the server runs as where the tests run as root, which it refuses to run as."""
    if os.getuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    return absent("PostgreSQL does not run as root, and there is no account postgres or nobody")


def absent(reason: str) -> NoReturn:
    if os.environ.get("CI"):
        pytest.fail(f"CI must test PostgreSQL. {reason}")
    pytest.skip(reason)


def wait_until_it_answers(running: PostgresServer, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while True:
        try:
            psycopg.connect(running.url("postgres")).close()
        except psycopg.OperationalError as error:
            if server.poll() is not None or time.monotonic() > deadline:
                log = (running.folder / "log").read_text(errors="replace")
                pytest.fail(f"PostgreSQL did not start: {error}\n{log[-2000:]}")
            time.sleep(0.05)
        else:
            return
