"""`python -m dure.worker.forkserver`: imports what jobs need once, then forks a runner per attempt, the next one ahead.

One request a connection, a line of JSON: {"op": "start", "folder": …}, {"op": "hello"}, "retire" or "exit" likewise. It
keeps no state: runners outlive it, and starting an attempt twice starts it once. The trap: it must stay a process with
one Python thread, without event loops or CUDA contexts, or its forks may hang; `hello` tells the number of threads.
OpenBLAS's threads are no harm (measured): it ends them before each fork and starts them anew at first use in the child.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import gc
import importlib
import os
import selectors
import signal
import socket
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from dure.worker import environ, processes
from dure.worker.control import Door, listen
from dure.worker.loaded import Loaded
from dure.worker.shell import CellShell, make_shell

PROTOCOL = 1
# Exit code when another server has the socket (EX_TEMPFAIL): wait for that one to answer.
ALREADY_SERVED = 75
# By this variable whoever started us finds us again, also after a crash (dure.adapters.processes.MARK).
RUN_MARK = "DURE_RUN_MARK"
_PADDED = "DURE_FORKSERVER_PADDING"
_AHEAD_S = 0.1  # after a start: the job that has just begun is first
_AGAIN_S = 1.0  # until the next, when one cannot be forked or is killed at once


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until told to exit or idle for too long; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m dure.worker.forkserver", description="Starts jobs in milliseconds."
    )
    parser.add_argument("--socket", type=Path, required=True, help="unix socket to listen on, for this account alone")
    parser.add_argument("--preimport", default="", help="modules to import first: numpy,pandas")
    parser.add_argument("--environment", default="default", help="name of the environment, for messages")
    parser.add_argument("--idle-timeout", type=float, default=0, help="seconds without jobs before it ends; 0: never")
    parser.add_argument("--no-cgroups", action="store_true", help="hold memory limits by watching processes only")
    options = parser.parse_args(argv)
    _make_room()
    lock = _lock(options.socket)
    if lock is None:
        sys.stderr.write(f"A fork server already listens on {options.socket}. Use it, or give another --socket.\n")
        return ALREADY_SERVED
    if not sys.flags.safe_path and sys.path[:1] == [os.getcwd()]:  # noqa: PTH109 -- as Python wrote it there
        del sys.path[0]  # `-m` puts the folder there in which the server was started: no place for a job's modules
    variables = environ.server_environment(os.environ)
    marks = {"DURE_FORKSERVER": options.environment}
    if RUN_MARK in os.environ:
        marks[RUN_MARK] = os.environ[RUN_MARK]
    environ.replace_environment(variables, marks)
    modules = [name.strip() for name in options.preimport.split(",") if name.strip()]
    ForkServer(listen(options.socket), lock, options, modules).serve()
    return 0


def _make_room() -> None:
    """Start anew with a larger environment when the block is too small for the marks of a job."""
    _, size = processes.environ_block()
    if size and size < processes.MARK_BYTES + 64 + len(os.environ.get(RUN_MARK, "")) and _PADDED not in os.environ:
        padded = {**os.environ, _PADDED: "x" * 2 * processes.MARK_BYTES}
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], padded)  # noqa: S606 -- no shell wanted


def _lock(path: Path) -> int | None:
    """Return a descriptor that holds the lock beside the socket, None when another server has it."""
    lock = os.open(path.with_name(f"{path.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        return None
    return lock


class ForkServer:
    """The loop: requests in, forks out. Children that end are reaped, orphans of dead runners are ended."""

    def __init__(self, server: socket.socket, lock: int, options: argparse.Namespace, modules: Sequence[str]) -> None:
        self._server = server
        self._lock = lock
        self._options = options
        self._selector = selectors.DefaultSelector()
        self._runners: set[int] = set()
        self._spare: Spare | None = None
        self._ahead_at = 0.0
        self._leaving = False
        self._retired = False
        self._loaded = Loaded()
        shell = make_shell()  # before the imports, since libraries decide in theirs whether this is a notebook
        self._failed = _import_all(modules)
        self._imported = [name for name in modules if name not in self._failed]
        self._fingerprint, self._prepared = _prepare(shell, cgroups=not options.no_cgroups)
        self._loaded.fix()
        self._idle_since = time.monotonic()
        if threading.active_count() > 1:
            names = ", ".join(thread.name for thread in threading.enumerate())
            sys.stderr.write(f"Threads were started by importing ({names}): jobs may hang. Preimport less.\n")

    def serve(self) -> None:
        """Answer requests until `exit`, SIGTERM or the idle timeout; once retired, stay until the last runner ends."""
        processes.become_subreaper()
        wakeup_r, wakeup_w = socket.socketpair()
        for end in (wakeup_r, wakeup_w):
            end.setblocking(False)
        self._inherited = [wakeup_r, wakeup_w]
        for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: None)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.set_wakeup_fd(wakeup_w.fileno(), warn_on_full_buffer=False)
        self._selector.register(wakeup_r, selectors.EVENT_READ, lambda: self._on_signal(wakeup_r))
        self._door = Door(self._server, self._selector, self._obey)
        gc.collect()
        gc.freeze()  # a collection in a fork would touch, and so copy, every page
        while not self._leaving:
            if self._spare is None and not self._retired and time.monotonic() >= self._ahead_at:
                self._ahead_at = time.monotonic() + _AGAIN_S
                with contextlib.suppress(OSError):  # a job that finds no room either is told so
                    self._spare = self._fork()
            for key, _ in self._selector.select(self._wait_s()):
                key.data()
            if self._is_idle() or (self._retired and not self._runners):
                break
        self._dismiss()
        if not self._retired:
            self._hide()

    def _hide(self) -> None:
        with contextlib.suppress(OSError):
            self._options.socket.unlink()

    def _retire(self) -> None:
        """Leave the socket's place to a server with what is installed now."""
        if not self._retired:
            self._retired = True
            self._dismiss()
            self._hide()
            self._selector.unregister(self._server)
            self._server.close()
            os.close(self._lock)

    def _wait_s(self) -> float | None:
        timeout_s, now = self._options.idle_timeout, time.monotonic()
        waits = [max(0.05, timeout_s - (now - self._idle_since))] if timeout_s else []
        if self._spare is None and not self._retired:
            waits.append(max(0.0, self._ahead_at - now))
        return min(waits, default=None)

    def _is_idle(self) -> bool:
        timeout_s = self._options.idle_timeout
        return bool(timeout_s) and not self._runners and time.monotonic() - self._idle_since >= timeout_s

    def _on_signal(self, wakeup: socket.socket) -> None:
        with contextlib.suppress(BlockingIOError):
            numbers = wakeup.recv(4096)
            self._leaving |= signal.SIGTERM in numbers or signal.SIGINT in numbers
            self._reap()

    def _reap(self) -> None:
        died = False
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if pid == 0:
                break
            if pid in self._runners:
                self._runners.discard(pid)
                self._ahead_at = 0.0  # its job is over: now is the time to prepare for the next
            if self._spare is not None and pid == self._spare.pid:
                self._dismiss()
            died |= status != 0
            self._idle_since = time.monotonic()
        if died:  # a killed runner's children came to us, and nobody else will end them
            with contextlib.suppress(OSError):  # no descriptor is left to look; whoever asked for the job sweeps, too
                self._kill_orphans()

    def _kill_orphans(self) -> None:
        orphans = processes.own_children() - self._runners - ({self._spare.pid} if self._spare else set())
        for pid in orphans | processes.descendants(orphans, processes.table()):
            processes.kill(pid)

    def _obey(self, message: dict[str, Any]) -> dict[str, Any]:
        self._idle_since = time.monotonic()
        operation = message["op"]
        if operation == "hello":
            return self._hello()
        if operation == "exit":
            self._leaving = True
            return {"ok": True}
        if operation == "retire":
            self._retire()
            return {"ok": True}
        if operation == "start" and not self._retired:
            return self._start(Path(str(message["folder"])))
        return {"ok": False, "error": f"'{operation}' is none of hello, start, retire, exit, or came too late."}

    def _hello(self) -> dict[str, Any]:
        return {
            "ok": True,
            "protocol": PROTOCOL,
            "pid": os.getpid(),
            "start_ticks": processes.start_ticks(os.getpid()),
            "environment": self._options.environment,
            "fingerprint": self._fingerprint,
            "preimported": self._imported,
            "failed": self._failed,
            "threads": len(os.listdir("/proc/self/task")) if Path("/proc/self/task").exists() else 1,  # noqa: PTH208
            "python_threads": threading.active_count(),
            "runners": sorted(self._runners),
            "outdated": self._loaded.outdated(time.monotonic()),
        }

    def _start(self, folder: Path) -> dict[str, Any]:
        if not folder.is_absolute() or not (folder / "spec.json").is_file():
            return {"ok": False, "error": f"{folder} is no attempt folder: it has no spec.json."}
        runner = processes.read_claim(folder)
        if runner:
            return {"ok": True, "pid": runner["pid"], "again": True}
        spare, self._spare = self._spare or self._fork(), None
        while not spare.give(folder):
            spare = self._fork()
        self._runners.add(spare.pid)
        self._ahead_at = time.monotonic() + _AHEAD_S
        return {"ok": True, "pid": spare.pid}

    def _fork(self) -> Spare:
        """Fork a runner that has no attempt yet. There is no other such one, whose pipe it would inherit."""
        reader, writer = os.pipe()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # 3.12 warns of C threads, which are fork-aware
            try:
                pid = os.fork()
            except OSError:
                os.close(reader)
                os.close(writer)
                raise
        if pid == 0:
            os.close(writer)
            self._become_runner(reader)
        os.close(reader)
        return Spare(pid, writer)

    def _dismiss(self) -> None:
        """Let the runner that has no attempt go."""
        if self._spare is not None:
            os.close(self._spare.order)
            self._spare = None

    def _become_runner(self, order: int) -> NoReturn:
        from dure.worker.runner import run_attempt

        try:
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT):
                signal.signal(number, signal.SIG_DFL)
            self._selector.close()
            for end in (*self._inherited, *self._door.sockets()):
                end.close()
            os.close(self._lock)
            run_attempt(order, self._prepared)
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
            os._exit(1)
        os._exit(0)


@dataclass(frozen=True, slots=True)
class Spare:
    """A runner that waits for an attempt's folder on a pipe, and ends when that is closed without one."""

    pid: int
    order: int

    def give(self, folder: Path) -> bool:
        """Let it run the attempt in `folder`; False when it is dead."""
        try:
            with open(self.order, "wb", buffering=0) as pipe:  # noqa: PTH123 -- a descriptor
                pipe.write(os.fsencode(folder))
        except BrokenPipeError:
            return False
        return True


def _import_all(modules: Sequence[str]) -> dict[str, str]:
    """Import modules by name; return why those that failed did."""
    failed: dict[str, str] = {}
    for name in modules:
        try:
            importlib.import_module(name)
        except BaseException as error:
            failed[name] = f"{type(error).__name__}: {error}"
    return failed


def _prepare(shell: CellShell, *, cgroups: bool) -> tuple[dict[str, Any], Any]:
    """Load everything that runners and user processes use, so that nothing is imported after the fork."""
    import zipfile  # noqa: F401 -- for command jobs

    from dure.state import fingerprint
    from dure.state.identity import installed_modules
    from dure.state.libraries import settings
    from dure.state.store import verified
    from dure.state.store.blobs import BlobError
    from dure.worker import besides, runner  # noqa: F401 -- and with it all of the worker
    from dure.worker.prepared import Prepared

    with contextlib.suppress(ImportError):  # an environment without widgets
        importlib.import_module("comm.base_comm")
    settings.note_libraries()
    besides.watch()
    with contextlib.suppress(OSError, BlobError):  # a full disk is no reason not to serve
        _rehearse()
    verified.share()
    _forget_absent_folders()
    return {**fingerprint(), "modules": installed_modules()}, Prepared(shell, dict(os.environ), cgroups=cgroups)


def _rehearse() -> None:
    """Save, restore and compare some values: what is looked up once in a process is then known in all forks."""
    import tempfile

    from dure.state import Snapshot, capture, changed, open_blobs, restore

    numpy = sys.modules.get("numpy")
    values = {"few": [1, {"two": 3.0}], "many": numpy.zeros(1000) if numpy is not None else None}
    with tempfile.TemporaryDirectory(prefix="dure-rehearsal-") as folder:
        blobs = open_blobs({"kind": "folder", "root": folder})
        snapshot = Snapshot.load(capture(values, blobs=blobs).store(blobs), blobs)
        restored: dict[str, Any] = {}
        restore(snapshot, blobs, into=restored)
        changed(restored, snapshot, blobs=blobs)


def _forget_absent_folders() -> None:
    """Let jobs find folders that came since they were looked for. In each job `importlib.invalidate_caches` would write
    to a page of every folder that was imported from, milliseconds long; changes of those Python notices by their date.
    """
    for name, finder in list(sys.path_importer_cache.items()):
        if finder is None or not os.path.isabs(name):  # noqa: PTH117 -- as Python's own PathFinder asks
            del sys.path_importer_cache[name]


if __name__ == "__main__":
    # The shell takes over `__main__`, so the server runs as the module of its proper name.
    from dure.worker.forkserver import main as serve

    sys.exit(serve())
