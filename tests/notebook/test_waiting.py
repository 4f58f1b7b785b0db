"""While a cell waits it says why; ■ cancels what waits, interrupts what runs, kills what does not listen."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.notebook.conftest import NotebookKernel, Running

GOLD = "%%gpu --tier gold --no-burst --budget strict\n"


@pytest.fixture
def gold_taken(new_kernel: Callable[..., NotebookKernel], tmp_path: Path) -> Iterator[Callable[[], None]]:
    """The only private gold GPU is held by somebody's cell until the returned function is called."""
    holder = new_kernel("holder.ipynb")
    gate = tmp_path / "gate"
    cell: Running = holder.start(
        f"{GOLD}import os, time\nprint('holding')\nwhile not os.path.exists({str(gate)!r}): time.sleep(0.01)"
    )
    cell.until(lambda shown: "holding" in shown.stream(), "the holder")

    def free() -> None:
        if not cell.done:
            gate.touch()
            assert cell.wait().ok

    yield free
    free()


def test_the_line_says_position_and_reason_then_the_cell_runs(kernel: NotebookKernel, gold_taken):
    cell = kernel.start(f"{GOLD}print('mine')")
    cell.until(lambda shown: any("1st in line for gold" in line for line in shown.lines), "the reason")
    assert "add --tier" in cell.shown.lines[-1]
    gold_taken()
    shown = cell.wait()
    assert shown.ok
    assert "mine" in shown.stream()
    assert "GPU freed" in shown.lines[-1]


def test_interrupt_while_queued_cancels(kernel: NotebookKernel, gold_taken):
    cell = kernel.start(f"{GOLD}never = 1")
    cell.until(lambda shown: any("in line" in line for line in shown.lines), "waiting")
    kernel.interrupt()
    shown = cell.wait()
    assert not shown.ok
    assert shown.reply["ename"] == "RemoteInterrupt"
    assert "never started" in shown.traceback
    assert "cancelled" in shown.lines[-1]
    assert kernel.value("'never' in dir()") == "False"


def test_interrupt_while_running_reaches_user_code(kernel: NotebookKernel):
    cell = kernel.start(
        "%%gpu\nimport time\ntry:\n    print('on')\n    time.sleep(600)\nexcept KeyboardInterrupt:\n    saved = 'kept'"
    )
    cell.until(lambda shown: "on" in shown.stream(), "the start")
    kernel.interrupt()
    shown = cell.wait()
    assert shown.ok, shown.traceback
    assert kernel.value("saved") == "'kept'"


def test_an_interrupt_that_nobody_catches_shows_where_it_struck(kernel: NotebookKernel):
    cell = kernel.start("%%gpu\nimport time\nprint('on')\nlost = 1\ntime.sleep(600)")
    cell.until(lambda shown: "on" in shown.stream(), "the start")
    kernel.interrupt()
    shown = cell.wait()
    assert not shown.ok
    assert "time.sleep(600)" in shown.traceback
    assert "KeyboardInterrupt" in shown.traceback
    assert kernel.value("'lost' in dir()") == "False"


def test_an_interrupt_that_strikes_where_python_drops_exceptions_is_still_one(kernel: NotebookKernel):
    """Found by ■ while a large array was hashed: it struck in a weak reference's callback, and the cell ran on."""
    made = "import os, signal\nclass Struck:\n    def __del__(self):\n"
    made += "        if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:  # as a cell is sent\n"
    made += "            os.kill(os.getpid(), signal.SIGINT)\n"
    made += "class Odd:\n    def __reduce__(self):\n        Struck()\n        return Odd, ()\nodd = Odd()"
    assert kernel.run(made).ok
    shown = kernel.run("%%gpu\nodd")
    assert shown.error is not None
    assert shown.error["evalue"] == "Interrupted before anything was queued."
    assert shown.lines[-1] == "Not queued."


def test_children_are_interrupted_too(kernel: NotebookKernel):
    cell = kernel.start("%%gpu\nprint('on')\n!sleep 600\nprint('after')")
    cell.until(lambda shown: "on" in shown.stream(), "the start")
    kernel.interrupt()
    cell.wait()  # the deadline is far below 600 s


def test_an_interrupt_as_a_command_starts_is_not_lost(kernel: NotebookKernel):
    """It struck in what libraries do around a fork, where Python drops exceptions, and the command ran on."""
    around = "os.register_at_fork(after_in_parent=lambda: os.kill(os.getpid(), signal.SIGINT))"
    shown = kernel.run(
        f"%%gpu\nimport os, signal\n{around}\nif os.fork() == 0: os._exit(0)\nimport time; time.sleep(600)"
    )
    assert shown.error is not None
    assert shown.error["ename"] == "RemoteInterrupt"


def test_a_second_interrupt_kills_and_the_next_cell_does_not_wait(kernel: NotebookKernel):
    stubborn = (
        "%%gpu\nimport time\nsaid = []\nwhile True:\n    try:\n"
        "        said or said.append(print('on'))  # in the try, since the interrupt may come as soon as it is read\n"
        "        time.sleep(600)\n    except KeyboardInterrupt:\n        print('no')"
    )
    cell = kernel.start(stubborn)
    cell.until(lambda shown: "on" in shown.stream(), "the start")
    kernel.interrupt()
    cell.until(lambda shown: "no" in shown.stream(), "the first interrupt")
    kernel.interrupt()
    shown = cell.wait()
    assert not shown.ok
    after = kernel.run("%%gpu\nnext_one = 1")
    assert after.ok
    assert kernel.value("next_one") == "1"


def test_a_cell_that_ignores_the_interrupt_does_not_keep_the_kernel(kernel: NotebookKernel):
    cell = kernel.start(
        "%%gpu\nimport time, signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\nprint('on')\ntime.sleep(600)"
    )
    cell.until(lambda shown: "on" in shown.stream(), "the start")
    kernel.interrupt()
    shown = cell.wait()
    assert not shown.ok
    assert "The kernel is free" in shown.traceback
    assert kernel.run("%gpu cancel " + shown.traceback.split("%gpu cancel ")[1].split("`")[0]).ok


def test_two_kernels_run_at_once(new_kernel: Callable[..., NotebookKernel], tmp_path: Path):
    one, two = new_kernel("one.ipynb"), new_kernel("two.ipynb")
    meet = "import os, time\nopen({mine!r}, 'w').close()\n"
    meet += "while not os.path.exists({other!r}): time.sleep(0.01)\nmet = True"
    a, b = str(tmp_path / "a"), str(tmp_path / "b")
    first = one.start("%%gpu --tier bronze\n" + meet.format(mine=a, other=b))
    second = two.start("%%gpu --tier bronze\n" + meet.format(mine=b, other=a))
    assert first.wait().ok
    assert second.wait().ok
    assert one.value("met") == two.value("met") == "True"
