"""What is remembered of containers that are cut into parts, from one capture to the next: how they were cut, and the
parts that are as they were.

The one trap: all is known by the ids of containers, and an id says nothing once its object is gone, so a part is
believed only after the kernel said that none of its pages was written, or what is on them was found the same.
"""

from __future__ import annotations

import itertools
import operator
import os
import sys
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dure.state.cut import same
from dure.state.memory import layout

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from dure.state.cut.pieces import Part
    from dure.state.manifest import SavedRun

_MOST = 1024  # containers of which something is remembered
_MOST_BRANCHES = 1 << 18
_AGAIN = 16  # captures after which it is tried again to cut what could not be cut


@dataclass(slots=True)
class Root:
    """A container that is cut, and what is remembered of it from one capture to the next."""

    kind: type
    step: int  # slots in a part
    cuts: list[int] = field(default_factory=list)  # the first slot of each part
    form: tuple[int, ...] = ()  # of its table, for which the parts hold
    parts: dict[tuple[int, int], Part] = field(default_factory=dict)  # by first slot and the one after the last
    saved: dict[tuple[int, int], SavedRun] = field(default_factory=dict)  # what was written of each last
    written: dict[tuple[int, int], Any] = field(default_factory=dict)  # on which pages each was, last and before
    made: dict[tuple[int, int], Part] = field(default_factory=dict)  # of which nothing is known but what will be saved


roots: dict[int, Root] = {}  # by id of the container
branches: dict[int, Root] = {}  # by id of each object that is cut off a tree; those next to each other have one
uncut: dict[int, int] = {}  # ids of large values that could not be cut, and in how many captures since
whole: dict[int, int] = {}  # the same of what could not be cut off a tree
lock = threading.RLock()  # of these: several threads may capture and restore


def register(container: Any, lengths: list[int]) -> None:
    """Note how many elements the parts had from which a container was restored, so that it is cut there again."""
    if lengths:
        cuts = list(itertools.accumulate([0, *lengths[:-1]]))
        with lock:
            note(id(container), Root(type(container), max(lengths[0], 1), cuts))


def register_branches(values: list[Any]) -> None:
    """Note what was cut off a tree together and restored, so that it is cut off again."""
    with lock:
        branch_off(map(id, values))


def hand_over(contents: Any, container: Any) -> None:
    """Note that a container got the elements of one that was restored."""
    with lock:
        root = roots.pop(id(contents), None)
        if root is not None:
            root.kind = type(container)
            note(id(container), root)


def branch_off(ids: Iterable[int]) -> Root:
    """Remember some objects that are cut off a tree together, by their ids."""
    root = Root(object, 1, [0], tuple(ids))
    for key in root.form:
        leave_on(key)
    while len(branches) >= _MOST_BRANCHES:
        leave_on(next(iter(branches)))
    branches.update(dict.fromkeys(root.form, root))
    return root


def leave_on(key: int) -> None:
    """Forget what was cut off a tree together with an object."""
    root = branches.get(key)
    for each in root.form if root is not None else ():
        branches.pop(each, None)


def every() -> list[Root]:
    """Return all of which something is remembered."""
    return [*roots.values(), *{id(root): root for root in branches.values()}.values()]


def left_alone(key: int, failed: dict[int, int] = uncut) -> bool:
    """Tell whether a container could not be cut, and is not to be tried again yet."""
    if key not in failed:
        return False
    failed[key] += 1
    if failed[key] < _AGAIN:
        return True
    del failed[key]
    return False


def note(key: int, root: Root) -> None:
    """Remember a container, by its id."""
    roots.pop(key, None)
    while len(roots) >= _MOST:
        del roots[next(iter(roots))]
    roots[key] = root


def give_up(key: int, failed: dict[int, int] = uncut) -> None:
    """Forget a container, or what was cut off a tree with it, and note that it could not be cut."""
    if failed is uncut:
        roots.pop(key, None)
    else:
        leave_on(key)
    while len(failed) >= _MOST:
        del failed[next(iter(failed))]
    failed[key] = 0


def keep_unwritten(refused: Callable[[Any], Any] | None, *, compared: bool = False) -> None:
    """Keep of all parts only those without a written page; with `compared` also those of which the written pages hold
    what they held.

    `refused` is given the sorted numbers of all their pages, and returns for each whether it was written, or may have
    been; without it no part is kept.
    """
    found: list[tuple[Root, tuple[int, int], Part]] = []
    for root in every():
        for place, part in [*root.made.items(), *root.parts.items()]:
            if part.saved is not None:
                root.saved[place] = part.saved
        root.made = {place: part for place, part in root.parts.items() if part.pages is None and part.saved is None}
        if refused is not None:
            found += [(root, place, part) for place, part in root.parts.items() if part.pages is not None]
        root.parts = {}
    if refused is None:
        return
    for (root, place, part), at in zip(found, _written([each[2] for each in found], refused, compared), strict=True):
        if at is None:
            root.parts[place] = part
        elif part.same is None:
            root.written[place] = part.pages[at]
        else:  # where other pages are written than before, all will be in time
            is_known = sys.modules["numpy"].isin(at, part.same.at).all()
            root.written[place] = part.pages[part.same.at] if is_known else part.pages


def _written(parts: list[Part], refused: Callable[[Any], Any], compared: bool) -> list[Any]:  # noqa: FBT001 - private
    """Return for each part which of its pages are refused; None where none is, or it is compared and the same."""
    numpy = sys.modules["numpy"]
    if not parts:
        refused(numpy.empty(0, "u8"))  # what was taken until now concerns none
        return []
    every, index, begins = _places([part.pages for part in parts])
    # small objects lie where others of their size do, also on the parts' pages: few are made or freed from here on
    marked = refused(every)[index]
    found: list[Any] = [None] * len(parts)
    asked = {}
    for number in numpy.logical_or.reduceat(marked, begins[:-1]).nonzero()[0].tolist():
        part, at = parts[number], marked[begins[number] : begins[number + 1]].nonzero()[0]
        found[number] = at
        if compared and part.same is not None and (one := same.Asked.of(part.same, part.pages, at)) is not None:
            asked[number] = one
    for number, is_same in zip(asked, same.still([*asked.values()]) if asked else [], strict=True):
        found[number] = None if is_same else found[number]
    return found


_placed: list[Any] = [[], None]  # pages of parts, and what was found for them last: most captures change none


def _places(pages: list[Any]) -> Any:
    """Return all pages of some parts, sorted, and where among them those of each are, and begin."""
    numpy = sys.modules["numpy"]
    if len(pages) != len(_placed[0]) or any(map(operator.is_not, pages, _placed[0])):
        joined = numpy.concatenate(pages)
        every = layout.distinct(joined)
        begins = numpy.cumsum([0, *map(len, pages)])
        _placed[:] = pages, (every, numpy.searchsorted(every, joined), begins)
    return _placed[1]


def _after_fork() -> None:
    global lock  # noqa: PLW0603 - another thread may have held it
    lock = threading.RLock()
    for root in every():
        root.parts.clear()


os.register_at_fork(after_in_child=_after_fork)
