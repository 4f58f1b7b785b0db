"""When Python looks for garbage in cycles while the control plane serves: seldom, and all of it by a chore (`watch`).

A long queue is a million objects that live on; looking through them after every 700 new ones would double a decision.
The trap: what was promoted and then dropped (the decider before a reload, which is a cycle) goes with a full pass only,
and with these thresholds none comes by itself for a day: without the chore memory grows.
"""

from __future__ import annotations

import gc

_AFTER_OBJECTS = 50_000


def look_seldom() -> None:
    """Set what is there now aside for good, and look for cycles only after many new objects."""
    gc.freeze()
    gc.set_threshold(_AFTER_OBJECTS, 20, 100)


def look_through() -> None:
    """Make a full pass now: some 0.1 s with 10,000 waiting jobs."""
    gc.collect()
