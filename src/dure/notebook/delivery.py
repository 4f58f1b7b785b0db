"""Brings a cell's results into the notebook: all changed names are loaded first, then committed in one step.

What could not be saved, loaded or was changed here in the meantime is named, with the reason. The trap: between loading
and committing nothing may raise, so that the notebook holds either none of a job's names or all that can be had.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dure.notebook.words import say

if TYPE_CHECKING:
    from dure.state import Blobs, Report

LAST_VALUE = "last_value_of_cell__"  # under this name the worker sends the last expression's value
_MISSING = object()


class Before:
    """What the names were bound to when the cell left, so that a rebinding in the meantime is noticed.

    Names that the cell mentions are held on to; of the others only the id is kept, which costs no memory.
    """

    def __init__(self, namespace: Mapping[str, Any], mentioned: Sequence[str]) -> None:
        self._held = {name: namespace.get(name, _MISSING) for name in mentioned}
        self._ids = {name: id(value) for name, value in namespace.items() if name not in self._held}

    def rebound(self, namespace: Mapping[str, Any], name: str) -> bool:
        """Return whether `name` is bound to something else now."""
        now = namespace.get(name, _MISSING)
        if name in self._held:
            return now is not self._held[name]
        return now is not _MISSING and id(now) != self._ids.get(name)

    def delivered(self, namespace: Mapping[str, Any], names: Sequence[str]) -> None:
        """Take the state of `names` as the new beginning: what was brought is not a change of the person's."""
        for name in names:
            self._held[name] = namespace.get(name, _MISSING)


class FreshKernel(Before):
    """A kernel that never saw the cell leave: every name that it has already is the person's own."""

    def __init__(self) -> None:
        super().__init__({}, ())


@dataclass(slots=True)
class Delivered:
    """What came: the names committed, and sentences about those that did not."""

    changed: tuple[str, ...] = ()
    deleted: tuple[str, ...] = ()
    conflicts: tuple[str, ...] = ()
    notes: list[str] = field(default_factory=list)
    last_value: Any = None


def deliver(
    end: Mapping[str, Any],
    blobs: Blobs | None,
    namespace: dict[str, Any],
    before: Before,
    *,
    job: str,
    overwrite: bool = False,
) -> Delivered:
    """Commit what the end message of a cell names. Raises BlobError or ManifestError with nothing changed."""
    result = Delivered()
    for name, reason in (end.get("unsaved") or {}).items():
        if name != LAST_VALUE:
            result.notes.append(say("unsaved", name=name, reason=reason))
    report = _load(end.get("snapshot"), blobs, namespace, result)
    values = report.values if report is not None else {}
    result.last_value = values.pop(LAST_VALUE, None)
    gone = [name for name in end.get("deleted") or () if name in namespace]
    if not overwrite:
        names = [*values, *gone]
        result.conflicts = tuple(sorted(name for name in names if before.rebound(namespace, name)))
    for name in result.conflicts:
        values.pop(name, None)
    if report is not None:
        report.commit()
    for name in gone:
        if name not in result.conflicts:
            namespace.pop(name, None)
            result.deleted += (name,)
    result.changed = tuple(sorted(values))
    before.delivered(namespace, [*result.changed, *result.deleted])
    holder = end.get("last_name")
    if holder and holder not in result.conflicts:
        result.last_value = namespace.get(holder)
    if result.conflicts:
        result.notes.append(say("conflict", names=", ".join(result.conflicts), job=job))
    return result


def _load(digest: str | None, blobs: Blobs | None, namespace: dict[str, Any], result: Delivered) -> Report | None:
    if not digest or blobs is None:
        return None
    from dure.state import Snapshot, restore

    report = restore(Snapshot.load(digest, blobs), blobs, into=namespace, commit=False)
    for name, reason in report.failed.items():
        if name != LAST_VALUE:
            result.notes.append(say("unloadable", name=name, reason=reason))
    return report
