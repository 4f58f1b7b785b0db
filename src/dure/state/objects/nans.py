"""NaN objects that stay themselves: a dictionary, a set or a list finds one by identity, since it equals nothing.

Each has a token, which stands for it in every pickle and is the same wherever it is restored: the name of a module's
own (`numpy.nan`), or one that this process gave it. The one trap: an id says which object it is only as long as that
lives, so each that has a token is kept until nobody else holds it.
"""

from __future__ import annotations

import importlib
import itertools
import math
import os
import re
import struct
import sys
import threading
import types
import uuid
from decimal import Decimal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from dure.state.objects.pickling import Reducer

_PLACES = (("numpy", "nan"), ("math", "nan"))
_MANY = 4096  # tokens; at twice as many as were left the last time it is seen which are needed
_NAN = re.compile(rb"G[\x7f\xff]\xf8\0{6}")  # in a pickle: what arithmetic makes
_FIRST, _SECOND = 0xFF47, 0xF8  # its first two bytes with their highest bit, and the third
_FEW = 64  # places that are looked at one by one
_SCANNED_BYTES = 4096  # more is looked through by numpy, where that is loaded

_tokens: dict[int, str] = {}  # by id
_known: dict[str, Any] = {}  # by token
_lock = threading.Lock()
_numbers = itertools.count()
_process = uuid.uuid4().hex[:16]
_left = 0  # how many tokens were needed the last time it was seen
_modules: tuple[int, dict[int, tuple[str, str]]] = (0, {})  # how many were loaded, and the NaNs that they have


def _in_a_child() -> None:
    global _process, _lock
    _process, _lock = uuid.uuid4().hex[:16], threading.Lock()


os.register_at_fork(after_in_child=_in_a_child)


def inside(stream: bytes) -> bool:
    """Tell whether a float in a pickle is NaN, or looks like one; bits that no arithmetic makes are not looked for."""
    if "numpy" not in sys.modules or len(stream) < _SCANNED_BYTES:
        return _NAN.search(stream) is not None
    numpy = sys.modules["numpy"]
    frombuffer = numpy.frombuffer
    # wherever the eight bytes begin, one word of four has only zeros of them, or the second and three zeros
    found = frombuffer(stream, "<u4", len(stream) // 4) <= _SECOND
    if numpy.count_nonzero(found) < _FEW:
        return any(_NAN.search(stream, max(4 * at - 5, 0), 4 * at + 8) for at in found.nonzero()[0].tolist())
    for begin in (0, 1):
        pairs = frombuffer(stream, "<u2", (len(stream) - begin) // 2, begin)
        begins = 2 * ((pairs | 0x8000) == _FIRST).nonzero()[0] + begin
        if any(_NAN.match(stream, at) for at in begins[: 2 * _FEW].tolist()):
            return True
        if len(begins) > 2 * _FEW:  # infinities, mostly
            return _NAN.search(stream) is not None
    return False


def token_of(value: Any) -> str:
    """Return the token of a NaN, which it has from now on."""
    token = _tokens.get(id(value))
    if token is None:
        place = _place(value)
        token = f"nan:{_process}:{next(_numbers)}" if place is None else f"nan.{place[0]}:{place[1]}"
        _remember(token, value)
    return token


def token_at(key: int) -> str | None:
    """Return the token of the NaN that has an id; None where none is known."""
    return _tokens.get(key)


def of_token(token: str) -> Any:
    """Return the float that has a token, which is made where this process has none."""
    found = _known.get(token)
    if found is None:
        module, _, name = token.removeprefix("nan.").partition(":")
        if token.startswith("nan."):
            try:
                found = getattr(importlib.import_module(module), name)
            except (ImportError, AttributeError):  # it is a NaN all the same
                found = None
        if type(found) is not float or not math.isnan(found):
            found = float("nan")
        found = _remember(token, found)
    return found


def reducer_for(kind: type) -> Reducer | None:
    """Return the reducer of instances of a type other than float that has NaNs of its own; None for all others."""
    numpy = sys.modules.get("numpy")
    of_numpy = () if numpy is None else (numpy.inexact, numpy.datetime64, numpy.timedelta64)
    if kind in (complex, Decimal) or (kind.__module__ == "numpy" and issubclass(kind, of_numpy)):
        return lambda _, value: reduced(value)
    return None


def reduced(value: Any) -> Any:
    """Return the reduction of a number or time of Python or numpy by its token where it is NaN, else NotImplemented."""
    kind = type(value)
    if not (value.is_nan() if kind is Decimal else value != value):  # noqa: PLR0124 - as NaN does
        return NotImplemented
    if kind is complex:
        return kept, (token_of(value), complex_of, (struct.pack(">2d", value.real, value.imag),))
    make, arguments = value.__reduce__()
    return kept, (token_of(value), make, arguments)


def kept(token: str, make: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    """Return the value that has a token, which is made where this process has none."""
    found = _known.get(token)
    return _remember(token, make(*arguments)) if found is None else found


def complex_of(data: bytes) -> complex:
    """Return a complex number from its two parts."""
    return complex(*struct.unpack(">2d", data))


def _remember(token: str, value: Any) -> Any:
    global _left  # noqa: PLW0603 - what is remembered of a process
    with _lock:
        if len(_known) > _MANY + 2 * _left:
            # none but these two dictionaries, the loop and who counts hold the rest
            gone = [each for each, it in _known.items() if sys.getrefcount(it) <= _ALONE]
            for each in gone:
                _tokens.pop(id(_known.pop(each)), None)
            _left = len(_known)
        found = _known.setdefault(token, value)
        _tokens[id(found)] = token
        return found


def _place(value: Any) -> tuple[str, str] | None:
    """Return the module that has this very NaN, and its name there; None where none has."""
    global _modules  # noqa: PLW0603 - as above
    for module, name in _PLACES:
        if getattr(sys.modules.get(module), name, None) is value:
            return module, name
    if type(value) is not float:
        return None
    if _modules[0] != len(sys.modules):
        _modules = len(sys.modules), _nans_of_modules()
    found = _modules[1].get(id(value))
    return found if found and getattr(sys.modules.get(found[0]), found[1], None) is value else None


def _nans_of_modules() -> dict[int, tuple[str, str]]:
    found: dict[int, tuple[str, str]] = {}
    for module, names in [
        (name, vars(one)) for name, one in list(sys.modules.items()) if type(one) is types.ModuleType
    ]:
        if module in ("__main__", "__mp_main__") or names.get("__spec__") is None:
            continue
        for name, value in list(names.items()):
            if type(value) is float and math.isnan(value):
                found.setdefault(id(value), (module, name))
    return found


def _counted() -> int:
    probe = {"": float("nan")}
    return [sys.getrefcount(it) for _, it in probe.items()].pop()


_ALONE = _counted()
