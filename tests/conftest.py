"""What all tests share: how long hypothesis may look, and that CI looks the same way every time."""

import asyncio
import os
import signal

from hypothesis import HealthCheck, settings

# No deadline: two busy cores make one example slow now and then, which says nothing about the code.
settings.register_profile("dev", deadline=None)
settings.register_profile(
    "ci", deadline=None, derandomize=True, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("long", deadline=None, max_examples=5_000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if os.environ.get("CI") else "dev"))

# The looptime plugin asks for the event loop even in plain tests, and asyncio makes one that nobody closes unless it
# has been told that there is none. Left open, it fails whichever test runs when it is collected.
asyncio.set_event_loop(None)

# A shell that starts this in the background has it ignore Ctrl-C, and every program that a test starts would, too.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
