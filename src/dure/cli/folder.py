"""Packs the current folder for `dure run`: what .gitignore leaves in, as one zip whose bytes depend on content only.

The same content gives the same zip and so the same blob, which is then not sent again. The trap: a folder that git
ignores is not entered at all, so nothing inside it can be taken back in by `!pattern`; git does the same.
"""

from __future__ import annotations

import os
import stat
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pathspec import GitIgnoreSpec

from dure.client.errors import failure
from dure.client.words import size_word

MAX_FILES = 200_000
NEVER = frozenset({".git", "__pycache__", ".ipynb_checkpoints"})
_LARGEST_NAMED = 5
_FIRST_MOMENT = (1980, 1, 1, 0, 0, 0)  # a zip knows nothing earlier
_PIECE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Found:
    """One file to ship: its name inside the zip, where it lies, its size."""

    name: str
    path: Path
    size_bytes: int
    executable: bool


@dataclass(slots=True)
class Folder:
    """What is shipped of a folder; `left` names links to folders and special files, which are not."""

    files: list[Found] = field(default_factory=list)
    left: list[str] = field(default_factory=list)

    @property
    def size_bytes(self) -> int:
        """Bytes of all files, before packing."""
        return sum(file.size_bytes for file in self.files)


def look(root: Path, max_bytes: int, lang: str) -> Folder:
    """Return what to ship of `root`. Raises DureError `folder_too_large` or `folder_unreadable`."""
    root = root.resolve()
    folder = Folder()
    try:
        for file in _walk(root, root, _rules_above(root), folder.left):
            folder.files.append(file)
            if len(folder.files) > MAX_FILES:
                raise _too_large(root, folder, f"> {MAX_FILES} files", f"{MAX_FILES} files", lang)
    except OSError as error:
        where = str(error.filename or root)
        raise failure("folder_unreadable", lang, path=where, problem=error.strerror or "no reason given") from error
    if folder.size_bytes > max_bytes:
        raise _too_large(root, folder, size_word(folder.size_bytes), size_word(max_bytes), lang)
    folder.files.sort(key=lambda file: file.name)
    return folder


def pack(folder: Folder, target: Path, lang: str) -> None:
    """Write the zip of `folder` to `target`. Raises DureError `folder_unreadable`."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for file in folder.files:
            info = zipfile.ZipInfo(file.name, _FIRST_MOMENT)
            info.create_system = 3  # Unix, so that the mode counts
            info.external_attr = (stat.S_IFREG | (0o755 if file.executable else 0o644)) << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            try:
                with file.path.open("rb") as source, archive.open(info, "w", force_zip64=True) as sink:
                    while piece := source.read(_PIECE_BYTES):
                        sink.write(piece)
            except OSError as error:
                problem = error.strerror or "no reason given"
                raise failure("folder_unreadable", lang, path=str(file.path), problem=problem) from error
            except UnicodeEncodeError as error:
                shown = os.fsencode(file.path).decode("utf-8", "backslashreplace")
                problem = "its name is not UTF-8"
                raise failure("folder_unreadable", lang, path=shown, problem=problem) from error


Rules = tuple[tuple[Path, GitIgnoreSpec], ...]


def _walk(root: Path, here: Path, rules: Rules, left: list[str]) -> Iterator[Found]:
    own = _rules_in(here)
    if own is not None:
        rules = (*rules, (here, own))
    with os.scandir(here) as entries:
        listed = sorted(entries, key=lambda entry: entry.name)
    for entry in listed:
        path = Path(entry.path)
        if entry.name in NEVER or _ignored(path, rules, folder=entry.is_dir(follow_symlinks=False)):
            continue
        name = path.relative_to(root).as_posix()
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(root, path, rules, left)
        elif entry.is_file():  # a link to a file is shipped as the file
            told = entry.stat()
            yield Found(name, path, told.st_size, bool(told.st_mode & stat.S_IXUSR))
        else:
            left.append(name)


def _ignored(path: Path, rules: Rules, *, folder: bool) -> bool:
    """The innermost .gitignore that says anything of the path decides; its last matching line counts."""
    for place, spec in reversed(rules):
        name = path.relative_to(place).as_posix() + ("/" if folder else "")
        said = spec.check_file(name).include
        if said is not None:
            return said
    return False


def _rules_above(root: Path) -> Rules:
    """Return the rules of the repository that `root` lies in: .git/info/exclude and each .gitignore above `root`."""
    top = next((place for place in (root, *root.parents) if (place / ".git").exists()), None)
    if top is None:
        return ()
    found: list[tuple[Path, GitIgnoreSpec]] = []
    exclude = _spec(top / ".git" / "info" / "exclude")
    if exclude is not None:
        found.append((top, exclude))
    for place in reversed([place for place in root.parents if place.is_relative_to(top)]):
        spec = _rules_in(place)
        if spec is not None:
            found.append((place, spec))
    return tuple(found)


def _rules_in(place: Path) -> GitIgnoreSpec | None:
    return _spec(place / ".gitignore")


def _spec(path: Path) -> GitIgnoreSpec | None:
    try:
        return GitIgnoreSpec.from_lines(path.read_text(encoding="utf-8", errors="replace").splitlines())
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None


def _too_large(root: Path, folder: Folder, size: str, limit: str, lang: str) -> Exception:
    largest = sorted(folder.files, key=lambda file: -file.size_bytes)[:_LARGEST_NAMED]
    named = ", ".join(f"{file.name} ({size_word(file.size_bytes)})" for file in largest)
    return failure("folder_too_large", lang, folder=str(root), size=size, limit=limit, largest=named)
