"""A process that is kept after its cell: the next one runs where it ended, and never on a value that is out of date."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from dure.state import Snapshot, open_blobs, restore
from tests.worker.conftest import Attempt, Server, leftovers, wait_until

KEEP_S = 600


@pytest.fixture
def keep(server):
    """Start cells that are kept; those that still are at the end of the test are ended."""
    started: list[Attempt] = []

    def start(code: str, names: dict[str, Any] | None = None, **spec: Any) -> Attempt:
        started.append(server.cell(code, names, **{"keep_s": KEEP_S, "keep_session_s": 3600, **spec}))
        return started[-1]

    yield start
    for attempt in started:
        if not attempt.ended():
            attempt.send(op="kill")
            attempt.result()


def ends(attempt: Attempt, count: int) -> dict[str, Any]:
    """Return the end of the cell with this number, once it is there."""
    wait_until(lambda: len(attempt.of_type("cell_end")) >= count or attempt.ended(), f"end {count}")
    assert len(attempt.of_type("cell_end")) >= count, attempt.messages()[-2:]
    return attempt.of_type("cell_end")[count - 1]


def next_cell(attempt: Attempt, code: str, **cell: Any) -> dict[str, Any]:
    return attempt.send(op="cell", cell={"code": code, "cell_name": "In[8]", "keep_s": KEEP_S, **cell})


def brought(attempt: Attempt, message: dict[str, Any]) -> dict[str, Any]:
    """What a cell's end brings to the notebook."""
    blobs = open_blobs(attempt.blobs)
    if not message["snapshot"]:
        return {}
    return restore(Snapshot.load(message["snapshot"], blobs), blobs, into={"__name__": "__main__"}).values


def held(attempt: Attempt, message: dict[str, Any]) -> tuple[str, ...]:
    return Snapshot.load(message["held"], open_blobs(attempt.blobs)).names if message["held"] else ()


def test_the_next_cell_runs_in_the_same_process_with_its_state(keep):
    attempt = keep(
        "import math\nmath.mark = object()\nkept = [1]\nwho = id(kept), id(math.mark)\ndel math\nprint('one')"
    )
    first = ends(attempt, 1)
    assert first["status"] == "ok"
    assert first["kept_until"] > first["at"] + KEEP_S / 2
    assert held(attempt, first) == ("kept", "who")
    assert not attempt.ended()
    code = "import math\nsame = (id(kept), id(math.mark)) == who\nkept.append(2)\ndel math\nprint('two')"
    assert next_cell(attempt, code, names=["kept", "who"])["ok"]
    second = ends(attempt, 2)
    assert second["changed"] == ["kept", "same"]
    assert brought(attempt, second) == {"kept": [1, 2], "same": True}
    assert attempt.text() == "one\ntwo\n"
    assert attempt.send(op="finish")["ok"]
    result = attempt.result()
    assert (result["status"], result["type"], result["snapshot"]) == ("ok", "end", second["snapshot"])
    assert "held" not in result
    assert result["ran_s"] >= first["ran_s"] + second["ran_s"]
    assert leftovers(attempt) == []


def test_a_cell_without_keep_ends_the_process(keep):
    attempt = keep("a = 1")
    ends(attempt, 1)
    assert next_cell(attempt, "b = a + 1", names=["a"], keep_s=0)["ok"]
    result = attempt.result()
    assert (result["status"], result["changed"]) == ("ok", ["b"])
    assert len(attempt.of_type("cell_end")) == 1


def test_a_value_that_comes_anew_replaces_the_kept_one(keep, server: Server):
    attempt = keep("b = a", {"a": [1]})
    ends(attempt, 1)
    assert next_cell(attempt, "print(a, b)", names=["a"], others=["b"], snapshot=server.snapshot({"a": [5]}))["ok"]
    assert attempt.wait_message("need")["names"] == ["b"]  # not vouched for, so it is asked for and not just used
    assert attempt.send(op="provide", names={"b": "x"}, snapshot=server.snapshot({"b": [7]}))["ok"]
    ends(attempt, 2)
    assert attempt.text() == "[5] [7]\n"


def test_a_value_that_nobody_vouches_for_is_not_seen_by_eval_either(keep, server: Server):
    attempt = keep("secret = 1\ndef look(): return eval('sec' + 'ret')")
    ends(attempt, 1)
    assert next_cell(attempt, "print(look(), eval('secret'))", names=["look"], others=["secret"])["ok"]
    attempt.wait_message("need")
    assert attempt.send(op="provide", names={"secret": "x"}, snapshot=server.snapshot({"secret": 2}))["ok"]
    ends(attempt, 2)
    assert attempt.text() == "2 2\n"


def test_names_put_aside_are_there_again_for_a_later_cell(keep):
    attempt = keep("big = [1, 2]\nwho = id(big)")
    ends(attempt, 1)
    assert next_cell(attempt, "other = 1", others=["big", "who"])["ok"]
    assert ends(attempt, 2)["changed"] == ["other"]
    assert held(attempt, ends(attempt, 2)) == ("big", "other", "who")
    assert next_cell(attempt, "same = id(big) == who", names=["big", "who"], others=["other"])["ok"]
    assert brought(attempt, ends(attempt, 3)) == {"same": True}


def test_what_was_put_aside_does_not_come_back_as_changed(keep):
    attempt = keep("first = [1]\nsecond = first")
    ends(attempt, 1)
    assert next_cell(attempt, "second = 2", others=["first", "second"])["ok"]  # they share no object any more
    end = ends(attempt, 2)
    assert end["changed"] == ["second"]
    assert held(attempt, end) == ("second",)


def test_what_the_notebook_deleted_is_gone(keep):
    attempt = keep("a = 1")
    ends(attempt, 1)
    assert next_cell(attempt, "print('a' in globals())")["ok"]
    assert attempt.wait_message("need")["names"] == ["a"]  # it is not here any more
    assert attempt.send(op="provide", names={"a": None})["ok"]
    assert ends(attempt, 2)["deleted"] == []
    assert attempt.text() == "False\n"


def test_what_cannot_travel_stays_with_the_process_and_is_named_once(keep):
    attempt = keep("handle = open('/dev/null')\nnumbers = (n for n in range(3))")
    assert set(ends(attempt, 1)["unsaved"]) == {"handle", "numbers"}
    assert next_cell(attempt, "print(next(numbers), handle.closed)")["ok"]
    assert ends(attempt, 2)["unsaved"] == {}
    assert attempt.text() == "0 False\n"


def test_a_failed_cell_leaves_the_process_and_no_doubtful_value(keep):
    attempt = keep("good = [1]", {"data": [1]})
    ends(attempt, 1)
    assert next_cell(attempt, "fresh = object()\ndata.append(2)\n1 / 0", names=["data", "good"])["ok"]
    failed = ends(attempt, 2)
    assert (failed["status"], failed["changed"], failed["snapshot"]) == ("error", [], None)
    assert held(attempt, failed) == ("good",)
    assert next_cell(attempt, "print('data' in globals(), 'fresh' in globals(), good)", names=["good"])["ok"]
    assert attempt.wait_message("need")["names"] == ["data"]
    assert attempt.send(op="provide", names={"data": None})["ok"]
    ends(attempt, 3)
    assert attempt.text() == "False True [1]\n"


def test_a_store_that_is_away_as_a_cell_ends_costs_neither_its_end_nor_the_process(keep, server: Server):
    root = str(server.blobs["root"])
    away = f"import os\nos.rename({root!r}, {root + '.away'!r})\nopen({root!r}, 'x').close()\nmark = data\n1 / 0"
    attempt = keep(away, {"data": [1]})
    end = ends(attempt, 1)
    assert (end["status"], end["error"]["ename"], end["held"]) == ("error", "ZeroDivisionError", None)
    Path(root).unlink()
    Path(f"{root}.away").rename(root)
    assert next_cell(attempt, "print(mark)")["ok"]
    assert ends(attempt, 2)["status"] == "ok"
    assert attempt.text() == "[1]\n"


def test_what_a_failed_cell_left_never_stands_for_the_notebooks_own(keep, server: Server):
    attempt = keep("theirs = 1\n1 / 0")
    ends(attempt, 1)
    assert next_cell(attempt, "print(eval('theirs'))", others=["theirs"])["ok"]
    attempt.wait_message("need")
    assert attempt.send(op="provide", names={"theirs": "x"}, snapshot=server.snapshot({"theirs": 2}))["ok"]
    assert ends(attempt, 2)["changed"] == []
    assert attempt.text() == "2\n"


def test_a_kept_job_that_failed_last_ends_failed(keep):
    attempt = keep("a = 1")
    ends(attempt, 1)
    next_cell(attempt, "1 / 0")
    ends(attempt, 2)
    attempt.send(op="finish")
    result = attempt.result()
    assert (result["status"], result["error"]["ename"]) == ("error", "ZeroDivisionError")


def test_the_first_cell_may_fail_and_is_kept(keep):
    attempt = keep("import sys\nsys.mark = 1\n1 / 0")
    assert ends(attempt, 1)["status"] == "error"
    assert next_cell(attempt, "import sys\nprint(sys.mark)")["ok"]
    assert ends(attempt, 2)["status"] == "ok"
    assert attempt.text() == "1\n"


def test_the_keep_runs_out(keep):
    attempt = keep("import atexit\natexit.register(print, 'left');", keep_s=0.2)
    result = attempt.result()
    assert result["status"] == "ok"
    assert list(dict.fromkeys(m["type"] for m in attempt.messages())) == ["cell_end", "stream", "end"]
    assert attempt.text() == "left\n"
    assert leftovers(attempt) == []


@pytest.mark.parametrize("op", ["stop", "kill"])
def test_a_cancelled_keep_ends_with_the_last_cells_status(keep, op):
    attempt = keep("a = 1")
    end = ends(attempt, 1)
    assert attempt.send(op=op)["ok"]
    result = attempt.result()
    assert (result["status"], result["snapshot"]) == ("ok", end["snapshot"])
    assert leftovers(attempt) == []


def test_a_killed_process_ends_the_keep_with_the_last_cells_status(keep):
    attempt = keep("a = 1")
    ends(attempt, 1)
    os.kill(attempt.user_pid(), signal.SIGKILL)
    assert attempt.result()["status"] == "ok"


def test_a_crash_in_the_second_cell_is_its_failure(keep):
    attempt = keep("a = 1")
    ends(attempt, 1)
    assert next_cell(attempt, "import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)")["ok"]
    result = attempt.result()
    assert (result["status"], result["error"]["ename"]) == ("error", "ProcessDied")
    assert "SIGSEGV" in result["error"]["evalue"]


def test_leaving_python_ends_the_keep(keep):
    attempt = keep("a = 1")
    ends(attempt, 1)
    next_cell(attempt, "raise SystemExit(3)")
    assert (attempt.result()["status"], attempt.result()["exit_code"]) == ("exit", 3)


def test_the_same_cell_sent_again_runs_once(keep):
    attempt = keep("count = 0")
    ends(attempt, 1)
    cell = {"code": "count += 1\nprint(count)", "names": ["count"], "keep_s": KEEP_S}
    assert attempt.send(op="cell", id="k1", cell=cell) == {"ok": True}
    assert attempt.send(op="cell", id="k1", cell=cell) == {"ok": True, "again": True}
    ends(attempt, 2)
    assert attempt.send(op="cell", id="k1", cell=cell) == {"ok": True, "again": True}
    attempt.send(op="finish")
    attempt.result()
    assert attempt.text() == "1\n"


def test_a_cell_is_refused_while_one_runs_and_may_be_sent_again(keep):
    attempt = keep("input('go on? ')")
    attempt.wait_message("input_request")
    cell = {"code": "print('second')", "keep_s": KEEP_S}
    assert not attempt.send(op="cell", id="k1", cell=cell)["ok"]
    attempt.send(op="stdin", text="yes")
    ends(attempt, 1)
    assert attempt.send(op="cell", id="k1", cell=cell) == {"ok": True}
    ends(attempt, 2)
    assert attempt.text() == "second\n"


def test_a_process_that_is_not_kept_takes_no_cell(server):
    attempt = server.cell("input('go on? ')")
    attempt.wait_message("input_request")
    answer = next_cell(attempt, "1")
    assert "No process is kept" in answer["error"]
    attempt.send(op="stdin", text="")
    attempt.result()
    assert attempt.of_type("cell_end") == []


def test_finish_while_a_cell_runs_ends_the_job_after_it(keep):
    attempt = keep("input('go on? ')")
    attempt.wait_message("input_request")
    assert attempt.send(op="finish")["ok"]
    attempt.send(op="stdin", text="")
    assert attempt.result()["status"] == "ok"
    assert attempt.of_type("cell_end") == []


def test_an_interrupt_between_cells_does_nothing(keep):
    attempt = keep("a = 1")
    ends(attempt, 1)
    for _ in range(3):
        assert attempt.send(op="interrupt")["ok"]
    os.kill(attempt.user_pid(), signal.SIGINT)
    assert next_cell(attempt, "print(a)", names=["a"])["ok"]
    assert ends(attempt, 2)["status"] == "ok"
    assert attempt.text() == "1\n"


def test_an_interrupted_cell_leaves_the_process_kept(keep):
    attempt = keep("import os, time\nprint(os.getpid())\ntime.sleep(600)")
    attempt.wait_text("\n")
    attempt.send(op="interrupt")
    assert ends(attempt, 1)["status"] == "interrupted"
    next_cell(attempt, "import os, time\nprint('again')\ntime.sleep(600)")
    attempt.wait_text("again")
    attempt.send(op="interrupt")
    assert ends(attempt, 2)["status"] == "interrupted"
    next_cell(attempt, "import os\nprint(os.getpid())")
    assert ends(attempt, 3)["status"] == "ok"
    lines = attempt.text().split()
    assert lines[0] == lines[-1] == str(attempt.user_pid())


def test_an_interrupt_right_after_the_order_is_not_lost(keep):
    attempt = keep("a = 1")
    for number in range(2, 7):
        ends(attempt, number - 1)
        assert next_cell(attempt, "import time\ntime.sleep(600)")["ok"]
        assert attempt.send(op="interrupt")["ok"]
        assert ends(attempt, number)["status"] == "interrupted"


def test_the_time_limit_counts_for_each_cell(keep):
    attempt = keep("a = 1", limits={"timeout_s": 1})
    ends(attempt, 1)
    next_cell(attempt, "import time\ntime.sleep(600)")
    assert ends(attempt, 2)["status"] == "timeout"
    next_cell(attempt, "import time\ntime.sleep(600)", timeout_s=0.2)
    end = ends(attempt, 3)
    assert end["status"] == "timeout"
    assert "0.2 s" in end["error"]["evalue"]
    next_cell(attempt, "print('well')")
    assert ends(attempt, 4)["status"] == "ok"


def test_each_cell_has_the_whole_bound_for_its_output(keep):
    attempt = keep("print('x' * 100_000)", limits={"output_bytes": 20_000})
    assert ends(attempt, 1)["dropped_bytes"] > 50_000
    next_cell(attempt, "print('all of it')")
    assert "dropped_bytes" not in ends(attempt, 2)
    assert "all of it\n" in attempt.text()


def test_a_session_does_not_last_without_end(keep):
    attempt = keep("a = 1", keep_session_s=0)
    ends(attempt, 1)
    assert "for too long" in next_cell(attempt, "1")["error"]


def test_what_cannot_be_restored_fails_its_cell_and_no_more(keep):
    attempt = keep("a = 1")
    ends(attempt, 1)
    assert next_cell(attempt, "a", names=["a"], snapshot="0" * 64)["ok"]
    failed = ends(attempt, 2)
    assert failed["error"]["ename"] == "NotStarted"
    assert next_cell(attempt, "print(a)", names=["a"])["ok"]
    ends(attempt, 3)
    assert attempt.text() == "1\n"


def test_results_of_an_earlier_cell_do_not_linger_as_out(keep):
    attempt = keep("object()")
    ends(attempt, 1)
    next_cell(attempt, "print(len(Out), repr(_))")
    ends(attempt, 2)
    assert attempt.text() == "0 ''\n"


def test_tracebacks_name_the_cell_that_a_function_is_from(keep):
    attempt = keep("def broken():\n    1 / 0", payload={"cell_name": "In[3]"})
    ends(attempt, 1)
    next_cell(attempt, "\n\nbroken()", names=["broken"])
    ends(attempt, 2)
    shown = "\n".join(attempt.of_type("error")[0]["traceback"])
    assert "In[8]" in shown
    assert "In[3]" in shown


def test_blobs_that_were_collected_meanwhile_are_not_relied_on(keep, server: Server):
    np = pytest.importorskip("numpy")
    attempt = keep("b = 1", {"a": np.random.default_rng(1).random(100_000)})
    end = ends(attempt, 1)
    blobs = open_blobs(attempt.blobs)
    for digest in Snapshot.load(end["held"], blobs).references():
        path = blobs.path(digest)
        assert path is not None
        path.unlink()
    next_cell(attempt, "a[0] = 7", names=["a"])
    second = ends(attempt, 2)
    assert brought(attempt, second)["a"][0] == 7
