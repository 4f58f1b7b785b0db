"""What the notebook has put into libraries: classes that it registered there (`jax.tree_util`, `numbers.Number`), and
functions that it set on their classes and modules (`pd.DataFrame.plus = f`).

The cells say it: each is read once, and only where its text gives reason to. Found is a call or decorator outside the
bodies of functions whose name says that it registers, and an attribute that is set under a name that is written out,
where all that both name is bound now. Not found is what a cell does not say itself: what a function that it calls
registers, a name that is computed (`setattr(cls, name, f)` in a loop), `exec`, `%run`. To look into the libraries
instead costs 22 ms a save beside pandas (5,100 classes, 900 modules), and most keep what is registered elsewhere.

A class or module that the notebook patched is looked at again at every save. The one trap: a call is made again after a
restore only where it does no more than register (`_CERTAIN`); what any other library does with it nobody knows, so that
is named with its cell.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import importlib
import re
import sys
import types
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dure.state.objects.classes import by_reference
from dure.state.objects.rebuild import attribute as reached

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator, Mapping, Sequence

ABOUT = "registered"
_PROCESS = uuid.uuid4().hex  # what was registered in this process need not be again
_WORTH_READING = re.compile(r"register|for_type|copyreg|setattr|^[ \t]*\w+(\.\w+)+[ \t]*=[^=]", re.MULTILINE)
_REGISTERING = re.compile(r"register|_?for_type(_by_name)?$|pickle$")
_CERTAIN = frozenset(
    ("abc", "_abc", "_codecs", "atexit", "codecs", "copyreg", "functools", "jax", "torch", "pandas", "matplotlib")
)
_MAGICS = "IPython.core.magic"
_ASKED = ("register", "for_type", "for_type_by_name")  # what was given to these IPython's shell can be asked for
_FUNCTIONS = (types.FunctionType, staticmethod, classmethod, property, functools.partial, functools.partialmethod)
_READ = 200_000  # letters of a cell
_TOLD = 40  # letters of what was registered
_MISSING = object()
Again = tuple[Any, ...]  # how something is done again: what `_do` takes


class _UnknownError(Exception):
    """An expression whose value cannot be told without running it."""


@dataclass(slots=True)
class Registration:
    """One thing that a cell put into a library: what and where, as a person reads it, and how to do it again."""

    label: str
    again: tuple[Any, ...] | None = None
    owner: Any = None  # of an attribute that was set
    attribute: str = ""
    of_shell: bool = False  # what hangs on IPython's shell, which can be asked for it

    def now(self) -> tuple[Any, ...] | None:
        """Return how it is done again, as of now; None where it cannot be done again, `()` where it was undone."""
        if self.owner is None:
            return self.again
        value = vars(self.owner).get(self.attribute, _MISSING)
        if not _of_notebook(value):
            return ()
        return ("set", *_address(self.owner), self.attribute, value)


class Registered:
    """What the cells of one namespace have put into libraries."""

    def __init__(self) -> None:
        self._seen: dict[tuple[int, str], list[Registration]] = {}
        self._missing: dict[str, tuple[int | None, Again]] = {}  # what an earlier shell had and this one cannot have

    def carry_on(self, extras: Mapping[str, Any], cells: Sequence[str], missing: Container[str]) -> None:
        """Take over what was saved in `extras`. Its cells are not read again, since not all of their names need be
        here. What this shell lacks of an earlier one (`missing`) is kept for the next.
        """
        process, about = extras.get(ABOUT, (_PROCESS, []))
        if process == _PROCESS:
            return
        self._seen = {(number, cell): [] for number, cell in enumerate(cells)}
        for number, (label, made, of_shell) in enumerate(about):
            again = extras.get(f"{ABOUT}[{number}]")
            if of_shell and label in missing and again is not None:
                self._missing[label] = made, again
            elif not of_shell and made < len(cells):
                self._seen[made, cells[made]].append(_known(label, again))

    def extras(
        self,
        namespace: Mapping[str, Any],
        cells: Sequence[str],
        of_shell: Iterable[tuple[str, int | None, Again]] | None = None,
    ) -> dict[str, Any]:
        """Return what to save beside the variables: the list of what was registered, with the cells, and of each how it
        is done again, where that is certain; empty where nothing was. `of_shell` is what the shell itself tells.
        """
        seen = {}
        about: list[tuple[str, int | None, bool]] = []
        found: dict[str, Any] = {}
        asked = list(of_shell or ())
        labels = {label for label, *_ in asked}
        asked += [(label, *kept) for label, kept in self._missing.items() if label not in labels]
        for label, made, again in asked:
            found[f"{ABOUT}[{len(about)}]"] = again
            about.append((label, made, True))
        for number, cell in enumerate(cells):
            read = self._seen.get((number, cell))
            if read is None:
                read = list(_read(cell, namespace))
            seen[number, cell] = read
            for each in read:
                now = each.now()
                if now == () or (each.of_shell and of_shell is not None):
                    continue
                if now is not None:
                    found[f"{ABOUT}[{len(about)}]"] = now
                about.append((each.label, number, False))
        self._seen = seen
        return {ABOUT: (_PROCESS, about), **found} if about else {}


def register_again(extras: Mapping[str, Any]) -> dict[str, tuple[int | None, str]]:
    """Register what was registered where `extras` were saved; return what was not, with its cell and the reason."""
    process, about = extras.get(ABOUT, (_PROCESS, []))
    if process == _PROCESS:
        return {}
    missing = {}
    for number, (label, cell, _) in enumerate(about):
        again = extras.get(f"{ABOUT}[{number}]")
        try:
            if again is None:
                missing[label] = (cell, "it was registered with a library: run its cell again")
            else:
                _do(*again)
        except Exception as error:
            missing[label] = (cell, f"it cannot be registered again ({error})")
    return missing


def _known(label: str, again: Again | None) -> Registration:
    if again is not None and again[0] == "set":
        _, module, path, attribute, _ = again
        with contextlib.suppress(Exception):  # it is named already
            imported: Any = importlib.import_module(module)
            return Registration(label, owner=reached(imported, path) if path else imported, attribute=attribute)
    return Registration(label, again)


def _do(how: str, module: str, path: str, *rest: Any) -> None:
    imported: Any = importlib.import_module(module)
    found = reached(imported, path) if path else imported
    if how == "set":
        setattr(found, *rest)
        return
    arguments, named, decorated = rest
    made = found(*arguments, **named)
    for value in decorated:
        made(value)


def _read(cell: str, namespace: Mapping[str, Any]) -> Iterator[Registration]:
    """Return what one cell has registered, as its names are bound now."""
    if len(cell) > _READ or not _WORTH_READING.search(cell):
        return
    try:
        tree = ast.parse(cell)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return
    reader = _Reader(namespace)
    for node in ast.walk(tree):
        yield from reader.patched(node)
    for node in _run_at_once(tree):
        yield from reader.registered(node)


def _run_at_once(node: ast.AST) -> Iterator[ast.AST]:
    """Return the nodes outside the bodies of functions."""
    yield node
    if isinstance(node, ast.Lambda):
        return
    for child in ast.iter_child_nodes(node):
        if not (isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and child in node.body):
            yield from _run_at_once(child)


class _Reader:
    """Tells what expressions of a cell stand for, without running anything."""

    def __init__(self, namespace: Mapping[str, Any]) -> None:
        self._namespace = namespace

    def patched(self, node: ast.AST) -> Iterator[Registration]:
        """Return the attributes of a library's modules and classes that the node sets."""
        found: list[tuple[ast.expr, str]] = []
        if isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found = [(each.value, each.attr) for each in targets if isinstance(each, ast.Attribute)]
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "setattr" and len(node.args) > 1:
            name = node.args[1]
            found = [(node.args[0], str(name.value))] if isinstance(name, ast.Constant) else []
        for owner, attribute in found:
            try:
                value = self.value(owner)
            except _UnknownError:
                continue
            if _of_library(value) and isinstance(value, type | types.ModuleType):
                yield Registration(f"{ast.unparse(owner)}.{attribute}", owner=value, attribute=attribute)

    def registered(self, node: ast.AST) -> Iterator[Registration]:
        """Return what the node, a call or what is decorated, registers."""
        if isinstance(node, ast.Call) and (found := self._call(node, None)) is not None:
            yield found
        elif isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            for decorator in node.decorator_list:
                call = decorator if isinstance(decorator, ast.Call) else ast.Call(decorator, [], [])
                if (found := self._call(call, node.name, called=call is decorator)) is not None:
                    yield found

    def _call(self, call: ast.Call, decorated: str | None, *, called: bool = True) -> Registration | None:
        func, args, partial = call.func, list(call.args), False
        if decorated is not None and called and ast.unparse(func).endswith("partial") and args:
            func, args, partial = args[0], args[1:], True
        last = func.attr if isinstance(func, ast.Attribute) else func.id if isinstance(func, ast.Name) else ""
        if not _REGISTERING.match(last):
            return None
        address, certain = self._callee(func, last)
        if address is None:
            return None
        values = [decorated] if decorated is not None else []
        subjects = [*values, *(ast.unparse(each) for each in [*args, *(word.value for word in call.keywords)])]
        try:
            positional = tuple(self.value(each) for each in args)
            named = {str(word.arg): self.value(word.value) for word in call.keywords}
            it = (self._namespace[decorated],) if decorated is not None else ()
        except (_UnknownError, KeyError):
            if decorated is None and not any(self._is_own(each) for each in args):
                return None
            certain, positional, named, it = False, (), {}, ()
        else:
            if not any(_of_notebook(each) for each in (*positional, *named.values(), *it)):
                return None
        again: tuple[Any, ...] | None = None
        if certain and (partial or not called):
            again = ("call", *address, (*positional, *it), named, ())
        elif certain:
            again = ("call", *address, positional, named, it)
        label = f"{(subjects or [''])[0][:_TOLD]} → {ast.unparse(func)}"
        return Registration(label, again, of_shell=last in _ASKED and self._is_shells(func))

    def _is_own(self, node: ast.expr) -> bool:
        try:
            return isinstance(node, ast.Lambda) or _of_notebook(self.value(node))
        except _UnknownError:
            return False

    def _callee(self, func: ast.expr, last: str) -> tuple[tuple[str, str] | None, bool]:
        """Return how to reach what is called, None where it is not a library's, and whether calling it is certain."""
        if self._is_shells(func):
            return ("", ""), False
        try:
            function = self.value(func)
            owner = self.value(func.value) if isinstance(func, ast.Attribute) else None
        except _UnknownError:
            return None, False
        module = str(getattr(function, "__module__", None) or type(getattr(function, "__self__", None)).__module__)
        if owner is None:
            owner = sys.modules.get(module)
        if owner is None or not callable(function) or not _of_library(owner):
            return None, False
        if getattr(owner, last, None) != function:
            return ("", ""), False
        place, path = _address(owner)
        certain = module == _MAGICS or module.partition(".")[0] in _CERTAIN
        return (place, f"{path}.{last}" if path else last), certain

    def _is_shells(self, func: ast.expr) -> bool:
        """Tell whether it is a method of IPython's shell, or of what that has."""
        node: Any = func
        while isinstance(node, ast.Attribute | ast.Subscript | ast.Call):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "get_ipython":
                return True
            node = node.func if isinstance(node, ast.Call) else node.value
        found = self._namespace.get(node.id) if isinstance(node, ast.Name) and node is not func else None
        return type(found).__module__.partition(".")[0] in ("IPython", "ipykernel")

    def value(self, node: ast.expr) -> Any:
        """Return what an expression is that runs nobody's code."""
        if isinstance(node, ast.Constant):
            return node.value
        if isinstance(node, ast.Name) and node.id in self._namespace:
            return self._namespace[node.id]
        if isinstance(node, ast.Attribute):
            owner = self.value(node.value)
            if isinstance(owner, type | types.ModuleType | types.FunctionType):
                found = getattr(owner, node.attr, _MISSING)
                if found is not _MISSING:
                    return found
        if isinstance(node, ast.List | ast.Tuple):
            made = [self.value(each) for each in node.elts]
            return made if isinstance(node, ast.List) else tuple(made)
        if isinstance(node, ast.Lambda) and not (node.args.defaults or any(node.args.kw_defaults)):
            made_by = compile(ast.Expression(node), "<cell>", "eval").co_consts
            code = next(each for each in made_by if isinstance(each, types.CodeType))
            return types.FunctionType(code, self._namespace)  # type: ignore[arg-type]
        builtins = self._namespace.get("__builtins__")
        names = vars(builtins) if isinstance(builtins, types.ModuleType) else builtins or {}
        if isinstance(node, ast.Name) and node.id in names:
            return names[node.id]
        raise _UnknownError


def _of_notebook(value: Any) -> bool:
    """Tell whether it is a function or class that the notebook made."""
    if isinstance(value, property | functools.partial | staticmethod | classmethod | functools.partialmethod):
        inner = value.fget if isinstance(value, property) else getattr(value, "func", getattr(value, "__func__", None))
        return _of_notebook(inner)
    return isinstance(value, (type, *_FUNCTIONS)) and not by_reference(value)


def _of_library(value: Any) -> bool:
    if isinstance(value, types.ModuleType):
        return value.__name__ != "__main__" and sys.modules.get(value.__name__) is value
    return isinstance(value, type | types.FunctionType) and by_reference(value)


def _address(owner: Any) -> tuple[str, str]:
    if isinstance(owner, types.ModuleType):
        return owner.__name__, ""
    return owner.__module__, owner.__qualname__
