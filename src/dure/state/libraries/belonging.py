"""Objects of other libraries that belong to something else which their own pickle leaves out: a quantity of pint to its
registry of units, a trace of plotly to its figure, a buffer of Arrow to the bytes below.

Each is made again from what it belongs to, which is saved with it. The one trap: only modules that are loaded are
looked at.
"""

from __future__ import annotations

import copyreg
import importlib
import sys
import types
from typing import TYPE_CHECKING, Any

from dure.state.objects import rebuild
from dure.state.objects.refusals import RefusedError

if TYPE_CHECKING:
    from collections.abc import Callable

_MAKERS = {"_unpickle_quantity": "Quantity", "_unpickle_unit": "Unit", "_unpickle_measurement": "Measurement"}


def route(kind: type) -> Callable[[Any, Any], Any] | None:
    """Return what reduces instances of a class of pint, plotly or Arrow that belong to others; None for other types."""
    pint, plotly = sys.modules.get("pint.util"), sys.modules.get("plotly.basedatatypes")
    if pint is not None and issubclass(kind, pint.SharedRegistryObject):
        return _quantity
    if plotly is not None and issubclass(kind, plotly.BaseFigure | plotly.BasePlotlyType):
        own = kind.__reduce__ not in (plotly.BaseFigure.__reduce__, plotly.BasePlotlyType.__reduce__)
        return None if own else _figure_widget if _is_widget(kind) else _plotted
    arrow = sys.modules.get("pyarrow.lib")
    return _buffer if arrow is not None and kind is getattr(arrow, "Buffer", None) else None


def registry(kind: type) -> bool:
    """Tell whether instances are pint's registries of units."""
    return issubclass(kind, getattr(sys.modules.get("pint"), "UnitRegistry", ()))


def place(pickler: Any, one: Any) -> Any:
    """Return the reduction of what a module has under a name; None where none has it."""
    for name, module in list(sys.modules.items()):
        names = vars(module) if type(module) is types.ModuleType and name != "__main__" else pickler.shared.namespace
        if names is not pickler.shared.namespace:
            found = next((key for key, value in list(names.items()) if value is one), None)
            if found is not None:
                return getattr, (module, found)
    return None


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


def _plotted(pickler: Any, value: Any) -> Any:
    """Return a figure of plotly, or a part of one, by its attributes: its own pickle says arrays as plotly.js does."""
    parent: Any = getattr(value, "_parent", None)
    while getattr(parent, "_parent", None) is not None:
        parent = parent._parent  # noqa: SLF001 - it has no public name
    if parent is not None and _is_widget(type(parent)):
        return _of_widget(pickler, value)
    return copyreg.__newobj__, (type(value),), vars(value), None, None, rebuild.set_state  # type: ignore[attr-defined]


def _is_widget(kind: type) -> bool:
    return issubclass(kind, getattr(sys.modules.get("plotly.basewidget"), "BaseFigureWidget", ()))


def _figure_widget(_: Any, value: Any) -> Any:
    frames = [frame.to_plotly_json() for frame in value.frames]
    told = {"data": value._data, "layout": value._layout, "frames": frames}  # noqa: SLF001 - to_dict() converts arrays
    return type(value), (told,)


def _of_widget(pickler: Any, value: Any) -> Any:
    parent = value._parent  # noqa: SLF001 - as above
    pickler.referenced.add(id(value))  # its figure has it, however that is pickled
    names = ("data", "layout", "frames") if hasattr(parent, "data") and hasattr(parent, "layout") else ()
    for name in (*names, value.plotly_name):
        try:
            found = parent[name]
        except Exception:  # noqa: S112 - it has none of that name
            continue
        if found is value:
            return part, (parent, name, None)
        index = next((at for at, each in enumerate(found) if each is value), None) if type(found) is tuple else None
        if index is not None:
            return part, (parent, name, index)
    raise RefusedError(
        value, "a part of a plotly figure that this figure does not have; copy.deepcopy(…) of it can be saved"
    )


def part(parent: Any, name: str, index: int | None) -> Any:
    """Return a trace, the layout or what is inside them from what they belong to."""
    found = parent[name]
    return found if index is None else found[index]


def _buffer(pickler: Any, buffer: Any) -> Any:
    found = pickler.shared.exporters.below(buffer.address, buffer.size) if buffer.size else None
    return NotImplemented if found is None else (buffer_on, (*found, buffer.size))


def buffer_on(source: Any, offset: int, size_bytes: int) -> Any:
    """Return an Arrow buffer on the bytes of another object."""
    whole = importlib.import_module("pyarrow").py_buffer(source)
    return whole if size_bytes == whole.size else whole.slice(offset, size_bytes)
