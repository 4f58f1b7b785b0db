"""Modules and functions that a person can hold in the head (rule 11).

Over the aim is shown as a warning, over the limit fails. A function's docstring is not counted: it is wanted.
"""

import ast
import warnings
from collections.abc import Iterator
from pathlib import Path

from tests.architecture.source import modules, shown, tree

MODULE_AIM_LINES, MODULE_LIMIT_LINES = 500, 600
FUNCTION_AIM_LINES, FUNCTION_LIMIT_LINES = 70, 90


def test_modules_are_short() -> None:
    sizes = {shown(path): len(path.read_text(encoding="utf-8").splitlines()) for path in modules()}
    judge(sizes, MODULE_AIM_LINES, MODULE_LIMIT_LINES)


def test_functions_are_short() -> None:
    judge(dict(functions()), FUNCTION_AIM_LINES, FUNCTION_LIMIT_LINES)


def judge(lines_by_name: dict[str, int], aim: int, limit: int) -> None:
    """Warn of what is over the aim, fail for what is over the limit."""
    too_long = [f"{name}: {lines} lines, at most {limit}" for name, lines in lines_by_name.items() if lines > limit]
    for name, lines in lines_by_name.items():
        if aim < lines <= limit:
            warnings.warn(f"Over the aim: {name} has {lines} lines, aim at {aim}", UserWarning, stacklevel=1)
    assert not too_long, "\n".join(too_long)


def functions() -> Iterator[tuple[str, int]]:
    """Return place and length of each function, without decorators and docstring."""
    for path in modules():
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield f"{shown(path)}:{node.lineno} {node.name}", length(node)


def length(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    lines = (node.end_lineno or node.lineno) - node.lineno + 1
    first = node.body[0]
    if ast.get_docstring(node, clean=False) is not None:
        lines -= (first.end_lineno or first.lineno) - first.lineno + 1
    return lines


def test_a_docstring_does_not_count(tmp_path: Path) -> None:
    source = tmp_path / "module.py"
    source.write_text('def f():\n    """One.\n\n    Two.\n    """\n    return 1\n', encoding="utf-8")
    function = tree(source).body[0]
    assert isinstance(function, ast.FunctionDef)
    assert length(function) == 2
