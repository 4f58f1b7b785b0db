"""What only real processes, disks and crashes do to the local executor."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from dure.adapters.executors import forkservers
from dure.adapters.executors.attempts import Attempt
from dure.adapters.executors.forkservers import Account, ForkServers
from dure.adapters.executors.notify import HintSocket
from dure.adapters.outputs import SpoolOutputs
from dure.core.model import Environment, GpuShare, Kind, Node, NodeShare
from dure.ports import BlobStoreError, ExecutorUnavailableError, StartRefusedError
from dure.sim.executor import SimClock
from dure.worker import processes
from tests.contracts.executors import Local, a_launch, seen_of, until


@pytest.fixture(scope="session")
def servers(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    shared = ForkServers(folder, folder)
    yield shared
    shared.stop_all()


@pytest.fixture
def bench(tmp_path, servers):
    made = Local(tmp_path, servers)
    yield made
    made.close()


@pytest.fixture
def executor(bench):
    opened = bench.open()
    opened.fence(1)
    return opened


def reaches(executor, job_id, wanted, attempt=1):
    def there():
        seen = seen_of(executor, job_id, attempt)
        return seen if seen and seen.state == wanted else None

    return until(there, f"{job_id} to be {wanted}")


def test_what_a_job_says_of_its_checkpoints_is_observed(executor):
    code = "import dure, time; dure.checkpointed(); time.sleep(60)"
    executor.start(a_launch("j-0", argv=[sys.executable, "-c", code]), 1)

    def saved():
        seen = seen_of(executor, "j-0")
        return seen if seen and seen.checkpointed_at is not None else None

    seen = until(saved, "j-0 to have saved its work")
    assert seen.state == "running"
    assert seen.checkpointed_at >= seen.began_at
    executor.stop("j-0", 1, 0.1, 1)
    assert reaches(executor, "j-0", "ended")


def a_gang(job_id, code):
    launch = a_launch(job_id, argv=[sys.executable, "-c", code])
    lease = replace(launch.lease, others=(NodeShare("n2", (GpuShare(0), GpuShare(1))),))
    return replace(launch, lease=lease, nodes=(*launch.nodes, Node("n2", "gold", 2, simulated=True)))


def test_a_gang_over_two_nodes_is_one_attempt_with_a_process_for_each(bench, executor):
    note = bench.root / "note"
    told = "os.environ['DURE_NODE'] + os.environ['DURE_GPUS']"
    code = f"import os; open({str(note)!r} + os.environ['RANK'], 'w').write({told})"
    launch = a_gang("j-0", code)
    executor.start(launch, 1)
    executor.start(launch, 1)
    assert reaches(executor, "j-0", "ended").result["status"] == "ok"
    assert [(bench.root / f"note{rank}").read_text() for rank in (0, 1)] == ["n10", "n20,1"]


def test_a_gang_is_adopted_and_ended_whole(bench, executor):
    executor.start(a_gang("j-0", "import time; time.sleep(600)"), 1)
    reaches(executor, "j-0", "running")
    record = json.loads((bench.folder("j-0") / "processes.json").read_text())
    pids = [record["user_pid"], *(other["user_pid"] for other in record["others"])]
    assert len(pids) == 2
    second = bench.open()
    second.fence(2)
    assert seen_of(second, "j-0").state == "running"
    second.stop("j-0", 1, 1.0, 2)
    assert reaches(second, "j-0", "ended").result["status"] == "killed"
    assert not any(processes.process(pid) for pid in pids)


def test_a_cell_over_two_nodes_is_refused_with_a_sentence(executor):
    launch = a_gang("j-0", "")
    with pytest.raises(StartRefusedError, match="is a cell, which runs on one node"):
        executor.start(replace(launch, job=replace(launch.job, kind=Kind.CELL)), 1)
    assert seen_of(executor, "j-0") is None


# --- crashes half-way


def test_a_crash_between_folder_and_specification_is_as_if_never_asked(bench):
    bench.folder("j-1").mkdir(parents=True)
    (bench.folder("j-1") / ".spec.json.77").write_text('{"job"')
    executor = bench.open()
    assert executor.observe() == []
    executor.start(bench.launch("j-1"), 1)
    assert reaches(executor, "j-1", "ended").result["status"] == "ok"


def test_a_folder_that_nobody_asks_for_again_is_cleared_away(bench, executor):
    bench.folder("j-1").mkdir()
    assert executor.discard(0.0) == 0
    assert executor.discard(2e12) == 1
    assert not bench.folder("j-1").exists()


@pytest.mark.parametrize("claim", ["", '{"pid": ', "[]", '{"pid": "x", "start_ticks": {}}', "[" * 100_000])
def test_a_claim_that_says_nothing_is_of_a_dead_runner(bench, claim):
    executor = bench.open(provision_s=3600.0)
    executor.start(bench.launch("j-1"), 1)
    (bench.folder("j-1") / "runner.json").write_text(claim)
    seen = reaches(executor, "j-1", "lost")
    assert not seen.began
    executor.stop("j-1", 1, 0.0, 1)
    executor.forget("j-1", 1, 1)
    assert executor.observe() == []
    assert bench.begun("j-1") == 0


def test_a_stop_that_crashed_between_claim_and_result_still_keeps_it_from_starting(bench, executor):
    bench.folder("j-1").mkdir()
    (bench.folder("j-1") / "runner.json").touch()
    executor = bench.open()
    executor.start(bench.launch("j-1"), 1)
    reaches(executor, "j-1", "lost")
    assert bench.begun("j-1") == 0


def test_an_accepted_attempt_waits_for_a_start_by_the_new_control_plane(bench):
    bench.open(provision_s=3600.0).start(bench.launch("j-1"), 1)
    (bench.folder("j-1") / "ready_at").unlink()
    again = bench.open()
    again.fence(2)
    assert seen_of(again, "j-1").state == "pending"
    again.start(bench.launch("j-1"), 2)
    assert reaches(again, "j-1", "ended").result["status"] == "ok"
    assert bench.begun("j-1") == 1


def test_a_runner_that_claims_while_we_look_is_not_taken_for_a_lost_one(bench, monkeypatch):
    executor = bench.open(provision_s=3600.0)
    executor.start(bench.launch("j-1"), 1)
    claim = {"pid": os.getpid(), "start_ticks": processes.start_ticks(os.getpid())}
    look = Attempt.began_at

    def and_meanwhile(self):
        (self.folder / "runner.json").write_text(json.dumps(claim))
        return look(self)

    monkeypatch.setattr(Attempt, "began_at", and_meanwhile)
    assert seen_of(executor, "j-1").state == "pending"
    monkeypatch.setattr(Attempt, "began_at", look)
    assert seen_of(executor, "j-1").state == "pending"
    (bench.folder("j-1") / "runner.json").unlink()  # or the bench would end this process


# --- ending what does not want to end


def test_who_ignores_sigterm_is_killed_after_the_grace(bench, executor):
    script = f"trap '' TERM; echo j-1 >> {bench.root}/effects; while :; do sleep 0.05; done"
    executor.start(a_launch("j-1", argv=["sh", "-c", script]), 1)
    until(lambda: bench.begun("j-1"))
    executor.stop("j-1", 1, 0.3, 1)
    assert reaches(executor, "j-1", "ended").result["status"] == "killed"


def test_a_runner_that_hangs_is_killed_with_its_job_and_that_is_an_end(tmp_path, servers):
    clock = SimClock()
    bench = Local(tmp_path, servers, clock=clock)
    try:
        executor = bench.open()
        executor.start(bench.launch("j-1", runs_s=600), 1)
        reaches(executor, "j-1", "running")
        user = processes.read_record(bench.folder("j-1") / "processes.json")
        os.kill(bench.runner("j-1"), signal.SIGSTOP)
        executor.stop("j-1", 1, 1.0, 1)

        def killed():
            clock.time += 1.0
            executor.stop("j-1", 1, 1.0, 1)
            return seen_of(executor, "j-1").state == "ended"

        until(killed)
        assert seen_of(executor, "j-1").result["status"] == "killed"
        assert not processes.alive(user["user_pid"], user["user_ticks"])
    finally:
        bench.close()


def test_what_a_dead_runner_left_is_ended_before_its_gpus_are_free(bench, executor):
    script = f"setsid sleep 600 & echo $! > {bench.root}/daemon; echo j-1 >> {bench.root}/effects; wait"
    executor.start(a_launch("j-1", argv=["sh", "-c", script]), 1)
    until(lambda: bench.begun("j-1"))
    daemon = int((bench.root / "daemon").read_text())
    born = processes.start_ticks(daemon)
    bench.lose(executor, "j-1")
    reaches(executor, "j-1", "lost")
    assert not processes.alive(daemon, born)


# --- nodes, environments and accounts that do not come


def test_an_attempt_begins_when_its_node_is_ready(tmp_path, servers):
    clock = SimClock()
    bench = Local(tmp_path, servers, clock=clock)
    try:
        executor = bench.open(provision_s=30.0)
        executor.start(bench.launch("j-1"), 1)
        clock.time += 29.0
        for _ in range(3):
            assert seen_of(executor, "j-1").state == "pending"
            assert not (bench.folder("j-1") / "runner.json").exists()
        clock.time += 1.0
        assert reaches(executor, "j-1", "ended").result["status"] == "ok"
    finally:
        bench.close()


def test_an_environment_that_cannot_start_refuses_with_a_sentence(executor):
    broken = Environment("broken", "/nonexistent/python")
    executor.start(a_launch("j-1", environment=broken), 1)
    ended = reaches(executor, "j-1", "ended")
    assert (ended.result["status"], ended.began) == ("refused", False)
    sentence = ended.result["error"]["evalue"]
    assert "'broken'" in sentence
    assert "/nonexistent/python" in sentence
    assert "platform.yaml" in sentence


def test_an_environment_that_hangs_holds_up_no_other(bench, executor, tmp_path):
    hanging = tmp_path / "python"
    hanging.write_text(f"#!/bin/sh\necho $$ > {tmp_path}/pid\nexec sleep 600\n")
    hanging.chmod(0o755)
    executor.start(a_launch("j-1", environment=Environment("hanging", str(hanging))), 1)
    try:
        until((tmp_path / "pid").exists)
        executor.start(bench.launch("j-2"), 1)
        reaches(executor, "j-2", "ended")
        assert seen_of(executor, "j-1").state == "pending"
        executor.stop("j-1", 1, 1.0, 1)
        assert reaches(executor, "j-1", "ended").result["status"] == "killed"
    finally:
        until(lambda: (tmp_path / "pid").read_text().strip())
        os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)


def test_a_fork_server_that_only_is_slow_is_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr(forkservers, "_HELLO_S", 0.3)
    (tmp_path / "run").mkdir()
    own = ForkServers(tmp_path / "run", tmp_path)
    bench = Local(tmp_path, own)
    executor = bench.open()
    try:
        executor.start(bench.launch("j-1"), 1)
        reaches(executor, "j-1", "ended")
        server = int(own.ensure(Environment("default", sys.executable))["pid"])
        os.kill(server, signal.SIGSTOP)
        executor.start(bench.launch("j-2"), 1)
        log = tmp_path / "forkserver-default-own.log"
        until(lambda: "already listens" in log.read_text())
        os.kill(server, signal.SIGCONT)
        assert reaches(executor, "j-2", "ended").result["status"] == "ok"
        assert own.ensure(Environment("default", sys.executable))["pid"] == server
    finally:
        bench.close()
        own.stop_all()


def test_a_fork_server_of_before_an_installation_makes_way_and_its_job_goes_on(tmp_path):
    """Found by an upgrade under a control plane that was killed: the servers went on with what they had imported."""
    for name in ("run", "installed"):
        (tmp_path / name).mkdir()
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nPYTHONPATH={tmp_path}/installed exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    environment = Environment("default", str(python), ("theirs",))
    own = ForkServers(tmp_path / "run", tmp_path)
    bench = Local(tmp_path, own)
    executor = bench.open()
    try:
        before = own.ensure(environment)
        assert before["failed"].keys() == {"theirs"}
        assert own.ensure(environment)["pid"] == before["pid"]
        long = a_launch("j-1", environment=environment, argv=["sh", "-c", "while [ ! -e go ]; do sleep 0.05; done"])
        executor.start(long, 1)
        reaches(executor, "j-1", "running")
        (tmp_path / "installed" / "theirs.py").touch()
        after = until(lambda: (hello := own.ensure(environment))["pid"] != before["pid"] and hello)
        assert after["preimported"] == ["theirs"]
        assert processes.alive(before["pid"], before["start_ticks"])
        executor.start(a_launch("j-2", environment=environment), 1)
        assert reaches(executor, "j-2", "ended").result["status"] == "ok"
        (bench.folder("j-1") / "work" / "go").touch()
        assert reaches(executor, "j-1", "ended").result["status"] == "ok"
        until(lambda: not processes.alive(before["pid"], before["start_ticks"]))
        assert (tmp_path / "installed" / "__pycache__").is_dir()  # what its own imports make is no installation
        assert own.ensure(environment)["pid"] == after["pid"]
    finally:
        bench.close()
        own.stop_all()


def test_a_person_without_an_account_is_refused_with_a_sentence(bench):
    def no_account(_user: str, _team: str) -> Account:
        raise RuntimeError("useradd failed")

    executor = bench.open(account_of=no_account)
    executor.start(bench.launch("j-1"), 1)
    error = reaches(executor, "j-1", "ended").result["error"]["evalue"]
    assert error == "alice has no account on this machine: useradd failed"


def test_a_blob_store_that_does_not_answer_is_no_refusal(bench, executor, monkeypatch):
    def away(_team):
        raise BlobStoreError("the bucket does not answer")

    with monkeypatch.context() as patch:
        patch.setattr(executor._blobs, "access", away)
        with pytest.raises(ExecutorUnavailableError, match="bucket"):
            executor.start(bench.launch("j-1"), 1)
        assert executor.observe() == []
    executor.start(bench.launch("j-1"), 1)
    reaches(executor, "j-1", "ended")


# --- disks and paths


@pytest.fixture
def small_disk(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", disk], capture_output=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"no small disk can be mounted here: {done.stderr.decode().strip()}")
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


def fill(disk: Path) -> Path:
    stuffing = disk / "stuffing"
    with stuffing.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(b"x" * 4096):
            pass
    return stuffing


def test_a_full_disk_is_no_answer_and_the_same_start_succeeds_later(small_disk, servers):
    bench = Local(small_disk, servers)
    try:
        executor = bench.open()
        executor.fence(1)
        stuffing = fill(small_disk)
        for _ in range(3):
            with pytest.raises(ExecutorUnavailableError, match="No space left"):
                executor.start(bench.launch("j-1"), 1)
            assert executor.observe() == []
        with pytest.raises(ExecutorUnavailableError, match="No space left"):
            executor.fence(2)
        stuffing.unlink()
        executor.fence(2)
        executor.start(bench.launch("j-1"), 2)
        assert reaches(executor, "j-1", "ended").result["status"] == "ok"
        assert not [path for path in bench.folder("j-1").iterdir() if path.name.startswith(".spec")]
    finally:
        bench.close()


def test_stopping_on_a_full_disk_succeeds_later_and_starts_nothing(small_disk, servers):
    bench = Local(small_disk, servers)
    try:
        executor = bench.open(provision_s=3600.0)
        executor.start(bench.launch("j-1"), 1)
        stuffing = fill(small_disk)
        with pytest.raises(ExecutorUnavailableError, match="No space left"):
            executor.stop("j-1", 1, 1.0, 1)
        stuffing.unlink()
        executor.stop("j-1", 1, 1.0, 1)
        until(lambda: seen_of(executor, "j-1").state in {"ended", "lost"})
        assert bench.begun("j-1") == 0
    finally:
        bench.close()


def test_folders_may_lie_deeper_than_a_socket_path_reaches(tmp_path):
    deep = tmp_path / ("a" * 60) / ("b" * 60)
    (deep / "run").mkdir(parents=True)
    own = ForkServers(deep / "run", deep)
    told = threading.Event()
    hints = HintSocket(deep / "run" / "hints.sock", lambda: None, told.set)
    hints.start()
    bench = Local(deep, own)
    try:
        executor = bench.open(notify=hints.path)
        executor.start(bench.launch("j-1", runs_s=600), 1)
        reaches(executor, "j-1", "running")
        assert told.wait(30), "no hint came through"
        assert executor.send("j-1", 1, {"op": "interrupt"})
        reaches(executor, "j-1", "ended")
    finally:
        bench.close()
        hints.close()
        own.stop_all()


# --- what stays


def test_forgotten_attempts_keep_their_output_for_a_while_and_nothing_else_large(bench, executor, tmp_path):
    executor.start(a_launch("j-1", argv=["sh", "-c", "echo kept; echo big > big"]), 1)
    reaches(executor, "j-1", "ended")
    outputs = SpoolOutputs(tmp_path)
    assert executor.discard(2e12) == 0, "its end is not on record yet"
    executor.forget("j-1", 1, 1)
    assert executor.discard(0.0) == 0
    assert not (bench.folder("j-1") / "work").exists()
    texts = [message.get("text") for message in outputs.read("j-1", 1, 0).messages]
    assert "kept\n" in texts
    assert executor.discard(2e12) == 1
    assert outputs.read("j-1", 1, 0).messages == ()


def test_a_stranger_at_the_hint_socket_harms_nobody(tmp_path):
    told = threading.Event()
    hints = HintSocket(tmp_path / "hints.sock", lambda: None, told.set)
    hints.start()
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as stranger:
            for text in (b"", b"\xff", b"[]", b"[" * 4000, b'{"what": {}}', b'{"what": "ended"}'):
                stranger.sendto(text, str(hints.path))
        assert told.wait(30)
    finally:
        hints.close()
