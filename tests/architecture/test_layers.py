"""Layers point inwards, and the inner ones touch nothing outside (rule 1)."""

import ast
import sys
from pathlib import Path

import pytest
from importlinter.cli import EXIT_STATUS_SUCCESS, lint_imports

from tests.architecture.source import PACKAGE, ROOT, modules, shown, tree

PURE = ("core", "manifests")
IMPURE_PARTS_OF_THE_STANDARD_LIBRARY = {
    "_thread", "asyncio", "concurrent", "ctypes", "fcntl", "ftplib", "glob", "http", "logging",
    "multiprocessing", "os", "pathlib", "pty", "random", "secrets", "select", "selectors", "shutil", "signal",
    "smtplib", "socket", "socketserver", "sqlite3", "ssl", "subprocess", "tempfile", "threading", "time",
    "urllib", "uuid",
}  # fmt: skip
ALLOWED_THOUGH_IMPURE_BY_NAME = {"urllib.parse"}


def test_import_linter_keeps_every_contract(capsys: pytest.CaptureFixture[str]) -> None:
    status = lint_imports(config_filename=str(ROOT / "pyproject.toml"), no_cache=True)
    assert status == EXIT_STATUS_SUCCESS, capsys.readouterr().out


def test_core_and_manifests_import_the_pure_part_of_the_standard_library_only() -> None:
    wrong = [
        f"{shown(path)}:{line} imports {name}"
        for path in modules()
        if path.relative_to(PACKAGE).with_suffix("").parts[0] in PURE
        for line, name in imports(path)
        if not is_pure(name)
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    ("name", "pure"),
    [
        ("dataclasses", True), ("collections.abc", True), ("datetime", True), ("dure.core.model", True),
        ("urllib.parse", True), ("urllib.request", False), ("os.path", False), ("asyncio", False),
        ("pydantic", False),
    ],
)  # fmt: skip
def test_what_counts_as_pure(name: str, pure: bool) -> None:
    assert is_pure(name) is pure


def is_pure(name: str) -> bool:
    """Return whether core may import the module; what it takes from dure is import-linter's to judge."""
    first = name.partition(".")[0]
    if first == "dure" or name in ALLOWED_THOUGH_IMPURE_BY_NAME:
        return True
    return first in sys.stdlib_module_names and first not in IMPURE_PARTS_OF_THE_STANDARD_LIBRARY


def imports(path: Path) -> list[tuple[int, str]]:
    """Return line and name of each import in the file, inside functions too."""
    found = []
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found.append((node.lineno, node.module or ""))
    return found
