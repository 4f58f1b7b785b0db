"""The names that our pickles call and that only a restore can answer: the namespace, its classes and its functions.

A stream that is loaded by plain `pickle` would meet these stand-ins, and each says so instead of half working. Their
names are in saved snapshots: none may be renamed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn


def _mark(name: str) -> Callable[..., NoReturn]:
    def outside(*_: Any) -> NoReturn:
        raise RuntimeError("This pickle is a part of a Dure snapshot: load it with dure.state.restore.")

    outside.__name__ = outside.__qualname__ = name
    return outside


class_ref = _mark("class_ref")  # a class that the notebook defined, or labels, by the token
class_shell = _mark("class_shell")  # makes a notebook class, or finds it when it is there
class_state = _mark("class_state")  # fills a class that `class_shell` made
labels = _mark("labels")  # makes labels of pandas that others refer to, or finds them when they are there
function = _mark("function")  # makes a function on the live namespace
joined = _mark("joined")  # a container whose elements are in some of the group's parts
branch = _mark("branch")  # what was cut off a tree, and is in one of the group's parts
settled = _mark("settled")  # gives its state to an object that may be in a set, or a key, of what it holds itself
placed = _mark("placed")  # a variable that a module has under a name
namespace = _mark("namespace")  # the namespace itself


class NamespaceMark:
    """Stands for the namespace itself where a variable holds it (`g = globals()`)."""
