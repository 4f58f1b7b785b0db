"""What a person has set of IPython itself: extensions, `%autoreload`, `%precision`, aliases, options, and what of the
notebook hangs on the shell (formatters, hooks, transformers). It is put back into the next kernel's shell.

Only what differs from the shell as it was when Dure was loaded counts. The trap: a library hangs its own things there
when it is imported, so of functions only the notebook's are kept.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import io
import sys
import types
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from dure.state.libraries.registered import Again

_HERE = __name__
_LISTS = ("input_transformers_cleanup", "input_transformers_post", "ast_transformers")
_SIMPLE = (bool, int, float, str, type(None), set, list, tuple)
_QUIET = ("run_magic", "set_option", "draw_on_show")  # which hang nothing on the shell
_INLINE = "InlineBackend"
_ALWAYS = ("load_ext ", "autoreload ")  # also what was loaded before Dure
_OWN = frozenset({"shell", "parent", "config", "colors_force", "displayhook_class", "display_pub_class"})


class ShellSettings:
    """What has been set in one shell since this was made."""

    def __init__(self, shell: Any) -> None:
        self._shell = shell
        self._cells: dict[str, int] = {}
        self._names: dict[str, list[str]] = {}  # of each owner's options
        self._first: dict[str, Any] = {}
        self._commands_first: dict[str, str] = {}
        with contextlib.suppress(AttributeError):  # a shell of another kind
            self._first = {option: value for option, _, value in self._options()}
            self._commands_first = dict(self._commands())

    @property
    def reloading(self) -> bool:
        """Whether modules are loaded again as soon as they are edited."""
        return _autoreload(self._shell) not in (None, "0")

    def made(self, cells: Sequence[str]) -> list[tuple[str, int | None, Again]]:
        """Return what was set, as a person reads it, with the cell that did and how it is done again."""
        try:
            return list(self._made(cells))
        except Exception:  # a shell of another kind
            return []

    def _made(self, cells: Sequence[str]) -> Iterator[tuple[str, int | None, Again]]:
        for command, word in self._commands():
            if command not in self._commands_first or command.startswith(_ALWAYS):
                yield f"%{command}", self._cell(word, cells), _call("run_magic", command)
        for option, owner, value in self._options():
            name = option.rpartition(".")[2]
            if value != (self._first[option] if option in self._first else _plain(owner.trait_defaults(name))):
                kind = type(owner)
                again = _call("set_option", kind.__module__, kind.__name__, name, value)
                yield option, self._cell(name, cells), again
        for label, word, again in self._hung():
            yield label, self._cell(word, cells), again

    def _cell(self, word: str, cells: Sequence[str]) -> int | None:
        known = self._cells.get(word)
        if known is None or known >= len(cells) or word not in cells[known]:
            known = next((number for number in reversed(range(len(cells))) if word in cells[number]), None)
            if known is not None:
                self._cells[word] = known
        return known

    def _commands(self) -> Iterator[tuple[str, str]]:
        """Return the magics that set the shell as it is now, each with a word to find the cell by that ran it."""
        shell = self._shell
        for name in sorted(shell.extension_manager.loaded):
            if name.partition(".")[0] not in ("dure", "storemagic"):
                yield f"load_ext {name}", name
        if (mode := _autoreload(shell)) is not None:
            yield f"autoreload {mode}", "autoreload"
        if (backend := _backend()) is not None:
            yield f"matplotlib {backend}", "matplotlib"
        for name, command in shell.alias_manager.aliases:
            yield f"alias {name} {command}", name
        yield f"xmode {shell.InteractiveTB.mode}", "xmode"
        yield f"pdb {'on' if shell.call_pdb else 'off'}", "pdb"
        for kind, flag in (("line", "-l"), ("cell", "-c")):
            for name, magic in shell.magics_manager.magics[kind].items():
                if type(magic).__name__ == "MagicAlias":
                    yield f"alias_magic {flag} {name} {magic.magic_name}", name

    def _options(self) -> Iterator[tuple[str, Any, Any]]:
        """Return each option's name, its owner and its value."""
        shell = self._shell
        owners = [shell, shell.display_formatter.formatters["text/plain"], getattr(shell, "Completer", None)]
        owners += [each for each in shell.configurables if type(each).__name__ == _INLINE]
        for owner in owners:
            if owner is None:
                continue
            kind = "InteractiveShell" if owner is shell else type(owner).__name__
            if kind not in self._names:
                self._names[kind] = sorted(set(owner.trait_names(config=True)) - _OWN)
            for name in self._names[kind]:
                value = getattr(owner, name, None)
                if type(value) in _SIMPLE:
                    yield f"{kind}.{name}", owner, _plain(value)

    def _hung(self) -> Iterator[tuple[str, str, Again]]:
        shell = self._shell
        for place in _LISTS:
            for it in getattr(shell, place, ()):
                if _of_notebook(it):
                    yield f"{_name(it)} → get_ipython().{place}", place, _call("hang", place, it)
        for event, calls in shell.events.callbacks.items():
            for it in calls:
                if _of_notebook(it):
                    yield f"{_name(it)} → {event}", event, _call("hang_on_event", event, it)
        if "matplotlib_inline.backend_inline" in sys.modules and not sys.modules["matplotlib"].is_interactive():
            yield "plt.ioff()", "ioff", _call("draw_on_show")
        formatter = shell.display_formatter
        for mime, each in (*formatter.formatters.items(), ("", formatter.mimebundle_formatter)):
            for kind, it in (*each.type_printers.items(), *each.deferred_printers.items()):
                if _of_notebook(it):
                    label = kind.__name__ if isinstance(kind, type) else ".".join(kind)
                    yield f"{label} → {mime or 'mimebundle'}", "for_type", _call("format_as", mime, kind, it)
        if shell.custom_exceptions and (handler := _custom_handler(shell)) is not None and _of_notebook(handler):
            yield (
                f"{_name(handler)} → set_custom_exc",
                "set_custom_exc",
                _call("handle_with", shell.custom_exceptions, handler),
            )


def hung_in(registered: Mapping[str, Any]) -> list[Any]:
    """Return the functions and objects of what was saved that IPython calls by itself."""
    saved = [each for each in registered.values() if each[:2] == ("call", _HERE) and each[2] not in _QUIET]
    return [each[3][-1] for each in saved]


def run_magic(command: str) -> None:
    """Run a line magic without what it prints."""
    name, _, line = command.partition(" ")
    with contextlib.redirect_stdout(io.StringIO()):
        _shell().run_line_magic(name, line)


def set_option(module: str, kind: str, name: str, value: Any) -> None:
    """Set an option of the shell, its formatter, completer or way of drawing."""
    shell = _shell()
    if kind == _INLINE:
        owner: Any = getattr(importlib.import_module(module), kind).instance(parent=shell)
        owner.shell = shell
        if owner not in shell.configurables:
            shell.configurables.append(owner)
    else:
        plain = shell.display_formatter.formatters["text/plain"]
        owner = next(each for each in (plain, shell.Completer, shell) if type(each).__name__ == kind or each is shell)
    setattr(owner, name, set(value) if isinstance(getattr(owner, name), set) else value)


def draw_on_show() -> None:
    """Have figures shown by `plt.show()` alone, after `plt.ioff()`."""
    importlib.import_module("matplotlib_inline.backend_inline")  # which turns it on, the first time
    importlib.import_module("matplotlib").interactive(False)


def hang(place: str, it: Any) -> None:
    """Put a transformer of the notebook's where it was, once."""
    found = getattr(_shell(), place)
    found[:] = [*(each for each in found if not _same(each, it)), it]


def hang_on_event(event: str, call: Any) -> None:
    """Have the notebook's function called at an event of the shell again, once."""
    events = _shell().events
    for each in [each for each in events.callbacks[event] if _same(each, call)]:
        events.unregister(event, each)
    events.register(event, call)


def format_as(mime: str, kind: Any, how: Any) -> None:
    """Have the objects of a class shown by the notebook's function."""
    formatter = _shell().display_formatter
    found = formatter.formatters[mime] if mime else formatter.mimebundle_formatter
    if isinstance(kind, type):
        found.for_type(kind, how)
    else:
        found.for_type_by_name(*kind, how)


def handle_with(exceptions: tuple[type[BaseException], ...], handler: Any) -> None:
    """Have the notebook's function show exceptions."""
    _shell().set_custom_exc(exceptions, handler)


def _shell() -> Any:
    from IPython.core.getipython import get_ipython

    return get_ipython()


def _call(name: str, *arguments: Any) -> Again:
    return ("call", _HERE, name, arguments, {}, ())


def _plain(value: Any) -> Any:
    return sorted(value) if type(value) is set else value


def _backend() -> str | None:
    """Return what matplotlib draws with, where that is not the notebook's own way."""
    matplotlib: Any = sys.modules.get("matplotlib")
    backend = dict.get(matplotlib.rcParams, "backend") if hasattr(matplotlib, "rcParams") else None
    return backend if isinstance(backend, str) and not backend.endswith("inline") else None


def _autoreload(shell: Any) -> str | None:
    magics = shell.magics_manager.registry.get("AutoreloadMagics")
    reloader = getattr(magics, "_reloader", None)
    if reloader is None:
        return None
    if not reloader.enabled:
        return "0"
    return "1" if not reloader.check_all else "3" if getattr(reloader, "autoload_obj", False) else "2"


def _custom_handler(shell: Any) -> Any:
    function = getattr(shell.CustomTB, "__func__", None)
    return inspect.getclosurevars(function).nonlocals.get("handler") if function is not None else None


def _of_notebook(it: Any) -> bool:
    it = getattr(it, "__self__", None) or getattr(it, "func", None) or it
    module = it.__module__ if isinstance(it, type | types.FunctionType) else type(it).__module__
    return module == "__main__"


def _same(first: Any, second: Any) -> bool:
    return _of_notebook(first) and _name(first) == _name(second)


def _name(it: Any) -> str:
    return str(getattr(it, "__qualname__", None) or type(it).__qualname__)
