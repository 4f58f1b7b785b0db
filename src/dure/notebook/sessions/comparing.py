"""`%session diff` and `%session undo`: what a version holds beside another one, or beside what there is now.

The trap: a version that an undo or a restore made stands for the one that it brought back: undoing goes on from there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dure.client.session_refs import came_from, state_before
from dure.notebook.failures import QuietError
from dure.notebook.sessions.lookup import detail_of, flushed, meant, nothing_lost, saved_version, saver_of
from dure.notebook.sessions.restoring import bring_back, clock, lost_names, some
from dure.notebook.sessions.words import say
from dure.notebook.tables import Table, show
from dure.state.inspection import diff as difference
from dure.state.inspection import size_text

if TYPE_CHECKING:
    from dure.notebook.sessions.session import NotebookSession
    from dure.state import Snapshot

_SHOWN = 20
_UNDO_STEPS = 100


def diff(notebook: NotebookSession, rest: Sequence[str]) -> None:
    """Show what differs between two versions, or between one and now; `since` may stand before it."""
    rest = [word for text in rest for word in text.split() if word not in {"since", "--since"}]
    saver = saver_of(notebook)
    flushed(notebook)
    detail = detail_of(notebook)
    if saver.base is None or not detail.versions:
        raise QuietError(say("no_session"))
    first = meant(rest[0], detail) if rest else detail.versions[:2][-1]
    second = meant(rest[1], detail) if len(rest) > 1 else None
    before = saved_version(notebook, first).snapshot
    after = saved_version(notebook, second).snapshot if second is not None else saver.base
    told = {
        "before": say("version_word", number=first.number, at=clock(first.at)),
        "after": say("version_word", number=second.number, at=clock(second.at)) if second else say("now_word"),
    }
    table = _difference(before, after, notebook.names.made)
    if not table.rows:
        notebook.show(say("no_difference", **told))
        return
    table.title = say("title_diff", **told)
    show(notebook.shell, table)


def undo(notebook: NotebookSession, _: Sequence[str]) -> None:
    """Bring back what the last cell that changed anything had changed."""
    from dure.state import BlobError, ManifestError

    saver = saver_of(notebook)
    nothing_lost(notebook, saver)
    if saver.base is None:
        raise QuietError(say("not_saved", reason=saver.problem) if saver.problem else say("no_session"))
    versions = {version.number: version for version in detail_of(notebook).versions}
    version = versions[max(versions)]
    for _step in range(_UNDO_STEPS):
        undone, earlier = came_from(version, versions), state_before(version, versions)
        if earlier is None:
            break
        version = earlier
        try:
            before = saved_version(notebook, earlier)
        except (BlobError, ManifestError, ValueError):  # damaged: the one before it
            continue
        found = difference(before.snapshot, saver.base)
        if not found:
            continue
        names = [*found.removed, *found.changed]
        brought = bring_back(notebook.shell.user_ns, before, saver.blobs, names=names, beside=False)
        for name in (*found.added, *brought.lost):
            notebook.shell.user_ns.pop(name, None)
        notebook.took(brought)
        notebook.origin = earlier.number
        first = min(came_from(earlier, versions).cell + 1, undone.cell)
        told = [_undone(first, undone.cell, [*names, *found.added])]
        if left := _unsaved_since(before.snapshot, saver.base).difference(names, found.added):
            told.append(say("left_as_is", names=some(sorted(left))))
        if brought.lost:
            told.append(say("lost", names=lost_names(brought.lost)))
        notebook.show(" ".join(told))
        return
    notebook.show(say("nothing_to_undo"))


def _difference(before: Snapshot, after: Snapshot, made: Mapping[str, int]) -> Table:
    found = difference(before, after)
    rows: list[tuple[Any, ...]] = []
    for what, names in (("added", found.added), ("changed", found.changed), ("removed", found.removed)):
        for name in names:
            held = (before if what == "removed" else after).variables[name]
            rows.append((name, say(f"what_{what}"), held.type, size_text(held.size_bytes), made.get(name, "")))
    rows += [(name, say("what_lost"), "", "", made.get(name, "")) for name in sorted(_unsaved_since(before, after))]
    columns = [say(f"column_{key}") for key in ("name", "what", "type", "size", "cell")]
    return Table("", columns, rows, frozenset(columns[3:]))


def _unsaved_since(before: Snapshot, after: Snapshot) -> set[str]:
    """Return the names that came to be what cannot be saved."""
    return after.unsaved.keys() - before.unsaved.keys()


def _undone(first: int, last: int, names: Sequence[str]) -> str:
    key = "undone_cells" if last > first else "undone_cell"
    shown = ", ".join(sorted(names)[:_SHOWN])
    return say("undone", cells=say(key, first=first, last=last), names=shown)
