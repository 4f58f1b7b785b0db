"""Which notebook a kernel belongs to: VS Code's made-up names, renamed notebooks, and what is none."""

import os
import signal
import uuid

import pytest

from dure.hub.spawner import STARTUP
from dure.notebook.context import notebook_name
from dure.wire.sessions import RenameRequest
from tests.api.plane import PEOPLE, until
from tests.notebook.desk import desk, pid_of, plane, server, settled, told

__all__ = ["desk", "plane", "server"]


VSCODE = "if '__vsc_ipynb_file__' not in globals():\n    __vsc_ipynb_file__ = {path!r}"


def test_as_vs_code_opens_notebooks_the_same_file_is_the_same_session(desk):
    """On a server each opening has another name; the file's own is told in a silent cell before the first."""
    told_path = VSCODE.format(path=str(desk.home / "deep" / "train.ipynb"))
    for at in range(2):
        name = f"train-jvsc-{uuid.uuid4()}{uuid.uuid4()}.ipynb"
        kernel = desk.open(name, PYTHONSTARTUP=str(STARTUP), before=told_path)
        if at == 0:
            kernel.run("x = 41")
            settled(desk, "deep/train.ipynb")
            os.kill(pid_of(kernel), signal.SIGKILL)
    assert "Restored 1 variable of train.ipynb" in told(kernel.loaded)
    assert kernel.value("x") == "41"


def test_where_vs_code_tells_no_file_the_name_on_the_server_counts_without_its_number(desk):
    kernel = desk.open(f"other-jvsc-{uuid.uuid4()}.ipynb", PYTHONSTARTUP=str(STARTUP), before="pass")
    kernel.run("y = 5")
    settled(desk, "other.ipynb")
    os.kill(pid_of(kernel), signal.SIGKILL)
    again = desk.open(f"other-jvsc-{uuid.uuid4()}.ipynb", PYTHONSTARTUP=str(STARTUP), before="pass")
    assert "Restored 1 variable of other.ipynb" in told(again.loaded)


@pytest.mark.parametrize(
    ("server", "code", "name"),
    [
        ("/home/x/a/train.ipynb", None, "/home/x/a/train.ipynb"),
        (f"/home/x/train-jvsc-{uuid.UUID(int=1)}.ipynb", "/home/x/a/train.ipynb", "/home/x/a/train.ipynb"),
        (f"/home/x/Interactive-1.interactive-jvsc-{uuid.UUID(int=1)}.ipynb", None, None),
        (None, "Untitled-1.ipynb", None),
        (None, "/home/x/Untitled.ipynb", "/home/x/Untitled.ipynb"),
        (f"/home/x/console-1-{uuid.UUID(int=1)}", None, None),
    ],
)
def test_which_names_are_notebooks(monkeypatch, server, code, name):
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    if server:
        monkeypatch.setenv("JPY_SESSION_NAME", server)
    assert notebook_name({"__vsc_ipynb_file__": code} if code else {}) == name


def test_a_kernel_goes_on_with_the_session_of_its_renamed_notebook(desk, plane):
    kernel = desk.open()
    kernel.run("x = 1")
    settled(desk)
    plane.sessions.rename(PEOPLE["alice"], RenameRequest(before="train.ipynb", after="model.ipynb"))
    kernel.run("y = 2")
    settled(desk, "model.ipynb")
    until(lambda: "model.ipynb: version" in told(kernel.run("%session")))
    assert desk.saved() == 0
    os.kill(pid_of(kernel), signal.SIGKILL)
    again = desk.open("model.ipynb")
    assert again.value("x, y") == "(1, 2)"
    assert desk.open().run("x").error is not None, "a new notebook of the old name begins empty"


@pytest.mark.parametrize("saved_since", [True, False])
def test_a_kernel_that_jupyter_starts_again_after_a_crash_knows_its_renamed_notebook(desk, plane, saved_since):
    kernel = desk.open("Untitled.ipynb")
    kernel.run("x = 1")
    settled(desk, "Untitled.ipynb")
    plane.sessions.rename(PEOPLE["alice"], RenameRequest(before="Untitled.ipynb", after="model.ipynb"))
    if saved_since:
        kernel.run("x = 2")
        settled(desk, "model.ipynb")
        until(lambda: "model.ipynb: version" in told(kernel.run("%session")))
    version = settled(desk, "model.ipynb")
    os.kill(pid_of(kernel), signal.SIGKILL)
    kernel.client.stop_channels()
    kernel.manager.restart_kernel(now=True)  # with the name that it was started with
    kernel.client = kernel.manager.client()
    kernel.client.start_channels()
    kernel.client.wait_for_ready(timeout=60)
    assert "of model.ipynb" in told(kernel.run("%load_ext dure"))
    assert kernel.value("x") == ("2" if saved_since else "1")
    kernel.run("y = 3")
    until(lambda: desk.saved("model.ipynb") > version)
    assert desk.saved("Untitled.ipynb") == 0
    assert desk.open("Untitled.ipynb").run("x").error is not None, "a new notebook of the old name begins empty"


def test_after_mv_in_a_terminal_the_first_cell_names_the_command_that_brings_the_state_back(desk):
    ran = '{"cells": [{"cell_type": "code", "execution_count": 1, "source": "x = 41", "outputs": [], "metadata": {}}]}'
    (desk.home / "my train.ipynb").write_text(ran)
    kernel = desk.open("my train.ipynb")
    kernel.run("x = 41")
    settled(desk, "my train.ipynb")
    kernel.kill()
    (desk.home / "my train.ipynb").rename(desk.home / "model.ipynb")
    again = desk.open("model.ipynb")
    assert "Nothing is saved of model.ipynb" in told(again.loaded)
    assert "`%session restore 'my train.ipynb'`" in told(again.loaded)
    again.run("%session restore 'my train.ipynb'")
    assert again.value("x") == "41"
    again.kill()
    (desk.home / "new.ipynb").write_text(ran.replace('"execution_count": 1', '"execution_count": null'))
    assert told(desk.open("new.ipynb").loaded) == "", "a new notebook had no other name"


def test_what_did_not_come_back_is_named_at_every_opening_until_a_cell_makes_it_again(desk):
    kernel = desk.open()
    kernel.run("x = 1")
    kernel.run("rows = (row for row in 'ab')")
    desk.crash(kernel)
    second = desk.open()
    second.run("y = 2")
    desk.crash(second)
    third = desk.open()
    assert "rows (cell 3: a generator" in told(third.loaded)
    assert "rows (cell 3: a generator" in told(third.run("%session"))
    third.run("%session rerun")
    assert third.value("list(rows), x, y") == "(['a', 'b'], 1, 2)"
    third.run("rows = 3")
    desk.crash(third)
    assert "rows" not in told(desk.open().loaded)


def test_what_cannot_be_loaded_today_stays_in_the_session_until_it_can(desk):
    module = desk.home / "lab_model.py"
    module.write_text("class Model:\n    rate = 1\n    def __init__(self, name): self.name = name\n")
    kernel = desk.open()
    kernel.run("import lab_model, numpy as np; data = np.arange(5)")
    kernel.run("model = lab_model.Model('a'); also = [model]; other = lab_model.Model('b')")
    desk.crash(kernel)
    module.rename(desk.home / "gone.py")
    second = desk.open()
    assert "also, model" in told(second.loaded)
    second.run("data[0] = 7; other = 'bound anew'; y = 2")
    settled(desk)
    shown = told(second.run("%session"))
    assert "Not restored: " in shown
    assert "also, model" in shown
    undone = told(second.run("%session undo"))
    assert "data, other, y" in undone
    assert "Not restored: other" in undone
    desk.crash(second)
    (desk.home / "gone.py").rename(module)
    third = desk.open()
    assert "Not restored" not in told(third.loaded)
    assert third.value("model.name, also[0] is model, other.name, data[0]") == "('a', True, 'b', np.int64(0))"


def test_what_was_registered_with_libraries_is_again_and_the_rest_is_named_with_its_cell(desk):
    kernel = desk.open()
    kernel.run("import numbers\nclass P: pass\nnumbers.Number.register(P)\nimport json\njson.plus = lambda n: n + 1")
    kernel.run("def echoed(line): return line\nget_ipython().register_magic_function(echoed, 'line')")
    settled(desk)
    os.kill(pid_of(kernel), signal.SIGKILL)
    again = desk.open()
    assert again.value("isinstance(P(), numbers.Number), json.plus(1)") == "(True, 2)"
    assert "register_magic_function (cell 3: it was registered with a library" in told(again.loaded)
    assert "There again: echoed → " in told(again.run("%session rerun"))
    assert "register_magic_function" not in told(again.run("%session"))


def test_what_shared_memory_with_restored_variables_and_stays_is_named_with_the_command_for_both(desk):
    kernel = desk.open()
    kernel.run("import numpy as np\na = np.arange(50_000); v = a[5:]; rows = [a]; other = 1")
    kernel.run("%session fork tuned")
    kernel.run("a[7] = -1; fresh = a[:3]; del rows")
    line = told(kernel.run("%session restore tuned a other"))
    apart = "now apart from the restored variables that they shared memory or objects with"
    assert f"Left as they are, {apart}: fresh, v. `%session restore tuned@1 a v` restores them together." in line
    assert kernel.value("a[7], v[2], fresh.base is v.base") == "(np.int64(7), np.int64(-1), True)"
    line = told(kernel.run("%session restore tuned@1 a v"))
    assert line.endswith(f"{apart}: fresh."), "it shared with v, and the version does not hold it"
    assert kernel.value("a[7], v[2], np.shares_memory(a, v)") == "(np.int64(7), np.int64(7), True)"
    assert apart not in told(kernel.run("%session restore tuned@1 other"))
