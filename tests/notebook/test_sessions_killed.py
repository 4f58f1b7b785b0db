"""kill -9 at any moment around a cell's end: what finished is back, or named and run again by `%session rerun`.

DURE_KILLS rounds (six without it); the seed of each is in its failure.
"""

import json
import os
import random
import signal
import time

from dure.notebook.sessions.ended import EndedCells, unsaved
from dure.notebook.sessions.journal import Journal, ended_file, folder, left_behind
from tests.api.plane import until
from tests.notebook.desk import desk, pid_of, plane, server, settled, told

__all__ = ["desk", "plane", "server"]

ROUNDS = int(os.environ.get("DURE_KILLS", "6"))
SLOW = """import os, time
class Slow:
    def __reduce__(self):
        time.sleep(float(os.environ.get('SLOW', 0)))
        return Slow, ()
"""
LARGE = "; large = __import__('os').urandom(20_000_000)"


def test_what_finished_before_kill_nine_is_back_or_named(desk):
    finished = 0
    named = 0
    for seed in range(ROUNDS):
        chance = random.Random(seed)
        kernel = desk.open()
        if seed == 0:
            assert kernel.run("steps = []").ok
        named += "finished, but the kernel ended" in told(kernel.loaded)
        kernel.run("%session rerun")
        steps = json.loads(kernel.value("steps") or "")
        # what ended without a reply may be there, and nothing is there twice or out of its turn
        assert steps == list(range(len(steps))), (seed, told(kernel.loaded))
        assert finished <= len(steps) <= finished + 1, (seed, finished, told(kernel.loaded))
        finished = len(steps)
        for _ in range(chance.randint(0, 3)):
            assert kernel.run(f"steps.append({finished}){LARGE if chance.random() < 0.3 else ''}").ok
            finished += 1
        if chance.random() < 0.5:
            kernel.start(f"steps.append({finished})")  # at a moment before, in or after its end
            time.sleep(chance.uniform(0, 0.05))
        else:
            time.sleep(chance.choice([0, chance.uniform(0, 0.02), chance.uniform(0, 0.3)]))
        os.kill(pid_of(kernel), signal.SIGKILL)
    assert named or ROUNDS < 50, "no round killed a kernel before its last save: this proves nothing"


def test_a_cell_whose_save_was_not_written_is_named_and_run_again_alone(desk):
    kernel = desk.open(SLOW="60")
    assert kernel.run("calls = []; x = 1").ok
    settled(desk)
    assert kernel.run(f"{SLOW}calls.append('again'); x = 2; slow = Slow()").ok
    os.kill(pid_of(kernel), signal.SIGKILL)
    kernel = desk.open()
    line = told(kernel.loaded)
    assert line.startswith("Restored 2 variables of train.ipynb"), line
    assert (
        "Cell 3 finished, but the kernel ended before its result was saved. `%session rerun` runs only cell 3" in line
    )
    assert kernel.value("calls, x") == "([], 1)"
    assert "There again: Slow, os, slow, time, x." in told(kernel.run("%session rerun"))
    assert kernel.value("calls, x") == "(['again'], 2)"
    assert "Nothing is missing" in told(kernel.run("%session rerun"))
    assert kernel.run("In[3].splitlines()[-1][:14]").result == '"calls.append(\'"'


def test_what_sets_a_secret_is_named_and_written_nowhere(desk):
    kernel = desk.open(SLOW="60")
    assert kernel.run(f"{SLOW}slow = Slow(); password = 'hunter2-of-alice'").ok
    os.kill(pid_of(kernel), signal.SIGKILL)
    files = [path for path in (desk.home / ".local").rglob("*") if path.is_file()]
    assert any(path.parent.name == "ended" for path in files)
    assert not any(b"hunter2" in path.read_bytes() for path in files)
    line = told(desk.open().loaded)
    # on a busy machine the cell before it is named, too
    assert "2 finished, but the kernel ended before" in line
    assert "Run cell 2 again by hand: its code" in line


def test_while_the_kernel_is_alone_and_after_a_save_nothing_is_named(desk):
    kernel = desk.open()
    assert kernel.run("x = 1").ok
    settled(desk)
    assert kernel.run("%session list").ok  # shows only
    os.kill(pid_of(kernel), signal.SIGKILL)
    assert "finished, but" not in told(desk.open().loaded)


def test_cells_keep_their_numbers_where_some_between_them_only_looked(desk):
    kernel = desk.open()
    assert kernel.run("x = 1").ok
    settled(desk)
    full = "def full(*_): raise OSError(28, 'No space left on device')\n"
    assert kernel.run(f"{full}import dure.state; dure.state.FolderBlobs.put = full; del dure").ok
    assert kernel.run("%session list --all").ok  # shows only, as cell 4
    assert kernel.run("y = 'five'").ok
    os.kill(pid_of(kernel), signal.SIGKILL)
    kernel = desk.open()
    assert "Cells 3, 5 finished, but" in told(kernel.loaded)
    assert kernel.run("In[4:6], In.index(In[-1])").result == "(['', \"y = 'five'\"], 7)"


def test_what_ended_after_another_session_was_named_is_not_told_of_the_notebook(desk):
    kernel = desk.open()
    assert kernel.run("x = 1").ok
    settled(desk)
    assert kernel.run("%session on other").ok
    assert kernel.run("y = 2").ok
    settled(desk, "other")
    os.kill(pid_of(kernel), signal.SIGKILL)
    kernel = desk.open()
    assert "Restored 1 variable of train.ipynb" in told(kernel.loaded)
    assert "finished, but" not in told(kernel.loaded)


def test_a_line_that_a_full_disk_cut_short_spoils_none_behind_it(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    journal = Journal("train.ipynb", "http://here", "kernel")
    ended = EndedCells(journal.kernel)
    ended.note(1, "x = 1", 0)
    with ended_file(journal.kernel).open("a") as file:
        file.write('\n[2, 2, "y =')
    ended.note(3, "z = 3", 0)
    assert [each.cell for each in unsaved(journal, 0)] == [1, 3]


def test_where_the_home_cannot_be_written_no_cell_is_named_that_is_saved(desk):
    kernel = desk.open()
    kernel.run("x = 1")
    settled(desk)
    (journal,) = (desk.home / ".local/state/dure/sessions").glob("*/*.json")
    journal.with_name(f".{journal.stem}.{pid_of(kernel)}").mkdir()  # as on a full disk
    lines = []
    for _ in range(5):
        lines.append(told(kernel.run("x += 1")))
        settled(desk)
    (line,) = [line for line in lines if line]
    assert "cannot be written (Is a directory): free some space in your home" in line
    desk.crash(kernel)
    again = desk.open()
    assert "finished" not in told(again.loaded)
    assert again.value("x") == "6"


def test_what_nobody_opens_any_more_goes_with_the_code_of_its_cells(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    journal = Journal("train.ipynb", "http://here", "kernel")
    journal.write()
    EndedCells(journal.kernel).note(1, "x = 1", 0)
    (path,) = folder(journal.name, journal.url).glob("*.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), "at": 1.0}))
    assert not left_behind(journal.name, journal.url)
    assert not path.exists()
    assert not ended_file(journal.kernel).exists()


def test_what_ended_before_a_gpu_cell_is_saved_while_that_waits_for_a_gpu(desk):
    kernel = desk.open()
    kernel.run("from dure.notebook.sessions import saving\nsaving.Saver.within_share = lambda self: False")
    before = settled(desk)
    for code in ("second = [2]", "%%gpu\nthird = 3"):
        kernel.client.execute(code)
    until(lambda: desk.saved() > before)
    os.kill(pid_of(kernel), signal.SIGKILL)
    again = desk.open()
    assert "finished" not in told(again.loaded)
    assert again.value("second") == "[2]"
    assert again.run("third").error is not None
