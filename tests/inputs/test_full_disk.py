"""The state folder's disk fills up while people work: each learns it in one sentence, and afterwards all goes on."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from benchmarks.measuring import running

from dure.client import DureError
from tests.inputs.conftest import Desk, until
from tests.notebook.conftest import NotebookKernel, Shown


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "state"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=48m", "tmpfs", str(disk)]
    try:
        done = subprocess.run(command, capture_output=True, check=False, text=True)
    except FileNotFoundError:
        pytest.skip("there is no mount program to make a small disk with")
    if done.returncode != 0:
        pytest.skip(f"no small disk can be mounted here: {done.stderr.strip()}")
    yield disk
    subprocess.run(["umount", "-l", disk], check=True)


def fill(disk: Path) -> Path:
    stuffing = disk / "stuffing"
    with stuffing.open("ab", buffering=0) as file:
        for size in (1 << 20, 1 << 12, 1):
            try:
                while True:
                    file.write(b"x" * size)
            except OSError:
                continue
    return stuffing


def test_a_full_disk_loses_nothing(disk: Path, tmp_path: Path):
    with running.platform(disk) as platform:
        desk = Desk(platform)
        kernel = NotebookKernel(platform.environment(tmp_path), tmp_path, str(tmp_path / "story.ipynb"))
        try:
            with desk.client:
                story(desk, kernel, disk)
        finally:
            kernel.kill()


def full(desk: Desk, disk: Path) -> bool:
    """Fill what jobs that ended gave back, until three submissions in a row are refused."""
    for _ in range(3):
        fill(disk)
        refusal = refused(desk)
        if refusal is None:
            return False
        assert (refusal.code, refusal.status) == ("disk_full", 507)
        assert str(refusal).startswith("The platform's disk is full, so nothing was changed:")
    return True


def refused(desk: Desk) -> DureError | None:
    try:
        desk.submit("true")
    except DureError as error:
        return error
    return None


def refused_cell(desk: Desk, kernel: NotebookKernel, disk: Path) -> Shown:
    """What a cell shows on a full disk; one that found room which a job gave back a moment before is no such cell."""
    for _ in range(5):
        until(lambda: full(desk, disk), "submissions to be refused")
        shown = kernel.run("%%gpu\nsecond = first + 1")
        if not shown.ok:
            return shown
    raise AssertionError("cells went on running on a full disk")


def story(desk: Desk, kernel: NotebookKernel, disk: Path) -> None:
    assert kernel.run("%%gpu\nfirst = 1").ok
    done = desk.submit("sh", "-c", "echo kept > $DURE_OUTPUT_DIR/kept")
    assert desk.end(done).phase == "succeeded"
    quiet = desk.submit("sh", "-c", "until [ -e $0 ]; do sleep 0.05; done", str(disk.parent / "go"))
    loud = desk.submit("sh", "-c", "while :; do echo yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy; done")
    for job in (quiet, loud):
        desk.phase(job, "running")
    stuffing = fill(disk)
    shown = refused_cell(desk, kernel, disk)
    assert "full" in shown.traceback or "No space left" in shown.traceback
    assert len(shown.traceback.splitlines()) == 1
    assert kernel.value("first") == "1", "the notebook keeps what it has"

    stuffing.unlink()
    ended = desk.end(loud)
    assert (ended.phase, ended.reason) == ("failed", "Error"), ended
    assert "No space left" in str(ended.reason_sentence)
    assert "df -h" in str(ended.reason_sentence)
    (disk.parent / "go").touch()
    assert desk.end(quiet).phase == "succeeded", "who printed nothing never noticed"
    assert desk.client.artifact(done, "kept") == b"kept\n"
    again = kernel.run("%%gpu\nsecond = first + 1")
    assert again.ok, again.traceback
    assert kernel.value("second") == "2"
    desk.unharmed(quiet, loud)
