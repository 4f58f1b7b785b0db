"""What becomes of names that changed in the notebook while a cell was away, and of what a failed cell had changed."""

from __future__ import annotations

import gc
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np

from dure.notebook.delivery import Before, deliver
from dure.notebook.holders import holders
from dure.state import Blobs, capture
from tests.notebook.conftest import NotebookKernel, end_of

WAIT = "import os, time\nwhile not os.path.exists({gate!r}): time.sleep(0.01)\n"


def left(namespace: dict[str, Any], blobs: Blobs, *reads: str, unread: tuple[str, ...] = ()) -> Before:
    snapshot = capture(namespace, list(reads), blobs=blobs) if reads else None
    return Before(namespace, [*reads, *unread], snapshot, unread)


def test_a_change_in_place_is_a_change(blobs: Blobs):
    namespace: dict[str, Any] = {"log": [1], "array": np.zeros(1000), "still": {"a": 1}}
    before = left(namespace, blobs, "log", "array", "still")
    end = end_of(blobs, log=["job"], array=np.ones(3), still="job")
    namespace["log"].append(2)
    namespace["array"][7] = 1
    done = deliver(end, blobs, namespace, before, job="j-1")
    assert done.conflicts == ("array", "log")
    assert (namespace["log"], namespace["array"].sum(), namespace["still"]) == ([1, 2], 1, "job")


def test_a_change_in_place_of_a_name_that_the_cell_only_binds_is_seen_too(blobs: Blobs):
    namespace: dict[str, Any] = {"results": [], "other": []}
    before = left(namespace, blobs, unread=("results", "other"))
    namespace["results"].append("mine")
    done = deliver(end_of(blobs, results=["job"], other=["job"]), blobs, namespace, before, job="j-1")
    assert done.conflicts == ("results",)
    assert namespace == {"results": ["mine"], "other": ["job"]}


def test_what_a_newer_worker_tells_besides_costs_no_results(blobs: Blobs):
    namespace: dict[str, Any] = {}
    end = end_of(blobs, x=3) | {"left_here": {"environment": ["PLACE"], "of_tomorrow": ["a", "b"]}, "of_tomorrow": 1}
    done = deliver(end, blobs, namespace, left(namespace, blobs), job="j-1")
    assert namespace == {"x": 3}
    assert len(done.notes) == 1
    assert "environment variables PLACE." in done.notes[0]


def test_both_are_kept_side_by_side_under_a_free_name(blobs: Blobs):
    namespace: dict[str, Any] = {"x": 1, "x_from_gpu": "older", "y": 1}
    before = left(namespace, blobs, "x", "y")
    namespace["x"] = 2
    end = end_of(blobs, x=3, y=3) | {"last_name": "x"}
    done = deliver(end, blobs, namespace, before, job="j-1", on_conflict="both")
    assert namespace == {"x": 2, "x_from_gpu": "older", "x_from_gpu_2": 3, "y": 3}
    assert "x → x_from_gpu_2" in done.notes[0]
    assert done.last_value == 3


def test_take_brings_the_cells_value_and_fail_brings_nothing(blobs: Blobs):
    namespace: dict[str, Any] = {"x": 1, "y": 1}
    before = left(namespace, blobs, "x", "y")
    namespace["x"] = 2
    end = end_of(blobs, x=3, y=3)
    assert deliver(end, blobs, namespace, before, job="j-1", on_conflict="fail").refused
    assert namespace == {"x": 2, "y": 1}
    assert not deliver(end, blobs, namespace, before, job="j-1", on_conflict="take").conflicts
    assert namespace == {"x": 3, "y": 3}


def test_names_that_share_objects_come_or_stay_together(blobs: Blobs):
    shared = [0]
    namespace: dict[str, Any] = {"a": shared, "b": shared}
    before = left(namespace, blobs, "a", "b")
    theirs = [9]
    namespace["a"] = "mine"
    done = deliver(end_of(blobs, a=theirs, b=theirs), blobs, namespace, before, job="j-1")
    assert done.conflicts == ("a", "b")
    assert namespace == {"a": "mine", "b": [0]}


def detached(kernel: NotebookKernel, gate: Path, options: str, body: str) -> None:
    shown = kernel.run(f"%%gpu --detach {options}\n{WAIT.format(gate=str(gate))}{body}")
    assert shown.ok, shown.traceback
    assert kernel.run("handle = _").ok


def test_a_conflict_is_told_and_the_person_chooses(kernel: NotebookKernel, tmp_path: Path):
    assert kernel.run("shared = [1]\nquiet = 1").ok
    detached(kernel, tmp_path / "gate", "", "shared.append(2)\nquiet = 2")
    assert kernel.run("shared.append('mine')").ok
    (tmp_path / "gate").touch()
    shown = kernel.run("handle.result()")
    assert shown.ok, shown.traceback
    assert "shared changed in the notebook while the cell was away" in shown.stream("stderr")
    assert kernel.value("shared, quiet") == "([1, 'mine'], 2)"
    assert kernel.run("job = handle.id").ok
    assert "shared → shared_from_gpu" in kernel.run("%gpu attach {job} --on-conflict both").stream("stderr")
    assert kernel.value("shared, shared_from_gpu") == "([1, 'mine'], [1, 2])"
    shown = kernel.run("%gpu attach {job} --on-conflict=take")
    assert shown.ok, shown.traceback
    assert kernel.value("shared") == "[1, 2]"
    assert "keep, take, both, fail" in kernel.run("%gpu attach {job} --on-conflict perhaps").traceback


def test_two_cells_at_once_on_one_name_conflict_loudly(kernel: NotebookKernel, tmp_path: Path):
    assert kernel.run("count = 0").ok
    detached(kernel, tmp_path / "first", "--on-conflict fail", "count += 1\nalso = 1")
    assert kernel.run("first = handle").ok
    detached(kernel, tmp_path / "second", "--on-conflict fail", "count += 1\nalso_second = 1\nos.chdir('/')")
    (tmp_path / "first").touch()
    (tmp_path / "second").touch()
    assert kernel.run("first.result()").ok
    here = kernel.value("__import__('os').getcwd()")
    for _ in range(2):
        shown = kernel.run("handle.result()")
        assert "count changed in the notebook" in shown.traceback
        assert "--on-conflict take" in shown.traceback
        assert kernel.value("count, 'also' in dir(), 'also_second' in dir()") == "(1, True, False)"
        assert kernel.value("__import__('os').getcwd()") == here, "nothing of it is brought"
    attached = kernel.run("%gpu attach")
    assert attached.ok, attached.traceback
    assert "count changed in the notebook while the cell was away, so the notebook's own was kept" in attached.stream(
        "stderr"
    )
    assert kernel.value("count, also_second, os.getcwd()") == "(1, 1, '/')"


def test_what_a_failed_cell_had_changed_comes_only_when_asked_for(kernel: NotebookKernel):
    assert kernel.run("steps = []").ok
    body = "steps.append(1)\nreached = 'here'\n1 / 0\nsteps.append(2)"
    assert "--keep-partial" in kernel.run(f"%%gpu\n{body}").lines[-1]
    assert kernel.value("steps, 'reached' in dir()") == "([], False)"
    shown = kernel.run(f"%%gpu --keep-partial\n{body}")
    assert shown.error is not None
    assert shown.error["ename"] == "ZeroDivisionError"
    assert "was brought (--keep-partial): reached, steps" in shown.lines[-1]
    assert kernel.value("steps, reached") == "([1], 'here')"
    assert "changed nothing" not in str(kernel.run("%gpu attach").lines), "its output again, and nothing else"


def test_what_a_failed_cell_had_changed_may_be_refused_whole(kernel: NotebookKernel, tmp_path: Path):
    assert kernel.run("steps = []").ok
    detached(kernel, tmp_path / "gate", "--on-conflict fail --keep-partial", "steps.append(1)\ngot_to = 1\n1 / 0")
    assert kernel.run("steps.append('mine')").ok
    (tmp_path / "gate").touch()
    shown = kernel.run("%gpu attach")
    assert "steps changed in the notebook while the cell was away, so nothing of" in str(shown.lines)
    assert kernel.value("steps, 'got_to' in dir()") == "(['mine'], False)"
    shown = kernel.run("%gpu attach")
    assert "was brought (--keep-partial): got_to" in str(shown.lines)
    assert kernel.value("steps, got_to") == "(['mine'], 1)"


def test_what_an_interrupted_cell_had_changed_comes_too(kernel: NotebookKernel):
    cell = kernel.start("%%gpu --keep-partial\nepochs = 3\nprint('go')\nimport time\ntime.sleep(600)")
    cell.until(lambda shown: "go" in shown.stream(), "the first print")
    kernel.interrupt()
    shown = cell.wait()
    assert shown.error is not None
    assert shown.error["ename"] in {"KeyboardInterrupt", "RemoteInterrupt"}
    assert kernel.value("epochs") == "3"


def test_a_kept_process_goes_on_from_what_a_failed_cell_brought(kernel: NotebookKernel):
    shown = kernel.run("%%gpu --keep 1m --keep-partial\nlosses = [1]\n1 / 0")
    assert "losses" in shown.lines[-1], shown.lines
    shown = kernel.run("%%gpu\nlosses.append(2)")
    assert shown.ok, shown.traceback
    assert kernel.value("losses") == "[1, 2]"


def test_the_same_import_on_both_sides_is_no_conflict_but_an_equal_number_is(blobs: Blobs):
    import time

    namespace: dict[str, Any] = {}
    before = left(namespace, blobs)
    end = end_of(blobs, time=time, count=1)
    namespace |= {"time": time, "count": 1}
    assert deliver(end, blobs, namespace, before, job="j-1").conflicts == ("count",)


def test_what_still_holds_the_value_from_before_is_told(kernel: NotebookKernel):
    assert kernel.run(
        "import numpy as np\nlog = [1]\nkept = {'log': log}\narray = np.zeros(4)\nholder = {'a': array}\n"
        "rebound = [1]\nstill = [rebound]\nalone = [1]\ndef reads():\n    return log, alone\nclass Box: pass\n"
        "box = Box()\nbox.inside = inside = [5]"
    ).ok
    shown = kernel.run("%%gpu\nlog.append(2); array[0] = 7; rebound = rebound + [2]; alone.append(2); inside.append(6)")
    assert shown.ok
    told = shown.stream("stderr").splitlines()
    assert [line.split(", which has")[0] for line in told] == [
        "The cell changed array in place without holder",
        "The cell changed inside in place without box",
        "The cell changed log in place without kept",
    ]
    shown = kernel.run("%%gpu\nlog.append(3); kept['log'] is log")
    assert (shown.stream("stderr"), shown.result) == ("", "False")


def test_what_shares_something_with_a_value_that_the_cell_changed_is_told(kernel: NotebookKernel):
    assert kernel.run(
        "import numpy as np, pandas as pd\nrows = [{'a': 1}, {'b': [2]}]\none, deep = rows[0], {'in': rows[1]['b']}\n"
        "array = np.zeros(9)\nviews = {'v': array[:3]}\nframe = pd.DataFrame({'a': [1]})\nother = frame[['a']]\n"
        "groups, styles = frame.groupby('a'), [frame.style]\n"
        "class Net: pass\nnet = Net()\nnet.part = Net()\npart = net.part\npair = both = [[], []]\nlone = [[1]]"
    ).ok
    cell = "rows[0]['a'] = 5; views['v'][0] = 1; frame['a'] = 2; net.rate = 1; pair[0].append(1); lone[0].append(2)"
    shown = kernel.run(f"%%gpu\n{cell}")
    assert shown.ok
    told = [line.split(", which has")[0] for line in shown.stream("stderr").splitlines()]
    assert told == [
        "The cell changed frame in place without groups, styles",
        "The cell changed net in place without part",
        "The cell changed rows in place without deep, one",
        "The cell changed views in place without array",
    ]
    assert kernel.value("pair is both, frame['a'][0], other['a'][0]") == "(True, np.int64(2), np.int64(1))"


def test_looking_for_who_has_a_changed_value_is_bounded_by_no_variables_size_or_number(monkeypatch):
    inner = {"a": 1}
    former = {"old": [inner]}
    namespace: dict[str, Any] = {f"v{number}": [[item] for item in range(20_000)] for number in range(30)}
    namespace |= {"huge": list(range(1_000_000)), "record": {"inner": inner}, "view": {"deep": [inner]}}
    looked: list[int] = []
    plain = gc.get_referents

    def counted(*values: Any) -> list[Any]:
        looked.append(len(values))
        return plain(*values)

    monkeypatch.setattr(gc, "get_referents", counted)
    tracemalloc.start()
    try:
        assert holders(former, namespace) == {"old": ["record", "view"]}
        assert tracemalloc.get_traced_memory()[1] < 40_000_000
    finally:
        tracemalloc.stop()
    assert len(looked) < 250_000


def test_a_cell_that_ends_its_process_does_not_say_that_nothing_came_where_something_did(kernel: NotebookKernel):
    shown = kernel.run("%%gpu --keep-partial\nreached = 3\nimport sys\nsys.exit(4)")
    assert "with exit code 4." in shown.traceback
    assert "was brought (--keep-partial): reached" in shown.lines[-1]
    assert kernel.value("reached") == "3"
