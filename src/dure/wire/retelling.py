"""Says sentences that were written down in English in the reader's language, by tables of English and Korean.

What stands in braces in a sentence of a table is taken over; a way before it (`x['a'].lock: …`) stays as it is. The
trap: what Python or a job said itself comes here, too, at any length: it must stay as it is, and cost nothing.
"""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Mapping

# These stand for sentences that are said in Korean themselves; all else in braces stays as it is.
_SAID = frozenset({"reason", "why", "more", "wrong", "right"})
_ONE_WORD = {"kind": "[^:; ]+?", "name": "[^:; ]+?", "then": "[^;]+?", "now": "[^;]+?"}
_INSIDE = re.compile(r" \(inside it, a (?P<kind>[^:]+)\)(?=: )")
_LONGEST = 20_000
_WAYS, _DEEP, _KEPT = 8, 8, 1024


class Retelling:
    """Says sentences of some tables (English: Korean) in a reader's language."""

    def __init__(self, *tables: Mapping[str, str]) -> None:
        self._tables = tables
        self._korean = functools.lru_cache(maxsize=_KEPT)(self._looked_up)

    def __call__(self, text: str, lang: str) -> str:
        """Return the sentence in `lang`; what is not known, such as what Python said itself, stays as it is."""
        return self._said(text, 0) if lang == "ko" else text

    def _said(self, text: str, depth: int) -> str:
        found = self._korean(text, depth) if len(text) <= _LONGEST and depth <= _DEEP else None
        return text if found is None else found

    def _looked_up(self, text: str, depth: int) -> str | None:
        """Return the Korean of a sentence, or of one after `x['a'].lock: `: the way to what is meant stays as it is."""
        whole = self._matched(text, depth) or self._several(text, depth, each=True)
        if whole is not None:
            return whole
        starts = [0, *(found.end() for found in itertools.islice(re.finditer(": ", text), _WAYS))]
        for start in starts[1:]:
            told = self._matched(text[start:], depth)
            if told is not None:
                return _INSIDE.sub(r"(그 안의 \g<kind> 객체)", text[:start]) + told
        for start in reversed(starts):
            told = self._several(text[start:], depth)
            if told is not None:
                return _INSIDE.sub(r"(그 안의 \g<kind> 객체)", text[:start]) + told
        return None

    def _matched(self, text: str, depth: int) -> str | None:
        for english, korean in self._patterns:
            match = english.fullmatch(text)
            if match is not None:
                parts = match.groupdict().items()
                return korean.format(
                    **{name: self._said(part, depth + 1) if name in _SAID else part for name, part in parts}
                )
        return None

    def _several(self, text: str, depth: int, *, each: bool = False) -> str | None:
        parts = text.split("; ")
        told = [self._said(part, depth + 1) for part in parts] if len(parts) > 1 else parts
        known = [said != part for said, part in zip(told, parts, strict=True)]
        return "; ".join(told) if (all(known) if each else any(known)) else None

    @functools.cached_property
    def _patterns(self) -> list[tuple[re.Pattern[str], str]]:
        return [(_pattern(english), korean) for table in self._tables for english, korean in table.items()]


def _pattern(english: str) -> re.Pattern[str]:
    """Return what matches a sentence in time that grows with its length only: no part is tried at two lengths."""
    first, *parts = re.split(r"\{(\w+)\}", english)
    found, last = re.escape(first), len(parts) - 2
    for at in range(0, len(parts), 2):
        name, after = parts[at : at + 2]
        part = f"(?P<{name}>{_ONE_WORD.get(name, '.+?')}){re.escape(after)}"
        found += part if at == last else f"(?>{part})"
    return re.compile(found, re.DOTALL)
