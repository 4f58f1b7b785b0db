"""How money and spans of time are written for people, the same on both sides of the platform.

Imports nothing: server sentences and client lines both stand on it. The trap: a won has no smaller coin, so a cell
that cost less than one says "under ₩1" and never "₩0".
"""

from __future__ import annotations

_SIGNS = {"KRW": "₩", "USD": "$", "EUR": "€", "GBP": "£", "JPY": "¥"}
_WHOLE = ("KRW", "JPY")  # currencies without cents
_UNITS = ((86_400, "d", "일"), (3_600, "h", "시간"), (60, "min", "분"), (1, "s", "초"))
_MILLISECONDS = ("ms", "밀리초")


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
