"""Moments in the platform's sentences, written in this machine's own zone.

The trap: sentences come from the server, which knows no reader's zone; whatever shows one passes it through here.
"""

from __future__ import annotations

import re
from datetime import datetime

from dure.amounts import MOMENT, moment_at


def own_times(sentence: str) -> str:
    """Return a server's sentence with its moments in this machine's zone, without the date where that is today's."""
    return MOMENT.sub(_own_time, sentence)


def _own_time(found: re.Match[str]) -> str:
    try:
        own = datetime.fromtimestamp(moment_at(found[0])).astimezone()
    except (ValueError, OverflowError, OSError):
        return found[0]
    today = datetime.now().astimezone().date()
    return own.strftime("%H:%M" if own.date() == today else "%Y-%m-%d %H:%M")
