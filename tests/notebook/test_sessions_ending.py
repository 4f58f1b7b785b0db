"""The last save before a kernel ends: by a request, by SIGTERM, in the midst of a save or of a cell."""

import os
import signal
import time

import pytest

from tests.api.plane import until
from tests.notebook.desk import SLOW, another_desk, desk, pid_of, plane, server, settled, told

__all__ = ["another_desk", "desk", "plane", "server"]


@pytest.mark.parametrize("how", ["SIGTERM", "shutdown"])
def test_the_last_cell_is_saved_before_a_kernel_ends(desk, how):
    kernel = desk.open()
    kernel.run("x = list(range(200_000))")
    if how == "SIGTERM":
        os.kill(pid_of(kernel), signal.SIGTERM)
        until(lambda: not kernel.manager.is_alive())
    else:
        kernel.manager.shutdown_kernel()
    again = desk.open()
    assert again.value("len(x)") == "200000"


def test_what_a_thread_changed_after_the_last_cell_is_saved_at_the_end_and_nothing_where_nothing_changed(desk):
    kernel = desk.open()
    assert kernel.run("import threading, time\ngo = threading.Event; seen = []").ok
    assert kernel.run("threading.Timer(1.5, lambda: seen.append('late')).start()").ok
    number = settled(desk)
    time.sleep(2.5)
    kernel.manager.shutdown_kernel()
    assert desk.saved() == number + 1
    again = desk.open()
    assert again.value("seen") == "['late']"
    number = settled(desk)
    again.manager.shutdown_kernel()
    assert desk.saved() == number


def test_a_kernel_that_ends_before_its_session_is_opened_saves_all_the_same(desk):
    kernel = desk.open(before=SLOW.replace("sleep(2)", "sleep(6)"))
    kernel.run("x = 41")
    assert desk.saved() == 0
    os.kill(pid_of(kernel), signal.SIGTERM)
    until(lambda: not kernel.manager.is_alive(), 30.0)
    again = desk.open()
    assert again.run("x").result == "41", told(again.loaded)


def test_sigterm_in_the_midst_of_a_save_lets_it_end(desk):
    kernel = desk.open()
    kernel.run(
        "import os, signal\n"
        "class Ends:\n"
        "    def __reduce__(self):\n"
        "        if os.getpid() == first:\n"
        "            os.kill(first, signal.SIGTERM)\n"
        "        return Ends, ()\n"
        "first, last, x = os.getpid(), Ends(), 41"
    )
    until(lambda: not kernel.manager.is_alive())
    again = desk.open()
    assert again.run("x").result == "41", told(again.loaded)


def test_a_large_namespace_that_was_never_saved_is_saved_within_the_grace_of_sigterm(desk):
    kernel = desk.open()
    kernel.run("import numpy as np")
    total = kernel.value(
        "big = np.random.default_rng(1).random(50_000_000); table = {i: [i] for i in range(50_000)}; big.sum()"
    )
    os.kill(pid_of(kernel), signal.SIGTERM)
    until(lambda: not kernel.manager.is_alive())
    again = desk.open()
    assert "as of" in told(again.loaded)
    assert again.value("big.sum()") == total, told(again.loaded)
    assert again.value("len(table), table[49_999]") == "(50000, [49999])"


def test_a_cell_that_is_under_way_at_the_end_leaves_no_half_changed_state(desk):
    kernel = desk.open()
    kernel.run("x = [1]")
    settled(desk)
    half = kernel.start("x.append(2)\nprint('half', flush=True)\nimport time\ntime.sleep(600)\nx.append(3)")
    half.until(lambda shown: "half" in shown.stream(), "the first half")
    os.kill(pid_of(kernel), signal.SIGTERM)
    until(lambda: not kernel.manager.is_alive())
    assert desk.open().value("x") == "[1]"
