"""`--system-users`: an operating-system account per person, really apart from the others' files and processes."""

import grp
import json
import os
import pwd
import secrets
import subprocess
import sys
import sysconfig
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from dure.client import Client
from dure.hub import front_door, system_users
from dure.wire.messages import JobRequest
from tests.e2e.conftest import tiny_front
from tests.e2e.hub_browser import HubBrowser, Kernel, wait_for
from tests.e2e.real import up, write_platform

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


@pytest.fixture
def kernels(whole):
    """The kernels of two people who share no team."""
    return whole.people[0].kernel, whole.people[2].kernel


def test_each_person_has_an_account_of_their_own(kernels, whole):
    uids = [int(kernel.run("import os; print(os.getuid())")[0]) for kernel in kernels]
    assert len({0, *uids}) == 3
    names = [whole.people[0].account, whole.people[2].account]
    assert [pwd.getpwuid(uid).pw_name for uid in uids] == names


def test_groups_are_the_persons_teams_and_nothing_of_roots(kernels, whole):
    code = "import grp, os; print(sorted(grp.getgrgid(g).gr_name for g in {os.getgid(), *os.getgroups()}))"
    for person, team in ((whole.people[0], whole.teams[0]), (whole.people[2], whole.teams[1])):
        assert person.kernel.run(code)[0] == str(sorted([person.account, system_users.team_group(team)]))


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


def test_the_platforms_own_files_cannot_be_read(kernels, whole):
    state_dir = whole.state_dir
    for path in (state_dir / "hub" / "hub.json", state_dir / "hub" / "accounts.sqlite", state_dir / "log" / "hub.log"):
        assert path.exists()
        assert kernels[0].run(f"open({str(path)!r}).read()")[2] == "PermissionError", path
    assert kernels[0].run(f"import os; os.listdir({str(state_dir)!r})")[2] == "PermissionError"


def teams_text(teams, *members):
    return "\n".join(f"  - {{name: {team}, members: {who}}}" for team, who in zip(teams, members, strict=True))


@pytest.fixture(scope="module")
def whole(tmp_path_factory, python):
    """The real platform with two people of one team, one of another, and their kernels."""
    mark = secrets.token_hex(3)
    names, teams = [f"t{mark}{letter}" for letter in "abc"], [f"t{mark}x", f"t{mark}y"]
    with tempfile.TemporaryDirectory(prefix="dure-e2e-") as folder:
        Path(folder).chmod(0o711)
        state_dir = Path(folder) / "state"
        write_platform(state_dir, teams_text(teams, names[:2], names[2:]), python)
        people = []
        try:
            with up(state_dir, "--system-users", python=python) as running:
                signed_in = {name: running.person(name) for name in names}
                for name, (browser, _client) in signed_in.items():
                    browser.start_workspace(name)
                # Last, since a kernel's socket that nobody reads for long is closed at its other end.
                for name, (browser, client) in signed_in.items():
                    people.append(Person(name, system_users.account_name(name), browser, client, browser.kernel(name)))
                yield Whole(state_dir, people, teams, python)
                for person in people:
                    for opened in (person.kernel, person.client, person.browser):
                        opened.close()
        finally:
            for name in names:
                subprocess.run(["userdel", system_users.account_name(name)], check=False, capture_output=True)
            for team in teams:
                subprocess.run(["groupdel", system_users.team_group(team)], check=False, capture_output=True)


@dataclass
class Person:
    name: str
    account: str
    browser: HubBrowser
    client: Client
    kernel: Kernel

    def job(self, *argv):
        """Run a command to its end; return (the job, what it printed)."""
        request = JobRequest(kind="command", name="test", payload={"argv": list(argv)})
        asked = self.client.submit(request)
        wait_for(lambda: self.client.job(asked.id).phase in {"succeeded", "failed", "cancelled"}, "the end")
        messages = self.client.output(asked.id).messages
        return asked, "".join(m["text"] for m in messages if m["type"] == "stream").strip()

    def cell(self, code):
        """Run a `%%gpu` cell in the person's kernel; return what it printed."""
        out, err, error = self.kernel.run(f"%%gpu\n{code}")
        assert error is None, (out, err, error)
        return out.splitlines()[-1] if out else ""


@dataclass
class Whole:
    state_dir: Path
    people: list
    teams: list
    python: str


WHO = "import grp, os, pwd; print(pwd.getpwuid(os.getuid()).pw_name, os.environ['HOME'], os.getcwd())"


def test_cells_and_commands_run_as_the_persons_own_account_in_their_home(whole):
    for person in whole.people:
        home = str(whole.state_dir / "homes" / person.account)
        assert person.cell(WHO).split() == [person.account, home, home]
        asked, said = person.job("sh", "-c", "id -un; echo $HOME; pwd; umask; id -Gn")
        account, found_home, cwd, umask, groups = said.splitlines()
        assert (account, found_home, umask) == (person.account, home, "0077")
        assert cwd == str(whole.state_dir / f"clusters/lab/attempts/{asked.id}.1/work")
        team = whole.teams[0] if person is not whole.people[2] else whole.teams[1]
        assert groups.split() == [person.account, system_users.team_group(team)]


def test_anothers_attempt_cannot_be_read_listed_or_signalled(whole):
    ann, _ben, cat = whole.people
    asked, _said = ann.job("sh", "-c", "echo secret; echo secret > $DURE_OUTPUT_DIR/mine")
    folder = whole.state_dir / f"clusters/lab/attempts/{asked.id}.1"
    assert (folder.stat().st_mode & 0o777, pwd.getpwuid(folder.stat().st_uid).pw_name) == (0o700, ann.account)
    for path in (folder, folder.parent, folder / "output.jsonl", folder / "spec.json", folder / "output" / "mine"):
        code = f"import os; (os.listdir if os.path.isdir({str(path)!r}) else open)({str(path)!r})"
        assert cat.kernel.run(code)[2] == "PermissionError", path
        assert "Permission denied" in cat.job("cat" if path.is_file() else "ls", str(path))[1]
    long = ann.client.submit(JobRequest(kind="command", name="long", payload={"argv": ["sleep", "60"]}))
    record = folder.parent / f"{long.id}.1" / "processes.json"
    wait_for(record.exists, "the job")
    pid = json.loads(record.read_text())["user_pid"]
    assert "not permitted" in cat.job("sh", "-c", f"kill -9 {pid}")[1]
    assert "Permission denied" in cat.job("cat", f"/proc/{pid}/environ")[1]
    ann.client.cancel(long.id)


def test_a_team_shares_its_blobs_and_others_cannot_even_list_them(whole):
    ann, ben, cat = whole.people
    team = whole.state_dir / "blobs" / whole.teams[0]
    digest = ann.kernel.run(
        "from dure.client import Client; blobs = Client().blobs(); print(blobs.put(b'of the team' * 1000))"
    )[0]
    leaf = team / "blobs" / digest[:2]
    assert (leaf.stat().st_mode & 0o7777, grp.getgrgid(leaf.stat().st_gid).gr_name) == (
        0o2770,
        system_users.team_group(whole.teams[0]),
    )
    assert (leaf / digest).stat().st_mode & 0o777 == 0o640
    read = f"from dure.client import Client; print(len(Client().blobs().get({digest!r})))"
    assert ben.kernel.run(read)[0] == "11000"
    assert ben.kernel.run("from dure.client import Client; print(Client().blobs().put(b'bens'))")[2] is None
    for path in (team, leaf, leaf / digest):
        code = f"import os; (os.listdir if os.path.isdir({str(path)!r}) else open)({str(path)!r})"
        assert cat.kernel.run(code)[2] == "PermissionError", path
    assert cat.kernel.run(f"open({str(leaf / 'x')!r}, 'w')")[2] == "PermissionError"
    assert "Permission denied" in cat.job("ls", str(team))[1]


def test_the_platforms_database_and_folders_are_closed_to_people(whole):
    cat = whole.people[2]
    assert cat.kernel.run("from dure.client import Client; Client().blobs()")[2] is None
    for name in ("dure.sqlite", "platform.accepted.yaml", "log", "run", "clusters", "blobs", "homes"):
        path = whole.state_dir / name
        assert path.exists(), path
        code = f"import os; (os.listdir if os.path.isdir({str(path)!r}) else open)({str(path)!r})"
        assert cat.kernel.run(code)[2] == "PermissionError", path


def test_links_that_a_person_leaves_do_not_make_root_read_or_write_for_them(whole):
    """A job's folder is its person's, so its spool may become a link to somebody else's, its socket to root's."""
    ann, _ben, cat = whole.people
    theirs, _said = ann.job("echo", "a secret of ann's")
    spool = whole.state_dir / f"clusters/lab/attempts/{theirs.id}.1/output.jsonl"
    assert "a secret" in spool.read_text()
    mine, _said = cat.job("sh", "-c", f"cd $DURE_OUTPUT_DIR/..; rm output.jsonl; ln -s {spool} output.jsonl")
    assert cat.client.output(mine.id).messages == []
    account = whole.state_dir / "run" / cat.account
    (own,) = (whole.state_dir / "run").glob("fork-*.sock")
    (server,) = account.glob("fork-*.sock")
    cat.kernel.run(f"import os; os.unlink({str(server)!r}); os.symlink({str(own)!r}, {str(server)!r})")
    assert server.is_symlink()
    assert cat.job("id", "-un")[1] == cat.account


def test_people_who_leave_a_team_lose_its_blobs_with_their_next_job(whole):
    _ann, ben, _cat = whole.people
    names = [person.name for person in whole.people]
    write_platform(whole.state_dir, teams_text(whole.teams, names[:1], names[1:]), whole.python)
    wait_for(lambda: ben.client.me().teams == [whole.teams[1]], "the edit")
    _asked, said = ben.job("sh", "-c", f"id -Gn; ls {whole.state_dir / 'blobs' / whole.teams[0]}")
    assert system_users.team_group(whole.teams[1]) in said
    assert "Permission denied" in said


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
