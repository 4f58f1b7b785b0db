"""Processes of a state folder: told from others' and from reused ids, ended with their groups; locks and ports."""

import os
import signal
import socket
import subprocess
import sys

import pytest

from dure.adapters import processes

STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('x', flush=True); time.sleep(1000)"
)


@pytest.fixture
def sleeper(tmp_path):
    started: list[subprocess.Popen[bytes]] = []

    def start(folder=tmp_path, role="hub", argv=("sleep", "1000")):
        log = tmp_path / f"log{len(started)}"
        folder.mkdir(exist_ok=True)
        child, record = processes.start(folder, role, argv, role=role, environment=os.environ, log=log)
        started.append(child)
        return child, record, log

    yield start
    for child in started:
        child.kill()
        child.wait()


def test_a_process_is_its_id_and_its_start(sleeper):
    child, record, _log = sleeper()
    assert processes.alive(record.process)
    assert not processes.alive(processes.Process(child.pid, record.start_ticks + 1))
    child.kill()
    processes.wait_until(lambda: not processes.alive(record.process), 90)
    assert not processes.alive(record.process)  # although nobody has waited for it: a zombie is not alive
    assert processes.start_ticks(child.pid) is None


def test_a_reused_id_is_never_signalled(sleeper):
    child, record, _log = sleeper()
    processes.send(processes.Process(child.pid, record.start_ticks - 1), signal.SIGKILL)
    assert child.poll() is None


def test_only_this_folders_processes_with_the_role_are_found(sleeper, tmp_path):
    hub, _, _ = sleeper()
    job, _, _ = sleeper(role="job")
    neighbour, _, _ = sleeper(folder=tmp_path / "other")
    assert {p.pid for p in processes.marked(tmp_path)} == {hub.pid, job.pid}
    assert {p.pid for p in processes.marked(tmp_path, processes.FRONT_DOOR)} == {hub.pid}
    ended = processes.end_leftovers(tmp_path)
    assert [p.pid for p in ended] == [hub.pid]
    assert (job.poll(), neighbour.poll()) == (None, None)
    assert [record.name for record in processes.records(tmp_path)] == ["job"]


def test_children_of_children_are_found_by_the_mark(sleeper, tmp_path):
    code = "import subprocess; subprocess.Popen(['sleep', '1000'], start_new_session=True)"
    parent, _, _ = sleeper(argv=(sys.executable, "-c", code))
    parent.wait(30)
    left = processes.marked(tmp_path)
    assert [p.argv for p in left] == [("sleep", "1000")]
    processes.end_leftovers(tmp_path)
    assert processes.marked(tmp_path) == []


def test_a_fork_server_is_known_by_its_socket_although_it_hides_the_mark(tmp_path):
    def argv(folder):
        return [
            "python",
            "-m",
            "dure.worker.forkserver",
            "--socket",
            str(folder / "run" / "fork.sock"),
            "--environment",
            "d",
        ]

    assert processes.is_worker(argv(tmp_path), tmp_path)
    assert not processes.is_worker(argv(tmp_path / "other"), tmp_path / "state")
    assert not processes.is_worker(["python", "--socket"], tmp_path)


def test_who_ignores_the_request_is_killed(sleeper):
    child, record, log = sleeper(argv=(sys.executable, "-c", STUBBORN))
    assert processes.wait_until(lambda: log.exists() and log.read_text(), 90)
    processes.end([record.process], grace_s=0.3)
    assert child.wait(90) == -signal.SIGKILL


def test_we_and_our_parents_are_never_ours_to_end(tmp_path):
    code = f"""
from pathlib import Path
from dure.adapters import processes
print(processes.marked(Path({str(tmp_path)!r})))
"""
    environment = os.environ | {processes.MARK: processes.mark(tmp_path, "workspace")}
    child = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert child.stdout.strip() == "[]"


def test_the_lock_is_one_persons_and_ends_with_them(tmp_path):
    lock = processes.Lock(tmp_path).acquire("http://127.0.0.1:1/")
    with pytest.raises(processes.AlreadyRunningError, match=f"process {os.getpid()}.*http://127.0.0.1:1/.*dure down"):
        processes.Lock(tmp_path).acquire()
    lock.release()
    assert processes.holder(tmp_path) is None
    processes.Lock(tmp_path).acquire().release()


def test_ports_are_remembered_and_inner_ones_move_when_taken(tmp_path):
    first = processes.ports_for(tmp_path, {"public": None, "hub": None})
    assert processes.ports_for(tmp_path, {"public": None, "hub": None}) == first
    assert processes.ports_for(tmp_path, {"public": 0, "hub": None})["public"]
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", first["hub"]))
        taken.listen()
        assert processes.ports_for(tmp_path, {"public": first["public"], "hub": None})["hub"] != first["hub"]


def test_a_remembered_public_port_that_is_taken_is_told_for_links_name_it(tmp_path):
    first = processes.ports_for(tmp_path, {"public": None})
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", first["public"]))
        taken.listen()
        with pytest.raises(processes.PortTakenError, match=r"which this folder's links name.*dure up --port [0-9]+"):
            processes.ports_for(tmp_path, {"public": None})
        assert processes.ports_for(tmp_path, {"public": 0})["public"] != first["public"]


def test_a_long_log_is_cut_and_its_writer_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(processes, "LOG_BYTES_MAX", 10)
    log = tmp_path / "log"
    with log.open("ab") as writer:
        writer.write(b"0123456789abc")
        writer.flush()
        processes.trim_log(log)
        writer.write(b"more")
        writer.flush()
    assert log.read_bytes() == b"more"
    assert (tmp_path / "log.1").read_bytes() == b"0123456789abc"


def test_a_log_that_cannot_be_cut_ends_nobody(tmp_path, monkeypatch):
    monkeypatch.setattr(processes, "LOG_BYTES_MAX", 10)
    monkeypatch.setattr(processes, "LOG_CHECK_S", 0.05)
    (tmp_path / "log.1").mkdir()  # so that copying fails, as on a full disk
    log = tmp_path / "log"
    log.write_bytes(b"0123456789abc")
    code = "import time; time.sleep(0.5); raise SystemExit(3)"
    child, _record = processes.start(
        tmp_path, "hub", [sys.executable, "-c", code], role="hub", environment=os.environ, log=log
    )
    assert processes.wait_trimming(child, log) == 3
    assert log.read_bytes() == b"0123456789abc"


def test_a_process_that_talks_without_end_has_a_short_log(tmp_path, monkeypatch):
    monkeypatch.setattr(processes, "LOG_BYTES_MAX", 1000)
    monkeypatch.setattr(processes, "LOG_CHECK_S", 0.05)
    log = tmp_path / "log" / "x.log"
    talk = "import os, sys, time\nwhile not os.path.exists(sys.argv[1]):\n    print('x' * 200, flush=True)\n"
    argv = [sys.executable, "-c", f"{talk}    time.sleep(0.02)\nsys.exit(3)", f"{log}.1"]
    child, _record = processes.start(tmp_path, "hub", argv, role="hub", environment=os.environ, log=log)
    assert processes.wait_trimming(child, log) == 3
    assert (tmp_path / "log" / "x.log.1").stat().st_size > 1000
    assert log.stat().st_size <= 201
