"""Reads a document of plain dicts and lists, noting every problem with its path and going on.

What cannot be read is replaced by a harmless value, so that reading goes on. The trap: those values must
never leave `parse`, which returns either problems or a platform.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from dure.core.model import WHOLE_GPU_MILLI

Path = tuple[str | int, ...]

MAX_ITEMS = 10_000
MAX_TEXT = 500


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong at `path`, and what would be right there."""

    path: Path
    wrong: str
    right: str

    @property
    def where(self) -> str:
        """The path as people write it: `clusters[0].nodes[1].tier`; empty for the whole document."""
        text = ""
        for part in self.path:
            text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
        return text

    def __str__(self) -> str:
        where = f"{self.where}: " if self.path else ""
        return f"{where}{self.wrong}; right would be {self.right}"


def did_you_mean(word: object, choices: Sequence[str]) -> str:
    """Return ` (did you mean 'gold'?)` for the nearest choice, or nothing when none is near."""
    near = difflib.get_close_matches(str(word).lower(), choices, n=1, cutoff=0.6)
    return f" (did you mean {near[0]!r}?)" if near else ""


class Reader:
    """Collects problems while values are read, and the names that each section defines."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self._names: dict[str | Path, dict[str, Path]] = {}
        self._unreadable: set[str] = set()

    def add(self, path: Path, wrong: str, right: str) -> None:
        """Note one problem."""
        self.problems.append(Problem(path, wrong, right))

    def has(self, paths: Sequence[Path]) -> bool:
        """Return whether one of `paths` has a problem noted already."""
        return any(problem.path in paths for problem in self.problems)

    def register(self, section: str | Path, name: str, path: Path) -> None:
        """Note that `section` defines `name`; a second time is a problem."""
        first = self._names.setdefault(section, {}).setdefault(name, path)
        if first is not path:
            self.add(path, f"{name!r} is taken already by {Problem(first[:-1], '', '').where}", "another name")

    def names(self, section: str | Path) -> tuple[str, ...]:
        """Return the names that a section defines, in order."""
        return tuple(self._names.get(section, ()))

    def known(self, section: str, name: object) -> bool:
        """Return whether `name` is defined, or cannot be judged because its section could not be read."""
        return section in self._unreadable or name in self._names.get(section, ())

    def mapping(self, path: Path, value: Any, keys: Sequence[str] | None) -> Mapping[str, Any]:
        """Return `value` when it is a mapping; keys outside `keys` (None: any) are problems and left out."""
        if not isinstance(value, Mapping):
            wrong = f"{_shown(value)} is not a mapping"
            self.add(path, wrong, f"keys with values: {', '.join(keys)}" if keys else "keys with values")
            return {}
        found = {}
        for key, content in value.items():
            if keys is not None and key not in keys:
                right = f"one of {', '.join(keys)}{did_you_mean(key, keys)}"
                self.add((*path, str(key)), f"{_shown(key)} is not a key here", right)
            elif not isinstance(key, str):
                self.add(
                    (*path, str(key)),
                    f"{_shown(key)} is not a name",
                    "a name (in quotes when it looks like a number)",
                )
            else:
                found[key] = content
        return found

    def items(
        self,
        top: Mapping[str, Any],
        section: str,
        keys: Sequence[str],
        *,
        required: bool = False,
        parent: Path = (),
    ) -> Iterator[tuple[Path, Mapping[str, Any]]]:
        """Yield each mapping of a section's list with its path. A required section must have at least one."""
        path = (*parent, section)
        value = top.get(section)
        if section not in top and (not required or (parent and self.has((parent,)) and not top)):
            return  # optional, or the entry around it is no mapping, which is said already
        if not isinstance(value, list) or (required and not value) or len(value) > MAX_ITEMS:
            if not parent:
                self._unreadable.add(section)
            wrong = "is missing" if section not in top else f"{_shown(value)} is not a list with entries"
            if isinstance(value, list) and value:
                wrong = f"has {len(value)} entries"
            right = f"a list of 1 to {MAX_ITEMS} entries, each with {', '.join(keys)}"
            self.add(path, wrong, right)
            return
        for index, item in enumerate(value):
            yield (*path, index), self.mapping((*path, index), item, keys)

    def text(
        self,
        path: Path,
        item: Mapping[str, Any],
        key: str,
        *,
        default: str | None,
        pattern: re.Pattern[str] | None = None,
        rule: str = "text",
    ) -> str:
        """Return the text at `key`; with default None it is required."""
        if key not in item:
            if default is None:
                self._missing(path, item, key, rule)
            return default or ""
        value: object = item[key]
        if not isinstance(value, str):
            plain = isinstance(value, int | float | date) and not isinstance(value, bool)
            hint = f" (in quotes: '{value}')" if plain else ""
            self.add((*path, key), f"{_shown(value)} is not text", f"{rule}{hint}")
            return ""
        bad = not value.strip() or len(value) > MAX_TEXT or (pattern and not pattern.fullmatch(value))
        if bad and (value or default != ""):
            right = rule if pattern else f"1 to {MAX_TEXT} characters"
            self.add((*path, key), f"{_shown(value)} is not allowed", right)
            return ""
        return value

    def texts(self, path: Path, value: Any, pattern: re.Pattern[str], rule: str) -> tuple[str, ...]:
        """Return a list of texts that each match `pattern`; repeated ones are problems."""
        if not isinstance(value, list) or len(value) > MAX_ITEMS:
            self.add(path, f"{_shown(value)} is not a list", f"a list such as [a, b], each {rule}")
            return ()
        found: dict[str, None] = {}
        for index, text in enumerate(value):
            if not isinstance(text, str) or not pattern.fullmatch(text):
                self.add((*path, index), f"{_shown(text)} is not allowed", rule)
            elif text in found:
                self.add((*path, index), f"{text!r} is listed twice", "each once")
            else:
                found[text] = None
        return tuple(found)

    def number(
        self,
        path: Path,
        item: Mapping[str, Any],
        key: str,
        *,
        default: float | None,
        above: float | None = None,
    ) -> float | None:
        """Return the number at `key`, at least 0 (or more than `above`); null and absence mean `default`."""
        if item.get(key) is None:
            return default
        return self._number(
            (*path, key), item[key], "a number of at least 0" if above is None else f"a number above {above:g}", above
        )

    def seconds(self, path: Path, item: Mapping[str, Any], key: str, default: float) -> float:
        """Return seconds at `key`."""
        value = self.number(path, item, key, default=default)
        return default if value is None else value

    def money(self, path: Path, value: Any) -> float | None:
        """Return an amount of money, at least 0; None when it is none."""
        return self._number(path, value, "a price of at least 0", None)

    def gpus_milli(self, path: Path, value: Any) -> int | None:
        """Return a number of GPUs in thousandths; null means no limit."""
        if value is None:
            return None
        number = self._number(path, value, "a number of GPUs of at least 0, such as 4 or 0.5", None)
        return None if number is None else round(number * WHOLE_GPU_MILLI)

    def integer(self, path: Path, item: Mapping[str, Any], key: str, *, least: int, most: int | None = None) -> int:
        """Return the whole number at `key`, which is required, within `least` and `most`."""
        rule = f"a whole number from {least} to {most}" if most is not None else f"a whole number of at least {least}"
        if key not in item:
            self._missing(path, item, key, rule)
            return least
        value = item[key]
        if isinstance(value, bool) or not isinstance(value, int):
            self.add((*path, key), f"{_shown(value)} is not a whole number", rule)
        elif value < least or (most is not None and value > most):
            self.add((*path, key), f"{value} is out of range", rule)
        else:
            return value
        return least

    def flag(self, path: Path, item: Mapping[str, Any], key: str, *, default: bool | None) -> bool:
        """Return true or false; with default None it is required."""
        if key not in item:
            if default is None:
                self._missing(path, item, key, "true or false")
            return bool(default)
        if not isinstance(item[key], bool):
            self.add((*path, key), f"{_shown(item[key])} is neither true nor false", "true or false")
            return False
        return bool(item[key])

    def choice(self, path: Path, item: Mapping[str, Any], key: str, choices: Sequence[str], *, default: str) -> str:
        """Return the one of `choices` at `key`, `default` when it is absent; null stands for the choice `None`."""
        if key not in item:
            return default
        value = item[key]
        if value is None and "None" in choices:
            return "None"
        if not isinstance(value, str) or value not in choices:
            right = f"one of {', '.join(choices)}{did_you_mean(value, choices)}"
            self.add((*path, key), f"{_shown(value)} is not allowed", right)
            return ""
        return value

    def reference(self, path: Path, item: Mapping[str, Any], key: str, section: str, what: str) -> str:
        """Return the name at `key`, which `section` must define."""
        choices = self.names(section)
        if key not in item:
            self._missing(path, item, key, f"one of {', '.join(choices)}" if choices else f"the name of a {what}")
            return ""
        value = item[key]
        if isinstance(value, str) and self.known(section, value):
            return value
        right = f"one of {', '.join(choices)}{did_you_mean(value, choices)}"
        if not choices:
            right = f"to leave it out, or an entry of `{section}` of that name: there is none"
        self.add((*path, key), f"{_shown(value)} is not a {what}", right)
        return ""

    def _missing(self, path: Path, item: Mapping[str, Any], key: str, rule: str) -> None:
        if self.has((path,)) and not item:
            return  # the entry is no mapping, which is said already
        self.add((*path, key), "is missing", rule)

    def _number(self, path: Path, value: Any, rule: str, above: float | None) -> float | None:
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            self.add(path, f"{_shown(value)} is not a number", rule)
            return None
        if value < 0:
            self.add(path, f"{value:g} is negative", rule)
            return None
        if above is not None and value <= above:
            self.add(path, f"{value:g} is too small", rule)
            return None
        return float(value)


def _shown(value: object) -> str:
    if value is None:
        return "nothing (null)"
    text = value.isoformat() if isinstance(value, date) else repr(value)
    return text if len(text) <= 80 else f"{text[:77]}…"
