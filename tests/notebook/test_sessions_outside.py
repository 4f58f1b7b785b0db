"""`dure sessions save` and `undo` as real processes, beside real kernels of the same notebook."""

import os
import subprocess
import sys

from tests.api.plane import token
from tests.notebook.desk import desk, plane, server, settled, told

__all__ = ["desk", "plane", "server"]


def outside(desk, *words):
    """Type `dure sessions …` in a terminal of the same person."""
    environment = {**os.environ, "HOME": str(desk.home), "DURE_URL": desk.server.url, "DURE_TOKEN": token(desk.who)}
    command = [sys.executable, "-m", "dure.cli", "sessions", *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=90, check=True).stdout


def test_a_kernel_goes_on_saving_without_a_word_after_its_state_was_labelled_from_outside(desk):
    kernel = desk.open()
    kernel.run("model = [1]")
    number = settled(desk)
    assert f"Version {number} of train.ipynb, saved at " in outside(desk, "save", "train.ipynb", "before", "tuning")
    shown = kernel.run("model.append(2)")
    assert (shown.ok, told(shown)) == (True, "")
    assert settled(desk) == number + 1
    listed = told(kernel.run("%session list"))
    assert "before tuning" in listed
    assert "not saved" not in told(kernel.run("%session"))
    assert "at most 200 letters" in kernel.run(f"%session save {'x' * 201}").traceback, "no label is cut short"
    desk.crash(kernel)
    again = desk.open()
    assert again.value("model") == "[1, 2]"
    assert again.run(f"%session restore @{number}").ok
    assert again.value("model") == "[1]"


def test_the_notebook_opens_with_what_was_undone_from_outside_and_with_what_took_that_back(desk):
    kernel = desk.open()
    kernel.run("model = [1]")
    settled(desk)
    kernel.run("model.append(2); more = 3")
    desk.crash(kernel)
    undone = outside(desk, "undo", "train.ipynb")
    assert "Undone: model, more." in undone
    opened = desk.open()
    assert "Restored 1 variable of train.ipynb" in told(opened.loaded)
    assert opened.value("model, 'more' in globals()") == "([1], False)"
    desk.crash(opened)
    back = undone.rpartition("`dure sessions ")[2].partition("`")[0]
    outside(desk, *back.split())
    assert desk.open().value("model, more") == "([1, 2], 3)"


def test_a_kernel_that_runs_while_its_session_is_undone_says_what_to_type_and_takes_it(desk):
    kernel = desk.open()
    kernel.run("model = [1]")
    settled(desk)
    kernel.run("model.append(2)")
    newest = settled(desk)
    assert "A kernel that runs keeps its variables: `%session restore`" in outside(desk, "undo", "train.ipynb")
    shown = told(kernel.run("model.append(3)"))
    settled(desk)
    shown += told(kernel.run("pass"))
    assert "Another kernel or `dure sessions` has saved this notebook since" in shown
    assert kernel.value("model") == "[1, 2, 3]"
    assert desk.saved() == newest + 1, "nothing is saved over what was undone"
    assert kernel.run("%session restore").ok
    assert kernel.value("model") == "[1]"
    kernel.run("model.append(4)")
    assert settled(desk) > newest + 1
