"""Planes for tests of the API: one whose jobs stay queued, one that really runs commands."""

import pytest
from starlette.testclient import TestClient

from tests.api.plane import Plane, served_plane, token


@pytest.fixture
def plane(tmp_path):
    """A control plane that decides nothing: jobs stay queued."""
    plane = Plane(tmp_path, executing=False)
    yield plane
    plane.close()


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    """A served control plane that runs commands, shared by a module's tests."""
    with served_plane(tmp_path_factory.mktemp("plane")) as server:
        yield server


@pytest.fixture
def http(plane):
    """Call the application in process: http("alice").get("/api/me"); None is nobody."""
    app = plane.app()

    def of(name: str | None) -> TestClient:
        headers = {"Authorization": f"Bearer {token(name)}"} if name else {}
        return TestClient(app, headers=headers, raise_server_exceptions=False)

    return of
