"""Whether anybody else's code may run on the person's objects while they are pickled.

The one trap: a thread that waits may wake at any moment. So a thread is harmless only by where it comes from, or if it
sleeps for certain: one that waits for a lock without a time-out is woken by Python code that releases the lock, and
where all other threads sleep, too, none runs such code. That all slept on is checked afterwards, by their CPU time.
"""

from __future__ import annotations

import platform
import signal
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_TOOLS = 6  # of sys.monitoring
# whose signal handlers never touch the person's objects
HANDLING = {"IPython", "asyncio", "dure", "ipykernel", "jupyter_client", "_signal", "tornado"}
# where threads come from that never touch the person's objects: the module of their class, or of what they run
HARMLESS = {
    "IPython.core.history",
    "dure.notebook.comms",
    "dure.notebook.sessions.saving",
    "dure.notebook.watching",
    "ipykernel.control",
    "ipykernel.heartbeat",
    "ipykernel.iostream",
    "ipykernel.parentpoller",
    "ipykernel.shellchannel",
    "tqdm._monitor",
}
# threads of process pools: without a task they only watch their workers, and the person's callbacks wait for a result
_MANAGERS = {"concurrent.futures.process", "joblib.externals.loky.process_executor"}
_OURS = ("dure-capture_", "dure-hash_")  # threads of pools, by their names
_FUTEX = {"x86_64": "202", "aarch64": "98"}  # number of the system call
_THREADS_CLOCK = 6  # CPUCLOCK_PERTHREAD_MASK | CPUCLOCK_SCHED: clock_getcpuclockid(3), of one thread
# the operation in which glibc's semaphores wait, which are Python's locks; its mutexes wait in another
_WAIT_BITSET = 9


@dataclass(frozen=True, slots=True)
class Alone:
    """The threads that sleep, by their number, with the CPU time that they have had, in ns."""

    asleep: dict[int, int]

    def still(self) -> bool:
        """Tell whether all of them have slept since."""
        return all(_ran_ns(number) == ran_ns for number, ran_ns in self.asleep.items())


def alone() -> Alone | None:
    """Tell whether nobody else's code can run while this thread runs none but ours: no thread, no signal, no debugger.
    Ask what is returned again afterwards.
    """
    if sys.gettrace() is not None or sys.getprofile() is not None:
        return None
    monitoring = getattr(sys, "monitoring", None)
    if monitoring is not None and any(monitoring.get_tool(number) for number in range(_TOOLS)):
        return None
    handlers = [handler for handler in map(signal.getsignal, signal.valid_signals()) if callable(handler)]
    if any((getattr(one, "__module__", "") or "").partition(".")[0] not in HANDLING for one in handlers):
        return None
    threads = {thread.ident: thread for thread in threading.enumerate()}
    frames = sys._current_frames()  # noqa: SLF001 - it has no other name
    frames.pop(threading.get_ident(), None)
    asleep = {}
    for ident, frame in frames.items():
        thread = threads.get(ident)
        if _begun_in(frame, type(thread).__module__ if thread is not None else "") in HARMLESS:
            continue
        if thread is None or thread.native_id is None:
            return None
        if not thread.name.startswith(_OURS):
            asleep[thread.native_id] = thread
    found = Alone({number: _ran_ns(number) for number in asleep})
    # looking at one lets others run: only if all have slept through all the looks have they slept at the same time
    return found if all(map(_sleeps, asleep.values())) and found.still() else None


def _sleeps(thread: threading.Thread) -> bool:
    """Tell whether none but Python code of somebody who is awake can wake a thread."""
    if type(thread).__module__ in _MANAGERS:
        return getattr(thread, "pending_work_items", None) == {}
    try:
        call = Path(f"/proc/self/task/{thread.native_id}/syscall").read_text(encoding="ascii").split()
    except OSError:
        return False
    if len(call) < 5 or call[0] != _FUTEX.get(platform.machine()):
        return False
    _, _, operation, _, timeout = call[:5]
    return int(operation, 16) & 0x7F == _WAIT_BITSET and int(timeout, 16) == 0


def _ran_ns(number: int) -> int:
    """Return the CPU time that a thread of this process has had; -1 when it has ended."""
    try:
        return time.clock_gettime_ns((~number << 3) | _THREADS_CLOCK)
    except OSError:
        return -1


def _begun_in(frame: Any, name: str) -> str:
    """Return the module of a thread's class, of a plain one that in which its work begins."""
    if name not in ("", "threading"):
        return name
    while frame is not None:
        here = frame.f_globals.get("__name__", "")
        name = name if here == "threading" else here
        frame = frame.f_back
    return name
