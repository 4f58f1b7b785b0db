"""What `dure run` ships of a folder: git's own rules, the same bytes each time, and a limit that names the culprits."""

import os
import subprocess
import zipfile

import pytest

from dure.cli.folder import look, pack
from dure.client import DureError

LIMIT = 10**9


def write(root, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def names(root) -> list[str]:
    return [file.name for file in look(root, LIMIT, "en").files]


STORY = {
    ".gitignore": "*.log\n!keep.log\n/build\ndata/\n# comment\nout?.txt\n",
    "train.py": "x",
    "run.log": "x",
    "keep.log": "x",
    "build/a.o": "x",
    "src/build/b.py": "x",
    "data/big.bin": "x",
    "src/data/small.bin": "x",
    "src/.gitignore": "!run.log\n*.tmp\n/only_here\n",
    "src/run.log": "x",
    "src/a.tmp": "x",
    "src/only_here/a": "x",
    "src/deep/only_here/a": "x",
    "src/deep/.gitignore": "!a.tmp\n",
    "src/deep/a.tmp": "x",
    "out1.txt": "x",
    "out10.txt": "x",
    "두레/파일 이름.txt": "x",
}


def test_the_rules_are_gits_own(tmp_path):
    write(tmp_path, STORY)
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    listed = subprocess.run(
        ["git", "ls-files", "--others", "--exclude-standard", "-z"], cwd=tmp_path, capture_output=True, check=True
    )
    expected = sorted(name for name in listed.stdout.decode().split("\0") if name)
    assert names(tmp_path) == expected
    assert "src/run.log" in expected
    assert "src/deep/a.tmp" in expected
    # From a folder inside the repository the rules above still hold.
    inside = [name.removeprefix("src/") for name in expected if name.startswith("src/")]
    assert names(tmp_path / "src") == inside


def test_git_itself_and_bytecode_never_travel(tmp_path):
    write(tmp_path, {".git/config": "x", "a/.git/x": "x", "__pycache__/m.pyc": "x", "m.py": "x"})
    assert names(tmp_path) == ["m.py"]


def test_the_same_content_is_the_same_zip(tmp_path):
    archives = []
    for number, order in enumerate((["b.py", "a.py"], ["a.py", "b.py"])):
        root = tmp_path / str(number)
        write(root, dict.fromkeys(order, "print(1)\n"))
        (root / "b.py").chmod(0o755)
        os.utime(root / "a.py", (number, number))
        target = tmp_path / f"{number}.zip"
        pack(look(root, LIMIT, "en"), target, "en")
        archives.append(target.read_bytes())
    assert archives[0] == archives[1]
    with zipfile.ZipFile(tmp_path / "0.zip") as archive:
        assert archive.namelist() == ["a.py", "b.py"]
        assert [info.external_attr >> 16 & 0o111 for info in archive.infolist()] == [0, 0o111]


def test_links_to_files_travel_as_files_and_the_rest_is_named(tmp_path):
    root = tmp_path / "root"
    write(root, {"real.txt": "text", "folder/x": "x"})
    (root / "link.txt").symlink_to("real.txt")
    (root / "again").symlink_to(root)
    (root / "broken").symlink_to("nowhere")
    os.mkfifo(root / "pipe")
    found = look(root, LIMIT, "en")
    assert [file.name for file in found.files] == ["folder/x", "link.txt", "real.txt"]
    assert sorted(found.left) == ["again", "broken", "pipe"]


def test_a_folder_over_the_limit_names_its_largest_files(tmp_path):
    write(tmp_path, {"small.py": "x", "huge.bin": "x" * 5000, "large.bin": "x" * 3000})
    with pytest.raises(DureError) as caught:
        look(tmp_path, 6000, "en")
    assert caught.value.code == "folder_too_large"
    text = str(caught.value)
    assert text.index("huge.bin (5.0 kB)") < text.index("large.bin (3.0 kB)")
    assert "--max-size" in text


def test_a_name_that_no_zip_can_hold_is_told(tmp_path):
    (tmp_path / os.fsdecode(b"bad\xff")).write_text("x")
    with pytest.raises(DureError, match="not UTF-8"):
        pack(look(tmp_path, LIMIT, "en"), tmp_path / "out.zip", "en")
