"""The platform as people meet it: `dure up`, a link in a browser, a `%%gpu` cell, an edited file, kills, the end."""

import json
import os
import signal
from pathlib import Path

import httpx
import psutil
import pytest
from playwright.sync_api import expect

from dure.adapters import processes
from dure.wire.messages import JobRequest
from tests.browsers import needs_browser
from tests.e2e.hub_browser import HubBrowser, wait_for
from tests.e2e.real import END_S, Up, dure, new_page, up, write_platform

# With it set, the picture of the README is taken anew.
PICTURES = os.environ.get("DURE_PICTURES")

DATA = """\
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X / 16, y, random_state=0)"""
TRAIN = """\
%%gpu --tier bronze
from sklearn.neural_network import MLPClassifier

model = MLPClassifier((64,), random_state=0)
for epoch in range(1, 41):
    model.partial_fit(X_train, y_train, classes=np.unique(y))
accuracy = model.score(X_test, y_test)
print(f"{len(X_train)} images learned, accuracy {accuracy:.3f}")"""
USE = 'print("the answer is", 6 * 7, "and the model is a", type(model).__name__)'
GOLD = "%%gpu --tier gold --gpus 1\nmodel.fit(X_train, y_train).score(X_test, y_test)"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    state_dir = tmp_path_factory.mktemp("whole") / "state"
    write_platform(state_dir)
    with up(state_dir) as running:
        yield running


@pytest.fixture(scope="module")
def alice(whole):
    browser, client = whole.person("alice")
    yield client
    client.close()
    browser.close()


@pytest.fixture(scope="module")
def bob(whole):
    browser, client = whole.person("bob")
    yield client
    client.close()
    browser.close()


@pytest.fixture(scope="module")
def root1(whole):
    browser, client = whole.person("root1", "--admin")
    yield client
    client.close()
    browser.close()


@pytest.fixture(scope="module")
def page(whole, chromium):
    page = new_page(chromium, viewport={"width": 1200, "height": 760})
    page.goto(whole.link_for("alice"))
    page.wait_for_url(f"{whole.url}services/dure/**")
    yield page
    page.context.close()


def sleep(seconds, **options):
    return JobRequest(kind="command", name="sleep", payload={"argv": ["sleep", str(seconds)]}, **options)


def notebook(*sources):
    cells = [
        {"cell_type": "code", "source": source, "metadata": {}, "outputs": [], "execution_count": None, "id": f"c{n}"}
        for n, source in enumerate(sources)
    ]
    return {"cells": cells, "metadata": {"kernelspec": {"name": "python3", "display_name": "Python 3"}},
            "nbformat": 4, "nbformat_minor": 5}  # fmt: skip


def ended(client, job_id):
    return wait_for(
        lambda: (job := client.job(job_id)).phase in {"succeeded", "failed", "cancelled"} and job, "the end"
    )


@needs_browser
@pytest.mark.browser
def test_the_link_ends_in_a_portal_that_knows_the_name(whole, page):
    expect(page.get_by_role("banner")).to_contain_text("alice")
    expect(page.locator("main")).to_contain_text("node-1")


@needs_browser
@pytest.mark.browser
def test_my_notebook_runs_a_gpu_cell_with_no_set_up(whole, page, bob):
    holder = bob.submit(sleep(600, tier="gold"))
    page.get_by_role("link", name="My notebook", exact=True).click()
    page.wait_for_url(f"{whole.url}user/alice/lab**")
    home = whole.state_dir / "homes" / "alice"
    (home / "digits.ipynb").write_text(json.dumps(notebook(DATA, TRAIN, USE, GOLD)))
    page.goto(f"{whole.url}user/alice/lab/tree/digits.ipynb?reset")
    expect(page.locator("#jp-main-statusbar")).to_contain_text("Idle")
    page.locator(".jp-Notebook .jp-Cell .cm-content").first.click()
    for _ in range(4):
        page.keyboard.press("Shift+Enter")
    outputs = page.locator(".jp-OutputArea-output")
    expect(outputs.filter(has_text="images learned, accuracy 0.9")).to_be_visible()
    expect(outputs.filter(has_text="the answer is 42 and the model is a MLPClassifier")).to_be_visible()
    expect(outputs.filter(has_text="GPU freed").first).to_be_visible()
    waiting = outputs.filter(has_text="1st in line for gold: the only GPU of gold is in use by bob's")
    expect(waiting).to_be_visible()
    if PICTURES:
        take_picture(page, Path(PICTURES))
    bob.cancel(holder.id)
    expect(outputs.filter(has_text="GPU freed")).to_have_count(2)


def take_picture(page, folder):
    page.keyboard.press("Control+b")  # more room for the notebook
    page.locator(".jp-Notebook").evaluate("area => area.scrollTo(0, 0)")
    page.wait_for_timeout(500)
    page.screenshot(path=folder / "gpu-cell.png")


def test_who_runs_the_platform_is_told_where_to_sign_in(whole, tmp_path):
    nowhere = {"DURE_DIR": str(whole.state_dir), "XDG_CONFIG_HOME": str(tmp_path)}
    told, korean = dure("whoami", **nowhere), dure("jobs", DURE_LANG="ko", **nowhere)
    url = whole.url.rstrip("/")
    assert (told.returncode, f"run `dure login {url}`" in told.stderr) == (1, True), told.stderr
    assert f"`dure login {url}`을 실행하세요" in korean.stderr


def test_dure_run_has_the_persons_home_and_name(whole, alice):
    argv = ["sh", "-c", "echo $HOME; pwd"]
    job = ended(alice, alice.submit(JobRequest(kind="command", name="where", payload={"argv": argv})).id)
    home, cwd = text_of(alice, job.id).split()
    assert home == str(whole.state_dir / "homes" / "alice")
    assert cwd == str(whole.state_dir / f"clusters/lab/attempts/{job.id}.1/work")


def text_of(client, job_id):
    return "".join(m["text"] for m in client.output(job_id).messages if m["type"] == "stream")


def test_a_valid_edit_is_taken_and_its_new_member_signs_in_with_the_new_team(whole, root1):
    path = whole.state_dir / "platform.yaml"
    text = path.read_text().replace(
        "teams:\n", "teams:\n  - {name: robots, members: [erin]}\n  - {name: all, members: ['*']}\n"
    )
    path.write_text(text.replace("gpus: 1, simulated", "gpus: 3, simulated"))
    wait_for(lambda: "robots" in root1.platform().teams, "the edit")
    assert {tier.name: tier.total for tier in root1.platform().tiers} == {"bronze": 2, "gold": 3}
    # erin needs no invitation to a team: the file says it. The link is only how she gets in.
    browser, erin = whole.person("erin")
    assert erin.me().teams == ["all", "robots"]
    job = ended(erin, erin.submit(sleep(0, team="robots", gpus=2, tier="gold")).id)
    assert (job.phase, job.team) == ("succeeded", "robots")
    groups = browser.hub_api("GET", "users/erin").json()["groups"]
    assert sorted(groups) == ["all", "robots"]
    erin.close()
    browser.close()


def test_everybody_who_is_signed_in_is_in_a_team_with_a_star_at_once(alice):
    wait_for(lambda: alice.me().teams == ["all", "vision"], "alice's second team")


def test_a_star_lets_nobody_in(whole):
    stranger = HubBrowser(whole.url)
    assert "Name or password is wrong" in stranger.login("mallory", "correct horse battery").text
    assert "Name or password is wrong" in stranger.login("*", "correct horse battery").text
    stranger.close()


def test_an_invalid_edit_is_refused_told_to_administrators_and_mended(whole, root1, alice):
    path = whole.state_dir / "platform.yaml"
    good = path.read_text()
    path.write_text(good.replace("tier: bronze", "tier: bronce"))
    told = wait_for(lambda: [n for n in root1.platform().notices if "bronce" in n], "the refusal")
    assert "platform.yaml:" in told[0]
    assert "did you mean 'bronze'?" in told[0]
    assert not [n for n in alice.platform().notices if "bronce" in n]
    assert {tier.name: tier.total for tier in root1.platform().tiers} == {"bronze": 2, "gold": 3}
    job = ended(alice, alice.submit(sleep(0, team="vision")).id)
    assert job.phase == "succeeded"
    path.write_text(good)
    wait_for(lambda: not [n for n in root1.platform().notices if "bronce" in n], "the mended file")


def test_a_cluster_and_an_environment_of_an_edit_can_be_used(whole, alice):
    path = whole.state_dir / "platform.yaml"
    text = path.read_text()
    default = text[text.index("environments:") :]
    assert default.count("{") == 1
    more = "\n  - {name: annex, nodes: [{name: node-9, tier: gold, gpus: 4, simulated: true}]}\nteams:\n"
    first = default.strip().removesuffix("]").removeprefix("environments: [")
    second = f"environments: [{first}, {first.replace('default', 'two')}]\n"
    path.write_text(text.replace("\nteams:\n", more).replace(default, second))
    wait_for(lambda: [e for e in alice.environments() if e.name == "two" and e.python], "the environment's server")
    job = ended(alice, alice.submit(sleep(0, team="vision", gpus=4, tier="gold", environment="two")).id)
    assert (job.phase, job.lease.cluster) == ("succeeded", "annex")


def test_open_streams_do_not_hold_an_ending_control_plane(whole, alice):
    (control,) = [p for p in processes.marked(whole.state_dir, ["control"]) if "dure.main" in p.argv]
    waiting = alice.submit(sleep(600, team="vision"))
    with httpx.Client(base_url=whole.url, timeout=120, trust_env=False) as http:
        headers = {"Authorization": f"Bearer {alice.login.token}"}
        address = f"services/dure/api/jobs/{waiting.id}/stream"
        with http.stream("GET", address, headers=headers) as answer:
            lines = answer.iter_lines()
            next(lines)
            os.kill(control.pid, signal.SIGTERM)
            list(lines)  # it ends, and by itself
    wait_for(lambda: not processes.alive(control), "the end")
    log = (whole.state_dir / "log" / "hub.log").read_text()
    assert "timeout graceful shutdown exceeded" not in log
    wait_for(lambda: reachable(alice), "the control plane's return")
    alice.cancel(waiting.id)


def reachable(client):
    try:
        return client.me().name
    except Exception:
        return None


def test_a_killed_control_plane_comes_back_and_the_running_job_goes_on(whole, alice):
    argv = ["sh", "-c", "echo begun; while [ ! -e $HOME/go ]; do sleep 0.1; done; echo done"]
    job = alice.submit(JobRequest(kind="command", name="long", team="vision", payload={"argv": argv}))
    wait_for(lambda: "begun" in text_of(alice, job.id), "its first words")
    (control,) = [p for p in processes.marked(whole.state_dir, ["control"]) if "dure.main" in p.argv]
    os.kill(control.pid, signal.SIGKILL)
    wait_for(lambda: not processes.alive(control), "the end")
    wait_for(lambda: reachable(alice), "the control plane's return")
    (whole.state_dir / "homes" / "alice" / "go").touch()
    assert (ended(alice, job.id).phase, text_of(alice, job.id)) == ("succeeded", "begun\ndone\n")
    assert httpx.get(f"{whole.url}services/dure/api/health", timeout=60).status_code == 200


def test_after_kill_nine_of_hub_and_up_the_same_folder_starts_again_and_down_leaves_nothing(tmp_path):
    state_dir = tmp_path / "state"
    write_platform(state_dir)
    first = Up(state_dir).ready()
    second = None
    try:
        browser, alice = first.person("alice")
        job = alice.submit(sleep(600))
        wait_for(lambda: alice.job(job.id).phase == "running", "the job")
        runner = next(state_dir.glob(f"clusters/lab/attempts/{job.id}.1/processes.json"))
        sleeper = json.loads(runner.read_text())["user_pid"]
        browser.start_workspace("alice")
        kernel = browser.kernel("alice")
        kernel.run("import subprocess; child = subprocess.Popen(['sleep', '1000'], start_new_session=True)")
        kernel.close()
        hub = next(r for r in processes.records(state_dir) if r.name == "hub")
        old = processes.marked(state_dir, processes.FRONT_DOOR)
        os.kill(first.process.pid, signal.SIGKILL)
        os.kill(hub.pid, signal.SIGKILL)
        first.process.wait(END_S)
        second = Up(state_dir).ready()
        assert second.url == first.url
        assert "left behind" in second.said
        assert not any(processes.alive(process) for process in old)
        assert reachable(alice) == "alice"  # her token is as good as before
        assert alice.job(job.id).phase == "running"
        assert psutil.pid_exists(sleeper)
        alice.close()
        browser.close()
        done = dure("down", "--dir", state_dir)
        assert (done.returncode, "State is kept" in done.stdout) == (0, True), done.stderr
        assert second.process.wait(END_S) == 0
        assert processes.marked(state_dir) == []
        assert not psutil.pid_exists(sleeper)
        assert not list(state_dir.glob("run/*.sock"))
        assert all(processes.is_free(port) for port in json.loads((state_dir / "ports.json").read_text()).values())
        assert "Nothing was running" in dure("down", "--dir", state_dir).stdout
    finally:
        for running in (first, second):
            if running is not None:
                running.end()
        dure("down", "--dir", state_dir)


def test_the_demo_holds_and_leaves_notebooks_and_report(tmp_path):
    keep = tmp_path / "kept"
    done = dure("demo", "--keep", keep, "--lang", "en", timeout=280)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    left = {path.name for path in keep.iterdir()}
    assert {"report.html", "digits.ipynb", "sweep.ipynb", "burst.ipynb", "interrupted.ipynb", "fails.ipynb"} <= left
    assert "<svg" in (keep / "report.html").read_text()
    assert "accuracy" in (keep / "digits.ipynb").read_text()
