"""What the environment lacks is told before a cell is queued, and can be installed for one person."""

from __future__ import annotations

import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from benchmarks.measuring import running

from dure.adapters.platform_template import initial_text
from dure.notebook.fitting import _imports
from dure.state.identity import installed_modules
from tests.api.plane import until
from tests.notebook.conftest import NotebookKernel


@pytest.mark.parametrize(
    ("code", "names"),
    [
        ("import a.b as c, d\nfrom e.f import g", {"a", "d", "e"}),
        ("try:\n    import maybe\nexcept ImportError: pass", set()),
        ("def f():\n    import later", set()),
        ("from . import beside", set()),
        ("not python (", set()),
    ],
)
def test_what_a_cell_imports_for_certain(code: str, names: set[str]):
    assert _imports(code) == names


def test_packages_without_init_and_editable_ones_with_a_finder_can_be_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "shared_space" / "part").mkdir(parents=True)
    (tmp_path / "not-a-name").mkdir()
    info = tmp_path / "our_tools-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: our-tools\nVersion: 1.0\n")
    (info / "top_level.txt").write_text("our_tools\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    modules = installed_modules()
    assert {"shared_space", "our_tools", "mpl_toolkits", "numpy"} <= set(modules)
    assert not {"not-a-name", "json"} & set(modules)


def wheel(folder: Path) -> Path:
    path = folder / "tiny_helper-1.0-py3-none-any.whl"
    info = "tiny_helper-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as packed:
        packed.writestr("tiny_helper.py", "ANSWER = 42\n")
        packed.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: tiny-helper\nVersion: 1.0\n")
        packed.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        packed.writestr(f"{info}/RECORD", f"tiny_helper.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n")
    return path


def test_a_missing_module_is_told_before_queueing_and_installed_for_the_person(
    new_kernel: Callable[..., NotebookKernel], tmp_path: Path
):
    kernel = new_kernel("fitting.ipynb")
    jobs = "import dure.notebook.context as s\nlen(s.client().jobs(limit=500).jobs)"
    before = kernel.value(jobs)
    told = "[bool(one.modules) for one in s.client().environments() if one.name == 'default']"
    until(lambda: kernel.value(told) == "[True]")  # its fork server says it as it starts
    shown = kernel.run("%%gpu\nimport tiny_helper\ntiny_helper.ANSWER")
    assert "needs tiny_helper, which environment 'default' does not have" in shown.traceback
    assert "%gpu install tiny_helper" in shown.traceback
    assert kernel.value(jobs) == before
    shown = kernel.run(f"%gpu install {wheel(tmp_path)}")
    assert shown.ok, shown.traceback + shown.stream() + shown.stream("stderr")
    shown = kernel.run("%%gpu\nimport tiny_helper\ntiny_helper.ANSWER")
    assert shown.ok, shown.traceback
    assert shown.result == "42"
    assert "modules" not in shown.stream()
    shown = kernel.run("%gpu install /nowhere/no-such-package-here.whl")
    assert "no-such-package-here" in shown.traceback
    assert "failed" in shown.lines[-1]


def test_what_is_installed_in_the_notebook_is_in_its_environment_with_the_next_cell(tmp_path: Path):
    installed = tmp_path / "installed"
    installed.mkdir()
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nPYTHONPATH={installed} exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    text = initial_text([], "me", str(python))
    with running.platform(tmp_path / "platform", text) as platform:
        environment = {**platform.environment(tmp_path), "PYTHONPATH": str(installed)}
        kernel = NotebookKernel(environment, tmp_path, str(tmp_path / "story.ipynb"))
        try:
            told = "[bool(one.modules) for one in s.client().environments()]"
            assert kernel.run("import dure.notebook.context as s").ok
            until(lambda: kernel.value(told) == "[True]")
            assert "needs just_come, which environment" in kernel.run("%%gpu\nimport just_come").traceback
            (installed / "just_come.py").write_text("VALUE = 3\n")
            shown = kernel.run("%%gpu\nimport just_come\njust_come.VALUE")
            assert shown.result == "3", shown.traceback
            assert "needs never_come, which environment" in kernel.run("%%gpu\nimport never_come").traceback
        finally:
            kernel.kill()


def test_modules_beside_the_notebook_and_those_that_the_cell_brings_are_let_pass(kernel: NotebookKernel, home: Path):
    (home / "beside_here.py").write_text("VALUE = 3\n")
    shown = kernel.run("%%gpu\nimport beside_here\nbeside_here.VALUE")
    assert shown.result == "3", shown.traceback
    code = "%%gpu\ntry:\n    import not_there_at_all\nexcept ImportError:\n    found = False"
    assert kernel.run(code).ok
