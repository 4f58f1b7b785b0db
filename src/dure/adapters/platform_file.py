"""Reads `platform.yaml` and tells every error with its line; writes the first one for `dure init`.

Touches that file and looks whether each environment's interpreter can be executed. The trap: YAML has anchors, so a
small file can describe an enormous one; size, depth and number of values are limited.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from blake3 import blake3
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, ScalarNode, SequenceNode

from dure.adapters.platform_template import initial_text
from dure.core.document import Path as Where
from dure.core.document import Problem
from dure.core.platform import parse

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dure.adapters.gpus import FoundGpu
    from dure.core.model import Platform

__all__ = ["PlatformFileError", "initial_text", "load", "write_initial"]

MAX_FILE_BYTES = 1024 * 1024
MAX_VALUES = 100_000
MAX_DEPTH = 12


class PlatformFileError(Exception):
    """The platform file cannot be used; `lines` has one sentence per error, each with file, line and what to do."""

    def __init__(self, lines: Sequence[str]) -> None:
        super().__init__("\n".join(lines))
        self.lines = tuple(lines)


def load(path: Path, complete: Callable[[dict[str, Any]], Mapping[str, Any]] | None = None) -> Platform:
    """Return the platform that the file describes. Raises PlatformFileError that lists all that is wrong.

    `complete` may add and change what the file says before it is judged; interpreters are not looked at then.
    """
    data = _read(path)
    document = _Document(path.name)
    content = document.content(data)
    if not isinstance(content, dict):
        wrong = "the file is empty" if content is None else "the file is not a mapping of sections"
        raise PlatformFileError([f"{path.name}:1: {wrong}; right would be what `dure init` writes"])
    if complete is None:
        platform = parse(content, digest=blake3(data).hexdigest(), check_python=_python_problem)
    else:
        platform = parse(complete(content), digest=blake3(data).hexdigest())
    problems = [*document.problems, *(platform if isinstance(platform, tuple) else ())]
    if problems or isinstance(platform, tuple):
        told = sorted((document.line(problem), str(problem)) for problem in problems)
        raise PlatformFileError([f"{path.name}:{line}: {text}" for line, text in told])
    return platform


def write_initial(path: Path, gpus: Sequence[FoundGpu], user: str) -> None:
    """Write the commented first platform file. Raises PlatformFileError when one is there, which is left as it is."""
    text = initial_text(gpus, user)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise PlatformFileError(
            [f"{path} is there already and was left as it is: edit it, or move it away and run `dure init` again"]
        ) from None


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        raise PlatformFileError([f"{path}: there is no such file; `dure init` writes one"]) from None
    except OSError as error:
        raise PlatformFileError([f"{path}: cannot be read: {error.strerror}; check the file's permissions"]) from None
    if len(data) > MAX_FILE_BYTES:
        raise PlatformFileError([f"{path}: is larger than {MAX_FILE_BYTES} bytes; a platform file is a few kilobytes"])
    return data


class _Document:
    """One YAML text as plain data, with the line of every key and entry, and keys that are there twice."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._lines: dict[Where, int] = {(): 1}
        self._twice: dict[int, int] = {}
        self._values = 0
        self.problems: list[Problem] = []

    def content(self, data: bytes) -> Any:
        """Return the plain data. Raises PlatformFileError for what is no YAML at all."""
        yaml = YAML(typ="safe", pure=True)
        try:
            node = yaml.compose(data.decode("utf-8-sig"))
            return None if node is None else self._plain(yaml, node, ())
        except UnicodeDecodeError as error:
            line = data[: error.start].count(b"\n") + 1
            raise PlatformFileError([f"{self._name}:{line}: is not UTF-8 text; save the file as UTF-8"]) from None
        except MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            line = mark.line + 1 if mark is not None else 1
            problem = " ".join(str(part) for part in (error.context, error.problem) if part)
            hint = "; right would be spaces, never tabs" if "\\t" in problem else ""
            raise PlatformFileError([f"{self._name}:{line}: is not valid YAML: {problem}{hint}"]) from None
        except YAMLError as error:
            raise PlatformFileError([f"{self._name}: is not valid YAML: {' '.join(str(error).split())}"]) from None

    def line(self, problem: Problem) -> int:
        """Return the line of the problem's path, or of the nearest thing around it that is in the file."""
        if id(problem) in self._twice:
            return self._twice[id(problem)]
        path = problem.path
        while path not in self._lines:
            path = path[:-1]
        return self._lines[path]

    def _plain(self, yaml: YAML, node: Any, path: Where) -> Any:
        self._values += 1
        if len(path) > MAX_DEPTH or self._values > MAX_VALUES:
            line = node.start_mark.line + 1
            raise PlatformFileError(
                [f"{self._name}:{line}: is nested too deeply or repeats itself; write it out plainly"]
            )
        if isinstance(node, ScalarNode):
            return yaml.constructor.construct_object(node)
        if isinstance(node, SequenceNode):
            return [self._plain(yaml, child, at) for at, child in self._entries(node, path)]
        assert isinstance(node, MappingNode)
        return dict(self._pairs(yaml, node, path))

    def _entries(self, node: SequenceNode, path: Where) -> Iterator[tuple[Where, Any]]:
        for index, child in enumerate(node.value):
            self._lines[*path, index] = child.start_mark.line + 1
            yield (*path, index), child

    def _pairs(self, yaml: YAML, node: MappingNode, path: Where) -> Iterator[tuple[Any, Any]]:
        seen: dict[str, int] = {}
        for key_node, value_node in node.value:
            key = self._plain(yaml, key_node, path) if isinstance(key_node, ScalarNode) else "?"
            line = key_node.start_mark.line + 1
            at = (*path, str(key))
            if str(key) in seen:
                problem = Problem(at, f"{str(key)!r} is here twice, first in line {seen[str(key)]}", "one of the two")
                self._twice[id(problem)] = line
                self.problems.append(problem)
                continue
            seen[str(key)] = self._lines[at] = line
            yield key, self._plain(yaml, value_node, at)


def _python_problem(python: str) -> Problem | None:
    """Return what is wrong with an environment's interpreter on this machine."""
    right = f"the absolute path of a Python interpreter, such as {sys.executable}"
    if os.sep not in python:
        return None if shutil.which(python) else Problem((), f"there is no command {python!r} on PATH", right)
    if not Path(python).is_absolute():
        return Problem((), f"{python!r} is a relative path", right)
    if not Path(python).is_file():
        return Problem((), f"there is no file {python!r}", right)
    if not os.access(python, os.X_OK):
        return Problem((), f"{python!r} cannot be executed", f"{right}, or `chmod +x {python}`")
    return None
