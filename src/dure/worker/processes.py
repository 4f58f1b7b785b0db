"""Finds, marks and ends the processes of an attempt, also when everybody who knew them is dead.

Three nets hold them: the runner and the fork server are child subreapers, so daemons come back to them; the user
process dies with its runner (PR_SET_PDEATHSIG); and `sweep` finds what is left by session, cgroup and by the mark
DURE_ATTEMPT_ID in /proc/PID/environ. The trap: a forked process shows the environment of its *first* program there,
so `mark_environ` overwrites that block in place.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import json
import os
import re
import signal
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PROCESSES_FILE = "processes.json"
_CLAIM = "runner.json"
MARK_BYTES = 256
RECORD_BYTES = 1024 * 1024

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_LINE_BUFFERED = 1  # _IOLBF
SWEEP_S = 5.0
_LINUX = sys.platform.startswith("linux")
_DESCRIPTORS = "/proc/self/fd" if _LINUX else "/dev/fd"
_CHILDREN = Path("/proc/self/task", str(os.getpid()), "children").exists()
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Process:
    """One line of the process table. `ticks` is its start time in the kernel's clock ticks since boot."""

    pid: int
    ppid: int
    group: int
    session: int
    state: str
    ticks: int


def process(pid: int) -> Process | None:
    """Return what the kernel knows of `pid`, None when there is no such process (a zombie still is one)."""
    if not _LINUX:
        return _process_elsewhere(pid)
    try:
        with open(f"/proc/{pid}/stat", "rb") as stat:  # noqa: PTH123 -- pathlib doubles the cost of a scan
            fields = stat.read().rpartition(b")")[2].split()
    except OSError:
        return None
    return Process(pid, int(fields[1]), int(fields[2]), int(fields[3]), fields[0].decode(), int(fields[19]))


def _process_elsewhere(pid: int) -> Process | None:
    import psutil

    try:
        found = psutil.Process(pid)
        state = "Z" if found.status() == psutil.STATUS_ZOMBIE else "R"
        ticks = int(found.create_time() * 100)
        return Process(pid, found.ppid(), os.getpgid(pid), os.getsid(pid), state, ticks)
    except (psutil.Error, OSError):
        return None


def start_ticks(pid: int) -> int:
    """Return the start time of `pid` in clock ticks since boot, 0 when it is gone. (pid, ticks) names it for good."""
    found = process(pid)
    return found.ticks if found else 0


def alive(pid: int, ticks: int) -> bool:
    """Return whether the process that was `pid` with this start time still runs; a zombie does not."""
    found = process(pid)
    return found is not None and found.ticks == ticks and found.state not in "ZX"


def table() -> dict[int, Process]:
    """Return every process of the machine that can be seen, by pid."""
    if _LINUX:
        pids: Iterable[int] = (int(name) for name in os.listdir("/proc") if name.isdigit())  # noqa: PTH208 -- as above
    else:
        import psutil

        pids = psutil.pids()
    return {found.pid: found for found in map(process, pids) if found}


def descendants(roots: Iterable[int], processes: dict[int, Process]) -> set[int]:
    """Return the pids below `roots` in the table, without the roots themselves."""
    children: dict[int, list[int]] = {}
    for found in processes.values():
        children.setdefault(found.ppid, []).append(found.pid)
    below: set[int] = set()
    todo = list(roots)
    while todo:
        for pid in children.get(todo.pop(), ()):
            if pid not in below:
                below.add(pid)
                todo.append(pid)
    return below


def descriptors() -> set[int]:
    """Return this process's open descriptors, without the one by which they were listed."""
    listed = os.listdir(_DESCRIPTORS)  # noqa: PTH208 -- as above
    return {int(name) for name in listed if os.path.lexists(f"{_DESCRIPTORS}/{name}")}


def own_children() -> set[int]:
    """Return the pids of this process's direct children, orphans that came back to it included."""
    found = _children(os.getpid())
    return {one.pid for one in table().values() if one.ppid == os.getpid()} if found is None else found


def end_children() -> None:
    """Kill and reap all that descends from this process, a subreaper: what dies hands its children to it."""
    deadline = time.monotonic() + SWEEP_S
    while time.monotonic() < deadline:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid:
            continue
        left = own_children()
        for child in left | descendants(left, table()):
            kill(child)
        time.sleep(0.001)


def tree(root: int) -> set[int]:
    """Return `root` and the pids below it: the kernel's lists of children are followed, not the whole table read."""
    found, todo = {root}, [root]
    while todo:
        children = _children(todo.pop())
        if children is None:
            return found | descendants([root], table())
        todo += children - found
        found |= children
    return found


def _children(pid: int) -> set[int] | None:
    """Return the children of all threads of a process, none when it is gone; None where the kernel keeps no lists."""
    if not _CHILDREN:
        return None
    found: set[int] = set()
    with contextlib.suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208 -- as above
            with contextlib.suppress(OSError), open(f"/proc/{pid}/task/{thread}/children", "rb") as file:  # noqa: PTH123
                found.update(map(int, file.read().split()))
    return found


def become_subreaper() -> bool:
    """Let orphaned descendants become this process's children; False where the system has no such thing."""
    return _LINUX and _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0


def die_with(parent: int) -> None:
    """Ask the kernel to SIGKILL this process when `parent` dies; exits at once when it is dead already."""
    if _LINUX:
        _libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent:  # it died between the fork and the prctl
        os._exit(137)


def print_by_lines() -> None:
    """Let what compiled code prints leave with each line, as in a terminal, and not when 4 KiB have gathered."""
    with contextlib.suppress(ValueError):  # another system's C library has no such name
        _libc.setvbuf(ctypes.c_void_p.in_dll(_libc, "stdout"), None, _LINE_BUFFERED, 0)


def flush_compiled() -> None:
    """Let what compiled code has printed leave; ending by `os._exit` would drop it.

    Other C files are left alone: `fflush(NULL)` would wait for the lock of one that a thread reads from.
    """
    with contextlib.suppress(ValueError):
        _libc.fflush(ctypes.c_void_p.in_dll(_libc, "stdout"))


def kill(pid: int, number: int = signal.SIGKILL) -> None:
    """Send a signal, by default SIGKILL; no error when the process is gone or is not ours to signal."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def kill_group(group: int, number: int) -> None:
    """Send a signal to a process group; no error when there is none."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def environ_block() -> tuple[int, int]:
    """Return address and size of the environment block this program was started with, (0, 0) when unknown."""
    try:
        fields = Path("/proc/self/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return 0, 0
    start, end = int(fields[47]), int(fields[48])
    return (start, end - start) if end > start > 0 else (0, 0)


def mark_environ(marks: dict[str, str]) -> bool:
    """Overwrite the initial environment block, so that /proc/PID/environ shows `marks` and nothing else.

    Call it after the variables were replaced (`os.environ` then points elsewhere). False when they do not fit.
    """
    start, size = environ_block()
    text = b"".join(f"{name}={value}".encode() + b"\0" for name, value in marks.items())
    if not start or len(text) > size:
        return False
    ctypes.memset(start, 0, size)
    ctypes.memmove(start, text, len(text))
    return True


def attempt_id(folder: Path) -> str:
    """Return what marks this attempt alone: another platform on the machine may have a job of the same name."""
    return hashlib.blake2b(os.fsencode(os.path.realpath(folder)), digest_size=8).hexdigest()


def _marked(pid: int, mark: bytes) -> bool:
    try:
        with open(f"/proc/{pid}/environ", "rb") as environ:  # noqa: PTH123 -- as above
            return mark in environ.read().split(b"\0")
    except OSError:
        return False


def read_record(path: Path) -> dict[str, Any]:
    """Return the JSON object in a small file, {} when it is missing or torn; links and pipes count as missing."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            content = json.loads(file.read(RECORD_BYTES))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def claim(folder: Path) -> bool:
    """Note that this process runs the attempt in `folder`; False when some other does."""
    draft = folder / f".runner.{os.getpid()}"
    draft.write_text(json.dumps({"pid": os.getpid(), "start_ticks": start_ticks(os.getpid())}))
    try:
        os.link(draft, folder / _CLAIM)  # fails when it exists, as O_EXCL does, but is never half written
    except FileExistsError:
        return False
    finally:
        draft.unlink(missing_ok=True)
    return True


def read_claim(folder: Path) -> dict[str, int]:
    """Return the pid and start_ticks of the runner that claimed the folder, {} when it names none."""
    record = read_record(folder / _CLAIM)
    pid, ticks = record.get("pid"), record.get("start_ticks")
    return {"pid": pid, "start_ticks": ticks} if isinstance(pid, int) and isinstance(ticks, int) else {}


def runner_alive(folder: Path) -> bool:
    """Return whether the runner that claimed this attempt folder still runs."""
    runner = read_claim(folder)
    return bool(runner) and alive(runner["pid"], runner["start_ticks"])


def sweep(folder: Path, *, runner_too: bool = False) -> list[int]:
    """Kill what an attempt left behind and return the pids that were killed.

    The folder may be another account's, whose records may name any process: only that account's own are killed.

    Does nothing while the attempt's runner lives (it cleans up itself), unless `runner_too`. Bounded to 5 seconds.
    """
    folder = Path(folder)
    runner = read_claim(folder)
    killed: list[int] = []
    try:
        owner = folder.stat().st_uid
    except FileNotFoundError:
        return killed
    if runner_alive(folder):
        if not runner_too:
            return killed
        if belongs(runner["pid"], owner):
            kill(runner["pid"])
            killed.append(runner["pid"])
    deadline = time.monotonic() + SWEEP_S
    while time.monotonic() < deadline:
        left = {pid for pid in _left_behind(folder, runner) if belongs(pid, owner)}
        if not left:
            break
        for pid in left:
            kill(pid)
            if pid not in killed:
                killed.append(pid)
        time.sleep(0.01)  # a killed process needs a moment to leave the table
    for record in _records(folder):
        group = record.get("cgroup")
        if isinstance(group, str) and re.fullmatch(rf"dure-{re.escape(folder.name)}(-\d+)?", Path(group).name):
            with contextlib.suppress(OSError):
                Path(group).rmdir()
    return killed


def belongs(pid: int, uid: int) -> bool:
    """Return whether the process may be ended for the account `uid`: any process that we can, when that is ours."""
    if uid == os.geteuid() or not _LINUX:
        return True
    try:
        lines = Path(f"/proc/{pid}/status").read_text(errors="replace").splitlines()
    except OSError:
        return False  # gone
    return any(line.startswith("Uid:") and line.split()[1] == str(uid) for line in lines)


def _records(folder: Path) -> list[dict[str, Any]]:
    """Return what is on record of each rank's process."""
    first = read_record(folder / PROCESSES_FILE)
    others = first.get("others")
    return [first, *(one for one in others if isinstance(one, dict))] if isinstance(others, list) else [first]


def _left_behind(folder: Path, runner: dict[str, int]) -> set[int]:
    mark = f"DURE_ATTEMPT_ID={attempt_id(folder)}".encode()
    processes = {pid: found for pid, found in table().items() if found.state not in "ZX"}
    ours: set[int] = set()
    sessions: dict[int, int] = {}
    for record in _records(folder):
        ours.update(_cgroup_members(record.get("cgroup")))
        session, since = record.get("user_pid"), record.get("user_ticks")
        if isinstance(session, int) and isinstance(since, int):
            leader = processes.get(session)
            if leader is None or leader.ticks == since:  # else the number belongs to somebody else by now
                sessions[session] = since
    for found in processes.values():
        since = sessions.get(found.session)
        if (since is not None and found.ticks >= since) or _marked(found.pid, mark):
            ours.add(found.pid)
    ours |= descendants(ours, processes)
    if runner and alive(runner["pid"], runner["start_ticks"]):
        ours.add(runner["pid"])
    return (ours & processes.keys()) - {os.getpid(), 1}


def _cgroup_members(path: object) -> list[int]:
    if not isinstance(path, str):
        return []
    try:
        return [int(pid) for pid in (Path(path) / "cgroup.procs").read_text().split()]
    except OSError:
        return []
