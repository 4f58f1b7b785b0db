"""When a session is saved: cells that follow at once, during an earlier save, before one that may take long."""

import os
import signal

import pytest

from dure.notebook.sessions.saving import may_take_long
from tests.api.plane import until
from tests.notebook.desk import Desk, desk, pid_of, plane, server, settled

__all__ = ["desk", "plane", "server"]


def test_an_array_that_changes_while_it_is_written_is_saved_as_it_was_after_its_cell(desk):
    kernel = desk.open()
    kernel.run("import numpy as np\nbig = np.zeros(30_000_000, dtype=np.uint8)\nnumber = 0")
    for number in range(1, 6):
        kernel.run(f"big[:] = {number}; number = {number}")
    desk.crash(kernel)
    again = desk.open()
    assert again.value("bool((big == number).all()), number") == "(True, 5)"


SLOW_STORE = """
import time
from dure.notebook.sessions import saving
from dure.state.store import blobs
saving.SPARE_S = saving.SPARE_SHARE = 1000.0  # however busy this machine is
put = blobs.FolderBlobs.put
def slow_put(*given, **options):
    time.sleep(0.3)
    return put(*given, **options)
blobs.FolderBlobs.put = slow_put
"""


def newest_cell(desk: Desk) -> int:
    """The number of the last cell that the platform knows to be saved."""
    found = desk.plane.store.sessions.find(desk.who, "vision", "train.ipynb")
    assert found is not None
    return max(version.cell for version in desk.plane.store.sessions.versions([found.id]))


def test_small_cells_that_end_during_a_save_are_saved_before_the_long_one_behind_them(desk):
    kernel = desk.open()
    kernel.run("first = 1")
    settled(desk)
    kernel.run(SLOW_STORE)
    settled(desk)
    before = newest_cell(desk)
    for code in ("second = 2", "third = 3", "fourth = 4", "import time; time.sleep(1000)"):
        kernel.client.execute(code)
    until(lambda: newest_cell(desk) == before + 3)
    os.kill(pid_of(kernel), signal.SIGKILL)
    again = desk.open()
    assert again.value("first, second, third, fourth") == "(1, 2, 3, 4)"


def test_however_many_small_cells_come_at_once_they_are_saved_before_one_that_may_take_long(desk):
    kernel = desk.open()
    kernel.run("first = 1")
    settled(desk)
    before = newest_cell(desk)
    for code in (*(f"v{number} = [{number}]; v{number}[0] += 1" for number in range(40)), "while True: pass"):
        kernel.client.execute(code)
    until(lambda: newest_cell(desk) == before + 40)
    os.kill(pid_of(kernel), signal.SIGKILL)
    again = desk.open()
    assert (
        again.value("first, [globals()[f'v{number}'][0] for number in range(40)] == list(range(1, 41))") == "(1, True)"
    )


@pytest.mark.parametrize(
    ("code", "long"),
    [
        ("a = 1\nb[:3] = a * 2\nprint(len(b), type(a))", False),
        ("def f(n):\n    while True: g(n)\nk = lambda: g(1)", False),
        ("class A:\n    def f(self): return g()", False),
        ("def f(n=g()): pass", True),
        ("@g\ndef f(): pass", True),
        ("class A:\n    x = g()", True),
        ("for x in y: pass", True),
        ("[x for x in y]", True),
        ("print(g())", True),
        ("a @ b", True),
        ("import torch", True),
        ("%run train.py", True),
    ],
)
def test_what_calls_or_loops_may_take_long(code, long):
    assert may_take_long(code) is long
