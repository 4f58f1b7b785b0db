"""What a pickle reached whose sharing matters: the mutable objects in a pickler's memo.

A memo may have hundreds of thousands of objects, nearly all of them texts, so their types are read from memory at once
where numpy is loaded. The one trap: that rests on how CPython lays out objects (`dure.state.memory.layout`), so every
object is asked by itself where that is not known.
"""

from __future__ import annotations

import datetime as dt
import decimal
import enum
import fractions
import functools
import gc
import itertools
import logging
import operator
import pathlib
import re
import sys
import types
import typing
import uuid
from typing import TYPE_CHECKING, Any

from dure.state.cut.plain import BIG_BYTES
from dure.state.memory import layout
from dure.state.objects import classes
from dure.state.objects.marks import NamespaceMark
from dure.state.objects.pickling import CuttingPickler, GroupPickler, Shared

if TYPE_CHECKING:
    from collections.abc import Callable

PLAIN = (int, float, complex, bool, type(None))
_MANY = 1000  # objects; fewer are asked one by one
_KINDS = 100
_OWN = 16  # what a pickler refers to besides its memo is among so many
_VALUE = operator.itemgetter(1)  # of a memo's entries
_FROZEN_KINDS = (
    tuple,
    frozenset,
    range,
    slice,
    type,
    types.ModuleType,
    types.BuiltinFunctionType,
    types.CodeType,
    types.MethodDescriptorType,
    types.WrapperDescriptorType,
    types.MethodWrapperType,
    types.GenericAlias,
    types.UnionType,
    type(typing.List[int]),  # noqa: UP006 - of this class are those of typing
    enum.Enum,
    dt.date,
    dt.time,
    dt.timedelta,
    dt.tzinfo,
    decimal.Decimal,
    fractions.Fraction,
    pathlib.PurePath,
    uuid.UUID,
    re.Pattern,
    logging.Logger,
    NamespaceMark,
    *PLAIN,
)
_ONE_EACH = (type, types.ModuleType, enum.Enum, logging.Logger)  # which are found again by name


class Met:
    """The objects in a pickler's memo; they live at least as long as this."""

    def __init__(self, pickler: GroupPickler) -> None:
        self._long = pickler.file.long
        self._values = _memo(pickler)
        self._laid_out = len(self._values) > _MANY and layout.WORKS and "numpy" in sys.modules

    @functools.cached_property
    def _addresses(self) -> tuple[Any, Any]:
        """Addresses of the objects and of their types, as arrays."""
        ids = layout.ids(self._values)
        return ids, layout.words(ids + layout.TYPE_AT)

    def shared(self, kinds: Kinds) -> set[int]:
        """Return the ids of those whose sharing matters: what can change and is not found again by name, or is big."""
        values = self._values
        found = self._shared(kinds) if self._laid_out else None
        if found is None:
            matters = {kind for kind in set(map(type, values)) if kinds.matters(kind)}
            found = set(map(id, itertools.compress(values, map(matters.__contains__, map(type, values)))))
        if self._long:
            found |= {id(text) for text in values if type(text) in (str, bytes) and len(text) >= BIG_BYTES}
        return found

    def _shared(self, kinds: Kinds) -> set[int] | None:
        """Return the same from memory; None where they are of many types."""
        ids, types_at = self._addresses
        found: set[int] = set()
        left = types_at
        for _ in range(_KINDS):
            if not len(left):
                return found
            here = types_at == left[0]
            if kinds.matters(type(self._values[int(here.argmax())])):
                found.update(ids[here].tolist())
            left = left[left != left[0]]
        return None

    @functools.cached_property
    def ids(self) -> frozenset[int]:
        """The ids of them all."""
        return frozenset(map(id, self._values))

    def of_types(self, wanted: Callable[[type], bool]) -> list[Any]:
        """Return the objects of the types that are wanted."""
        kinds = {kind for kind in set(map(type, self._values)) if wanted(kind)}
        return list(itertools.compress(self._values, map(kinds.__contains__, map(type, self._values)))) if kinds else []

    def texts(self) -> bytes:
        """Return the texts and bytes objects, one after the other between zeros."""
        strings, data = self._of(str), self._of(bytes)
        return b"\0".join([b"", "\0".join(strings).encode("utf-8", "surrogatepass"), *data, b""])

    def _of(self, kind: type) -> list[Any]:
        if self._laid_out:
            # a byte for each, which says whether it is one
            return list(itertools.compress(self._values, (self._addresses[1] == id(kind)).tobytes()))
        return [value for value in self._values if type(value) is kind]


class Kinds:
    """Remembers, by type, whether sharing an instance matters."""

    def __init__(self) -> None:
        self._known: dict[type, bool] = {}
        self._also: tuple[type, ...] = ()
        numpy, pandas = sys.modules.get("numpy"), sys.modules.get("pandas")
        if numpy is not None:
            self._also += (numpy.dtype, numpy.generic, numpy.ufunc)
        if pandas is not None:
            self._also += (pandas.api.extensions.ExtensionDtype, pandas.Index, pandas.Timestamp)
            self._also += (pandas.tseries.offsets.BaseOffset,)
        torch = sys.modules.get("torch")
        if torch is not None and hasattr(torch, "memory_format"):
            self._also += (torch.dtype, torch.device, torch.layout, torch.memory_format)

    def matters(self, kind: type) -> bool:
        """Tell whether it matters who shares an instance of a type: it can change, and is not found again by name."""
        found = self._known.get(kind)
        if found is None:
            frozen = issubclass(kind, _FROZEN_KINDS + self._also) and not _takes_attributes(kind)
            found = self._known[kind] = kind not in (str, bytes) and not frozen
        return found


def _takes_attributes(kind: type) -> bool:
    """Tell whether instances of a class of the notebook may be given attributes, though what is below is frozen."""
    if not kind.__flags__ & layout.HEAP_TYPE or issubclass(kind, _ONE_EACH) or classes.by_reference(kind):
        return False
    return bool(kind.__dictoffset__) or any(type(each) is types.MemberDescriptorType for each in vars(kind).values())


def met(pickler: GroupPickler) -> Met:
    """Return what the pickler has met, which is looked at once."""
    if pickler.met is None:
        pickler.met = Met(pickler)
    found = pickler.met
    assert isinstance(found, Met)
    return found


def _memo(pickler: GroupPickler) -> list[Any]:
    """Return the objects in the memo; to the garbage collector it shows them ten times as fast as by copy."""
    if _MEMO_SHOWS:
        values = gc.get_referents(pickler)
        mine = {id(pickler.dispatch_table), id(vars(pickler)), id(CuttingPickler.persistent_id)}
        values[:_OWN] = [value for value in values[:_OWN] if id(value) not in mine]
        return values
    return list(map(_VALUE, pickler.memo.copy().values()))


def _memo_shows() -> bool:
    probe: list[list[Any]] = [[] for _ in range(4 * _OWN)]
    pickler = CuttingPickler(Shared({}), {})
    pickler.dump((probe,))
    values = gc.get_referents(pickler)
    shown = set(map(id, values))
    late = set(map(id, values[_OWN:]))  # its own objects come before the memo
    own = {id(pickler.dispatch_table), id(vars(pickler)), id(CuttingPickler.persistent_id)}
    return shown.issuperset(map(id, probe)) and not late & own


_MEMO_SHOWS = _memo_shows()
