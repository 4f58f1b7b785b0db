"""Keeps tracebacks readable across the trip: sends the cells' text that functions come from, and keeps what came back.

A function made in a notebook cell knows only the cell's made-up file name. The trap: the text is for people alone, so
whatever cannot be found is left out without a word, and little is sent.
"""

from __future__ import annotations

import inspect
import linecache
import types
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from dure.state.objects.codenames import kept_name

MAX_BYTES = 256 * 1024


def sources_of(shell: Any, values: Iterable[Any]) -> dict[str, dict[str, str]]:
    """Return file name to {"cell": "In[3]", "text": code} of the cells, or of the script, that define `values`.

    `shell` is None in a script; "cell" is "" then. Secrets written out in it stay here: a job's payload is kept.
    """
    from dure.state.secrecy import masked

    found: dict[str, dict[str, str]] = {}
    left = MAX_BYTES
    for value in values:
        for code in _codes(value):
            label = _label(shell, code.co_filename)
            if label is None or kept_name(code.co_filename) in found:
                continue
            text = masked("".join(linecache.getlines(code.co_filename)))
            left -= len(text)
            if text and left >= 0:
                found[kept_name(code.co_filename)] = {"cell": label, "text": text}
    return found


def keep_source(shell: Any, code: str, number: int) -> None:
    """Let functions that a remote cell made show their lines here: under the name that the worker's shell gave them."""
    from IPython.core.compilerop import code_name

    transformed = shell.transform_cell(code)
    name = code_name(transformed, number)
    linecache.cache[name] = (len(transformed), None, transformed.splitlines(keepends=True), name)
    filenames = getattr(shell.compile, "_filename_map", None)
    if isinstance(filenames, dict):
        filenames[name] = number


def _label(shell: Any, filename: str) -> str | None:
    if shell is None:
        return ""
    known: Mapping[str, int] = getattr(shell.compile, "_filename_map", None) or {}
    number = known.get(filename)
    return None if number is None else f"In[{number}]"


def _codes(value: Any) -> Iterator[types.CodeType]:
    value = inspect.unwrap(value) if callable(value) else value
    if isinstance(value, types.FunctionType) and value.__module__ == "__main__":
        yield value.__code__
    elif isinstance(value, type) and value.__module__ == "__main__":
        for item in vars(value).values():
            function = getattr(item, "__func__", getattr(item, "fget", None) or item)
            if isinstance(function, types.FunctionType):
                yield function.__code__
