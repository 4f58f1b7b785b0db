"""What a snapshot says about itself: plain JSON that names variables, groups and the blobs they need.

The server side may import this module alone: standard library only, and nothing here unpickles. The one trap: a
manifest comes from a person's process, so it is checked whole when it is read and every digest in it is a claim.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Collection, Container, Iterable, Iterator

    from dure.state.store.blobs import Blobs

FORMAT = "dure.snapshot"
VERSION = 2
_BEFORE = 1  # the same without parts, and so written where there are none
LABELS = "labels-"  # before the tokens of labels of pandas, among those of classes
OF_MODULE = "module-"  # and before those of what modules have under a name
_SETTLED = (LABELS, OF_MODULE)  # of which a change is one of whoever needs it
EXTRA = "%"  # before the name of what is saved beside the variables; no variable's name begins so
MANIFEST_BYTES = 64 * 1024 * 1024
_MEMBERS = 1_000_000  # a bound on every list of a manifest
_DIGEST = re.compile(r"[0-9a-f]{64}")


class ManifestError(ValueError):
    """These bytes are not a manifest that this version reads; one sentence says why."""


@dataclass(frozen=True, slots=True)
class SavedRun:
    """A run of bytes as it is saved: in the manifest itself (`inline`, base64) or as chunks, each a blob."""

    size_bytes: int
    chunks: tuple[str, ...] = ()
    inline: str | None = None
    digest: str = ""  # of the whole where it is inline, else of the chunks' digests joined

    @classmethod
    def of_part(cls, size_bytes: int, chunks: tuple[str, ...]) -> Self:
        """Return a part that is in the store, by at least one chunk."""
        whole = chunks[0] if len(chunks) == 1 else hashlib.sha256("".join(chunks).encode()).hexdigest()
        return cls(size_bytes, chunks, None, whole)


@dataclass(frozen=True, slots=True)
class Group:
    """Variables that share mutable objects, in one pickle; `names` and `classes` say which slot holds which. What is
    large and plain in it is in pickles of its own, the `parts`.
    """

    names: dict[str, int]
    stream: SavedRun
    buffers: tuple[SavedRun, ...] = ()
    parts: tuple[SavedRun, ...] = ()
    classes: dict[str, int] = field(default_factory=dict)
    needs: tuple[str, ...] = ()  # classes that other groups define
    modules: tuple[str, ...] = ()

    @property
    def runs(self) -> tuple[SavedRun, ...]:
        """All runs of bytes that it is made of."""
        return (self.stream, *self.parts, *self.buffers)

    def chunks(self) -> frozenset[str]:
        """Return the digests of the blobs that it is made of."""
        return frozenset(chunk for run in self.runs for chunk in run.chunks)

    def key(self) -> tuple[object, ...]:
        """Return what makes two groups equal: the same names on the same bytes."""
        return (
            tuple(sorted(self.names.items())),
            tuple(sorted(self.classes)),
            self.stream.digest,
            tuple(buffer.digest for buffer in self.buffers),
            tuple(part.digest for part in self.parts),
        )


@dataclass(frozen=True, slots=True)
class Variable:
    """What can be said of a variable without loading it. `size_bytes` counts shared bytes for each that shares them."""

    type: str
    size_bytes: int
    group: int


@dataclass(frozen=True)
class Snapshot:
    """A saved namespace. Immutable; equal JSON means equal state."""

    groups: tuple[Group, ...] = ()
    variables: dict[str, Variable] = field(default_factory=dict)
    unsaved: dict[str, str] = field(default_factory=dict)
    absent: tuple[str, ...] = ()
    fingerprint: dict[str, Any] = field(default_factory=dict)
    extras: dict[str, Variable] = field(default_factory=dict)  # what was saved beside the variables

    @property
    def names(self) -> tuple[str, ...]:
        """The saved names, sorted."""
        return tuple(sorted(self.variables))

    @property
    def modules(self) -> tuple[str, ...]:
        """The top-level modules that a restore imports."""
        return tuple(sorted({module for group in self.groups for module in group.modules}))

    @property
    def size_bytes(self) -> int:
        """Bytes of all streams and buffers, each counted once per group."""
        return sum(run.size_bytes for group in self.groups for run in group.runs)

    @property
    def digest(self) -> str:
        """The manifest blob's digest."""
        from dure.state.store.blobs import digest_of

        return digest_of(self.to_json())

    def references(self) -> frozenset[str]:
        """Return the digests of all blobs that a restore reads; the manifest's own is not among them."""
        return frozenset(chunk for group in self.groups for run in group.runs for chunk in run.chunks)

    def largest(self, count: int) -> dict[str, int]:
        """Return the `count` largest runs of bytes that are blobs: the digest of each one's first blob, and its bytes.

        A run that was changed further behind still counts as the same one.
        """
        runs: dict[str, int] = {}
        for group in self.groups:
            for run in group.runs:
                if run.chunks and run.size_bytes > 0:
                    runs[run.chunks[0]] = max(run.size_bytes, runs.get(run.chunks[0], 0))
        return dict(sorted(runs.items(), key=lambda item: (-item[1], item[0]))[:count])

    def key_of(self, name: str) -> tuple[object, ...]:
        """Return what is equal for a variable in two snapshots where its group, and what that needs, are the same."""
        group = self.groups[self.variables[name].group]
        keys = [self.apart[token] for token in sorted(set(group.needs) & self.apart.keys())]
        return (group.key(), *(key[1:] for key in keys))

    def sharing(self, names: Collection[str]) -> frozenset[str]:
        """Return the other variables that share memory or objects with one of `names`."""
        groups = {self.variables[name].group for name in names if name in self.variables}
        return frozenset(name for name, item in self.variables.items() if item.group in groups).difference(names)

    def needing(self, token: str) -> frozenset[str]:
        """Return the names of the groups that need or define a class or labels."""
        found = [group.names for group in self.groups if token in group.needs or token in group.classes]
        return frozenset(name for names in found for name in names)

    @functools.cached_property
    def apart(self) -> dict[str, tuple[object, ...]]:
        """The keys of the groups with labels of pandas, and with what modules have, by the tokens of these."""
        return {token: group.key() for group in self.groups for token in group.classes if token.startswith(_SETTLED)}

    def to_json(self) -> bytes:
        """Return the manifest as canonical JSON."""
        document = {
            "format": FORMAT,
            "version": VERSION if any(group.parts for group in self.groups) else _BEFORE,
            "fingerprint": self.fingerprint,
            "groups": [_group_json(group) for group in self.groups],
            "variables": {name: [item.type, item.size_bytes, item.group] for name, item in self.variables.items()},
            "unsaved": self.unsaved,
            "absent": list(self.absent),
        }
        if self.extras:
            document["extras"] = {name: [item.type, item.size_bytes, item.group] for name, item in self.extras.items()}
        return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()

    @classmethod
    def from_json(cls, data: bytes) -> Snapshot:
        """Read a manifest without trusting it; ManifestError says what is wrong with it."""
        return _parsed(data)

    def store(self, blobs: Blobs) -> str:
        """Keep the manifest as a blob, after all that it refers to, and return its digest."""
        return blobs.put(self.to_json())

    @classmethod
    def load(cls, digest: str, blobs: Blobs) -> Snapshot:
        """Read the manifest with this digest; BlobError where it is not there, ManifestError where it is none."""
        return _parsed(blobs.get(digest))

    def without(self, names: Container[str]) -> Snapshot:
        """Return the state less the variables in `names`; classes that were saved with them stay known."""
        groups = [
            replace(group, names={name: slot for name, slot in group.names.items() if name not in names})
            for group in self.groups
        ]
        needed = {token for group in groups if group.names for token in group.needs}
        groups = [group for group in groups if group.names or _is_wanted(group, needed)]
        position = {name: index for index, group in enumerate(groups) for name in group.names}
        return replace(
            self,
            groups=tuple(groups),
            variables=_placed(self.variables, position),
            extras=_placed(self.extras, position, EXTRA),
        )

    def only(self, names: Container[str]) -> Snapshot:
        """Return what the state has of `names`, saved or not; classes that were saved with them stay known."""
        gone = {name for group in self.groups for name in group.names if name not in names}
        unsaved = {name: reason for name, reason in self.unsaved.items() if name in names}
        return replace(self.without(gone), unsaved=unsaved, absent=())

    def merged(self, newer: Snapshot) -> Snapshot:
        """Return the state after `newer` was restored on top of this; a group that lost a name to it goes whole."""
        replaced = {name for group in newer.groups for name in group.names}
        classes = {token for group in newer.groups for token in group.classes}
        kept = [
            group
            for group in self.groups
            if not (group.names and replaced.issuperset(group.names))
            and not (group.classes and classes.issuperset(group.classes) and not group.names)
        ]
        kept = [
            replace(group, names={name: slot for name, slot in group.names.items() if name not in replaced})
            for group in kept
        ]
        groups = (*kept, *newer.groups)
        position = {name: index for index, group in enumerate(groups) for name in group.names}
        return Snapshot(
            groups=groups,
            variables=_placed({**self.variables, **newer.variables}, position),
            extras=_placed({**self.extras, **newer.extras}, position, EXTRA),
            unsaved={**{n: r for n, r in self.unsaved.items() if n not in replaced}, **newer.unsaved},
            absent=newer.absent,
            fingerprint=newer.fingerprint or self.fingerprint,
        )


def _parsed(data: bytes) -> Snapshot:
    if len(data) > MANIFEST_BYTES:
        raise ManifestError(f"The manifest has {len(data)} bytes; at most {MANIFEST_BYTES} are read.")
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ManifestError(f"These bytes are not a snapshot's manifest: {error}.") from None
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise ManifestError("This JSON is not a snapshot's manifest: its format is not 'dure.snapshot'.")
    if document.get("version") not in (VERSION, _BEFORE):
        raise ManifestError(
            f"The snapshot has format version {document.get('version')!r} and this dure reads {VERSION}: "
            "install the dure that wrote it."
        )
    try:
        snapshot = Snapshot(
            groups=tuple(_group(item) for item in _items(document["groups"])),
            variables=_variables(document["variables"]),
            extras=_variables(document.get("extras", {})),
            unsaved={_text(name): _text(reason) for name, reason in document["unsaved"].items()},
            absent=tuple(_text(name) for name in _items(document["absent"])),
            fingerprint=dict(document["fingerprint"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise ManifestError(f"The snapshot's manifest is damaged: {type(error).__name__} at {error}.") from None
    if any(item.group >= len(snapshot.groups) for item in (*snapshot.variables.values(), *snapshot.extras.values())):
        raise ManifestError("The snapshot's manifest is damaged: a variable is in a group that is not there.")
    return snapshot


def _is_wanted(group: Group, needed: set[str]) -> bool:
    """Tell whether a group without names has a class, or what somebody needs of it."""
    return any(not token.startswith(_SETTLED) or token in needed for token in group.classes)


def _placed(variables: dict[str, Variable], position: dict[str, int], prefix: str = "") -> dict[str, Variable]:
    return {
        name: replace(item, group=position[prefix + name])
        for name, item in variables.items()
        if prefix + name in position
    }


def _variables(document: dict[str, Any]) -> dict[str, Variable]:
    return {_text(name): Variable(_text(item[0]), _count(item[1]), _count(item[2])) for name, item in document.items()}


def _group_json(group: Group) -> dict[str, Any]:
    document: dict[str, Any] = {"names": group.names, "stream": _run_json(group.stream)}
    if group.buffers:
        document["buffers"] = [_run_json(buffer) for buffer in group.buffers]
    if group.parts:
        document["parts"] = [each for part in group.parts for each in (part.size_bytes, *part.chunks)]
    if group.classes:
        document["classes"] = group.classes
    if group.needs:
        document["needs"] = list(group.needs)
    if group.modules:
        document["modules"] = list(group.modules)
    return document


def _run_json(buffer: SavedRun) -> dict[str, Any]:
    document: dict[str, Any] = {"size": buffer.size_bytes, "digest": buffer.digest}
    if buffer.inline is not None:
        document["inline"] = buffer.inline
    else:
        document["chunks"] = list(buffer.chunks)
    return document


def _group(item: dict[str, Any]) -> Group:
    return Group(
        names={_text(name): _count(slot) for name, slot in item["names"].items()},
        stream=_run(item["stream"]),
        buffers=tuple(_run(buffer) for buffer in _items(item.get("buffers", []))),
        parts=tuple(_parts(_items(item.get("parts", [])))),
        classes={_text(name): _count(slot) for name, slot in item.get("classes", {}).items()},
        needs=tuple(_text(name) for name in _items(item.get("needs", []))),
        modules=tuple(_text(name) for name in _items(item.get("modules", []))),
    )


def _run(item: dict[str, Any]) -> SavedRun:
    inline = item.get("inline")
    return SavedRun(
        size_bytes=_count(item["size"]),
        chunks=tuple(_digests(_items(item.get("chunks", [])))),
        inline=None if inline is None else _text(inline),
        digest=_text(item["digest"]),
    )


def _parts(items: list[Any]) -> Iterator[SavedRun]:
    begins = [at for at, item in enumerate(items) if type(item) is int]  # its bytes, before the digests of its chunks
    for begin, end in itertools.pairwise(sorted({0, *begins, len(items)})):
        yield SavedRun.of_part(_count(items[begin]), tuple(_digests(items[begin + 1 : end] or [None])))


def _digests(items: Iterable[Any]) -> Iterator[str]:
    for item in items:
        if not isinstance(item, str) or not _DIGEST.fullmatch(item):
            raise ValueError(f"{item!r} is not a digest")
        yield item


def _items(value: Any) -> list[Any]:
    if not isinstance(value, list) or len(value) > _MEMBERS:
        raise TypeError("a list was expected")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("a text was expected")
    return value


def _count(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise TypeError("a number of zero or more was expected")
    return value
