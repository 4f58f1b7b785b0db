"""Workspaces: a JupyterLab per person, CPU only, `%%gpu` loaded by itself, and its token good for the control plane."""

import os
import sys
import threading
from pathlib import Path

import pytest

from dure.hub import notice
from tests.e2e.hub_browser import HubBrowser


@pytest.fixture(scope="module")
def workspaces(door):
    """Two people's workspaces, started at the same time."""
    browsers = {name: HubBrowser(door.url) for name in ("alice", "bob")}
    pages = {}

    def begin(name):
        browsers[name].open_link(door.sign_in_link(name))
        pages[name] = browsers[name].start_workspace(name)

    threads = [threading.Thread(target=begin, args=(name,)) for name in browsers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert {name: (page.status_code, "jupyter-config-data" in page.text) for name, page in pages.items()} == {
        "alice": (200, True),
        "bob": (200, True),
    }
    yield browsers
    for name, browser in browsers.items():
        browser.stop_workspace(name)
        browser.close()


@pytest.fixture
def kernel(workspaces):
    kernel = workspaces["alice"].kernel("alice")
    yield kernel
    kernel.close()


def test_a_terminal_knows_the_commands_of_dure(workspaces):
    shown = workspaces["alice"].type_in_terminal("alice", "command -v dure; echo done $((40 + 2))", "done 42")
    assert f"{Path(sys.executable).parent}/dure" in shown


def test_two_people_work_at_the_same_time(workspaces):
    kernels = {name: browser.kernel(name) for name, browser in workspaces.items()}
    answers = {}

    def work(name):
        answers[name] = [kernels[name].run(f"print({n} * {n})")[0] for n in range(20)]

    threads = [threading.Thread(target=work, args=(name,)) for name in kernels]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    for kernel in kernels.values():
        kernel.close()
    assert answers == {name: [str(n * n) for n in range(20)] for name in workspaces}


def test_no_gpu_is_visible(kernel):
    code = "import os; print([os.environ.get(n) for n in ('CUDA_VISIBLE_DEVICES', 'NVIDIA_VISIBLE_DEVICES')])"
    assert kernel.run(code)[0] == "['', 'void']"


def test_the_workspace_knows_the_control_plane_and_its_token_is_good_there(door, kernel):
    code = """
import json, os, urllib.request
request = urllib.request.Request(os.environ["DURE_URL"] + "/whoami")
request.add_header("Authorization", "Bearer " + os.environ["JUPYTERHUB_API_TOKEN"])
print(urllib.request.urlopen(request).read().decode(), os.environ["DURE_URL"], os.environ["DURE_WORKSPACE"])
"""
    out, _err, error = kernel.run(code)
    assert error is None
    assert out == f'{{"name":"alice","admin":false,"teams":["vision"],"via":"token"}} {door.control_url} 1'


def test_the_workspaces_token_is_good_for_nothing_else(door, kernel):
    code = f"""
import os, urllib.error, urllib.request
for path in ("users", "users/bob", "users/bob/server"):
    request = urllib.request.Request("{door.url}hub/api/" + path)
    request.add_header("Authorization", "token " + os.environ["JUPYTERHUB_API_TOKEN"])
    try:
        print(path, urllib.request.urlopen(request).status)
    except urllib.error.HTTPError as refused:
        print(path, refused.code)
"""
    assert {line.split()[1] for line in kernel.run(code)[0].splitlines()} <= {"403", "404", "405"}


def test_secrets_of_the_platform_do_not_reach_workspaces(kernel):
    names = kernel.run("import os; print(' '.join(sorted(os.environ)))")[0].split()
    assert "CONFIGPROXY_AUTH_TOKEN" not in names
    assert "DURE_HUB_CONFIG" not in names


def test_one_person_cannot_open_anothers_workspace(workspaces):
    assert workspaces["alice"].http.get("user/bob/lab").status_code in (403, 404)


def test_the_startup_leaves_no_name_behind(kernel):
    assert kernel.run("print([n for n in dir() if 'dure' in n.lower()])")[0] == "[]"


def test_the_proxy_passes_jupyterlabs_websocket_protocol_on(workspaces):
    kernel = workspaces["alice"].kernel("alice", subprotocol="v1.kernel.websocket.jupyter.org")
    assert kernel.socket.getsubprotocol() == "v1.kernel.websocket.jupyter.org"
    kernel.close()


def test_homes_are_apart_and_terminals_are_on(workspaces, kernel):
    assert (
        kernel.run("import os; print(os.path.basename(os.getcwd()), oct(os.stat('.').st_mode & 0o777))")[0]
        == "alice 0o700"
    )
    browser = workspaces["alice"]
    headers = {"X-XSRFToken": browser.xsrf("/user/alice/"), "Referer": f"{browser.url}user/alice/lab"}
    assert browser.http.post("user/alice/api/terminals", headers=headers).status_code == 200


def test_the_start_says_plainly_what_separates_people(door):
    isolation = notice.isolation_of(system_users=False, root=os.geteuid() == 0)
    sentence = notice.isolation_notice("en", isolation)
    assert "share" in sentence
    assert "--system-users" in sentence
