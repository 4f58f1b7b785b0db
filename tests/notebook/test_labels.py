"""Labels of pandas that a cell renames are renamed for all who have them in the notebook, whoever has them there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.notebook.conftest import NotebookKernel

CELL = "%%gpu --tier silver --no-burst\n"
KEEP = "%%gpu --tier silver --keep 10m --no-burst\n"
BEGIN = (
    "import pandas as pd\ns = pd.Series([1, 2]); i = s.index; d = pd.DataFrame({'a': [1, 2]}, index=i); c = d.columns"
)


@pytest.fixture
def freed(kernel: NotebookKernel) -> Iterator[None]:
    """However the test goes, the platform's only silver GPU is free after it."""
    yield
    kernel.run("%gpu free")


@pytest.mark.parametrize(
    ("cell", "name"),
    [
        ("s.index.name = 'x'\ns.iloc[0] = 9", "'x'"),
        ("s.index.name = 'x'\ns = s + 1", "'x'"),
        ("s.index.name = 'x'\ndel s", "'x'"),
        ("s.index.name = 'x'\ns = s.rename_axis('y')", "'x'"),
        ("s.index.name = 'x'\ns.iloc[0] = 9\ns.index.name = 'y'\nd.index.name", "'x'"),
        ("s.iloc[0] = 9\ns.index.name = 'x'", "None"),
    ],
)
def test_labels_from_which_a_column_parts_are_renamed_here(kernel: NotebookKernel, cell: str, name: str):
    assert kernel.run(BEGIN).ok
    assert kernel.run(CELL + cell).ok
    assert kernel.value("i.name, d.index is i, d.columns is c") == f"({name}, True, True)"


def test_labels_that_cannot_be_brought_are_told(kernel: NotebookKernel):
    assert kernel.run(BEGIN).ok
    shown = kernel.run(CELL + "s.index.name = 'x'\ns.index.note = (n for n in ())\ns.iloc[0] = 9")
    assert "are not renamed in this notebook; rename them here, too: a generator" in shown.stream("stderr")
    assert kernel.value("i.name, s.index.name") == "(None, 'x')"


def test_a_column_that_was_changed_here_meanwhile_keeps_its_labels_names(kernel: NotebookKernel, tmp_path: Path):
    gate = tmp_path / "gate"
    wait = f"import os, time\nwhile not os.path.exists({str(gate)!r}): time.sleep(0.01)\n"
    assert kernel.run(BEGIN).ok
    assert kernel.run("%%gpu --tier silver --no-burst --detach\n" + wait + "s.index.name = 'x'\ns.iloc[0] = 9").ok
    assert kernel.run("s.iloc[1] = 5").ok
    gate.touch()
    shown = kernel.run("%gpu attach")
    assert shown.ok, shown.traceback
    assert kernel.value("i.name, s.index.name, s.tolist()") == "(None, None, [1, 5])"


@pytest.mark.usefixtures("freed")
def test_a_kept_process_calls_labels_as_the_notebook_does_now(kernel: NotebookKernel):
    assert kernel.run(BEGIN).ok
    assert kernel.run(KEEP + "first = s.index.name").ok
    assert kernel.run("i.name = 'mine'").ok
    assert kernel.run(KEEP + "seen = s.index.name, d.index.name\ns.iloc[0] = 7").ok
    assert kernel.value("seen, i.name, s.index.name") == "(('mine', 'mine'), 'mine', 'mine')"
    assert kernel.run(CELL + "s.index.name = 'there'\nd.index.name = 'then'\nd.iloc[0, 0] = 5\ns.iloc[0] = 8").ok
    assert kernel.value("i.name") == "'then'"
