"""Runs an argv job: unpacks the shipped folder into work/ and becomes the program.

The trap: the zip comes from outside, so nothing in it may land outside work/, be a link, or unpack without bound.
"""

from __future__ import annotations

import os
import shutil
import signal
import stat
import tempfile
import zipfile
from pathlib import Path, PurePosixPath

from dure.worker.channel import READY, Outlet
from dure.worker.spec import AttemptSpec, SpecError

MAX_FOLDER_BYTES = 8 * 2**30
MAX_FOLDER_FILES = 200_000
_PIECE_BYTES = 1 << 20


def unpack(archive: Path, folder: Path, limit_bytes: int = MAX_FOLDER_BYTES) -> int:
    """Unpack a zip into `folder` and return the bytes written; raises SpecError on anything unsafe."""
    written = 0
    try:
        with zipfile.ZipFile(archive) as packed:
            members = packed.infolist()
            if len(members) > MAX_FOLDER_FILES:
                raise SpecError(
                    f"The shipped folder has more than {MAX_FOLDER_FILES} files: exclude some (.gitignore)."
                )
            for member in members:
                written += _extract(packed, member, folder, limit_bytes - written)
    except (zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError) as error:
        raise SpecError(f"The shipped folder is no readable zip ({error}). Submit the job again.") from error
    return written


def _extract(packed: zipfile.ZipFile, member: zipfile.ZipInfo, folder: Path, left_bytes: int) -> int:
    path = PurePosixPath(member.filename.replace("\\", "/"))
    mode = member.external_attr >> 16
    if path.is_absolute() or ".." in path.parts or ":" in path.parts[:1]:
        raise SpecError(f"The shipped folder has the path '{member.filename}', which leaves it: refused.")
    if stat.S_IFMT(mode) not in {0, stat.S_IFREG, stat.S_IFDIR}:
        raise SpecError(f"The shipped folder has '{member.filename}', which is a link or a special file: refused.")
    target = folder / path
    if member.is_dir():
        target.mkdir(parents=True, exist_ok=True)
        return 0
    target.parent.mkdir(parents=True, exist_ok=True)
    size = 0
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
    permissions = 0o777 if mode & 0o111 else 0o666
    with packed.open(member) as source, os.fdopen(os.open(target, flags, permissions), "wb") as sink:
        while piece := source.read(_PIECE_BYTES):
            size += len(piece)
            if size > left_bytes:
                raise SpecError("The shipped folder unpacks to more than is allowed: exclude large files (.gitignore).")
            sink.write(piece)
    return size


def run(spec: AttemptSpec, folder: Path, outlet: Outlet) -> None:
    """Prepare work/, say ready, and become the program of payload["argv"]; returns only by SpecError."""
    argv = [str(word) for word in spec.payload.get("argv") or ()]
    if not argv:
        raise SpecError("The command is empty: write the program after `--`.")
    work = folder / "work"
    if len(spec.nodes) > 1:  # nodes share no folder
        work /= str(spec.rank)
        work.mkdir(mode=0o700, exist_ok=True)
    _fetch_folder(spec, work)
    if spec.cwd:
        enter(spec.cwd)
    else:
        os.chdir(work)
    program = shutil.which(argv[0])
    if program is None:
        raise SpecError(
            f"The program '{argv[0]}' was not found in the environment '{spec.environment}' or in the folder."
        )
    outlet.report(READY)
    for number in (signal.SIGINT, signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    os.execv(program, argv)  # noqa: S606 -- no shell wanted


def enter(folder: str) -> None:
    """Change to `folder`; raises SpecError when the node does not have it."""
    try:
        os.chdir(folder)
    except OSError as error:
        raise SpecError(f"The folder {folder} cannot be entered on this node ({error.strerror}).") from error


def _fetch_folder(spec: AttemptSpec, work: Path) -> None:
    digest = spec.payload.get("folder")
    if not digest:
        return
    from dure.state import open_blobs

    blobs = open_blobs(spec.blobs)
    path = blobs.path(digest)
    if path is not None and path.exists():
        unpack(path, work)
        return
    with tempfile.TemporaryDirectory(dir=work.parent) as scratch:
        blobs.get_file(digest, Path(scratch) / "folder.zip")
        unpack(Path(scratch) / "folder.zip", work)
