"""The tree as the architecture tests see it: its modules, and the files that git holds or would hold."""

import ast
import subprocess
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "dure"


@cache
def modules() -> tuple[Path, ...]:
    """Return the Python files of the package, sorted."""
    return tuple(sorted(path for path in PACKAGE.rglob("*.py") if "__pycache__" not in path.parts))


@cache
def tree(path: Path) -> ast.Module:
    """Return the syntax tree of one Python file."""
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


@cache
def files() -> tuple[Path, ...]:
    """Return the files that are committed or would be; skips outside a git work tree (an unpacked sdist)."""
    command = ["git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    except FileNotFoundError:
        pytest.skip("git is not installed, so what the repository holds is not known")
    except subprocess.CalledProcessError:
        pytest.skip("this is not a git work tree, so what the repository holds is not known")
    paths = (ROOT / name for name in done.stdout.split("\0") if name)
    return tuple(sorted(path for path in paths if path.is_file()))


def text(path: Path) -> str | None:
    """Return the file's text, or None for a file that is not text (a picture, say)."""
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return None


def shown(path: Path) -> str:
    """Return the path as a person writes it."""
    return path.relative_to(ROOT).as_posix()
