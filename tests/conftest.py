"""What all tests share: which examples hypothesis looks at (tests/examples.py), one folder for everything temporary,
which goes when the run ends, and the real browser.
"""

import asyncio
import os
import shutil
import signal
import tempfile
from pathlib import Path

import pytest

from tests import examples

examples.choose()

# The looptime plugin asks for the event loop even in plain tests, and asyncio makes one that nobody closes unless it
# has been told that there is none. Left open, it fails whichever test runs when it is collected.
asyncio.set_event_loop(None)

# A shell that starts this in the background has it ignore Ctrl-C, and every program that a test starts would, too.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_configure(config):
    """Give programs that tests start, and end without a word, a place whose contents do not stay behind.

    pytest's own folders stay where they are: the last three are kept to look into, and sockets in them have long paths.
    """
    if "PYTEST_XDIST_WORKER" in os.environ:
        return  # it has the folder of the run that started it
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", tempfile.gettempdir())
    folder = tempfile.mkdtemp(prefix="dure-")
    Path(folder).chmod(0o711)  # tests with other accounts pass through
    os.environ["TMPDIR"] = folder
    tempfile.tempdir = None
    config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))


@pytest.fixture(scope="session")
def chromium():
    """One for the whole process: a second beside it cannot be driven from the same thread."""
    from tests import browsers

    yield from browsers.launched()
