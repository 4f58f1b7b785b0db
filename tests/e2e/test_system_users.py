"""`--system-users`: an operating-system account per person, really apart from the others' files and processes."""

import os
import pwd
import secrets
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from dure.hub import front_door, system_users
from tests.e2e.conftest import tiny_front
from tests.e2e.hub_browser import HubBrowser

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="making accounts needs root")


@pytest.fixture(scope="module")
def python(state_dir):
    """A Python that every account may run: this one, or the machine's own with this one's packages in a venv.

    A developer's Python often lies in root's home, which is closed to others; Dure refuses it, as a test below shows.
    """
    if system_users.first_closed(Path(sys.executable)) is None:
        return sys.executable
    wanted = f"python{sys.version_info.major}.{sys.version_info.minor}"
    found = next((p for p in map(Path, (f"/usr/bin/{wanted}", f"/usr/local/bin/{wanted}")) if p.exists()), None)
    if found is None:
        pytest.skip(
            f"{system_users.first_closed(Path(sys.executable))} is closed to other accounts, and there is no {wanted}"
        )
    venv = state_dir.parent / "venv"
    subprocess.run([found, "-m", "venv", "--without-pip", venv], check=True)
    packages = sysconfig.get_paths()["purelib"]
    (venv / "lib" / wanted / "site-packages" / "all.pth").write_text(f"import site; site.addsitedir({packages!r})\n")
    for data in ("etc", "share"):  # JupyterLab's own configuration and pages
        (venv / data).symlink_to(Path(sys.prefix) / data)
    return str(venv / "bin" / "python")


@pytest.fixture(scope="module")
def people():
    """Two names that no machine has, and their team; accounts and group are removed afterwards."""
    mark = secrets.token_hex(3)
    names = [f"t{mark}a", f"t{mark}b"]
    yield names, f"t{mark}"
    for name in names:
        subprocess.run(["userdel", system_users.account_name(name)], check=False, capture_output=True)
    subprocess.run(["groupdel", system_users.team_group(f"t{mark}")], check=False, capture_output=True)


@pytest.fixture(scope="module")
def kernels(state_dir, people, python):
    (first, second), team = people
    running = front_door.serve(tiny_front(state_dir, python=python, system_users=True, teams={team: [first]}))
    browsers, kernels = [], []
    try:
        for name in (first, second):
            browsers.append(HubBrowser(running.url))
            browsers[-1].open_link(running.sign_in_link(name))
            browsers[-1].start_workspace(name)
            kernels.append(browsers[-1].kernel(name))
        yield kernels
    finally:
        for opened in (*kernels, *browsers):
            opened.close()
        running.stop()


def test_each_person_has_an_account_of_their_own(kernels, people):
    uids = [int(kernel.run("import os; print(os.getuid())")[0]) for kernel in kernels]
    assert len({0, *uids}) == 3
    names = [system_users.account_name(name) for name in people[0]]
    assert [pwd.getpwuid(uid).pw_name for uid in uids] == names


def test_groups_are_the_persons_teams_and_nothing_of_roots(kernels, people):
    code = "import grp, os; print(sorted(grp.getgrgid(g).gr_name for g in {os.getgid(), *os.getgroups()}))"
    (first, second), team = people
    assert kernels[0].run(code)[0] == str(sorted([system_users.account_name(first), system_users.team_group(team)]))
    assert kernels[1].run(code)[0] == str([system_users.account_name(second)])


def test_anothers_home_cannot_be_read(kernels):
    home = kernels[1].run("import os; open('secret', 'w').write('x'); print(os.getcwd())")[0]
    assert kernels[0].run(f"import os; os.listdir({home!r})")[2] == "PermissionError"
    assert kernels[0].run(f"open({home!r} + '/secret').read()")[2] == "PermissionError"


def test_anothers_processes_cannot_be_signalled_or_looked_into(kernels):
    pid = int(kernels[1].run("import os; print(os.getpid())")[0])
    assert kernels[0].run(f"import os; os.kill({pid}, 0)")[2] == "PermissionError"
    assert kernels[0].run(f"open('/proc/{pid}/environ').read()")[2] == "PermissionError"
    assert kernels[0].run("import os; os.kill(os.getppid(), 0)")[2] is None


def test_anothers_outputs_cannot_be_overheard_at_the_kernels_port(kernels):
    port = kernels[1].run("import ipykernel.kernelapp as k; print(k.IPKernelApp.instance().iopub_port)")[0]
    listen = f"""
import threading, zmq
heard = []
socket = zmq.Context.instance().socket(zmq.SUB)
socket.subscribe(b"")
socket.connect("tcp://127.0.0.1:{port}")
def listen():
    while socket.poll(8000):
        heard.append(socket.recv_multipart())
thread = threading.Thread(target=listen)
thread.start()
"""
    assert kernels[0].run(listen)[2] is None
    assert kernels[1].run("import time\nfor n in range(20): print('secret', flush=True); time.sleep(0.1)")[2] is None
    assert kernels[0].run("thread.join(); print(len(heard))")[0] == "0"


def test_the_platforms_own_files_cannot_be_read(kernels, state_dir):
    for path in (state_dir / "hub" / "hub.json", state_dir / "hub" / "accounts.sqlite", state_dir / "log" / "hub.log"):
        assert path.exists()
        assert kernels[0].run(f"open({str(path)!r}).read()")[2] == "PermissionError", path
    assert kernels[0].run(f"import os; os.listdir({str(state_dir)!r})")[2] == "PermissionError"


def test_an_account_that_dure_did_not_make_is_refused(people, tmp_path):
    name = f"{people[0][0]}x"
    account = system_users.account_name(name)
    subprocess.run(["useradd", "--no-create-home", "--comment", "somebody else", account], check=True)
    try:
        with pytest.raises(system_users.SystemUserError, match="did not make"):
            system_users.ensure(name, tmp_path, [])
        assert pwd.getpwnam(account).pw_gecos == "somebody else"
        assert not (tmp_path / "homes").exists()
    finally:
        subprocess.run(["userdel", account], check=True, capture_output=True)


def test_a_home_that_is_a_link_is_refused(people, tmp_path):
    name = f"{people[0][0]}y"
    account = system_users.account_name(name)
    (tmp_path / "homes").mkdir()
    (tmp_path / "homes" / account).symlink_to("/etc")
    owner = Path("/etc").stat().st_uid
    try:
        with pytest.raises(system_users.SystemUserError, match="should belong to"):
            system_users.ensure(name, tmp_path, [])
        assert Path("/etc").stat().st_uid == owner
    finally:
        subprocess.run(["userdel", account], check=False, capture_output=True)


def test_a_state_folder_out_of_reach_is_told_before_anything_starts(tmp_path, python):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    with pytest.raises(system_users.SystemUserError, match="--dir /var/lib/dure"):
        front_door.serve(tiny_front(closed / "state", python=python, system_users=True))


def test_a_python_out_of_reach_is_told_with_the_folder(tmp_path):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    with pytest.raises(system_users.SystemUserError, match="cannot reach Dure's Python") as refused:
        system_users.check_possible(str(closed / "python"))
    assert system_users.first_closed(closed / "python") in closed.parents or str(closed) in str(refused.value)
