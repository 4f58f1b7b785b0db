"""The parts that need no kernel: sentences, tables, records of undelivered jobs, and committing names."""

from __future__ import annotations

import os
import string
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from dure.notebook import records
from dure.notebook.cell import numbered_as_shown
from dure.notebook.delivery import Before, FreshKernel, deliver
from dure.notebook.ending import package_hint
from dure.notebook.sessions.restoring import Lost, lost_names
from dure.notebook.tables import Table, html_of, sentence
from dure.notebook.words import SENTENCES, say
from dure.state import Blobs
from dure.wire.cells import LAST_VALUE
from dure.worker import last_value
from dure.worker.processes import start_ticks
from tests.notebook.conftest import end_of


@pytest.mark.parametrize("key", SENTENCES)
def test_both_languages_say_the_same_facts(key: str):
    english, korean = ({field for _, field, _, _ in string.Formatter().parse(text) if field} for text in SENTENCES[key])
    assert english == korean


def test_the_language_follows_the_environment(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("DURE_LANG", "ko")
    assert "언어" in say("language_set")
    monkeypatch.setenv("DURE_LANG", "en")
    assert "Language" in say("language_set")


def test_tables_escape_and_align():
    table = Table("A & B", ["이름", "n"], [["<b>", 5], ["한글", 10]], frozenset({"n"}))
    assert "&lt;b&gt;" in table.as_html()
    assert "A &amp; B" in table.as_html()
    assert "<caption" not in table.as_html(), "the browser breaks one at the width of the table"
    assert table.as_text().splitlines() == ["A & B", "이름   n", "<b>    5", "한글  10"]


def test_an_empty_table_says_so():
    table = Table("Jobs", ["a"], [], empty="None yet.")
    assert table.as_text() == "Jobs\nNone yet."
    assert "None yet." in table.as_html()


def test_what_a_browser_would_break_after_its_hyphen_stays_whole():
    table = Table("Jobs of j-2h495459", ["job", "why"], [["j-2h495459", "with --tier silver <now> it would start"]])
    shown = table.as_html()
    assert 'white-space:nowrap">j-2h495459</span>' in shown
    assert 'white-space:nowrap">--tier</span> silver &lt;now&gt;' in shown
    assert html_of("a--b &amp; j-short") == "a--b &amp;amp; j-short"


def test_a_sentence_breaks_between_words_and_shows_what_is_to_be_typed_as_code():
    shown = sentence("Not restored: a<b>. `%session rerun` runs cell 2 again.")
    assert shown["text/plain"] == "Not restored: a<b>. `%session rerun` runs cell 2 again."
    assert "a&lt;b&gt;. <code>%session rerun</code> runs cell 2 again." in shown["text/html"]


@pytest.mark.parametrize(
    ("body", "first"),
    [("x = 1\n", "# %%gpu --tier gold"), ("%%time\nx = 1\n", "%%time"), ("\n%%time\nx\n", "")],
)
def test_lines_are_counted_as_the_notebook_shows_them(body: str, first: str):
    assert numbered_as_shown("--tier gold", body).splitlines()[0] == first


@pytest.fixture
def record(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> records.Record:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return records.Record(
        "j-1", "http://here", "/n.ipynb", "In[1]", 100.0, False, os.getpid(), start_ticks(os.getpid())
    )


def test_undelivered_jobs_are_found_by_notebook_and_platform(record: records.Record):
    records.remember(record)
    records.remember(replace(record, job="j-0", submitted_at=50.0))
    records.remember(replace(record, job="j-2", notebook="/other.ipynb"))
    records.remember(replace(record, job="j-3", url="http://there"))
    assert [found.job for found in records.undelivered("/n.ipynb", "http://here", 200.0)] == ["j-0", "j-1"]
    assert oct(records.folder().stat().st_mode)[-3:] == "700"
    records.forget("j-0")
    assert [found.job for found in records.undelivered("/n.ipynb", "http://here", 200.0)] == ["j-1"]


def test_a_job_that_another_live_kernel_waits_for_is_left_to_it(record: records.Record):
    parent = os.getppid()
    records.remember(replace(record, pid=parent, pid_ticks=start_ticks(parent)))
    assert records.undelivered("/n.ipynb", "http://here", 200.0) == []
    records.remember(replace(record, pid=parent, pid_ticks=1))
    assert len(records.undelivered("/n.ipynb", "http://here", 200.0)) == 1


def test_old_and_torn_records_go(record: records.Record):
    records.remember(record)
    (records.folder() / "torn.json").write_text("{")
    assert records.undelivered("/n.ipynb", "http://here", 100.0 + records.MAX_AGE_S + 1) == []
    assert not (records.folder() / "j-1.json").exists()


def test_a_folder_that_cannot_be_written_is_no_trouble(record: records.Record, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("XDG_STATE_HOME", "/proc/nowhere")
    records.remember(record)
    assert records.undelivered("/n.ipynb", "http://here", 200.0) == []


def test_names_are_committed_deleted_and_the_last_value_is_apart(blobs: Blobs):
    namespace = {"a": 1, "gone": 2}
    before = Before(namespace, ["a", "gone"])
    end = {**end_of(blobs, a=[5], b=6, **{LAST_VALUE: 7}), "deleted": ["gone", "never_there"]}
    done = deliver(end, blobs, namespace, before, job="j-1")
    assert namespace == {"a": [5], "b": 6}
    assert (done.changed, done.deleted, done.last_value, done.notes) == (("a", "b"), ("gone",), 7, [])


def test_rebound_names_stay_until_overwritten(blobs: Blobs):
    namespace = {"a": [1], "b": [1], "d": 1}
    before = Before(namespace, ["a", "d"])
    end = {**end_of(blobs, a="job", b="job", c="job"), "deleted": ["d"]}
    namespace |= {"a": "mine", "b": "mine", "c": "mine", "d": "mine"}
    done = deliver(end, blobs, namespace, before, job="j-1")
    assert done.conflicts == ("a", "b", "c", "d")
    assert namespace == {"a": "mine", "b": "mine", "c": "mine", "d": "mine"}
    deliver(end, blobs, namespace, before, job="j-1", on_conflict="take")
    assert namespace == {"a": "job", "b": "job", "c": "job"}


def test_a_fresh_kernel_keeps_its_own(blobs: Blobs):
    namespace = {"mine": 1}
    done = deliver(end_of(blobs, mine=2, new=3), blobs, namespace, FreshKernel(), job="j-1")
    assert namespace == {"mine": 1, "new": 3}
    assert "mine changed in the notebook" in done.notes[0]


def test_a_value_that_does_not_load_is_named_and_the_rest_comes(blobs: Blobs, monkeypatch: pytest.MonkeyPatch):
    import types

    module = types.ModuleType("passing_by")
    exec("class Thing: pass", vars(module))
    monkeypatch.setitem(sys.modules, "passing_by", module)
    end = end_of(blobs, thing=module.Thing(), number=1)
    monkeypatch.delitem(sys.modules, "passing_by")
    namespace: dict[str, object] = {}
    done = deliver(end, blobs, namespace, FreshKernel(), job="j-1")
    assert namespace == {"number": 1}
    assert "thing came back but cannot be loaded" in done.notes[0]
    assert "passing_by" in done.notes[0]


def test_the_package_is_found_in_either_sentence():
    assert "'torch'" in (package_hint("ModuleNotFoundError", "No module named 'torch.nn'", "default") or "")
    assert "'torch'" in (package_hint("NotStarted", "it needs the package torch, which is not", "default") or "")
    assert package_hint("ValueError", "No module named 'torch'", "default") is None


def test_the_last_value_is_sent_small_and_shares_nothing():
    import numpy as np
    import pandas as pd

    array = np.zeros(10)
    part = last_value.small_copy(array[:2])
    assert part is not None
    assert not np.shares_memory(part, array)
    frame = pd.DataFrame({"a": [1, 2]})
    assert last_value.small_copy(frame.head(1)).equals(frame.head(1))
    assert last_value.small_copy(np.zeros(10**6)) is None
    assert last_value.small_copy([object()]) is None
    cycle: list[object] = []
    cycle.append(cycle)
    assert last_value.small_copy(cycle) is None
    assert last_value.holder_of(array, {"_": array, "held": array}) == "held"
    assert last_value.holder_of(1, {"one": 1}) is None


def test_loading_the_extension_imports_nothing_heavy():
    code = (
        "from IPython.core.interactiveshell import InteractiveShell\nimport sys\n"
        "shell = InteractiveShell.instance()\nbefore = set(sys.modules)\nshell.run_line_magic('load_ext', 'dure')\n"
        "new = {name.partition('.')[0] for name in set(sys.modules) - before}\n"
        "print(sorted(new & {'httpx', 'pydantic', 'numpy', 'blake3', 'obstore', 'rich', 'asyncio'}))"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_why_a_variable_is_lost_is_told_briefly_in_the_readers_language(monkeypatch):
    lost = {
        "g": Lost("a generator: its position in its code cannot be saved; make it a list", 3),
        "f": Lost("f.log: an open file: open it again after the restore"),
        "m": Lost("KeyError: 'x' (saved with numpy 1.2, here is 2.1: an environment with that version restores it)", 4),
    }
    monkeypatch.setenv("DURE_LANG", "ko")
    assert lost_names(lost) == (
        "g(셀 3: 제너레이터: 코드 안의 현재 위치를 저장할 수 없습니다); "
        "f(f.log: 열린 파일: 복원한 뒤 다시 여세요); m(셀 4: KeyError: 'x')"
    )
    monkeypatch.setenv("DURE_LANG", "en")
    assert lost_names(lost).startswith("g (cell 3: a generator: its position in its code cannot be saved); f (f.log: ")
