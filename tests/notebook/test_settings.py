"""What a notebook sets in its process is so in its `%%gpu` cells, and what a cell sets is so in the notebook."""

from __future__ import annotations

from collections.abc import Callable

from tests.notebook.conftest import NotebookKernel

SET = """
import decimal, sys, warnings
import numpy as np, pandas as pd, matplotlib.pyplot as plt
plt.style.use("ggplot")
plt.rcParams["lines.linewidth"] = 7
pd.set_option("display.max_rows", 9)
pd.set_option("display.float_format", lambda x: f"{x:.1f}!")
np.set_printoptions(precision=2)
np.seterr(all="raise")
warnings.filterwarnings("ignore", message="nothing to see")
decimal.getcontext().prec = 5
sys.path.append("lessons")
"""
SEEN = """(plt.rcParams["lines.linewidth"], plt.rcParams["axes.facecolor"], pd.get_option("display.max_rows"),
 repr(pd.Series([1.25])).split()[1], str(np.array([1.23456])), np.geterr()["over"],
 str(decimal.Decimal(1) / 3), any("nothing" in str(one[1]) for one in warnings.filters),
 __import__("of_lesson").ANSWER)"""
EXPECTED = "(7.0, '#E5E5E5', 9, '1.2!', '[1.23]', 'raise', '0.33333', True, 42)"


LESSON = """
import pathlib
pathlib.Path("lessons").mkdir(exist_ok=True)
pathlib.Path("lessons/of_lesson.py").write_text("ANSWER = 42")
"""


def test_what_the_notebook_sets_is_so_in_its_cells(new_kernel: Callable[..., NotebookKernel]):
    kernel = new_kernel("settings.ipynb")
    assert kernel.run(f"{LESSON}\n{SET}").ok
    shown = kernel.run(f"%%gpu\nimport of_lesson\nseen = {SEEN}")
    assert shown.ok, shown.traceback
    assert kernel.value("seen") == EXPECTED
    shown = kernel.run("%%gpu\nimport matplotlib, pandas\nlater = matplotlib.rcParams['lines.linewidth']")
    assert shown.ok, shown.traceback
    assert kernel.value("later") == "7.0"


def test_what_a_cell_sets_is_so_in_the_notebook_and_the_next_cells(new_kernel: Callable[..., NotebookKernel]):
    kernel = new_kernel("settings-back.ipynb")
    assert kernel.run(LESSON).ok
    shown = kernel.run(f"%%gpu\n{SET}")
    assert shown.ok, shown.traceback
    assert kernel.value(SEEN) == EXPECTED
    shown = kernel.run(f"%%gpu\nseen = {SEEN}")
    assert shown.ok, shown.traceback
    assert kernel.value("seen") == EXPECTED


def test_a_kept_process_follows_and_a_failed_cell_sets_nothing(new_kernel: Callable[..., NotebookKernel]):
    kernel = new_kernel("settings-kept.ipynb")
    rows = "pd.get_option('display.max_rows')"
    assert kernel.run("import pandas as pd\npd.set_option('display.max_rows', 9)").ok
    for code, expected in (
        (f"%%gpu --keep 1m\nseen = {rows}; pd.set_option('display.max_rows', 8)", "(9, 8)"),
        (f"pd.reset_option('display.max_rows'); seen = {rows}", "(60, 60)"),
        (f"%%gpu --keep 1m\nseen = {rows}", "(60, 60)"),
    ):
        shown = kernel.run(code)
        assert shown.ok, shown.traceback
        assert kernel.value(f"(seen, {rows})") == expected
    assert not kernel.run("%%gpu --keep 1m\npd.set_option('display.max_rows', 5); 1 / 0").ok
    assert kernel.value(rows) == "60"
    assert kernel.run(f"%%gpu --keep 1m\nseen = {rows}").ok
    assert kernel.value("seen") == "60"
    kernel.run("%gpu free")
