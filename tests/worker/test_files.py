"""Commands in the folder that came with them, zip files that are refused, and the artifacts that a job leaves."""

from __future__ import annotations

import os
import stat
import zipfile

import pytest

from dure.state import open_blobs
from dure.worker.command import unpack
from dure.worker.spec import SpecError

# --- commands --------------------------------------------------------------------------------------------------------


def pack(server, tmp_path, **files):
    path = tmp_path / "folder.zip"
    with zipfile.ZipFile(path, "w") as packed:
        for name, content in files.items():
            packed.writestr(name.replace("__", "/"), content)
    return open_blobs(server.blobs).put_file(path)


def test_a_command_runs_in_its_folder_and_passes_its_exit_code(server, tmp_path):
    script = "import os, sys, time\nprint(os.path.basename(os.getcwd()), open('data/a.txt').read())\nsys.exit(7)"
    digest = pack(server, tmp_path, **{"train.py": script, "data__a.txt": "content"})
    attempt = server.command("python", "train.py", folder=digest)
    result = attempt.result()
    assert (result["status"], result["exit_code"]) == ("exit", 7)
    assert attempt.text() == "work content\n"


def test_a_commands_output_is_live(server):
    attempt = server.command("python", "-c", "print('go'); import time; time.sleep(600)")
    attempt.wait_text("go")
    attempt.send(op="interrupt")
    assert attempt.result()["status"] == "interrupted"
    assert "KeyboardInterrupt" in attempt.text("stderr")


def test_a_commands_time_limit(server):
    result = server.command("sleep", "600", limits={"timeout_s": 0.2}).result()
    assert (result["status"], result["exit_code"]) == ("timeout", 124)


def test_a_program_that_is_not_there(server):
    attempt = server.command("no-such-program")
    assert "no-such-program" in attempt.result()["error"]["evalue"]
    assert not (attempt.folder / "started").exists()
    assert server.command().result()["status"] == "error"


def link(name):
    info = zipfile.ZipInfo(name)
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info


@pytest.mark.parametrize("name", ["../evil", "/etc/evil", "a/../../evil", "..\\evil", link("inside")])
def test_a_zip_may_not_leave_its_folder(server, tmp_path, name):
    path = tmp_path / "evil.zip"
    with zipfile.ZipFile(path, "w") as packed:
        packed.writestr(name, "/etc/passwd")
    (tmp_path / "work").mkdir()
    with pytest.raises(SpecError, match="refused"):
        unpack(path, tmp_path / "work")
    assert list((tmp_path / "work").iterdir()) == []
    attempt = server.command("true", folder=open_blobs(server.blobs).put_file(path))
    assert "refused" in attempt.result()["error"]["evalue"]
    assert not (attempt.folder / "started").exists()


def test_a_zip_may_not_unpack_without_bound(tmp_path):
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("zeros", bytes(10**7))
    with pytest.raises(SpecError, match="more than is allowed"):
        unpack(path, tmp_path / "work", limit_bytes=10**6)
    path.write_bytes(b"no zip")
    with pytest.raises(SpecError, match="no readable zip"):
        unpack(path, tmp_path / "work")


def test_executable_bits_survive(tmp_path):
    path = tmp_path / "folder.zip"
    info = zipfile.ZipInfo("run.sh")
    info.external_attr = (stat.S_IFREG | 0o755) << 16
    with zipfile.ZipFile(path, "w") as packed:
        packed.writestr(info, "#!/bin/sh\n")
        packed.writestr("empty/", "")
    assert unpack(path, tmp_path / "work") == 10
    assert os.access(tmp_path / "work" / "run.sh", os.X_OK)
    assert (tmp_path / "work" / "empty").is_dir()


# --- artifacts -------------------------------------------------------------------------------------------------------


def test_artifacts_are_kept_and_links_are_not_followed(server):
    code = """
import os
out = os.environ['DURE_OUTPUT_DIR']
os.makedirs(f'{out}/sub')
open(f'{out}/model.bin', 'wb').write(b'weights')
open(f'{out}/sub/두레.txt', 'w').write('x')
os.symlink('/etc/passwd', f'{out}/link')
os.symlink('/etc', f'{out}/folder')
os.mkfifo(f'{out}/pipe')
"""
    attempt = server.cell(code + "raise RuntimeError('the files are kept all the same')")
    kept = {artifact["path"]: artifact for artifact in attempt.result()["artifacts"]}
    assert sorted(kept) == ["model.bin", "sub/두레.txt"]
    assert kept["model.bin"]["size_bytes"] == 7
    assert open_blobs(server.blobs).get(kept["model.bin"]["digest"]) == b"weights"


def test_an_artifact_that_cannot_be_kept_is_named(server, tmp_path):
    (tmp_path / "file").write_text("")
    blobs = {"kind": "folder", "root": str(tmp_path / "file" / "impossible")}
    attempt = server.command("sh", "-c", "echo x > $DURE_OUTPUT_DIR/a", blobs=blobs)
    result = attempt.result()
    assert (result["exit_code"], result["artifacts"]) == (0, [])
    assert result["artifacts_failed"]
    assert "could not keep" in attempt.text("stderr")
