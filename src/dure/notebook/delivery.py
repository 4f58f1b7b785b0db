"""Brings a cell's results into the notebook: all changed names are loaded first, then committed in one step.

What could not be saved, loaded or was changed here in the meantime is named, with the reason; `--on-conflict` says what
becomes of the last. The trap: between loading and committing nothing may raise, so that the notebook holds either none
of a job's names or all that can be had.
"""

from __future__ import annotations

import types
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dure.notebook.holders import holders
from dure.notebook.words import say, without_name
from dure.state.extras import FOLDER, LAST, RANDOM, SETTINGS
from dure.wire.cells import LABELS_MADE, LAST_VALUE, SETTINGS_MADE

if TYPE_CHECKING:
    from dure.state import Blobs, Report, Snapshot

_UNBROUGHT = {SETTINGS_MADE: "settings_unsaved", LABELS_MADE: "labels_unsaved"}  # what is said of these
LEFT_HERE = ("environment", "logging", "locale", "folder")  # what a worker tells by name; a newer one may tell more
_MISSING = object()
_IMPORTED = (types.ModuleType, types.FunctionType, types.BuiltinFunctionType, type)


class Before:
    """What the names held when the cell left, so that a change in the meantime is noticed, also one in place.

    Names that the cell mentions are held on to; of the others only the id is kept, which costs no memory. `sent` is
    what travelled. `unread` are names that the cell binds without reading them: of these, too, the content is noted.
    """

    def __init__(
        self,
        namespace: Mapping[str, Any],
        mentioned: Sequence[str],
        sent: Snapshot | None = None,
        unread: Sequence[str] = (),
    ) -> None:
        self._held = {name: namespace.get(name, _MISSING) for name in mentioned}
        self._ids = {name: id(value) for name, value in namespace.items() if name not in self._held}
        self._version = _noted(namespace, unread, sent)

    def changed(self, namespace: dict[str, Any], names: Sequence[str], blobs: Blobs | None) -> set[str]:
        """Return those of `names` that are bound to something else now, or whose value is not what it was."""
        rebound = {name for name in names if self._rebound(namespace, name)}
        return rebound | self._altered(namespace, set(names) - rebound, blobs)

    def _rebound(self, namespace: Mapping[str, Any], name: str) -> bool:
        now = namespace.get(name, _MISSING)
        if name in self._held:
            return now is not self._held[name]
        return now is not _MISSING and id(now) != self._ids.get(name)

    def _altered(self, namespace: dict[str, Any], names: set[str], blobs: Blobs | None) -> set[str]:
        base = self._version
        known = names & set(base.names) & namespace.keys() if base is not None else set()
        if base is None or blobs is None or not known:
            return set()
        from dure.state import changed

        mates = {name for group in base.groups if known & group.names.keys() for name in group.names}
        base = base.without(set(base.names) - mates)
        changes = changed(namespace, base, blobs=blobs, ignore=frozenset(namespace))
        return known & {*changes.changed, *changes.unsaved}

    def still_held(self, namespace: Mapping[str, Any], names: Sequence[str]) -> list[str]:
        """Return a sentence for each of `names`, which the cell changed in place, where another variable still holds
        the former value or something in it.
        """
        former = {
            name: self._held[name]
            for name in names
            if name in self._held and self._held[name] is not namespace.get(name)
        }
        found = holders(former, namespace)
        return [say("still_held", name=name, holders=", ".join(found[name])) for name in sorted(found)]

    def delivered(self, namespace: Mapping[str, Any], names: Sequence[str]) -> None:
        """Take the state of `names` as the new beginning: what was brought is not a change of the person's."""
        for name in names:
            self._held[name] = namespace.get(name, _MISSING)
        if self._version is not None:
            self._version = self._version.without(set(names))


def _noted(namespace: Mapping[str, Any], unread: Sequence[str], sent: Snapshot | None) -> Snapshot | None:
    present = [name for name in unread if name in namespace]
    if not present:
        return sent
    from dure.state import capture

    nowhere: Any = _Nowhere()
    unsent = capture(dict(namespace), present, blobs=nowhere)
    return unsent if sent is None else unsent.merged(sent)


class _Nowhere:
    """Blobs of which only the digests are wanted."""

    parallel = 1

    def claim(self, digests: Any) -> tuple[str, ...]:  # noqa: ARG002 -- as of dure.state.Blobs
        return ()


class FreshKernel(Before):
    """A kernel that never saw the cell leave: every name that it has already is the person's own."""

    def __init__(self) -> None:
        super().__init__({}, ())


class Stayed:
    """Stands in `_` and `Out` for a cell's last value that has no name and is not small: it ended with the cell."""

    def __init__(self, kind: str) -> None:
        self._kind = kind

    def __repr__(self) -> str:
        return say("stayed", kind=self._kind)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # what IPython and pickle ask of everything
            raise AttributeError(name)
        raise AttributeError(repr(self))


@dataclass(slots=True)
class Delivered:
    """What came: the names committed, and sentences about those that did not. `refused`: nothing was committed."""

    changed: tuple[str, ...] = ()
    deleted: tuple[str, ...] = ()
    conflicts: tuple[str, ...] = ()
    refused: bool = False
    notes: list[str] = field(default_factory=list)
    graphs_left: tuple[str, ...] = ()
    random: dict[str, Any] | None = None
    settings: Any = None
    folder: str | None = None
    last_value: Any = None


def deliver(
    end: Mapping[str, Any],
    blobs: Blobs | None,
    namespace: dict[str, Any],
    before: Before,
    *,
    job: str,
    on_conflict: str = "keep",
) -> Delivered:
    """Commit what the end message of a cell names. Raises BlobError or ManifestError with nothing changed.

    A name that changed here in the meantime is kept, taken from the job, kept beside the job's (`x_from_gpu`), or makes
    nothing be committed at all, as `on_conflict` (keep, take, both, fail) says.
    """
    result = Delivered()
    result.notes += _left_there(end)
    extras = _extras(end.get("extras"), blobs)
    report, mates = _load(end.get("snapshot"), blobs, namespace, result)
    values = report.values if report is not None else {}
    result.last_value = values.pop(LAST_VALUE, extras.get(LAST))
    if result.last_value is None and (kind := end.get("last_stays")):
        result.last_value = Stayed(str(kind))
    result.random, result.folder = extras.get(RANDOM), extras.get(FOLDER)
    result.settings = {**extras.get(SETTINGS, {}), **values.pop(SETTINGS_MADE, {})}
    relabelled = values.pop(LABELS_MADE, ())
    gone = [name for name in end.get("deleted") or () if name in namespace]
    if on_conflict != "take":
        conflicts = before.changed(namespace, [*values, *gone], blobs)
        conflicts |= {name for group in mates if group & conflicts for name in group & namespace.keys() & values.keys()}
        result.conflicts = tuple(sorted(name for name in conflicts if not _same_import(name, values, namespace)))
    if result.conflicts and on_conflict == "fail":
        return Delivered(conflicts=result.conflicts, refused=True)
    aside = {name: values.pop(name) for name in result.conflicts if name in values}
    twins = {name: _free_name(f"{name}_from_gpu", namespace, values) for name in aside} if on_conflict == "both" else {}
    had = {id(index): names for index, names in relabelled}
    _relabel(report, had, {*values, *gone}.difference(result.conflicts))
    aside |= _labels_apart(report, str(end.get("snapshot")), blobs, namespace, twins)
    values.update({twins[name]: aside[name] for name in twins})
    if report is not None:
        report.commit()
        told = report.told.items()
        result.notes += [say("of_module", name=name, reason=why) for name, why in told]
    for name in gone:
        if name not in result.conflicts:
            namespace.pop(name, None)
            result.deleted += (name,)
    result.changed = tuple(sorted(values))
    result.graphs_left = tuple(sorted(values.keys() & set(report.graphs_left))) if report is not None else ()
    result.notes += before.still_held(namespace, sorted(set(end.get("in_place") or ()) & values.keys()))
    before.delivered(namespace, [*result.changed, *result.deleted])
    holder = end.get("last_name")
    if holder and (holder not in result.conflicts or holder in twins):
        result.last_value = namespace.get(twins.get(holder, holder))
    if result.conflicts:
        result.notes.append(_conflict_note(result.conflicts, twins, job))
    return result


def _same_import(name: str, values: Mapping[str, Any], namespace: Mapping[str, Any]) -> bool:
    """Return whether both sides imported the very same. Equal numbers are no such thing: one may be a lost count."""
    value = values.get(name, _MISSING)
    return isinstance(value, _IMPORTED) and value is namespace.get(name)


def _conflict_note(conflicts: Sequence[str], twins: Mapping[str, str], job: str) -> str:
    if not twins:
        return say("conflict", names=", ".join(conflicts), job=job)
    pairs = ", ".join(f"{name} → {twin}" for name, twin in sorted(twins.items()))
    return say("conflict_both", names=", ".join(conflicts), pairs=pairs)


def _free_name(name: str, *taken: Mapping[str, Any]) -> str:
    number, free = 2, name
    while any(free in names for names in taken):
        number, free = number + 1, f"{name}_{number}"
    return free


def _left_there(end: Mapping[str, Any]) -> list[str]:
    """Return a sentence on each name that stayed behind, on threads, and on what was set besides variables."""
    notes = []
    for name, reason in (end.get("unsaved") or {}).items():
        if name in _UNBROUGHT:
            notes.append(say(_UNBROUGHT[name], reason=reason.partition(": ")[2] or reason))
        elif name != LAST_VALUE:
            notes.append(say("unsaved", name=name, reason=without_name(name, reason)))
    if threads := end.get("threads"):
        notes.append(say("threads_ended", names=", ".join(threads)))
    left = end.get("left_here") or {}
    besides = [say(f"left_{what}", names=", ".join(left[what])) for what in LEFT_HERE if left.get(what)]
    return [*notes, say("left_in_process", what="; ".join(besides))] if besides else notes


def _extras(digest: str | None, blobs: Blobs | None) -> dict[str, Any]:
    if not digest or blobs is None:
        return {}
    from dure.state.extras import unpacked

    return unpacked(blobs.get(digest))


def _relabel(report: Report | None, had: Mapping[int, Collection[str]], taken: Collection[str]) -> None:
    """Rename labels of pandas here as the cell did, where one of the variables is `taken` that hold them here or, by
    the labels' ids, `had` them when the cell left.
    """
    from dure.state.objects import labels

    for here, saved, users in report.renamed if report is not None else ():
        if not users.union(had.get(id(here), ())).isdisjoint(taken):
            labels.give_as(here, saved)


def _labels_apart(
    report: Report | None, digest: str, blobs: Blobs | None, namespace: dict[str, Any], twins: Mapping[str, str]
) -> dict[str, Any]:
    """Load values that are kept beside the notebook's once more, with their own labels where the cell renamed these."""
    from dure.state import Snapshot, restore

    renamed = report.renamed if report is not None else []
    apart = {name for *_, users in renamed for name in users & twins.keys()}
    if blobs is None or not apart:
        return {}
    return restore(Snapshot.load(digest, blobs), blobs, into=namespace, names=apart, commit=False).values


def _load(
    digest: str | None, blobs: Blobs | None, namespace: dict[str, Any], result: Delivered
) -> tuple[Report | None, list[set[str]]]:
    """Return the loaded values, and which names share objects: those come or stay together."""
    if not digest or blobs is None:
        return None, []
    from dure.state import Snapshot, restore

    snapshot = Snapshot.load(digest, blobs)
    report = restore(snapshot, blobs, into=namespace, commit=False, follow=True)
    for name, reason in report.failed.items():
        if name in _UNBROUGHT:
            result.notes.append(say(_UNBROUGHT[name], reason=reason))
        elif name != LAST_VALUE:
            result.notes.append(say("unloadable", name=name, reason=reason))
    return report, [set(group.names) for group in snapshot.groups if len(group.names) > 1]
