"""Processes that belong to one state folder: recorded, found again after a crash, and ended; locks and ports
beside them.

Touches `<state>/run/*.json`, `<state>/lock`, `<state>/ports.json` and the process table. Every process that
Dure starts carries $DURE_RUN_MARK=`<role>:<state>` in its environment and hands it on to its children, so that
whatever a hard-killed Hub left behind can be told from everybody else's. Trap: a process id is reused; only
(pid, start time) names a process.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any, Self

import psutil

MARK = "DURE_RUN_MARK"
# What `dure up` itself starts and must find gone before it starts again. Jobs are not among them: they outlive it.
FRONT_DOOR = ("hub", "control", "workspace")
EVERYTHING = (*FRONT_DOOR, "job")

POLL_S = 0.05
GRACE_S = 10.0
LOG_CHECK_S = 30.0
LOG_BYTES_MAX = 10 * 1024 * 1024


class AlreadyRunningError(RuntimeError):
    """Another `dure up` holds this state folder; the text says which."""


class PortTakenError(RuntimeError):
    """A port that must be used is not free; the text says who has it and what to type."""


@dataclass(frozen=True)
class Process:
    """One process, named for good by its id and its start (clock ticks since boot on Linux)."""

    pid: int
    start_ticks: int | None
    role: str = ""
    argv: tuple[str, ...] = ()


@dataclass(frozen=True)
class Record:
    """What `<state>/run/<name>.json` says of a process that Dure started."""

    name: str
    pid: int
    start_ticks: int | None
    argv: tuple[str, ...]
    ports: Mapping[str, int] = field(default_factory=dict)

    @property
    def process(self) -> Process:
        """The process that it speaks of."""
        return Process(self.pid, self.start_ticks, self.name, self.argv)


def start_ticks(pid: int) -> int | None:
    """Return when the process began, in ticks that never change while it lives; None when it is gone or a zombie."""
    try:
        # Field 22 of /proc/PID/stat, counted after the command's closing parenthesis: a name may hold spaces.
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None if Path("/proc/self/stat").exists() else elsewhere_ticks(pid)
    return None if fields[0] in "ZX" else int(fields[19])


def elsewhere_ticks(pid: int) -> int | None:
    """Return the same for systems without /proc: the start time in hundredths of a second."""
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else int(process.create_time() * 100)
    except psutil.Error:
        return None


def alive(process: Process) -> bool:
    """Return whether exactly this process still runs."""
    return process.start_ticks is not None and start_ticks(process.pid) == process.start_ticks


def mark(state_dir: Path, role: str) -> str:
    """Return the value of $DURE_RUN_MARK for a process of this state folder."""
    return f"{role}:{state_dir.resolve()}"


def start(
    state_dir: Path,
    name: str,
    argv: Sequence[str],
    *,
    role: str,
    environment: Mapping[str, str],
    log: Path,
    ports: Mapping[str, int] | None = None,
) -> tuple[subprocess.Popen[bytes], Record]:
    """Start a marked, recorded process in a session of its own; its output goes to `log`, kept to two files of
    10 MiB.
    """
    log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    trim_log(log)
    with os.fdopen(os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "ab") as output:
        child = subprocess.Popen(
            argv,
            env={**environment, MARK: mark(state_dir, role)},
            cwd=state_dir,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    record = Record(name, child.pid, start_ticks(child.pid), tuple(argv), dict(ports or {}))
    folder = state_dir / "run"
    folder.mkdir(mode=0o700, exist_ok=True)
    temporary = folder / f".{name}.tmp"
    temporary.touch(mode=0o600)
    temporary.write_text(json.dumps(asdict(record)), encoding="utf-8")
    temporary.replace(folder / f"{name}.json")
    return child, record


def trim_log(log: Path) -> None:
    """Move what is in a log of more than 10 MiB to `<log>.1`. Its writers go on: they hold it open for appending.

    Where that is not possible (a full disk), the log stays as it is: no platform ends because of its log.
    """
    with suppress(OSError):
        if log.stat().st_size > LOG_BYTES_MAX:
            shutil.copyfile(log, log.with_name(f"{log.name}.1"))
            os.truncate(log, 0)


def wait_trimming(child: subprocess.Popen[bytes], log: Path) -> int:
    """Return the exit code when the process has ended; its log is kept short meanwhile."""
    while True:
        try:
            return child.wait(LOG_CHECK_S)
        except subprocess.TimeoutExpired:
            trim_log(log)


def records(state_dir: Path) -> list[Record]:
    """Return what is recorded, whether it still runs or not; a torn file is skipped, for the mark finds its
    process.
    """
    found = []
    for path in sorted((state_dir / "run").glob("*.json")):
        with suppress(ValueError, KeyError, TypeError, OSError):
            about: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            found.append(
                Record(about["name"], about["pid"], about["start_ticks"], tuple(about["argv"]), about["ports"])
            )
    return found


def marked(state_dir: Path, roles: Collection[str] = EVERYTHING) -> list[Process]:
    """Return every living process that carries this folder's mark with one of the roles, but for us and our parents.

    Only processes whose environment we may read can be found: our own account's, or all of them for root.
    """
    wanted = {mark(state_dir, role): role for role in roles}
    ours = own_line()
    found = []
    for process in psutil.process_iter():
        if process.pid in ours:
            continue
        with suppress(psutil.Error, OSError):
            role = wanted.get(process.environ().get(MARK, ""))
            if role is None and "job" in roles and is_worker(process.cmdline(), state_dir):
                role = "job"
            ticks = start_ticks(process.pid) if role else None
            if role and ticks is not None:
                found.append(Process(process.pid, ticks, role, tuple(process.cmdline())))
    return found


def is_worker(argv: Sequence[str], state_dir: Path) -> bool:
    """Return whether this is a fork server of the folder, or forked from one.

    They write marks of their own over the environment that they were started with, but their socket's path stays.
    """
    if "dure.worker.forkserver" not in argv or "--socket" not in argv[:-1]:
        return False
    socket_path = Path(argv[argv.index("--socket") + 1])
    return state_dir.resolve() in socket_path.parents


def own_line() -> set[int]:
    """Return our own process id and those of our parents: `dure down` typed in a workspace must outlive the
    workspace.
    """
    with suppress(psutil.Error):
        return {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    return {os.getpid()}


def end_leftovers(state_dir: Path, roles: Collection[str] = FRONT_DOOR, grace_s: float = GRACE_S) -> list[Process]:
    """End what an earlier run of this folder left behind, and nobody else's; return what was ended.

    Looks again until nothing is left, for a dying Hub may start one more child meanwhile.
    """
    recorded = [record.process for record in records(state_dir) if record.name in roles]
    ended = [process for process in recorded if alive(process)]
    end(ended, grace_s)
    for _ in range(5):
        left = marked(state_dir, roles)
        if not left:
            break
        end(left, grace_s)
        ended += [process for process in left if process not in ended]
    for path in (state_dir / "run").glob("*.json"):
        if path.stem in roles:
            path.unlink(missing_ok=True)
    return ended


def end(processes: Sequence[Process], grace_s: float = GRACE_S) -> None:
    """Send SIGTERM to all, wait up to `grace_s` for them together, SIGKILL the rest with their process groups."""
    for process in processes:
        send(process, signal.SIGTERM)
    if wait_until(lambda: not any(alive(process) for process in processes), grace_s):
        return
    for process in processes:
        send(process, signal.SIGKILL, group=True)
    wait_until(lambda: not any(alive(process) for process in processes), grace_s)


def send(process: Process, number: signal.Signals, *, group: bool = False) -> None:
    """Signal the process (with `group`, its whole group when it leads one) if it still is that process."""
    if not alive(process):
        return
    with suppress(ProcessLookupError, PermissionError):
        if group and os.getpgid(process.pid) == process.pid:
            os.killpg(process.pid, number)
        else:
            os.kill(process.pid, number)


def wait_until(condition: Callable[[], bool], timeout_s: float) -> bool:
    """Return True as soon as the condition holds, False when it did not within `timeout_s`."""
    deadline = time.monotonic() + timeout_s  # noqa: TID251 - waiting for real processes is this adapter's work
    while not condition():
        if time.monotonic() > deadline:  # noqa: TID251
            return False
        time.sleep(POLL_S)  # noqa: TID251
    return True


class Lock:
    """The right to run one state folder: held by the open file, so that it ends with its holder, however that
    dies.
    """

    def __init__(self, state_dir: Path) -> None:
        self.path = state_dir / "lock"
        self.file: IO[str] | None = None

    def acquire(self, link: str = "") -> Self:
        """Take the lock or raise AlreadyRunningError with who has it."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        file = os.fdopen(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600), "r+", encoding="utf-8")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.close()
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise
            raise AlreadyRunningError(self.sentence()) from error
        self.file = file
        self.describe(link)
        return self

    def describe(self, link: str, *, hub: bool = False) -> None:
        """Write who holds the lock, where it answers, and whether people sign in at a Hub there, for others to read."""
        assert self.file is not None
        text = json.dumps({"pid": os.getpid(), "start_ticks": start_ticks(os.getpid()), "link": link, "hub": hub})
        self.file.seek(0)
        self.file.write(text)
        self.file.truncate()
        self.file.flush()

    def release(self) -> None:
        """Give the lock up; the file stays, since removing it would let two others each lock a file of their own."""
        if self.file is not None:
            self.file.seek(0)
            self.file.truncate()
            self.file.close()
            self.file = None

    def sentence(self) -> str:
        """Return who runs this folder, in one sentence that says what to type."""
        about = holder(self.path.parent)
        folder = self.path.parent
        if about is None:
            return f"Somebody else is starting Dure in {folder} right now. Wait, or type: dure down --dir {folder}"
        at = f" at {about['link']}" if about.get("link") else ""
        return f"Dure already runs in {folder} (process {about['pid']}){at}. To end it, type: dure down --dir {folder}"


def holder(state_dir: Path) -> dict[str, Any] | None:
    """Return {"pid", "start_ticks", "link", "hub"} of the living process that runs this folder, or None."""
    try:
        about: dict[str, Any] = json.loads((state_dir / "lock").read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return about if alive(Process(about["pid"], about["start_ticks"])) else None


def ports_for(
    state_dir: Path, given: Mapping[str, int | None], fixed: Collection[str] = ("public",), address: str = "127.0.0.1"
) -> dict[str, int]:
    """Return a port for each name in `given`, remembered in the folder so that links stay good over restarts.

    A number given counts; 0 asks for a new one; None means the remembered one, else a free one. A port that
    was given, or is remembered under a name in `fixed`, must be free (PortTakenError); the others are chosen
    anew when they are taken.
    """
    path = state_dir / "ports.json"
    try:
        remembered: dict[str, int] = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        remembered = {}
    chosen: dict[str, int] = {}
    for name, number in given.items():
        host = address if name in fixed else "127.0.0.1"
        wanted = remembered.get(name) if number is None else number
        if wanted and is_free(wanted, host):
            chosen[name] = wanted
        elif wanted and (number or name in fixed):
            raise PortTakenError(port_sentence(wanted, remembered_only=not number))
        else:
            chosen[name] = free_port(host, avoid=chosen.values())
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(remembered | chosen), encoding="utf-8")
    temporary.replace(path)
    return chosen


def is_free(port: int, address: str = "127.0.0.1") -> bool:
    """Return whether the port can be listened on now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError:
            return False
    return True


def free_port(address: str = "127.0.0.1", avoid: Collection[int] = ()) -> int:
    """Return a port that nobody listens on now."""
    while True:
        with socket.socket() as probe:
            probe.bind((address, 0))
            port: int = probe.getsockname()[1]
        if port not in avoid:
            return port


def port_sentence(port: int, *, remembered_only: bool) -> str:
    """Return the sentence about a taken port: who has it, and what to type."""
    owner = port_owner(port)
    by = f" by {owner}" if owner else ""
    kept = ", which this folder's links name," if remembered_only else ""
    return f"Port {port}{kept} is taken{by}. End that, or choose another port: dure up --port {free_port()}"


def port_owner(port: int) -> str:
    """Return "process 123 (name)" for whoever listens on the port, "" where the system does not tell us."""
    with suppress(psutil.Error, OSError):
        for connection in psutil.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr and connection.laddr.port == port:
                if connection.pid is None:
                    return "another account's process"
                return f"process {connection.pid} ({psutil.Process(connection.pid).name()})"
    return ""
