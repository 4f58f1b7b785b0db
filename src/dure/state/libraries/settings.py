"""Settings that libraries hold for the whole process: one table of how each is read and set, for cells and sessions.

Only what differs from the library's own default is read, and only where the library is loaded: what is set for one that
is not loaded yet waits until it is imported. The trap: a setting may be impossible here (a device that only a GPU node
has); it is kept for the processes it goes to next, and told.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
import warnings
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

Settings = dict[str, dict[str, Any]]  # of each module, what differs
Difference = dict[str, tuple[dict[str, Any], list[str]]]  # of each module, what is set, and what is the default again
_ABSENT = object()
_OF_PROCESS = ("backend", "backend_fallback", "interactive", "toolbar")  # settings of matplotlib that a notebook makes
_PRINTED: dict[str, Any] = {
    "edgeitems": 3, "threshold": 1000, "floatmode": "maxprec", "precision": 8, "suppress": False, "linewidth": 75,
    "nanstr": "nan", "infstr": "inf", "sign": "-", "formatter": None, "legacy": False, "override_repr": None,
}  # fmt: skip
_ERRORS = {"divide": "warn", "over": "warn", "under": "ignore", "invalid": "warn"}
_OF_PYTHON = {"sys", "warnings"}  # told from what `note_beginning` finds
_COLUMNS = {"display.max_columns": 20}  # pandas takes another where it was loaded before IPython
_waiting: Settings = {}
_first: dict[str, Any] = {}


class _NotHereError(Exception):
    """A setting that this process cannot have; the text is the reason."""


def note_beginning() -> None:
    """Note how this process is before the person's code runs: what Python and Jupyter set is nobody's setting."""
    _first.setdefault("path", list(sys.path))
    _first.setdefault("warnings", {_filter_key(one) for one in warnings.filters})


def note_libraries() -> None:
    """Note the settings of libraries in a process that forks others, which all begin with these."""
    _first["libraries"] = {name: held for name, held in read_settings().items() if name not in _OF_PYTHON}


def at_beginning() -> Settings:
    """Return the settings with which this process began, as read by the process that forked it, else by itself."""
    return _first["libraries"] if "libraries" in _first else read_settings()


def read_settings() -> Settings:
    """Return what differs from the defaults, of libraries that are loaded, and what waits for the others."""
    found: Settings = {}
    for name, (read, _) in _TABLE.items():
        own: dict[str, Any] = {}
        if _loaded(name):
            with contextlib.suppress(Exception):  # another version of the library
                own = read()
        if own := {**_waiting.get(name, {}), **own}:
            found[name] = own
    return found


def difference(old: Settings, new: Settings) -> Difference:
    """Return what makes a process with the settings `old` one with `new`."""
    found: Difference = {}
    for name in old.keys() | new.keys():
        before, after = old.get(name, {}), new.get(name, {})
        changed = {key: value for key, value in after.items() if not _same(before.get(key, _ABSENT), value)}
        gone = sorted(before.keys() - after.keys())
        if changed or gone:
            found[name] = changed, gone
    return found


def merged(old: Settings, made: Difference) -> Settings:
    """Return `old` after `made`."""
    found = {name: dict(held) for name, held in old.items()}
    for name, (changed, gone) in made.items():
        held = {**found.get(name, {}), **changed}
        found[name] = {key: value for key, value in held.items() if key not in gone}
    return found


def unchanged_here(wanted: Difference, sent: Settings) -> Difference:
    """Return of `wanted` what nobody has set here since `sent` was read."""
    now = read_settings()
    found: Difference = {}
    for name, (changed, gone) in wanted.items():
        before, here = sent.get(name, {}), now.get(name, {})
        still = {key for key in (*changed, *gone) if _same(before.get(key, _ABSENT), here.get(key, _ABSENT))}
        found[name] = {key: changed[key] for key in changed if key in still}, [key for key in gone if key in still]
    return found


def take_settings(wanted: Difference) -> dict[str, str]:
    """Set what `wanted` says; return what could not be set here, with the reason. What is not loaded is set later."""
    failed: dict[str, str] = {}
    for name, (changed, gone) in wanted.items():
        if name not in _TABLE:
            failed |= dict.fromkeys((f"{name}: {key}" for key in changed), "this Dure does not know it")
        elif _loaded(name):
            failed |= _put(name, changed, gone)
        else:
            waits = {**_waiting.get(name, {}), **changed}
            _waiting[name] = {key: value for key, value in waits.items() if key not in gone}
            _await()
    return failed


def _put(name: str, changed: Mapping[str, Any], gone: Iterable[str]) -> dict[str, str]:
    failed = {}
    put = _TABLE[name][1]
    for key, value in (*((key, _ABSENT) for key in gone), *changed.items()):
        waits = _waiting.setdefault(name, {})
        waits.pop(key, None)
        try:
            put(key, value)
        except Exception as error:
            failed[f"{name}: {key}"] = (
                str(error) if isinstance(error, _NotHereError) else f"{type(error).__name__}: {error}"
            )
            if value is not _ABSENT:
                waits[key] = value
    if not _waiting.get(name):
        _waiting.pop(name, None)
    return failed


def _same(one: Any, other: Any) -> bool:
    with contextlib.suppress(Exception):
        return one is other or bool(one == other)
    return False


def _loaded(name: str) -> bool:
    spec = getattr(sys.modules.get(name), "__spec__", None)
    return spec is not None and not getattr(spec, "_initializing", False)


# --- what waits for an import


class _Awaiting:
    """Finds no module itself: it has the settings of one that is being imported set right after."""

    @staticmethod
    def find_spec(name: str, path: Any = None, target: Any = None) -> Any:
        if name not in _waiting:
            return None
        for finder in sys.meta_path:
            find = getattr(finder, "find_spec", None)
            spec = find(name, path, target) if find is not None and not isinstance(finder, _Awaiting) else None
            if spec is not None:
                with contextlib.suppress(AttributeError):  # a loader that takes none
                    _then_set(name, spec.loader)
                return spec
        return None


def _then_set(name: str, loader: Any) -> None:
    run = loader.exec_module

    def exec_module(module: Any) -> None:
        with contextlib.suppress(AttributeError):
            del loader.exec_module
        run(module)
        for what, reason in _put(name, dict(_waiting.get(name, {})), ()).items():
            sys.stderr.write(f"dure: {what}: {reason}\n")

    loader.exec_module = exec_module


def _await() -> None:
    if not any(isinstance(finder, _Awaiting) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Awaiting())


# --- matplotlib


def _read_matplotlib() -> dict[str, Any]:
    matplotlib, colors = sys.modules["matplotlib"], sys.modules["matplotlib.colors"]
    first = matplotlib.rcParamsOrig
    found = {
        name: _plain_cycle(value)
        for name, value in dict.items(matplotlib.rcParams)
        if name not in _OF_PROCESS and value != dict.get(first, name)
    }
    named = colors.get_named_colors_mapping()
    known = colors.BASE_COLORS.items()
    return found | {f"colour {name}": named[name] for name, value in known if named.get(name, value) != value}


def _plain_cycle(value: Any) -> Any:
    return ("cycler", value.by_key()) if type(value).__name__ == "Cycler" else value


def _put_matplotlib(key: str, value: Any) -> None:
    matplotlib: Any = sys.modules["matplotlib"]
    colors: Any = sys.modules["matplotlib.colors"]
    kind, _, name = key.partition(" ")
    if kind == "colour" and name:
        colors.get_named_colors_mapping()[name] = colors.BASE_COLORS[name] if value is _ABSENT else value
        return
    if key not in matplotlib.rcParams:
        raise _NotHereError(f"this matplotlib does not know {key}")
    if isinstance(value, tuple) and value[:1] == ("cycler",):
        value = importlib.import_module("matplotlib.rcsetup").cycler(**value[1])
    matplotlib.rcParams[key] = dict.get(matplotlib.rcParamsOrig, key) if value is _ABSENT else value


# --- pandas


def _read_pandas() -> dict[str, Any]:
    config: Any = importlib.import_module("pandas._config.config")
    held = config._global_config  # noqa: SLF001 -- asking for each option warns of the old ones
    found = {}
    for key, option in config._registered_options.items():  # noqa: SLF001 -- as above
        value = held
        for part in key.split("."):
            value = value[part]
        if not _same(value, _COLUMNS.get(key, option.defval)):
            found[key] = value
    return found


def _put_pandas(key: str, value: Any) -> None:
    pandas: Any = sys.modules["pandas"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if value is _ABSENT and key not in _COLUMNS:
            pandas.reset_option(key)
        else:
            pandas.set_option(key, _COLUMNS[key] if value is _ABSENT else value)


# --- numpy


def _read_numpy() -> dict[str, Any]:
    numpy: Any = sys.modules["numpy"]
    printed = numpy.get_printoptions().items()
    found = {f"print {key}": value for key, value in printed if key in _PRINTED and not _same(value, _PRINTED[key])}
    return found | {f"error {key}": value for key, value in numpy.geterr().items() if value != _ERRORS[key]}


def _put_numpy(key: str, value: Any) -> None:
    numpy: Any = sys.modules["numpy"]
    kind, _, name = key.partition(" ")
    if kind == "print":
        numpy.set_printoptions(**{name: _PRINTED[name] if value is _ABSENT else value})
    else:
        numpy.seterr(**{name: _ERRORS[name] if value is _ABSENT else value})


# --- torch


def _read_torch() -> dict[str, Any]:
    torch: Any = sys.modules["torch"]
    found = {}
    for key, (read, _, usual) in _TORCH.items():
        with contextlib.suppress(Exception):  # another version
            if not _same(value := read(torch), usual):
                found[key] = value
    return found


def _put_torch(key: str, value: Any) -> None:
    _, put, usual = _TORCH[key]
    put(sys.modules["torch"], usual if value is _ABSENT else value)


def _set_printed(torch: Any, values: tuple[Any, ...]) -> None:
    names = ("precision", "threshold", "edgeitems", "linewidth", "sci_mode")
    torch.set_printoptions(**dict(zip(names, values, strict=True)))
    torch._tensor_str.PRINT_OPTS.sci_mode = values[-1]  # noqa: SLF001 -- the call leaves it alone where it is None


def _printed(torch: Any) -> tuple[Any, ...]:
    held = torch._tensor_str.PRINT_OPTS  # noqa: SLF001 -- it has no public name
    return held.precision, held.threshold, held.edgeitems, held.linewidth, held.sci_mode


def _set_device(torch: Any, device: str | None) -> None:
    if device is not None:
        torch.empty(0, device=device)  # raises where there is no such device
    torch.set_default_device(device)


def _device(torch: Any) -> str | None:
    device = str(torch.get_default_device())
    return None if device == "cpu" else device


def _flag(*path: str) -> tuple[Callable[[Any], Any], Callable[[Any, Any], None]]:
    def place(torch: Any) -> Any:
        for name in path[:-1]:
            torch = getattr(torch, name)
        return torch

    return (lambda torch: getattr(place(torch), path[-1])), lambda torch, value: setattr(place(torch), path[-1], value)


_TORCH: dict[str, tuple[Callable[[Any], Any], Callable[[Any, Any], None], Any]] = {
    "default_dtype": (
        lambda torch: str(torch.get_default_dtype()).removeprefix("torch."),
        lambda torch, name: torch.set_default_dtype(getattr(torch, name)),
        "float32",
    ),
    "default_device": (_device, _set_device, None),
    "printed": (_printed, _set_printed, (4, 1000.0, 3, 80, None)),
    "grad": (lambda torch: torch.is_grad_enabled(), lambda torch, on: torch.set_grad_enabled(on), True),
    "float32_matmul_precision": (
        lambda torch: torch.get_float32_matmul_precision(),
        lambda torch, value: torch.set_float32_matmul_precision(value),
        "highest",
    ),
    "deterministic": (
        lambda torch: (
            torch.are_deterministic_algorithms_enabled(),
            torch.is_deterministic_algorithms_warn_only_enabled(),
        ),
        lambda torch, value: torch.use_deterministic_algorithms(value[0], warn_only=value[1]),
        (False, False),
    ),
    "cudnn.deterministic": (*_flag("backends", "cudnn", "deterministic"), False),
    "cudnn.benchmark": (*_flag("backends", "cudnn", "benchmark"), False),
}


# --- Python's own


def _read_path() -> dict[str, Any]:
    """Return the folders that the person added, absolute, and whether each comes before Python's own."""
    first: list[str] = _first.get("path", sys.path)
    found: dict[str, Any] = {}
    front = True
    for entry in sys.path:
        if entry in first:
            front = front and entry != next((one for one in first if one), None)
        else:
            found[str(Path(entry).absolute())] = front
    return found


def _put_path(folder: str, front: Any) -> None:
    there = [entry for entry in sys.path if entry and str(Path(entry).absolute()) == folder]
    if front is _ABSENT:
        for entry in there:
            sys.path.remove(entry)
        return
    if not Path(folder).exists():
        raise _NotHereError(f"the folder {folder} is not here")
    if not there:
        sys.path.insert(0 if front else len(sys.path), folder)


def _filter_key(one: tuple[Any, ...]) -> str:
    action, message, category, module, line = one
    texts = (getattr(message, "pattern", message) or "", getattr(module, "pattern", module) or "")
    return "\n".join((action, f"{category.__module__}:{category.__qualname__}", *texts, str(line)))


def _read_warnings() -> dict[str, Any]:
    """Return the filters that were added, the first one first."""
    first: set[str] = _first.get("warnings", set())
    keys = [_filter_key(one) for one in warnings.filters]
    return {key: True for key in reversed(keys) if key not in first}


def _put_warnings(key: str, value: Any) -> None:
    if value is _ABSENT:
        kept = [one for one in warnings.filters if _filter_key(one) != key]
        warnings.resetwarnings()
        warnings.filters[:] = kept  # type: ignore[index]
        return
    action, category, message, module, line = key.split("\n")
    place, _, name = category.partition(":")
    if place in sys.modules:  # else nobody here can warn so
        kind = getattr(sys.modules[place], name)
        warnings.filterwarnings(action, message, kind, module, int(line))  # type: ignore[arg-type]


def _read_decimal() -> dict[str, Any]:
    import decimal

    now, usual = decimal.getcontext(), decimal.DefaultContext
    found = {key: getattr(now, key) for key in _DECIMAL if getattr(now, key) != getattr(usual, key)}
    traps = sorted(signal.__name__ for signal, on in now.traps.items() if on)
    return found if traps == sorted(s.__name__ for s, on in usual.traps.items() if on) else {**found, "traps": traps}


def _put_decimal(key: str, value: Any) -> None:
    import decimal

    now, usual = decimal.getcontext(), decimal.DefaultContext
    if key == "traps":
        for signal in now.traps:
            now.traps[signal] = usual.traps[signal] if value is _ABSENT else signal.__name__ in value
    else:
        setattr(now, key, getattr(usual, key) if value is _ABSENT else value)


_DECIMAL = ("prec", "rounding", "Emin", "Emax", "capitals", "clamp")
_TABLE: dict[str, tuple[Callable[[], dict[str, Any]], Callable[[str, Any], None]]] = {
    "sys": (_read_path, _put_path),
    "warnings": (_read_warnings, _put_warnings),
    "decimal": (_read_decimal, _put_decimal),
    "numpy": (_read_numpy, _put_numpy),
    "pandas": (_read_pandas, _put_pandas),
    "matplotlib": (_read_matplotlib, _put_matplotlib),
    "torch": (_read_torch, _put_torch),
}
