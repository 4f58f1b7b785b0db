"""The memory of this process as it was at one moment, kept while the person's next cell already changes it.

A forked child does nothing but keep the pages (the system copies those that are written afterwards), and its memory is
read from here through /proc. The one trap: a child would answer signals that are sent to the whole process group, and
outlive a parent that was killed, so it blocks the first and watches a pipe for the second.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import time
import warnings
from typing import NoReturn

_RETRY_S = 5.0  # how often a child looks whether its parent still lives, besides the pipe
_END_S = 1.0


class ForkedMemory:
    """All private memory of this process at the moment of `take`. Without `close` it holds the pages until the end."""

    def __init__(self, pid: int, pipe: int, memory: int) -> None:
        self._pid = pid
        self._pipe = pipe
        self._memory = memory

    @classmethod
    def take(cls) -> ForkedMemory | None:
        """Fork the child that keeps it; None where that cannot be: no Linux, no memory left, no /proc."""
        if sys.platform != "linux":
            return None
        reading, writing = os.pipe()
        parent = os.getpid()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Python and JAX warn of threads, none of which the child needs
                pid = os.fork()
            if pid == 0:
                _keep(reading, parent)
        except OSError:
            os.close(reading)
            os.close(writing)
            return None
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        os.close(reading)
        found = cls(pid, writing, -1)
        try:
            found._memory = os.open(f"/proc/{pid}/mem", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            found.close()
            return None
        return found

    def read(self, address: int, into: memoryview) -> memoryview:
        """Fill `into` with the bytes at an address, and return it. OSError where there is no private memory."""
        done = 0
        while done < into.nbytes:
            more = os.preadv(self._memory, [into[done:]], address + done)
            if not more:
                raise OSError(f"the memory at {address:#x} cannot be read")
            done += more
        return into

    def close(self) -> None:
        """Let the pages go; a second call does nothing."""
        if self._pid == 0:
            return
        pid, self._pid = self._pid, 0
        os.close(self._pipe)
        if self._memory >= 0:
            os.close(self._memory)
        with contextlib.suppress(ChildProcessError):  # someone else has waited for it
            until = time.monotonic() + _END_S
            while os.waitpid(pid, os.WNOHANG)[0] == 0:
                if time.monotonic() > until:  # another library's code after a fork hangs
                    os.kill(pid, signal.SIGKILL)
                    os.waitpid(pid, 0)
                    return
                time.sleep(0.001)

    def __del__(self) -> None:
        if not sys.is_finalizing():
            self.close()


def _keep(pipe: int, parent: int) -> NoReturn:
    """Be the child: hold no one's files, and end when the parent closes the pipe or is gone."""
    try:
        os.closerange(0, pipe)
        os.closerange(pipe + 1, os.sysconf("SC_OPEN_MAX"))
        while not select.select([pipe], [], [], _RETRY_S)[0] and os.getppid() == parent:
            pass
    finally:
        os._exit(0)
