"""Fetches names that the kernel holds but did not ship, at the moment when user code misses them.

Python looks a missing global up in `__builtins__`, and asks a *subclass* of dict there for `__missing__`: in functions
too, and in eval and exec. The trap: with such builtins CPython 3.11 finds `len` or `range` 3.5 times slower, so the
hook is only put in when the cell reads a name that nobody knows, or runs code that cannot be read beforehand.
"""

from __future__ import annotations

import ast
import builtins
import contextlib
import re
import types
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

# Names through which code is run or names are looked up that no reading of the cell can foresee.
DYNAMIC = frozenset({"eval", "exec", "compile", "globals", "locals", "vars", "ev", "ex", "safe_execfile"})
# Methods whose texts name variables: pandas' query and eval, and what IPython makes of `!command` and `%magic`.
_SPEAKING = frozenset({"query", "eval", "system", "getoutput", "run_line_magic", "run_cell_magic"})
_NAMES_IN_TEXT = re.compile(r"@([A-Za-z]\w*)|\{([A-Za-z]\w*)|\$([A-Za-z]\w*)")
_PYTHON_MAGICS = frozenset({"time", "timeit", "capture", "prun", "memit", "mprun", "lprun"})
_TEXT_MAGICS = frozenset({"matplotlib", "pip", "conda", "cd", "pwd", "ls", "env", "config", "load_ext", "who", "whos"})


_NEED = "__dure_need__"


class FetchingBuiltins(dict[str, Any]):
    """The builtins, with a last resort: `fetch(name)` returns the value or raises KeyError (a NameError follows)."""

    def __init__(self, fetch: Callable[[str], Any]) -> None:
        super().__init__(vars(builtins))
        self._fetch = fetch
        self[_NEED] = self._need

    def _need(self, key: Any) -> Any:
        """Return `key`; when it names what only the notebook has, that is fetched first."""
        if isinstance(key, str) and key.isidentifier() and not key.startswith("_"):
            with contextlib.suppress(KeyError):  # the dict's own lookup tells it, where the user wrote it
                self._fetch(key)
        return key

    def __missing__(self, name: str) -> Any:
        if name in vars(builtins):  # added since, by a library
            return vars(builtins)[name]
        if name.startswith("_"):
            raise KeyError(name)
        return self._fetch(name)


class AskingForKeys(ast.NodeTransformer):
    """Lets `globals()[key]` of a cell's own lines ask for a computed key before the dict, which no hook sees.

    Nothing inside functions, classes and generators: they may outlive the cell and go where nobody knows our builtin.
    `hooked` tells whether the builtins are ours.
    """

    def __init__(self, hooked: Callable[[], bool]) -> None:
        self._hooked = hooked

    def visit_Module(self, node: ast.Module) -> ast.AST:
        """Leave a cell alone whose builtins are Python's own."""
        return self.generic_visit(node) if self._hooked() else node

    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        """Put the question around a computed key that is read."""
        self.generic_visit(node)
        call = node.value
        own = isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "globals"
        if own and isinstance(node.ctx, ast.Load) and not isinstance(node.slice, ast.Constant | ast.Slice):
            asked = ast.Call(ast.Name(_NEED, ast.Load()), [node.slice], [])
            node.slice = ast.fix_missing_locations(ast.copy_location(asked, node.slice))
        return node

    def _as_it_is(self, node: ast.AST) -> ast.AST:
        return node

    visit_FunctionDef = visit_AsyncFunctionDef = visit_ClassDef = _as_it_is  # noqa: N815
    visit_Lambda = visit_GeneratorExp = _as_it_is  # noqa: N815


@dataclass(frozen=True, slots=True)
class Misses:
    """What a cell may lack: `hook` when it may look for an unknown name, `spoken` names that stand in its texts."""

    hook: bool
    spoken: tuple[str, ...]


def misses(tree: ast.AST, known: Iterable[str]) -> Misses:
    """Return what a cell may look for that is not in `known`, among the builtins or bound by itself.

    Names in texts (`df.query("a > @limit")`, `!echo {word}`, `globals()["x"]`) are looked up in the namespace's dict,
    which no hook can see, so they are to be fetched beforehand.
    """
    reader = _Reader()
    reader.visit(tree)
    have = {*reader.bound, *known, *vars(builtins), "get_ipython"}
    return Misses(reader.dynamic or bool(reader.read - have), tuple(sorted(reader.spoken - have)))


def runs_unread_code(namespace: Mapping[str, Any]) -> bool:
    """Return whether a notebook function in `namespace` uses eval, exec and the like."""
    return any(_is_dynamic(code) for value in namespace.values() for code in _codes(value))


def _codes(value: Any) -> Iterable[types.CodeType]:
    if isinstance(value, types.FunctionType) and value.__module__ == "__main__":
        yield value.__code__
    elif isinstance(value, type) and value.__module__ == "__main__":
        for item in vars(value).values():
            function = getattr(item, "__func__", item)
            if isinstance(function, types.FunctionType):
                yield function.__code__


def _is_dynamic(code: types.CodeType) -> bool:
    if DYNAMIC & set(code.co_names):
        return True
    return any(_is_dynamic(const) for const in code.co_consts if isinstance(const, types.CodeType))


class _Reader(ast.NodeVisitor):
    """Collects names that are read, names that are bound anywhere, and whether something dynamic is used."""

    def __init__(self) -> None:
        self.read: set[str] = set()
        self.bound: set[str] = set()
        self.spoken: set[str] = set()
        self.dynamic = False

    def visit_Name(self, node: ast.Name) -> None:
        (self.read if isinstance(node.ctx, ast.Load) else self.bound).add(node.id)
        self.dynamic |= node.id in DYNAMIC

    def visit_Attribute(self, node: ast.Attribute) -> None:
        self.dynamic |= node.attr in DYNAMIC
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        if isinstance(node.func, ast.Attribute) and node.func.attr in {"run_cell_magic", "run_line_magic"}:
            self._magic([item.value for item in node.args if isinstance(item, ast.Constant)])
        if isinstance(node.func, ast.Attribute) and node.func.attr in _SPEAKING:
            texts = [part.value for item in node.args for part in ast.walk(item) if isinstance(part, ast.Constant)]
            self._listen(text for text in texts if isinstance(text, str))
        self.generic_visit(node)

    def _listen(self, texts: Iterable[str]) -> None:
        for text in texts:
            self.spoken.update(name for names in _NAMES_IN_TEXT.findall(text) for name in names if name)

    def visit_Subscript(self, node: ast.Subscript) -> None:
        if isinstance(node.value, ast.Call) and isinstance(node.value.func, ast.Name):
            looked_up = isinstance(node.slice, ast.Constant) and node.value.func.id in {"globals", "locals", "vars"}
            if looked_up and isinstance(node.slice, ast.Constant) and str(node.slice.value).isidentifier():
                self.spoken.add(str(node.slice.value))
        self.generic_visit(node)

    def _magic(self, texts: list[Any]) -> None:
        name, code = str(texts[0]) if texts else "", "\n".join(str(text) for text in texts[1:])
        if name in _TEXT_MAGICS or not _takes_python(name):
            return
        try:
            self.visit(ast.parse(str(texts[-1])))
        except (SyntaxError, ValueError):
            self.dynamic = bool(code.strip())

    def visit_arg(self, node: ast.arg) -> None:
        self.bound.add(node.arg)
        self.generic_visit(node)

    def visit_alias(self, node: ast.alias) -> None:
        self.bound.add((node.asname or node.name).split(".")[0])
        self.dynamic |= node.name == "*"

    def _named(self, node: Any) -> None:
        if node.name:
            self.bound.add(node.name)
        self.generic_visit(node)

    visit_FunctionDef = visit_AsyncFunctionDef = visit_ClassDef = _named  # noqa: N815
    visit_ExceptHandler = visit_MatchAs = visit_MatchStar = _named  # noqa: N815

    def visit_MatchMapping(self, node: ast.MatchMapping) -> None:
        if node.rest:
            self.bound.add(node.rest)
        self.generic_visit(node)


def _takes_python(magic: str) -> bool:
    return magic in _PYTHON_MAGICS or magic == "run"
