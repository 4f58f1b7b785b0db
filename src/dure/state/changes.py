"""What a cell changed: every group is pickled again and compared, by digest, with the snapshot that was restored.

Nothing that changed is missed, because a pickle says all that a restore needs. The one trap: some pickles differ
without a change (strings that are one object here and two there); a group that differs is therefore compared once more
with a pickle of the base, loaded afresh in this process.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from dure.state.cut import plain
from dure.state.cut.parts import Cutter
from dure.state.cut.pieces import Part
from dure.state.grouping import Gathered, gather
from dure.state.libraries import figures
from dure.state.manifest import OF_MODULE
from dure.state.memory import written
from dure.state.objects.alike import same_but_for_texts
from dure.state.objects.loading import Loader
from dure.state.objects.pickling import Shared, dumped, pickler_for
from dure.state.runs import Writer, runs_of, snapshot_of, stored
from dure.state.secrecy import hidden

if TYPE_CHECKING:
    from collections.abc import Container

    from dure.state.manifest import Group, Snapshot
    from dure.state.store.blobs import Blobs

_SECOND_LOOK_BYTES = 64 * 1024 * 1024  # a larger stream that differs is reported as changed without a second look


@dataclass(frozen=True, slots=True)
class Changes:
    """The names that are new or differ, those that are gone, and those that cannot be saved, with the reason."""

    snapshot: Snapshot | None = None
    changed: tuple[str, ...] = ()
    deleted: tuple[str, ...] = ()
    unsaved: dict[str, str] = field(default_factory=dict)


def changed(namespace: dict[str, Any], base: Snapshot | None, *, blobs: Blobs, ignore: Container[str] = ()) -> Changes:
    """Compare the namespace with `base`, save what differs and return both.

    Names in `ignore` count only if `base` has them. Names that share objects are one group, which changes as a whole.
    `Changes.snapshot` has what differs (None where nothing does): its blobs are written, its manifest is not. BlobError
    where the store refuses.
    """
    known = base.variables if base is not None else {}
    chosen = [
        name for name, value in namespace.items() if name in known or (name not in ignore and not hidden(name, value))
    ]
    if not chosen:
        return Changes(deleted=tuple(sorted(known)))
    watched = written.current()
    references = base.references() if base is not None else frozenset()
    gathered, unsaved = gather(namespace, chosen, Cutter(watched, functools.partial(stored, blobs, references)))
    taken = [runs_of(group, watched) for group in gathered]
    writer = Writer(blobs, references, watched)
    writer.settle([run for item in taken for run in item.runs[1:]])
    for item in taken:
        for run in (item.runs[0], item.parts):
            run.hash()  # written only if it is sent
    groups = [writer.group(item) for item in taken]
    before = {group.key() for group in base.groups} if base is not None else set()
    differing = [
        index
        for index, group in enumerate(groups)
        if group.key() not in before and not _same_after_all(base, group, gathered[index], namespace, blobs)
    ]
    differing = _with_users(groups, differing, base)
    names = tuple(sorted(name for index in differing for name in groups[index].names))
    deleted = tuple(sorted(name for name in known if name not in namespace))
    if not names:
        return Changes(None, (), deleted, unsaved)
    sent = _with_needs(groups, differing)
    writer.settle([run for index in sent for run in (taken[index].runs[0], taken[index].parts)])
    kept = [groups[index] if index in differing else replace(groups[index], names={}) for index in sent]
    return Changes(snapshot_of([taken[index] for index in sent], kept, unsaved), names, deleted, unsaved)


def _with_users(groups: list[Group], differing: list[int], base: Snapshot | None) -> list[int]:
    """Return the groups that differ, and those that need labels of pandas, or a module's object, from one of them."""
    before = base.apart if base is not None else {}
    now = {token: groups[index].key() for index in differing for token in groups[index].classes}
    # the first of a key are the names in the group, which a token stands for nothing of
    other = {token for token, key in now.items() if token in before and before[token][1:] != key[1:]}
    return sorted({*differing, *(index for index, group in enumerate(groups) if other & set(group.needs))})


def _with_needs(groups: list[Group], wanted: list[int]) -> list[int]:
    """Return `wanted` and the groups that define the classes which those need."""
    defines = {token: index for index, group in enumerate(groups) for token in group.classes}
    found = set(wanted)
    queue = list(wanted)
    while queue:
        for token in groups[queue.pop()].needs:
            index = defines.get(token)
            if index is not None and index not in found:
                found.add(index)
                queue.append(index)
    return sorted(found)


def _same_after_all(
    base: Snapshot | None, group: Group, gathered: Gathered, namespace: dict[str, Any], blobs: Blobs
) -> bool:
    """Tell whether the base's group, loaded afresh and pickled here, says the same as the living one."""
    index = None if base is None else _counterpart(base, group)
    if base is None or index is None or gathered.pickled.size_bytes > _SECOND_LOOK_BYTES:
        return False
    loader = Loader(base, blobs, namespace, fresh=True, verify=False)
    shared = Shared(namespace)
    try:
        with figures.unseen():
            return _parts_same_after_all(loader, shared, index, group, gathered) and _objects_same_after_all(
                loader, shared, index, group, gathered
            )
    except Exception:
        # what cannot be loaded or saved again cannot be shown to be the same
        return False


def _counterpart(base: Snapshot, group: Group) -> int | None:
    """Return the number of the base's group with the same names, classes and bytes in buffers; None where it has none.

    Only streams are unstable: other bytes in a buffer are a change.
    """
    buffers = sorted(run.digest for run in group.buffers)
    for number, old in enumerate(base.groups):
        if old.names == group.names and set(old.classes) == set(group.classes):
            same = old.classes == group.classes and sorted(run.digest for run in old.buffers) == buffers
            return number if same else None
    return None


def _objects_same_after_all(loader: Loader, shared: Shared, index: int, group: Group, gathered: Gathered) -> bool:
    """Tell the same of the group's stream and buffers, and of the parts of its sets, whose order is this process's."""
    old, living = loader.snapshot.groups[index], gathered.pickled
    slots = loader.load(index)
    shared.tokens = {id(cls): token for token, cls in loader.made.items()}
    shared.stand_for({id(one): token for token, one in loader.made.items() if token.startswith(OF_MODULE)})
    shared.cutter.cut(slots)
    pickler = pickler_for(shared, {id(slots[slot]): slot for slot in old.classes.values()})
    pickler = dumped(pickler, loader.as_saved(index, gathered.placed))
    return (
        same_but_for_texts(pickler.file.getvalue(), living.stream)
        and len(pickler.parts) == len(living.parts)
        and all(
            other.stream is not None and same_but_for_texts(one.stream or b"", other.stream)
            for one, other, was, now in zip(pickler.parts, living.parts, old.parts, group.parts, strict=True)
            if _is_of_set(other) and was.digest != now.digest
        )
        and all(one.raw() == other.raw() for one, other in zip(pickler.buffers, living.buffers, strict=True))
    )


def _parts_same_after_all(loader: Loader, shared: Shared, index: int, group: Group, gathered: Gathered) -> bool:
    """Tell whether the parts that differ say the same when the base's are loaded and pickled here.

    A part is looked at by itself, so that one changed record among millions is known without loading all of them.
    """
    before = loader.snapshot.groups[index].parts
    if len(before) != len(group.parts):
        return False
    for number, (one, other) in enumerate(zip(before, group.parts, strict=True)):
        living = gathered.pickled.parts[number]
        if one.digest == other.digest or _is_of_set(living):
            continue
        outside = {token: _Outside() for token, _ in living.outside}
        elements = loader.elements(index, number, outside)
        shared.tokens = {id(cls): token for token, cls in loader.made.items()}
        tokens = {id(each): token for token, each in outside.items()}
        again = plain.dumps(elements, shared.token, located=False, outside=tokens)
        if not same_but_for_texts(again.stream, living.stream or b""):
            return False
    return True


class _Outside:
    """Stands for what is not in a part, but referred to."""


def _is_of_set(part: Part) -> bool:
    """Tell whether it is a part of a set, whose order depends on the process: it is compared with one made here."""
    return part.table is not None and part.table.kind is set
