"""A workspace's notebooks through a real Hub: kill -9, and the end of a workspace by its owner or an administrator."""

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from playwright.sync_api import expect

from dure.main.tour.workspace import execute_request
from tests.browsers import needs_browser
from tests.e2e.hub_browser import Kernel, wait_for
from tests.e2e.real import new_page, up, write_platform

PICTURES = os.environ.get("DURE_PICTURES")


class Notebook(Kernel):
    """A notebook's kernel, started as JupyterLab starts it: through a session that names the notebook."""

    def __init__(self, browser, user, path):
        self.browser, self.user = browser, user
        base = f"/user/{user}/"
        browser.http.get(f"user/{user}/lab")
        self.headers = {"X-XSRFToken": browser.xsrf(base), "Referer": f"{browser.url}user/{user}/lab"}
        body = {"path": path, "name": path, "type": "notebook", "kernel": {"name": "python3"}}
        answer = browser.http.post(f"user/{user}/api/sessions", json=body, headers=self.headers)
        assert answer.status_code == 201, answer.text
        self.id = answer.json()["kernel"]["id"]
        self.connect()

    def shown(self, code):
        """Run a cell; return the texts that it displayed, one after another, with what it printed."""
        texts = []
        for kind, content in self.replies(code):
            if kind in {"display_data", "execute_result"}:
                texts.append(content["data"]["text/plain"])
            elif kind == "stream":
                texts.append(content["text"])
            elif kind == "error":
                texts.append(content["ename"])
        return "\n".join(texts)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    state_dir = tmp_path_factory.mktemp("sessions") / "state"
    write_platform(state_dir)
    with up(state_dir) as running:
        yield running


@pytest.fixture(scope="module")
def alice(whole):
    browser, client = whole.person("alice")
    browser.client = client
    browser.start_workspace("alice")
    yield browser
    client.close()
    browser.close()


def newest(browser, name):
    found = browser.client.sessions(name=name).sessions
    return found[0].newest if found else 0


def test_kill_nine_and_the_variables_are_back_in_the_first_cell(alice):
    notebook = Notebook(alice, "alice", "crash.ipynb")
    notebook.shown("import os\nfrozen = list(range(100_000))")
    pid = int(notebook.shown("number = 41\nos.getpid()"))
    wait_for(lambda: newest(alice, "crash.ipynb") >= 2, "the save of two cells")
    os.kill(pid, signal.SIGKILL)
    # The server starts the kernel of an open notebook again by itself.
    wait_for(lambda: restarted(notebook, pid), "a new kernel")
    line = notebook.shown("number + 1, len(frozen)")
    assert "Restored 3 variables of crash.ipynb" in line
    assert "(42, 100000)" in line
    notebook.close()


def test_a_killed_container_takes_no_finished_cell_unnamed(alice):
    """Kernel and server killed at once around a cell's end; DURE_KILLS rounds."""
    finished = 0
    for seed in range(int(os.environ.get("DURE_KILLS", "2"))):
        chance = random.Random(seed)
        notebook = Notebook(alice, "alice", "container.ipynb")
        line = notebook.shown("import os" if seed else "import os; steps = []")
        again = notebook.shown("%session rerun") if "`%session rerun`" in line else ""
        shown = notebook.shown("import json; print(json.dumps(steps))")
        assert "Error" not in shown, (seed, line, again, shown)
        steps = json.loads(shown.strip().splitlines()[-1])
        assert steps == list(range(len(steps))), (seed, line, again)
        assert finished <= len(steps) <= finished + 1, (seed, line, again)
        finished = len(steps)
        pids = [int(pid) for pid in re.findall(r"\d+", notebook.shown("os.getpid(), os.getppid()"))][-2:]
        for _ in range(chance.randint(0, 2)):
            notebook.shown(f"steps.append({finished})")
            finished += 1
        if chance.random() < 0.5:
            notebook.socket.send(execute_request(f"steps.append({finished})")[1])
        time.sleep(chance.choice([0, chance.uniform(0, 0.05), chance.uniform(0, 0.3)]))
        for pid in reversed(pids):
            os.kill(pid, signal.SIGKILL)
        notebook.close()
        alice.stop_workspace("alice")
        alice.start_workspace("alice")


def restarted(notebook, pid):
    state = notebook.browser.http.get(f"user/alice/api/kernels/{notebook.id}").json()
    if Path(f"/proc/{pid}").exists() or state.get("execution_state") not in {"idle", "starting"}:
        return False
    notebook.close()
    notebook.connect()
    return True


@pytest.mark.parametrize("who", ["owner", "administrator"])
def test_the_end_of_a_workspace_saves_the_very_last_cell(whole, alice, who):
    """A cull is the same request to the Hub; a drain is an administrator's."""
    notebook = Notebook(alice, "alice", f"{who}.ipynb")
    # Ended right after the cell, and saving it takes longer than kernels outlive their server: only the save before
    # the end can have it.
    slow = "import time\nclass Slow:\n    def __reduce__(self): time.sleep(4); return Slow, ()\nslow = Slow()"
    assert notebook.shown(f"{slow}; kept = {who!r} * 1000; len(kept)") == str(1000 * len(who))
    notebook.close()
    if who == "owner":
        alice.stop_workspace("alice")
    else:
        root, client = whole.person("root1")
        root.stop_workspace("alice")
        client.close()
        root.close()
    alice.start_workspace("alice")
    again = Notebook(alice, "alice", f"{who}.ipynb")
    line = again.shown("kept[:5]")
    assert f"Restored 4 variables of {who}.ipynb" in line
    assert repr(who[:5]) in line
    again.close()


def test_the_idle_culler_stops_a_workspace_and_reopening_restores(whole, alice):
    """The real `jupyterhub-idle-culler`, with the rights of an administrator's token."""
    notebook = Notebook(alice, "alice", "culled.ipynb")
    assert notebook.shown("kept = ['culled'] * 100_000; len(kept)").endswith("100000")
    notebook.close()
    root, client = whole.person("root1")
    client.close()
    command = [sys.executable, "-m", "jupyterhub_idle_culler", f"--url={whole.url}hub/api", "--timeout=2"]
    with subprocess.Popen(
        [*command, "--cull-every=1"],
        env={**os.environ, "JUPYTERHUB_API_TOKEN": root.token},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as culler:
        try:
            wait_for(lambda: not alice.server("alice"), "the cull of an idle workspace")
        finally:
            culler.terminate()
    root.close()
    alice.start_workspace("alice")
    again = Notebook(alice, "alice", "culled.ipynb")
    line = again.shown("len(kept), kept[0]")
    assert "Restored 1 variable of culled.ipynb" in line
    assert "(100000, 'culled')" in line
    again.close()


@needs_browser
@pytest.mark.browser
def test_stop_my_server_and_sign_out_in_the_browser_lose_nothing(whole, alice, chromium):
    notebook = Notebook(alice, "alice", "stopped.ipynb")
    assert notebook.shown("first = 'one' * 1000; len(first)").endswith("3000")
    page = new_page(chromium)
    page.goto(whole.link_for("alice"))
    page.wait_for_url(f"{whole.url}services/dure/**")
    page.goto(f"{whole.url}hub/home")
    page.locator("#stop").click()
    wait_for(lambda: not alice.server("alice"), "the end of the workspace")
    notebook.close()
    alice.start_workspace("alice")
    notebook = Notebook(alice, "alice", "stopped.ipynb")
    assert "Restored 1 variable of stopped.ipynb" in notebook.shown("second = first.upper(); second[:3]")
    page.goto(f"{whole.url}hub/logout")
    page.wait_for_load_state()
    refused = page.goto(f"{whole.url}user/alice/api/sessions")
    assert refused is not None
    assert refused.status != 200
    page.context.close()
    # Signing out in one browser ends no workspace: what runs there runs on, saved after each cell as ever.
    assert alice.server("alice")
    wait_for(lambda: newest(alice, "stopped.ipynb") >= 2, "the save of the last cell")
    pid = int(notebook.shown("import os; os.getpid()"))
    wait_for(lambda: newest(alice, "stopped.ipynb") >= 3, "the save of the last cell")
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: restarted(notebook, pid), "a new kernel")
    assert "'ONE'" in notebook.shown("second[:3]")
    notebook.close()


@needs_browser
@pytest.mark.browser
def test_in_jupyterlab_the_line_stands_in_the_first_cells_output(whole, alice, chromium):
    cells: list[dict[str, object]] = [
        {"cell_type": "code", "source": source, "metadata": {}, "outputs": [], "execution_count": None, "id": f"c{at}"}
        for at, source in enumerate(["answer = 42; rows = (row for row in 'ab')", "print('the answer is', answer)"])
    ]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    document = {"cells": cells, "metadata": kernel, "nbformat": 4, "nbformat_minor": 5}
    (whole.state_dir / "homes" / "alice" / "seen.ipynb").write_text(json.dumps(document))
    page = new_page(chromium, viewport={"width": 1200, "height": 760})
    page.goto(whole.link_for("alice"))
    page.wait_for_url(f"{whole.url}services/dure/**")
    opened(page, whole)
    page.locator(".jp-Notebook .jp-Cell .cm-content").first.click()
    page.keyboard.press("Shift+Enter")
    wait_for(lambda: newest(alice, "seen.ipynb") >= 1, "the first cell's save")
    base = "/user/alice/"
    headers = {"X-XSRFToken": alice.xsrf(base), "Referer": f"{alice.url}user/alice/lab"}
    found = alice.http.get("user/alice/api/sessions").json()
    ended = next(each for each in found if each["path"] == "seen.ipynb")
    assert alice.http.delete(f"user/alice/api/sessions/{ended['id']}", headers=headers).status_code == 204
    opened(page, whole)
    page.locator(".jp-Notebook .jp-Cell .cm-content").nth(1).click()
    page.keyboard.press("Shift+Enter")
    outputs = page.locator(".jp-OutputArea-output")
    expect(outputs.filter(has_text="Restored 1 variable of seen.ipynb")).to_be_visible()
    expect(outputs.filter(has_text="rows (cell 1: a generator")).to_be_visible()
    expect(outputs.filter(has_text="the answer is 42")).to_be_visible()
    if PICTURES:
        page.screenshot(path=Path(PICTURES) / "session.png")
    page.context.close()


def opened(page, whole):
    page.goto(f"{whole.url}user/alice/lab/tree/seen.ipynb?reset")
    expect(page.locator("#jp-main-statusbar")).to_contain_text("Idle")


def test_a_session_follows_its_notebook_that_is_renamed_in_jupyterlab(alice):
    """As JupyterLab does it: the file first, then the running notebook. A new notebook of the old name begins empty."""
    untitled = Notebook(alice, "alice", "Untitled.ipynb")
    file = alice.http.put(
        "user/alice/api/contents/Untitled.ipynb",
        json={"type": "notebook", "content": {"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}},
        headers=untitled.headers,
    )
    assert file.status_code in {200, 201}, file.text
    untitled.shown("kept = 41")
    wait_for(lambda: newest(alice, "Untitled.ipynb") >= 1, "the save")
    named = {"path": "model.ipynb"}
    answer = alice.http.patch("user/alice/api/contents/Untitled.ipynb", json=named, headers=untitled.headers)
    assert answer.status_code == 200, answer.text
    wait_for(lambda: newest(alice, "model.ipynb") >= 1, "the session to follow")
    untitled.shown("more = 1")
    wait_for(lambda: newest(alice, "model.ipynb") >= 2, "the save under the new name")
    untitled.close()
    model = Notebook(alice, "alice", "model.ipynb")
    assert "Restored 2 variables of model.ipynb" in model.shown("kept, more")
    assert alice.http.delete("user/alice/api/contents/model.ipynb", headers=model.headers).status_code == 204
    wait_for(lambda: newest(alice, "model.ipynb (deleted)") >= 1, "the session to make way")
    model.close()


def test_another_notebook_begins_empty(alice):
    notebook = Notebook(alice, "alice", "empty.ipynb")
    assert notebook.shown("1 + 1") == "2"
    assert notebook.shown("number") == "NameError"
    notebook.close()
