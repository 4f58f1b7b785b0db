"""A cell's random numbers are those of the notebook: the generators' states go along and come back."""

from __future__ import annotations

from collections.abc import Callable

from tests.notebook.conftest import NotebookKernel

SEED = "import random, numpy as np\nrandom.seed(7)\nnp.random.seed(7)"
DRAW = "drawn.append((random.random(), float(np.random.rand())))"


def test_a_seed_holds_through_cells_here_and_on_a_gpu(new_kernel: Callable[..., NotebookKernel]):
    kernel = new_kernel("random.ipynb")
    assert kernel.run(f"{SEED}\ndrawn = []\nfor _ in range(5): {DRAW}\nexpected, drawn = drawn, []").ok
    for where in ("", "%%gpu\n", "%%gpu\n", "", "%%gpu\n"):
        seed = SEED if not where and kernel.value("len(drawn)") == "0" else ""
        shown = kernel.run(f"{where}{seed}\n{DRAW}")
        assert shown.ok, shown.traceback
    assert kernel.value("drawn == expected") == "True"


def test_a_seed_set_on_a_gpu_holds_here_and_in_a_kept_process(new_kernel: Callable[..., NotebookKernel]):
    kernel = new_kernel("random-kept.ipynb")
    assert kernel.run(f"{SEED}\ndrawn = []\nfor _ in range(4): {DRAW}\nexpected, drawn = drawn, []").ok
    for code in (f"%%gpu --keep 1m\n{SEED}\n{DRAW}", DRAW, f"%%gpu --keep 1m\n{DRAW}", DRAW):
        shown = kernel.run(code)
        assert shown.ok, shown.traceback
    kernel.run("%gpu free")
    assert kernel.value("drawn == expected") == "True"


def test_a_number_and_a_seed_come_back_from_a_cell_that_names_nothing(new_kernel: Callable[..., NotebookKernel]):
    kernel = new_kernel("random-number.ipynb")
    assert kernel.run("import random").ok
    shown = kernel.run("%%gpu\nimport random; random.seed(3)\nFalse")
    assert shown.ok, shown.traceback
    assert kernel.value("(_, random.random() == random.Random(3).random())") == "(False, True)"
    shown = kernel.run("%%gpu\n2.5")
    assert shown.ok, shown.traceback
    assert kernel.value("_") == "2.5"


def test_what_a_thread_draws_while_a_cell_is_elsewhere_is_drawn_once(new_kernel: Callable[..., NotebookKernel]):
    kernel = new_kernel("random-thread.ipynb")
    drawing = "while goes:\n        drawn.append(random.random())\n        time.sleep(0.01)"
    assert kernel.run(f"import random, threading, time\ndef draw():\n    {drawing}").ok
    assert kernel.run("drawn, goes = [], True\nthread = threading.Thread(target=draw)\nthread.start()").ok
    for _ in range(3):
        shown = kernel.run("%%gpu\nimport time; time.sleep(0.3)\ny = 1")
        assert shown.ok, shown.traceback
    kernel.run("goes = False\nthread.join()")
    assert kernel.value("len(drawn) > 20 and len(set(drawn)) == len(drawn)") == "True"
