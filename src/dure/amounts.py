"""How money, spans and moments are written for people, the same on both sides of the platform.

Server sentences and client lines both stand on it. The trap: a won has no smaller coin, so a cell that cost less than
one says "under ₩1" and never "₩0". A server knows no reader's zone: its sentences carry `moment`, and whoever shows
them, a terminal, a notebook or the portal, writes that moment in the reader's own zone.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime

_SIGNS = {"KRW": "₩", "USD": "$", "EUR": "€", "GBP": "£", "JPY": "¥"}
_WHOLE = ("KRW", "JPY")  # currencies without cents
_UNITS = ((86_400, "d", "일"), (3_600, "h", "시간"), (60, "min", "분"), (1, "s", "초"))
_MILLISECONDS = ("ms", "밀리초")

MOMENT = re.compile(r"(?<![A-Za-z0-9])\d{4}-\d\d-\d\dT\d\d:\d\dZ(?![A-Za-z0-9])")
"""A moment as `moment` writes it; a Korean particle may follow."""


def moment(at: float) -> str:
    """Return a moment for a sentence, to the minute, such as `2026-05-01T09:00Z`."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%MZ")


def moment_at(text: str) -> float:
    """Return the time of a moment that `moment` wrote, in seconds since the epoch."""
    return datetime.strptime(text, "%Y-%m-%dT%H:%MZ").replace(tzinfo=UTC).timestamp()


def money(amount: float | None, currency: str = "KRW", lang: str = "en") -> str:
    """Return an amount such as `₩3,200`, `3,200원`, `$1.25`; what is less than the smallest coin says so."""
    value = amount or 0.0
    digits = 0 if currency in _WHOLE else 2
    smallest = 10.0**-digits
    tiny = 0 < value < smallest / 2
    number = f"{smallest if tiny else value:,.{digits}f}"
    if currency == "KRW" and lang == "ko":
        return f"{number}원 미만" if tiny else f"{number}원"
    sign = _SIGNS.get(currency)
    told = f"{sign}{number}" if sign else f"{number} {currency}"
    if not tiny:
        return told
    return f"{told} 미만" if lang == "ko" else f"under {told}"


def duration(seconds: float | None, lang: str = "en") -> str:
    """Return a span such as `20 ms`, `0.4 s`, `3 s`, `2 min 5 s`, `1 h 5 min`; two units at most."""
    value = max(0.0, seconds or 0.0)
    index = 2 if lang == "ko" else 1
    space = "" if lang == "ko" else " "
    if 0.0005 <= value < 0.05:
        return f"{value * 1000:.0f}{space}{_MILLISECONDS[index - 1]}"
    if 0.05 <= value < 0.95:
        return f"{value:.1f}{space}{_UNITS[-1][index]}"
    left = round(value)
    words = []
    for unit in _UNITS:
        amount, left = divmod(left, unit[0])
        if amount:
            words.append(f"{amount}{space}{unit[index]}")
        elif words:
            break
        if len(words) == 2:
            break
    return " ".join(words) or f"0{space}{_UNITS[-1][index]}"
