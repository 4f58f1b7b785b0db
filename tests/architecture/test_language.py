"""What modules are called and say of themselves, and what the repository may hold (rules 10, 12, 16)."""

import ast
import re
from pathlib import Path

import pytest

from tests.architecture.source import ROOT, files, modules, shown, text, tree

SAYS_NOTHING = {
    "base",
    "common",
    "handler",
    "handlers",
    "helper",
    "helpers",
    "manager",
    "managers",
    "misc",
    "util",
    "utils",
}
MINIFIED_LINE_CHARS = 2_000
# Written so that this file does not match itself.
FORBIDDEN_TEXT = {
    "a package registry's host": (
        r"\b(?:pypi[.]org|pythonhosted[.]org|npmjs[.](?:org|com)|yarnpkg[.]com|deb[.]debian[.]org)\b"
    ),
    "a path of one person's machine": (
        r"(?<![\w.~-])(?:/ro[o]t/|/wo[r]k/(?:main|shared|[.]\w+)|/opt/(?:wheel[s]|pyp[i]))"
    ),
}


def test_no_module_has_a_name_that_says_nothing() -> None:
    python = [path for path in files() if path.suffix == ".py"]
    wrong = [
        shown(path)
        for path in python
        for part in [*path.relative_to(ROOT).parts[:-1], path.stem]
        if SAYS_NOTHING & set(part.lower().split("_"))
    ]
    assert not wrong, f"rule 10 asks for names that say what is inside: {wrong}"


def test_every_module_says_what_it_is() -> None:
    wrong = [shown(path) for path in modules() if not ast.get_docstring(tree(path))]
    assert not wrong, f"rule 12 asks for a docstring at the top of: {wrong}"


def test_the_repository_holds_no_third_party_assets() -> None:
    assets = [path for path in files() if path.suffix in {".js", ".mjs", ".css"}]
    wrong = [shown(path) for path in assets if looks_minified(path)]
    assert not wrong, f"rule 16: bring these from npm with hatch_build.py instead: {wrong}"


@pytest.mark.parametrize("what", FORBIDDEN_TEXT)
def test_the_repository_names_nothing_of_one_machine(what: str) -> None:
    pattern = re.compile(FORBIDDEN_TEXT[what])
    wrong = [
        f"{shown(path)}:{number}: {line.strip()[:120]}"
        for path in files()
        for number, line in enumerate((text(path) or "").splitlines(), 1)
        if pattern.search(line)
    ]
    assert not wrong, f"{what} is written in:\n" + "\n".join(wrong)


def looks_minified(path: Path) -> bool:
    return ".min." in path.name or any(len(line) > MINIFIED_LINE_CHARS for line in (text(path) or "").splitlines())
