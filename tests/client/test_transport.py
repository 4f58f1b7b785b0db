"""What the client waits for, and how long."""

import io
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from dure.client.config import Login
from dure.client.transport import Transport


class Verifying(BaseHTTPRequestHandler):
    """A platform that looks through a large file before it sends the first byte."""

    asked = 0

    def do_GET(self) -> None:
        type(self).asked += 1
        time.sleep(1.0)
        self.send_response(200)
        self.send_header("Content-Length", "5")
        self.end_headers()
        self.wfile.write(b"model")

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def url() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Verifying)
    thread = Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_file_that_takes_long_to_be_verified_is_asked_for_once(url):
    transport = Transport(Login(url, "t"), "en", progress=None, retry_s=5, timeout_s=0.2)
    target = io.BytesIO()
    assert transport.download("jobs/j-1/artifacts/model", target) == 5
    assert (target.getvalue(), Verifying.asked) == (b"model", 1)
    transport.http.close()
