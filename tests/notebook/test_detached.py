"""A detached cell, or one whose kernel died, loses nothing: any later kernel of the notebook attaches to it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import psutil
from benchmarks.measuring import running

from tests.notebook.conftest import NotebookKernel

WAIT = "import os, time\nwhile not os.path.exists({gate!r}): time.sleep(0.01)\n"


def test_a_handle_follows_its_job_and_brings_the_result(new_kernel: Callable[..., NotebookKernel], tmp_path: Path):
    kernel = new_kernel("handle.ipynb")
    gate = tmp_path / "gate"
    assert kernel.run("base = 2").ok
    code = f"%%gpu --detach\n{WAIT.format(gate=str(gate))}print('done')\nbase = base * 10\nbase + 1"
    shown = kernel.run(code)
    assert shown.ok, shown.traceback
    assert "<dure job j-" in shown.lines[0]
    assert shown.contents("display_data")[0]["transient"]["display_id"].startswith("dure-")
    assert kernel.run("handle = _").ok
    assert kernel.value("handle.done()") == "False"
    assert "TimeoutError" in kernel.run("handle.wait(0.01)").traceback
    assert kernel.value("base") == "2"
    gate.touch()
    assert kernel.value("handle.result()") == "21"
    assert kernel.value("handle.result() + 1") == "22"
    assert kernel.value("base") == "20"
    assert kernel.value("handle.status(), handle.logs(), handle.done()") == "('succeeded', 'done\\n', True)"
    assert kernel.run("handle.cancel()").ok


def test_a_waiting_detached_job_can_be_cancelled(new_kernel: Callable[..., NotebookKernel], tmp_path: Path):
    kernel = new_kernel("cancelled.ipynb")
    assert kernel.run(f"%%gpu --detach\n{WAIT.format(gate=str(tmp_path / 'never'))}").ok
    assert kernel.run("handle = _\nhandle.cancel()").ok
    assert kernel.value("handle.wait()") == "'cancelled'"
    shown = kernel.run("handle.result()")
    assert not shown.ok
    assert "dure/notebook" not in shown.traceback


def test_a_fresh_kernel_attaches_to_what_was_detached(new_kernel: Callable[..., NotebookKernel], tmp_path: Path):
    first = new_kernel("detached.ipynb")
    gate = tmp_path / "gate"
    assert first.run("start = 5").ok
    assert first.run(f"%%gpu --detach\n{WAIT.format(gate=str(gate))}print('meanwhile')\ntotal = start + 1").ok
    first.kill()
    gate.touch()
    second = new_kernel("detached.ipynb")
    shown = second.run("%gpu attach")
    assert shown.ok, shown.traceback
    assert "meanwhile" in shown.stream()
    assert second.value("total") == "6"
    assert "no job to attach to" in second.run("%gpu attach").stream()


def test_a_kernel_that_dies_while_its_cell_runs_loses_nothing(
    new_kernel: Callable[..., NotebookKernel], tmp_path: Path
):
    first = new_kernel("died.ipynb")
    gate = tmp_path / "gate"
    cell = first.start(f"%%gpu\nprint('early')\n{WAIT.format(gate=str(gate))}print('late')\nresult = 'safe'\nresult")
    cell.until(lambda shown: "early" in shown.stream(), "the start")
    first.kill()
    second = new_kernel("died.ipynb")
    attached = second.start("%gpu attach")
    attached.until(lambda shown: "early" in shown.stream(), "the earlier output")
    gate.touch()
    shown = attached.wait()
    assert shown.ok, shown.traceback
    assert "late" in shown.stream()
    assert second.value("result") == "'safe'"


def test_a_killed_control_plane_loses_no_output_and_no_result(
    new_kernel: Callable[..., NotebookKernel], platform: running.Running, tmp_path: Path
):
    kernel = new_kernel("killed.ipynb")
    gate = tmp_path / "gate"
    cell = kernel.start(
        f"%%gpu\nprint('before')\n{WAIT.format(gate=str(gate))}print('during')\nquestion = input('still there? ')",
        "yes",
    )
    cell.until(lambda shown: "before" in shown.stream(), "the start")
    control = [p for p in psutil.Process(platform.pid).children() if "dure.main" in p.cmdline()]
    assert len(control) == 1
    control[0].kill()
    gate.touch()
    shown = cell.wait()
    assert shown.ok, shown.traceback
    assert shown.stream() == "before\nduring\n"
    assert kernel.value("question") == "'yes'"


def test_looking_can_be_interrupted_without_harm(new_kernel: Callable[..., NotebookKernel], tmp_path: Path):
    kernel = new_kernel("looking.ipynb")
    gate = tmp_path / "gate"
    assert kernel.run(f"%%gpu --detach\nprint('here', flush=True)\n{WAIT.format(gate=str(gate))}looked = 1").ok
    cell = kernel.start("%gpu attach")
    cell.until(lambda shown: "here" in shown.stream(), "the output")
    kernel.interrupt()
    assert "goes on" in cell.wait().traceback
    gate.touch()
    assert kernel.run("%gpu attach").ok
    assert kernel.value("looked") == "1"


def test_a_name_rebound_meanwhile_is_kept_unless_asked(new_kernel: Callable[..., NotebookKernel], tmp_path: Path):
    kernel = new_kernel("conflict.ipynb")
    gate = tmp_path / "gate"
    assert kernel.run("mine = 1\nuntouched = 1").ok
    assert kernel.run(f"%%gpu --detach\n{WAIT.format(gate=str(gate))}mine = 'job'\nuntouched = 'job'").ok
    assert kernel.run("mine = 'person'").ok
    gate.touch()
    shown = kernel.run("%gpu attach")
    assert shown.ok, shown.traceback
    assert "mine changed in the notebook" in shown.stream("stderr")
    assert kernel.value("mine, untouched") == "('person', 'job')"
    command = shown.stream("stderr").split("`%gpu ")[1].split("`")[0]
    assert kernel.run(f"%gpu {command}").ok
    assert kernel.value("mine") == "'job'"


def test_a_detached_cell_is_answered_for_names_that_it_misses(new_kernel: Callable[..., NotebookKernel]):
    kernel = new_kernel("missing.ipynb")
    assert kernel.run("rarely_read = 9").ok
    assert kernel.run("%%gpu --detach\nprint(eval('rarely' + '_read'))").ok
    shown = kernel.run("%gpu attach")
    assert shown.ok, shown.traceback
    assert "9" in shown.stream()


def test_a_detached_cell_that_failed_shows_its_traceback_on_attach(new_kernel: Callable[..., NotebookKernel]):
    kernel = new_kernel("failed.ipynb")
    assert kernel.run("%%gpu --detach\n[][1]").ok
    shown = kernel.run("%gpu attach")
    assert shown.error is not None
    assert shown.error["ename"] == "IndexError"
    assert "[][1]" in shown.traceback
