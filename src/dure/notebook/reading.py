"""What the text of a cell reads and binds by itself, without looking at the notebook's values.

Magics, `!shell` lines with `{name}` and `$name`, and top-level await are read as IPython runs them. The trap: what may
run is counted as run, and what may not bind as not bound, so that too much is sent rather than too little.
"""

from __future__ import annotations

import ast
import dis
import re
import string
import types
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

_DYNAMIC_CALLS = {"eval", "exec", "globals"}
NAMESPACES = frozenset({"user_ns", "user_global_ns", "user_module", "f_globals", "__globals__"})  # attributes
_HERE_CALLS = {"locals", "vars"}  # without arguments, at the cell's own level
_DYNAMIC_MAGICS = {"run", "load", "pylab", "macro", "recall", "rerun", "store"}
_CODE_MAGICS = {"time", "timeit", "prun", "memit", "mprun", "lprun", "debug"}
BODY_MAGICS = frozenset(_CODE_MAGICS | {"capture"})  # whose body is the notebook's code
_SHELL_MAGICS = {"bash", "sh", "script", "!", "sx", "system", "perl", "ruby"}
_FILE_MAGICS = {"writefile", "file", "html", "HTML", "latex", "markdown", "svg", "javascript", "js"}
TEXT_MAGICS = frozenset(_SHELL_MAGICS | _FILE_MAGICS)  # whose body is text, in which nothing is looked up
_LOOK_MAGICS = {"pinfo", "pinfo2", "pdoc", "psource", "psearch"}
_SHELL_NAME = re.compile(r"\$(\w+)|\$\{(\w+)\}")
_SHELL_CALLS = {"system", "getoutput"}


class CellSyntaxError(SyntaxError):
    """The cell does not parse; line and text are those of the cell, so the ordinary traceback can be
    shown.
    """


class Names:
    """What was found so far."""

    def __init__(self) -> None:
        self.loads: set[str] = set()
        self.bound: set[str] = set()  # at the cell's own top level
        self.dynamic = False  # code may look names up that reading it cannot tell
        self.shell: set[str] = set()  # `$name` in a shell line: the notebook's where it has one, else the shell's


_GLOBAL_READS = {"LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS", "DELETE_GLOBAL"}


def code_names(code: types.CodeType, found: Names) -> None:
    """Add the globals that code reads and binds, with the code inside it."""
    own: set[str] = set()  # what a class body or a module has bound so far
    for instruction in dis.get_instructions(code):
        if instruction.opname == "STORE_NAME":
            own.add(str(instruction.argval))
        elif instruction.opname == "STORE_GLOBAL":
            found.bound.add(str(instruction.argval))
        elif instruction.opname in _GLOBAL_READS:
            name = str(instruction.argval)
            if name not in own:
                found.loads.add(name)
                found.dynamic |= name in _DYNAMIC_CALLS
        elif instruction.argval in NAMESPACES:
            found.dynamic = True
    if code.co_name == "<module>":
        found.bound |= own
    for item in code.co_consts:
        if isinstance(item, types.CodeType):
            code_names(item, found)


def read_cell(code: str, found: Names, certain: set[str] | None = None) -> None:
    """Add what a cell as typed reads and binds to `found`; CellSyntaxError where it does not parse."""
    from IPython.core.inputtransformer2 import TransformerManager

    try:
        text = TransformerManager().transform_cell(code)  # type: ignore[no-untyped-call]
        tree = ast.parse(text)
        # refuses what only compiling refuses (return outside a function), so that the traceback comes before the queue
        compile(tree, "<cell>", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    except SyntaxError as error:
        raise CellSyntaxError(error.msg, ("<cell>", error.lineno, error.offset, error.text)) from None
    except ValueError as error:
        raise CellSyntaxError(str(error), ("<cell>", 1, 1, code.partition("\n")[0])) from None
    reader = _Reader(found, set() if certain is None else certain)
    for statement in tree.body:
        reader.visit(statement)


def read_tree(tree: ast.AST, found: Names) -> None:
    """Add what a cell that IPython has parsed reads and binds."""
    _Reader(found, set()).generic_visit(tree)


def _read_interpolated(text: str, found: Names, certain: set[str]) -> None:
    """Find the names that IPython puts into a shell or magic line: `{expression}`, `$name`."""
    reader = _Reader(found, certain)
    for match in _SHELL_NAME.finditer(text):
        found.shell.add(match[1] or match[2])
    try:
        fields = list(string.Formatter().parse(text))
    except ValueError:
        return  # IPython leaves a line whose braces do not match as it is
    for _, expression, layout, _ in fields:
        if expression is None:
            continue
        try:
            reader.visit(ast.parse(expression.strip(), mode="eval"))
        except SyntaxError:
            continue
        _read_interpolated(layout or "", found, certain)


class _Reader(ast.NodeVisitor):
    """Finds what the cell's own level reads and binds, in the order in which it runs.

    `certain` holds the names that are bound on every path so far. What lies in a scope of its own (functions,
    classes, lambdas, comprehensions) is compiled, since the compiler knows best which of its names are
    global.
    """

    def __init__(self, found: Names, certain: set[str]) -> None:
        self.found = found
        self.certain = certain

    def load(self, name: str) -> None:
        """Count a name as read, unless the cell has bound it for certain."""
        if name not in self.certain:
            self.found.loads.add(name)
            self.found.dynamic |= name in _DYNAMIC_CALLS

    def bind(self, name: str) -> None:
        """Count a name as bound from here on."""
        self.found.bound.add(name)
        self.certain.add(name)

    def visit_Name(self, node: ast.Name) -> None:
        """Count a read, a binding, or a deletion, which is both."""
        if isinstance(node.ctx, ast.Store):
            self.bind(node.id)
            return
        self.load(node.id)
        if isinstance(node.ctx, ast.Del):
            self.found.bound.add(node.id)
            self.certain.discard(node.id)

    def visit_Assign(self, node: ast.Assign) -> None:
        """Read the value before the targets are bound."""
        self.visit(node.value)
        self._all(node.targets)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        """Read annotation and value; a bare annotation binds nothing."""
        self.visit(node.annotation)
        if node.value is not None:
            self.visit(node.value)
            self.visit(node.target)
        elif not isinstance(node.target, ast.Name):
            self.visit(node.target)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        """Read the target, the value, and bind the target."""
        if isinstance(node.target, ast.Name):
            self.load(node.target.id)
        self.visit(node.value)
        self.visit(node.target)

    def visit_NamedExpr(self, node: ast.NamedExpr) -> None:
        """Read the value before the name is bound."""
        self.visit(node.value)
        self.visit(node.target)

    def visit_Import(self, node: ast.Import) -> None:
        """Bind the first part of a dotted module, or its alias."""
        for alias in node.names:
            self.bind(alias.asname or alias.name.partition(".")[0])

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        """Bind the imported names; a star may bind anything."""
        for alias in node.names:
            if alias.name == "*":
                self.found.dynamic = True
            else:
                self.bind(alias.asname or alias.name)

    def visit_Global(self, node: ast.Global) -> None:
        """At the cell's own level `global` changes nothing."""

    # statements whose parts may not run

    def visit_If(self, node: ast.If) -> None:
        """Both branches start from the test; what both bind is bound."""
        self.visit(node.test)
        self._branches([node.body, node.orelse])

    def visit_IfExp(self, node: ast.IfExp) -> None:
        """As an if statement."""
        self.visit(node.test)
        self._branches([[node.body], [node.orelse]])

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        """Only the first operand is certain to run."""
        self.visit(node.values[0])
        self._branches([node.values[1:], []])

    def visit_While(self, node: ast.While) -> None:
        """The body may never run."""
        self.visit(node.test)
        self._branches([node.body, []])
        self._branches([node.orelse, []])

    def visit_For(self, node: ast.For | ast.AsyncFor) -> None:
        """The body may never run; inside it the target is bound."""
        self.visit(node.iter)
        self._branches([[node.target, *node.body], []])
        self._branches([node.orelse, []])

    visit_AsyncFor = visit_For  # noqa: N815 - the name that ast.NodeVisitor looks up

    def visit_Try(self, node: Any) -> None:
        """A handler may start anywhere in the body; `finally` always runs."""
        bodies: list[list[Any]] = [[*node.body, *node.orelse]]
        self._branches([*bodies, *([handler] for handler in node.handlers)])
        self._all(node.finalbody)

    visit_TryStar = visit_Try  # noqa: N815 - as above

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> None:
        """The handler's name is bound inside it and deleted after it."""
        if node.type is not None:
            self.visit(node.type)
        if node.name:
            self.bind(node.name)
        self._all(node.body)
        if node.name:
            self.certain.discard(node.name)

    def visit_Match(self, node: ast.Match) -> None:
        """No case is certain to run."""
        self.visit(node.subject)
        self._branches([*([case] for case in node.cases), []])

    def visit_MatchAs(self, node: ast.MatchAs) -> None:
        """A capture binds its name."""
        self.generic_visit(node)
        if node.name:
            self.bind(node.name)

    def visit_MatchStar(self, node: ast.MatchStar) -> None:
        """A starred capture binds its name."""
        if node.name:
            self.bind(node.name)

    def visit_MatchMapping(self, node: ast.MatchMapping) -> None:
        """`**rest` binds its name."""
        self.generic_visit(node)
        if node.rest:
            self.bind(node.rest)

    # scopes of their own

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> None:
        """Read decorators, defaults and the globals of the body, then bind the name."""
        self._compiled(node)
        self.bind(node.name)

    visit_AsyncFunctionDef = visit_FunctionDef  # noqa: N815 - as above
    visit_ClassDef = visit_FunctionDef  # noqa: N815 - as above

    def visit_Lambda(self, node: ast.expr) -> None:
        """Read what the body and the iterables look up in the notebook."""
        self._compiled(ast.Expr(node))

    visit_ListComp = visit_Lambda  # noqa: N815 - as above
    visit_SetComp = visit_Lambda  # noqa: N815 - as above
    visit_DictComp = visit_Lambda  # noqa: N815 - as above
    visit_GeneratorExp = visit_Lambda  # noqa: N815 - as above

    def _compiled(self, statement: ast.stmt) -> None:
        module = ast.fix_missing_locations(ast.Module([statement], []))
        code = compile(module, "<cell>", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
        names = Names()
        code_names(code, names)
        for name in names.loads:
            self.load(name)
        self.found.bound |= names.bound - {"__annotations__"}
        for part in ast.walk(statement):
            if isinstance(part, ast.Call):
                self._call(part)

    # calls that say more than their names

    def visit_Call(self, node: ast.Call) -> None:
        """Look into IPython's magics and shell lines, and at calls that reach names by text."""
        self._call(node)
        self.generic_visit(node)

    def _call(self, node: ast.Call) -> None:
        func = node.func
        if isinstance(func, ast.Name):
            computed = func.id == "getattr" and len(node.args) > 1 and not isinstance(node.args[1], ast.Constant)
            self.found.dynamic |= computed or (func.id in _HERE_CALLS and not node.args)
            return
        ours = (
            isinstance(func, ast.Attribute)
            and isinstance(func.value, ast.Call)
            and isinstance(func.value.func, ast.Name)
            and func.value.func.id == "get_ipython"
        )
        texts = [item.value for item in node.args if isinstance(item, ast.Constant) and isinstance(item.value, str)]
        if ours and texts and isinstance(func, ast.Attribute):
            self._shell(func.attr, texts)

    def _shell(self, attribute: str, texts: list[str]) -> None:
        if attribute in _SHELL_CALLS:
            _read_interpolated(texts[0], self.found, self.certain)
        elif attribute == "run_line_magic":
            self._magic(texts[0], texts[1] if len(texts) > 1 else "", None)
        elif attribute == "run_cell_magic":
            self._magic(texts[0], texts[1] if len(texts) > 1 else "", texts[2] if len(texts) > 2 else "")

    def _magic(self, name: str, line: str, body: str | None) -> None:
        self.found.dynamic |= name in _DYNAMIC_MAGICS
        if name in _LOOK_MAGICS:
            self.load(line.strip(" ?").partition(".")[0])
            return
        code = _without_options(line) if name in _CODE_MAGICS else ""
        if code:
            self._code(code, line)
        else:
            _read_interpolated(line, self.found, self.certain)
        if body is None or name in TEXT_MAGICS:
            return
        if name in BODY_MAGICS:
            read_cell(body, self.found, self.certain)
        else:
            # someone's own magic: its body may be code that reads the notebook, or another language
            self.found.dynamic = True
            self._code(body, "")

    def _code(self, code: str, otherwise: str) -> None:
        try:
            read_cell(code, self.found, self.certain)
        except CellSyntaxError:
            _read_interpolated(otherwise, self.found, self.certain)

    def _all(self, nodes: Iterable[ast.AST]) -> None:
        for node in nodes:
            self.visit(node)

    def _branches(self, branches: Iterable[Iterable[ast.AST]]) -> None:
        """Visit each branch from here; only what all of them bind is certain afterwards."""
        before = self.certain
        after: set[str] | None = None
        for branch in branches:
            self.certain = set(before)
            self._all(branch)
            after = self.certain if after is None else after & self.certain
        before.clear()
        before |= after or set()
        self.certain = before


def _without_options(line: str) -> str:
    """Return a code magic's line without its `-n 10 -r 3` options."""
    return re.sub(r"^(\s*-\w+(=\S+|\s+\d+|\d+)?)+\s*", "", line).strip()
