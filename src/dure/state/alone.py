"""Whether anybody else's code may run on the person's objects before their next cell does.

The one trap: a thread that waits may be woken by another one at any moment, so what counts is where a thread comes
from, not what it does just now.
"""

from __future__ import annotations

import signal
import sys
import threading
from typing import Any

_TOOLS = 6  # of sys.monitoring
# whose signal handlers never touch the person's objects
HANDLING = {"IPython", "asyncio", "dure", "ipykernel", "jupyter_client", "_signal", "tornado"}
# where threads come from that never touch the person's objects: the module of their class, or of what they run
HARMLESS = {
    "IPython.core.history",
    "dure.notebook.comms",
    "dure.notebook.session_saving",
    "ipykernel.control",
    "ipykernel.heartbeat",
    "ipykernel.iostream",
    "ipykernel.parentpoller",
    "ipykernel.shellchannel",
    "tqdm._monitor",
}


def alone() -> bool:
    """Tell whether nobody else's code can run until the person's next cell: no thread, no signal, no debugger."""
    if sys.gettrace() is not None or sys.getprofile() is not None:
        return False
    monitoring = getattr(sys, "monitoring", None)
    if monitoring is not None and any(monitoring.get_tool(number) for number in range(_TOOLS)):
        return False
    handlers = [handler for handler in map(signal.getsignal, signal.valid_signals()) if callable(handler)]
    if any((getattr(one, "__module__", "") or "").partition(".")[0] not in HANDLING for one in handlers):
        return False
    classes = {thread.ident: type(thread).__module__ for thread in threading.enumerate()}
    frames = sys._current_frames()  # noqa: SLF001 - it has no other name
    frames.pop(threading.get_ident(), None)
    return all(_begun_in(frame, classes.get(ident, "")) in HARMLESS for ident, frame in frames.items())


def _begun_in(frame: Any, name: str) -> str:
    """Return the module of a thread's class, of a plain one that in which its work begins."""
    if name not in ("", "threading"):
        return name
    while frame is not None:
        here = frame.f_globals.get("__name__", "")
        name = name if here == "threading" else here
        frame = frame.f_back
    return name
