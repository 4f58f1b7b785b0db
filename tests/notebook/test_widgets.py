"""Widgets of a remote cell live in the notebook: shown, moved by the cell, and heard by it while it runs."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.notebook.conftest import DEADLINE_S, NotebookKernel, Running, Shown

VIEW = "application/vnd.jupyter.widget-view+json"


def models(shown: Shown) -> dict[str, dict[str, Any]]:
    """The last state of every widget, as the browser has it."""
    states: dict[str, dict[str, Any]] = {}
    for content in shown.contents("comm_open", "comm_msg"):
        states.setdefault(content["comm_id"], {}).update(content["data"].get("state") or {})
    return states


def by_model(shown: Shown, name: str) -> tuple[str, dict[str, Any]]:
    return next((key, state) for key, state in models(shown).items() if state.get("_model_name") == name)


def subshell(kernel: NotebookKernel) -> str:
    """A subshell, as JupyterLab makes one for the messages of widgets."""
    client = kernel.client
    client.control_channel.send(client.session.msg("create_subshell_request", {}))
    found: str = client.get_control_msg(timeout=DEADLINE_S)["content"]["subshell_id"]
    return found


def say(kernel: NotebookKernel, through: str, comm_id: str, data: dict[str, Any]) -> None:
    message = kernel.client.session.msg("comm_msg", {"comm_id": comm_id, "data": data})
    message["header"]["subshell_id"] = through
    kernel.client.shell_channel.send(message)


def test_a_progress_bar_of_tqdm_moves_and_ends_full(kernel: NotebookKernel):
    shown = kernel.run(
        "%%gpu\nimport time\nfrom tqdm.notebook import tqdm\nfor _ in tqdm(range(300)): time.sleep(0.001)"
    )
    assert shown.ok, shown.traceback
    assert any(VIEW in content["data"] for content in shown.displays)
    _, bar = by_model(shown, "FloatProgressModel")
    assert (bar["value"], bar["max"], bar["bar_style"]) == (300, 300, "success")
    assert len(shown.contents("comm_msg")) < 300


def test_what_chooses_the_progress_bar_by_itself_chooses_the_one_of_notebooks(kernel: NotebookKernel):
    shown = kernel.run("%%gpu\nfrom tqdm.auto import tqdm\nfor _ in tqdm(range(30)): pass")
    assert shown.ok, shown.traceback
    _, bar = by_model(shown, "FloatProgressModel")
    assert (bar["value"], bar["max"]) == (30, 30)
    theirs = "from ipykernel.zmqshell import ZMQDisplayPublisher\nZMQDisplayPublisher.__module__"
    assert kernel.run(f"%%gpu\n{theirs}").result == "'ipykernel.zmqshell'"


def test_the_browser_moves_a_slider_and_the_running_cell_hears_it(kernel: NotebookKernel):
    through = subshell(kernel)
    cell = kernel.start(
        "%%gpu\nimport time, ipywidgets as w\nfrom IPython.display import display\n"
        "slider, label = w.IntSlider(value=1), w.Label('quiet')\n"
        "slider.observe(lambda c: setattr(label, 'value', f'heard {c.new}'), 'value')\n"
        "display(slider, label)\nprint('ready')\n"
        "while slider.value < 42: time.sleep(0.01)\nprint('moved', slider.value)\n"
        "last = slider.value\ndel slider, label"
    )
    cell.until(lambda shown: "ready" in shown.stream(), "the slider")
    comm_id, state = by_model(cell.shown, "IntSliderModel")
    assert state["value"] == 1
    for value in (7, 42):
        say(kernel, through, comm_id, {"method": "update", "state": {"value": value}, "buffer_paths": []})
    shown = cell.wait()
    assert shown.ok, shown.traceback
    assert "moved 42" in shown.stream()
    assert kernel.value("last") == "42"


def test_after_the_cell_a_page_that_is_loaded_again_gets_the_last_state(kernel: NotebookKernel):
    shown = kernel.run(
        "%%gpu\nimport ipywidgets as w\nbar = w.IntProgress(value=3)\ndisplay(bar)\nbar.value = 9\ndel bar"
    )
    assert shown.ok, shown.traceback
    comm_id, _ = by_model(shown, "IntProgressModel")
    client = kernel.client
    asked = client.session.msg("comm_msg", {"comm_id": comm_id, "data": {"method": "request_state"}})
    client.shell_channel.send(asked)
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        message = client.get_iopub_msg(timeout=DEADLINE_S)
        if message["msg_type"] == "comm_msg" and message["content"]["comm_id"] == comm_id:
            assert message["content"]["data"]["state"]["value"] == 9
            return
    raise AssertionError("no answer")


def test_a_page_that_asks_for_all_widgets_at_once_is_made_to_ask_each_also_after_the_notebook_has_ipywidgets(
    kernel: NotebookKernel,
):
    """Found in JupyterLab: the name `w` comes back with the cell, and ipywidgets then answered without ours."""
    shown = kernel.run("%%gpu\nimport ipywidgets as w\ndisplay(w.IntProgress(value=3))")
    assert shown.ok, shown.traceback
    comm_id, _ = by_model(shown, "IntProgressModel")
    assert kernel.value("w.__name__") == "'ipywidgets'"
    client = kernel.client
    opening = {"comm_id": "asks-for-all", "target_name": "jupyter.widget.control", "data": {}}
    client.shell_channel.send(client.session.msg("comm_open", opening))
    deadline = time.monotonic() + DEADLINE_S
    while (message := client.get_iopub_msg(timeout=DEADLINE_S))["msg_type"] != "comm_close":
        assert time.monotonic() < deadline
    assert message["content"]["comm_id"] == "asks-for-all"
    client.shell_channel.send(client.session.msg("comm_info_request", {"target_name": "jupyter.widget"}))
    while (reply := client.get_shell_msg(timeout=DEADLINE_S))["msg_type"] != "comm_info_reply":
        assert time.monotonic() < deadline
    assert comm_id in reply["content"]["comms"]


def test_an_output_widget_captures_what_its_cell_prints(kernel: NotebookKernel):
    running: Running = kernel.start(
        "%%gpu\nimport ipywidgets as w\nout = w.Output()\ndisplay(out)\nprint('outside')\n"
        "with out:\n    print('inside')\nprint('after')\ndel out"
    )
    shown = running.wait()
    assert shown.ok, shown.traceback
    comm_id, _ = by_model(shown, "OutputModel")
    told = [
        content["text"].strip() if kind == "stream" else content["data"]["state"]["msg_id"]
        for kind, content in shown.messages
        if (kind == "stream" and content["name"] == "stdout")
        or (kind == "comm_msg" and content["comm_id"] == comm_id and "msg_id" in content["data"].get("state", {}))
    ]
    outside, marked, inside, unmarked, after = told
    assert (outside, inside, unmarked, after) == ("outside", "inside", "", "after")
    assert marked == running._id


def test_a_widget_that_stays_behind_is_named_and_the_rest_comes(kernel: NotebookKernel):
    shown = kernel.run("%%gpu\nimport ipywidgets as w\nslider = w.IntSlider()\nnumber = 5")
    assert shown.ok, shown.traceback
    assert "slider stayed behind on the worker" in shown.stream("stderr")
    assert "a widget's line to the browser: run the cell" in shown.stream("stderr")
    assert "RemoteComm" not in shown.stream("stderr")
    assert kernel.value("number") == "5"


def test_five_hundred_updates_a_second_and_a_million_lines_end_in_the_last_state(kernel: NotebookKernel):
    shown = kernel.run(
        "%%gpu\nimport time\nfrom IPython.display import clear_output, display\n"
        "handle = display('first', display_id=True)\n"
        "for i in range(500):\n    handle.update(f'state {i}')\n    time.sleep(0.002)\ndel handle, i"
    )
    assert shown.ok, shown.traceback
    texts = [content["data"]["text/plain"] for content in shown.displays]
    assert texts[-1] == "'state 499'"
    assert len(texts) < 250
    shown = kernel.run("%%gpu\nfor i in range(1_000_000): print(i)\ndel i")
    assert shown.stream().split() == [str(number) for number in range(1_000_000)]


def test_a_bar_at_a_thousand_states_a_second(kernel: NotebookKernel):
    shown = kernel.run(
        "%%gpu\nimport time\nfrom tqdm import tqdm\n"
        "for _ in tqdm(range(2000), mininterval=0, miniters=1): time.sleep(0.0005)"
    )
    assert shown.ok, shown.traceback
    assert "2000/2000" in shown.stream("stderr")
    assert len(shown.stream("stderr")) < 2000 * 40


def test_what_the_last_cell_said_is_shown_again_to_who_comes_back_and_changes_nothing(kernel: NotebookKernel):
    """A page that was closed while the cell ran has lost its output: the kernel cannot tell whether anyone looked."""
    assert kernel.run("%%gpu\nx = 1\nprint('while you were away')\nx + 1").ok
    assert kernel.run("x = 'mine'").ok
    again = kernel.run("%gpu attach")
    assert again.ok, again.traceback
    assert "while you were away" in again.stream()
    assert "have been brought" in again.stream()
    assert again.result == "2"
    assert kernel.value("x") == "'mine'"


def test_what_was_said_while_nobody_watched_is_shown_once_and_in_order(
    new_kernel: Callable[..., NotebookKernel], tmp_path: Path
):
    first = new_kernel("unwatched.ipynb")
    gate = tmp_path / "gate"
    cell = first.start(
        "%%gpu\nimport os, time\nprint('begun')\n"
        f"while not os.path.exists({str(gate)!r}): time.sleep(0.01)\n"
        "for i in range(50):\n    print('line', i)\n    display(i)\nanswer = 42"
    )
    cell.until(lambda shown: "begun" in shown.stream(), "the beginning")
    first.kill()
    gate.touch()
    second = new_kernel("unwatched.ipynb")
    shown = second.run("%gpu attach")
    assert shown.ok, shown.traceback
    assert shown.stream().split("\n")[:-1] == ["begun", *(f"line {number}" for number in range(50))]
    assert [content["data"]["text/plain"] for content in shown.displays] == [str(number) for number in range(50)]
    assert second.value("answer") == "42"
    assert "no job to attach to" in second.run("%gpu attach").stream()
