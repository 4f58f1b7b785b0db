"""Bring a snapshot back: every group is loaded before the first name is set, and what does not load is named.

The one trap: a notebook class that lives here already must not be rewritten by loading, since the load may be
thrown away; its new content waits for `Report.commit`.
"""

from __future__ import annotations

import base64
import enum
import io
import os
import pickle
import sys
import types
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dure.state import classes, marks, verified, written
from dure.state.blobs import BlobError, Blobs, digest_of
from dure.state.identity import differing
from dure.state.manifest import EXTRA
from dure.state.regions import MAPPED_BYTES, Region, mapping_works
from dure.state.sealing import CHUNK_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from dure.state.manifest import Buffer, Group, Snapshot

_READERS = 4


@dataclass(frozen=True, slots=True)
class Unverified:
    """A mapped blob that was not hashed yet, and the names that hold it."""

    path: Path
    digest: str
    names: tuple[str, ...]


@dataclass(slots=True)
class Report:
    """What came back. With commit=False nothing is in the namespace until `commit`."""

    values: dict[str, Any] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    unsaved: dict[str, str] = field(default_factory=dict)
    extras: dict[str, Any] = field(default_factory=dict)  # see `dure.state.extras`; never put into the namespace
    unverified: list[Unverified] = field(default_factory=list)  # what `verify_rest` still has to read
    _into: dict[str, Any] | None = None
    _then: list[Callable[[], None]] = field(default_factory=list)

    @property
    def restored(self) -> tuple[str, ...]:
        """The names that were loaded, sorted."""
        return tuple(sorted(self.values))

    def commit(self) -> None:
        """Put all loaded values into the namespace in one step; a second call does nothing."""
        then, self._then = self._then, []
        for step in then:
            step()
        if self._into is not None:
            self._into.update(self.values)
            self._into = None

    def verify_rest(self) -> dict[str, str]:
        """Hash what was mapped only, on any thread, and return the names that hold damaged bytes, with the reason."""
        damaged: dict[str, str] = {}
        memory = bytearray(CHUNK_BYTES)
        while self.unverified:
            item = self.unverified.pop()
            try:
                with item.path.open("rb", buffering=0) as handle:
                    size = handle.readinto(memory) or 0
            except OSError as error:  # a bad disk, or a blob that went meanwhile: nothing vouches for the bytes
                why = f"cannot be read ({error.strerror})"
            else:
                if digest_of(memoryview(memory)[:size]) == item.digest:
                    verified.note(item.path, item.digest)
                    continue
                why = "is damaged (its hash differs)"
            reason = f"blob {item.digest[:12]}… {why}: restore another version"
            damaged.update(dict.fromkeys(item.names, reason))
        return damaged


def restore(
    snapshot: Snapshot,
    blobs: Blobs,
    into: dict[str, Any] | None = None,
    names: Iterable[str] | None = None,
    *,
    commit: bool = True,
    verify_bytes: int | None = None,
) -> Report:
    """Load the snapshot's variables, all or those in `names`, and put them `into` a namespace.

    A group loads whole or not at all: its names are then in `failed` with the reason and keep what the
    namespace held. Functions get `into` as their globals, so later rebinding is seen; without `into`, a
    namespace of their own. Large memory is mapped and hashed first; with `verify_bytes` no more than that,
    and the caller has `Report.verify_rest` hash the rest, so that a restore takes no longer at any size.
    """
    namespace: dict[str, Any] = {"__name__": "__main__"} if into is None else into
    wanted = None if names is None else set(names)
    loader = Loader(snapshot, blobs, namespace)
    loader.verify_bytes = verify_bytes
    report = Report(unsaved={n: r for n, r in snapshot.unsaved.items() if wanted is None or n in wanted})
    for index, group in enumerate(snapshot.groups):
        chosen = {name: slot for name, slot in group.names.items() if wanted is None or name in wanted}
        if not chosen:
            continue
        try:
            slots = loader.load(index)
        except Exception as error:
            reason = _reason(error)
            if skew := differing(snapshot.fingerprint, group.modules):
                reason += f" ({skew}: an environment with that version restores it)"
            report.failed.update({name.removeprefix(EXTRA): reason for name in chosen})
            continue
        for name, slot in chosen.items():
            held = report.extras if name.startswith(EXTRA) else report.values
            held[name.removeprefix(EXTRA)] = slots[slot]
    for name in wanted or ():
        if name not in snapshot.variables and name not in snapshot.unsaved:
            report.failed[name] = "it is not in this snapshot"
    report.unverified = loader.unverified
    report._into, report._then = namespace, loader.pending  # noqa: SLF001 - the report's own fields, set by its maker
    if commit:
        report.commit()
    elif into is None:
        namespace.update(report.values)
    return report


class Loader:
    """Loads groups by number, each once; classes that a group needs are loaded with it."""

    def __init__(
        self, snapshot: Snapshot, blobs: Blobs, namespace: dict[str, Any], *, fresh: bool = False, verify: bool = True
    ) -> None:
        self.snapshot = snapshot
        self.blobs = blobs
        self.namespace = namespace
        self.fresh = fresh  # make every class anew and leave the living ones alone
        self.verify = verify
        self.verify_bytes: int | None = None  # how much may still be hashed before the restore returns
        self.unverified: list[Unverified] = []
        self.pending: list[Callable[[], None]] = []
        self.made: dict[str, type] = {}
        self._new: set[str] = set()  # tokens of the classes that were made here
        watched = written.current()
        self._watched = None if watched is None else (watched[0], None)  # it looks at regions of its own only
        self._living: dict[int, str] = {}  # classes of this process by id, with the shape that was saved
        self._loaded: dict[int, tuple[Any, ...]] = {}
        self._errors: dict[int, Exception] = {}
        self._defines = {token: index for index, group in enumerate(snapshot.groups) for token in group.classes}

    def load(self, index: int) -> tuple[Any, ...]:
        """Return the group's objects, by slot."""
        if index in self._loaded:
            return self._loaded[index]
        if index in self._errors:
            raise self._errors[index]
        group = self.snapshot.groups[index]
        try:
            found = self._load(group)
        except Exception as error:
            self._errors[index] = error
            raise
        self._loaded[index] = found
        return found

    def _load(self, group: Group) -> tuple[Any, ...]:
        pending = len(self.pending)
        stream = self._bytes(group.stream)
        buffers = [self._memory(buffer, tuple(sorted(group.names))) for buffer in group.buffers]
        try:
            found = _Unpickler(self, stream, buffers).load()
        except Exception:
            del self.pending[pending:]
            for token in group.classes:  # a class that was made and not filled is nobody's class
                if (made := self.made.pop(token, None)) is not None and token in self._new:
                    classes.forget(token, made)
            raise
        if not isinstance(found, tuple) or len(found) <= max(
            [*group.names.values(), *group.classes.values()], default=-1
        ):
            raise ValueError("the saved group does not hold what its manifest says")
        for token, slot in group.classes.items():
            self.made.setdefault(token, found[slot])
        return found

    def _bytes(self, run: Buffer) -> Any:
        if run.inline is not None:
            data = base64.b64decode(run.inline)
            if digest_of(data) != run.digest:
                raise BlobError("a part of the snapshot's manifest is damaged (its hash differs)")
            return data
        if len(run.chunks) == 1:
            return self.blobs.get(run.chunks[0])
        return self._read(run)

    def _memory(self, run: Buffer, names: tuple[str, ...]) -> Any:
        """Return writable memory with the run's bytes: mapped from local files where that pays."""
        if run.inline is not None or run.size_bytes < MAPPED_BYTES:
            return bytearray(self._bytes(run))
        paths = [self.blobs.path(digest) for digest in run.chunks] if mapping_works() else [None] * len(run.chunks)
        read = [index for index, path in enumerate(paths) if path is None]
        if len(read) == len(paths):
            memory = Region.empty(run.size_bytes).view()
        else:
            memory = Region.of_files(paths, CHUNK_BYTES, run.size_bytes).view()
        self._fill(memory, run, read)
        if self.verify:
            # looked at under watch, so that what nobody writes need not be hashed again when the cell has run
            look = written.looked(memory, self._watched)
            files = [(index, path) for index, path in enumerate(paths) if path is not None]
            new = [(index, path) for index, path in files if not verified.known(path, run.chunks[index])]
            if self.verify_bytes is not None:
                now = max(self.verify_bytes, 0) // CHUNK_BYTES
                self.verify_bytes -= len(new) * CHUNK_BYTES
                self.unverified += [Unverified(path, run.chunks[index], names) for index, path in new[now:]]
                new = new[:now]
            for (index, path), found in zip(new, written.hashed(memory, [one for one, _ in new]), strict=True):
                if found != run.chunks[index]:
                    raise BlobError(
                        f"blob {run.chunks[index][:12]}… is damaged (its hash differs): save the snapshot again"
                    )
                verified.note(path, found)
            if look is not None and self._watched is not None:
                self._watched[0].learn(look, list(run.chunks))
        return memory

    def _read(self, run: Buffer) -> memoryview:
        memory = Region.empty(run.size_bytes).view()
        self._fill(memory, run, list(range(len(run.chunks))))
        return memory

    def _fill(self, memory: memoryview, run: Buffer, chunks: list[int]) -> None:
        """Copy verified chunks to where they belong, several at once."""

        def fill(index: int) -> None:
            data = self.blobs.get(run.chunks[index])
            expected = min(CHUNK_BYTES, run.size_bytes - index * CHUNK_BYTES)
            if len(data) != expected:
                raise BlobError(f"a blob has {len(data)} bytes where {expected} were saved: save the snapshot again")
            memory[index * CHUNK_BYTES : index * CHUNK_BYTES + len(data)] = data

        threads = min(len(chunks), max(self.blobs.parallel, min(_READERS, os.cpu_count() or 1)))
        if threads > 1:
            with ThreadPoolExecutor(threads, thread_name_prefix="dure-restore") as pool:
                list(pool.map(fill, chunks))
        else:
            for index in chunks:
                fill(index)

    # --- what the marks in a stream call

    def class_ref(self, token: str) -> type:
        """Return a notebook class that another group defines."""
        if token not in self.made:
            index = self._defines.get(token)
            living = classes.known(token)
            if index is not None and not (self.fresh and living is not None):
                self.load(index)
            elif living is not None:
                self.made[token] = living
            else:
                raise LookupError("a class that it is an instance of is not in the snapshot")
        return self.made[token]

    def class_shell(self, token: str, shape: str, name: str, make: Any, arguments: tuple[Any, ...]) -> type:
        """Return this process's class for the token, one of equal definition, or a new one that `class_state`
        fills.
        """
        if not self.fresh:
            living = classes.known(token)
            if living is None:
                living = self._same_definition(name, shape)
            if living is not None:
                self.made[token] = living
                self._living[id(living)] = shape
                return living
        found: type = make(*arguments)
        self.made[token] = found
        if not self.fresh:
            self._new.add(token)
            classes.remember(token, found)
        return found

    def _same_definition(self, name: str, shape: str) -> type | None:
        found = self.namespace.get(name)
        if isinstance(found, type) and shape and not classes.by_reference(found) and classes.shape_of(found) == shape:
            return found
        return None

    def class_state(self, cls: type, state: tuple[Any, Any]) -> None:
        """Fill a new class now; a class that lives here already changes only at commit, and only where it
        differs.
        """
        setter, content = state
        shape = self._living.get(id(cls))
        if shape and classes.shape_of(cls) == shape:
            return
        if shape is not None:
            self.pending.append(lambda: _bring_up_to_date(cls, content[0]))
        else:
            setter(cls, content)

    def function(
        self, tag: str, code: bytes, name: str, where: Any, cells: tuple[Any, ...] | None
    ) -> types.FunctionType:
        """Return a function on the live namespace, on its module's, or on the dict that travelled with it."""
        from dure.state.rebuild import code_object

        if where is None:
            scope = self.namespace
        elif isinstance(where, str):
            __import__(where)
            scope = vars(sys.modules[where])
        else:
            scope = where
        return types.FunctionType(code_object(tag, code), scope, name, None, cells)

    def live_namespace(self) -> dict[str, Any]:
        """Return the namespace itself."""
        return self.namespace


class _Unpickler(pickle.Unpickler):
    def __init__(self, loader: Loader, stream: Any, buffers: list[Any]) -> None:
        super().__init__(io.BytesIO(stream), buffers=buffers)
        self._loader = loader

    def find_class(self, module: str, name: str) -> Any:
        if module == marks.__name__:
            return getattr(self._loader, "live_namespace" if name == "namespace" else name)
        if module == "__main__":
            found = self._loader.namespace.get(name)
            if found is None:
                raise LookupError(f"{name} is not defined in the notebook")
            return found
        return super().find_class(module, name)


def _bring_up_to_date(cls: type, attributes: dict[str, Any]) -> None:
    """Give a living class the attributes that differ from its own; what is equal keeps its identity."""
    for name, value in attributes.items():
        if name in ("__dict__", "__weakref__", "_abc_impl", "__module__", "__qualname__", "__doc__", "__slots__"):
            continue
        if name in cls.__dict__ and _same(cls.__dict__[name], value):
            continue
        setattr(cls, name, value)
    if isinstance(cls, enum.EnumMeta):
        return  # what is left are its members and their tables, which Python made with the class
    for name in [name for name in list(vars(cls)) if name not in attributes and not name.startswith("__")]:
        if name != "_abc_impl" and not isinstance(vars(cls)[name], types.MemberDescriptorType):
            delattr(cls, name)


def _same(mine: Any, theirs: Any) -> bool:
    if mine is theirs:
        return True
    if isinstance(mine, types.FunctionType) and isinstance(theirs, types.FunctionType):
        return classes.code_of(mine) == classes.code_of(theirs) and mine.__defaults__ == theirs.__defaults__
    if type(mine) is not type(theirs):
        return False
    if isinstance(mine, staticmethod | classmethod):
        return _same(mine.__func__, theirs.__func__)
    if isinstance(mine, property):
        return all(_same(getattr(mine, part), getattr(theirs, part)) for part in ("fget", "fset", "fdel"))
    try:
        return bool(mine == theirs)
    except Exception:
        return False


def _reason(error: Exception) -> str:
    """Return why a group did not load, as a sentence with what to do where that is known."""
    if isinstance(error, ModuleNotFoundError):
        return f"it needs the package {error.name}, which is not installed here: add it to the environment"
    text = str(error).strip().splitlines()
    first = text[0] if text else ""
    if isinstance(error, BlobError | LookupError | RuntimeError) and first:
        return first
    return f"{type(error).__name__}: {first}"
