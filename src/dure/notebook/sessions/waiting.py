"""Has each cell wait for what it needs of a restore that still goes on, and for nothing else.

It stands among IPython's AST transformers as long as variables are being loaded, so it sees every code just before it
runs, magics and silent requests too, and an interrupt gives up the cell. The trap: code that may look at any name
(eval, `globals()`, an unknown magic) waits for all, because nobody may see a notebook with a variable missing.
"""

from __future__ import annotations

import ast
import re
import time
import types
from typing import TYPE_CHECKING, Any

from dure.notebook.reading import BODY_MAGICS, NAMESPACES, TEXT_MAGICS
from dure.notebook.reads import tree_reads
from dure.notebook.sessions.restoring import lost_names, lost_of, some
from dure.notebook.sessions.words import say
from dure.notebook.tables import sentence
from dure.state.extras import random_states, take_random
from dure.state.later import words_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from dure.notebook.sessions.restoring import Brought
    from dure.notebook.sessions.session import NotebookSession
    from dure.state.later import Later

_TOLD_AFTER_S = 1.0
_TOLD_EVERY_S = 0.5
_LOOK_S = 0.2
_WORD = re.compile(r"[^\W\d]\w*")
_ALL = frozenset({"eval", "exec", "globals", "locals", "compile", "__import__", "breakpoint"})
_ALL_BARE = frozenset({"vars", "dir"})  # without arguments
_FRAMES = {"f_back", "_getframe", "currentframe", "stack", "get_objects", "get_referrers"}
_RUNNERS = {"run_cell", "ex", "ev", "safe_execfile"}
_ALL_ATTRIBUTES = NAMESPACES | {"f_locals", "__builtins__"} | _FRAMES | _RUNNERS
_SPEAKING = frozenset({"query", "eval", "sql", "execute"})  # their text may name variables of the caller
_MEASURING = BODY_MAGICS - {"debug"}  # their code is seen again when it runs
_SETTING = {"matplotlib", "config", "load_ext", "reload_ext", "autoreload", "pip", "conda", "mamba", "uv"}
_QUIET_MAGICS = _MEASURING | TEXT_MAGICS | _SETTING | {"cd", "pwd", "ls", "env"}


class Waiting:
    """What is still loaded for one notebook. An AST transformer of its shell; all but `visit` between two cells."""

    def __init__(self, notebook: NotebookSession, brought: Brought, later: Later) -> None:
        self._notebook = notebook
        self._brought = brought
        self._later = later
        self._began: frozenset[str] = frozenset()  # what was still missing when the cell began
        self._random: Mapping[str, Any] | None = brought.random  # between cells: what a module draws that is imported
        # aside for a variable is not to be missing in the person's numbers

    def beginning(self, text: str) -> list[str]:
        """Return the names beginning with `text` of variables that are not here yet, for completion."""
        return sorted(name for name in self._later.names if name.startswith(text))

    def attach(self) -> None:
        """Hear of every code before it runs."""
        self._notebook.shell.ast_transformers.append(self)

    def visit(self, tree: ast.AST) -> ast.AST:
        """Return the code as it is, once all that it may look up is in the namespace."""
        asked: set[str] = set()
        try:
            while more := self._needed(tree) - asked:
                asked |= more
                self._wait(more)
        except Exception as error:  # IPython would let go of who raises here, and no cell would wait any more
            self._notebook.restore_failed(error)
        self._began = self._later.names
        self._draw_on()
        self._random = None
        return tree

    def visit_text(self, code: str) -> None:
        """Wait for what a cell needs that is under way already, whose code IPython has made Python."""
        try:
            tree: ast.AST = ast.parse(code)
        except SyntaxError:  # top-level await and the like: it may look at anything
            tree = ast.parse("globals()")
        self.visit(tree)

    def wait_for(self, values: Iterable[Any]) -> None:
        """Wait for what these functions and objects may look up: IPython calls them, or their methods, from now on."""
        values = [getattr(it, "__func__", it) for it in values]
        functions = [it if isinstance(it, type | types.FunctionType) else type(it) for it in values]
        names = set().union(*(_words_of(it) for it in functions)) & self._later.coming
        if names:
            self._wait(names | (self._later.reached(names) & self._later.coming))

    def cell_ended(self, result: Any) -> None:
        """Explain a NameError for what was still missing."""
        self._random = random_states()
        error = getattr(result, "error_in_exec", None)
        name = getattr(error, "name", None)
        if isinstance(error, NameError) and name in self._began and name not in self._notebook.names.lost:
            self._notebook.show(say("asked_unseen", name=name))
            self._later.ask([name])

    def arrive(self) -> None:
        """Put what was loaded into the namespace, and say what did not load."""
        arrived = self._later.install()
        self._draw_on()
        lost = lost_of(self._brought, arrived.failed)
        self._notebook.names.came_late(arrived.values, lost)
        saver = self._notebook.saver
        if arrived.values and saver is not None:
            saver.checks.append(self._brought.check)  # of what was mapped only now
        if lost and saver is not None:
            saver.keep(self._brought.saved.snapshot.only(lost))
        if lost:
            names = sorted(lost)
            number = self._brought.saved.number
            self._notebook.show(say("late_lost", names=lost_names(lost), number=number, first=names[0]))
        if arrived.told:
            told = lost_names(lost_of(self._brought, arrived.told))
            self._notebook.show(say("of_modules", names=told))
        if not self._later.names:
            self._notebook.came_all(self)

    def _draw_on(self) -> None:
        """Have the random generators be where the last cell left them, or where they were saved."""
        if self._random is not None and self._random != random_states():
            take_random(self._random)

    def _needed(self, tree: ast.AST) -> set[str]:
        coming = self._later.names
        if not coming:
            return set()
        try:
            return needed(tree, self._notebook.shell.user_ns, self._later)
        except Exception:  # what cannot be read may look at anything
            return set(self._later.coming)

    def _wait(self, names: set[str]) -> None:
        later = self._later
        later.ask(names)
        began = told_at = time.monotonic()
        told = False
        while not later.wait(names, _LOOK_S):
            now = time.monotonic()
            if now - began > _TOLD_AFTER_S and now - told_at > _TOLD_EVERY_S:
                self._tell("reading", names, told=told)
                told, told_at = True, now
        if told:
            self._tell("read", names, told=True, seconds=f"{time.monotonic() - began:.1f}")
        self.arrive()

    def _tell(self, key: str, names: set[str], *, told: bool, **more: str) -> None:
        """Show one line that later ones replace."""
        from dure.state.inspection import size_text

        done, size = self._later.progress(names)
        text = say(key, names=some(sorted(names)), done=size_text(min(done, size)), size=size_text(size), **more)
        self._notebook.shell.display_pub.publish(
            data=sentence(text), metadata={}, transient={"display_id": f"dure-reading-{id(self)}"}, update=told
        )


def needed(tree: ast.AST, namespace: Mapping[str, Any], later: Later) -> set[str]:
    """Return which of the coming variables this code may look up, as far as what is loaded by now tells."""
    coming = later.names
    reads = tree_reads(tree, {**dict.fromkeys(coming), **namespace})
    names = set(reads.reads) | _unbound(tree)
    for name in reads.calls:
        names |= _words_of(namespace.get(name))
    if reads.dynamic or _sees_all(tree):
        return set(later.coming) | (names & coming)
    return (names | later.reached(names)) & coming


def _unbound(tree: ast.AST) -> set[str]:
    """Return the names that code takes away again, and the words of its texts."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Del):
            found.add(node.id)
        elif isinstance(node, ast.ExceptHandler) and node.name:
            found.add(node.name)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.update(_WORD.findall(node.value))
    return found


def _words_of(value: Any) -> set[str]:
    if isinstance(value, types.FunctionType):
        return words_of(value.__code__)
    if isinstance(value, type):
        return set().union(*(_words_of(each) for each in vars(value).values() if isinstance(each, types.FunctionType)))
    return set()


def _sees_all(tree: ast.AST) -> bool:
    """Tell whether code may look at names that its text does not tell."""
    magics = 0
    shells = 0
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            shells += node.id == "get_ipython"
            if node.id in _ALL:
                return True
        elif (
            (isinstance(node, ast.Attribute) and node.attr in _ALL_ATTRIBUTES)
            or (isinstance(node, ast.Attribute) and node.attr == "modules" and _is_name(node.value, "sys"))
            or (isinstance(node, ast.Import | ast.ImportFrom) and "__main__" in ast.unparse(node))
            or (isinstance(node, ast.Constant) and node.value == "__main__")
        ):
            return True
        elif isinstance(node, ast.Call):
            if _call_sees_all(node):
                return True
            magics += _is_magic(node)
    return shells > magics


def _call_sees_all(node: ast.Call) -> bool:
    name = node.func.id if isinstance(node.func, ast.Name) else ""
    if name in _ALL_BARE and not node.args:
        return True
    if not isinstance(node.func, ast.Attribute):
        return False
    first = node.args[0] if node.args else None
    if node.func.attr in _SPEAKING:
        return bool(node.args) and not isinstance(first, ast.Constant)
    if node.func.attr in ("run_line_magic", "run_cell_magic"):
        return not (isinstance(first, ast.Constant) and first.value in _QUIET_MAGICS)
    return False


def _is_magic(node: ast.Call) -> bool:
    func = node.func
    return (
        isinstance(func, ast.Attribute)
        and func.attr in ("run_line_magic", "run_cell_magic", "system", "getoutput")
        and isinstance(func.value, ast.Call)
        and _is_name(func.value.func, "get_ipython")
    )


def _is_name(node: ast.AST, name: str) -> bool:
    return isinstance(node, ast.Name) and node.id == name
