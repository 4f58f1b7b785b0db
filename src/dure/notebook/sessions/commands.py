"""`%session …`: save, list, restore, compare, undo, fork, share what this notebook holds.

The trap: every command first saves what the last cell left, so that nothing it does can lose the present state; and
what another person saved is loaded only with `--trust` and that person's name.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dure.client.session_refs import Reference, checked_label, checked_name, checked_people, found, parsed
from dure.notebook import context
from dure.notebook.failures import QuietError, told_plainly
from dure.notebook.sessions.comparing import diff, undo
from dure.notebook.sessions.ended import again_text, ended_line
from dure.notebook.sessions.lookup import (
    PATIENCE_S,
    detail_of,
    flushed,
    nothing_lost,
    numbered,
    saver_of,
)
from dure.notebook.sessions.restoring import (
    Lost,
    apart_text,
    bring_back,
    clock,
    earlier_text,
    lost_names,
    makers,
    restored_line,
    short,
    some,
)
from dure.notebook.sessions.words import HELP, say
from dure.notebook.tables import Table, show
from dure.notebook.words import without_name
from dure.state.inspection import size_text

if TYPE_CHECKING:
    from dure.notebook.sessions.opening import Saved
    from dure.notebook.sessions.session import NotebookSession
    from dure.wire.sessions import SessionView

_SHOWN = 20


@told_plainly
def run_session(notebook: NotebookSession, line: str) -> None:
    """Do what the words after `%session` say; without any, show what is saved."""
    from dure.notebook.cell import split_words

    command, *rest = split_words(line) or ["status"]
    if command in {"help", "-h", "--help"} or "--help" in rest:
        print(HELP[context.language()])  # noqa: T201 -- help is for the reader
        return
    if command not in COMMANDS:
        raise QuietError(say("unknown_command", command=command, choices=", ".join(COMMANDS)))
    _refuse_surplus(command, rest)
    COMMANDS[command].do(notebook, rest)


def _refuse_surplus(command: str, rest: Sequence[str]) -> None:
    """Raise when there is a word that the command would pass over: who typed it meant something by it."""
    if command == "save":
        return  # all of it is the label
    known = COMMANDS[command]
    options = [word for word in rest if word.startswith("--")]
    words = [word for word in rest if word not in options]
    surplus = [word for word in options if word != known.option]
    surplus += words[known.words :] if known.words is not None else []
    if surplus:
        raise QuietError(say("surplus_words", command=command, words=shlex.join(surplus)))


def complete(text: str) -> list[str]:
    """Return what the last word of a `%session …` line may become."""
    words = text.split()
    last = "" if text[-1].isspace() else words.pop()
    choices = [*COMMANDS, "--help"] if len(words) == 1 else []
    return [choice for choice in choices if choice.startswith(last)]


def _status(notebook: NotebookSession, _: Sequence[str]) -> None:
    saver = saver_of(notebook)
    written, name = notebook.flush(PATIENCE_S), short(notebook.name or "")
    if saver.fenced or saver.paused:
        at_choice = saver.paused and not saver.journal.off
        notebook.show(saver.problem or (_choice(notebook) if at_choice else say("is_off", name=name)))
        return
    if saver.base is None:
        notebook.show(saver.problem or say("status_none" if written else "being_saved", name=name))
        return
    at = clock(saver.saved_at) if saver.saved_at else say("none_yet")
    days = notebook.opened.policy.ttl_days if notebook.opened and notebook.opened.policy else 0
    text = say("status", name=name, number=saver.journal.number, at=at, days=f"{days:g}")
    held = {name: each for name, each in saver.base.variables.items() if name not in notebook.names.lost}
    rows = sorted(held.items(), key=lambda item: (-item[1].size_bytes, item[0]))[:_SHOWN]
    columns = [say(f"column_{key}") for key in ("name", "type", "size", "cell")]
    table = Table(
        text,
        columns,
        [(key, each.type, size_text(each.size_bytes), notebook.names.made.get(key, "")) for key, each in rows],
        frozenset(columns[2:]),
    )
    if len(held) > _SHOWN:
        table.below.append(say("more_variables", count=len(held) - _SHOWN))
    if notebook.names.lost:
        table.below.append(say("lost", names=lost_names(notebook.names.lost)))
    if notebook.names.ended:
        table.below.append(ended_line(notebook.names.ended))
    if saver.unsaved:
        table.below.append(
            say("not_saved_names", names=lost_names(notebook.names.why_unsaved(dict(sorted(saver.unsaved.items())))))
        )
    if saver.problem:
        table.below.append(say("not_saved", reason=saver.problem))
    elif not written:
        table.below.append(say("being_saved"))
    elif saver.journal.pending:
        table.below.append(say("saved_only_here", count=len(saver.journal.pending)))
    if saver.dropped:
        table.below.append(say("saved_over", dropped=saver.dropped))
    show(notebook.shell, table)


def _save(notebook: NotebookSession, rest: Sequence[str]) -> None:
    label = checked_label(" ".join(rest), context.language())
    saver = saver_of(notebook)
    if not notebook.journal or notebook.journal.off:
        raise QuietError(say("is_off", name=short(notebook.name or "")))
    saver.paused = False
    saver.wait()
    notebook.take(label)
    saver.wait()
    if saver.problem or saver.base is None:
        raise QuietError(say("not_saved", reason=saver.problem or "?"))
    told = {"count": len(saver.base.variables), "size": size_text(saver.base.size_bytes)}
    key = "saved_here" if saver.journal.pending else "saved"
    notebook.show(say(key, number=saver.journal.number, name=short(notebook.name or ""), **told))


def _list(notebook: NotebookSession, rest: Sequence[str]) -> None:
    if "--all" in rest:
        _list_all(notebook)
        return
    saver_of(notebook)
    flushed(notebook)
    keys = ("version", "at", "cell", "variables", "size", "new", "changed", "label")
    columns = [say(f"column_{key}") for key in keys]
    versions = detail_of(notebook).versions
    rows = [
        (
            version.number,
            clock(version.at),
            version.cell,
            version.variables,
            size_text(version.size_bytes),
            size_text(version.new_bytes),
            version.changed,
            version.label or (say("from_version", origin=version.origin) if version.origin else ""),
        )
        for version in versions[:_SHOWN]
    ]
    title = say("title_versions", name=short(notebook.name or ""))
    table = Table(title, columns, rows, frozenset({columns[0], *columns[2:6]}))
    if len(versions) > _SHOWN:
        table.below.append(say("more_versions", count=len(versions) - _SHOWN, typed=shlex.quote(notebook.name or "")))
    show(notebook.shell, table)


def _list_all(notebook: NotebookSession) -> None:
    client = context.client()
    columns = [say(f"column_{key}") for key in ("session", "name", "owner", "at", "versions", "size", "shared")]
    rows = [
        (
            each.id,
            each.name,
            each.user,
            clock(each.saved_at),
            each.versions,
            size_text(each.held_bytes),
            people_text(each.shared),
        )
        for each in client.sessions(limit=100).sessions
    ]
    show(notebook.shell, Table(say("title_sessions"), columns, rows, frozenset(columns[4:6]), say("none_yet")))


def people_text(people: Sequence[str]) -> str:
    """Return those whom a session is shared with, as a person reads it."""
    return ", ".join(say("everyone") if person == "*" else person for person in people)


def _restore(notebook: NotebookSession, rest: Sequence[str]) -> None:
    words, trusted = _trusted(rest)
    reference = parsed(words[0]) if words else Reference()
    names = words[1:]
    if notebook.saver is not None:
        flushed(notebook)  # first: what the session holds now tells a name from a session
    if words and reference.number is None and words[0] in _known_names(notebook):
        reference, names = Reference(), words  # `%session restore df` means the name
    if notebook.saver is not None:
        if not reference.name:
            # what is here goes into the session that `%session on` named, as a version before the one that is restored
            notebook.saver.paused = notebook.saver.journal.off
        nothing_lost(notebook, notebook.saver)
    saved, blobs, theirs = _content(notebook, reference, trusted)
    absent = [name for name in names if name not in saved.snapshot.variables]
    told = say("not_in_version", number=saved.number, names=_absent(saved, absent)) if absent else ""
    if absent and len(absent) == len(names):
        raise QuietError(told)
    here = notebook.saver.base if notebook.saver is not None else None
    brought = bring_back(notebook.shell.user_ns, saved, blobs, names=names or None, beside=not theirs and not names)
    if theirs or reference.name:
        brought.kept = None  # another session's, whose blobs may go with it
    notebook.took(brought)
    notebook.origin = None if theirs or reference.name else saved.number
    if (saver := notebook.saver) is not None and not (theirs or reference.name or names):
        if saver.fenced:
            saver.fenced, saver.problem = False, ""  # this kernel goes on from there
        saver.journal.newest = max(saver.journal.newest, saved.number)
    name = reference.name or notebook.name or ""
    if not (brought.names or brought.lost or brought.results):
        told = say("held_nothing", name=short(name), number=saved.number, at=clock(saved.at))
        others = "" if reference.name or reference.number is not None else earlier_text(detail_of(notebook).versions)
        notebook.show(f"{told} {others or say('held_others')}")
        return
    typed = shlex.quote(f"{reference.name}@{saved.number}") + (f" --trust {trusted}" if theirs else "")
    told = f"{told} {apart_text(brought, notebook.shell.user_ns, here, typed)}".strip()
    notebook.show(f"{restored_line(brought, name)} {told}".rstrip())


def _absent(saved: Saved, names: Sequence[str]) -> str:
    unsaved, made = saved.snapshot.unsaved, saved.document.made
    lost = {name: Lost(without_name(name, unsaved[name]), made.get(name)) for name in names if name in unsaved}
    known = [lost_names(lost)] if lost else []
    return ", ".join([*known, *(name for name in names if name not in lost)])


def _content(notebook: NotebookSession, reference: Reference, trusted: str | None) -> tuple[Saved, Any, bool]:
    """Return the version that a reference means, its blobs, and whether another person saved it."""
    from dure.client.errors import failure
    from dure.notebook.sessions.opening import load

    client = context.client()
    if reference.name:
        detail = client.session(_named(notebook, reference.name).id)
    else:
        notebook.ready()
        detail = detail_of(notebook)
    theirs = detail.session.user != client.me().name
    if theirs and trusted != detail.session.user:
        number = f"@{reference.number}" if reference.number is not None else ""
        typed = shlex.quote(f"{detail.session.user}/{detail.session.name}{number}")
        raise QuietError(say("trust_needed", user=detail.session.user, reference=typed))
    version = numbered(detail, reference.number)
    if version.document is None:
        raise failure("session_not_found", client.lang, session=f"{detail.session.user}/{detail.session.name}")
    blobs = client.blobs(detail.session.team)
    return load(blobs, version.document, version.number, version.at), blobs, theirs


def _named(notebook: NotebookSession, name: str) -> SessionView:
    """Return the session called `name`; where it can only be a variable's name, raise how to bring that back."""
    from dure.client import DureError

    try:
        return found(context.client(), name)
    except DureError as error:
        if error.code == "session_not_found" and name.isidentifier() and notebook.saver and notebook.saver.base:
            raise QuietError(say("neither_held", name=name, number=notebook.saver.journal.number)) from None
        raise


def _rerun(notebook: NotebookSession, _: Sequence[str]) -> None:
    ended = notebook.names.ended
    made = makers(notebook.names.lost)
    cells = [each for each in made if each.source]
    unsaved = [each for each in ended if each.source and each not in cells]  # what ended after all that is saved
    if not (cells or unsaved):
        notebook.show(again_text([*made, *ended]) or say("nothing_lost"))
        return
    namespace = notebook.shell.user_ns
    missing, back, anew = set(notebook.names.lost), set[str](), set[str]()
    for each in [*cells, *unsaved]:
        notebook.show(say("rerunning", cell=each.cell))
        if each in ended:
            ended.remove(each)
        notebook.ended.ran_again.append(each.source)
        before = dict(namespace)
        result = notebook.shell.run_cell(each.source, store_history=False, silent=True)
        for name, value in list(namespace.items()):
            if before.get(name) is not value:
                (back if name in missing or each in unsaved else anew).add(name)
                notebook.names.rerun(name, each)
        if not result.success:
            return
        back |= notebook.names.registered(each)
    if back:
        notebook.show(say("rerun_back", names=some(sorted(back))))
    shown = sorted(name for name in anew if name in _known_names(notebook))
    if shown:
        notebook.show(say("rerun_anew", names=some(shown)))


def _fork(notebook: NotebookSession, rest: Sequence[str]) -> None:
    from dure.wire.sessions import SaveRequest

    if not rest:
        raise QuietError(say("name_needed", command="fork"))
    name = checked_name(rest[0], context.language())
    saver = saver_of(notebook)
    client = context.client()
    if client.sessions(user=client.me().name, name=name).sessions:
        raise QuietError(say("fork_taken", fork=name, typed=shlex.quote(name)))
    if saver.fenced:
        saver.retarget(name, saver.journal.team)
        notebook.name = name
        notebook.take()
        saver.wait()
        if saver.problem:
            raise QuietError(say("not_saved", reason=saver.problem))
        notebook.show(say("forked_away", fork=name, typed=shlex.quote(name)))
        return
    if not flushed(notebook):
        raise QuietError(say("not_saved", reason=saver.problem or say("being_saved")))
    version = detail_of(notebook).versions[0]
    if version.document is None:
        raise QuietError(say("no_session"))
    kept = version.model_dump(include={"cell", "size_bytes", "variables", "unsaved", "python", "label"})
    request = SaveRequest(
        name=name,
        team=saver.journal.team,
        parent=0,
        kernel=notebook.kernel_id,
        document=version.document,
        **kept,
    )
    client.save_session(request)
    notebook.show(say("forked", number=version.number, fork=name, typed=shlex.quote(name)))


def _share(notebook: NotebookSession, rest: Sequence[str]) -> None:
    saver_of(notebook)
    flushed(notebook)
    named = [word for word in rest if not word.startswith("-")]
    people = ["*"] if "--team" in rest else checked_people(named, context.language())
    detail = detail_of(notebook)
    people = [person for person in people if person != detail.session.user]
    if not people:
        raise QuietError(say("person_needed"))
    detail = context.client().share_session(detail.session.id, [*detail.session.shared, *people])
    key = "shared_all" if "*" in people else "shared"
    reference = shlex.quote(f"{detail.session.user}/{detail.session.name}")
    told = {"team": detail.session.team, "name": short(detail.session.name), "reference": reference}
    notebook.show(say(key, people=", ".join(people), **told))


def _unshare(notebook: NotebookSession, rest: Sequence[str]) -> None:
    saver_of(notebook)
    detail = detail_of(notebook)
    shared, name = detail.session.shared, short(detail.session.name)
    if absent := [person for person in rest if person not in shared]:
        readers = people_text(shared) if shared else say("nobody")
        raise QuietError(say("not_shared_with", people=", ".join(absent), name=name, readers=readers))
    left = [person for person in shared if rest and person not in rest]
    context.client().share_session(detail.session.id, left)
    notebook.show(say("unshared_some", name=name, readers=people_text(left)) if left else say("unshared", name=name))


def _off(notebook: NotebookSession, _: Sequence[str]) -> None:
    saver = saver_of(notebook)
    saver.wait()
    saver.paused = saver.journal.off = True
    saver.owed, saver.refused = None, ""
    saver.journal.write()
    name = notebook.name or ""
    notebook.show(say("switched_off", name=short(name), typed=shlex.quote(name)))


def _on(notebook: NotebookSession, rest: Sequence[str]) -> None:
    another = bool(rest) and checked_name(rest[0], context.language()) != notebook.name
    if another:
        if notebook.saver is not None:
            notebook.saver.wait()
            left = notebook.saver.journal
            if not (left.pending or left.off or notebook.saver.behind):
                left.remove()  # the platform has it all, and what ends here from now on is the other session's
            notebook.saver = None
        notebook.name_it(rest[0], by_hand=True)
        notebook.began_by_hand()
    saver = saver_of(notebook)
    saved = notebook.opened.saved if another and notebook.opened is not None else None
    saver.paused = saved is not None  # until it is chosen: what is here would be what the other notebook begins with
    saver.journal.off = False
    saver.problem = ""
    saver.journal.write()
    if saved is not None:
        notebook.show(_choice(notebook))
    else:
        notebook.show(say("switched_on", name=short(notebook.name or "")))


def _choice(notebook: NotebookSession) -> str:
    saved = notebook.opened.saved if notebook.opened is not None else None
    assert saved is not None
    return say("on_existing", name=short(notebook.name or ""), number=saved.number, at=clock(saved.at))


def _outputs(notebook: NotebookSession, rest: Sequence[str]) -> None:
    saver = saver_of(notebook)
    if rest and rest[0] not in {"on", "off"}:
        raise QuietError(say("outputs_choice", word=rest[0]))
    if rest:
        flushed(notebook)
        saver.outputs = rest[0] == "on"
        notebook.take()
    notebook.show(say("outputs_on" if saver.outputs else "outputs_off", name=short(notebook.name or "")))


@dataclass(frozen=True, slots=True)
class _Command:
    """What a command does, and what may follow it: at most so many words (None: any number), and an option."""

    do: Callable[[NotebookSession, Sequence[str]], None]
    words: int | None
    option: str = ""


COMMANDS: Mapping[str, _Command] = {
    "status": _Command(_status, 0),
    "save": _Command(_save, None),
    "list": _Command(_list, 0, "--all"),
    "restore": _Command(_restore, None, "--trust"),
    "diff": _Command(diff, 2, "--since"),
    "undo": _Command(undo, 0),
    "rerun": _Command(_rerun, 0),
    "fork": _Command(_fork, 1),
    "share": _Command(_share, None, "--team"),
    "unshare": _Command(_unshare, None),
    "outputs": _Command(_outputs, 1),
    "off": _Command(_off, 0),
    "on": _Command(_on, 1),
}


def _known_names(notebook: NotebookSession) -> frozenset[str]:
    base = notebook.saver.base if notebook.saver is not None else None
    return frozenset(base.variables) if base is not None else frozenset()


def _trusted(rest: Sequence[str]) -> tuple[list[str], str | None]:
    words = list(rest)
    if "--trust" not in words:
        return words, None
    index = words.index("--trust")
    trusted = words[index + 1] if index + 1 < len(words) else None
    return words[:index] + words[index + 2 :], trusted
