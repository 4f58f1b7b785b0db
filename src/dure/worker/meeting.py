"""Where the processes of a job over several nodes meet: a port that stays theirs until rank 0 listens on it.

The port is chosen outside of those that the kernel gives to programs that ask for any, and whoever has chosen it holds
a name in the kernel that stands for it, which goes with its process. The trap: the port itself must not be bound here,
because rank 0 may bind it without SO_REUSEADDR.
"""

from __future__ import annotations

import contextlib
import os
import random
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dure.worker.spec import SpecError

_FIRST, _LAST = 15_000, 29_999  # above what services have by custom, below Kubernetes' node ports
_EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")
_TRIES = 200


@dataclass(frozen=True, slots=True)
class Meeting:
    """A port of this machine, and what keeps other jobs from choosing it while it is open."""

    port: int
    hold: socket.socket


def arrange(ports: Sequence[int] = ()) -> Meeting:
    """Return a free port of `ports` (any outside the kernel's own range when empty); SpecError when there is none."""
    among = ports or _outside()
    order = random.Random(os.getpid())  # noqa: S311 -- forks of one server would else all try the same ports
    for port in order.sample(among, min(_TRIES, len(among))):
        with contextlib.suppress(OSError):
            return Meeting(port, _held(port))
    raise SpecError(
        f"None of {min(_TRIES, len(among))} ports of this machine is free for the job's processes to meet. "
        "Run it again when other jobs have ended."
    )


def _outside() -> range:
    """Return the ports that nobody is given who asks for any."""
    try:
        low, high = (int(part) for part in _EPHEMERAL.read_text(encoding="ascii").split())
    except (OSError, ValueError):
        return range(_FIRST, _LAST + 1)
    below, above = range(_FIRST, min(_LAST + 1, low)), range(max(high + 1, _FIRST), 65_536)
    return max(below, above, range(_FIRST, _LAST + 1) if not (below or above) else range(0), key=len)


def _held(port: int) -> socket.socket:
    """Return what stands for the port while it is open; OSError when another has it, or something listens there."""
    hold = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        hold.bind(f"\0dure-port-{port}")
        with socket.socket() as probe:
            probe.bind(("", port))
    except OSError:
        hold.close()
        raise
    return hold
