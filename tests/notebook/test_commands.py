"""`%gpu …` shows readable tables, and the magics complete and explain themselves, with or without a platform."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.notebook.conftest import NotebookKernel


def complete(kernel: NotebookKernel, code: str) -> list[str]:
    reply = kernel.client.complete(code, len(code), reply=True, timeout=30)
    return reply["content"]["matches"]


@pytest.mark.parametrize("command", ["", "status", "queue", "history", "why", "tiers"])
def test_every_table_is_html_with_a_text_fallback(kernel: NotebookKernel, command: str):
    assert kernel.run("%%gpu\npass").ok
    shown = kernel.run(f"%gpu {command}")
    assert shown.ok, shown.traceback
    data = shown.displays[0]["data"]
    assert "<table" in data["text/html"]
    assert "color" not in data["text/html"]
    assert data["text/plain"].strip()


def test_names_of_jobs_are_escaped(new_kernel: Callable[..., NotebookKernel]):
    kernel = new_kernel("<script>alert(1)</script>.ipynb")
    assert kernel.run("%%gpu\npass").ok
    html = kernel.run("%gpu history").displays[0]["data"]["text/html"]
    assert "<script" not in html
    assert "script&gt;.ipynb" in html


def test_tiers_show_prices_and_say_that_they_are_simulated(kernel: NotebookKernel):
    text = kernel.run("%gpu tiers").displays[0]["data"]["text/plain"]
    assert "cloud ₩4,000" in text
    assert "simulated" in text


def test_options_and_their_values_complete(kernel: NotebookKernel):
    assert "--tier" in complete(kernel, "%%gpu --ti")
    assert complete(kernel, "%%gpu --tier ") == ["bronze", "gold", "silver"] or set(
        complete(kernel, "%%gpu --tier ")
    ) == {"bronze", "silver", "gold"}
    assert complete(kernel, "%%gpu --env d") == ["default"]
    assert "history" in complete(kernel, "%gpu his")


def test_unknown_commands_and_jobs_are_one_sentence(kernel: NotebookKernel):
    assert "no command 'dance'" in kernel.run("%gpu dance").traceback
    assert "There is no job 'j-nothing'" in kernel.run("%gpu why j-nothing").traceback
    assert "There is no job 'j-nothing'" in kernel.run("%gpu attach j-nothing").traceback
    assert "Say which job" in kernel.run("%gpu cancel").traceback


def test_the_language_can_be_changed(new_kernel: Callable[..., NotebookKernel]):
    kernel = new_kernel("korean.ipynb", DURE_LANG="ko")
    shown = kernel.run("%%gpu\n1/0")
    assert "대기" in shown.lines[-1]
    assert "노트북의 변수는 바뀌지 않았습니다" in shown.lines[-1]
    assert "티어는 없습니다" in kernel.run("%%gpu --tier nope\n1").traceback
    assert kernel.run("%gpu lang en").stream().startswith("Language: English")
    assert "There is no tier" in kernel.run("%%gpu --tier nope\n1").traceback


def test_without_a_platform_it_loads_and_says_what_to_do(new_kernel: Callable[..., NotebookKernel]):
    kernel = new_kernel("alone.ipynb", DURE_URL="", DURE_TOKEN="")
    assert "dure login" in kernel.run("%%gpu\n1").traceback
    assert kernel.run("%gpu --help").ok
    assert "--tier" in complete(kernel, "%%gpu --ti")
    assert kernel.value("1 + 1") == "2"


def test_a_stale_login_is_told(new_kernel: Callable[..., NotebookKernel]):
    kernel = new_kernel("stale.ipynb", DURE_TOKEN="not-the-right-token-at-all")
    assert "dure login" in kernel.run("%%gpu\n1").traceback


def test_a_platform_that_is_gone_is_told(new_kernel: Callable[..., NotebookKernel]):
    kernel = new_kernel("gone.ipynb", DURE_URL="http://127.0.0.1:9")
    cell = kernel.start("%%gpu\n1")
    cell.until(lambda shown: any("does not answer" in line for line in shown.lines), "the outage")
    kernel.interrupt()
    shown = cell.wait()
    assert not shown.ok
    assert "before anything was queued" in shown.traceback
    assert shown.lines[-1] == "Not queued."


def test_the_extension_can_be_unloaded_and_loaded_again(new_kernel: Callable[..., NotebookKernel]):
    kernel = new_kernel("reload.ipynb")
    assert kernel.run("%unload_ext dure").ok
    assert not kernel.run("%gpu tiers").ok
    assert kernel.run("%load_ext dure\n%load_ext dure").ok
    assert kernel.run("%gpu tiers").ok


def test_a_plan_is_a_table_and_nothing_is_queued(kernel: NotebookKernel):
    shown = kernel.run("%%gpu --plan --tier gold --deadline 3h\nplanned = 1")
    assert shown.ok, shown.traceback
    data = shown.displays[0]["data"]
    assert "Nothing was submitted" in data["text/plain"]
    assert "<table" in data["text/html"]
    assert "gold" in data["text/plain"]
    assert "%" in data["text/plain"]
    assert kernel.value("'planned' in globals()") == "False"
