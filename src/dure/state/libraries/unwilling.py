"""Objects of other libraries whose own way of being pickled refuses, or leaves out what they need: formulas and design
matrices of patsy, the data of a statsmodels model, which would look for the formula's names by guessing, and JAX's
arrays of 64 bits, which would come back with 32.

A snapshot keeps the plain ones by their attributes, as Python does with a class that says nothing of pickling. The one
trap: only modules that are loaded are looked at.
"""

from __future__ import annotations

import copyreg
import importlib
import sys
from typing import TYPE_CHECKING, Any

from dure.state.objects import rebuild

if TYPE_CHECKING:
    from collections.abc import Callable

_WIDE = {"float64", "int64", "uint64", "complex128"}


def route(kind: type) -> Callable[[Any, Any], Any] | None:
    """Return what reduces instances of such a class; None for other types."""
    data = getattr(sys.modules.get("statsmodels.base.data"), "ModelData", ())
    if refuses(kind) or issubclass(kind, data):
        return _by_attributes
    array = getattr(sys.modules.get("jax._src.array"), "ArrayImpl", None)
    return _array if array is not None and kind is array else None


def refuses(kind: type) -> bool:
    """Tell whether it is a class of patsy, nearly all of which refuse to be pickled."""
    return "patsy" in sys.modules and any(cls.__module__.partition(".")[0] == "patsy" for cls in kind.__mro__)


def _by_attributes(_: Any, value: Any) -> Any:
    return copyreg.__newobj__, (type(value),), vars(value), None, None, rebuild.set_state  # type: ignore[attr-defined]


def _array(_: Any, value: Any) -> Any:
    if value.dtype.name not in _WIDE:
        return NotImplemented
    make, arguments, *_ = value.__reduce__()
    return wide_array, (make, arguments, bool(sys.modules["jax"].config.jax_enable_x64))


def wide_array(make: Any, arguments: tuple[Any, ...], everywhere: bool) -> Any:  # noqa: FBT001 - as pickled
    """Return an array of JAX with 64 bits; with `everywhere`, what is computed from now on has them as well."""
    jax = importlib.import_module("jax")
    if everywhere:
        jax.config.update("jax_enable_x64", True)
        return make(*arguments)
    enabled = jax.enable_x64 if hasattr(jax, "enable_x64") else importlib.import_module("jax.experimental").enable_x64
    with enabled(True):
        return make(*arguments)
