"""The names that our pickles call and that only a restore can answer: the namespace, its classes and its functions.

A stream that is loaded by plain `pickle` would meet these stand-ins, and each says so instead of half working.
"""

from __future__ import annotations

from typing import Any, NoReturn


def _outside(*_: Any) -> NoReturn:
    raise RuntimeError("This pickle is a part of a Dure snapshot: load it with dure.state.restore.")


def class_ref(*args: Any) -> NoReturn:
    """Stand for a class that the notebook defined, by its token."""
    _outside(*args)


def class_shell(*args: Any) -> NoReturn:
    """Stand for making a notebook class, or finding it when it is there."""
    _outside(*args)


def class_state(*args: Any) -> NoReturn:
    """Stand for filling a class that `class_shell` made."""
    _outside(*args)


def labels(*args: Any) -> NoReturn:
    """Stand for making labels of pandas that others refer to, or finding them when they are there."""
    _outside(*args)


def function(*args: Any) -> NoReturn:
    """Stand for making a function on the live namespace."""
    _outside(*args)


def joined(*args: Any) -> NoReturn:
    """Stand for a container whose elements are in some of the group's parts."""
    _outside(*args)


def branch(*args: Any) -> NoReturn:
    """Stand for what was cut off a tree, and is in one of the group's parts."""
    _outside(*args)


def settled(*args: Any) -> NoReturn:
    """Stand for giving its state to an object that may be in a set, or a key, of what it holds itself."""
    _outside(*args)


def placed(*args: Any) -> NoReturn:
    """Stand for a variable that a module has under a name."""
    _outside(*args)


def namespace(*args: Any) -> NoReturn:
    """Stand for the namespace itself."""
    _outside(*args)


class NamespaceMark:
    """Stands for the namespace itself where a variable holds it (`g = globals()`)."""
