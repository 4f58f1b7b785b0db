"""The languages that Dure speaks, and which of them a person reads. The trap: browsers send several, with weights."""

from __future__ import annotations

LANGUAGES = ("en", "ko")
LANGUAGE_COOKIE = "dure-lang"  # what a reader chose on a page
_LOOKED_AT = 20


def chosen_language(chosen: str | None, accepted: str) -> str:
    """Return what a person chose, when we speak it; else what `accepted` (Accept-Language) prefers; else English."""
    if chosen in LANGUAGES:
        return chosen
    best, best_weight = LANGUAGES[0], 0.0
    for part in accepted.split(",")[:_LOOKED_AT]:
        tag, _, parameter = part.strip().lower().partition(";")
        name, weight = tag.partition("-")[0], _weight(parameter)
        if name in LANGUAGES and weight > best_weight:
            best, best_weight = name, weight
    return best


def _weight(parameter: str) -> float:
    name, _, value = parameter.strip().partition("=")
    try:
        return float(value) if name == "q" else 1.0
    except ValueError:
        return 0.0
