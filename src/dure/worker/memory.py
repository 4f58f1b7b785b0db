"""Holds a job to its memory limit: by a cgroup (v1 or v2) where one may be made, else by watching the process tree.

The trap: a user process is forked from a server full of imported libraries, and so are its own children; summing RSS
counts those shared pages many times. RSS is only the cheap first look, PSS (shared pages divided) decides.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from dure.worker.processes import tree

_POLL_S = (0.1, 1.0)
_FILL_BYTES_S = 4 * 2**30  # how fast a job is taken to fill memory: with much left it is looked at less often
_CGROUPS = Path("/sys/fs/cgroup")


class MemoryLimit:
    """The limit of one user process; `over()` says whether it was broken, `again_s` when to ask for it next."""

    def __init__(self, limit_bytes: int, group: Path | None, kills_file: str = "") -> None:
        self.limit_bytes = limit_bytes
        self.group = group
        self._kills_file = kills_file
        self.again_s = _POLL_S[0]

    def join(self) -> None:
        """Put the calling process, and all it will fork, under the limit."""
        if self.group:
            with contextlib.suppress(OSError):
                (self.group / "cgroup.procs").write_text("0")

    def over(self, root: int) -> bool:
        """Return whether the tree below `root` (included) has used more than it may, and note when to ask again."""
        self.again_s = _POLL_S[0]
        if self.group:
            return self.killed()
        pids = tree(root)
        left_bytes = self.limit_bytes - sum(_resident_bytes(pid) for pid in pids)
        if left_bytes >= 0:
            self.again_s = min(max(left_bytes / _FILL_BYTES_S, _POLL_S[0]), _POLL_S[1])
            return False
        return sum(_proportional_bytes(pid) for pid in pids) > self.limit_bytes

    def killed(self) -> bool:
        """Return whether the kernel has ended a process of the cgroup for its memory."""
        return self.group is not None and _oom_kills(self.group / self._kills_file) > 0

    def close(self) -> None:
        """Remove the cgroup; its processes must be gone."""
        if self.group:
            with contextlib.suppress(OSError):
                self.group.rmdir()


def limit_memory(name: str, limit_bytes: int, *, cgroups: bool) -> MemoryLimit:
    """Return the limit of a user process, by a cgroup of this name where this account may make one."""
    for version in (_version_2, _version_1) if cgroups else ():
        with contextlib.suppress(OSError):
            return version(name, limit_bytes)
    return MemoryLimit(limit_bytes, None)


def _version_2(name: str, limit_bytes: int) -> MemoryLimit:
    group = _CGROUPS / _own_group("") / name
    if not (_CGROUPS / "cgroup.controllers").exists():
        raise FileNotFoundError(group)
    _make(group, "memory.max", limit_bytes, "memory.swap.max", 0)
    return MemoryLimit(limit_bytes, group, "memory.events")


def _version_1(name: str, limit_bytes: int) -> MemoryLimit:
    group = _CGROUPS / "memory" / _own_group("memory") / name
    _make(group, "memory.limit_in_bytes", limit_bytes, "memory.memsw.limit_in_bytes", limit_bytes)
    return MemoryLimit(limit_bytes, group, "memory.oom_control")


def _own_group(controller: str) -> str:
    """Return the cgroup of this process, of version 2 without a controller's name. OSError where there is none."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controller in controllers.split(",") if controller else controllers == "":
            return path.lstrip("/")
    raise FileNotFoundError(controller)


def _make(group: Path, limit: str, limit_bytes: int, swap: str, swap_bytes: int) -> None:
    """Make a cgroup with a limit in each of two files, by name; OSError where it cannot be limited."""
    group.mkdir(exist_ok=True)
    try:
        (group / limit).write_text(str(limit_bytes))
    except OSError:  # the controller is not handed down to us
        group.rmdir()
        raise
    with contextlib.suppress(OSError):
        (group / swap).write_text(str(swap_bytes))


def _oom_kills(events: Path) -> int:
    with contextlib.suppress(OSError):
        for line in events.read_text().splitlines():
            name, _, number = line.partition(" ")
            if name == "oom_kill":
                return int(number)
    return 0


def _resident_bytes(pid: int) -> int:
    with contextlib.suppress(OSError, IndexError):
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    if not Path("/proc/self/statm").exists():
        import psutil

        with contextlib.suppress(psutil.Error):
            return int(psutil.Process(pid).memory_info().rss)
    return 0


def _proportional_bytes(pid: int) -> int:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return _resident_bytes(pid)
