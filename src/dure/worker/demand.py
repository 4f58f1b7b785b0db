"""Fetches names that the kernel holds but did not ship, at the moment when user code misses them.

Python looks a missing global up in `__builtins__`, and asks a *subclass* of dict there for `__missing__`: in functions
too, and in eval and exec. Whoever asks for a namespace as a whole (`globals()`, `dir()`) gets all that the notebook
has, since nothing tells what is looked up in it. The trap: with such builtins CPython 3.11 finds `len` or `range` 3.5
times slower, so the hook is only put in when the cell reads a name that nobody knows, or runs code that cannot be read
beforehand.
"""

from __future__ import annotations

import ast
import builtins
import contextlib
import re
import sys
import types
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

# Names through which code is run or names are looked up that no reading of the cell can foresee.
DYNAMIC = frozenset({"eval", "exec", "compile", "globals", "locals", "vars", "dir", "builtins"})
DYNAMIC |= {"ev", "ex", "safe_execfile", "run_cell", "run_cell_async", "magic"}
_RUNNING = frozenset({"run_line_magic", "run_cell_magic"})  # in functions, code as text
# Attributes that are a namespace as a whole, which no hook can see: all of the notebook is fetched beforehand.
_WHOLE = frozenset({"user_ns", "user_global_ns", "user_module", "f_globals", "__globals__"})
_WHOLE_MAGICS = frozenset({"who", "who_ls", "whos", "psearch"})
# Methods whose texts name variables: pandas' query and eval, and what IPython makes of `!command` and `%magic`.
_SPEAKING = frozenset({"query", "eval", "system", "getoutput", "run_line_magic", "run_cell_magic"})
_NAMES_IN_TEXT = re.compile(r"@([A-Za-z]\w*)|\{([A-Za-z]\w*)|\$([A-Za-z]\w*)")
_WORDS = re.compile(r"(?<![\w.])([A-Za-z]\w*)()()")
_PYTHON_MAGICS = frozenset({"time", "timeit", "capture", "prun", "memit", "mprun", "lprun", "run"})


_NEED, _PLAIN_GLOBALS = "__dure_need__", "__dure_globals__"
_PLAIN: dict[str, Callable[..., Any]] = {name: vars(builtins)[name] for name in ("globals", "locals", "vars", "dir")}
_UNREAD_VALUES = (eval, exec, *_PLAIN.values())


class FetchingBuiltins(dict[str, Any]):
    """The builtins, with a last resort: `fetch(name)` returns the value or raises KeyError (a NameError follows).

    Those that show a namespace as a whole call `fetch_all` first when it is `namespace`; between `cover` and `uncover`
    also when they are taken from the module `builtins`.
    """

    def __init__(
        self, fetch: Callable[[str], Any], fetch_all: Callable[[], None], namespace: Mapping[str, Any]
    ) -> None:
        super().__init__(vars(builtins))
        self._fetch = fetch
        self._fetch_all = fetch_all
        self._namespace = namespace
        self[_NEED] = self._need
        self[_PLAIN_GLOBALS] = _PLAIN["globals"]
        for name in _PLAIN:
            self[name] = _Shows(name, self._whole)

    def cover(self) -> None:
        """Put ours into the module `builtins`, where `builtins.globals()` finds them."""
        vars(builtins).update({name: self[name] for name in _PLAIN})

    @staticmethod
    def uncover() -> None:
        """Put Python's own back."""
        vars(builtins).update(_PLAIN)

    def _whole(self, space: Any) -> None:
        if space is self._namespace:
            self._fetch_all()

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


class _Shows:
    """Stands for the builtin `name` (globals, locals, vars, dir) and calls `whole` with a namespace before showing it.

    It is pickled as the builtin itself.
    """

    def __init__(self, name: str, whole: Callable[[Any], None]) -> None:
        self._name, self._whole = name, whole

    def __call__(self, *given: Any) -> Any:
        frame = sys._getframe(1)  # noqa: SLF001 -- the caller's, as the builtin itself takes it
        if given:
            if issubclass(type(given[0]), types.ModuleType):
                self._whole(given[0].__dict__)
            return _PLAIN[self._name](*given)
        space: Any = frame.f_globals if self._name == "globals" else frame.f_locals
        self._whole(space)
        if self._name == "dir":
            return sorted(space)
        return space if isinstance(space, dict) else dict(space)  # a function's, from Python 3.13 on

    def __reduce__(self) -> tuple[Any, ...]:
        return _builtin, (self._name,)

    def __repr__(self) -> str:
        return repr(_PLAIN[self._name])


def _builtin(name: str) -> Any:
    return getattr(builtins, name)


class AskingForKeys(ast.NodeTransformer):
    """Lets `globals()[key]`, `globals().get(key)` and `key in globals()` of a cell's own lines ask for that key alone.

    Nothing inside functions, classes and generators: they may outlive the cell and go where nobody knows our builtins.
    There `globals()` fetches all. `hooked` tells whether the builtins are ours.
    """

    def __init__(self, hooked: Callable[[], bool]) -> None:
        self._hooked = hooked

    def visit_Module(self, node: ast.Module) -> ast.AST:
        """Leave a cell alone whose builtins are Python's own."""
        return self.generic_visit(node) if self._hooked() else node

    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        """Put the question around a key; one that is only set needs none."""
        self.generic_visit(node)
        if not isinstance(node.slice, ast.Slice) and _takes_globals(node.value) and not isinstance(node.ctx, ast.Store):
            node.slice = _asked(node.slice)
        return node

    def visit_AugAssign(self, node: ast.AugAssign) -> ast.AST:
        """`globals()[key] += 1` reads what it sets."""
        target = node.target
        known = isinstance(target, ast.Subscript) and _is_globals(target.value)
        self.generic_visit(node)
        if known and isinstance(target, ast.Subscript):
            target.slice = _asked(target.slice)
        return node

    def visit_Call(self, node: ast.Call) -> ast.AST:
        """`globals().get(key, …)`."""
        self.generic_visit(node)
        gets = isinstance(node.func, ast.Attribute) and node.func.attr == "get"
        if gets and isinstance(node.func, ast.Attribute) and node.args and _takes_globals(node.func.value):
            node.args[0] = _asked(node.args[0])
        return node

    def visit_Compare(self, node: ast.Compare) -> ast.AST:
        """`key in globals()`."""
        self.generic_visit(node)
        if isinstance(node.ops[0], ast.In | ast.NotIn) and _takes_globals(node.comparators[0]):
            node.left = _asked(node.left)
        return node

    def _as_it_is(self, node: ast.AST) -> ast.AST:
        return node

    visit_FunctionDef = visit_AsyncFunctionDef = visit_ClassDef = _as_it_is  # noqa: N815
    visit_Lambda = visit_GeneratorExp = _as_it_is  # noqa: N815


def _is_globals(node: ast.AST) -> bool:
    named = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "globals"
    return named and isinstance(node, ast.Call) and not (node.args or node.keywords)


def _takes_globals(node: ast.AST) -> bool:
    """Whether `node` is `globals()`, which then fetches nothing by itself."""
    if _is_globals(node) and isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        node.func.id = _PLAIN_GLOBALS
        return True
    return False


def _asked(key: ast.expr) -> ast.expr:
    asked = ast.Call(ast.Name(_NEED, ast.Load()), [key], [])
    return ast.fix_missing_locations(ast.copy_location(asked, key))


@dataclass(frozen=True, slots=True)
class Misses:
    """What code may lack. `hook`: it may look for names that are not known beforehand. `spoken`: names in its texts.
    `whole`: it looks at the namespace as a whole, in a way that no hook sees.
    """

    hook: bool = False
    spoken: tuple[str, ...] = ()
    whole: bool = False


def misses(tree: ast.AST, known: Iterable[str]) -> Misses:
    """Return what a cell may look for that is not in `known`, among the builtins or bound by itself.

    Names in texts (`df.query("a > @limit")`, `!echo {word}`) are looked up in the namespace's dict, which no hook can
    see, so they are to be fetched beforehand.
    """
    reader = _Reader()
    reader.visit(tree)
    have = {*reader.bound, *known, *vars(builtins), "get_ipython"}
    hook = reader.dynamic or bool(reader.read - have)
    return Misses(hook, tuple(sorted(reader.spoken - have)), reader.whole)


def unread_code(namespace: Mapping[str, Any]) -> Misses:
    """Return what the notebook's functions in `namespace` may lack when they run."""
    used: set[str] = set()
    for value in namespace.values():
        for code in _codes(value):
            _use(code, used)
    hook = bool(used & (DYNAMIC | _RUNNING)) or any(map(_is_unread, namespace.values()))
    return Misses(hook, whole=_is_whole(used))


def _is_unread(value: Any) -> bool:
    """Whether a variable is one of the builtins that look names up: `look = globals`."""
    return type(value) is _Shows or any(value is known for known in _UNREAD_VALUES)


def _codes(value: Any) -> Iterable[types.CodeType]:
    if isinstance(value, types.FunctionType) and value.__module__ == "__main__":
        yield value.__code__
    elif isinstance(value, type) and value.__module__ == "__main__":
        for item in vars(value).values():
            function = getattr(item, "__func__", item)
            if isinstance(function, types.FunctionType):
                yield function.__code__


def _use(code: types.CodeType, used: set[str]) -> None:
    used.update(code.co_names)
    for const in code.co_consts:
        if isinstance(const, types.CodeType):
            _use(const, used)
        elif isinstance(const, str) and const in {"__main__", "builtins"}:
            used.add(const)


def _is_whole(used: set[str]) -> bool:
    return bool(used & _WHOLE) or ("__main__" in used and bool(used & {"__dict__", "getmembers"}))


class _Reader(ast.NodeVisitor):
    """Collects names that are read, names that are bound anywhere, and whether names are looked up in other ways."""

    def __init__(self) -> None:
        self.read: set[str] = set()
        self.bound: set[str] = set()
        self.spoken: set[str] = set()
        self.dynamic = False
        self._used: set[str] = set()
        self._shows_all = False

    @property
    def whole(self) -> bool:
        """Whether the namespace is looked at as a whole, past every hook."""
        return self._shows_all or _is_whole(self._used)

    def visit_Name(self, node: ast.Name) -> None:
        (self.read if isinstance(node.ctx, ast.Load) else self.bound).add(node.id)
        self.dynamic |= node.id in DYNAMIC
        self._used.add(node.id)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        self.dynamic |= node.attr in DYNAMIC
        self._used.add(node.attr)
        self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        if node.value == "__main__":
            self._used.add("__main__")
        self.dynamic |= node.value == "builtins"

    def visit_Call(self, node: ast.Call) -> None:
        if isinstance(node.func, ast.Attribute) and node.func.attr in {"run_cell_magic", "run_line_magic"}:
            self._magic([item.value for item in node.args if isinstance(item, ast.Constant)])
        if isinstance(node.func, ast.Attribute) and node.func.attr in _SPEAKING:
            texts = [part.value for item in node.args for part in ast.walk(item) if isinstance(part, ast.Constant)]
            pattern = _WORDS if node.func.attr == "eval" else _NAMES_IN_TEXT
            self._listen((text for text in texts if isinstance(text, str)), pattern)
        self.generic_visit(node)

    def _listen(self, texts: Iterable[str], pattern: re.Pattern[str]) -> None:
        for text in texts:
            self.spoken.update(name for names in pattern.findall(text) for name in names if name)

    def _magic(self, texts: list[Any]) -> None:
        name, code = str(texts[0]) if texts else "", "\n".join(str(text) for text in texts[1:])
        self._shows_all |= name in _WHOLE_MAGICS
        if name not in _PYTHON_MAGICS:
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
        self.dynamic |= node.name == "*" or node.name in DYNAMIC

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
