"""Keeps one fork server per environment and account running, and hands attempts to them.

Fork servers outlive the control plane: a new one finds them by their socket. The trap: a socket file is no proof of
life, so every use begins with `hello`, and only a server whose Python and pre-imports still match is reused, with what
is installed now: one of before retires.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import socket
import subprocess
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dure.adapters.persons_files import LINE_BYTES_MAX, check_peer
from dure.core.model import Environment
from dure.worker.control import short_path
from dure.worker.forkserver import ALREADY_SERVED

log = logging.getLogger("dure.forkservers")

_HELLO_S = 5.0
_START_S = 10.0
_BOOT_S = 120.0
_IDLE_S = 1800  # of a person's own fork server; the platform's own stay


class ForkServerError(Exception):
    """No fork server for this environment could be had; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Account:
    """An operating-system account that attempts run as; `uid` None is the control plane's own."""

    name: str
    uid: int | None = None
    gid: int | None = None
    groups: tuple[int, ...] = ()
    home: str | None = None


OWN_ACCOUNT = Account("own")


class ForkServers:
    """Starts, finds and talks to fork servers. Thread-safe; one boot at a time per server."""

    def __init__(self, run_folder: Path, log_folder: Path, marks: Mapping[str, str] | None = None) -> None:
        self._run = run_folder
        self._logs = log_folder
        self._marks = dict(marks or {})
        self._locks: dict[str, threading.Lock] = {}
        self._children: list[subprocess.Popen[bytes]] = []
        self._guard = threading.Lock()

    def start(self, environment: Environment, account: Account, folder: Path) -> None:
        """Ask for a runner of the attempt in `folder`. Asking twice is harmless. Raises ForkServerError."""
        path = self._socket(environment, account)
        with self._lock(path.name):  # or another start might retire the server in between
            self._ensure(environment, account, path)
            reply = _ask(path, {"op": "start", "folder": str(folder)}, _START_S, account.uid)
        if not reply.get("ok"):
            raise ForkServerError(f"the fork server of {environment.name!r} refused: {reply.get('error', reply)}")

    def ensure(self, environment: Environment, account: Account = OWN_ACCOUNT) -> Mapping[str, Any]:
        """Return the `hello` of a living fork server, booting one when needed.

        Raises ForkServerError when it cannot be had, ConnectionResetError when it was killed while it started.
        """
        path = self._socket(environment, account)
        with self._lock(path.name):
            return self._ensure(environment, account, path)

    def _ensure(self, environment: Environment, account: Account, path: Path) -> Mapping[str, Any]:
        hello = self._hello(path, account.uid)
        if hello is not None and not hello.get("outdated"):
            return hello
        if hello is not None:
            log.info("forkserver.retire", extra={"environment": environment.name, "account": account.name})
            with contextlib.suppress(OSError, ValueError):
                _ask(path, {"op": "retire"}, _HELLO_S, account.uid)
        process = self._boot(environment, account, path)
        return self._wait(environment, account, process, path)

    def stop_all(self) -> None:
        """End every fork server of this run folder; running attempts are not touched."""
        self._end(self._run, None)
        for folder in self._run.glob("*/"):
            self._end(folder, folder.lstat().st_uid)
        with self._guard:
            for child in self._children:  # or they stay zombies
                with contextlib.suppress(subprocess.TimeoutExpired):
                    child.wait(_HELLO_S)
            self._reap()

    def _end(self, folder: Path, uid: int | None) -> None:
        for path in folder.glob("fork-*.sock"):
            with contextlib.suppress(OSError, ValueError):
                _ask(path, {"op": "exit"}, _HELLO_S, uid)

    def _lock(self, name: str) -> threading.Lock:
        with self._guard:
            return self._locks.setdefault(name, threading.Lock())

    def _socket(self, environment: Environment, account: Account) -> Path:
        # The name carries what the server was started with, so that an edited environment gets a new one.
        facts = [environment.name, environment.python, environment.preimports, account.name, account.uid]
        text = json.dumps([*facts, account.groups])
        name = f"fork-{hashlib.blake2s(text.encode(), digest_size=6).hexdigest()}.sock"
        return self._run / name if account.uid is None else self._own_folder(account) / name

    def _own_folder(self, account: Account) -> Path:
        """A folder that the account may make its socket in. Servers with groups of another time are ended."""
        folder = self._run / account.name
        folder.mkdir(mode=0o700, exist_ok=True)
        if folder.stat().st_uid != account.uid:
            os.chown(folder, account.uid or 0, account.gid or 0)
        groups = self._run / f"{account.name}.groups"
        now = json.dumps(account.groups)
        with self._guard:
            if groups.exists() and groups.read_text() != now:
                self._end(folder, account.uid)
            groups.write_text(now)
        return folder

    def _hello(self, path: Path, uid: int | None) -> Mapping[str, Any] | None:
        try:
            return _ask(path, {"op": "hello"}, _HELLO_S, uid)
        except (OSError, ValueError):
            return None

    def _boot(self, environment: Environment, account: Account, path: Path) -> subprocess.Popen[bytes]:
        # An old socket stays: a server that only is slow still has the lock, and would never be found again.
        if account.uid is not None and (path.is_symlink() or not path.exists()):
            # But a person may have taken theirs away; then nobody reaches that server, and it ends when idle.
            path.unlink(missing_ok=True)
            path.with_name(f"{path.name}.lock").unlink(missing_ok=True)
        idle = ["--idle-timeout", str(_IDLE_S)] if account.uid is not None else []
        argv = [environment.python, "-m", "dure.worker.forkserver", "--socket", str(path), *idle]
        argv += ["--environment", environment.name]
        if environment.preimports:
            argv += ["--preimport", ",".join(environment.preimports)]
        log_path = self._logs / f"forkserver-{environment.name}-{account.name}.log"
        as_account: dict[str, Any] = {}
        if account.uid is not None:
            as_account = {"user": account.uid, "group": account.gid, "extra_groups": list(account.groups)}
        log.info("forkserver.boot", extra={"environment": environment.name, "account": account.name})
        try:
            with log_path.open("ab") as log_file:
                process = subprocess.Popen(
                    argv,
                    stdin=subprocess.DEVNULL,
                    stdout=log_file,
                    stderr=log_file,
                    env=self._environ(account),
                    cwd=account.home or str(self._run),
                    start_new_session=True,
                    **as_account,
                )
        except OSError as error:
            raise ForkServerError(
                f"environment {environment.name!r} cannot be started: {error}; "
                f"check its `python` in platform.yaml ({environment.python})"
            ) from error
        with self._guard:
            self._reap()
            self._children.append(process)
        return process

    def _environ(self, account: Account) -> dict[str, str]:
        keep = (
            "PATH",
            "LANG",
            "LC_ALL",
            "LC_CTYPE",
            "TZ",
            "LD_LIBRARY_PATH",
            "SSL_CERT_FILE",
            "SSL_CERT_DIR",
            "TMPDIR",
        )
        environ = {name: os.environ[name] for name in keep if name in os.environ} | self._marks
        environ["HOME"] = account.home or os.environ.get("HOME", "/")
        if account.uid is not None:
            environ |= {"USER": account.name, "LOGNAME": account.name}
        return environ

    def _reap(self) -> None:
        """Collect exit statuses of servers that died, so that none stays a zombie."""
        self._children = [child for child in self._children if child.poll() is None]

    def _wait(
        self, environment: Environment, account: Account, process: subprocess.Popen[bytes], path: Path
    ) -> Mapping[str, Any]:
        deadline = time.monotonic() + _BOOT_S
        while time.monotonic() < deadline:
            hello = self._hello(path, account.uid) if path.exists() else None
            if hello is not None:
                return hello
            code = process.poll()
            if code is not None and code < 0:
                # Killed from outside, not failed: whoever asked asks again.
                raise ConnectionResetError(f"the fork server of {environment.name!r} was killed by signal {-code}")
            if code is not None and code != ALREADY_SERVED:
                tail = self._tail(environment)
                raise ForkServerError(
                    f"environment {environment.name!r} ended at its start (exit {code}): {tail}; "
                    f"run `{environment.python} -m pip install dure` if dure is missing there"
                )
            time.sleep(0.02)
        process.kill()
        raise ForkServerError(f"environment {environment.name!r} did not get ready in {_BOOT_S:.0f} s; see its log")

    def _tail(self, environment: Environment) -> str:
        lines: list[str] = []
        for path in self._logs.glob(f"forkserver-{environment.name}-*.log"):
            lines += path.read_text(errors="replace").strip().splitlines()[-1:]
        return lines[-1] if lines else "it printed nothing"


def _ask(path: Path, message: Mapping[str, Any], timeout_s: float, uid: int | None = None) -> dict[str, Any]:
    """Return the reply to one JSON line. Raises OSError when nobody answers, ValueError for what is not JSON.

    The folder of a person's socket is theirs, so a link there could lead to another account's server, root's even:
    only a server of the account `uid` (None: our own) is spoken to.
    """
    with short_path(path) as address, socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(timeout_s)
        connection.connect(address)
        check_peer(connection, os.geteuid() if uid is None else uid)
        connection.sendall(json.dumps(message).encode() + b"\n")
        with connection.makefile("rb") as replies:
            line = replies.readline(LINE_BYTES_MAX)
    if not line:
        raise ConnectionResetError(f"{path} closed the connection without an answer")
    reply = json.loads(line)
    if not isinstance(reply, dict):
        raise TypeError(f"{path} answered {type(reply).__name__} instead of an object")
    return reply
