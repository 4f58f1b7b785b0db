"""Files in folders that belong to somebody else: links, pipes and strangers' files count as absent."""

import json
import os
import socket

import pytest

from dure.adapters.executors.attempts import Attempt, write_json
from dure.adapters.outputs import SpoolOutputs
from dure.adapters.persons_files import check_peer, make_empty, open_regular
from dure.worker import processes


def test_links_pipes_folders_and_devices_are_no_files(tmp_path):
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    with open_regular(tmp_path / "file", owner_of=tmp_path) as file:
        assert file.read() == b"x"
    for name in ("link", "pipe", "folder", "absent"):
        with pytest.raises(FileNotFoundError):
            open_regular(tmp_path / name)
    with pytest.raises(OSError, match="symbolic links"):
        make_empty(tmp_path / "link")


@pytest.mark.skipif(os.geteuid() != 0, reason="giving a file away needs root")
def test_a_strangers_file_does_not_count_as_the_folders_owners(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    os.chown(folder, 12345, -1)
    for owner, readable in ((12345, True), (0, True), (12346, False)):
        (folder / "f").write_bytes(b"x")
        os.chown(folder / "f", owner, -1)
        try:
            open_regular(folder / "f", owner_of=folder).close()
        except FileNotFoundError:
            assert not readable, owner
        else:
            assert readable, owner


def test_an_attempt_with_links_for_its_files_tells_nothing(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text(json.dumps({"seq": 1, "type": "stream", "name": "stdout", "text": "x", "status": "ok"}) + "\n")
    folder = tmp_path / "clusters" / "lab" / "attempts" / "j-1.1"
    folder.mkdir(parents=True)
    for name in ("output.jsonl", "result.json", "runner.json", "processes.json"):
        (folder / name).symlink_to(secret)
    attempt = Attempt(folder, "j-1", 1)
    assert attempt.result() is None
    assert not SpoolOutputs(tmp_path / "clusters").read("j-1", 1, 0).messages
    assert processes.read_record(folder / "processes.json") == {}
    (folder / f".result.json.{os.getpid()}").symlink_to(tmp_path / "made")
    write_json(folder / "result.json", {"status": "killed"})
    assert not (tmp_path / "made").exists()
    assert attempt.result() == {"status": "killed"}


@pytest.mark.parametrize(
    "told", ["NaN", "Infinity", "1e999", "1" + "0" * 400, "-5", "true", '"x"', "[]", "null", str(10**12)]
)
def test_what_no_runner_writes_of_a_kept_process_counts_as_nothing(tmp_path, told):
    (tmp_path / "kept.json").write_text(f'{{"since": {told}, "cells": {told}}}')
    since, cells = Attempt(tmp_path, "j-1", 1).kept()
    assert (since, cells) == (None, 0)
    (tmp_path / "kept.json").write_text('{"since": 1700000000.5, "cells": 3}')
    assert Attempt(tmp_path, "j-1", 1).kept() == (1700000000.5, 3)


def test_only_the_account_that_is_expected_is_spoken_to():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        check_peer(ours, os.geteuid())
        with pytest.raises(ConnectionRefusedError):
            check_peer(ours, os.geteuid() + 1)
