"""What hangs on a kernel's end: the last save before it answers a request to end, and before SIGTERM ends it.

The trap: shutdown requests come on another thread than the one that runs cells, and only the latter looks at the
namespace.
"""

from __future__ import annotations

import contextlib
import inspect
import os
import signal
import sys
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dure.notebook.sessions.session import NotebookSession

GRACE_S = 20.0  # the last save may take so long; whoever stops the kernel may be less patient


class Uncut:
    """What SIGTERM must not cut short: a freeze that ended amid would be a save that nobody makes again."""

    def __init__(self) -> None:
        self._under_way = 0
        self._ends_after = False

    @contextlib.contextmanager
    def to_its_end(self) -> Iterator[None]:
        """Let SIGTERM wait for what is inside."""
        self._under_way += 1
        try:
            yield
        finally:
            self._under_way -= 1
            if self._ends_after and not self._under_way:
                os.kill(os.getpid(), signal.SIGTERM)

    def may_end(self) -> bool:
        """Whether SIGTERM may end the process now; if not, it comes again when it may."""
        self._ends_after = self._under_way > 0
        return not self._ends_after


def watch_shutdown(kernel: Any, watching: NotebookSession) -> None:
    """Save before the kernel answers a request to end, and remember when the person wants it to begin anew."""
    usual = kernel.do_shutdown

    async def do_shutdown(restart: bool) -> Any:  # noqa: FBT001 -- ipykernel's signature
        if restart and watching.journal is not None:
            watching.journal.fresh = True
        if not watching.running:
            await _on_shell_loop(kernel, watching.last_save)
        if watching.journal is not None:
            watching.journal.fresh |= restart  # the last save may have asked the platform again, with another journal
            watching.journal.write()
        answer = usual(restart)
        return await answer if inspect.isawaitable(answer) else answer

    kernel.do_shutdown = do_shutdown


async def _on_shell_loop(kernel: Any, step: Any) -> None:
    """Do `step` where cells run, from the loop of whatever thread took the request; give up after the grace."""
    import asyncio

    asking = asyncio.get_running_loop()
    done = asyncio.Event()

    def both() -> None:
        try:
            step()
        finally:
            asking.call_soon_threadsafe(done.set)

    kernel.io_loop.add_callback(both)
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(done.wait(), GRACE_S)


def watch_sigterm(watching: NotebookSession) -> None:
    """Save on SIGTERM, then die of it, as this process would have."""
    if threading.current_thread() is not threading.main_thread() or sys.platform == "win32":
        return
    if signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        return
    owner = os.getpid()

    def end(number: int, _frame: object) -> None:
        if os.getpid() == owner:  # a child that was forked from this kernel ends as ever
            if not watching.uncut.may_end():
                return
            watching.last_save()
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    signal.signal(signal.SIGTERM, end)
