"""Labels of pandas that several variables hold are one object after a restore; none is written for another."""

import json
import subprocess
import sys
from typing import Any

import pytest

from dure.notebook.delivery import Before, deliver
from dure.state import FolderBlobs, Snapshot, capture, changed, diff, restore, verify

BEGIN = "import numpy as np, pandas as pd\n"
RESTORE = """
import json, sys
from dure.state import FolderBlobs, Snapshot, restore, changed
blobs = FolderBlobs(sys.argv[1])
scope = {'__name__': '__main__', '__builtins__': __builtins__}
snapshot = Snapshot.load(sys.argv[2], blobs)
report = restore(snapshot, blobs, into=scope)
assert not report.failed, report.failed
again = changed(scope, snapshot, blobs=blobs).changed
exec(sys.argv[3], scope)
print(json.dumps([bool(eval(sys.argv[4], scope)), again]))
"""


def _scope(cell):
    scope: dict[str, Any] = {"__name__": "__main__"}
    exec(BEGIN + cell, scope)
    return scope


def _group(snapshot, name):
    return sorted(snapshot.groups[snapshot.variables[name].group].names)


@pytest.mark.parametrize(
    ("cell", "change", "check"),
    [
        ("s = pd.Series([1, 2]); i = s.index", "i.name = 'x'", "s.index.name == 'x' and s.index is i"),
        ("i = pd.Index(['a', 'b']); s = pd.Series([1, 2], index=i)", "s.index.name = 'x'", "i.name == 'x'"),
        ("df = pd.DataFrame({'a': [1]}); c = df.columns; e = df + 1", "c.name = 'x'", "e.columns.name == 'x'"),
        (
            "i = pd.MultiIndex.from_product([['a', 'b'], [1, 2]]); s = pd.Series(range(4), index=i)",
            "i.names = ['p', 'q']",
            "list(s.index.names) == ['p', 'q']",
        ),
        (
            "frames = {'a': pd.DataFrame({'x': [1]})}; held = [frames['a'].columns]",
            "held[0].name = 'x'",
            "frames['a'].columns.name == 'x'",
        ),
        (
            "df = pd.DataFrame({'a': [1, 2], 'b': [3, 4]}); d = df.set_index('a'); i = d.index; t = pd.Series(i)",
            "i.name = 'x'; t[0] = 7",
            "d.index.name == 'x' and df['a'].tolist() == [1, 2] and d.index.tolist() == [1, 2] and t[0] == 7",
        ),
        (
            "i, j = pd.Index([1, 2]), pd.Index([3, 4]); a = pd.Series(i, index=j); b = pd.Series(j, index=i)",
            "j.name = 'x'",
            "a.index is j and b.index is i and a.index.name == 'x'",
        ),
        (
            "class C: pass\ni = pd.Index([C(), C()]); C.f = pd.Series([1, 2], index=i); s = pd.Series([3, 4], index=i)",
            "i.name = 'x'",
            "C.f.index is s.index is i and s.index.name == 'x' and type(i[0]) is C",
        ),
        ("s = pd.Series([1, 2]); i = s.index; i.note = [1]", "i.note.append(2)", "s.index.note == [1, 2]"),
    ],
)
def test_labels_under_several_names_are_one_object(tmp_path, cell, change, check):
    scope, blobs = _scope(cell), FolderBlobs(tmp_path)
    snapshot = capture(scope, blobs=blobs)
    assert snapshot.unsaved == {}
    assert changed(scope, snapshot, blobs=blobs).changed == ()
    command = [sys.executable, "-c", RESTORE, str(tmp_path), snapshot.store(blobs), change, check]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [True, []]


def test_frames_on_one_calendar_are_written_by_themselves(tmp_path):
    scope = _scope(
        "day = pd.date_range('2020', periods=50)\n"
        "for n in range(20): globals()[f'f{n}'] = pd.DataFrame({'a': np.arange(50.) + n}, index=day)"
    )
    blobs = FolderBlobs(tmp_path)
    first = capture(scope, blobs=blobs)
    assert [_group(first, f"f{n}") for n in range(20)] == [[f"f{n}"] for n in range(20)]
    scope["f3"]["b"] = 9.0
    second = capture(scope, base=first, blobs=blobs)
    assert diff(first, second).changed == ("f3",)
    scope["day"].name = "day"
    third = capture(scope, base=second, blobs=blobs)
    assert set(diff(second, third).changed) == {"day", *(f"f{n}" for n in range(20))}
    keys = {group.key() for group in second.groups}
    assert [sorted(group.names) for group in third.groups if group.key() not in keys] == [["day"]]
    assert verify(third, blobs) == []


def test_without_what_holds_them_labels_go_too(tmp_path):
    blobs = FolderBlobs(tmp_path)
    snapshot = capture(_scope("df = pd.DataFrame({'a': [1]}); s = df['a'] + 1; e = df + 1"), blobs=blobs)
    assert len(snapshot.apart) == 3
    assert len(snapshot.without({"df", "s"}).apart) == 2
    assert snapshot.without({"df", "e", "s"}).apart == {}
    restored = restore(snapshot.only({"e"}), blobs)
    assert restored.values["e"].columns.tolist() == ["a"]


def test_a_restore_here_takes_the_labels_that_live_here_as_they_were(tmp_path):
    scope, blobs = _scope("s = pd.Series([1, 2], index=['a', 'b']); i = s.index"), FolderBlobs(tmp_path)
    snapshot = capture(scope, blobs=blobs)
    scope["s"].iloc[0] = 7
    restore(snapshot, blobs, into=scope, names=["s"])
    assert scope["s"].iloc[0] == 1
    assert scope["s"].index is scope["i"]
    scope["i"].name = "x"
    restore(snapshot, blobs, into=scope, names=["s"])
    assert scope["s"].index.name is None
    assert scope["i"].name == "x"
    again = capture(scope, blobs=blobs)
    assert restore(again, blobs, into={"__name__": "__main__"}).values["i"].name == "x"


class _Elsewhere:
    """A cell in another process: what it reads goes there, what it changes comes back."""

    def __init__(self, scope, blobs, reads, tmp_path):
        self.scope, self.blobs, self.folder = scope, blobs, tmp_path
        self.sent = capture(scope, reads, blobs=blobs)
        self.before = Before(scope, list(self.sent.names), self.sent)

    def run(self, cell):
        code = (
            "import json, sys\n"
            "from dure.state import FolderBlobs, Snapshot, restore, changed\n"
            "blobs = FolderBlobs(sys.argv[1]); scope = {'__name__': '__main__', '__builtins__': __builtins__}\n"
            "base = Snapshot.load(sys.argv[2], blobs); restore(base, blobs, into=scope, follow=True)\n"
            "exec(sys.argv[3], scope)\n"
            "found = changed(scope, base, blobs=blobs)\n"
            "print(json.dumps([found.snapshot.store(blobs) if found.snapshot else None, found.changed]))\n"
        )
        command = [sys.executable, "-c", code, str(self.folder), self.sent.store(self.blobs), cell]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        digest, self.changed = json.loads(done.stdout)
        self.end = {"snapshot": digest, "in_place": self.changed}

    def deliver(self, **options):
        return deliver(self.end, self.blobs, self.scope, self.before, job="j1", **options)


def test_a_cell_that_renames_labels_renames_them_for_all_who_hold_them(tmp_path):
    scope, blobs = _scope("s = pd.Series([1, 2]); i = s.index; t = s + 1; t.index = i"), FolderBlobs(tmp_path)
    index = scope["i"]
    cell = _Elsewhere(scope, blobs, ["s"], tmp_path)
    cell.run("s.index.name = 'x'")
    assert cell.changed == ["s"]
    cell.deliver()
    assert scope["s"].index is scope["i"] is index
    assert index.name == "x"


def test_a_cell_brings_what_it_gave_to_labels_beside_their_name(tmp_path):
    scope, blobs = _scope("i = pd.Index([1, 2]); s = pd.Series([1, 2], index=i); i.unit = ['m']"), FolderBlobs(tmp_path)
    index = scope["i"]
    cell = _Elsewhere(scope, blobs, ["s"], tmp_path)
    cell.run("s.index.unit = ['km']; s.index.note = 3")
    cell.deliver()
    assert scope["s"].index is scope["i"] is index
    assert (index.unit, index.note) == (["km"], 3)


def test_labels_in_a_list_that_a_cell_reads_stay_those_of_who_was_not_read(tmp_path):
    scope = _scope("i = pd.Index([1, 2]); df = pd.DataFrame({'a': [1]}); held = [[i], df.columns]")
    blobs = FolderBlobs(tmp_path)
    cell = _Elsewhere(scope, blobs, ["held"], tmp_path)
    cell.run("held.append(1)")
    assert cell.changed == ["held"]
    assert cell.deliver().notes == []
    assert scope["held"][0][0] is scope["i"]
    assert scope["held"][1] is scope["df"].columns
    assert scope["held"][2] == 1


def test_a_cell_that_takes_labels_or_filters_changes_nothing_else(tmp_path):
    scope, blobs = _scope("df = pd.DataFrame({'a': [1, 2], 'b': [3, 4]}, index=['x', 'y'])"), FolderBlobs(tmp_path)
    frame = scope["df"]
    cell = _Elsewhere(scope, blobs, ["df"], tmp_path)
    cell.run("cols = df.columns; some = df[df['a'] > 1]; more = df + 1")
    assert cell.changed == ["cols", "more", "some"]
    cell.deliver()
    assert scope["df"] is frame
    assert scope["cols"] is frame.columns
    assert scope["more"].columns is frame.columns


@pytest.mark.parametrize("choice", ["keep", "both", "take"])
def test_labels_that_were_renamed_here_meanwhile_are_a_conflict(tmp_path, choice):
    scope, blobs = _scope("s = pd.Series([1, 2]); i = s.index"), FolderBlobs(tmp_path)
    cell = _Elsewhere(scope, blobs, ["s"], tmp_path)
    cell.run("s.index.name = 'there'")
    scope["i"].name = "here"
    result = cell.deliver(on_conflict=choice)
    assert result.conflicts == (() if choice == "take" else ("s",))
    assert scope["i"].name == ("there" if choice == "take" else "here")
    assert scope["s"].index is scope["i"]
    if choice == "both":
        assert scope["s_from_gpu"].index.name == "there"


def test_labels_that_cannot_be_saved_are_named_with_where_they_are(tmp_path):
    scope = _scope("import threading\ns = pd.Series([1], index=pd.Index([threading.Lock()], dtype=object)); t = 1")
    snapshot = capture(scope, blobs=FolderBlobs(tmp_path))
    assert snapshot.names == ("np", "pd", "t", "threading")
    assert "a lock" in snapshot.unsaved["s"]


def test_a_snapshot_with_labels_is_read_from_its_bytes(tmp_path):
    snapshot = capture(_scope("df = pd.DataFrame({'a': [1]})"), blobs=FolderBlobs(tmp_path))
    assert Snapshot.from_json(snapshot.to_json()) == snapshot
