"""A store that is away when a cell ends: its results wait, and are stored when it is back."""

import signal
import threading

import pytest

from dure.state import FolderBlobs, Snapshot, capture
from dure.state.store.blobs import StoreAwayError
from dure.worker import patience
from tests.contracts.test_store_full_disk import small_disk

__all__ = ["small_disk"]


def filled(disk):
    stuffing = disk / "stuffing"
    with stuffing.open("wb", buffering=0) as file:
        for size in (1 << 16, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                continue
    return stuffing


def test_results_wait_on_a_full_disk_until_there_is_room_and_that_is_said_once(small_disk, monkeypatch, capsys):
    blobs = FolderBlobs(small_disk / "blobs")
    stuffing = filled(small_disk)
    tries = []
    monkeypatch.setattr(patience, "PAUSE_S", 0.01)

    def stored():
        tries.append(1)
        if len(tries) == 4:
            stuffing.unlink()
        return capture({"x": bytearray(b"abc" * 100_000)}, ["x"], blobs=blobs).store(blobs)

    digest = patience.Patience(0.0)(stored)
    assert Snapshot.load(digest, blobs).names == ("x",)
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 1
    assert "the disk is full: free some space, then try again. The results wait here, for up to 60 s." in told[0]


def test_they_wait_no_longer_than_the_work_took_and_an_interrupt_ends_it(small_disk, monkeypatch):
    blobs = FolderBlobs(small_disk / "blobs")
    filled(small_disk)
    monkeypatch.setattr(patience, "PAUSE_S", 0.01)
    monkeypatch.setattr(patience, "LEAST_S", 0.05)
    with pytest.raises(StoreAwayError, match="the disk is full"):
        patience.Patience(0.1)(lambda: blobs.put(b"x" * 100_000))
    patient = patience.Patience(600.0)
    interrupt = threading.Timer(0.2, signal.raise_signal, (signal.SIGINT,))
    interrupt.start()
    with pytest.raises(KeyboardInterrupt):
        patient(lambda: blobs.put(b"x" * 100_000))
