"""One plain sentence for every reason, help and event, in English and Korean, made from codes and their numbers.

Nothing here is ever stored. The trap: data of other versions lacks keys or has new ones; what is absent is not told,
and an unknown code is told by its name, but no sentence ever fails.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType
from typing import Any

from dure.core import spoken_english, spoken_forecasts, spoken_korean
from dure.core.events import Event
from dure.core.reasons import Verdict
from dure.core.wording import Told, duration, gpus, money

__all__ = [
    "duration",
    "ended_sentence",
    "event_sentence",
    "gpus",
    "help_sentence",
    "money",
    "verdict_sentence",
]


def verdict_sentence(verdict: Verdict, lang: str, currency: str = "KRW") -> str:
    """Return why a job waits and, after a semicolon, the first thing that would help."""
    sentence: str = _spoken(lang).waiting(str(verdict.code), verdict.position, Told(verdict.data), currency)
    useful = [clause for told in verdict.helps if (clause := _helping(told, lang, currency)) and _tells(told)]
    return f"{sentence}; {useful[0]}." if useful else f"{sentence}."


def help_sentence(told: Mapping[str, Any], lang: str, currency: str = "KRW") -> str:
    """Return one thing that would help, as a sentence."""
    clause = _helping(told, lang, currency)
    return f"{clause[:1].upper()}{clause[1:]}."


def ended_sentence(code: str, data: Mapping[str, Any], lang: str, currency: str = "KRW") -> str:
    """Return why a job failed, was cancelled or went back to the queue."""
    clause: str = _spoken(lang).ended(str(code), Told(data), currency)
    return f"{clause}."


def event_sentence(event: Event, lang: str, currency: str = "KRW") -> str:
    """Return one entry of the log as a sentence."""
    told = Told({**event.data, "actor": event.actor, "subject": event.subject})
    clause: str = _spoken(lang).happened(event.kind, told, currency)
    return f"{clause}."


def _helping(told: Mapping[str, Any], lang: str, currency: str) -> str:
    """Return what would help, as a clause: what was found by trying it, or what the plan itself shows."""
    if told.get("found"):
        return spoken_forecasts.helping(Told(told), currency, lang)
    clause: str = _spoken(lang).helping(Told(told), currency)
    return clause


def _spoken(lang: str) -> ModuleType:
    return spoken_korean if lang.startswith("ko") else spoken_english


def _tells(told: Mapping[str, Any]) -> bool:
    """Return whether a help says more than to wait."""
    return told.get("code") != "wait"
