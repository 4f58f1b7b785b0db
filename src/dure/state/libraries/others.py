"""Objects of other libraries whose own way of being pickled refuses, or leaves out what they are made of: a formula of
patsy, a trace of plotly and its figure, the data of a statsmodels model, a quantity of pint and its registry of units,
a buffer of Arrow and the bytes below, an array of JAX and its 64 bits.

Plain ones are saved by their attributes, as Python does with a class that says nothing of pickling; others are made
again from what they belong to, which is saved with them. The one trap: only modules that are loaded are looked at.
"""

from __future__ import annotations

import copyreg
import importlib
import sys
from typing import TYPE_CHECKING, Any

from dure.state.objects import rebuild

if TYPE_CHECKING:
    from dure.state.objects.pickling import Reducer

_MAKERS = {"_unpickle_quantity": "Quantity", "_unpickle_unit": "Unit", "_unpickle_measurement": "Measurement"}
_WIDE = {"float64", "int64", "uint64", "complex128"}


def reducer_for(kind: type) -> Reducer | None:
    """Return the reducer of instances of such a class; None for other types."""
    pint, plotly = sys.modules.get("pint.util"), sys.modules.get("plotly.basedatatypes")
    if pint is not None and issubclass(kind, pint.SharedRegistryObject):
        return _quantity
    if plotly is not None and issubclass(kind, plotly.BaseFigure | plotly.BasePlotlyType):
        # whose own way says arrays as plotly.js does, and leaves out which figure they are of
        own = kind.__reduce__ not in (plotly.BaseFigure.__reduce__, plotly.BasePlotlyType.__reduce__)
        return None if own else _figure_widget if _is_widget(kind) else _by_attributes
    data = getattr(sys.modules.get("statsmodels.base.data"), "ModelData", ())  # which looks for its names by guessing
    if refuses(kind) or issubclass(kind, data):
        return _by_attributes
    if kind is getattr(sys.modules.get("pyarrow.lib"), "Buffer", None):
        return _buffer
    return _array if kind is getattr(sys.modules.get("jax._src.array"), "ArrayImpl", None) else None


def refuses(kind: type) -> bool:
    """Tell whether it is a class of patsy, nearly all of which refuse to be pickled."""
    return "patsy" in sys.modules and any(cls.__module__.partition(".")[0] == "patsy" for cls in kind.__mro__)


def _by_attributes(_: Any, value: Any) -> Any:
    return copyreg.__newobj__, (type(value),), vars(value), None, None, rebuild.set_state  # type: ignore[attr-defined]


def _is_widget(kind: type) -> bool:
    return issubclass(kind, getattr(sys.modules.get("plotly.basewidget"), "BaseFigureWidget", ()))


def _figure_widget(_: Any, value: Any) -> Any:
    frames = [frame.to_plotly_json() for frame in value.frames]
    told = {"data": value._data, "layout": value._layout, "frames": frames}  # noqa: SLF001 - to_dict() converts arrays
    return type(value), (told,)


def part(parent: Any, name: str, index: int | None) -> Any:
    """Return a trace or the layout of a plotly widget, as pickles of before 23 November 2026 ask for it."""
    found = parent[name]
    return found if index is None else found[index]


def _quantity(_: Any, value: Any) -> Any:
    make, arguments, *_ = made = value.__reduce__()
    if make.__name__ not in _MAKERS:
        return made
    return measured, (value._REGISTRY, _MAKERS[make.__name__], arguments[1:])  # noqa: SLF001 - it has no public name


def measured(registry: Any, maker: str, arguments: tuple[Any, ...]) -> Any:
    """Return a quantity, a unit or a measurement of a registry."""
    container = importlib.import_module("pint.util").UnitsContainer

    for units in arguments:
        for name in units if isinstance(units, container) else ():
            registry.parse_units(name)  # with their prefixes
    return getattr(registry, maker)(*arguments)


def _buffer(pickler: Any, buffer: Any) -> Any:
    found = pickler.shared.lenders.below(buffer.address, buffer.size) if buffer.size else None
    return NotImplemented if found is None else (buffer_on, (*found, buffer.size))


def buffer_on(source: Any, offset: int, size_bytes: int) -> Any:
    """Return an Arrow buffer on the bytes of another object."""
    whole = importlib.import_module("pyarrow").py_buffer(source)
    return whole if size_bytes == whole.size else whole.slice(offset, size_bytes)


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


PARTLY = (_quantity, _figure_widget, _buffer)  # what leaves to the library most of how an object is pickled
