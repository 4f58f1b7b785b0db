"""Reads `platform.yaml` and tells every error with its line; writes the first one for `dure init`.

Touches that file and looks whether each environment's interpreter can be executed. The trap: YAML has anchors, so a
small file can describe an enormous one; size, depth and number of values are limited.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from blake3 import blake3
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, ScalarNode, SequenceNode
from ruamel.yaml.reader import ReaderError

from dure.adapters.platform_template import initial_text
from dure.core import platform_kueue
from dure.core.document import Path as Where
from dure.core.document import Problem
from dure.core.platform import parse

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dure.adapters.gpus import FoundGpu
    from dure.core.model import Platform
    from dure.core.platform_kueue import Files

__all__ = ["PlatformFileError", "initial_text", "load", "write_initial"]

MAX_FILE_BYTES = 1024 * 1024
MAX_VALUES = 100_000
MAX_DEPTH = 12
MAX_KUEUE_FILES = 100


class PlatformFileError(Exception):
    """The platform file cannot be used; `lines` has one sentence per error, each with file, line and what to do."""

    def __init__(self, lines: Sequence[str]) -> None:
        super().__init__("\n".join(lines))
        self.lines = tuple(lines)


Complete = Callable[[dict[str, Any], "Files"], Mapping[str, Any]]


def load(path: Path, complete: Complete | None = None, *, alone: bool = False) -> Platform:
    """Return the platform that the file describes. Raises PlatformFileError that lists all that is wrong.

    `complete` may add and change what the file says before it is judged, given the Kueue documents that it names;
    interpreters are not looked at then, and the file may be one of Kueue's objects itself. `alone`: it is what `text`
    returned, with those documents behind it.
    """
    data = _read(path)
    document = _Document(path.name)
    parts = document.contents(data)
    content, behind = (parts[0], parts[1:]) if parts else (None, [])
    if isinstance(content, dict) and is_kueue(content):
        if complete is None:
            right = "platform.yaml, with this file's name under `kueue:`"
            raise PlatformFileError([f"{path.name}:1: is of Kueue's objects; right would be {right}"])
        content, behind = {platform_kueue.SECTION: [path.name]}, []
    if behind and not alone:
        line = document.line(Problem((_BEHIND, 1), "", ""))
        raise PlatformFileError([f"{path.name}:{line}: a second document begins here; right would be one document"])
    if not isinstance(content, dict):
        wrong = "the file is empty" if content is None else "the file is not a mapping of sections"
        raise PlatformFileError([f"{path.name}:1: {wrong}; right would be what `dure init` writes"])
    named = [(path.name, document, behind)] if alone else _named(path, content, document)
    files = [documents for _, _, documents in named]
    digest = blake3(data if alone else _joined(path, data, content)).hexdigest()
    if complete is None:
        platform = parse(content, digest=digest, check_python=_python_problem, kueue=files)
    else:
        platform = parse(complete(content, files), digest=digest, kueue=files)
    problems = [*document.problems, *(platform if isinstance(platform, tuple) else ())]
    for _, one, _ in named:
        problems += [] if one is document else one.problems
    if problems or isinstance(platform, tuple):
        raise PlatformFileError(_told(path.name, document, named, problems))
    return platform


def text(path: Path) -> bytes:
    """Return the file with all Kueue documents that it names behind it: what `load` reads `alone`.

    Its digest is that of the platform. Raises PlatformFileError.
    """
    data = _read(path)
    content = _Document(path.name).contents(data)
    return _joined(path, data, content[0] if content and isinstance(content[0], dict) else {})


def kueue_files(path: Path) -> tuple[Path, ...]:
    """Return the files that `kueue:` names, none when that cannot be read."""
    try:
        content = _Document(path.name).contents(_read(path))
    except PlatformFileError:
        return ()
    return tuple(_paths(path, content[0])) if content and isinstance(content[0], dict) else ()


def is_kueue(content: Mapping[str, Any]) -> bool:
    """Return whether a document is an object of Kubernetes and no platform."""
    return "apiVersion" in content and "kind" in content


_YAML = "`key: value` with a space after each colon, and all keys of one entry indented alike"
_DEEP = "is nested too deeply or repeats itself; write it out plainly"
_BEHIND = "(documents)"
_Named = list[tuple[str, "_Document", list[Any]]]


def _paths(path: Path, content: Mapping[str, Any]) -> list[Path]:
    names = content.get(platform_kueue.SECTION)
    return [path.parent / str(name) for name in names[:MAX_KUEUE_FILES]] if isinstance(names, list) else []


def _named(path: Path, content: Mapping[str, Any], document: _Document) -> _Named:
    """Return name, text and documents of each Kueue file; one that cannot be read is a problem of the platform file."""
    if platform_kueue.SECTION not in content:
        return []
    names = content[platform_kueue.SECTION]
    if (
        not isinstance(names, list)
        or not 0 < len(names) <= MAX_KUEUE_FILES
        or not all(isinstance(name, str) for name in names)
    ):
        at = (platform_kueue.SECTION,)
        document.problems.append(
            Problem(at, f"is not a list of 1 to {MAX_KUEUE_FILES} files", "`[kueue.yaml]`, beside this file")
        )
        return []
    found: _Named = []
    for index, file in enumerate(_paths(path, content)):
        one = _Document(names[index])
        try:
            contents = one.contents(_read(file, platform=False))
            if not contents:
                document.problems.append(
                    Problem((platform_kueue.SECTION, index), f"{names[index]} is empty", "a file of Kueue's objects")
                )
            found.append((names[index], one, contents))
        except PlatformFileError as error:
            told, _, right = "; ".join(error.lines).partition("; right would be ")
            right = right or "a file of Kueue's objects, beside this file"
            problem = Problem((platform_kueue.SECTION, index), told, right)
            document.problems.append(problem)
            found.append((names[index], one, []))
    return found


def _joined(path: Path, data: bytes, content: Mapping[str, Any]) -> bytes:
    texts = [data]
    for file in _paths(path, content):
        with suppress(PlatformFileError):  # told by `_named`
            texts.append(_read(file))
    return b"\n---\n".join(texts)


def _told(name: str, document: _Document, named: _Named, problems: Sequence[Problem]) -> list[str]:
    """Return one line per problem, in the order of files and lines."""
    files = [documents for _, _, documents in named]
    found = []
    for problem in problems:
        of_object = platform_kueue.told(problem, files)
        owner = next((at for at, (_, one, _) in enumerate(named) if any(problem is its for its in one.problems)), None)
        if of_object is not None and isinstance(at := problem.path[1], int):
            file, one, _ = named[at]
            line = one.line(Problem((_BEHIND, int(problem.path[2]) + (one is document), *problem.path[3:]), "", ""))
            found.append((at + 1, line, f"{file}:{line}: {of_object}"))
        elif owner is not None and named[owner][1] is not document:
            file, one, _ = named[owner]
            found.append((owner + 1, one.line(problem), f"{file}:{one.line(problem)}: {problem}"))
        else:
            line = document.line(problem)
            found.append((0, line, f"{name}:{line}: {problem}"))
    return [text for _, _, text in sorted(found)]


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


def _read(path: Path, *, platform: bool = True) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        hint = "; `dure init` writes one" if platform else ""
        raise PlatformFileError([f"{path}: there is no such file{hint}"]) from None
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

    def contents(self, data: bytes) -> list[Any]:
        """Return the plain data of every document; empty ones are left out. Raises PlatformFileError for no YAML."""
        yaml = YAML(typ="safe", pure=True)
        try:
            return self._documents(yaml, yaml.compose_all(data.decode("utf-8-sig")))
        except UnicodeDecodeError as error:
            line = data[: error.start].count(b"\n") + 1
            raise PlatformFileError([f"{self._name}:{line}: is not UTF-8 text; save the file as UTF-8"]) from None
        except MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            line = mark.line + 1 if mark is not None else 1
            problem = " ".join(str(part) for part in (error.context, error.problem) if part)
            right = "spaces, never tabs" if "\\t" in problem else _YAML
            raise PlatformFileError(
                [f"{self._name}:{line}: is not valid YAML: {problem}; right would be {right}"]
            ) from None
        except ReaderError as error:
            line = data.decode("utf-8-sig")[: error.position].count("\n") + 1
            code = error.character if isinstance(error.character, int) else ord(error.character)
            wrong = f"has a character that YAML does not allow (U+{code:04X})"
            raise PlatformFileError([f"{self._name}:{line}: {wrong}; right would be the line without it"]) from None
        except RecursionError:
            raise PlatformFileError([f"{self._name}: {_DEEP}"]) from None
        except YAMLError as error:
            raise PlatformFileError([f"{self._name}: is not valid YAML: {' '.join(str(error).split())}"]) from None

    def _documents(self, yaml: YAML, nodes: Iterator[Any]) -> list[Any]:
        found: list[Any] = []
        for node in nodes:
            at: Where = (_BEHIND, len(found))
            self._lines[at] = node.start_mark.line + 1
            content = self._plain(yaml, node, at)
            if content is not None or not found:
                found.append(content)
        return found

    def line(self, problem: Problem) -> int:
        """Return the line of the problem's path, or of the nearest thing around it that is in the file."""
        if id(problem) in self._twice:
            return self._twice[id(problem)]
        path = problem.path if problem.path[:1] == (_BEHIND,) else (_BEHIND, 0, *problem.path)
        while path not in self._lines:
            path = path[:-1]
        return self._lines[path]

    def _plain(self, yaml: YAML, node: Any, path: Where) -> Any:
        self._values += 1
        if len(path) - 2 > MAX_DEPTH or self._values > MAX_VALUES:
            raise PlatformFileError([f"{self._name}:{node.start_mark.line + 1}: {_DEEP}"])
        if isinstance(node, ScalarNode):
            try:
                return yaml.constructor.construct_object(node)
            except (ValueError, ArithmeticError) as error:  # such as a date that no calendar has
                wrong = f"{node.value[:60]!r} cannot be read: {error}; right would be it in quotes, if it is text"
                raise PlatformFileError([f"{self._name}:{node.start_mark.line + 1}: {wrong}"]) from None
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
                problem = Problem(
                    at[2:], f"{str(key)!r} is here twice, first in line {seen[str(key)]}", "one of the two"
                )
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
