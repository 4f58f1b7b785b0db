"""A disk that fills up: one clear sentence, everything answered is kept, nothing is half there, and room cures it."""

import os
import random
import re
import subprocess
import tempfile
from pathlib import Path

import pytest

from dure.adapters.store import SqlStore
from dure.ports import StoreFullError
from tests.contracts.jobs import a_job, submit, whole_log
from tests.contracts.test_store_concurrency import checked_against, writer_process


@pytest.fixture
def small_disk():
    """A file system of a few megabytes; mounting one takes root. Not below tmp_path, which only root can walk to."""
    if os.getuid() != 0:
        pytest.skip("only root can mount a small file system")
    folder = Path(tempfile.mkdtemp(prefix="dure-small-", dir="/tmp"))
    folder.chmod(0o755)
    command = ["mount", "-t", "tmpfs", "-o", "size=24m,mode=0777", "tmpfs", str(folder)]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode:
        folder.rmdir()
        pytest.skip(f"this machine does not let root mount a small file system: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)
    folder.rmdir()


def fill(store):
    """Submit until the disk is full; return what was answered."""
    answered: list[str] = []
    told = "the disk never filled up"
    for n in range(10_000):
        payload = {"code": random.Random(n).randbytes(50_000).hex()}  # PostgreSQL compresses what repeats
        try:
            submit(store, a_job(f"j-{n:05}", payload=payload))
        except StoreFullError as error:
            told = str(error)
            break
        answered.append(f"submitted j-{n:05}")
    assert re.search(r"disk or quota is full.*Free some space", told)
    return answered


def test_sqlite_on_a_full_disk(small_disk):
    store = SqlStore(f"sqlite:///{small_disk / 'dure.db'}")
    store.migrate()
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(16 * 1024 * 1024))
    answered = fill(store)
    checked_against(store, answered)
    ballast.unlink()
    submit(store, a_job("j-after"))
    checked_against(store, [*answered, "submitted j-after"])
    store.close()


@pytest.mark.postgres
def test_postgresql_on_a_full_disk(small_disk, postgres_server):
    place = small_disk / "postgres"
    place.mkdir()
    subprocess.run(["chown", postgres_server.user, str(place)], check=True)
    postgres_server.execute(f"CREATE TABLESPACE small LOCATION '{place}'")
    try:
        with postgres_server.database("TABLESPACE small") as url:
            store = SqlStore(url)
            store.migrate()
            answered = fill(store)
            checked_against(store, answered)
            store.close()
    finally:
        postgres_server.execute("DROP TABLESPACE small")


def test_sqlite_under_a_limit_on_file_sizes(tmp_path):
    """What a user quota looks like to SQLite: a failing write rather than a full disk."""
    url = f"sqlite:///{tmp_path / 'dure.db'}"
    with writer_process(url, "w", 1000, "1500000") as process:
        *answered, refused = process.stdout.read().splitlines()
    assert refused.startswith("refused StoreFullError The database")
    store = SqlStore(url)
    checked_against(store, answered)
    assert len(whole_log(store)) == len(answered)
    store.close()
