"""How people write spans and moments of time: "90s", "1h30m", "18:00", an ISO time.

The trap: clock times are the user's own (the local zone of the kernel or shell), while a request carries seconds since
the epoch.
"""

from __future__ import annotations

import math
import re
from datetime import datetime, timedelta
from typing import Any

from dure.client.errors import failure

MAX_SPAN_S = 3650 * 86400.0  # ten years; what lies beyond is a slip of the finger
_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|s|min|m|h|d))+")
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|min|m|h|d)")
_CLOCK = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)(?::([0-5]\d))?")


def parse_duration(text: str, *, option: str = "--timeout", lang: str = "en") -> float:
    """Return seconds for "90", "90s", "5m", "1h30m" or "2d"; raises DureError `invalid_option`."""
    seconds = _seconds(text)
    if seconds is None:
        expected = "90s, 5m, 1h30m 같은 시간" if lang == "ko" else "a time such as 90s, 5m or 1h30m"
        raise failure("invalid_option", lang, option=option, value=text, expected=expected)
    return seconds


def parse_deadline(text: str, now: float, *, lang: str = "en") -> tuple[float, str | None]:
    """Return seconds since the epoch for a clock time, a duration from `now` or an ISO time, and a note or None.

    A clock time that has passed today means tomorrow, which the note says. Raises DureError `invalid_option`.
    """
    clean = text.strip()
    clock = _CLOCK.fullmatch(clean)
    if clock:
        return _next_time(clean, [int(part or 0) for part in clock.groups()], now, lang)
    seconds = _seconds(clean)
    if seconds:
        return now + seconds, None
    try:
        when = datetime.fromisoformat(clean) if len(clean) > len("2026-05-01") else None
        at = when.timestamp() if when else 0.0
    except (ValueError, OverflowError, OSError):
        at = 0.0
    if at <= now:
        expected = (
            "18:00, 2h 또는 2026-05-01T18:00처럼 미래의 시각"
            if lang == "ko"
            else "a time to come: 18:00, 2h or 2026-05-01T18:00"
        )
        raise failure("invalid_option", lang, option="--deadline", value=text, expected=expected)
    return at, None


def _next_time(text: str, clock: list[int], now: float, lang: str) -> tuple[float, str | None]:
    today = datetime.fromtimestamp(now).astimezone().replace(tzinfo=None)
    when = today.replace(hour=clock[0], minute=clock[1], second=clock[2], microsecond=0)
    if when.timestamp() > now:
        return when.timestamp(), None
    when += timedelta(days=1)
    shown = when.strftime("%Y-%m-%d %H:%M")
    note = f"{text} has passed today, so the deadline is tomorrow, {shown}."
    if lang == "ko":
        note = f"오늘 {text} 시각은 이미 지났으므로 마감은 내일 {shown}입니다."
    return when.timestamp(), note


def deadline_of(value: Any, now: float, lang: str) -> tuple[float, str | None]:
    """As `parse_deadline`, for Python's own times too."""
    if isinstance(value, timedelta):
        return parse_deadline(f"{value.total_seconds()}s", now, lang=lang)
    if isinstance(value, datetime):
        return parse_deadline(value.isoformat(), now, lang=lang)
    return parse_deadline(str(value), now, lang=lang)


def _seconds(text: str) -> float | None:
    clean = text.strip().lower().replace(" ", "")
    bare = number_of(clean)
    if bare is not None:
        return bare if 0 <= bare <= MAX_SPAN_S else None
    if not _DURATION.fullmatch(clean):
        return None
    seconds = sum(float(number) * _UNITS_S[unit] for number, unit in _DURATION_PART.findall(clean))
    return seconds if seconds <= MAX_SPAN_S else None


def number_of(value: Any) -> float | None:
    """Return the finite number that `value` is or says, else None."""
    if isinstance(value, bool):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None
