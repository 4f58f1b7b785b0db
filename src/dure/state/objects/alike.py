"""Tells whether two pickles say the same, where they differ only in which of their equal texts are one object.

That depends on the process (attribute names are one object each, what came from a file is not), and nothing can be made
of it. Pickles are read and never loaded.
"""

from __future__ import annotations

import itertools
import pickletools
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

LOOKED_AT_BYTES = 2 * 1024 * 1024  # reading one takes about a second; a larger one that differs is a change
_TEXTS = frozenset({"SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"})
_GETS = frozenset({"BINGET", "LONG_BINGET"})
_SKIPPED = frozenset({"FRAME", "PROTO"})


def same_but_for_texts(one: bytes, other: bytes) -> bool:
    """Tell whether both make equal objects that share the same parts, whichever of their texts are one object."""
    if one == other:
        return True
    if max(len(one), len(other)) > LOOKED_AT_BYTES:
        return False
    return all(a == b for a, b in itertools.zip_longest(_steps(one), _steps(other)))


def _steps(stream: bytes) -> Iterator[tuple[str, Any]]:
    memo: list[tuple[str, Any]] = []  # by the memo's number: a text, or the number of another object
    others = 0
    last: tuple[str, Any] = ("", None)
    for code, argument, _ in pickletools.genops(stream):
        if code.name in _SKIPPED:
            continue
        if code.name == "MEMOIZE":
            if last[0] == "text":
                memo.append(last)
            else:
                memo.append(("known", others))
                others += 1
            continue
        if code.name in _TEXTS:
            last = ("text", argument)
        elif code.name in _GETS:
            last = memo[int(str(argument))]
        else:
            last = (code.name, argument)
        yield last
