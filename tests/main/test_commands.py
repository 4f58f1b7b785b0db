"""The commands that run a platform, each as a real process: what they say, their exit codes, and what they leave."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys

import pytest

from dure.adapters import processes
from tests.e2e.real import dure, up, write_platform

EACH_RUNS = pytest.mark.xdist_group("dure-up")
pytestmark = EACH_RUNS

BROKEN = """\
name: test
clusters:
  - name: lab
    nodes: [{name: n, tier: bronce, gpus: 0}]
tiers: [{name: bronze}]
teams: [{name: lab, members: "*"}]
environments: [{name: default, python: /no/such/python}]
colour: blue
"""


@pytest.fixture
def state_dir(tmp_path):
    yield tmp_path / "state"
    dure("down", "--dir", tmp_path / "state")


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """A platform without the Hub that the tests of this module share."""
    state_dir = tmp_path_factory.mktemp("alone") / "state"
    write_platform(state_dir)
    with up(state_dir, "--no-hub") as running:
        yield running


def test_init_says_what_it_found_and_never_overwrites(state_dir):
    first = dure("init", "--dir", state_dir)
    assert (first.returncode, first.stderr) == (0, "")
    assert str(state_dir / "platform.yaml") in first.stdout
    assert "dure up --dir" in first.stdout
    (state_dir / "platform.yaml").write_text("name: mine\n")
    second = dure("init", "--dir", state_dir)
    assert second.returncode == 1
    assert second.stderr.strip().endswith("edit it, or move it away and run `dure init` again")
    assert (state_dir / "platform.yaml").read_text() == "name: mine\n"


@pytest.mark.parametrize("words", [(), ("--no-hub",)])
def test_a_broken_platform_file_is_told_whole_and_nothing_starts(state_dir, words):
    state_dir.mkdir()
    (state_dir / "platform.yaml").write_text(BROKEN)
    done = dure("up", "--dir", state_dir, *words)
    lines = done.stderr.strip().splitlines()
    assert done.returncode == 1
    assert [line.split(":")[:2] for line in lines] == [["platform.yaml", str(n)] for n in (4, 4, 6, 7, 8)]
    assert "did you mean 'bronze'?" in done.stderr
    assert processes.marked(state_dir) == []
    assert sorted(path.name for path in state_dir.iterdir()) == ["platform.yaml"]


def test_a_taken_port_is_one_sentence_with_another_port(state_dir):
    write_platform(state_dir)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        for words in ((), ("--no-hub",)):
            done = dure("up", "--dir", state_dir, "--port", port, *words)
            (line,) = done.stderr.strip().splitlines()
            assert (done.returncode, f"Port {port} is taken" in line, "dure up --port" in line) == (1, True, True)
    assert processes.marked(state_dir) == []


def test_a_second_up_in_the_same_folder_names_the_first(alone):
    for words in (("--no-hub",), (), ("--no-hub", "-d")):
        second = dure("up", "--dir", alone.state_dir, *words)
        said = second.stderr.strip()
        assert second.returncode == 1, said
        assert said.startswith(f"Dure already runs in {alone.state_dir} (process {alone.process.pid}) at {alone.url}")
        assert said.endswith(f"To end it, type: dure down --dir {alone.state_dir}")
    assert alone.process.poll() is None


def test_doctor_is_green_where_the_platform_runs(alone):
    done = dure("doctor", "--dir", alone.state_dir, "--json")
    found = {finding["check"]: finding for finding in json.loads(done.stdout)}
    bad = [finding for finding in found.values() if finding["state"] == "bad" and finding["check"] != "Disk"]
    assert bad == [], done.stdout
    assert found["Platform"]["found"] == f"answers at {alone.url}"
    assert found["platform.yaml"]["found"] == "valid: 3 GPUs (3 simulated), 2 teams"
    assert found["Environment default"]["state"] == "ok"
    text = dure("doctor", "--dir", alone.state_dir).stdout
    assert "✔ Platform: answers at" in text


def test_doctor_is_red_with_one_fix_for_each_thing_that_is_wrong(state_dir):
    state_dir.mkdir()
    (state_dir / "platform.yaml").write_text(BROKEN)
    left, _record = processes.start(
        state_dir, "hub", ["sleep", "600"], role="hub", environment=os.environ, log=state_dir / "log" / "x"
    )
    try:
        done = dure("doctor", "--dir", state_dir)
        assert done.returncode == 1
        lines = done.stdout.splitlines()
        wrong = {line.split(":")[0].removeprefix("✘ "): lines[n + 1] for n, line in enumerate(lines) if line[0] == "✘"}
        assert wrong["platform.yaml"] == f"    fix: edit {state_dir / 'platform.yaml'}"
        assert wrong["Leftover processes"].startswith("    fix: dure ")
        assert "(and 4 more)" in done.stdout
        assert dure("down", "--dir", state_dir).returncode == 0
        assert left.wait(10) is not None
        assert "✔ Leftover processes" in dure("doctor", "--dir", state_dir).stdout
    finally:
        left.kill()
        left.wait()


def test_a_detached_up_returns_when_ready_and_down_ends_it(state_dir):
    write_platform(state_dir)
    done = dure("up", "--dir", state_dir, "--no-hub", "-d")
    assert (done.returncode, "Ready. Portal: http://127.0.0.1:" in done.stdout) == (0, True), done.stderr
    assert (state_dir / "up.log").stat().st_mode & 0o777 == 0o600  # it holds the token
    assert processes.holder(state_dir) is not None
    down = dure("down", "--dir", state_dir)
    assert (down.returncode, down.stdout.startswith("Ended what was running")) == (0, True)
    assert processes.holder(state_dir) is None
    assert processes.marked(state_dir) == []
    assert dure("down", "--dir", state_dir).stdout == f"Nothing was running in {state_dir}.\n"


def test_another_address_of_this_machine_is_where_it_answers(state_dir):
    write_platform(state_dir)
    with up(state_dir, "--no-hub", "--address", "127.0.0.2") as running:
        assert running.url.startswith("http://127.0.0.2:")
        assert f"✔ Platform: answers at {running.url}" in dure("doctor", "--dir", state_dir).stdout


def test_a_detached_up_that_fails_says_why(state_dir):
    state_dir.mkdir()
    (state_dir / "platform.yaml").write_text(BROKEN)
    done = dure("up", "--dir", state_dir, "--no-hub", "-d")
    assert (done.returncode, "platform.yaml:4:" in done.stderr) == (1, True), done


def test_a_killed_control_plane_of_no_hub_comes_back(alone):
    (control,) = processes.marked(alone.state_dir, ["control"])
    os.kill(control.pid, signal.SIGKILL)
    assert processes.wait_until(lambda: not processes.alive(control), 90)
    token = (alone.state_dir / "token").read_text()

    def asked():
        return dure("jobs", DURE_URL=alone.url, DURE_TOKEN=token).returncode == 0

    assert processes.wait_until(asked, 90)


def control_by_hand(state_dir, *words, **environment):
    argv = [sys.executable, "-m", "dure.main", "--dir", str(state_dir), "--port", str(processes.free_port()), *words]
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("DURE_", "JUPYTER"))}
    return subprocess.run(argv, env=kept | environment, capture_output=True, text=True, timeout=90, check=False)


def test_a_control_plane_by_hand_says_what_is_missing_and_what_to_type(state_dir):
    nothing = control_by_hand(state_dir)
    assert (nothing.returncode, "`dure init` writes one" in nothing.stderr) == (1, True)
    write_platform(state_dir)
    cases = [
        (control_by_hand(state_dir), f"Type: dure up --no-hub --dir {state_dir}"),
        (control_by_hand(state_dir, "--identity", "hub"), f"Type: dure up --dir {state_dir}"),
        (control_by_hand(state_dir, "--identity", "header"), "Type: export DURE_TRUSTED_PROXIES=10.0.0.5/32 "),
        (control_by_hand(state_dir, DURE_S3_BUCKET="b"), "Type: export DURE_S3_ENDPOINT=…"),
        (control_by_hand(state_dir, DURE_RETENTION_DAYS="soon"), "Type: export DURE_RETENTION_DAYS=30"),
    ]
    for done, sentence in cases:
        (line,) = done.stderr.strip().splitlines()
        assert (done.returncode, sentence in line) == (1, True), line


def test_a_stale_login_says_to_log_in_again(alone):
    stale = dure("jobs", DURE_URL=alone.url, DURE_TOKEN="stale-stale-stale-stale")
    assert (stale.returncode, "dure login" in stale.stderr) == (1, True)
    assert "Traceback" not in stale.stderr


def test_who_runs_a_platform_is_known_to_it_until_it_ends(alone, state_dir, tmp_path):
    nowhere = {"XDG_CONFIG_HOME": str(tmp_path), "HOME": str(tmp_path)}
    done = dure("whoami", "--json", DURE_DIR=str(alone.state_dir), **nowhere)
    assert (json.loads(done.stdout)["url"], json.loads(done.stdout)["source"]) == (alone.url.rstrip("/"), "folder")
    write_platform(state_dir)
    with up(state_dir, "--no-hub"):
        assert dure("jobs", DURE_DIR=str(state_dir), **nowhere).returncode == 0
    ended = dure("jobs", DURE_DIR=str(state_dir), **nowhere)
    assert (ended.returncode, "No Dure platform is known here" in ended.stderr) == (1, True)


def test_users_are_invited_into_teams_that_exist_while_the_platform_runs(alone, state_dir):
    wrong = dure("user", "add", "dora", "--team", "visoin", "--dir", alone.state_dir)
    assert (wrong.returncode, wrong.stderr.strip()) == (
        1,
        "There is no team 'visoin' in platform.yaml; there are: vision, speech.",
    )
    write_platform(state_dir)
    nobody = dure("user", "add", "dora", "--dir", state_dir)
    assert (nobody.returncode, f"Start it first: dure up --dir {state_dir}" in nobody.stderr) == (1, True)
    added = dure("user", "add", "dora", "--team", "vision", "--admin", "--dir", alone.state_dir)
    assert added.returncode == 0, added.stderr
    listed = [line.split() for line in dure("user", "list", "--dir", alone.state_dir).stdout.splitlines()]
    assert listed == [["NAME", "ROLE", "TEAMS"], ["dora", "administrator", "vision"]]
    korean = dure("user", "list", "--dir", alone.state_dir, DURE_LANG="ko").stdout.splitlines()
    assert [line.split() for line in korean] == [["이름", "역할", "팀"], ["dora", "관리자", "vision"]]
    empty = dure("user", "list", "--dir", state_dir)
    assert f"Invite people: dure user add NAME --dir {state_dir}" in empty.stderr


def test_an_authenticator_without_its_secret_is_told_before_anything_starts(state_dir):
    write_platform(state_dir)
    path = state_dir / "platform.yaml"
    section = "authenticator: {class: github, settings: {client_id: x, client_secret: '${DURE_TEST_SECRET}'}}\n"
    path.write_text(path.read_text() + section)
    done = dure("up", "--dir", state_dir)
    (line,) = done.stderr.strip().splitlines()
    assert (done.returncode, "export DURE_TEST_SECRET=…" in line) == (1, True)
    assert processes.marked(state_dir) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
@pytest.mark.parametrize("words", [(), ("--no-hub",)])
def test_a_full_disk_at_the_start_is_one_sentence_and_nothing_is_left_running(tmp_path, words):
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "none", small], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip(f"no tmpfs can be mounted here: {mounted.stderr.decode().strip()}")
    try:
        write_platform(small / "state")
        with contextlib.suppress(OSError), (small / "filler").open("wb") as filler:
            while True:
                filler.write(b"x" * 4096)
                filler.flush()
        done = dure("up", "--dir", small / "state", *words)
        assert done.returncode == 1
        assert "Traceback" not in done.stderr, done.stderr
        assert "full" in done.stderr, done.stderr
        assert processes.marked(small / "state") == []
    finally:
        subprocess.run(["umount", small], check=True)
