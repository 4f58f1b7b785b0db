"""A `dure up` of a few lines in a process of its own, so that tests can kill it: prints one JSON line when it
is ready.
"""

import json
import os
import signal
import sys
from pathlib import Path

from dure.adapters.processes import AlreadyRunningError, PortTakenError
from dure.hub import front_door
from tests.e2e.conftest import tiny_front


def main():
    try:
        running = front_door.serve(tiny_front(Path(sys.argv[1]), port=int(sys.argv[2]) if sys.argv[2:] else None))
    except (AlreadyRunningError, PortTakenError) as error:
        sys.exit(str(error))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        sys.stdout.write(json.dumps({"pid": os.getpid(), "hub": running.hub.pid, "url": running.url}) + "\n")
        sys.stdout.flush()
        running.wait()
    finally:
        running.stop()


main()
