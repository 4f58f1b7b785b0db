"""Look at snapshots without loading them: what they hold, how two differ, whether their bytes are all there."""

from __future__ import annotations

import base64
import pickletools
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dure.state.objects.alike import same_but_for_texts
from dure.state.store.blobs import BlobError, Blobs, digest_of

if TYPE_CHECKING:
    from dure.state.manifest import Snapshot

_NAMED, _NAMED_CHARS = 3, 60  # of the names that differ, in a list of versions
_MODULE_AT = 2  # after the names of what imports it again


@dataclass(frozen=True, slots=True)
class Diff:
    """Names by what happened to them from one snapshot to another."""

    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.changed)


def diff(before: Snapshot, after: Snapshot) -> Diff:
    """Return which names came, went and differ; a name whose group's bytes differ counts as changed, but a module only
    where it is another one: what was imported below it since is nobody's change of a variable.
    """
    old = {name: before.key_of(name) for name in before.variables}
    new = {name: after.key_of(name) for name in after.variables}
    return Diff(
        added=tuple(sorted(new.keys() - old.keys())),
        removed=tuple(sorted(old.keys() - new.keys())),
        changed=tuple(
            sorted(
                name
                for name in old.keys() & new.keys()
                if old[name] != new[name]
                and (_module(name, before) or name) != _module(name, after)
                and not (old[name][1:] == new[name][1:] and _says_the_same(name, before, after))
            )
        ),
    )


def diff_text(before: Snapshot | None, after: Snapshot) -> str:
    """Return the names that differ as a list of versions shows them, `a, b, c, +3`: what came to be unsavable, too.

    `before` None: there was nothing before.
    """
    names = {*after.variables, *after.unsaved}
    if before is not None:
        found = diff(before, after)
        names = {*found.added, *found.removed, *found.changed, *after.unsaved.keys() - before.unsaved.keys()}
    shown: list[str] = []
    for name in sorted(names)[:_NAMED]:
        if len(", ".join([*shown, name])) > _NAMED_CHARS:
            break
        shown.append(name)
    more = len(names) - len(shown)
    return ", ".join([*shown, *([f"+{more}"] if more else [])])


def _module(name: str, snapshot: Snapshot) -> str:
    """Return which module a variable is, "" where it is none; read from its pickle without loading it."""
    stream = snapshot.groups[snapshot.variables[name].group].stream
    if snapshot.variables[name].type != "module" or stream.inline is None:
        return ""
    texts = [text for _, text, _ in pickletools.genops(base64.b64decode(stream.inline)) if isinstance(text, str)]
    return texts[_MODULE_AT] if len(texts) > _MODULE_AT else ""


def _says_the_same(name: str, before: Snapshot, after: Snapshot) -> bool:
    """Tell whether a variable's pickles, where the manifests hold them, differ by texts that are one object only."""
    old, new = (snapshot.groups[snapshot.variables[name].group] for snapshot in (before, after))
    one, other = old.stream.inline, new.stream.inline
    if one is None or other is None or (old.names, sorted(old.classes)) != (new.names, sorted(new.classes)):
        return False
    if [run.digest for run in (*old.buffers, *old.parts)] != [run.digest for run in (*new.buffers, *new.parts)]:
        return False
    return same_but_for_texts(base64.b64decode(one), base64.b64decode(other))


def describe(snapshot: Snapshot) -> str:
    """Return a table of the variables, largest first, and what could not be saved."""
    rows = sorted(snapshot.variables.items(), key=lambda item: (-item[1].size_bytes, item[0]))
    width = max((len(name) for name, _ in rows), default=0)
    lines = [f"{name:<{width}}  {size_text(variable.size_bytes):>9}  {variable.type}" for name, variable in rows]
    lines.append(f"{len(rows)} variables in {len(snapshot.groups)} groups, {size_text(snapshot.size_bytes)}.")
    if snapshot.unsaved:
        lines += ["Not saved:", *(f"  {reason}" for _, reason in sorted(snapshot.unsaved.items()))]
    return "\n".join(lines)


def size_text(size_bytes: int) -> str:
    """Return a size as a person reads it, in powers of 1024."""
    size = float(size_bytes)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def verify(snapshot: Snapshot, blobs: Blobs) -> list[str]:
    """Return a sentence for each blob, or part of the manifest, that is missing or damaged; none where all is whole."""
    problems = []
    for group in snapshot.groups:
        apart = group.classes.keys() & snapshot.apart.keys()
        users = set(group.names).union(*(snapshot.needing(token) for token in apart))
        names = ", ".join(sorted(users)) or "a class"
        for run in group.runs:
            if run.inline is not None and digest_of(base64.b64decode(run.inline)) != run.digest:
                problems.append(f"{names}: the part in the manifest is damaged.")
            for digest in run.chunks:
                try:
                    blobs.get(digest)
                except BlobError as error:
                    problems.append(f"{names}: {error}")
    return problems
