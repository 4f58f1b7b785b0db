"""How numbers, money, time and names are written in English and Korean sentences, and Korean's particles.

The trap: a particle follows the sound of the word before it, and most of our words are Latin letters and digits; those
are read as Koreans read them (gold: 골드, j-7: 칠).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dure.amounts import duration, money
from dure.core.model import WHOLE_GPU_MILLI

__all__ = ["Told", "amount_of", "duration", "gpus", "josa", "money", "ordinal"]

_DIGITS_WITH_FINAL = "013678"
_DIGITS_WITH_L = "178"
_VOWELS = "aeiouy"


class Told:
    """Data of a verdict or event, read so that what is absent or odd is simply not told."""

    def __init__(self, data: Mapping[str, Any] | None) -> None:
        self._data: Mapping[str, Any] = data if isinstance(data, Mapping) else {}

    def __contains__(self, key: str) -> bool:
        return self._data.get(key) is not None

    def text(self, key: str, otherwise: str = "") -> str:
        """Return the value as text, or `otherwise` when it is absent or empty."""
        value = self._data.get(key)
        return otherwise if value is None or value == "" else " ".join(str(value).split())

    def number(self, key: str) -> float | None:
        """Return the value when it is a number."""
        value = self._data.get(key)
        return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None

    def count(self, key: str) -> int:
        """Return the value as a whole number, 0 when it is absent."""
        return int(self.number(key) or 0)

    def names(self, key: str) -> list[str]:
        """Return a list of texts."""
        value = self._data.get(key)
        return [str(item) for item in value] if isinstance(value, list | tuple) else []

    def parts(self, key: str) -> list[Told]:
        """Return a list of mappings."""
        value = self._data.get(key)
        return [Told(item) for item in value] if isinstance(value, list | tuple) else []

    def part(self, key: str) -> Told:
        """Return a mapping, empty when it is absent."""
        return Told(self._data.get(key))


def gpus(milli: float | None, lang: str = "en") -> str:
    """Return a number of GPUs such as `2 GPUs`, `0.5 GPU`, `GPU 2개`."""
    number = f"{(milli or 0) / WHOLE_GPU_MILLI:g}"
    if lang == "ko":
        return f"GPU {number}개"
    return f"{number} GPU" if 0 < (milli or 0) <= WHOLE_GPU_MILLI else f"{number} GPUs"


def amount_of(milli: float | None) -> str:
    """Return the bare number of GPUs, as --gpus takes it."""
    return f"{(milli or 0) / WHOLE_GPU_MILLI:g}"


def ordinal(number: int) -> str:
    """Return `1st`, `2nd`, `11th`…"""
    if number % 100 in (11, 12, 13):
        return f"{number}th"
    return f"{number}{({1: 'st', 2: 'nd', 3: 'rd'}).get(number % 10, 'th')}"


def josa(word: str, pair: str) -> str:
    """Return `word` with the right one of a pair of particles: 은/는, 이/가, 을/를, 과/와, 으로/로, 이라/라."""
    after_final, after_vowel = pair.split("/")
    final, sounds_l = _final(word)
    if pair == "으로/로" and sounds_l:
        return f"{word}{after_vowel}"
    return f"{word}{after_final if final else after_vowel}"


def _final(word: str) -> tuple[bool, bool]:
    """Return whether the word's sound ends in a consonant, and whether that one is ㄹ."""
    bare = word.rstrip("'\"`)]}>.,!?:;… ")
    if not bare:
        return False, False
    last = bare[-1]
    if "가" <= last <= "힣":
        final = (ord(last) - ord("가")) % 28
        return final != 0, final == 8
    if last.isdigit():
        return last in _DIGITS_WITH_FINAL, last in _DIGITS_WITH_L
    letter = last.lower()
    before = bare[-2].lower() if len(bare) > 1 else ""
    if not before.isalpha():  # a letter alone is read by its name: 엘, 엠, 엔, 알
        return letter in "lmnr", letter in "lr"
    if letter in "lmn" or (letter == "g" and before == "n"):
        return True, letter == "l"
    long = len(bare) > 2 and bare[-3].lower() in _VOWELS
    return letter in "bckpt" and before in _VOWELS and not long, False
