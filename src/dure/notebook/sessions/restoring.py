"""Brings a version back into the running kernel, and says in one line what came and what did not.

The trap: nothing is run again by itself. What could not be saved is named with the cell that made it, and the person
decides.
"""

from __future__ import annotations

import re
import sys
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dure.notebook.context import language
from dure.notebook.own_modules import OWN_MODULES
from dure.notebook.sessions.ended import Ended, again_text, ended_text
from dure.notebook.sessions.history import GONE, History, history_of, is_result
from dure.notebook.sessions.words import say
from dure.notebook.words import without_name
from dure.wire.retold import retold

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from dure.notebook.sessions.opening import Damaged, Saved
    from dure.state import Blobs, Report, Snapshot
    from dure.state.later import Later
    from dure.wire.sessions import VersionView

_NAMED = 6  # reasons that the line tells
_TOGETHER = 20  # names that it tells for one of them
_REASON = 90  # letters of a reason
_DAY_S = 86_400.0
_AT_ONCE_BYTES = 8 * 1024**2  # more of one group is read while the person works
_TOLD_BYTES = 1024**2  # less is there before the line is read, and a busy machine leaves it for later, too
_HASHED_FIRST_BYTES = 64 * 1024**2  # the rest while the person works, so that opening takes no longer at any size


@dataclass(frozen=True, slots=True)
class Lost:
    """A variable that did not come back: why, the cell that made it (None: not known) and that cell's source, "" where
    it was not saved.
    """

    reason: str
    cell: int | None = None
    source: str = ""


@dataclass(slots=True)
class Brought:
    """What came back into the kernel."""

    saved: Saved
    names: tuple[str, ...]
    lost: dict[str, Lost] = field(default_factory=dict)
    beside: dict[str, str] = field(default_factory=dict)
    history: History = field(default_factory=lambda: History([]))
    unloadable: bool = False  # something that is saved does not load here
    later: Later | None = None  # what is being loaded still, and counts as restored
    check: Callable[[], object] = lambda: None  # returns when all that came back was compared with its hashes
    kept: Snapshot | None = None  # what the version has of the lost
    damaged: Damaged | None = None  # the newest version, instead of which this one was brought
    like_here: tuple[Saved, list[str]] | None = None  # saved by an environment like this one, when the newest was not
    told: dict[str, Lost] = field(default_factory=dict)  # why what modules have is not as it was saved, or a copy
    registered: dict[str, Any] | None = None  # with libraries and the shell, as saved
    own_modules: dict[str, str] = field(default_factory=dict)  # as they were when it was saved
    edited: dict[str, list[str]] = field(default_factory=dict)  # modules that are not, with the variables
    ended: Sequence[Ended] = ()  # cells after it that no version holds
    results: tuple[dict[int, Any], dict[str, Any]] | None = None  # `Out` and the last ones, where they were saved
    random: Mapping[str, Any] | None = None  # the states of the generators as they came back

    @property
    def cells(self) -> list[Ended]:
        """The cells to run again: those that made what is missing, and those that no version holds."""
        return [*makers(self.lost), *self.ended]


def bring_back(
    namespace: dict[str, Any],
    saved: Saved,
    blobs: Blobs,
    *,
    names: Collection[str] | None = None,
    keep: Collection[str] = (),
    beside: bool = True,
    lazily: bool = False,
) -> Brought:
    """Load a version into `namespace`: all of it or `names`, never those in `keep`; with `beside` random states and
    folder, too. What does not load is in `lost`; everything else is there in one step. With `lazily` what takes long
    comes `later`, and the caller has each cell wait for what it needs of that.
    """
    from dure.state import apply_extras, restore, results_in
    from dure.state.extras import apply_settings, random_states
    from dure.state.libraries.registered import ABOUT, register_again

    wanted = None if names is None else [name for name in names if name in saved.snapshot.variables]
    told = apply_settings(saved.snapshot, blobs, {})[1] if beside else {}
    report = restore(
        saved.snapshot.without(set(keep)),
        blobs,
        namespace,
        names=wanted,
        commit=False,
        verify_bytes=_HASHED_FIRST_BYTES,
        at_once_bytes=_AT_ONCE_BYTES if lazily else None,
    )
    report.commit()
    came = report.restored
    report.values = {}  # the namespace's now, to keep or to let go
    extras = report.extras
    history = history_of(extras)
    inputs = history.inputs
    beside_names = {name for name in saved.snapshot.extras if not is_result(name)}
    reasons = {name: reason for name, reason in report.failed.items() if name not in beside_names}
    unloadable = bool(reasons)
    if names is None:
        reasons |= {name: reason for name, reason in saved.snapshot.unsaved.items() if name not in namespace}
    told |= apply_extras(extras) if beside else {}
    brought = Brought(saved, came, {}, told, history, unloadable, report.later, report.verify_rest)
    brought.lost = lost_of(brought, {name: reason for name, reason in reasons.items() if name not in keep})
    brought.told = lost_of(brought, report.told)
    brought.kept = saved.snapshot.only(brought.lost)
    brought.own_modules = extras.get(OWN_MODULES) or {}
    if beside:
        brought.results = results_in(extras)
        brought.registered = {name: value for name, value in extras.items() if name.startswith(ABOUT)}
        brought.lost |= {
            label: Lost(reason, cell, inputs[cell] if cell is not None and cell < len(inputs) else "")
            for label, (cell, reason) in register_again(extras).items()
        }
    if report.later is not None:
        brought.random = random_states()
        brought.names = tuple(sorted({*came, *report.later.names}))
    if report.later is not None or report.unverified:
        threading.Thread(target=_go_on, args=(report,), name="dure-restore-rest", daemon=True).start()
    return brought


def lost_of(brought: Brought, reasons: Mapping[str, str]) -> dict[str, Lost]:
    """Return what is missing, with the cell that made it and its source where that is known."""
    made = brought.saved.document.made
    found = {}
    for name, reason in sorted(reasons.items()):
        source = source_in(brought, made.get(name))
        found[name] = Lost(without_name(name, reason), made.get(name), "" if source == GONE else source)
    return found


def makers(lost: Mapping[str, Lost]) -> list[Ended]:
    """Return the cells that made these variables, in order; several kernels' cells may have one number."""
    return [Ended(*each) for each in sorted({(it.cell, it.source) for it in lost.values() if it.cell is not None})]


def source_in(brought: Brought, cell: int | None) -> str:
    """Return the code of a cell as the version knows it; "" where it does not."""
    if cell is None:
        return ""
    inputs = brought.history.inputs
    return brought.saved.document.sources.get(cell) or (inputs[cell] if cell < len(inputs) else "")


def _go_on(report: Report) -> None:
    """Hash and load, aside, what the first cell need not wait for."""
    _verify_rest(report)
    if report.later is not None:
        report.later.run()
        _verify_rest(report)


def _verify_rest(report: Report) -> None:
    damaged = report.verify_rest()
    if damaged:
        sys.stderr.write(say("damaged_later", names=", ".join(sorted(damaged))) + "\n")


def restored_line(brought: Brought, name: str) -> str:
    """Return the one line that tells what came back and what did not."""
    from dure.state.inspection import size_text

    saved = brought.saved
    told = {"name": short(name), "at": clock(saved.at), "number": saved.number}
    if brought.names:
        key = "restored" if len(brought.names) > 1 else "restored_one"
        parts = [say(key, count=len(brought.names), size=size_text(saved.snapshot.size_bytes), **told)]
    elif brought.lost:
        parts = []
    else:
        parts = [say("restored_nothing", **told)]
    if brought.results is not None and brought.results[0]:
        parts.append(say("results_back", count=len(brought.results[0])))
    if (damaged := brought.damaged) is not None:
        found = {"number": damaged.number, "cell": damaged.before, "reason": _brief(retold(damaged.reason, language()))}
        parts.append(say("damaged" if damaged.cell > damaged.before else "damaged_same", **found))
    names = sorted(brought.later.coming) if brought.later is not None else []
    to_read = brought.later.progress(names)[1] if brought.later is not None else 0
    if to_read >= _TOLD_BYTES:
        parts.append(say("later", names=some(names), size=size_text(to_read)))
    missing = (("lost", brought.lost), ("of_modules", brought.told))
    parts += [say(key, names=lost_names(named)) for key, named in missing if named]
    parts += [say("edited", module=module, names=some(names)) for module, names in brought.edited.items()]
    if brought.ended:
        parts.append(ended_text(brought.ended))
    if brought.cells:
        parts.append(again_text(brought.cells))
    if differences := moved(saved.snapshot.fingerprint):
        parts.append(say("moved", differences=", ".join(differences)))
        if brought.like_here is not None:
            like, names = brought.like_here
            parts.append(say("saved_like_here", number=like.number, at=clock(like.at), names=" ".join(names)))
        elif brought.unloadable and brought.kept is not None:
            parts.append(say("moved_back"))
    if brought.beside:
        beside = (f"{key} ({retold(why, language())})" for key, why in brought.beside.items())
        parts.append(say("extras_lost", names=", ".join(beside)))
    return " ".join(parts)


def apart_text(brought: Brought, here: Mapping[str, Any], before: Snapshot | None, reference: str) -> str:
    """Return which variables stay as they are `here` that shared memory or objects with restored ones, `before` that
    or in the version (`reference`), and the command that restores the latter together; "" where there are none.
    """
    held = brought.saved.snapshot
    together = held.sharing(brought.names) & here.keys()
    left = together | (before.sharing(brought.names) & here.keys() if before is not None else set())
    parts = [say("apart", names=some(sorted(left)))] if left else []
    if together:
        names = together | held.sharing(together).intersection(brought.names)
        parts.append(say("together", reference=reference, names=" ".join(sorted(names))))
    return " ".join(parts)


def earlier_text(versions: Iterable[VersionView]) -> str:
    """Return the command that brings the newest version back which holds variables; "" where none does."""
    found = next((each for each in versions if each.variables), None)
    return say("held_earlier", number=found.number, at=clock(found.at)) if found is not None else ""


def lost_names(lost: Mapping[str, Lost]) -> str:
    """Return the names with cell and reason; those of one cell and reason together, the first few groups."""
    groups: dict[tuple[int | None, str], list[str]] = {}
    for name, each in lost.items():
        groups.setdefault((each.cell, _brief(retold(each.reason, language()))), []).append(name)
    told = []
    for (number, reason), names in list(groups.items())[:_NAMED]:
        cell = say("lost_cell", cell=number) if number is not None else ""
        told.append(say("lost_one", name=some(names), cell=cell, reason=reason))
    rest = [name for names in list(groups.values())[_NAMED:] for name in names]
    return "; ".join([*told, *([some(rest)] if rest else [])])


def some(names: Sequence[str]) -> str:
    """Return the first names."""
    more = f", … +{len(names) - _TOGETHER}" if len(names) > _TOGETHER else ""
    return ", ".join(names[:_TOGETHER]) + more


def moved(before: Mapping[str, Any]) -> list[str]:
    """Return what of the environment that saved is different here: `torch 2.3.0 → 2.6.0`; what came since is not."""
    from dure.state import fingerprint

    now = fingerprint()
    found = []
    if before.get("python") and before["python"] != now["python"]:
        found.append(f"Python {before['python']} → {now['python']}")
    old, new = dict(before.get("packages") or {}), dict(now["packages"])
    changed = [package for package in sorted(old.keys() - {"dure", "ipython"}) if old[package] != new.get(package)]
    return [*found, *(f"{package} {old[package]} → {new.get(package, '–')}" for package in changed)]


def clock(at: float) -> str:
    """Return a time as a person says it: of today the hour, else with the day."""
    local = time.localtime(at)
    today = time.localtime()[:3] == local[:3]
    return time.strftime("%H:%M" if today else "%m-%d %H:%M", local)


def short(name: str) -> str:
    """Return a notebook's name without its folders."""
    return name.rsplit("/", 1)[-1] or name


def _brief(reason: str) -> str:
    first = re.split(r";|\. | \((?:saved with|저장 당시)", reason, maxsplit=1)[0]
    return first if len(first) <= _REASON else f"{first[: _REASON - 1]}…"
