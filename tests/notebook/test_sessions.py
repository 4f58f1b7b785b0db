"""What a notebook holds outlives its kernel: real kernels, a real control plane, kill -9, another machine."""

import os
import re
import signal
import time
from types import SimpleNamespace
from typing import Any

import pytest

from dure.hub.spawner import STARTUP
from dure.notebook.failures import QuietError
from dure.notebook.sessions.commands import run_session
from dure.notebook.sessions.lookup import meant
from dure.state import FolderBlobs
from tests.api.plane import until
from tests.notebook.desk import SLOW, Desk, another_desk, desk, pid_of, plane, server, settled, told

__all__ = ["another_desk", "desk", "plane", "server"]


def test_after_kill_nine_the_variables_are_back_and_one_line_says_what_is_not(desk):
    kernel = desk.open()
    kernel.run("import os, random\nimport numpy as np\nfrozen = np.arange(2_000_000)\nview = frozen[5:]")
    kernel.run("frozen[7] = -1\nos.makedirs('deep', exist_ok=True)\nos.chdir('deep')")
    kernel.run("rows = (row for row in 'abc')")
    kernel.run("def twice(): return 2 * base\nbase = 21\nrandom.seed(5); np.random.seed(5)")
    expected = kernel.value("(random.getstate()[1][:3], np.random.get_state()[1][:3].tolist())")
    desk.crash(kernel)
    again = desk.open()
    line = told(again.loaded)
    assert line.count("\n") == 0
    assert "Restored 7 variables of train.ipynb" in line
    assert "rows (cell 4: a generator" in line
    assert "`%session rerun` runs only cell 4 again" in line
    assert again.value("view[2], twice(), np.shares_memory(frozen, view)") == "(np.int64(-1), 42, True)"
    assert again.value("(random.getstate()[1][:3], np.random.get_state()[1][:3].tolist())") == expected
    assert again.value("os.path.basename(os.getcwd())") == "'deep'"
    assert again.value("In[4]") == "\"rows = (row for row in 'abc')\""
    assert again.run("rows").error is not None, "nothing is run again by itself"
    assert "Running cell 4 again" in told(again.run("%session rerun"))
    assert again.value("list(rows)") == "['a', 'b', 'c']"


def test_a_cell_that_set_a_secret_is_not_offered_to_be_run_again_since_its_code_is_not_saved(desk):
    kernel = desk.open()
    kernel.run("rows = (row for row in 'ab'); password = 'hunter2-of-alice'")
    kernel.run("more = (row for row in 'cd')")
    desk.crash(kernel)
    again = desk.open()
    by_hand = "Run cell 2 again by hand: its code sets a secret"
    assert f"`%session rerun` runs only cell 3 again. {by_hand}" in told(again.loaded)
    assert "Running cell 2 again" not in told(again.run("%session rerun"))
    assert told(again.run("%session rerun")).startswith(by_hand)
    again.run("rows, password = iter(()), 'hunter2-of-alice'")
    assert "Nothing is missing" in told(again.run("%session rerun"))


def test_running_a_cell_again_tells_what_else_it_set_and_undo_takes_that_back(desk):
    kernel = desk.open()
    kernel.run("import math; data = [1]; rows = (row for row in 'ab')")
    kernel.run("data.append(2)")
    desk.crash(kernel)
    again = desk.open()
    line = told(again.run("%session rerun"))
    assert "There again: rows." in line
    assert "set anew: data. `%session undo`" in line
    assert again.value("data") == "[1]"
    settled(desk)
    assert "data" in told(again.run("%session undo"))
    assert again.value("data, list(rows)") == "([1, 2], ['a', 'b'])"


def test_the_workspace_start_up_restores_in_the_first_cell(desk):
    kernel = desk.open()
    kernel.run("x = 41")
    desk.crash(kernel)
    again = desk.open(PYTHONSTARTUP=str(STARTUP))
    assert "Restored 1 variable of" in told(again.loaded)
    assert again.value("x + 1") == "42"
    assert again.value("'x = 41' in In") == "True"


def restarted(kernel):
    """The person's own restart: what the first cell of the kernel that begins then shows."""
    kernel.client.stop_channels()
    kernel.manager.restart_kernel(now=False)
    kernel.client = kernel.manager.client()
    kernel.client.start_channels()
    kernel.client.wait_for_ready(timeout=60)
    return kernel.run("%load_ext dure")


def test_who_restarts_the_kernel_begins_anew_and_may_have_it_back(desk):
    kernel = desk.open()
    kernel.run("x = 41")
    settled(desk)
    loaded = restarted(kernel)
    command = re.search(r"%session restore @\d+", told(loaded))
    assert command is not None, told(loaded)
    assert kernel.run("x").error is not None
    assert command[0] in told(kernel.run("%session restore")), "the newest is of the kernel that began empty"
    desk.crash(kernel)
    kernel = desk.open()
    assert command[0] in told(kernel.loaded)
    assert "Restored 1 variable of" in told(kernel.run(command[0]))
    assert kernel.value("x") == "41"


def test_cells_of_a_version_brought_into_a_restarted_kernel_are_not_taken_for_those_that_ran_there(desk):
    kernel = desk.open()
    made = kernel.run("log = open('log.txt', 'w'); mine = 1").reply["execution_count"]
    settled(desk)
    command = re.search(r"%session restore @\d+", told(restarted(kernel)))
    assert command is not None
    while kernel.run("wrong = 1").reply["execution_count"] < made:
        pass
    kernel.run("later = (x for x in 'ab'); kept = 3")
    assert f"log (cell {made}: an open file" in told(kernel.run(command[0]))
    kernel.run("del wrong")
    for _ in range(2):  # what is saved then, a kernel saves again
        desk.crash(kernel)
        kernel = desk.open()
        assert f"log (cell {made}: an open file" in told(kernel.loaded), told(kernel.loaded)
    assert f"Running cell {made} again" in told(kernel.run("%session rerun"))
    assert kernel.value("log.name, 'wrong' in globals(), next(later), kept") == "('log.txt', False, 'a', 3)"
    desk.crash(kernel)
    kernel = desk.open()
    kernel.run("%session rerun")
    assert kernel.value("log.name, 'wrong' in globals(), next(later), kept") == "('log.txt', False, 'a', 3)"


def test_two_lost_variables_whose_cells_have_one_number_in_two_kernels_are_both_made_again(desk):
    kernel = desk.open()
    made = kernel.run("one = (x for x in 'ab')").reply["execution_count"]
    settled(desk)
    command = re.search(r"%session restore @\d+", told(restarted(kernel)))
    assert command is not None
    assert kernel.run("two = (x for x in 'cd')").reply["execution_count"] == made
    desk.crash(kernel)
    kernel = desk.open()
    assert f"one (cell {made}: a generator" in told(kernel.run(command[0]))
    settled(desk)
    assert told(kernel.run("%session rerun")).count(f"Running cell {made} again") == 2
    assert kernel.value("list(one), list(two)") == "(['a', 'b'], ['c', 'd'])"


def test_a_first_cell_waits_for_what_this_machine_knows_and_says_nothing_where_there_is_nothing(desk):
    kernel = desk.open(before=SLOW)
    assert told(kernel.loaded) == ""
    kernel.run("x = 41")
    desk.crash(kernel)
    again = desk.open(before=SLOW)
    assert "Restored 1 variable of" in told(again.loaded)
    assert again.value("x") == "41"


def test_where_nobody_waited_the_line_says_that_the_next_cell_brings_it_back(desk, another_desk):
    kernel = desk.open()
    kernel.run("x = 41")
    settled(desk)
    kernel.kill()
    there = another_desk().open(before=SLOW.replace("sleep(2)", "sleep(1.5)"))  # which never saved it
    if "Restored" not in told(there.loaded):
        until(lambda: "Restored 1 variable of" in told(there.run("import time; time.sleep(1)")))
    assert there.value("x") == "41"


def test_undo_takes_back_the_last_cell_that_changed_anything(desk):
    kernel = desk.open()
    for code in ("x = [1]; same = 5", "x.append(2); extra = 'new'", "del same", "print(x)"):
        kernel.run(code)
        settled(desk)
    line = told(kernel.run("%session undo"))
    assert line.startswith("Undid cell 4: same.")
    assert "outside the notebook" in line
    settled(desk)
    assert kernel.value("same") == "5"
    assert told(kernel.run("%session undo")).startswith("Undid cell 3: extra, x.")
    assert kernel.value("x") == "[1]"
    assert kernel.run("extra").error is not None
    settled(desk)
    kernel.run("x.append(9)")
    kernel.run("%session undo")
    assert kernel.value("x") == "[1]"


def test_a_list_of_versions_tells_what_each_changed(desk):
    kernel = desk.open()
    for code in ("x = [1]; same = 5; also = 6; more = 7", "x.append(2); rows = iter('ab'); gen = (r for r in rows)"):
        kernel.run(code)
        settled(desk)
    desk.crash(kernel)
    again = desk.open()
    for code in ("del same", "print(x)", "%session undo", "pass"):
        again.run(code)
        settled(desk)
    session = desk.plane.store.sessions.find("alice", "vision", "train.ipynb")
    versions = desk.plane.store.sessions.versions([session.id])
    changed = [version.changed for version in versions if version.changed]
    assert changed == ["also, more, same, +1", "gen, rows, x", "same", "same"]
    table = told(again.run("%session list"))
    assert re.search(r"^version +saved +cell +variables +size +new +changed +label$", table, re.MULTILINE)
    assert re.search(r" same +from version \d$", table, re.MULTILINE), table


def test_undo_names_what_the_cell_made_that_cannot_be_saved_and_stays(desk):
    kernel = desk.open()
    kernel.run("x = 1")
    settled(desk)
    kernel.run("x = 2; rows = (row for row in 'ab')")
    settled(desk)
    assert "Undid cell 3: x. Files" in (line := told(kernel.run("%session undo")))
    assert "Not undone, since that cannot be saved: rows." in line
    assert kernel.value("x, list(rows)") == "(1, ['a', 'b'])"


def test_undo_beyond_the_beginning_says_so(desk):
    kernel = desk.open()
    assert "nothing to undo" in told(kernel.run("%session undo"))


def test_what_changed_since_a_version_and_since_a_time(desk):
    kernel = desk.open()
    kernel.run("a = 1; b = 2")
    number = settled(desk)
    kernel.run("b = 3; c = [4]")
    table = told(kernel.run(f"%session diff {number}"))
    assert re.search(r"^b +changed", table, re.MULTILINE)
    assert re.search(r"^c +new +list .* 3$", table, re.MULTILINE)
    assert not re.search(r"^a ", table, re.MULTILINE)
    assert "to now" in table
    time.sleep(1.1)
    clock = time.strftime("%H:%M:%S")
    time.sleep(1.1)
    kernel.run("d = 5")
    for time_of_day in (clock, f"since {clock}", f"--since {clock}", f"'since {clock}'"):
        since = told(kernel.run(f"%session diff {time_of_day}"))
        assert re.search(r"^d +new", since, re.MULTILINE)
        assert not re.search(r"^c ", since, re.MULTILINE)
    assert "neither a version" in kernel.run("%session diff soon").traceback
    minute = kernel.run(f"%session diff {time.strftime('%H:%M')}")
    assert minute.ok or f"Nothing was saved before {time.strftime('%H:')}" in minute.traceback
    absent = kernel.run("%session diff 999").traceback
    assert re.search(r"train.ipynb has no version 999 \(any more\), its newest is \d+: `%session list`", absent)
    assert "does not hold nothere" in kernel.run("%session restore @1 nothere").traceback
    kernel.run("rows = (row for row in 'ab')")
    settled(desk)
    line = told(kernel.run("%session restore a rows nothere"))
    assert "Restored 1 variable of" in line
    assert re.search(r"does not hold rows \(cell \d+: a generator.*, nothere\.", line)


@pytest.mark.parametrize(
    ("text", "number"),
    [("14:01", 1), ("14:02", 2), ("14:02:10", 1), ("14:03", 2), ("15:00", 0), ("14:03:10", 3), ("2", 2)],
)
def test_which_version_a_time_means(monkeypatch, text, number):
    day = time.mktime((2026, 3, 4, 0, 0, 0, 0, 0, -1))
    at = [day - 9 * 3600, day + 14 * 3600 + 60, day + 14 * 3600 + 179.5, day + 14 * 3600 + 189]
    versions = [SimpleNamespace(number=index, at=saved_at) for index, saved_at in enumerate(at)]
    monkeypatch.setattr(time, "time", lambda: day + 14 * 3600 + 200.0)
    localtime = time.localtime
    monkeypatch.setattr(time, "localtime", lambda at=None: localtime(time.time() if at is None else at))
    detail = SimpleNamespace(versions=versions, session=SimpleNamespace(id="s-1"))
    assert meant(text, detail).number == number  # type: ignore[arg-type]


def test_a_fork_takes_no_other_sessions_name(desk):
    kernel = desk.open()
    kernel.run("x = 1")
    settled(desk)
    assert kernel.run("%session fork mine").ok
    assert "a session mine already" in kernel.run("%session fork mine").traceback
    assert "a session train.ipynb already" in kernel.run("%session fork train.ipynb").traceback


def test_a_session_of_another_kernel_that_is_named_stays_its_newest_until_it_is_chosen(desk):
    theirs = desk.open("theirs.ipynb")
    theirs.run("x = 'theirs'")
    number = settled(desk, "theirs.ipynb")
    theirs.kill()
    kernel = desk.open()
    kernel.run("x = 'mine'")
    settled(desk)
    line = told(kernel.run("%session on theirs.ipynb"))
    assert f"nothing is saved until you choose: `%session restore @{number}`" in line
    kernel.run("y = 1")
    assert told(kernel.run("%session")) == line
    assert desk.saved("theirs.ipynb") == number
    assert "Restored 1 variable" in told(kernel.run(f"%session restore @{number}"))
    assert kernel.value("x, y") == "('theirs', 1)"
    until(lambda: desk.saved("theirs.ipynb") >= number + 2)
    assert kernel.run(f"%session restore @{number + 1} x").ok, "what was here is in the version between"
    assert kernel.value("x") == "'mine'"
    again = desk.open("third.ipynb")
    again.run("z = 1")
    settled(desk, "third.ipynb")
    newest = desk.saved("theirs.ipynb")
    again.run("%session on theirs.ipynb")
    assert f"as version {newest + 1} of theirs" in told(again.run("%session save"))


def test_two_kernels_of_one_notebook_do_not_overwrite_each_other(desk):
    first = desk.open()
    first.run("x = 'first'")
    settled(desk)
    second = desk.open()
    second.run("x = 'second'")
    number = settled(desk)
    first.run("x = 'lost?'")
    until(lambda: "has saved this notebook since" in told(first.run("pass")))
    assert desk.saved() == number
    assert "fork" in told(first.run("%session"))
    assert "saved as the session mine" in told(first.run("%session fork mine"))
    first.run("y = 1")
    assert settled(desk, "mine") >= 1
    desk.crash(second)
    third = desk.open()
    assert third.value("x") == "'second'"
    assert "Restored" in told(third.run("%session restore mine"))
    assert third.value("x, y") == "('lost?', 1)"


def test_who_takes_what_another_kernel_saved_is_saved_again_from_there(desk):
    first = desk.open()
    first.run("x = 'first'")
    settled(desk)
    second = desk.open()
    second.run("x = 'second'; z = 1")
    number = settled(desk)
    first.run("x = 'given up'")
    until(lambda: "has saved this notebook since" in told(first.run("pass")))
    first.run("%session restore x")  # one variable is not the other's state
    assert "Another kernel" in told(first.run("%session"))
    assert desk.saved() == number
    assert f"version {number}" in told(first.run("%session restore"))
    first.run("y = 'saved'")
    assert settled(desk) > number
    assert "Another kernel" not in told(first.run("%session"))
    for kernel in (first, second):
        os.kill(pid_of(kernel), signal.SIGKILL)
    assert desk.open().value("x, y, z") == "('second', 'saved', 1)"


def test_another_machine_of_the_same_person_finds_it(desk, another_desk):
    kernel = desk.open("work/train.ipynb")
    kernel.run("x = 41")
    settled(desk, "work/train.ipynb")
    kernel.kill()
    there = another_desk().open("work/train.ipynb")
    assert "Restored 1 variable of" in told(there.loaded)
    assert there.value("x") == "41"


@pytest.mark.parametrize(
    ("line", "surplus"),
    [
        ("undo 3", "3"),
        ("rerun 13", "13"),
        ("list --al", "--al"),
        ("list 3", "3"),
        ("fork my copy", "copy"),
        ("off now", "now"),
        ("diff 1 2 3", "3"),
        ("restore --all", "--all"),
    ],
)
def test_a_word_that_a_command_would_pass_over_is_refused(line: str, surplus: str, capsys: Any) -> None:
    nothing: Any = None
    with pytest.raises(QuietError, match=rf"has no use for: {surplus}\. Nothing was done"):
        run_session(nothing, line)
    assert capsys.readouterr().out == ""


def test_what_is_typed_next_is_quoted_and_a_name_that_nothing_has_shows_the_way(desk):
    kernel = desk.open("훈련 노트.ipynb")
    kernel.run("x = 41")
    command = re.search(r"%session restore '[^`]+'", told(kernel.run("%session fork 'my copy'")))
    assert command is not None
    kernel.run("del x")
    assert "`%session restore @N x`" in kernel.run("%session restore x").traceback
    assert "Restored 1 variable of my copy" in told(kernel.run(command[0]))
    assert kernel.value("x") == "41"
    shared = told(kernel.run("%session share mate"))
    assert "`%session restore 'alice/훈련 노트.ipynb'`" in shared
    assert "`%session share PERSON`" in kernel.run("%session share alice").traceback
    assert "NAME cannot be ''" in kernel.run("%session fork ''").traceback
    for name in ("x" * 1025, "train@1", "7"):
        assert f"NAME cannot be '{name[:40]}'" in kernel.run(f"%session fork {name}").traceback
    assert "PERSON cannot be 'a b'" in kernel.run("%session share 'a b'").traceback
    assert "Nobody can sign in here as nobodyhere" in kernel.run("%session share nobodyhere").traceback
    assert "as version 1 (" in told(kernel.run("%session on 'my copy'"))


def test_a_team_mate_reads_what_is_shared_after_saying_whom_they_trust(desk, another_desk):
    kernel = desk.open()
    kernel.run("x = 41; plan = {'lr': 0.1}")
    settled(desk)
    mate = another_desk("mate", "mates").open("own.ipynb")
    assert "There is no session" in mate.run("%session restore alice/train.ipynb --trust alice").traceback
    assert "train.ipynb is shared with mate, who can read it" in told(kernel.run("%session share mate"))
    refused = mate.run("%session restore alice/train.ipynb").traceback
    assert "runs code that alice wrote" in refused
    assert "--trust alice" in refused
    assert mate.run("x").error is not None
    mate.run("own = 1")
    assert "Restored 2 variables" in told(mate.run("%session restore alice/train.ipynb --trust alice"))
    assert mate.value("x, plan, own") == "(41, {'lr': 0.1}, 1)"
    mate.run("x = 'mine now'")
    settled(Desk(desk.server, desk.plane, desk.home, "mate"), "own.ipynb")
    assert kernel.value("x") == "41"
    assert "is not shared with maat, but with mate" in kernel.run("%session unshare maat").traceback
    assert "Only you may read" in told(kernel.run("%session unshare mate"))
    assert "There is no session" in mate.run("%session restore alice/train.ipynb --trust alice").traceback


def test_secrets_are_left_out_with_the_cell_that_set_them_and_named_once(desk, plane):
    kernel = desk.open()
    kernel.run("password = 'correct horse battery'")
    kernel.run("x = 1")
    lines = [told(kernel.run("pass")) for _ in range(3)]
    settled(desk)
    assert sum("password" in line for line in lines) <= 1
    blobs = FolderBlobs(plane.ports.blobs.access("vision")["root"])
    everything = [path.read_bytes() for path in blobs.root.rglob("*") if path.is_file()]
    assert everything
    assert not any(b"correct horse" in content for content in everything)
    desk.crash(kernel)
    again = desk.open()
    assert "password (cell 2" in told(again.loaded)
    assert "sets a secret" in str(again.value("In[2]"))


def test_off_means_neither_saved_nor_restored_until_on(desk):
    kernel = desk.open()
    kernel.run("x = 1")
    number = settled(desk)
    assert "no longer saved" in told(kernel.run("%session off"))
    kernel.run("x = 2")
    os.kill(pid_of(kernel), signal.SIGKILL)
    again = desk.open()
    assert told(again.loaded) == ""
    again.run("y = 1")
    assert desk.saved() <= number + 1
    number = desk.saved()
    assert "is saved after each cell" in told(again.run("%session on"))
    again.run("y = 2")
    until(lambda: desk.saved() > number)


def test_in_korean(desk):
    kernel = desk.open()
    kernel.run("x = 1; rows = (row for row in ())")
    desk.crash(kernel)
    again = desk.open(DURE_LANG="ko")
    assert "변수 1개를" in told(again.loaded)
    assert "셀 2만 다시 실행" in told(again.loaded)
